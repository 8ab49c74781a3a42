"""What a design run hands out: a structure with everything that is known about it. Data only."""

from dataclasses import dataclass, field

from pymatgen.core.structure import Structure


@dataclass(frozen=True)
class Prediction:
    """A property as a predictor sees it: median and standard deviation, in `unit`."""

    value: float
    spread: float
    unit: str


@dataclass(frozen=True)
class Verdict:
    """What one check says of one candidate.

    Attributes:
        name: name of the check.
        passed: whether the candidate survives it.
        value: the number that decided; NaN where none could be had.
        unit: unit of `value`, empty for pure numbers.
        reason: one sentence for a reader, whatever the outcome.
    """

    name: str
    passed: bool
    value: float
    unit: str
    reason: str


@dataclass(frozen=True)
class SpaceGroup:
    """Number 1..230 and Hermann–Mauguin symbol."""

    number: int
    symbol: str


@dataclass(frozen=True)
class Relaxation:
    """How a relaxation went.

    Attributes:
        converged: whether forces and stress fell below their thresholds.
        reason: why it stopped.
        steps: optimizer steps taken.
        energy: final potential energy, eV/atom.
        energy_before: the same at the start, eV/atom.
        max_force: largest force on an atom, eV/Å.
        max_stress: largest component of the stress, eV/Å³.
        seconds: wall time.
        potential: name and version of the potential.
    """

    converged: bool
    reason: str
    steps: int
    energy: float
    energy_before: float
    max_force: float
    max_stress: float
    seconds: float
    potential: str


@dataclass(frozen=True)
class Candidate:
    """One proposed crystal.

    Attributes:
        name: unique within a run, and the stem of its CIF.
        structure: final structure.
        unrelaxed: the structure before relaxation; the same one if there was none.
        space_group: space group of `structure`.
        template: the template in words.
        seed: index of the draw it came from.
        energies: weighted energy terms by name, dimensionless.
        properties: predictions by property name.
        verdicts: outcome of every check by name.
        relaxation: report of the relaxation; None where no potential was asked for.
    """

    name: str
    structure: Structure
    unrelaxed: Structure
    space_group: SpaceGroup
    template: str = ""
    seed: int = 0
    energies: dict[str, float] = field(default_factory=dict)
    properties: dict[str, Prediction] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    relaxation: Relaxation | None = None
