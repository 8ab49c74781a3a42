"""The training loop of all models: EMA, cosine rate, checkpoints, resumption, a metrics log."""

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from matgen.errors import UserError
from matgen.runtime.config import ConfigError, check_least, check_positive
from matgen.runtime.interrupts import interrupts_held_back
from matgen.runtime.output import replace_file, writing
from matgen.training.gradients import averaged, part_generator, split, summed, too_large
from matgen.training.metrics_log import add_line, forget_later
from matgen.training.parallel import ALONE, Processes, own_parts, shared_parts
from matgen.training.stored import store
from matgen.weights.renamed import current_names


@dataclass(frozen=True)
class Schedule:
    """Number of steps, learning rate, and what belongs to them.

    The rate rises linearly over `warmup` steps, then falls on a cosine that ends when `steps` or `minutes` are
    reached, whichever comes first. Minutes count over resumptions. Each batch is split into `parts`, which several
    processes share, or which one process computes in turn to save memory; results depend on their number, and not on
    the number of processes. 0 stands for as many as there are processes.
    """

    steps: int = 20_000
    minutes: float = 60.0
    batch_size: int = 128
    parts: int = 0
    learning_rate: float = 1e-3
    final_rate: float = 0.01
    warmup: int = 300
    weight_decay: float = 0.01
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    log_every: int = 100
    validate_every: int = 2000

    def __post_init__(self) -> None:
        """Check the range of every number.

        Raises:
            ConfigError: one is out of its range.
        """
        check_least(self, 1, "steps", "batch_size", "warmup", "log_every", "validate_every")
        check_least(self, 0, "parts", "final_rate", "weight_decay", "ema")
        check_positive(self, "minutes", "learning_rate", "clip")
        if self.ema >= 1:
            raise ConfigError(f"expected ema below 1, got {self.ema}; the average would never move")


ModelT = TypeVar("ModelT", bound=nn.Module)
ModelT_contra = TypeVar("ModelT_contra", bound=nn.Module, contravariant=True)


class Objective(Protocol[ModelT_contra]):
    """Batches, loss and validation of a model."""

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield batches of row numbers without end."""
        ...

    def loss(self, model: ModelT_contra, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch and figures to log."""
        ...

    def validate(self, model: ModelT_contra) -> dict[str, float]:
        """Return figures on the validation split."""
        ...


class CheckpointError(UserError, ValueError):
    """A checkpoint that is damaged, or of another model."""


class DivergedError(UserError, RuntimeError):
    """Training produced a loss that is not finite."""


@dataclass
class _Progress:
    step: int = 0
    seconds: float = 0.0
    validated: int = 0  # the last step after which the model was validated

    def fraction(self, schedule: Schedule) -> float:
        """Return the fraction of the schedule that is done, 0 to 1."""
        return min(1.0, max(self.step / schedule.steps, self.seconds / (60 * schedule.minutes)))


def learning_rate(schedule: Schedule, step: int, fraction: float) -> float:
    """Return the learning rate at a step, with `fraction` of the schedule done."""
    cosine = 0.5 * (1 + math.cos(math.pi * fraction))
    decay = schedule.final_rate + (1 - schedule.final_rate) * cosine
    return schedule.learning_rate * decay * min(1.0, (step + 1) / schedule.warmup)


@dataclass
class _Training(Generic[ModelT]):
    """State of a training, as checkpoints hold it."""

    model: ModelT
    average: ModelT
    optimizer: torch.optim.Optimizer
    processes: Processes = ALONE
    progress: _Progress = field(default_factory=_Progress)
    parts: int = 1
    since: list[dict[str, float]] = field(default_factory=list)  # figures of the steps since the last line of the log

    @classmethod
    def of(cls, model: ModelT, schedule: Schedule, processes: Processes) -> Self:
        """Return the state before the first step."""
        average = copy.deepcopy(model).requires_grad_(requires_grad=False)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.99)
        )
        return cls(model, average, optimizer, processes)

    def step(
        self,
        objective: Objective[ModelT],
        batches: Iterator[Tensor],
        schedule: Schedule,
        log: Callable[[dict[str, Any]], None],
    ) -> None:
        """Take one step, and log what is due; an interrupt comes before it changes anything, or after the whole step.

        Except for loss and norm, figures are those of the parts of this process.
        """
        progress, started = self.progress, time.perf_counter()
        rate = learning_rate(schedule, progress.step, progress.fraction(schedule))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, figures = self._slope(objective, next(batches), schedule.seed)
        if not torch.isfinite(loss):
            message = f"the loss is {loss.item()} ({figures}); lower the learning rate and resume from the checkpoint"
            raise DivergedError(message)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), schedule.clip)
        seconds = self.processes.from_first(time.perf_counter() - started)
        with interrupts_held_back():
            if torch.isfinite(norm):
                self.optimizer.step()
            _update_average(self.average, self.model, min(schedule.ema, (1 + progress.step) / (10 + progress.step)))
            progress.step += 1
            progress.seconds += seconds
            self.since.append({"loss": loss.item(), "grad_norm": norm.item(), **figures})
            if progress.step % schedule.log_every == 0:
                averages = averaged(self.processes.gathered(averaged(self.since)))
                log({"step": progress.step, "minutes": round(progress.seconds / 60, 2), "rate": rate, **averages})
                self.since = []

    def validate(self, objective: Objective[ModelT], log: Callable[[dict[str, Any]], None]) -> None:
        """Log the figures on the validation split."""
        figures = _validated(self.average, objective) if self.processes.is_first else {}
        with interrupts_held_back():
            if self.processes.is_first:
                log({"step": self.progress.step, **figures})
            self.progress.validated = self.progress.step

    def _slope(self, objective: Objective[ModelT], rows: Tensor, seed: int) -> tuple[Tensor, dict[str, float]]:
        """Compute the gradients of a batch, and return its loss (), and the figures of the parts of this process."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        parameters = list(self.model.parameters())
        total, found = parameters[0].new_zeros(()), []
        for part in own_parts(self.parts, self.processes):
            some = split(rows, self.parts, part)
            if len(some) == 0:  # the last batch of an epoch can be small
                continue
            generator = part_generator(seed, self.progress.step, part)
            try:
                loss, figures = objective.loss(self.model, some, generator)
                loss = loss * (len(some) / len(rows))
                loss.backward()
            except torch.OutOfMemoryError as error:
                raise too_large(len(some)) from error
            total = total + loss.detach()
            found.append(figures)
        return summed(parameters, total, self.processes), averaged(found)

    def save(self, path: Path) -> None:
        """Write a checkpoint; only the first process does."""
        if not self.processes.is_first:
            return
        models = {"model": self.model.state_dict(), "average": self.average.state_dict()}
        rest = {"optimizer": self.optimizer.state_dict(), "progress": asdict(self.progress), "parts": self.parts}
        store(models | rest | {"since": self.since}, path)

    def resume(self, path: Path, parts: int) -> None:
        """Read a checkpoint, if there is one.

        Args:
            path: of the checkpoint.
            parts: of each batch, as configured.

        Raises:
            CheckpointError: it is damaged, or of another model.
            ParallelError: the processes cannot share the parts, or read different checkpoints.
        """
        stored = self._read(path) if path.exists() else 0
        self.parts = shared_parts(parts, stored, self.processes.size)
        if self.processes.size > 1:
            sizes = [float(p.detach().double().abs().sum()) for p in self.model.parameters()]
            self.processes.check_same({"step": self.progress.step, "parts": self.parts, "sum of weights": sum(sizes)})

    def _read(self, path: Path) -> int:
        """Read a checkpoint, and return the number of its parts."""
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)  # may come from another device
            self.model.load_state_dict(current_names(saved["model"]))
            self.average.load_state_dict(current_names(saved["average"]))
            self.optimizer.load_state_dict(saved["optimizer"])
            self.progress = _Progress(**saved["progress"])
            self.since = list(saved.get("since", []))  # of the first process; earlier versions knew none
            return int(saved.get("parts", 0))  # earlier versions knew none
        except (RuntimeError, ValueError, LookupError, TypeError, EOFError, OSError, UnpicklingError) as error:
            raise CheckpointError(
                f"{path} is damaged, or of a model of another size ({type(error).__name__}); "
                "delete it, or train in another folder"
            ) from error


def fit(
    model: ModelT,
    objective: Objective[ModelT],
    schedule: Schedule,
    folder: Path,
    *,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
    accelerate: Callable[[ModelT], None] = lambda _: None,
    processes: Processes = ALONE,
) -> ModelT:
    """Train, or resume from the checkpoint in `folder`, as if it had not been interrupted.

    Args:
        model: trained in place; the same in all processes.
        objective: batches, loss and validation.
        schedule: number of steps, learning rate and so on.
        folder: receives `checkpoint.pt`, `metrics.jsonl`, `schedule.json`, from the first process.
        report: called by the first process with each line of the log.
        accelerate: makes the trained model faster, in place, such as by compiling parts of it; the average is not
            changed.
        processes: that share each batch.

    Returns:
        The exponential moving average of the model.

    Raises:
        CheckpointError: the folder holds a checkpoint that is damaged, or of another model.
        DivergedError: the loss is not finite.
        BatchTooLargeError: the device has not enough memory.
        ParallelError: the processes do not fit together, or one ended.
        KeyboardInterrupt: after the state was saved, so that the next call resumes from it.
    """
    checkpoint = folder / "checkpoint.pt"
    log = folder / "metrics.jsonl"
    if processes.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder):
            replace_file(folder / "schedule.json", json.dumps(asdict(schedule), indent=1))
    training = _Training.of(model, schedule, processes)
    training.resume(checkpoint, schedule.parts)
    if processes.is_first:
        forget_later(log, training.progress.step)
    accelerate(model)
    batches = objective.batches(schedule.batch_size, torch.Generator().manual_seed(schedule.seed))
    for _ in range(training.progress.step):
        next(batches)

    def write(line: dict[str, Any]) -> None:
        if processes.is_first:
            add_line(log, line)
            report(line)

    try:
        _run(training, objective, batches, schedule, checkpoint, write)
    except KeyboardInterrupt:
        training.save(checkpoint)
        raise
    return training.average


def _run(
    training: _Training[ModelT],
    objective: Objective[ModelT],
    batches: Iterator[Tensor],
    schedule: Schedule,
    checkpoint: Path,
    write: Callable[[dict[str, Any]], None],
) -> None:
    """Take steps until the schedule ends; log, validate and write checkpoints."""
    progress = training.progress
    while True:
        ended = progress.fraction(schedule) >= 1
        due = ended or progress.step % schedule.validate_every == 0
        if due and progress.validated != progress.step:
            training.validate(objective, write)
            training.save(checkpoint)
        if ended:
            return
        training.step(objective, batches, schedule, write)


def _validated(average: ModelT, objective: Objective[ModelT]) -> dict[str, float]:
    average.eval()
    return {f"val_{name}": value for name, value in objective.validate(average).items()}


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
    for buffer, fresh in zip(average.buffers(), model.buffers(), strict=True):
        buffer.copy_(fresh)


def bucketed(sizes: Tensor, batch_size: int, generator: torch.Generator, pool: int = 32) -> Iterator[Tensor]:
    """Yield shuffled batches of rows of similar size without end: pools of `pool` batches are sorted, then shuffled."""
    sizes = sizes.cpu()
    while True:
        order = torch.randperm(len(sizes), generator=generator)
        for chunk in order.split(batch_size * pool):
            batches = chunk[sizes[chunk].argsort()].split(batch_size)
            for i in torch.randperm(len(batches), generator=generator).tolist():
                yield batches[i]
