"""The table of all properties of crystals that can be a target, for the page on properties."""

from matgen.workflows.properties import DescribedProperty, described_properties
from shared.page import table

HEADS = ("property", "unit", "model", "mean error", "in log10", "measured on", "within 90 %")


def property_list() -> str:
    """Return the table as Markdown."""
    return table(HEADS, [line_of(one) for one in described_properties("crystal")])


def line_of(one: DescribedProperty) -> tuple[str, ...]:
    """Return the line of a property."""
    error = "" if one.error is None else f"{one.error:.3g}"
    decades = "" if one.error_log10 is None else f"{one.error_log10:.3f}"
    coverage = "" if one.coverage is None else f"{100 * one.coverage:.1f} %"
    return f"`{one.name}`", one.unit, one.model, error, decades, one.error_of, coverage
