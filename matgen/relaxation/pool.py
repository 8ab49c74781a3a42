"""Many relaxations, together and side by side, each result as soon as it is there."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import repeat
from typing import Generic, TypeVar

from ase.calculators.calculator import Calculator
from pymatgen.core.structure import Molecule, Structure

from matgen.relaxation.calculators import chgnet_calculator, kept_calculator
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.free_parameters import relax_batch
from matgen.relaxation.symmetric import RELAXATION_ERRORS, RelaxConfig, failed, relax
from matgen.runtime.processes import DIED, in_chunks, in_pool
from matgen.structures.candidate import Relaxation

M = TypeVar("M", Structure, Molecule)


@dataclass(frozen=True)
class Relaxed(Generic[M]):
    """Outcome of one of many relaxations: its place in the input, the final structure and the report."""

    index: int
    structure: M
    report: Relaxation


Start = tuple[int, Structure, float]
"""A structure to relax: its place in the input, itself, and the energy in eV/atom above which it is hopeless."""

TOGETHER = 16
"""Structures that one process relaxes side by side."""

ATOMS_TOGETHER = 512
"""Atoms in all of them at most, so that large cells do not ask for too much memory; a larger one walks alone."""


@lru_cache(maxsize=1)
def _surface() -> CHGNetSurface:
    return CHGNetSurface()


def relaxed_together(
    initial_geometries: Sequence[Start],
    make_calculator: Callable[[], Calculator] = chgnet_calculator,
    config: RelaxConfig | None = None,
) -> list[Relaxed[Structure]]:
    """Together in their free numbers where the potential is CHGNet, the rest by ASE, one by one.

    Args:
        initial_geometries: structures, each with its index and its ceiling.
        make_calculator: function of a module that builds an ASE calculator; each process calls it once.
        config: thresholds; the defaults if left out.

    Returns:
        One outcome for each start, in any order.
    """
    config = config or RelaxConfig()
    found: list[Relaxed[Structure]] = []
    if make_calculator is chgnet_calculator:
        for group in batches(
            range(len(initial_geometries)), [len(structure) for _, structure, _ in initial_geometries], ATOMS_TOGETHER
        ):
            found += _free([initial_geometries[index] for index in group], config)
    done = {result.index for result in found}
    alone = [(index, structure) for index, structure, _ in initial_geometries if index not in done]
    return found + [Relaxed(i, *relax(structure, kept_calculator(make_calculator), config)) for i, structure in alone]


def _free(initial_geometries: list[Start], config: RelaxConfig) -> list[Relaxed[Structure]]:
    """In free numbers; where that fails each by itself, so that one crystal's fault is not another's."""
    found: list[Relaxed[Structure]] = []
    try:
        for result in relax_batch(initial_geometries, _surface(), config, slots=TOGETHER):
            found.append(Relaxed(*result))  # noqa: PERF401 (what is there before an error stays)
    except RELAXATION_ERRORS:
        done = {result.index for result in found}
        rest = [start for start in initial_geometries if start[0] not in done] if len(initial_geometries) > 1 else []
        found += [result for start in rest for result in _free([start], config)]
    return found


def batches(indices: Iterable[int], sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Indices, small ones first, in batches of at most so many atoms; a larger one alone."""
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
) -> Iterator[Relaxed[Structure]]:
    """Relax structures in a pool of processes and yield each result as soon as it is there.

    Structures are taken from the iterable as workers get free. Leaving the loop early, or an interrupt, stops the
    workers. Workers are fresh interpreters with one thread each; they do not import the main script.

    CHGNet relaxes them in the free numbers of their symmetry, `TOGETHER` at a time (`relax_free`); ASE those whose
    symmetry finds no description, and everything where the calculator is another.

    Args:
        structures: starts.
        make_calculator: function that builds an ASE calculator; each process calls it once. A function of a module
            is built once per process, a lambda once per structure.
        config: thresholds; the defaults if left out.
        n_jobs: processes; 1 stays in this one.
        ceilings: for each structure the energy in eV/atom above which it need not be pursued; only the walk in free
            numbers looks at it.

    Yields:
        Results in the order in which they finish. Every structure yields one, also if its worker died.
    """
    limits = repeat(math.inf) if ceilings is None else ceilings
    initial_geometries = ((i, *pair) for i, pair in enumerate(zip(structures, limits, strict=False)))
    size = TOGETHER if make_calculator is chgnet_calculator else 1
    work = partial(relaxed_together, make_calculator=make_calculator, config=config)
    for results in in_pool(work, in_chunks(initial_geometries, size), given_up, n_jobs):
        yield from results


def given_up(start: tuple[int, M, float]) -> Relaxed[M]:
    """What to report of a structure over which workers die."""
    return Relaxed(start[0], start[1], failed(DIED, "unknown"))
