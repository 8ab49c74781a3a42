"""Examine an installation: what works, what is missing, and what to type."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError

from matgen.installation.finding import Finding, install
from matgen.installation.machine import machine_findings
from matgen.installation.probe import CALCULATIONS, IMPORT
from matgen.installation.probing import probed
from matgen.installation.programs import gpaw_finding
from matgen.installation.requirements import (
    compared_with_tested,
    extra_findings,
    fault,
    import_names,
    installed,
    requirements,
)
from matgen.installation.shipped import files_finding

PACKAGES = "required packages"


def examine(*, check: bool = False) -> Iterator[Finding]:
    """Yield findings, as they are made; nothing is fetched, changed or kept.

    Args:
        check: calculate three energies, too.
    """
    yield from machine_findings()
    try:
        required, extras = requirements()
    except PackageNotFoundError:
        required, extras = [], {}
        yield Finding(PACKAGES, "note", "not known: matgen runs from a folder", install("-e", "FOLDER"))
    faults = [finding for one in required if (finding := fault(one))]
    yield from faults
    if required:
        yield compared_with_tested(required)
    yield files_finding()
    there = [one.name for one in required if installed(one.name)]
    yield from _probed(there, ("PyTorch", "weights", "references", "potentials", *(CALCULATIONS if check else ())))
    yield gpaw_finding()
    yield from extra_findings(extras)


def _probed(names: list[str], steps: tuple[str, ...]) -> Iterator[Finding]:
    """Yield a finding for each package that cannot be imported, one for all that can, and those of other steps."""
    imports = [f"{IMPORT}{name} {module}" for name, module in import_names(names).items()]
    good = 0
    for number, finding in enumerate(probed((*imports, *steps))):
        if number == len(imports) and good:
            yield Finding(PACKAGES, "ok", f"{good} of {len(imports)} can be imported")
        if number >= len(imports) or finding.state != "ok":
            yield finding
        good += number < len(imports) and finding.state == "ok"
