"""Frames of trajectories of ASE, and of animated XSF.

A trajectory (ULM) has a head, arrays, and for each frame a JSON object that says where its arrays lie. ASE's reader
makes objects of what the file names: constraints, calculators, arrays of any type and size. Here only the numbers of
atoms are read.
"""

import io
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ase.io.xsf import iread_xsf

from matgen.structures.broken import BrokenStructureError
from matgen.structures.formats import Piece

MARKS = (b"- of Ulm", b"AFFormat")
TAG = "ASE-Trajectory"

ARRAYS = ("numbers", "positions", "cell", "pbc", "charges")
"""What is read of a frame."""

KEPT = ("numbers", "pbc", "cell")
"""What a frame need not repeat."""

SCALARS = "fiub"
"""Kinds of arrays that are read: real, integer, boolean."""


def frames(data: bytes) -> Iterator[Piece]:
    """Yield the frames of a trajectory of ASE as rows of JSON.

    Raises:
        BrokenStructureError, ValueError, struct.error, ...: it is damaged, or no trajectory.
    """
    tag = data[8:24].decode("ascii", errors="replace").rstrip()
    if data[:8] not in MARKS or tag != TAG:
        raise BrokenStructureError("not a trajectory of ASE; convert it with `ase convert` of the ASE that wrote it")
    _, n_frames, place = struct.unpack_from("<3q", data, 24)
    if not 0 < n_frames <= len(data) // 8 or not 0 <= place <= len(data) - 8 * n_frames:
        raise BrokenStructureError("damaged: it holds no frame" if n_frames == 0 else "damaged: its list of frames")
    kept: dict[str, Any] = {}
    total = 0
    for index, start in enumerate(struct.unpack_from(f"<{n_frames}q", data, place)):
        row, size = _frame(data, start)
        row, total = kept | row, total + size
        if total > len(data):
            raise BrokenStructureError("damaged: its frames overlap")
        kept = {name: row[name] for name in KEPT if name in row}
        if "charges" in row:
            row["initial_charges"] = row.pop("charges")
        yield Piece(f"#{index}" if n_frames > 1 else "", "json", row)


def _frame(data: bytes, start: int) -> tuple[dict[str, Any], int]:
    """Return arrays and energy of a frame as JSON, and the bytes that they take."""
    if not 0 <= start <= len(data) - 8:
        raise BrokenStructureError("damaged: a frame lies outside of the file")
    (size,) = struct.unpack_from("<q", data, start)
    told = json.loads(data[start + 8 : start + 8 + max(size, 0)])
    order = "<" if told.get("_little_endian", True) else ">"
    row: dict[str, Any] = {}
    total = size
    for name in ARRAYS:
        if f"{name}." in told:
            array = _array(data, told[f"{name}."], order, name)
            row[name], total = array.tolist(), total + array.nbytes
        elif name in told:
            row[name] = told[name]
    energy = (told.get("calculator.") or {}).get("energy")
    return row | ({"energy": energy} if isinstance(energy, int | float) else {}), total


def _array(data: bytes, told: Mapping[str, Any], order: str, name: str) -> np.ndarray:
    if "ndarray" not in told:  # an object, such as a cell
        return np.array(told["array"]) if "array" in told else _array(data, told["array."], order, name)
    shape, kind, start = told["ndarray"]
    dtype = np.dtype(str(kind)).newbyteorder("<" if order == "<" else ">")
    count = int(np.prod([float(length) for length in shape]))
    if dtype.kind not in SCALARS or not 0 <= start <= len(data) - count * dtype.itemsize or count < 0:
        raise BrokenStructureError(f"damaged: its {name} lie outside of the file, or are no numbers")
    return np.frombuffer(data, dtype, count, start).reshape(shape)


def is_animated(text: str) -> bool:
    """Return whether an XSF holds several steps."""
    lines = (line.strip() for line in io.StringIO(text))
    return next((line for line in lines if line and not line.startswith("#")), "").startswith("ANIMSTEPS")


def animation(text: str) -> Iterator[Piece]:
    """Yield the steps of an animated XSF as rows of JSON."""
    for index, atoms in enumerate(iread_xsf(io.StringIO(text))):
        row = {"numbers": atoms.numbers.tolist(), "positions": atoms.positions.tolist(), "pbc": atoms.pbc.tolist()}
        yield Piece(f"#{index}", "json", row | {"cell": atoms.cell.array.tolist()})
