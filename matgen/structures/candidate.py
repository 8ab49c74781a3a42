"""What a design run hands out: a structure with everything that is known about it. Data only."""

import math
from dataclasses import dataclass, field
from typing import Literal

from pymatgen.core.structure import Molecule, Structure

from matgen.errors import UserError

KindName = Literal["crystal", "molecule"]
"""What a material is: a crystal repeats, a molecule does not."""

Material = Structure | Molecule
"""A crystal or a molecule in space."""


class KindError(UserError, TypeError):
    """A molecule where only a crystal will do, or the other way round."""


@dataclass(frozen=True)
class Prediction:
    """A property as a predictor sees it.

    Attributes:
        value: median, in `unit`.
        spread: standard deviation of the whole distribution.
        unit: of both.
        epistemic: the part of the spread that the members of an ensemble disagree by; 0 of one model alone.
        probability: that the wish of the run is met, under the whole distribution; NaN where nothing is wished of it.
    """

    value: float
    spread: float
    unit: str
    epistemic: float = 0.0
    probability: float = math.nan

    @property
    def aleatoric(self) -> float:
        """The rest of the spread: what each member doubts by itself."""
        return math.sqrt(max(self.spread**2 - self.epistemic**2, 0.0))


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
    """One proposed crystal or molecule.

    Attributes:
        name: unique within a run, and the stem of its file.
        structure: final structure; the atoms of a molecule stand in the order of the graph of its template.
        unrelaxed: the structure before relaxation; the same one if there was none.
        space_group: space group of `structure`; None for a molecule.
        template: the template in words; of a molecule its canonical SMILES.
        seed: index of the draw it came from.
        energies: weighted energy terms by name, dimensionless.
        properties: predictions by property name.
        verdicts: outcome of every check by name.
        relaxation: report of the relaxation; None where no potential was asked for.
        family: name of the best candidate of the run that has the same layout and on each site an element of the same
            chemical group (`templates.family`): its own unless it is a near-repeat; empty where none was looked for.
    """

    name: str
    structure: Material
    unrelaxed: Material
    space_group: SpaceGroup | None
    template: str = ""
    seed: int = 0
    energies: dict[str, float] = field(default_factory=dict)
    properties: dict[str, Prediction] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    relaxation: Relaxation | None = None
    family: str = ""

    @property
    def kind(self) -> KindName:
        """Whether it is a crystal or a molecule."""
        return kind_of(self.structure)

    @property
    def crystal(self) -> Structure:
        """The final structure of a crystal.

        Raises:
            KindError: it is a molecule.
        """
        return as_crystal(self.structure, self.template or self.name)

    @property
    def molecule(self) -> Molecule:
        """The final structure of a molecule.

        Raises:
            KindError: it is a crystal.
        """
        return as_molecule(self.structure, self.template or self.name)


def kind_of(material: Material) -> KindName:
    """Whether something is a crystal or a molecule."""
    return "molecule" if isinstance(material, Molecule) else "crystal"


def as_crystal(material: Material, name: str = "") -> Structure:
    """The same, known to be a crystal.

    Raises:
        KindError: it is a molecule.
    """
    if isinstance(material, Molecule):
        raise KindError(f"expected a crystal, got the molecule {name or material.formula}; leave molecules out")
    return material


def as_molecule(material: Material, name: str = "") -> Molecule:
    """The same, known to be a molecule.

    Raises:
        KindError: it is a crystal.
    """
    if isinstance(material, Structure):
        raise KindError(f"expected a molecule, got the crystal {name or material.formula}; leave crystals out")
    return material
