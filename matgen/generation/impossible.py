"""Targets of computed properties that no allowed composition meets, found before a search."""

import math
from collections.abc import Iterable, Mapping

from matgen.checks.crystals import volume_range
from matgen.chemistry.economics import Counts, economics, mass
from matgen.chemistry.elements import SYMBOLS, reduced
from matgen.chemistry.hazards import HAZARDOUS, hazard
from matgen.chemistry.moments import moments
from matgen.generation.constraints import CompositionConstraints
from matgen.generation.formulas import element, formula_counts
from matgen.targets.computed import OF_COMPOSITION, OF_MOMENTS, OF_STRUCTURE, computed
from matgen.targets.properties import COMPUTED_PROPERTIES
from matgen.targets.target import Target, TargetError
from matgen.templates.crystal_rules import ContradictionError, TemplateRules
from matgen.templates.molecule_rules import MoleculeRules, most_hydrogens

Rules = TemplateRules | MoleculeRules

HIGHER_MOMENT = 0.5
"""By which the moment of an atom may exceed the highest in the crystals behind `moments.csv`, μB."""


def check_hazards(composition: CompositionConstraints) -> None:
    """Check that a request that avoids hazards names no hazardous element that must occur.

    Raises:
        ContradictionError: it does, or allows hazardous elements only.
    """
    if not composition.avoid_hazard:
        return
    named = {element(symbol, must_be_known=False) for symbol in composition.include}
    if composition.formula:
        named |= formula_counts(composition.formula, known=False).keys()
    if both := sorted(named & HAZARDOUS):
        names = ", ".join(f"{SYMBOLS[z]} ({hazard(z)})" for z in both)
        raise ContradictionError(f"{names} must occur, but avoid_hazard leaves it out; drop one of the two")
    allowed = {element(symbol, must_be_known=False) for symbol in composition.elements}
    if allowed and allowed <= HAZARDOUS:
        names = ", ".join(f"{SYMBOLS[z]} ({hazard(z)})" for z in sorted(allowed))
        raise ContradictionError(f"only {names} may occur, which avoid_hazard leaves out; allow others, or drop it")


def counts_of_elements(targets: Iterable[Target], most: int) -> tuple[int, int]:
    """Return the smallest and the largest number of distinct elements that a target for it allows, within 1 to `most`.

    Raises:
        TargetError: it allows none.
    """
    low, high = 1, most
    for target in targets:
        if target.name == "n_elements":
            window = target.window
            low, high = max(low, math.ceil(max(window[0], 1))), min(high, math.floor(min(window[1], most)))
            if low > high:
                raise TargetError(f"expected n_elements from 1 to {most}, which a cell can hold, got {target}")
    return low, high


def check_possible(targets: Iterable[Target], rules: Rules) -> None:
    """Check that an allowed composition can meet each target for a computed property.

    The bounds are those of compositions of the required elements and one more, which are the extremes of any weighted
    mean over the atoms; volumes lie within `volume_range`, and moments at most `HIGHER_MOMENT`
    above the highest that CHGNet gives an atom of the element in `moments.csv`.

    Raises:
        TargetError: none can.
    """
    for target in computed(targets):
        if target.name == "n_elements":  # a rule on templates, which checks itself
            continue
        low, high = _bounds(target.name, rules)
        unit = COMPUTED_PROPERTIES[target.name].unit
        if math.isnan(low):
            names = ", ".join(SYMBOLS[z] for z in sorted(_unknown(target.name, rules)))
            raise TargetError(
                f"expected elements whose {target.name} is known for the target {target}, got {names}, which must "
                "occur or alone may; drop the target, or the elements"
            )
        least, most = target.window
        if high < least or low > most:
            raise TargetError(
                f"expected a {target.name} that the allowed elements can have, {low:.4g} to {high:.4g} {unit}, "
                f"got {target}; allow other elements, or change the target"
            )


def _unknown(name: str, rules: Rules) -> set[int]:
    """Return the elements without a value of those required; without such, of those allowed."""
    required = {z for z, _ in rules.composition} or rules.required_elements
    return {z for z in required or rules.allowed_elements if math.isnan(_values(name, {z: 1})[0])}


def _bounds(name: str, rules: Rules) -> tuple[float, float]:
    """Return the lowest and the highest value of allowed compositions; NaN if none is known."""
    if name == "molecular_weight" and isinstance(rules, MoleculeRules):
        return _weights(rules)
    pairs = [_values(name, counts) for counts in _extremes(rules)]
    known = [pair for pair in pairs if not math.isnan(pair[0])]
    if not known:
        return math.nan, math.nan
    return min(low for low, _ in known), max(high for _, high in known)


def _extremes(rules: Rules) -> Iterable[Counts]:
    """Yield the compositions among which are the extremes of any mean over the atoms."""
    if rules.composition:
        yield dict(reduced(dict(rules.composition)))
        return
    required = dict.fromkeys(sorted(rules.required_elements), 1)
    if required:
        yield required
    most = rules.max_atoms if isinstance(rules, TemplateRules) else rules.n_heavy[1]
    for z in sorted(rules.allowed_elements):
        for more in {1, most - len(required)}:
            if more > 0:
                yield {**required, z: required.get(z, 0) + more}


def _values(name: str, counts: Counts) -> tuple[float, float]:
    """Return the lowest and the highest value of crystals of a composition; NaN if it is unknown."""
    if name in OF_COMPOSITION:
        value = OF_COMPOSITION[name](counts)
        return value, value
    volumes = volume_range(counts)
    if name in OF_STRUCTURE:
        own, n_atoms = mass(counts), sum(counts.values())
        ends = sorted(OF_STRUCTURE[name](own, n_atoms, volume) for volume in volumes)
        return ends[0], ends[1]
    highest = sum(n * (moments()[z].highest + HIGHER_MOMENT) for z, n in counts.items())
    return 0.0, OF_MOMENTS[name](highest, counts, volumes[0])


def _weights(rules: MoleculeRules) -> tuple[float, float]:
    """Return bounds of the molecular weight: those of the heavy atoms without hydrogens, and with as many as fit."""
    elements = {1, *rules.allowed_elements, *rules.required_elements}
    masses: Mapping[int, float] = {z: economics()[z].mass for z in elements}
    if rules.composition:
        exact = sum(n * economics()[z].mass for z, n in rules.composition)
        return exact, exact
    required = sum(masses[z] for z in rules.required_elements)
    fewest, most = (max(n - len(rules.required_elements), 0) for n in rules.n_heavy)
    others = [masses[z] for z in rules.allowed_elements]
    hydrogens = most_hydrogens(rules.n_heavy[1], rules.charge)
    return required + fewest * min(others), required + most * max(others) + hydrogens * masses[1]
