"""Many relaxations, batched and in parallel, each result yielded once it is ready."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import repeat
from typing import Generic, TypeVar

from ase.calculators.calculator import Calculator
from pymatgen.core.structure import Molecule, Structure

from matgen.relaxation.calculators import CHGNET, calculator_maker, chgnet_calculator, kept_calculator, potential_name
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.free_parameters import relax_batch
from matgen.relaxation.outcome import failed
from matgen.relaxation.symmetric import relax
from matgen.runtime.failures import each, of_the_machine
from matgen.runtime.processes import in_chunks, in_pool
from matgen.structures.candidate import Relaxation

M = TypeVar("M", Structure, Molecule)


@dataclass(frozen=True)
class Relaxed(Generic[M]):
    """Outcome of one of many relaxations: its index in the input, the final structure and the report."""

    index: int
    structure: M
    report: Relaxation


Task = tuple[int, Structure, float]
"""A structure to relax: index in the input, structure, and the energy in eV/atom above which it is given up."""

TOGETHER = 16
"""Structures that one process relaxes in a batch on a CPU."""


FEW_ATOMS = 1500
"""Atoms in all that this process relaxes in about the 5 CPU s that a worker takes to import PyTorch and CHGNet."""


@dataclass(frozen=True)
class Batching:
    """How many structures are relaxed together.

    Attributes:
        slots: structures that are relaxed at once.
        atoms: most atoms of those that take turns in the slots, which limits memory; a larger structure is alone.
        chunk: structures that are sent to a worker together.
    """

    slots: int
    atoms: int
    chunk: int


ON_CPU = Batching(slots=TOGETHER, atoms=512, chunk=TOGETHER)
ON_GPU = Batching(slots=256, atoms=8192, chunk=1024)
"""A GPU is busy only with many: a step of 256 small crystals takes little longer than one of 16."""


def batching(device: str) -> Batching:
    """Return how many structures are relaxed together on a device."""
    return ON_CPU if device == "cpu" else ON_GPU


@lru_cache(maxsize=2)
def surface_on(device: str = "cpu") -> CHGNetSurface:
    """Return CHGNet on a device, once per process: loading takes a second."""
    return CHGNetSurface(device)


@dataclass(frozen=True)
class RelaxingPotential:
    """A potential that relaxes single structures: CHGNet in free parameters, any other by ASE.

    Attributes:
        calculator: its name.
        device: where CHGNet runs; others run on the CPU.
    """

    calculator: str = CHGNET
    device: str = "cpu"

    @property
    def name(self) -> str:
        """Name and version."""
        return surface_on(self.device).name if self._free else potential_name(self._by_ase)

    @property
    def _free(self) -> bool:
        return calculator_maker(self.calculator) is chgnet_calculator

    @property
    def _by_ase(self) -> Calculator:
        return kept_calculator(calculator_maker(self.calculator))

    def relax(
        self, structure: Structure, config: RelaxConfig, *, fixed_cell: bool = False
    ) -> tuple[Structure, Relaxation] | None:
        """Relax a structure in the cell as it is given; None if CHGNet cannot describe it.

        Args:
            structure: initial.
            config: thresholds.
            fixed_cell: relax the atoms alone.
        """
        if not self._free:
            return relax(structure, self._by_ase, config, as_given=True, fixed_cell=fixed_cell)
        tasks = [(0, structure, math.inf)]
        found = list(relax_batch(tasks, surface_on(self.device), config, fixed_cell=fixed_cell))
        return found[0][1:] if found else None


def relaxed_together(
    tasks: Sequence[Task],
    make_calculator: Callable[[], Calculator] = chgnet_calculator,
    config: RelaxConfig | None = None,
    device: str = "cpu",
) -> list[Relaxed[Structure]]:
    """Relax structures, with CHGNet in batches in their free parameters, the rest by ASE one by one.

    Args:
        tasks: structures, each with its index and its ceiling.
        make_calculator: function of a module that makes an ASE calculator; each process calls it once.
        config: thresholds; the defaults if None.
        device: where CHGNet relaxes in batches; ASE calculators stay on the CPU.

    Returns:
        One outcome for each task, in any order.
    """
    config = config or RelaxConfig()
    found: list[Relaxed[Structure]] = []
    if make_calculator is chgnet_calculator:
        sizes = [len(structure) for _, structure, _ in tasks]
        for group in batches(range(len(tasks)), sizes, batching(device).atoms):
            found += _free([tasks[index] for index in group], config, device)
    done = {result.index for result in found}
    alone = [(index, structure) for index, structure, _ in tasks if index not in done]

    def by_ase(task: tuple[int, Structure]) -> Relaxed[Structure]:
        return Relaxed(task[0], *relax(task[1], kept_calculator(make_calculator), config))

    return found + each(by_ase, alone, lambda task, reason: Relaxed(*task, failed(reason, "unknown")))


def _free(tasks: list[Task], config: RelaxConfig, device: str) -> list[Relaxed[Structure]]:
    """Relax in free parameters; after an error in halves, so that one crystal does not affect another."""
    found: list[Relaxed[Structure]] = []
    try:
        for result in relax_batch(tasks, surface_on(device), config, slots=batching(device).slots):
            found.append(Relaxed(*result))  # noqa: PERF401 (results before an error are kept)
    except Exception as error:
        if of_the_machine(error):
            raise
        done = {result.index for result in found}
        rest = [task for task in tasks if task[0] not in done] if len(tasks) > 1 else []
        half = (len(rest) + 1) // 2
        for part in filter(None, (rest[:half], rest[half:])):
            found += _free(part, config, device)
    return found


def batches(indices: Iterable[int], sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield indices, smallest systems first, in batches of at most `most` atoms; a larger system alone."""
    batch: list[int] = []
    atoms = 0
    for index in sorted(indices, key=lambda i: sizes[i]):
        if batch and atoms + sizes[index] > most:
            yield batch
            batch, atoms = [], 0
        batch.append(index)
        atoms += sizes[index]
    if batch:
        yield batch


def relax_many(
    structures: Iterable[Structure],
    make_calculator: Callable[[], Calculator] = chgnet_calculator,
    config: RelaxConfig | None = None,
    n_jobs: int = 1,
    ceilings: Iterable[float] | None = None,
    device: str = "cpu",
) -> Generator[Relaxed[Structure], None, None]:
    """Relax structures in a pool of processes and yield each result once it is ready.

    Structures are taken from the iterable as workers become free. Leaving the loop early, or an interrupt, stops the
    workers. Workers are fresh interpreters with one thread each; they do not import the main script.

    CHGNet relaxes structures in their free parameters (`relax_batch`), as many at a time as `batching` says. ASE
    relaxes those that free parameters cannot describe, and all structures if the calculator is another one.

    Args:
        structures: initial structures.
        make_calculator: function that makes an ASE calculator. A function of a module is called once per process, a
            lambda once per structure.
        config: thresholds; the defaults if None.
        n_jobs: processes; with 1, all happens in the current one. On a GPU CHGNet runs in the current one.
        ceilings: energy of each structure in eV/atom above which it is given up; used only by the relaxation in free
            parameters.
        device: where CHGNet relaxes in batches.

    Yields:
        Results in the order in which they finish, one for each structure, even if its worker died.
    """
    limits = repeat(math.inf) if ceilings is None else ceilings
    tasks = ((i, *pair) for i, pair in enumerate(zip(structures, limits, strict=False)))
    free = make_calculator is chgnet_calculator
    work = partial(relaxed_together, make_calculator=make_calculator, config=config, device=device)
    jobs = 1 if free and device != "cpu" else n_jobs
    for results in in_pool(work, in_chunks(tasks, batching(device).chunk if free else 1), given_up, jobs):
        yield from results


def processes_worth_starting(structures: Sequence[Structure], n_jobs: int) -> int:
    """Return the number of processes that relax structures soonest: `n_jobs`, or 1, this one, for a few small crystals.

    Args:
        structures: what CHGNet is to relax.
        n_jobs: processes that may be used.
    """
    return 1 if sum(map(len, structures)) <= FEW_ATOMS else n_jobs


def given_up(task: tuple[int, M, float], reason: str) -> Relaxed[M]:
    """Return the outcome of a structure whose relaxation ends its worker."""
    return Relaxed(task[0], task[1], failed(reason, "unknown"))
