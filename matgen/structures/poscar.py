"""Read crystals of VASP: POSCAR and CONTCAR, of any version, with comments, and several in one file."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.core.structure import Structure

from matgen.structures.broken import BrokenStructureError
from matgen.structures.cif_elements import is_element
from matgen.structures.faithful import FromFile

FLAGS = frozenset({"T", "F"})
"""Letters that say whether an atom may move, and no elements."""

FRAME = re.compile(r"\s*Direct\s+configuration", re.IGNORECASE)
"""Begin of the coordinates of a frame of an XDATCAR."""

COUNT = re.compile(r"\d{1,6}")
NO_ELEMENTS = (
    "the POSCAR does not say which elements it holds; write their symbols, such as `Na Cl`, into a line above the "
    "numbers of atoms"
)


def parts(text: str) -> Iterator[str]:
    """Yield the text of each structure of a file that may hold several, one after the other."""
    lines = text.splitlines()
    if any(map(FRAME.match, lines)):
        yield from _frames(lines)
        return
    start = 0
    while start < len(lines):
        after = _after_coordinates(lines[start:]) + start
        end = next((i for i in range(after, len(lines)) if is_head(lines[i : i + 7])), len(lines))
        yield "\n".join(lines[start:end]) + "\n"
        start = end


def _frames(lines: Sequence[str]) -> Iterator[str]:
    """Yield the frames of an XDATCAR, each with the last head before it."""
    marks = [i for i, line in enumerate(lines) if FRAME.match(line)]
    head: Sequence[str] = lines[: marks[0]]
    for mark, end in zip(marks, [*marks[1:], len(lines)], strict=True):
        text = [*head, *lines[mark:end]]
        yield "\n".join(text) + "\n"
        after = mark + _after_coordinates(text) - len(head)
        head = next((lines[i:end] for i in range(after, end) if is_head(lines[i : i + 7])), head)


def is_head(lines: Sequence[str]) -> bool:
    """Return whether lines begin a POSCAR: title, scale, three vectors, symbols or numbers of atoms."""
    if len(lines) < 6 or lines[0].strip().lower().startswith("lattice velo"):
        return False
    numbers = [_n_numbers(line) for line in lines[1:6]]
    vectors = _starts_with_numbers(lines[1], (1, 3)) and all(_starts_with_numbers(line, (3,)) for line in lines[2:5])
    named = len(lines) > 6 and not numbers[4] and bool(_words(lines[5])) and any(_counts(lines[6]))
    return vectors and (named or any(_counts(lines[5])))


def _after_coordinates(lines: Sequence[str]) -> int:
    """Return the line after the coordinates of the first structure, or after its head if they cannot be counted."""
    try:
        _, counts, at = _species_and_counts(lines)
    except (BrokenStructureError, IndexError):
        return 7
    at += at < len(lines) and _is_selective(lines[at])
    return at + 1 + sum(counts)


def _starts_with_numbers(line: str, allowed: tuple[int, ...]) -> bool:
    found = _leading_numbers(line)
    return len(found) in allowed or (len(found) > 0 and min(allowed) <= len(found) < len(_words(line)))


def read_poscar(text: str) -> FromFile:
    """Return the crystal of a POSCAR.

    Raises:
        BrokenStructureError: it does not name its elements, or is damaged.
    """
    lines = text.splitlines()
    if len(lines) < 7:
        raise BrokenStructureError(f"not readable as poscar: it ends after {len(lines)} lines")
    scales = _numbers(lines, 1, (1, 3))
    lattice = np.array([_numbers(lines, i, (3,)) for i in (2, 3, 4)])
    scale = _scale(scales, lattice)
    lattice = lattice * scale
    names, counts, at = _species_and_counts(lines)
    selective = at < len(lines) and _is_selective(lines[at])
    at += selective
    if at >= len(lines):
        raise BrokenStructureError("not readable as poscar: it ends before the coordinates")
    if _n_numbers(lines[at]) >= 3:
        raise BrokenStructureError("the POSCAR does not say whether coordinates are Direct or Cartesian; add that line")
    cartesian = lines[at].strip()[:1].lower() in {"c", "k"}
    rows = _coordinates(lines, at + 1, sum(counts), n_flags=3 * selective)
    if len(lines) > (after := at + 1 + len(rows)) and len(_leading_numbers(lines[after])) >= 3:
        raise BrokenStructureError(f"the POSCAR lists more coordinates than the {len(rows)} atoms that it counts")
    coords = np.array([row.coords for row in rows])
    symbols, remarks = _symbols(lines[0], names, counts, rows)
    structure = Structure(lattice, symbols, coords * scale if cartesian else coords, coords_are_cartesian=cartesian)
    return FromFile(structure, tuple(remarks))


def _scale(scales: Sequence[float], lattice: np.ndarray) -> np.ndarray:
    """Return the factors (3,) of the Cartesian components; a negative one is the volume of the cell."""
    volume = abs(float(np.linalg.det(lattice)))
    if len(scales) == 1 and scales[0] < 0 < volume:
        return np.full(3, (-scales[0] / volume) ** (1 / 3))
    if min(scales) <= 0:
        raise BrokenStructureError(f"expected a scale that is not 0, or three positive ones, got {scales}")
    return np.broadcast_to(np.array(scales), (3,)).copy()


def _species_and_counts(lines: Sequence[str]) -> tuple[list[str], list[int], int]:
    """Return symbols (empty if there are none), numbers of atoms, and the line after them."""
    if counts := _counts(lines[5]):
        return [], counts, 6
    names, at = _words(lines[5]), 6
    counts = _counts(lines[6])
    while counts and at + 1 < len(lines) and len(counts) < len(names) and (more := _counts(lines[at + 1])):
        counts, at = counts + more, at + 1  # VASP breaks long lines
    if not counts:
        raise BrokenStructureError(f"not readable as poscar: expected numbers of atoms, got {lines[6].strip()[:40]!r}")
    if len(names) != len(counts):
        raise BrokenStructureError(f"the POSCAR names {len(names)} elements and gives {len(counts)} numbers of atoms")
    return names, counts, at + 1


@dataclass(frozen=True)
class _Row:
    """Coordinates (3,) of an atom, and the words after them and after what may move."""

    coords: tuple[float, ...]
    words: tuple[str, ...]


def _coordinates(lines: Sequence[str], first: int, n_atoms: int, n_flags: int) -> list[_Row]:
    if not n_atoms:
        raise BrokenStructureError("no atoms")
    if first + n_atoms > len(lines):
        raise BrokenStructureError(f"the POSCAR is damaged: it has no coordinates for some of its {n_atoms} atoms")
    rows = []
    for line in lines[first : first + n_atoms]:
        words = line.split()
        try:
            rows.append(_Row(tuple(_number(word) for word in words[:3]), tuple(words[3 + n_flags :])))
        except ValueError:
            words = []
        if len(words) < 3:
            raise BrokenStructureError(f"the POSCAR is damaged: expected the coordinates of an atom, got {line[:40]!r}")
    return rows


def _symbols(
    title: str, names: Sequence[str], counts: Sequence[int], rows: Sequence[_Row]
) -> tuple[list[str], list[str]]:
    """Return the element of each atom, and remarks.

    Without a line of symbols, those beside the coordinates are taken, or those of the title if it holds nothing else.
    """
    kinds = [kind for kind, n in enumerate(counts) for _ in range(n)]
    beside = [_element(row.words[0]) if row.words and row.words[0] not in FLAGS else "" for row in rows]
    if names:
        elements = [_element(name) for name in names]
        if "" in elements:
            raise BrokenStructureError(f"{names[elements.index('')]} is no element; correct the line of symbols")
        found = [elements[kind] for kind in kinds]
        wrong = [(one, other) for one, other in zip(found, beside, strict=True) if other and one != other]
        if wrong and all(beside):
            one, other = wrong[0]
            raise BrokenStructureError(f"its line of symbols says {one} where {other} stands beside the coordinates")
        return found, []
    if all(beside) and len({*zip(kinds, beside, strict=True)}) == len(counts):
        return beside, ["it has no line of elements; they are those beside the coordinates"]
    elements = [_element(word) for word in _words(title)]
    if all(elements) and len(elements) == len(counts):
        remark = f"it has no line of elements; they are those of its title, {' '.join(elements)}"
        return [elements[kind] for kind in kinds], [remark]
    raise BrokenStructureError(NO_ELEMENTS)


def _element(name: str) -> str:
    """Return the element of a symbol such as Na, Na_pv or Fe/hash; empty if it is none."""
    symbol = re.split(r"[_/.+\d-]", name, maxsplit=1)[0]
    return symbol if is_element(symbol) else ""


def _words(line: str) -> list[str]:
    return re.split("[!#]", line, maxsplit=1)[0].split()


def _number(word: str) -> float:
    return float(word.replace("d", "e").replace("D", "e"))


def _numbers(lines: Sequence[str], index: int, allowed: tuple[int, ...]) -> list[float]:
    """Return the numbers at the head of a line, as many as are allowed; comments may follow."""
    found = _leading_numbers(lines[index])
    n = next((n for n in reversed(allowed) if len(found) >= n), 0)
    if not n:
        what = "a scale" if index == 1 else "a vector of the cell"
        raise BrokenStructureError(f"not readable as poscar: expected {what}, got {lines[index].strip()[:40]!r}")
    return found[:n]


def _leading_numbers(line: str) -> list[float]:
    found: list[float] = []
    for word in _words(line):
        try:
            found.append(_number(word))
        except ValueError:
            break
    return found


def _is_selective(line: str) -> bool:
    return line.strip()[:1].lower() == "s"


def _n_numbers(line: str) -> int:
    """Return how many numbers a line holds besides a comment; 0 if there is anything else."""
    try:
        return len([_number(word) for word in _words(line)])
    except ValueError:
        return 0


def _counts(line: str) -> list[int]:
    """Return the numbers of atoms of a line; empty if it is none."""
    words = _words(line)
    while words and not re.match(r"[+-.\d]", words[-1]):  # a comment without a mark
        words.pop()
    return [int(word) for word in words] if words and all(COUNT.fullmatch(word) for word in words) else []
