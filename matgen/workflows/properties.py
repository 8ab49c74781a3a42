"""All properties that can be a target: unit, meaning, model, error and source."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from matgen.chemistry.economics import economics, without_value
from matgen.chemistry.elements import SYMBOLS, known_elements
from matgen.chemistry.moments import moments
from matgen.energies.computed_target import VOLUME_SCALE
from matgen.errors import UserError
from matgen.structures.candidate import KindName
from matgen.targets.properties import LEARNED_OF, PROPERTIES_OF, Property
from matgen.weights.property_errors import PropertyError, property_errors

LABELS = {
    "crystal": "Materials Project, MPtrj and MatBench labels",
    "molecule": "QM9 (Ramakrishnan et al., Sci. Data 1, 140022, 2014)",
}
"""Where the labels of learned properties come from."""

HHI = "Gaultois et al., Chem. Mater. 25, 2911 (2013), from data of the USGS of 2011"

MOMENT_ERROR = "0.037 μB per atom on the test part of MPtrj (README of CHGNet's weights); magnitudes only"

FACTS = {
    "price": "price",
    "hhi_production": "hhi_production",
    "hhi_reserve": "hhi_reserve",
    "crustal_abundance": "abundance",
}
"""The fact of the elements that a property follows from."""


class PropertiesError(UserError, ValueError):
    """A kind that has no properties."""


@dataclass(frozen=True)
class DescribedProperty:
    """A property that can be a target.

    Attributes:
        kind: crystal or molecule.
        name: canonical name.
        aliases: other accepted spellings.
        unit: of all values.
        meaning: how the value is calculated.
        tolerance: largest deviation at which a value meets a point target, in the unit.
        model: what gives the value.
        error: mean absolute error in the unit; None where the value is exact, or the error was not measured.
        error_of: what the error was measured on; else why there is none.
        source: of labels or facts, with the year.
        lacking: symbols of the elements of training crystals that have no value, so that their compounds have none.
    """

    kind: KindName
    name: str
    aliases: tuple[str, ...]
    unit: str
    meaning: str
    tolerance: float
    model: str
    error: float | None
    error_of: str
    source: str
    lacking: tuple[str, ...] = ()


def described_properties(kind: str | None = None) -> list[DescribedProperty]:
    """Return the properties of a kind, or of both, learned ones first.

    Raises:
        PropertiesError: an unknown kind.
        WeightsError: weights that are missing or damaged.
    """
    kinds: Sequence[KindName] = get_args(KindName)
    if kind is not None and kind not in kinds:
        raise PropertiesError(f"expected kind as {' or '.join(kinds)}, got {kind!r}; leave it out for both")
    return [_described(one, found) for one in kinds if kind in {None, one} for found in PROPERTIES_OF[one].values()]


def _described(kind: KindName, found: Property) -> DescribedProperty:
    if found.name in LEARNED_OF[kind]:
        none = PropertyError(float("nan"), "", "not measured")
        error = property_errors(kind).get(found.name, none)
        model, source = error.model or "learned", LABELS[kind]
        mae = None if error is none else error.mae
        return _entry(kind, found, model, (mae, error.of), source)
    if found.source == "moments":
        looked = sum(moment.crystals for moment in moments().values())
        source = f"CHGNet 0.3.0 (2023); before relaxation means of {looked:,} pairs of crystal and element"
        return _entry(kind, found, "CHGNet 0.3.0", (None, MOMENT_ERROR), source)
    if found.source == "structure":
        of = f"exact for a structure; {VOLUME_SCALE * 1.814:.1%} before there is one"
        return _entry(kind, found, "none", (None, of), _source(found.name))
    return _entry(kind, found, "none", (None, "exact"), _source(found.name))


def _entry(
    kind: KindName, found: Property, model: str, error: tuple[float | None, str], source: str
) -> DescribedProperty:
    fact = FACTS.get(found.name)
    lacking = sorted(without_value(fact) & set(known_elements())) if fact else []
    return DescribedProperty(
        kind,
        found.name,
        found.aliases,
        found.unit,
        found.note,
        found.tolerance,
        model,
        *error,
        source,
        tuple(SYMBOLS[z] for z in lacking),
    )


def _source(name: str) -> str:
    """Return the source of the facts that a computed property follows from."""
    years = sorted(one.price_year for one in economics().values() if one.price_year)
    return {
        "price": f"{years[0]} to {years[-1]}, half of them from {years[len(years) // 2]} on, nominal; economics.csv",
        "hhi_production": HHI,
        "hhi_reserve": HHI,
        "crustal_abundance": "CRC Handbook of Chemistry and Physics, 95th edition (2014)",
    }.get(name, "standard atomic weights (IUPAC)" if name in {"density", "molecular_weight"} else "by definition")
