"""A run of `design` or `screen` in a format of another program."""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from monty.json import MontyEncoder

from matgen.errors import UserError
from matgen.interchange.ase_database import SUFFIXES, write_database
from matgen.interchange.entries import entry_of, scheme_of
from matgen.interchange.item import Item, Run, read_run
from matgen.interchange.optimade import optimade_response
from matgen.interchange.plain_files import (
    cif_text,
    extxyz_text,
    poscar_text,
    sdf_text,
    smiles_text,
    write_each,
)
from matgen.runtime.output import replace_file, writing
from matgen.structures.candidate import KindName

BOTH: tuple[KindName, ...] = ("crystal", "molecule")
CRYSTAL: tuple[KindName, ...] = ("crystal",)
MOLECULE: tuple[KindName, ...] = ("molecule",)


class ExportError(UserError, ValueError):
    """A format that does not suit the run, or a file that is there already."""


@dataclass(frozen=True)
class Format:
    """How a run is written.

    Attributes:
        suffix: of the file; empty for a folder with a file for each structure.
        kinds: that it can hold.
        write: writes structures and the provenance of their run to a path that does not exist.
        needs_energy: whether only structures with the energy of a potential can be written.
    """

    suffix: str
    kinds: tuple[KindName, ...]
    write: Callable[[Path, Sequence[Item], Mapping[str, Any]], None]
    needs_energy: bool = False


def _database(path: Path, items: Sequence[Item], provenance: Mapping[str, Any]) -> None:
    write_database(path, items, provenance, path.suffix if path.suffix in SUFFIXES else ".db")


def _optimade(path: Path, items: Sequence[Item], provenance: Mapping[str, Any]) -> None:
    replace_file(path, json.dumps(optimade_response(items, provenance), allow_nan=False) + "\n")


def _entries(path: Path, items: Sequence[Item], provenance: Mapping[str, Any]) -> None:
    settings = provenance.get("configuration", {})
    scheme = scheme_of(settings.get("relaxation", {}) | settings)  # of a design, and of a screening
    replace_file(path, json.dumps([entry_of(item, scheme) for item in items], cls=MontyEncoder) + "\n")


def _text(of: Callable[[Sequence[Item]], str]) -> Callable[[Path, Sequence[Item], Mapping[str, Any]], None]:
    return lambda path, items, _: replace_file(path, of(items))


def _each(suffix: str, of: Callable[[Item], str]) -> Callable[[Path, Sequence[Item], Mapping[str, Any]], None]:
    def write(path: Path, items: Sequence[Item], _: Mapping[str, Any]) -> None:
        path.mkdir()
        write_each(path, items, suffix, of)

    return write


FORMATS: dict[str, Format] = {
    "ase-db": Format(".db", BOTH, _database),
    "optimade": Format(".json", CRYSTAL, _optimade),
    "entries": Format(".json", CRYSTAL, _entries, needs_energy=True),
    "extxyz": Format(".extxyz", BOTH, _text(extxyz_text)),
    "poscar": Format("", CRYSTAL, _each(".vasp", poscar_text)),
    "cif": Format("", CRYSTAL, _each(".cif", cif_text)),
    "sdf": Format(".sdf", MOLECULE, _text(sdf_text)),
    "smi": Format(".smi", MOLECULE, _text(smiles_text)),
}
"""Formats by the word that names them."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: file, or folder.
        written: number of structures.
        without_structure: rows of the run that have none.
        not_passing: structures that were left out since a check fails.
        without_energy: structures that were left out since no potential computed their energy.
    """

    path: Path
    written: int
    without_structure: int = 0
    not_passing: int = 0
    without_energy: int = 0


def run(
    folder: Path,
    form: str,
    out: Path | None = None,
    *,
    passed: bool = False,
    top: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write the structures of a run, best first, with what is known of them.

    Args:
        folder: of `design` or `screen`.
        form: one of `FORMATS`.
        out: file or folder to write; the name of the run with the suffix of the format, here, if None.
        passed: only structures of a screening that pass every deciding check.
        top: only the first ones.
        overwrite: replace what is there.

    Raises:
        ExportError: an unknown format, one for another kind, a path that is there, or nothing to write.
        RunFolderError, ResumeError: the folder is no run, or damaged.
        OutputError: the path cannot be written.
    """
    if form not in FORMATS:
        raise ExportError(f"expected a format of {', '.join(FORMATS)}, got {form!r}; name one")
    read = read_run(folder)
    how = FORMATS[form]
    if read.kind not in how.kinds:
        suited = ", ".join(name for name, one in FORMATS.items() if read.kind in one.kinds)
        raise ExportError(f"expected a format for {read.kind}s ({suited}), got {form}; name one of them")
    path = out or Path(f"{folder.resolve().name}-{form}{how.suffix}")
    _check_free(path, folder, overwrite=overwrite)
    chosen, not_passing, without_energy = _chosen(read, form, passed=passed, top=top)
    with _in_place_of(path) as part:
        how.write(part, chosen, read.provenance)
    return Exported(path, len(chosen), read.without_structure, not_passing, without_energy)


def _chosen(read: Run, form: str, *, passed: bool, top: int | None) -> tuple[list[Item], int, int]:
    """Return the structures to write, and how many are left out since a check fails, or since they have no energy."""
    items = [item for item in read.items if not passed or item.columns["passed"]]
    not_passing = len(read.items) - len(items)
    with_energy = [item for item in items if math.isfinite(item.energy) or not FORMATS[form].needs_energy]
    without_energy = len(items) - len(with_energy)
    chosen = with_energy[:top]
    if not chosen:
        if without_energy:
            raise ExportError(
                f"expected energies by a potential for {form}, got none for {without_energy} structures; relax them "
                "(`design` does, and `screen --relax chgnet`)"
            )
        raise ExportError("expected structures that pass every check, got none; leave --passed out")
    return chosen, not_passing, without_energy


def _check_free(path: Path, folder: Path, *, overwrite: bool) -> None:
    """Check that the path may be written.

    Raises:
        ExportError: it is there, or it is the run itself.
    """
    here, run_folder = path.resolve(), folder.resolve()
    if here == run_folder or here in run_folder.parents:
        raise ExportError(f"expected a path beside the run, got {path}, which holds it; name another with --out")
    if path.exists() and not overwrite:
        raise ExportError(f"expected a path that is free, got {path}, which is there; add --overwrite, or name another")
    if path.is_dir() and any(one.is_dir() or one.suffix not in {".vasp", ".cif"} for one in path.iterdir()):
        raise ExportError(f"expected a folder of exported files, got {path}, which holds others; name another")


@contextmanager
def _in_place_of(path: Path) -> Iterator[Path]:
    """Give a path to write to, in a folder beside; what is there takes the place of `path` once it is complete.

    Raises:
        OutputError: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".export-", dir=path.parent) as scratch:
            part = Path(scratch) / path.name
            yield part
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            part.replace(path)
