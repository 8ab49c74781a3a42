"""Random symmetric crystals by pyxtal: a neutral composition, a compatible space group, a usual volume."""

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pymatgen.core import Structure
from pyxtal import pyxtal
from pyxtal.lattice import Lattice
from pyxtal.msg import Comp_CompatibilityError, VolumeError
from pyxtal.symmetry import Group

from baselines.compositions import balanced_compositions
from baselines.proposals import Setting
from matgen.chemistry.elements import SYMBOLS, atomic_volumes
from matgen.templates.crystal_rules import fits

TRIES = 16
"""Compositions per round."""

TIME_OUT = 2.0
"""CPU seconds after which a composition is given up; all but one in sixty take less than 1 s."""

FAILURES = (RuntimeError, Comp_CompatibilityError, VolumeError, TimeoutError)
"""Errors of a trial without a crystal: too crowded, not compatible, no lattice, out of time."""


class RandomSymmetric:
    """Compositions of `balanced_compositions`, with uniform random compatible space groups.

    Every trial has random numbers of its own, so that one that runs out of time does not change the others.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def round(self, number: int) -> Iterator[Structure]:
        """Yield the crystals that pyxtal makes of random compositions."""
        for i in range(TRIES):
            rng = np.random.default_rng([self.setting.seed, number, i])
            counts = next(balanced_compositions(self.setting.table, rng, alloys=self.setting.gap is None))
            with _cpu_limit(TIME_OUT), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    structure = random_crystal(counts, rng)
                except FAILURES:
                    continue
            yield structure


def random_crystal(counts: dict[int, int], rng: np.random.Generator) -> Structure:
    """Return a primitive cell with these atoms, at the sum of their usual volumes.

    Raises:
        RuntimeError: there is no arrangement without overlaps.
    """
    groups = [group for group in range(2, 231) if fits(group, tuple(sorted(counts.values())))]
    group = Group(int(rng.choice(groups)))
    volumes = atomic_volumes().tolist()
    volume = sum(n * volumes[z] for z, n in counts.items()) * group.cellsize()
    crystal = pyxtal()
    crystal.from_random(
        3,
        group,
        [SYMBOLS[z] for z in counts],
        [n * group.cellsize() for n in counts.values()],
        lattice=Lattice(group.lattice_type, volume, random_state=rng),
        max_count=1,
        random_state=rng,
    )
    return crystal.to_pymatgen().get_primitive_structure()


@contextmanager
def _cpu_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after this much CPU time of the process."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
