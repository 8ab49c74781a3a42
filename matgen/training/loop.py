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
from matgen.weights.renamed import current_names


@dataclass(frozen=True)
class Schedule:
    """Number of steps, learning rate, and what belongs to them.

    The rate rises linearly over `warmup` steps, then falls on a cosine that ends when `steps` or `minutes` are
    reached, whichever comes first. Minutes count over resumptions.
    """

    steps: int = 20_000
    minutes: float = 60.0
    batch_size: int = 128
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
        check_least(self, 0, "final_rate", "weight_decay", "ema")
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
    progress: _Progress = field(default_factory=_Progress)

    @classmethod
    def of(cls, model: ModelT, schedule: Schedule) -> Self:
        """Return the state before the first step."""
        average = copy.deepcopy(model).requires_grad_(requires_grad=False)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.99)
        )
        return cls(model, average, optimizer)

    def step(
        self, objective: Objective[ModelT], batches: Iterator[Tensor], generator: torch.Generator, schedule: Schedule
    ) -> dict[str, float]:
        """Take one step, and return its figures."""
        progress, started = self.progress, time.perf_counter()
        rate = learning_rate(schedule, progress.step, progress.fraction(schedule))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        figures = _descend(self.model, objective, self.optimizer, next(batches), generator, schedule.clip)
        _update_average(self.average, self.model, min(schedule.ema, (1 + progress.step) / (10 + progress.step)))
        progress.step += 1
        progress.seconds += time.perf_counter() - started
        return figures

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        partial = path.with_suffix(".partial")
        models = {"model": self.model.state_dict(), "average": self.average.state_dict()}
        rest = {"optimizer": self.optimizer.state_dict(), "progress": asdict(self.progress)}
        torch.save(models | rest, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Read a checkpoint, if there is one.

        Raises:
            CheckpointError: it is damaged, or of another model.
        """
        if not path.exists():
            return
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)  # may come from another device
            self.model.load_state_dict(current_names(saved["model"]))
            self.average.load_state_dict(current_names(saved["average"]))
            self.optimizer.load_state_dict(saved["optimizer"])
            self.progress = _Progress(**saved["progress"])
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
) -> ModelT:
    """Train, or resume from the checkpoint in `folder`.

    Args:
        model: trained in place.
        objective: batches, loss and validation.
        schedule: number of steps, learning rate and so on.
        folder: receives `checkpoint.pt`, `metrics.jsonl`, `schedule.json`.
        report: called with each line of the log.
        accelerate: makes the trained model faster, in place, such as by compiling parts of it; the average is not
            changed.

    Returns:
        The exponential moving average of the model.

    Raises:
        CheckpointError: the folder holds a checkpoint that is damaged, or of another model.
        DivergedError: the loss is not finite.
        KeyboardInterrupt: after the state was saved, so that the next call resumes from it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schedule.json").write_text(json.dumps(asdict(schedule), indent=1))
    checkpoint = folder / "checkpoint.pt"
    training = _Training.of(model, schedule)
    training.resume(checkpoint)
    accelerate(model)
    generator = torch.Generator().manual_seed(schedule.seed + training.progress.step)
    batches = objective.batches(schedule.batch_size, generator)
    with (folder / "metrics.jsonl").open("a") as log:

        def write(line: dict[str, Any]) -> None:
            log.write(json.dumps(line) + "\n")
            log.flush()
            report(line)

        try:
            _run(training, objective, batches, generator, schedule, checkpoint, write)
        except KeyboardInterrupt:
            training.save(checkpoint)
            raise
    return training.average


def _run(
    training: _Training[ModelT],
    objective: Objective[ModelT],
    batches: Iterator[Tensor],
    generator: torch.Generator,
    schedule: Schedule,
    checkpoint: Path,
    write: Callable[[dict[str, Any]], None],
) -> None:
    """Take steps until the schedule ends; log, validate and write checkpoints."""
    progress = training.progress
    mean: dict[str, list[float]] = {}
    while progress.fraction(schedule) < 1:
        for name, value in training.step(objective, batches, generator, schedule).items():
            mean.setdefault(name, []).append(value)
        if progress.step % schedule.log_every == 0:
            rate = training.optimizer.param_groups[0]["lr"]
            averages = {name: sum(v) / len(v) for name, v in mean.items()}
            write({"step": progress.step, "minutes": round(progress.seconds / 60, 2), "rate": rate, **averages})
            mean = {}
        if progress.step % schedule.validate_every == 0 or progress.fraction(schedule) >= 1:
            write({"step": progress.step, **_validated(training.average, objective)})
            training.save(checkpoint)


def _descend(
    model: ModelT,
    objective: Objective[ModelT],
    optimizer: torch.optim.Optimizer,
    rows: Tensor,
    generator: torch.Generator,
    clip: float,
) -> dict[str, float]:
    """Change the parameters by one step of the optimizer, and return the figures of the batch."""
    model.train()
    loss, figures = objective.loss(model, rows, generator)
    if not torch.isfinite(loss):
        message = f"the loss is {loss.item()} ({figures}); lower the learning rate and resume from the checkpoint"
        raise DivergedError(message)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
    if torch.isfinite(norm):
        optimizer.step()
    return {"loss": loss.item(), "grad_norm": norm.item(), **figures}


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
