"""A request from a TOML file and options put over it."""

from collections.abc import Mapping
from typing import Any

from matgen.generation.between import with_both
from matgen.generation.comparable_energies import check_named
from matgen.generation.keywords import distributed, overlaid
from matgen.generation.old_keys import current_keys
from matgen.generation.presets import FAST, PRESETS
from matgen.generation.request import Request
from matgen.runtime.config import from_mapping

VERIFY_BUDGET = 60.0
"""Minutes of a search with calculations beside it, where no budget is named."""


def configured(
    raw: Mapping[str, Any], options: Mapping[str, Any], *, fast: bool = False
) -> tuple[Request, dict[str, str]]:
    """Return a request, and the new name of each old key in its configuration.

    Options take precedence over the fast preset, that over the configuration, and that over the preset of the kind.

    Args:
        raw: what the TOML file holds, keys of version 0.1 included.
        options: as for `Request.of`.
        fast: leave the geometry to the relaxation.

    Raises:
        ConfigError: a key is unknown, or a value of the wrong type.
        UserError: the request cannot be understood or fulfilled.
    """
    table, moved = current_keys(raw)
    kind = str(options.get("kind", table.get("kind", "crystal")))
    merged = overlaid(overlaid(table, FAST if fast else {}), distributed(options, kind))
    if _interpolates(merged):
        merged = with_both(merged)
        kind = str(merged.get("kind", "crystal"))
    merged = overlaid(PRESETS.get(kind, {}), merged)
    if _lacks_budget(merged):
        merged = overlaid(merged, {"search": {"budget": VERIFY_BUDGET}})
    request = from_mapping(Request, merged)
    check_named(request, options)
    return request, moved


def _interpolates(tables: Mapping[str, Any]) -> bool:
    """Tell whether two requests are named to interpolate between."""
    between = tables.get("between")
    return isinstance(between, Mapping) and bool(between.get("requests"))


def _lacks_budget(tables: Mapping[str, Any]) -> bool:
    """Tell whether candidates are to be verified and no budget is named."""
    search, verification = tables.get("search", {}), tables.get("verification", {})
    if not (isinstance(search, Mapping) and isinstance(verification, Mapping)):
        return False
    return bool(verification.get("n")) and "budget" not in search
