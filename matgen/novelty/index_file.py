"""The file of an index of known crystals: fingerprints rounded, packed by number of elements, compressed.

A few kinds of array, for crystals of n elements each:

    names_n      names, JSON in bytes, as all text here
    groups_n     space-group numbers (entries,), 0 where unknown
    volumes_n    logarithm of the volume per atom in steps (entries,)
    low_n, high_n    lower and upper byte of the shells in steps (n_shells, entries); within each pair of elements the
                 first as it is, each other one less the one before, which keeps the bytes small and alike

and for all of them `formulas` and `counts` (entries of each formula, in the order of the arrays), `others` and
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

SHIPPED = Path(str(files("matgen") / "references" / "known.npz"))
"""Made by `scripts/build/build_known.py`."""

STEP = 0.005
"""To which logarithms are rounded: an error of 0.25 % in a distance at most, a tenth of the tolerance."""

COARSE = 20
"""Steps within which shells are alike when entries are put in order."""

ZERO = -3.0
"""Logarithm that is stored as 0; that of the shortest mean distance that a fingerprint can have is -2.996."""

KIND = {"format": 1, "ranks": [*RANKS.values(), RANKS_OTHERWISE], "ranks_per_shell": RANKS_PER_SHELL, "step": STEP}


class KnownFileError(UserError, ValueError):
    """A file that is no index of known crystals, or one of another kind of fingerprint."""


@dataclass(frozen=True, eq=False)
class Shelf:
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
        """Round fingerprints of one formula."""
        shells = np.stack([found.shells for found in prints], axis=1)
        volumes = np.array([found.volume for found in prints])
        return cls(names, np.array(groups, dtype=np.uint8), volumes, _steps(shells))

    def joined(self, other: Self) -> Self:
        """The entries of both."""
        return replace(
            self,
            names=self.names + other.names,
            groups=np.concatenate([self.groups, other.groups]),
            volumes=np.concatenate([self.volumes, other.volumes]),
            steps=np.concatenate([self.steps, other.steps], axis=1),
        )

    def shells(self) -> np.ndarray:
        """Shells of every entry (n, n_shells)."""
        return (self.steps.T * np.float32(STEP)) + np.float32(ZERO)


def write_known(path: Path, source: str, shelves: Mapping[str, Shelf], others: Mapping[str, int]) -> None:
    """Write an index."""
    by_size: dict[int, list[str]] = {}
    for formula in shelves:
        by_size.setdefault(len(Composition(formula)), []).append(formula)
    arrays: dict[str, Any] = {}
    order: list[str] = []
    for n, formulas in sorted(by_size.items()):
        formulas.sort(key=lambda formula: _likeness(formula, shelves[formula]))
        some = [shelves[formula] for formula in formulas]
        arrays[f"names_{n}"] = _bytes([name for shelf in some for name in shelf.names])
        arrays[f"groups_{n}"] = np.concatenate([shelf.groups for shelf in some])
        arrays[f"volumes_{n}"] = _steps(np.log(np.concatenate([shelf.volumes for shelf in some])))
        packed = _packed(np.concatenate([shelf.steps for shelf in some], axis=1), n)
        arrays[f"low_{n}"], arrays[f"high_{n}"] = (packed & 255).astype(np.uint8), (packed >> 8).astype(np.uint8)
        order += formulas
    header = KIND | {"source": source, "sizes": sorted(by_size)}
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays |= {
        "header": _bytes(header),
        "formulas": _bytes(order),
        "counts": np.array([len(shelves[formula].names) for formula in order], dtype=np.uint16),
        "others": _bytes(list(others)),
        "other_counts": np.array(list(others.values()), dtype=np.uint16),
    }
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_known(path: Path) -> tuple[str, dict[str, Shelf], dict[str, int]]:
    """Source, shelves, and counts of entries without fingerprint.

    Raises:
        KnownFileError: the file is missing, no index, or of another kind of fingerprint.
    """
    header, arrays = _opened(path)
    if any(header.get(key) != value for key, value in KIND.items()):
        raise KnownFileError(f"{path}: expected fingerprints of kind {KIND}, got {header}; build the index again")
    formulas, counts = _content(arrays["formulas"]), arrays["counts"].astype(int).tolist()
    shelves: dict[str, Shelf] = {}
    done = 0
    for n in header["sizes"]:
        names, groups = _content(arrays[f"names_{n}"]), arrays[f"groups_{n}"]
        volumes = np.exp(arrays[f"volumes_{n}"] * STEP + ZERO)
        steps = _unpacked(arrays[f"low_{n}"], arrays[f"high_{n}"], n)
        start = 0
        while start < len(names):
            end = start + counts[done]
            shelves[formulas[done]] = Shelf(
                tuple(names[start:end]), groups[start:end], volumes[start:end], steps[:, start:end]
            )
            start, done = end, done + 1
    others = dict(zip(_content(arrays["others"]), arrays["other_counts"].astype(int).tolist(), strict=True))
    return header["source"], shelves, others


def _likeness(formula: str, shelf: Shelf) -> tuple[Any, ...]:
    """Sorts formulas of one prototype side by side, where they compress best."""
    return sorted(Composition(formula).values()), int(shelf.groups[0]), (shelf.steps[:, 0] // COARSE).tolist()


def _opened(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays.

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
    """Increments along the shells of each pair of elements (n_shells, entries)."""
    by_pair = steps.reshape(-1, n_ranks(n_elements) // RANKS_PER_SHELL, steps.shape[1])
    return np.concatenate([by_pair[:, :1], np.diff(by_pair, axis=1)], axis=1).reshape(steps.shape)


def _unpacked(low: np.ndarray, high: np.ndarray, n_elements: int) -> np.ndarray:
    """Inverse of `_packed`, of the two bytes."""
    steps = low.astype(np.uint16) + (high.astype(np.uint16) << 8)
    by_pair = steps.reshape(n_shells(n_elements) * RANKS_PER_SHELL // n_ranks(n_elements), -1, steps.shape[1])
    return np.cumsum(by_pair, axis=1, dtype=np.uint16).reshape(steps.shape)


def _bytes(content: Any) -> np.ndarray:
    """JSON text as bytes."""
    return np.frombuffer(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(), dtype=np.uint8)


def _content(array: np.ndarray) -> Any:
    """Inverse of `_bytes`."""
    return json.loads(array.tobytes())
