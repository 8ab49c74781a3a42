"""Structures from files, folders and archives.

A broken file gives an entry with a reason and does not stop the reading. Finding structures is cheap and keeps the
order; reading them is expensive and can run in other processes: `found(paths)` yields the input of `read`, and
`read_structures` does both.
"""

import gzip
import hashlib
import json
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pymatgen.core.structure import Molecule, Structure

from matgen.errors import UserError
from matgen.runtime.csv_lines import writable
from matgen.structures.archives import is_archive, members
from matgen.structures.broken import READER_ERRORS, BrokenStructureError
from matgen.structures.candidate import KindName, Material, as_crystal, as_molecule, kind_of
from matgen.structures.content import HEAD, format_of_stream
from matgen.structures.faithful import Faithfulness
from matgen.structures.folder_walk import files_below, is_known, without_gz
from matgen.structures.formats import Piece, format_of, likely_kind
from matgen.structures.ids import id_in_label, id_of
from matgen.structures.in_memory import InMemory, pieces_in_memory
from matgen.structures.labels import Label, labels_of
from matgen.structures.pieces import failure, pieces
from matgen.structures.reading import read_piece
from matgen.structures.size_limits import check_size, largest, limited, most_on_disk

FORMATS_TEXT = (
    "CIF, POSCAR, (ext)xyz, JSON, JSON lines, CSV, XSF, RES, GEN, geometry.in, PDB, traj, db, SDF, MOL, MOL2, "
    "SMILES, InChI, a zip, a tar or a folder of these"
)
"""Formats in words, for messages."""

DAMAGED = (*READER_ERRORS, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error)
"""What is raised on a damaged or too large file."""


class MissingPathError(UserError, FileNotFoundError):
    """A given path does not exist."""


class MixedKindsError(UserError, ValueError):
    """Crystals and molecules where one kind is expected."""


@dataclass(frozen=True)
class Entry:
    """One structure of a file, or the reason why it cannot be read.

    Attributes:
        name: unique and reproducible for the same paths: "folder/a.cif", "many.extxyz#17", "all.zip/b.cif".
        path: of its file, including the path within an archive.
        index: position in that file, from 0.
        structure: elements and positions; None if it is broken.
        error: why it is broken; empty otherwise.
        template: canonical SMILES of a molecule, whose atoms are in the order of its graph; empty otherwise.
        note: what the file does not give and was generated, such as the geometry of a SMILES; empty otherwise.
        atoms: elements and positions in free space of a broken molecule, if they are known; None otherwise.
        faithful: comparison of the structure with what its file says beside the sites.
        id: identifier that the file carries for it; empty if there is none.
        given: other labels that the file carries for it, numbers and short texts by name.
    """

    name: str
    path: str
    index: int
    structure: Material | None
    error: str
    template: str = ""
    note: str = ""
    atoms: Molecule | None = None
    faithful: Faithfulness = field(default_factory=Faithfulness)
    id: str = ""
    given: Mapping[str, Label] = field(default_factory=dict)

    @property
    def kind(self) -> KindName | None:
        """Crystal or molecule; None if it is broken."""
        return None if self.structure is None else kind_of(self.structure)

    @property
    def crystal(self) -> Structure | None:
        """The structure of a crystal; None if it is broken.

        Raises:
            KindError: it is a molecule.
        """
        return None if self.structure is None else as_crystal(self.structure, self.name)

    @property
    def molecule(self) -> Molecule | None:
        """The structure of a molecule; None if it is broken.

        Raises:
            KindError: it is a crystal.
        """
        return None if self.structure is None else as_molecule(self.structure, self.name)


@dataclass(frozen=True)
class Found:
    """An entry that is not read yet, with name, path and index as in `Entry`."""

    name: str
    path: str
    index: int
    piece: Piece


def read_structures(paths: Iterable[Path], kind: KindName | None = "crystal") -> Iterator[Entry]:
    """Yield the structures of files, of folders with their subfolders, and of zips and tars.

    Files in a folder whose name and content tell no format are passed over (`matgen.structures.passed_over` counts
    them); a file given by its own path is not. A file that is found twice is read once. Folders are read in
    alphabetical order.

    Args:
        paths: to read.
        kind: expected kind, others give entries with a reason; None for both.

    Raises:
        MissingPathError: a path does not exist; raised before anything is read.
        TooManyOthersError: a folder of very many files of which hardly any holds a structure.
    """
    return (read(one, kind) for one in found(paths))


def read(one: Found, kind: KindName | None = "crystal", *, contradictory: bool = False) -> Entry:
    """Read one structure; another kind than `kind` (None: either) gives an entry with a reason.

    So does one that contradicts what its file says, unless `contradictory` asks for it with its comparison.
    """
    carried: dict[str, Any] = {"id": writable(id_of(one.piece) or id_in_label(one.piece.label))}
    carried["given"] = labels_of(one.piece)
    try:
        reading = read_piece(one.piece, kind, contradictory=contradictory)
    except BrokenStructureError as error:
        return Entry(one.name, one.path, one.index, None, writable(str(error)), atoms=error.atoms, **carried)
    made = (reading.structure, "", reading.template, writable(reading.note))
    return Entry(one.name, one.path, one.index, *made, faithful=reading.faithful, **carried)


def one_kind(several: Iterable[Found]) -> KindName | None:
    """Return the kind of all structures without reading them; None if it is unclear.

    Raises:
        MixedKindsError: there are crystals and molecules.
    """
    first: dict[KindName, str] = {}
    for one in several:
        if kind := likely_kind(one.piece):
            first.setdefault(kind, one.name)
    if len(first) > 1:
        raise MixedKindsError(
            f"expected crystals or molecules, got both: {first['crystal']} is a crystal and {first['molecule']} is a "
            "molecule; put them into two folders and name one"
        )
    return next(iter(first), None)


def digest(one: Found | Entry) -> str:
    """Return a hash of the content, by which structures that were processed before are recognised."""
    if isinstance(one, Found):
        content = one.piece.content if isinstance(one.piece.content, str) else _json(one.piece.content)
        content = f"{one.piece.form}\n{one.piece.error}\n{content}"
        content += _json([one.piece.id, dict(one.piece.given)]) if one.piece.id or one.piece.given else ""
    else:
        content = one.error if one.structure is None else _json(one.structure.as_dict())
    return hashlib.sha256(content.encode(errors="replace")).hexdigest()[:16]


def _json(value: Any) -> str:
    return json.dumps(value, default=str)  # properties of sites may be arrays


def found(paths: Iterable[Path]) -> Iterator[Found]:
    """Yield the structures of paths without reading them, in a reproducible order.

    Raises:
        MissingPathError: a path does not exist; raised before anything is read.
    """
    named = list(dict.fromkeys(map(Path, paths)))
    for path in named:
        if not path.exists():
            raise MissingPathError(f"expected {FORMATS_TEXT}, got {path}, which is not there; check the path")
    return distinct(_found(named))


def given(structures: Iterable[InMemory]) -> Iterator[Found]:
    """Yield structures in memory like those of a file, named "structure#0", "structure#1"."""
    for index, piece in enumerate(pieces_in_memory(structures)):
        yield Found(f"structure#{index}", "", index, piece)


def _found(named: list[Path]) -> Iterator[Found]:
    met: set[str] = set()
    for path, label in zip(named, _labels(named), strict=True):
        inside = files_below(path) if path.is_dir() else [path]
        empty = True
        for file in inside:
            empty = False
            place = os.path.realpath(file)  # which a circle of links does not stop
            if place in met:
                continue
            met.add(place)
            within = file.relative_to(path).as_posix()
            yield from _of_file(file, label if within == "." else f"{label}/{within}")
        if empty:
            yield _broken(f"the folder holds no file that is {FORMATS_TEXT} by its name", label, str(path))


def _labels(named: list[Path]) -> list[str]:
    """Return the last part of each path, with as many parts before it as make it unique."""
    whole = [path.resolve().parts for path in named]
    depth = [1] * len(named)
    while True:
        tails = [parts[-k:] for parts, k in zip(whole, depth, strict=True)]
        counts = Counter(tails)
        again = [i for i, tail in enumerate(tails) if counts[tail] > 1 and depth[i] < len(whole[i])]
        if not again:
            return ["/".join(tail).removeprefix("//") or "/" for tail in tails]
        for i in again:
            depth[i] += 1


def _of_file(file: Path, label: str) -> Iterator[Found]:
    if reason := not_regular(file):
        yield _broken(reason, label, str(file))
        return
    if is_archive(file.name):
        yield from _of_archive(file, label)
        return
    try:
        with file.open("rb", buffering=HEAD) as stream:
            yield from _of_stream(file.name, stream, label, str(file), file.stat().st_size)
    except OSError as error:
        yield _broken(f"cannot be read: {error.strerror or error}", label, str(file))


def not_regular(file: Path) -> str:
    """Say what a path is that is neither a file nor a folder, and would keep its reader waiting; empty otherwise."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    kinds = {
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    kind = kinds.get(stat.S_IFMT(mode), "")
    return f"{kind}, not a file; write what comes out of it into a file" if kind else ""


def _of_archive(file: Path, label: str) -> Iterator[Found]:
    empty = True
    try:
        for name, stream, size, packed, reason in members(file):
            if not (reason or is_read(name, stream)):
                continue
            empty = False
            inner, path = f"{label}/{name}", f"{file}/{name}"
            if stream is None:
                yield _broken(reason, inner, path)
            else:
                yield from _of_stream(name, stream, inner, path, size, packed, in_archive=True)
    except DAMAGED as error:
        yield _broken(f"damaged {file.suffix.lower()[1:]}: {failure(error).error}", label, str(file))
    else:
        if empty:
            reason = f"the {file.suffix.lower()[1:]} holds no file that is {FORMATS_TEXT} by its name"
            yield _broken(reason, label, str(file))


def is_read(name: str, stream: IO[bytes] | None) -> bool:
    """Return whether a member of an archive holds structures by its name, or else by its content."""
    if name.startswith(("__MACOSX/", ".")) or "/." in name or stream is None:
        return False
    return is_known(name.rpartition("/")[2]) or format_of_stream(stream) is not None


def _of_stream(
    name: str, stream: IO[bytes], label: str, path: str, size: int, packed: int = 0, *, in_archive: bool = False
) -> Iterator[Found]:
    """Yield the structures of a file, up to where it is damaged or too large."""
    form = format_of(without_gz(name)) or format_of_stream(stream)
    if form is None:
        yield _broken(f"expected {FORMATS_TEXT}; name and content of this file tell none", label, path)
        return
    index = -1
    try:
        plain: Any = stream
        if name.lower().endswith(".gz"):
            plain = limited(gzip.GzipFile(fileobj=stream), form, in_archive=in_archive, packed=stream.tell)  # type: ignore[arg-type]
        else:
            check_size(size, largest(form) if in_archive else most_on_disk(form), packed)
            plain = limited(stream, form, in_archive=in_archive)
        for index, piece in enumerate(pieces(form, plain)):
            yield Found(f"{label}{piece.label}", path, index, piece)
    except DAMAGED as error:
        where = f"{label}#{index + 1}" if index >= 0 else label
        yield Found(where, path, index + 1, failure(error))


def _broken(reason: str, label: str, path: str) -> Found:
    return Found(label, path, 0, Piece("", None, None, reason))


def distinct(entries: Iterator[Found]) -> Iterator[Found]:
    """Yield entries with unique names; a number is added to repeated ones."""
    taken: set[str] = set()
    for one in entries:
        name, again = (whole := writable(one.name)), 1
        while name in taken:
            again += 1
            name = f"{whole} ({again})"
        taken.add(name)
        yield Found(name, writable(one.path), one.index, one.piece)
