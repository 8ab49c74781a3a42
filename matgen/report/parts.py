"""Parts of a report that designs and screenings share."""

from collections.abc import Sequence
from typing import Any

from matgen.hull.hull import ReferenceHull
from matgen.report.hulls import hulls
from matgen.structures.candidate import Candidate


def add_hulls(data: dict[str, Any], candidates: Sequence[Candidate], hull: ReferenceHull | None, no_hull: str) -> None:
    """Add the hulls of binary and ternary systems, or the reason why there is none.

    Args:
        data: of the report.
        candidates: or screened structures.
        hull: of known phases.
        no_hull: why there is none.
    """
    if hull is None:
        data["missing"]["hulls"] = no_hull
        return
    found = hulls(candidates, hull)
    if found:
        data["hulls"] = found
    else:
        data["missing"]["hulls"] = "No candidate with an energy is of two or three elements, which a plot can show."
