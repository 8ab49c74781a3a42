"""The hull that the energies of candidates can be compared with."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from matgen.hull.hull import ReferenceHull
from matgen.hull.reference import ReferenceFileError
from matgen.structures.candidate import Candidate

OF_MOLECULES = "Molecules have no hull."
NOT_RELAXED = "No energy by a potential was computed, so that there is nothing to compare with known phases."
AT_PRESSURE = "The crystals were relaxed at a pressure, and the hull is that of none."


def hull_of(
    candidates: Sequence[Candidate], kind: str, file: Path | None = None, potential: str = ""
) -> tuple[ReferenceHull | None, str]:
    """Return the hull of the potential that relaxed candidates, or None and the reason.

    Args:
        candidates: or screened structures.
        kind: of them.
        file: of the reference; the shipped one if None.
        potential: of energies at the geometries as given, where nothing was relaxed.
    """
    if kind == "molecule":
        return None, OF_MOLECULES
    reports = [one.relaxation for one in candidates if one.relaxation is not None]
    potentials = Counter(report.potential for report in reports) or Counter([potential] if potential else [])
    if not potentials:
        return None, NOT_RELAXED
    if reports and all(report.pressure for report in reports):
        return None, AT_PRESSURE
    try:
        hull = loaded(file)
    except ReferenceFileError as error:
        return None, f"The reference of known phases cannot be read: {error}."
    used, _ = potentials.most_common(1)[0]
    if used != hull.potential:
        return None, f"The reference holds energies by {hull.potential}, and the crystals were relaxed by {used}."
    return hull, ""


@cache
def loaded(file: Path | None) -> ReferenceHull:
    """Return the hull of a reference file, read once."""
    return ReferenceHull.load(file)
