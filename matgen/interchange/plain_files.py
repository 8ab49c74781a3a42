"""Plain files of structures: extxyz, POSCAR, CIF of crystals; SDF, SMILES of molecules."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pymatgen.io.vasp.inputs import Poscar

from matgen.interchange.item import Item
from matgen.runtime.output import replace_file
from matgen.structures.candidate_table import frame_text
from matgen.structures.cif import faithful_cif
from matgen.structures.sdf import faithful_sdf

DIGITS = 16
"""Significant figures of a POSCAR."""


def extxyz_text(items: Iterable[Item]) -> str:
    """Return frames with all columns in the comment line."""
    return "".join(frame_text(item.candidate, item.columns) for item in items)


def sdf_text(items: Iterable[Item]) -> str:
    """Return the molecules with bonds and fields."""
    return "".join(faithful_sdf(item.candidate)[0] for item in items)


def smiles_text(items: Iterable[Item]) -> str:
    """Return a line for each molecule: SMILES and name."""
    return "".join(f"{item.candidate.template} {_one_word(item.name)}\n" for item in items)


def poscar_text(item: Item) -> str:
    """Return a crystal as VASP reads it, named in the first line."""
    name = " ".join(item.name.split())
    return Poscar(item.candidate.crystal, comment=name, sort_structure=True).get_str(significant_figures=DIGITS)


def cif_text(item: Item) -> str:
    """Return a crystal with its symmetry, if that reads back as the same crystal."""
    return faithful_cif(item.candidate.crystal)[0]


def write_each(folder: Path, items: Iterable[Item], suffix: str, text: Callable[[Item], str]) -> None:
    """Write one file for each structure into a folder that exists.

    Args:
        folder: that is empty.
        items: structures.
        suffix: of the files.
        text: returns the content of a file.
    """
    every = list(items)
    for item, stem in zip(every, file_names(item.name for item in every), strict=True):
        replace_file(folder / f"{stem}{suffix}", text(item), wait=False)


def file_names(names: Iterable[str]) -> Iterator[str]:
    """Yield a unique name of a file for each name, which may hold slashes; case alone does not make it unique."""
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._()+-]+", "_", name).strip("._-")[:100] or "structure"
        stem, again = plain, 1
        while stem.lower() in taken:
            again += 1
            stem = f"{plain}_{again}"
        taken.add(stem.lower())
        yield stem


def _one_word(name: str) -> str:
    return "_".join(name.split())
