"""All properties that can be a target: unit, meaning, model, error and source."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from matgen.chemistry.economics import economics, without_value
from matgen.chemistry.elements import SYMBOLS, known_elements
from matgen.chemistry.moments import moments
from matgen.energies.computed_target import VOLUME_SCALE
from matgen.errors import UserError
from matgen.structures.candidate import KindName
from matgen.targets.derived import SOURCES
from matgen.targets.learned import DERIVED
from matgen.targets.properties import BY_NETWORK, PROPERTIES_OF, Property
from matgen.weights.property_errors import PropertyError, file_errors, property_errors
from matgen.weights.property_files import SHIPPED, read_property_file
from matgen.weights.property_format import PropertyFile
from matgen.weights.property_sets import named_files

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
        error_log10: mean absolute error of the decimal logarithm; None as above.
        coverage: share of those values inside of their 90 % interval; None as above.
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
    error_log10: float | None = None
    coverage: float | None = None


def described_properties(kind: str | None = None, with_files: Sequence[str] = ()) -> list[DescribedProperty]:
    """Return the properties of a kind, or of both, those of networks first, and then those of property files.

    Args:
        kind: crystal or molecule.
        with_files: paths of property files.

    Raises:
        PropertiesError: an unknown kind.
        WeightsError: weights or a property file that are missing or damaged, or a file for the other kind.
    """
    kinds: Sequence[KindName] = get_args(KindName)
    if kind is not None and kind not in kinds:
        raise PropertiesError(f"expected kind as {' or '.join(kinds)}, got {kind!r}; leave it out for both")
    files = [read_property_file(name) for name in with_files]
    found = []
    for one in kinds:
        if kind in {None, one}:
            found += [_described(one, known) for known in PROPERTIES_OF[one].values()]
            found += _of_shipped_file() if one == "crystal" else []
        own = [str(read.path) for read in files if kind == one or (kind is None and read.material == one)]
        found += [entry for read in named_files(own, one) for entry in _of_file(read)]
    return found


def _of_shipped_file() -> list[DescribedProperty]:
    """Return the properties of the shipped file, and what follows from them by a formula."""
    read = read_property_file(SHIPPED)
    errors = file_errors(read)
    entries = _of_file(read)
    sources = {one.name: one.source for one in entries}
    for name, known in DERIVED.items():
        source = f"{known.note} of predicted {' and '.join(SOURCES[name])}; labels: {sources[SOURCES[name][0]]}"
        entries.append(_learned_entry("crystal", known, errors[name], source))
    return entries


def _of_file(read: PropertyFile) -> list[DescribedProperty]:
    """Return the properties of a property file."""
    errors, kind = file_errors(read), next(one for one in get_args(KindName) if one == read.material)
    none = PropertyError(None, "heads", "not measured")
    return [
        _learned_entry(kind, one.described, errors.get(name, none), f"{one.source}; {read.path.name}")
        for name, one in read.learned.items()
    ]


def _learned_entry(kind: KindName, known: Property, error: PropertyError, source: str) -> DescribedProperty:
    entry = _entry(kind, known, error.model, (error.mae, error.of), source)
    return replace(entry, error_log10=error.mae_log10, coverage=error.coverage)


def _described(kind: KindName, found: Property) -> DescribedProperty:
    if found.name in BY_NETWORK[kind]:
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
