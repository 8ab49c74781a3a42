"""What the package ships: its files as they were installed, weights, tables of references."""

import base64
import hashlib
from importlib.metadata import PackageNotFoundError, PackagePath, files
from pathlib import Path

from matgen.installation.finding import Finding, install

AGAIN = install("matgen", options="--force-reinstall --no-deps")


def files_finding() -> Finding:
    """Compare the installed files with the hashes of the wheel."""
    try:
        listed = [path for path in files("matgen") or [] if path.hash and path.parts[0] == "matgen"]
    except PackageNotFoundError:
        return Finding("files", "note", "matgen is not installed: it runs from a folder", install("-e", "FOLDER"))
    if not listed:
        return Finding("files", "ok", "an editable installation, whose files have no hashes")
    faults = [str(path) for path in listed if not _as_installed(path)]
    if faults:
        text = f"{len(faults)} of {len(listed)} are absent or not as they were installed: {', '.join(faults[:5])}"
        return Finding("files", "broken", text, AGAIN)
    return Finding("files", "ok", f"all {len(listed)} are as they were installed")


def _as_installed(path: PackagePath) -> bool:
    place = Path(str(path.locate()))
    if path.hash is None or not place.is_file():
        return False
    digest = hashlib.new(path.hash.mode, place.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == path.hash.value
