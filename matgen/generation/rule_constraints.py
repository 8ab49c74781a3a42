"""Whether the logical rules of a request can hold together with its other constraints on the composition."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from matgen.chemistry.charges import KNOWN, oxidation_states
from matgen.chemistry.elements import HYDROGEN, SYMBOLS, known_elements
from matgen.chemistry.hazards import HAZARDOUS
from matgen.generation.constraints import CompositionConstraints
from matgen.generation.errors import RequestError
from matgen.generation.formulas import element, formula_counts, parse_formula
from matgen.rules.composition import composition_distance
from matgen.rules.satisfiability import satisfiable, smallest_contradiction
from matgen.rules.statement import And, Comparison, Operator, Or, Quantity, Rule, Tree, comparisons, negation, present
from matgen.templates.crystal_rules import MAX_ATOMS, ContradictionError
from matgen.templates.fragments import Fragment
from matgen.templates.molecule_rules import HEAVY_ELEMENTS, most_hydrogens
from matgen.templates.skeleton import MAX_HEAVY


@dataclass(frozen=True)
class Domain:
    """The compositions that a kind of material may have.

    Attributes:
        elements: atomic numbers.
        most: atoms of the largest.
        limits: rules of the kind.
        compositions: those that a given formula leaves; empty without one.
        text: what they are, for messages.
    """

    elements: frozenset[int]
    most: int
    limits: tuple[Rule, ...]
    compositions: tuple[dict[int, int], ...]
    text: str


def crystals(composition: CompositionConstraints) -> Domain:
    """Return the compositions of primitive cells."""
    unit = parse_formula(composition.formula) if composition.formula else {}
    units = [composition.formula_units] if composition.formula_units else range(1, MAX_ATOMS + 1)
    cells = ({z: n * k for z, n in unit.items()} for k in units)
    fitting = tuple(cell for cell in cells if 0 < sum(cell.values()) <= MAX_ATOMS)
    return Domain(frozenset(known_elements()), MAX_ATOMS, (), fitting, f"crystal of at most {MAX_ATOMS} atoms")


def molecules(composition: CompositionConstraints, charge: int) -> Domain:
    """Return the compositions of molecules."""
    counts = formula_counts(composition.formula, known=False) if composition.formula else {}
    sizes = [
        And((_count(HEAVY_ELEMENTS, "==", k), _count(frozenset({HYDROGEN}), "<=", most_hydrogens(k, charge))))
        for k in range(1, MAX_HEAVY + 1)
    ]
    return Domain(
        elements=HEAVY_ELEMENTS | {HYDROGEN},
        most=MAX_HEAVY + most_hydrogens(MAX_HEAVY, charge),
        limits=(Rule("", Or(tuple(sizes))),),
        compositions=(counts,) if counts else (),
        text=f"molecule of at most {MAX_HEAVY} heavy atoms",
    )


def check_rules(composition: CompositionConstraints, domain: Domain, more: Sequence[Rule] = ()) -> None:
    """Check that the rules can hold, all at once, with the other constraints, and with each preference.

    Args:
        composition: the rules, and constraints on the composition.
        domain: the compositions of the kind.
        more: what else holds, as rules.

    Raises:
        RequestError: a rule on what molecules do not have.
        ContradictionError: they cannot; the message names the fewest that contradict each other.
    """
    if not (composition.rules or composition.prefer):
        return
    if domain.elements - {HYDROGEN} <= HEAVY_ELEMENTS:
        _check_readable(composition)
    formula = Rule(f"--formula {composition.formula}", And(())) if composition.formula else None
    others = [*([formula] if formula else []), *_constraints(composition, domain), *more]
    possible = partial(_possible, domain=domain, formula=formula)
    for preference in (None, *composition.preferences):
        wanted = [] if preference is None else [preference]
        fewest = smallest_contradiction([*others, *composition.statements, *wanted], possible)
        if fewest:
            named = " and ".join(rule.text if rule.text.startswith("--") else repr(rule.text) for rule in fewest)
            fault = "which contradict each other" if len(fewest) > 1 else "which none does"
            raise ContradictionError(
                f"expected rules that some {domain.text} satisfies, got {named}, {fault}{_states(fewest)}; change or "
                "drop one"
            )


def _possible(rules: Sequence[Rule], domain: Domain, formula: Rule | None) -> bool:
    """Tell whether rules can hold together; with the formula among them, whether a composition of it satisfies them."""
    if formula not in rules:
        return satisfiable([*domain.limits, *rules], domain.elements, domain.most)
    return any(
        all(not composition_distance(rule, tuple(sorted(atoms.items()))) for rule in rules)
        for atoms in domain.compositions
    )


def within(n_elements: tuple[int, int]) -> list[Rule]:
    """Return smallest and largest number of distinct elements as rules, where they say more than that one occurs."""
    fewest, most = n_elements
    kinds = Quantity("kinds", frozenset(known_elements()))
    found = [Rule(f"n_elements >= {fewest}", Comparison(kinds, ">=", Fraction(fewest)))] if fewest > 1 else []
    if most < MAX_ATOMS:
        found.append(Rule(f"n_elements <= {most}", Comparison(kinds, "<=", Fraction(most))))
    return found


def held(fragment: Fragment) -> Rule:
    """Return the atoms of a fragment as a rule, and how many a molecule has with one more at each open position."""
    atoms = [_count(frozenset({z}), ">=", n) for z, n in sorted(fragment.counts.items()) if n]
    atoms.append(_count(HEAVY_ELEMENTS, ">=", fragment.fewest))
    return Rule(f"--fragment {fragment.smiles}", And(tuple(atoms)))


def _constraints(composition: CompositionConstraints, domain: Domain) -> list[Rule]:
    """Return the other constraints as rules, named as their options."""
    found: list[Rule] = []
    free = {HYDROGEN} if domain.elements - {HYDROGEN} <= HEAVY_ELEMENTS else set()
    if composition.elements:
        allowed = {element(one, must_be_known=False) for one in composition.elements} | free
        found.append(Rule(f"--elements {','.join(composition.elements)}", _without(domain.elements - allowed)))
    found += [Rule(f"--include {symbol}", present(_one(symbol))) for symbol in composition.include]
    found += [Rule(f"--exclude {symbol}", _without(_one(symbol))) for symbol in composition.exclude]
    if composition.avoid_hazard:
        found.append(Rule("--avoid-hazard", _without(HAZARDOUS)))
    if composition.max_atoms:
        limit = _count(domain.elements - free, "<=", composition.max_atoms)
        found.append(Rule(f"--max-atoms {composition.max_atoms}", limit))
    return found


def _states(rules: Sequence[Rule]) -> str:
    """Return which oxidation states count, of the elements whose states rules compare."""
    leaves = (leaf.quantity for rule in rules for leaf in comparisons(rule.tree))
    symbols = sorted({SYMBOLS[z] for one in leaves if one.kind == "oxidation" for z in one.elements})
    known = [f"{x} {', '.join(f'{q:+d}' for q in oxidation_states(KNOWN).get(x, ())) or 'none'}" for x in symbols]
    return f" (the oxidation states that count: {'; '.join(known)})" if known else ""


def _check_readable(composition: CompositionConstraints) -> None:
    for rule in (*composition.statements, *composition.preferences):
        for leaf in comparisons(rule.tree):
            if leaf.quantity.kind in {"oxidation", "coordination"}:
                raise RequestError(
                    f"expected rules on elements, counts and shares for a molecule, got {leaf.quantity.kind} in "
                    f"{rule.text!r}; give a pattern to --smarts or --avoid instead"
                )


def _count(elements: frozenset[int], operator: Operator, number: int) -> Comparison:
    return Comparison(Quantity("count", elements), operator, Fraction(number))


def _one(symbol: str) -> frozenset[int]:
    return frozenset({element(symbol, must_be_known=False)})


def _without(elements: frozenset[int]) -> Tree:
    return negation(present(elements))
