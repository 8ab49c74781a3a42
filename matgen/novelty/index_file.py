"""File of an index of known crystals: fingerprints rounded, packed by number of elements, compressed.

Arrays for crystals of n elements:

    names_n      names, JSON in bytes, as all text here
    groups_n     space-group numbers (entries,), 0 where unknown
    volumes_n    logarithm of the volume per atom in steps (entries,)
    low_n, high_n    lower and upper byte of the shells in steps (n_shells, entries); within each pair of elements the
                 first shell as it is, then differences, which keeps the bytes small and similar

and for all crystals `formulas` and `counts` (entries of each formula, in the order of the arrays), `others` and
`other_counts` (formulas of entries without fingerprint), and `header`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from pymatgen.core.composition import Composition

from matgen.errors import UserError
from matgen.novelty.fingerprint import RANKS, RANKS_OTHERWISE, RANKS_PER_SHELL, Fingerprint, n_ranks, n_shells
from matgen.runtime.output import replacing

SHIPPED = Path(str(files("matgen") / "references" / "known.npz"))
"""Built by `scripts/build/build_known.py`."""

STEP = 0.005
"""Step of rounded logarithms: an error of at most 0.25 % in a distance, a tenth of the tolerance."""

COARSE = 20
"""Steps within which shells count as equal when entries are sorted."""

ZERO = -3.0
"""Logarithm that is stored as 0; the least one that a fingerprint can have is -2.996."""

KIND = {"format": 1, "ranks": [*RANKS.values(), RANKS_OTHERWISE], "ranks_per_shell": RANKS_PER_SHELL, "step": STEP}


class KnownFileError(UserError, ValueError):
    """A file that is no index of known crystals, or has another kind of fingerprint."""


@dataclass(frozen=True, eq=False)
class FormulaEntries:
    """The known crystals of one formula.

    Attributes:
        names: of the entries.
        groups: space-group numbers (n,), 0 where unknown.
        volumes: Å³ per atom (n,).
        steps: shells in steps (n_shells, n).
    """

    names: tuple[str, ...]
    groups: np.ndarray
    volumes: np.ndarray
    steps: np.ndarray

    @classmethod
    def of(cls, names: tuple[str, ...], groups: Sequence[int], prints: Sequence[Fingerprint]) -> Self:
        """Round the fingerprints of one formula."""
        shells = np.stack([found.shells for found in prints], axis=1)
        volumes = np.array([found.volume for found in prints])
        return cls(names, np.array(groups, dtype=np.uint8), volumes, _steps(shells))

    def joined(self, other: Self) -> Self:
        """Return the entries of both."""
        return replace(
            self,
            names=self.names + other.names,
            groups=np.concatenate([self.groups, other.groups]),
            volumes=np.concatenate([self.volumes, other.volumes]),
            steps=np.concatenate([self.steps, other.steps], axis=1),
        )

    def shells(self) -> np.ndarray:
        """Return the shells of every entry (n, n_shells)."""
        return (self.steps.T * np.float32(STEP)) + np.float32(ZERO)


def write_known(path: Path, source: str, by_formula: Mapping[str, FormulaEntries], others: Mapping[str, int]) -> None:
    """Write an index."""
    by_size: dict[int, list[str]] = {}
    for formula in by_formula:
        by_size.setdefault(len(Composition(formula)), []).append(formula)
    arrays: dict[str, Any] = {}
    order: list[str] = []
    for n, formulas in sorted(by_size.items()):
        formulas.sort(key=lambda formula: _sort_key(formula, by_formula[formula]))
        some = [by_formula[formula] for formula in formulas]
        arrays[f"names_{n}"] = _bytes([name for entries in some for name in entries.names])
        arrays[f"groups_{n}"] = np.concatenate([entries.groups for entries in some])
        arrays[f"volumes_{n}"] = _steps(np.log(np.concatenate([entries.volumes for entries in some])))
        packed = _packed(np.concatenate([entries.steps for entries in some], axis=1), n)
        arrays[f"low_{n}"], arrays[f"high_{n}"] = (packed & 255).astype(np.uint8), (packed >> 8).astype(np.uint8)
        order += formulas
    header = KIND | {"source": source, "sizes": sorted(by_size)}
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays |= {
        "header": _bytes(header),
        "formulas": _bytes(order),
        "counts": np.array([len(by_formula[formula].names) for formula in order], dtype=np.uint16),
        "others": _bytes(list(others)),
        "other_counts": np.array(list(others.values()), dtype=np.uint16),
    }
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)


def read_known(path: Path) -> tuple[str, dict[str, FormulaEntries], dict[str, int]]:
    """Return source, entries by formula, and counts of entries without fingerprint.

    Raises:
        KnownFileError: the file is missing, no index, or of another kind of fingerprint.
    """
    header, arrays = _opened(path)
    if any(header.get(key) != value for key, value in KIND.items()):
        raise KnownFileError(f"{path}: expected fingerprints of kind {KIND}, got {header}; build the index again")
    formulas, counts = _content(arrays["formulas"]), arrays["counts"].astype(int).tolist()
    by_formula: dict[str, FormulaEntries] = {}
    done = 0
    for n in header["sizes"]:
        names, groups = _content(arrays[f"names_{n}"]), arrays[f"groups_{n}"]
        volumes = np.exp(arrays[f"volumes_{n}"] * STEP + ZERO)
        steps = _unpacked(arrays[f"low_{n}"], arrays[f"high_{n}"], n)
        start = 0
        while start < len(names):
            end = start + counts[done]
            by_formula[formulas[done]] = FormulaEntries(
                tuple(names[start:end]), groups[start:end], volumes[start:end], steps[:, start:end]
            )
            start, done = end, done + 1
    others = dict(zip(_content(arrays["others"]), arrays["other_counts"].astype(int).tolist(), strict=True))
    return header["source"], by_formula, others


def _sort_key(formula: str, entries: FormulaEntries) -> tuple[Any, ...]:
    """Return a sort key that puts formulas of one prototype together, which compresses best."""
    return sorted(Composition(formula).values()), int(entries.groups[0]), (entries.steps[:, 0] // COARSE).tolist()


def _opened(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return header and arrays.

    Raises:
        KnownFileError: the file is missing or no index.
    """
    if not path.is_file():
        raise KnownFileError(f"expected an index of known crystals, found no file {path}; KnownIndex.save writes one")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        return _content(arrays["header"]), arrays
    except (BadZipFile, ValueError, KeyError, EOFError, OSError, TypeError) as error:
        raise KnownFileError(
            f"expected an index of known crystals, got something else in {path} ({error}); KnownIndex.save writes one"
        ) from error


def _steps(logarithms: np.ndarray) -> np.ndarray:
    return np.round((logarithms - ZERO) / STEP).astype(np.uint16)


def _packed(steps: np.ndarray, n_elements: int) -> np.ndarray:
    """Return differences along the shells of each pair of elements (n_shells, entries)."""
    by_pair = steps.reshape(-1, n_ranks(n_elements) // RANKS_PER_SHELL, steps.shape[1])
    return np.concatenate([by_pair[:, :1], np.diff(by_pair, axis=1)], axis=1).reshape(steps.shape)


def _unpacked(low: np.ndarray, high: np.ndarray, n_elements: int) -> np.ndarray:
    """Invert `_packed`, given the two bytes."""
    steps = low.astype(np.uint16) + (high.astype(np.uint16) << 8)
    by_pair = steps.reshape(n_shells(n_elements) * RANKS_PER_SHELL // n_ranks(n_elements), -1, steps.shape[1])
    return np.cumsum(by_pair, axis=1, dtype=np.uint16).reshape(steps.shape)


def _bytes(content: Any) -> np.ndarray:
    """Encode JSON text as bytes."""
    return np.frombuffer(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(), dtype=np.uint8)


def _content(array: np.ndarray) -> Any:
    """Invert `_bytes`."""
    return json.loads(array.tobytes())
