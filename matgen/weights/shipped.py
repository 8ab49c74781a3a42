"""Which weights and reference files a result depends on, and their hashes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from matgen.weights.files import WEIGHTS, ModelInfo, WeightsError, file_in, info, weights_file, weights_hash
from matgen.weights.kinds import KINDS, USED_BY

REFERENCES = WEIGHTS.parent / "references"
OF_MOLECULES = frozenset({"qm9_keys.npz"})
"""References that only molecules are compared with."""


def folder_of(name: str) -> Path | None:
    """Return the named folder of weights; None for an empty name, which means the shipped weights."""
    return Path(name) if name else None


def check_weights(folder: Path | None, kinds: Sequence[str], what: str) -> None:
    """Check that a folder of weights replaces at least one shipped file that is used.

    Args:
        folder: None for none.
        kinds: of the weights that are used.
        what: what uses them, in words.

    Raises:
        WeightsError: the folder holds none of these kinds, so that it would change nothing.
    """
    if folder is not None and not any(file_in(folder, kind) for kind in kinds):
        expected = ", ".join(f"{kind}.safetensors" for kind in kinds)
        raise WeightsError(f"expected weights that {what} uses in {folder}, found none of {expected}; leave it out")


def shipped_hashes(material: str = "crystal", folder: Path | None = None) -> dict[str, str]:
    """Return the SHA-256 of all that determines results: weights by kind, references by file name.

    Args:
        material: crystal or molecule.
        folder: weights in it replace the shipped ones.

    Raises:
        WeightsError: weights that are missing or damaged.
    """
    check_weights(folder, USED_BY[material], f"a design of {material}s")
    paths = [path for path in sorted(REFERENCES.iterdir()) if (path.name in OF_MOLECULES) == (material == "molecule")]
    references = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return {kind: weights_hash(kind, weights_file(kind, folder)) for kind in USED_BY[material]} | references


def registry(folder: Path | None = None) -> list[ModelInfo]:
    """Return the headers of all files of weights in a folder, by default those that ship.

    Raises:
        WeightsError: one of them is damaged.
    """
    folder = folder or WEIGHTS
    paths = {kind: folder / f"{kind}.safetensors" for kind in KINDS}
    return [info(kind, path) for kind, path in paths.items() if path.exists()]
