"""Constraints of a request as rules on templates."""

from collections.abc import Mapping
from dataclasses import replace

from matgen.chemistry.elements import HYDROGEN, SYMBOLS, UnknownElementError, known_elements
from matgen.chemistry.hazards import HAZARDOUS
from matgen.generation.constraints import CompositionConstraints, GraphConstraints, SymmetryConstraints
from matgen.generation.errors import RequestError
from matgen.generation.formulas import element, formula_counts, parse_formula
from matgen.generation.impossible import check_hazards
from matgen.generation.rule_constraints import check_rules, crystals, held, molecules, proposed_elements, within
from matgen.templates.crystal_rules import MAX_ATOMS, ContradictionError, TemplateRules
from matgen.templates.fragments import Fragment
from matgen.templates.molecule_rules import MoleculeRules
from matgen.templates.skeleton import MAX_HEAVY

MOST = {"crystal": MAX_ATOMS, "molecule": MAX_HEAVY}
"""Atoms of a primitive cell, or heavy atoms of a molecule, that the models know."""

MOLECULE_ELEMENTS = (HYDROGEN, 6, 7, 8, 9)
"""Elements of the molecules of the training set."""


def crystal_rules(
    composition: CompositionConstraints,
    symmetry: SymmetryConstraints,
    n_elements: tuple[int, int] = (1, MAX_ATOMS),
    given: frozenset[int] = frozenset(),
) -> TemplateRules:
    """Return the hard constraints on crystals; noble gases occur only where they are asked for.

    Args:
        composition: which elements may occur, and how many atoms.
        symmetry: which space groups.
        n_elements: smallest and largest number of distinct elements.
        given: elements of crystals that the request gives, or that it puts into them.

    Raises:
        RequestError: the formula has more atoms than the models know.
        UnknownElementError: a symbol is no element, or no training crystal holds it.
        RuleError: a logical rule cannot be read.
        ContradictionError: no template satisfies the rules.
    """
    check_hazards(composition)
    max_atoms = composition.max_atoms or MAX_ATOMS
    others = proposed_elements(composition) | given.intersection(known_elements())
    allowed = frozenset(map(element, composition.elements)) or others
    excluded = _excluded(composition)
    counts = parse_formula(composition.formula) if composition.formula else {}
    atoms = sum(counts.values())
    if atoms > max_atoms == MAX_ATOMS:
        raise RequestError(
            f"{composition.formula} has {atoms} atoms, more than the {MAX_ATOMS} that the models know; "
            "ask for a formula with fewer"
        )
    rules = TemplateRules(
        allowed_elements=allowed - excluded,
        required_elements=frozenset(map(element, composition.include)),
        composition=tuple(counts.items()),
        units=composition.formula_units,
        space_groups=frozenset(symmetry.space_groups) or frozenset(range(2, 231)),
        max_atoms=max_atoms,
        n_elements=n_elements,
    )
    check_rules(composition, crystals(composition), within(n_elements))
    return replace(rules, statements=composition.statements) if composition.rules else rules


def molecule_rules(
    composition: CompositionConstraints, graph: GraphConstraints, fragment: Fragment | None = None
) -> MoleculeRules:
    """Return the hard constraints on molecular graphs, with a fragment that each contains.

    Raises:
        RequestError: hydrogen is required or excluded, or a logical rule reads what molecules do not have.
        RuleError: a logical rule cannot be read.
        UnknownElementError: a symbol is no element, or no training molecule holds it.
        ContradictionError: no molecule satisfies the rules.
    """
    check_hazards(composition)
    known = frozenset(MOLECULE_ELEMENTS)
    allowed = frozenset(map(_molecule_element, composition.elements)) or known
    excluded = _excluded(composition)
    if HYDROGEN in excluded or "H" in map(str.strip, composition.include):
        raise RequestError("expected elements other than H: hydrogens fill what valence is left; leave H out")
    required = frozenset(map(_molecule_element, composition.include))
    patterns = graph.smarts if fragment is None else (*graph.smarts, fragment.pattern)
    most = composition.max_atoms or MAX_HEAVY
    counts = formula_counts(composition.formula, known=False) if composition.formula else {}
    for z in counts:
        _check_molecule_element(z)
    if fragment is not None:
        required |= fragment.elements
        _check_fragment(fragment, graph, most, counts)
    charge = graph.charge or (graph.template.charge if graph.template else 0)
    rules = MoleculeRules(
        allowed_elements=allowed - excluded - {HYDROGEN},
        required_elements=required - {HYDROGEN},
        composition=tuple(counts.items()),
        n_heavy=(1, most),
        required_smarts=patterns,
        forbidden_smarts=graph.avoid,
        charge=charge,
    )
    check_rules(composition, molecules(composition, charge), [] if fragment is None else [held(fragment)])
    return replace(rules, statements=composition.statements) if composition.rules else rules


def _check_fragment(fragment: Fragment, graph: GraphConstraints, most: int, counts: Mapping[int, int]) -> None:
    """Check that a molecule with a fragment can keep the other constraints.

    Args:
        fragment: that each molecule contains.
        graph: patterns to avoid.
        most: heavy atoms.
        counts: atoms of each element of the formula; empty for any.

    Raises:
        RequestError: the molecule would be too large.
        ContradictionError: the fragment is forbidden, or has more atoms than the formula.
    """
    smiles = fragment.smiles
    if fragment.fewest > most:
        raise RequestError(
            f"expected a fragment that fits into {most} heavy atoms, got {smiles}, which needs {fragment.fewest}: its "
            f"own and one at each [*]; take a smaller one{', or raise max_atoms' if most < MAX_HEAVY else ''}"
        )
    for pattern in graph.avoid:
        if fragment.holds(pattern):
            raise ContradictionError(
                f"the fragment {smiles} holds {pattern}, which is to be avoided; drop one of the two"
            )
    for z, n in fragment.counts.items() if counts else ():
        if n > counts.get(z, 0):
            raise ContradictionError(
                f"the fragment {smiles} has {n} {SYMBOLS[z]}, the formula {counts.get(z, 0)}; drop one of the two"
            )


def _excluded(composition: CompositionConstraints) -> frozenset[int]:
    """Return the atomic numbers that must not occur."""
    named = frozenset(element(symbol, must_be_known=False) for symbol in composition.exclude)
    return named | HAZARDOUS if composition.avoid_hazard else named


def _molecule_element(symbol: str) -> int:
    """Return the atomic number of a symbol that molecules of the training set hold.

    Raises:
        UnknownElementError: they do not hold it.
    """
    z = element(symbol, must_be_known=False)
    _check_molecule_element(z)
    return z


def _check_molecule_element(z: int) -> None:
    if z not in MOLECULE_ELEMENTS:
        known = ", ".join(SYMBOLS[e] for e in MOLECULE_ELEMENTS)
        raise UnknownElementError(
            f"expected an element that the molecules of the training set hold ({known}), got {SYMBOLS[z]}"
        )
