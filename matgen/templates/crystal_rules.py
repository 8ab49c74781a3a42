"""Legal crystal templates, and hard constraints on them."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cache

from matgen.chemistry.elements import SYMBOLS, known_elements, reduced
from matgen.errors import UserError
from matgen.rules.composition import composition_distance
from matgen.rules.statement import Rule
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.wyckoff import multiplicities, wyckoff_table

MAX_ATOMS = 20  # of the primitive cell, as in the training crystals


def is_legal(template: CrystalTemplate) -> bool:
    """Return whether the sites belong to the space group and positions without free parameters occur at most once."""
    reusable = _reusable(template.space_group)
    used = [position for position, _ in template.sites]
    return bool(used) and all(p in reusable and (reusable[p] or used.count(p) == 1) for p in used)


@cache
def _reusable(space_group: int) -> dict[int, bool]:
    """Return the positions of a group, and whether each may be used more than once."""
    table = wyckoff_table()
    return {position: bool(table.dof[position]) for position in table.positions_of(space_group)}


class ContradictionError(UserError, ValueError):
    """Rules that no template satisfies."""


@dataclass(frozen=True)
class TemplateRules:
    """Hard constraints on templates; the defaults allow all legal ones.

    Attributes:
        allowed_elements: atomic numbers that may occur.
        required_elements: atomic numbers that must occur.
        composition: (atomic number, atoms) of one formula unit; empty for any composition.
        units: formula units in the primitive cell; 0 for any number.
        space_groups: allowed space groups, 1..230.
        max_atoms: largest number of atoms in the primitive cell.
        n_elements: smallest and largest number of distinct elements.
        statements: logical rules; of those on coordination, only what they say of the composition.
    """

    allowed_elements: frozenset[int] = field(default_factory=lambda: frozenset(known_elements()))
    required_elements: frozenset[int] = frozenset()
    composition: tuple[tuple[int, int], ...] = ()
    units: int = 0
    space_groups: frozenset[int] = frozenset(range(1, 231))
    max_atoms: int = MAX_ATOMS
    n_elements: tuple[int, int] = (1, MAX_ATOMS)
    statements: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        """Check that the rules can be satisfied.

        Raises:
            ContradictionError: they contradict each other, or no template satisfies them.
        """
        for check in (_check_elements, _check_counts, _check_composition):
            check(self)

    def satisfied(self, template: CrystalTemplate) -> bool:
        """Return whether a template is legal and satisfies every rule."""
        composition = template.composition
        present = composition.keys()
        fewest, most = self.n_elements
        return (
            template.space_group in self.space_groups
            and present <= self.allowed_elements
            and self.required_elements <= present
            and fewest <= len(present) <= most
            and sum(composition.values()) <= self.max_atoms
            and (not self.composition or self._is_composition(composition))
            and self._allows(composition)
            and is_legal(template)
        )

    @property
    def possible_units(self) -> list[int]:
        """Numbers of formula units that a primitive cell may hold, given a composition, ascending."""
        unit = reduced(dict(self.composition))
        some = [self.units] if self.units else range(1, self.max_atoms // sum(n for _, n in unit) + 1)
        return [units for units in some if self._allows({z: n * units for z, n in unit})]

    def _allows(self, composition: dict[int, int]) -> bool:
        """Tell whether a composition satisfies the logical rules."""
        atoms = tuple(sorted(composition.items()))
        return all(not composition_distance(rule, atoms) for rule in self.statements)

    @property
    def n_atoms(self) -> int:
        """Atoms in the primitive cell if the number of formula units is given, else 0."""
        return self.units * sum(n for _, n in reduced(dict(self.composition))) if self.units else 0

    def _is_composition(self, found: dict[int, int]) -> bool:
        same = reduced(found) == reduced(dict(self.composition))
        return same and self.n_atoms in (0, sum(found.values()))


def fits(space_group: int, counts: tuple[int, ...]) -> bool:
    """Return whether a primitive cell of a group can hold `counts` atoms of several elements.

    Positions without free parameters hold one site; the others hold any number of sites.
    """
    once: Counter[int] = Counter()
    often: set[int] = set()
    for position, reusable in _reusable(space_group).items():
        multiplicity = multiplicities()[position]
        if reusable:
            often.add(multiplicity)
        else:
            once[multiplicity] += 1
    return _placeable(tuple(sorted(counts)), tuple(sorted(once.items())), tuple(sorted(often)))


def fitting_groups(rules: TemplateRules) -> frozenset[int]:
    """Return the allowed space groups that can hold the composition in an integer number of formula units."""
    if not rules.composition:
        return frozenset(group for group in rules.space_groups if _fewest_atoms(group) <= rules.max_atoms)
    unit = reduced(dict(rules.composition))
    cells = [tuple(n * units for _, n in unit) for units in rules.possible_units]
    return frozenset(group for group in rules.space_groups if any(fits(group, cell) for cell in cells))


@cache
def _fewest_atoms(space_group: int) -> int:
    """Return the number of atoms in the smallest primitive cell of a group."""
    return min(multiplicities()[position] for position in _reusable(space_group))


@cache
def _placeable(counts: tuple[int, ...], once: tuple[tuple[int, int], ...], often: tuple[int, ...]) -> bool:
    """Return whether counts are sums of multiplicities.

    Args:
        counts: atoms of each element.
        once: (multiplicity, number of positions) of positions that are used at most once.
        often: multiplicities of positions that may be used repeatedly.
    """
    if not once:
        return all(_payable(count, often) for count in counts)
    (multiplicity, available), rest = once[0], once[1:]
    if _placeable(counts, rest, often):
        return True
    if not available:
        return False
    left = ((multiplicity, available - 1), *rest)
    return any(
        _placeable(tuple(sorted((*counts[:i], count - multiplicity, *counts[i + 1 :]))), left, often)
        for i, count in enumerate(counts)
        if count >= multiplicity
    )


@cache
def _payable(count: int, coins: tuple[int, ...]) -> bool:
    return count == 0 or any(coin <= count and _payable(count - coin, coins) for coin in coins)


def _names(elements: frozenset[int]) -> str:
    return ", ".join(SYMBOLS[z] for z in sorted(elements))


def _check_elements(rules: TemplateRules) -> None:
    unknown = (rules.allowed_elements | rules.required_elements) - frozenset(known_elements())
    if unknown:
        listed = ", ".join(str(z) for z in sorted(unknown))
        raise ContradictionError(f"expected elements that training crystals hold, got Z = {listed}; leave them out")
    if not rules.allowed_elements:
        raise ContradictionError("expected at least one allowed element, got none; allow some")
    excluded = rules.required_elements - rules.allowed_elements
    if excluded:
        raise ContradictionError(f"{_names(excluded)} is required, but not allowed; drop one of the two")


def _check_counts(rules: TemplateRules) -> None:
    fewest, most = rules.n_elements
    possible = min(most, len(rules.allowed_elements), rules.max_atoms)
    if rules.max_atoms < 1:
        raise ContradictionError(f"expected max_atoms of at least 1, got {rules.max_atoms}")
    if not 1 <= fewest <= most:
        raise ContradictionError(f"expected n_elements (fewest, most), 1 <= fewest <= most, got {rules.n_elements}")
    if fewest > possible:
        raise ContradictionError(
            f"{fewest} distinct elements are asked for, but {len(rules.allowed_elements)} are allowed and a cell holds "
            f"at most {rules.max_atoms} atoms; allow more of either"
        )
    if len(rules.required_elements) > possible:
        raise ContradictionError(
            f"{len(rules.required_elements)} elements are required ({_names(rules.required_elements)}), but a template "
            f"may hold at most {possible}; require fewer or raise n_elements or max_atoms"
        )
    if not rules.space_groups or not rules.space_groups <= frozenset(range(1, 231)):
        raise ContradictionError(f"expected space groups from 1 to 230, at least one, got {sorted(rules.space_groups)}")
    smallest = min(map(_fewest_atoms, rules.space_groups))
    if rules.max_atoms < smallest:
        raise ContradictionError(
            f"space groups {sorted(rules.space_groups)} hold {smallest} atoms or more, but max_atoms is "
            f"{rules.max_atoms}; allow other space groups or more atoms"
        )


def _check_composition(rules: TemplateRules) -> None:
    if rules.units and (rules.units < 0 or not rules.composition):
        raise ContradictionError(f"expected a composition and its formula units, 1 or more, got {rules.units} units")
    if not rules.composition:
        return
    counts = dict(rules.composition)
    if len(counts) < len(rules.composition) or min(counts.values()) < 1:
        raise ContradictionError(f"expected each element once with a positive count, got {rules.composition}")
    formula = "".join(f"{SYMBOLS[z]}{n}" for z, n in reduced(counts))
    present = frozenset(counts)
    if not present <= rules.allowed_elements:
        raise ContradictionError(f"{formula} holds {_names(present - rules.allowed_elements)}, which is not allowed")
    if not rules.required_elements <= present:
        raise ContradictionError(f"{_names(rules.required_elements - present)} is required, but {formula} holds none")
    if not rules.n_elements[0] <= len(present) <= rules.n_elements[1]:
        raise ContradictionError(f"{formula} has {len(present)} elements, outside n_elements = {rules.n_elements}")
    atoms = sum(n for _, n in reduced(counts))
    if atoms > rules.max_atoms:
        raise ContradictionError(f"{formula} has {atoms} atoms, more than max_atoms = {rules.max_atoms}; raise it")
    if atoms * rules.units > rules.max_atoms:
        raise ContradictionError(
            f"{rules.units} units of {formula} have {atoms * rules.units} atoms, more than max_atoms = "
            f"{rules.max_atoms}; ask for fewer units"
        )
    if not fitting_groups(rules):
        groups = "any space group" if len(rules.space_groups) == 230 else f"space groups {sorted(rules.space_groups)}"
        cell = f"{rules.units} units of {formula}" if rules.units else formula
        more = "any number of units" if rules.units else "more atoms"
        raise ContradictionError(
            f"no template of {groups} with at most {rules.max_atoms} atoms holds {cell}; "
            f"allow other space groups or {more}"
        )
