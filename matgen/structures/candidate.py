"""Candidates, the results of a design run: a structure with its predictions and verdicts."""

import math
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from pymatgen.core.structure import Molecule, Structure

from matgen.errors import UserError
from matgen.structures.candidate_html import candidate_html
from matgen.structures.pymatgen_warnings import read_electronegativities

read_electronegativities()  # wherever there is a structure, before pymatgen warns

KindName = Literal["crystal", "molecule"]
"""Kind of a material: a crystal is periodic, a molecule is not."""

Material = Structure | Molecule
"""A crystal or a molecule in space."""

M = TypeVar("M", Structure, Molecule)


class KindError(UserError, TypeError):
    """A molecule where a crystal is required, or the reverse."""


@dataclass(frozen=True)
class Prediction:
    """Predicted property of one candidate.

    Attributes:
        value: median, in `unit`.
        spread: standard deviation of the whole distribution.
        unit: of both.
        epistemic: the part of the spread due to disagreement of the members of an ensemble; 0 for a single model.
        probability: that the target of the run is met, under the whole distribution; NaN without a target.
    """

    value: float
    spread: float
    unit: str
    epistemic: float = 0.0
    probability: float = math.nan

    @property
    def aleatoric(self) -> float:
        """The rest of the spread: the uncertainty of each member."""
        return math.sqrt(max(self.spread**2 - self.epistemic**2, 0.0))


FAIL_WITHOUT_VALUE = frozenset(
    {
        *("reads", "parses", "cif", "sdf", "rules", "no_copy"),
        *("known_chemistry", "graph_kept", "stereo", "posebusters"),
    }
)
"""Checks that fail without a value; of others, a failed verdict without a value was not assessed."""


@dataclass(frozen=True)
class Verdict:
    """Result of one check of one candidate.

    Attributes:
        name: name of the check.
        passed: whether the candidate passes.
        value: the tested value; NaN if it could not be calculated.
        unit: unit of `value`, empty for pure numbers.
        reason: one sentence that explains the result.
    """

    name: str
    passed: bool
    value: float
    unit: str
    reason: str

    @property
    def assessed(self) -> bool:
        """Whether the check came to an answer: it passed, or has a value that fails, or is one of those without."""
        return self.passed or not math.isnan(self.value) or self.name in FAIL_WITHOUT_VALUE


@dataclass(frozen=True)
class SpaceGroup:
    """Number 1..230 and Hermann–Mauguin symbol."""

    number: int
    symbol: str


@dataclass(frozen=True)
class Relaxation:
    """Report of a relaxation.

    Attributes:
        converged: whether forces and stress fell below their thresholds.
        reason: why it stopped.
        steps: optimizer steps taken.
        energy: final potential energy, eV/atom.
        energy_before: potential energy of the initial geometry, eV/atom.
        max_force: largest force on an atom, eV/Å.
        max_stress: largest component of the stress, eV/Å³.
        seconds: wall time.
        potential: name and version of the potential.
        pressure: at which it was relaxed, GPa.
        work: pressure times final volume, eV/atom.
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
    pressure: float = 0.0
    work: float = 0.0

    @property
    def enthalpy(self) -> float:
        """Final enthalpy, eV/atom; the energy where there is no pressure."""
        return self.energy + self.work


@dataclass(frozen=True)
class NearestExample:
    """The example of the request that a candidate resembles most.

    Attributes:
        name: its file, and its place in it.
        distance: over the typical distance between the examples, dimensionless, before relaxation.
    """

    name: str
    distance: float


@dataclass(frozen=True)
class Candidate:
    """One proposed crystal or molecule.

    Attributes:
        name: unique within a run, and the stem of its file.
        structure: final structure; the atoms of a molecule are in the order of the graph of its template.
        unrelaxed: the structure before relaxation; equal to `structure` without relaxation.
        space_group: space group of `structure`; None for a molecule.
        template: the template as text; for a molecule its canonical SMILES.
        seed: rank of the proposal in its round, from 0.
        energies: weighted energy terms by name, dimensionless.
        properties: predictions by property name.
        verdicts: result of every check by name.
        relaxation: report of the relaxation; None without one.
        family: name of the best candidate of the run with the same Wyckoff layout and on each site an element of the
            same chemical group (`templates.families`); its own name if it is the best; empty if not determined.
        nearest_example: None if the request names no examples.
        files: texts of further files about it, by folder and suffix, such as `phonons/json`, until they are written.
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
    nearest_example: NearestExample | None = None
    files: dict[str, str] = field(default_factory=dict)

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

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        return candidate_html(self)


def kind_of(material: Material) -> KindName:
    """Return whether a material is a crystal or a molecule."""
    return "molecule" if isinstance(material, Molecule) else "crystal"


def as_crystal(material: Material, name: str = "") -> Structure:
    """Return a material that must be a crystal.

    Raises:
        KindError: it is a molecule.
    """
    return _of_kind(material, Structure, name)


def as_molecule(material: Material, name: str = "") -> Molecule:
    """Return a material that must be a molecule.

    Raises:
        KindError: it is a crystal.
    """
    return _of_kind(material, Molecule, name)


def _of_kind(material: Material, expected: type[M], name: str) -> M:
    if not isinstance(material, expected):
        wanted, found = ("crystal", "molecule") if expected is Structure else ("molecule", "crystal")
        raise KindError(f"expected a {wanted}, got the {found} {name or material.formula}; leave {found}s out")
    return material
