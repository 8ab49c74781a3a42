"""Parts of a report that several commands share: hulls, map, and why trajectories are missing."""

from collections.abc import Mapping, Sequence
from typing import Any

from matgen.hull.hull import ReferenceHull
from matgen.report.hulls import hulls
from matgen.report.map import map_record
from matgen.runtime.failures import guarded
from matgen.structures.candidate import Candidate


def add_hulls(
    data: dict[str, Any],
    candidates: Sequence[Candidate],
    hull: ReferenceHull | None,
    no_hull: str,
    as_given: Mapping[str, float] | None = None,
) -> None:
    """Add the hulls of binary and ternary systems, or the reason why there is none.

    Args:
        data: of the report.
        candidates: or screened structures.
        hull: of known phases.
        no_hull: why there is none.
        as_given: energies of structures that were not relaxed, eV/atom, by name.
    """
    if hull is None:
        data["missing"]["hulls"] = no_hull
        return
    found = hulls(candidates, hull, as_given)
    if found:
        data["hulls"] = found
    else:
        data["missing"]["hulls"] = "No candidate with an energy is of two or three elements, which a plot can show."


def add_map(data: dict[str, Any]) -> None:
    """Add the known materials of the map, if a candidate has a place on it, or the reason why there is no map.

    Args:
        data: of the report, with its candidates.
    """
    if not any("map" in one for one in data["candidates"]):
        whys = (one.get("missing", {}).get("map") for one in data["candidates"])
        data["missing"]["map"] = next(filter(None, whys), "There is no candidate to place on it.")
    else:
        found, reason = guarded(lambda kind: (map_record(kind), ""), data["kind"], lambda _, why: (None, why))
        if found is None:
            data["missing"]["map"] = f"The map could not be made: {reason}"
        else:
            data["map"] = found
