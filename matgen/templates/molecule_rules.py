"""Hard constraints on molecular graphs."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from matgen.chemistry.elements import SYMBOLS
from matgen.rules.composition import composition_distance
from matgen.rules.statement import Rule
from matgen.templates.crystal_rules import ContradictionError
from matgen.templates.late_rdkit import Chem
from matgen.templates.molecule import MoleculeTemplate, parsed, parsed_pattern
from matgen.templates.skeleton import ATOM_TYPES, MAX_HEAVY

HEAVY_ELEMENTS = frozenset(z for z, _, _ in ATOM_TYPES)
"""Elements of the molecules that can be sampled, other than hydrogen."""

_NEUTRAL_VALENCE = {z: valence for z, charge, valence in ATOM_TYPES if charge == 0}


@dataclass(frozen=True)
class MoleculeRules:
    """Hard constraints on molecules; the defaults require only neutrality.

    Attributes:
        allowed_elements: atomic numbers that may occur; hydrogen always may.
        required_elements: atomic numbers that must occur, other than hydrogen.
        composition: (atomic number, atoms) of the molecule with its hydrogens; empty for any.
        n_heavy: smallest and largest number of atoms other than hydrogen.
        required_smarts: patterns that must occur.
        forbidden_smarts: patterns that must not occur.
        charge: net formal charge.
        max_rings: largest number of rings in the smallest set of smallest rings; None for any.
        statements: logical rules on the composition, hydrogens included.
    """

    allowed_elements: frozenset[int] = HEAVY_ELEMENTS
    required_elements: frozenset[int] = frozenset()
    composition: tuple[tuple[int, int], ...] = ()
    n_heavy: tuple[int, int] = (1, MAX_HEAVY)
    required_smarts: tuple[str, ...] = ()
    forbidden_smarts: tuple[str, ...] = ()
    charge: int = 0
    max_rings: int | None = None
    statements: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        """Check that the rules can be satisfied, as far as that is known.

        Raises:
            ContradictionError: they contradict each other, or no molecule satisfies them.
            MoleculeError: a SMARTS is not valid.
        """
        for smarts in (*self.required_smarts, *self.forbidden_smarts):
            parsed_pattern(smarts)
        _check_elements(self)
        _check_counts(self)
        _check_composition(self)

    def satisfied(self, template: MoleculeTemplate) -> bool:
        """Return whether a molecule satisfies every rule."""
        return next(_objections(self, template), None) is None

    def why_not(self, template: MoleculeTemplate) -> str:
        """Return the first rule that a molecule violates, as a sentence; empty if it satisfies all."""
        return next(_objections(self, template), "")


def _objections(rules: MoleculeRules, template: MoleculeTemplate) -> Iterator[str]:
    """Yield the violated rules of a molecule, cheap tests first."""
    molecule = _heavy(template.smiles)
    yield from _miscounts(rules, composition_of(template))
    charge = sum(atom.GetFormalCharge() for atom in molecule.GetAtoms())
    if charge != rules.charge:
        yield f"has charge {charge:+d}, not {rules.charge:+d}; give --charge {charge}"
    n_rings = molecule.GetRingInfo().NumRings()
    if rules.max_rings is not None and n_rings > rules.max_rings:
        yield f"has {n_rings} rings, more than {rules.max_rings}"
    has_stereo = any(mark in template.smiles for mark in "@/\\")  # open stereo can still match the pattern
    for smarts in rules.required_smarts:
        if not molecule.HasSubstructMatch(parsed_pattern(smarts), useChirality=has_stereo):
            yield f"lacks the required pattern {smarts}"
    for smarts in rules.forbidden_smarts:
        if molecule.HasSubstructMatch(parsed_pattern(smarts), useChirality=True):
            yield f"shows the forbidden pattern {smarts}"


def _miscounts(rules: MoleculeRules, found: dict[int, int]) -> Iterator[str]:
    """Yield the violated rules of a composition."""
    present = frozenset(found) - {1}
    n_heavy = sum(found[z] for z in present)
    if not present <= rules.allowed_elements:
        yield f"holds {_names(present - rules.allowed_elements)}, which is not allowed"
    if not rules.required_elements <= present:
        yield f"holds no {_names(rules.required_elements - present)}, which is required"
    if not rules.n_heavy[0] <= n_heavy <= rules.n_heavy[1]:
        yield f"has {n_heavy} heavy atoms, outside {rules.n_heavy[0]} to {rules.n_heavy[1]}"
    if rules.composition and found != dict(rules.composition):
        yield f"is {_formula(found)}, not {_formula(dict(rules.composition))}"
    atoms = tuple(sorted(found.items()))
    for rule in rules.statements:
        if composition_distance(rule, atoms):
            yield f"is {_formula(found)}, which breaks the rule {rule.text!r}"


def most_hydrogens(n_heavy: int, charge: int) -> int:
    """Return how many hydrogens heavy atoms of at most four bonds each can bind: 2 k + 2, and one for each charge."""
    return 2 * n_heavy + 2 + abs(charge)


def composition_of(template: MoleculeTemplate) -> dict[int, int]:
    """Return the number of atoms of each element, by atomic number, without building the whole graph."""
    molecule = _heavy(template.smiles)
    counts = Counter(atom.GetAtomicNum() for atom in molecule.GetAtoms())
    counts[1] += sum(atom.GetTotalNumHs() for atom in molecule.GetAtoms())
    return {z: n for z, n in sorted(counts.items()) if n}


@lru_cache(maxsize=20_000)
def _heavy(smiles: str) -> Chem.Mol:
    """Return the molecule with its stereo and implicit hydrogens."""
    parameters = Chem.RemoveHsParameters()
    parameters.removeDefiningBondStereo = True  # type: ignore[assignment]  # RDKit's stubs are wrong here
    return Chem.RemoveHs(parsed(smiles), parameters)


def _names(elements: frozenset[int]) -> str:
    return ", ".join(SYMBOLS[z] for z in sorted(elements))


def _formula(composition: dict[int, int]) -> str:
    """Return the formula in Hill's order: carbon, hydrogen, then alphabetically."""
    first = [6, 1] if 6 in composition else []
    rest = sorted((z for z in composition if z not in first), key=lambda z: SYMBOLS[z])
    counts = [(z, composition[z]) for z in [*(z for z in first if z in composition), *rest]]
    return "".join(f"{SYMBOLS[z]}{n if n > 1 else ''}" for z, n in counts)


def _check_elements(rules: MoleculeRules) -> None:
    unknown = (rules.allowed_elements | rules.required_elements) - HEAVY_ELEMENTS
    if unknown:
        raise ContradictionError(
            f"expected elements among {_names(HEAVY_ELEMENTS)}, got {_names(unknown)}; training molecules hold no "
            "others (hydrogen comes by itself)"
        )
    charged = {math.copysign(1, charge) for z, charge, _ in ATOM_TYPES if charge and z in rules.allowed_elements}
    if rules.charge and (math.copysign(1, rules.charge) not in charged or abs(rules.charge) > rules.n_heavy[1]):
        raise ContradictionError(
            f"no molecule of {_names(rules.allowed_elements)} here has charge {rules.charge:+d}: known ions are "
            f"{', '.join(f'{SYMBOLS[z]}{charge:+d}' for z, charge, _ in ATOM_TYPES if charge)}"
        )
    if not rules.allowed_elements:
        raise ContradictionError("expected at least one allowed element, got none; allow some")
    excluded = rules.required_elements - rules.allowed_elements
    if excluded:
        raise ContradictionError(f"{_names(excluded)} is required, but not allowed; drop one of the two")
    both = set(rules.required_smarts) & set(rules.forbidden_smarts)
    if both:
        raise ContradictionError(f"{', '.join(sorted(both))} is both required and forbidden; drop one of the two")


def _check_counts(rules: MoleculeRules) -> None:
    fewest, most = rules.n_heavy
    if not 1 <= fewest <= most <= MAX_HEAVY:
        raise ContradictionError(
            f"expected n_heavy (fewest, most), 1 <= fewest <= most <= {MAX_HEAVY}, got {fewest, most}"
        )
    if len(rules.required_elements) > most:
        raise ContradictionError(
            f"{len(rules.required_elements)} elements are required, but only {most} heavy atoms allowed; raise n_heavy"
        )
    if rules.max_rings is not None and rules.max_rings < 0:
        raise ContradictionError(f"expected max_rings of at least 0, got {rules.max_rings}")


def _check_composition(rules: MoleculeRules) -> None:
    if not rules.composition:
        return
    counts = dict(rules.composition)
    formula = _formula(counts)
    if len(counts) < len(rules.composition) or min(counts.values()) < 1:
        raise ContradictionError(f"expected each element once with a positive count, got {rules.composition}")
    present = frozenset(counts) - {1}
    if not present <= rules.allowed_elements:
        raise ContradictionError(f"{formula} holds {_names(present - rules.allowed_elements)}, which is not allowed")
    if not rules.required_elements <= present:
        raise ContradictionError(f"{_names(rules.required_elements - present)} is required, but {formula} holds none")
    n_heavy = sum(n for z, n in counts.items() if z != 1)
    if not rules.n_heavy[0] <= n_heavy <= rules.n_heavy[1]:
        raise ContradictionError(f"{formula} has {n_heavy} heavy atoms, outside n_heavy = {rules.n_heavy}")
    spare = hydrogens_at_most(counts, rules.charge) - counts.get(1, 0)
    if spare < 0 or spare % 2:
        raise ContradictionError(
            f"no closed-shell molecule of charge {rules.charge:+d} is {formula}: it would take "
            f"{hydrogens_at_most(counts, rules.charge)} hydrogens or an even number fewer"
        )


def hydrogens_at_most(composition: dict[int, int], charge: int) -> int:
    """Return the number of hydrogens of a saturated acyclic molecule; each ring or further bond removes two.

    A positive ion of the known atom types has one valence more than its element, a negative one has one less.
    """
    heavy = {z: n for z, n in composition.items() if z != 1}
    return sum(_NEUTRAL_VALENCE[z] * n for z, n in heavy.items()) + charge - 2 * (sum(heavy.values()) - 1)
