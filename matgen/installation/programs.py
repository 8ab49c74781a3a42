"""GPAW, which has an interpreter of its own."""

from matgen.first_principles.gpaw_interpreter import MissingGpawError, find_interpreter
from matgen.installation.finding import Finding

PURPOSE = "needed for `matgen verify` of crystals, and for `design --verify`"
INSTALL = "apt install gpaw gpaw-data"
ELSEWHERE = "pip install gpaw && gpaw install-data FOLDER"


def gpaw_finding() -> Finding:
    """Look for GPAW and its datasets as `matgen verify` does."""
    try:
        found = find_interpreter()
    except MissingGpawError as error:
        reason = str(error).partition("; install it")[0]
        return Finding("GPAW", "missing", f"{reason}; {PURPOSE}", f"{INSTALL}; elsewhere {ELSEWHERE}")
    text = f"{found.gpaw} (ASE {found.ase}) by {found.command}, with PBE datasets of {len(found.datasets)} elements"
    return Finding("GPAW", "ok", text)
