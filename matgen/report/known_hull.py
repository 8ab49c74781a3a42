"""The hull that the energies of candidates can be compared with."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from matgen.hull.hull import ReferenceHull
from matgen.hull.reference import ReferenceFileError
from matgen.relaxation.calculators import hull_file
from matgen.screening.config import NONE, SHIPPED
from matgen.structures.candidate import Candidate

OF_MOLECULES = "Molecules have no hull."
NOT_RELAXED = "No energy by a potential was computed, so that there is nothing to compare with known phases."
AT_PRESSURE = "The crystals were relaxed at a pressure, and the hull is that of none."


def hull_of(
    candidates: Sequence[Candidate], kind: str, file: tuple[Path | None, str], potential: str = ""
) -> tuple[ReferenceHull | None, str]:
    """Return the hull of the potential that relaxed candidates, or None and the reason.

    Args:
        candidates: or screened structures.
        kind: of them.
        file: result of `file_of`.
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
    path, why = file
    return (None, why) if path is None else _of_file(path, potentials.most_common(1)[0][0])


def _of_file(path: Path, potential: str) -> tuple[ReferenceHull | None, str]:
    """Return the hull of a file if it is of a potential."""
    try:
        hull = loaded(path)
    except ReferenceFileError as error:
        return None, f"The reference of known phases cannot be read: {error}."
    if hull.potential != potential:
        return None, f"The reference holds energies by {hull.potential}, and the crystals were relaxed by {potential}."
    return hull, ""


def file_of(calculator: str, reference: str = SHIPPED) -> tuple[Path | None, str]:
    """Return the reference file of a potential by its name, or None and why there is none.

    Args:
        calculator: that relaxed.
        reference: a file, `shipped`, or `none`.
    """
    if reference == NONE:
        return None, "The run asked for no hull."
    if reference != SHIPPED:
        return Path(reference), ""
    found = hull_file(calculator)
    return found, "" if found else f"There is no hull for {calculator}, and energies of others cannot be compared."


@cache
def loaded(file: Path) -> ReferenceHull:
    """Return the hull of a reference file, read once."""
    return ReferenceHull.load(file)
