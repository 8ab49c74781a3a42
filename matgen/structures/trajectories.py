"""Frames of trajectories of ASE, and of animated XSF.

A trajectory (ULM) has a head, arrays, and for each frame a JSON object that says where its arrays lie. ASE's reader
makes objects of what the file names: constraints, calculators, arrays of any type and size. Here only the numbers of
atoms are read.
"""

import io
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

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


COORDINATES = frozenset({"PRIMCOORD", "ATOMS"})
SECTIONS = COORDINATES | {"PRIMVEC", "CONVVEC", "CONVCOORD"}
"""Words that begin a section, with the number of the step behind them; those of COORDINATES end a step."""

KINDS = frozenset({"CRYSTAL", "SLAB", "POLYMER", "MOLECULE"})
"""Words that say along which axes the cell repeats."""


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
    try:
        told = json.loads(data[start + 8 : start + 8 + max(size, 0)])
    except ValueError as error:
        raise BrokenStructureError("damaged: a frame is not described in JSON") from error
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
    return next(_lines(text), "").startswith("ANIMSTEPS")


def animation(text: str) -> Iterator[Piece]:
    """Yield the steps of an animated XSF, and the reason why it holds more or fewer than it announces."""
    announced = next(_lines(text)).split()[1:2]
    count = 0
    for step, reason in _steps(text):
        yield Piece(f"#{count}", None, None, reason) if reason else Piece(f"#{count}", "xsf", step)
        count += 1
    if announced != [str(count)]:
        said = " ".join(announced) or "no number of"
        yield Piece(f"#{count}", None, None, f"damaged: it announces {said} steps (ANIMSTEPS), and holds {count}")


def _lines(text: str) -> Iterator[str]:
    """Yield the lines that are neither blank nor a comment."""
    stripped = (line.strip() for line in io.StringIO(text))
    return (line for line in stripped if line and not line.startswith("#"))


def _steps(text: str) -> Iterator[tuple[str, str]]:
    """Yield the text of each step as an XSF, or the reason why it is none.

    A cell (PRIMVEC) without a number holds for all steps that follow, another one for the step of its number.
    """
    kind, cell, cell_of = "", [""], ""
    for section in _sections(text):
        word, number = (*section[0].split(), "")[:2]
        if word in KINDS:
            kind = word
        elif word == "PRIMVEC":
            cell, cell_of = ["PRIMVEC", *section[1:]], number
        elif word == "PRIMCOORD" and cell_of not in {"", number}:
            yield "", f"damaged: expected a cell (PRIMVEC {number}) of this step, got that of step {cell_of}"
        elif word in COORDINATES:
            head = [kind] if kind not in {"", "MOLECULE"} else []
            yield "\n".join([*head, *(cell if word == "PRIMCOORD" else []), word, *section[1:]]) + "\n", ""


def _sections(text: str) -> Iterator[Sequence[str]]:
    """Yield the lines of each section; those of densities are a section too."""
    section: list[str] = []
    for line in _lines(text):
        if section and (line.split()[0] in SECTIONS | KINDS or line.startswith("BEGIN_")):
            yield section
            section = []
        section.append(line)
    yield section
