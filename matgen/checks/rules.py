"""Whether a crystal keeps logical rules."""

import warnings
from collections import Counter
from collections.abc import Collection, Sequence

from pymatgen.core.structure import Structure

from matgen.chemistry.charges import likely_states
from matgen.chemistry.elements import SYMBOLS, reduced
from matgen.rules.composition import Facts, distance
from matgen.rules.statement import Rule, coordinated_elements
from matgen.structures.candidate import Candidate, Verdict


def rules_kept(candidate: Candidate, rules: Sequence[Rule], name: str = "rules") -> Verdict:
    """All rules hold for the composition of the cell; of rules on coordination, what they say of it.

    Args:
        candidate: a crystal.
        rules: to hold.
        name: of the verdict.
    """
    return _verdict(name, rules, Facts(_atoms(candidate.crystal)))


def coordination_kept(candidate: Candidate, rules: Sequence[Rule], name: str = "coordination") -> Verdict:
    """All rules hold, with the coordination numbers that pymatgen's CrystalNN finds in the final structure."""
    structure = candidate.crystal
    elements = coordinated_elements(rules)
    try:
        numbers = coordination_numbers(structure, elements)
    except ValueError as error:
        reason = f"CrystalNN finds no coordination: {error}"
        return Verdict(name, passed=False, value=float("nan"), unit="", reason=reason)
    return _verdict(name, rules, Facts(_atoms(structure), numbers))


def coordination_numbers(structure: Structure, elements: Collection[int]) -> dict[int, list[float]]:
    """Return the coordination numbers, by pymatgen's CrystalNN, of the atoms of each of some elements.

    Radii are those of the likely oxidation states (`likely_states`), where a composition has some.

    Raises:
        ValueError: an atom has no neighbours that CrystalNN finds.
    """
    from pymatgen.analysis.local_env import CrystalNN  # which takes a second

    decorated = structure.copy()
    states = likely_states(reduced(_atoms(structure)))
    if states:
        decorated.add_oxidation_state_by_element({SYMBOLS[z]: state for z, state in states.items()})
    finder = CrystalNN()
    found: dict[int, list[float]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that radii without oxidation states are less exact
        for place, z in enumerate(structure.atomic_numbers):
            if z in elements:
                found.setdefault(z, []).append(float(finder.get_cn(decorated, place)))
    return found


def _atoms(structure: Structure) -> dict[int, int]:
    return dict(Counter(structure.atomic_numbers))


def _verdict(name: str, rules: Sequence[Rule], facts: Facts) -> Verdict:
    distances = {rule.text: distance(rule, facts) for rule in rules}
    broken = [text for text, far in distances.items() if far]
    said = ", ".join(map(repr, broken or distances))
    return Verdict(name, not broken, sum(distances.values()), "", f"{'breaks' if broken else 'keeps'} {said}")
