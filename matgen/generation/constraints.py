"""Which materials a request allows: composition, symmetry, molecular graph."""

from dataclasses import dataclass
from functools import cached_property

from matgen.rules.parser import parse_rule
from matgen.rules.statement import Rule
from matgen.templates.molecule import MoleculeTemplate


@dataclass(frozen=True)
class CompositionConstraints:
    """Which elements may occur, and how many atoms.

    Attributes:
        elements: symbols of the only elements that may occur; empty for any. Molecules may always hold hydrogen.
        include: symbols that must occur.
        exclude: symbols that must not occur.
        avoid_hazard: whether toxic and radioactive elements (`matgen.chemistry.hazards`) must not occur either.
        formula: composition to keep, in any number of formula units (crystals) or as written (molecules); empty for
            any.
        formula_units: formula units in the primitive cell of a crystal; 0 for any number.
        max_atoms: most atoms in the primitive cell, or heavy atoms of a molecule; 0 for as many as the models know.
        rules: logical rules that must hold, such as `Li implies O`; see `matgen.rules.parser`.
        prefer: rules that had better hold: each costs `sampler.rules` times its distance.
    """

    elements: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    avoid_hazard: bool = False
    formula: str = ""
    formula_units: int = 0
    max_atoms: int = 0
    rules: tuple[str, ...] = ()
    prefer: tuple[str, ...] = ()

    @cached_property
    def statements(self) -> tuple[Rule, ...]:
        """The rules that must hold, parsed."""
        return tuple(map(parse_rule, self.rules))

    @cached_property
    def preferences(self) -> tuple[Rule, ...]:
        """The rules that had better hold, parsed."""
        return tuple(map(parse_rule, self.prefer))


@dataclass(frozen=True)
class SymmetryConstraints:
    """Symmetry of crystals.

    Attributes:
        space_groups: allowed numbers; empty for any but 1, which has no symmetry.
    """

    space_groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class GraphConstraints:
    """Graph of molecules.

    Attributes:
        smiles: molecular graph to keep, with the stereo that it states; empty for any.
        smarts: patterns that the molecule must hold.
        avoid: patterns that it must not hold.
        charge: net charge, e.
    """

    smiles: str = ""
    smarts: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    charge: int = 0

    @cached_property
    def template(self) -> MoleculeTemplate | None:
        """The molecular graph to keep; None for any."""
        return MoleculeTemplate.of(self.smiles) if self.smiles else None
