"""Examples that a design is to resemble: files, read and checked before the search."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from pymatgen.core.structure import Structure

from matgen.chemistry.elements import SYMBOLS
from matgen.generation.errors import RequestError
from matgen.generation.template_constraints import MOLECULE_ELEMENTS, MOST
from matgen.runtime.config import check_positive
from matgen.structures.candidate import KindName
from matgen.structures.conversion import described
from matgen.structures.files import Entry, read_structures
from matgen.structures.record import material_record
from matgen.templates.batch import Geometry, Template
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.symmetry import NoTemplateError


@dataclass(frozen=True)
class Example:
    """A material that the candidates are to resemble.

    Attributes:
        name: its file, and its place in it.
        template: its discrete half.
        geometry: the free parameters of a crystal; empty for a molecule.
        structure: a crystal as read; None for a molecule.
        digest: hash of its content.
    """

    name: str
    template: Template
    geometry: Geometry
    structure: Structure | None
    digest: str


@dataclass(frozen=True)
class LikenessConfig:
    """Examples, and the weight of likeness to them.

    Attributes:
        examples: files, or folders, in the formats that `matgen screen` reads; empty for none.
        weight: of both terms, of templates and of structures.
    """

    examples: tuple[str, ...] = field(default=(), metadata={"keyword": "like"})
    weight: float = field(default=1.0, metadata={"keyword": "like_weight"})

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: the weight is not above zero.
            RequestError: a weight without examples.
        """
        check_positive(self, "weight")
        if self.weight != 1 and not self.examples:
            raise RequestError(f"expected examples for the weight {self.weight:g} of likeness, got none; give --like")

    def of_kind(self, kind: KindName) -> tuple[Example, ...]:
        """Return the examples, read once.

        Raises:
            RequestError: one is broken, of another kind, or beyond what the models know.
            MissingPathError: there is no such file.
        """
        return self._crystals if kind == "crystal" else self._molecules

    @cached_property
    def _crystals(self) -> tuple[Example, ...]:
        return tuple(_crystal(entry) for entry in _entries(self.examples, "crystal"))

    @cached_property
    def _molecules(self) -> tuple[Example, ...]:
        return tuple(_molecule(entry) for entry in _entries(self.examples, "molecule"))


def _entries(paths: Sequence[str], kind: KindName) -> list[Entry]:
    """Read the files.

    Raises:
        RequestError: an entry is broken, or of another kind; if all are, the message names that kind.
    """
    entries = list(read_structures(map(Path, paths), kind))
    other: KindName = "crystal" if kind == "molecule" else "molecule"
    none = bool(entries) and all(entry.structure is None for entry in entries)
    if none and all(entry.structure is not None for entry in read_structures(map(Path, paths), other)):
        raise RequestError(f"expected {kind}s to resemble, got {other}s; name {kind}s, or ask for --kind {other}")
    for entry in entries:
        if entry.structure is None:
            raise RequestError(f"expected a {kind} to resemble in {entry.name}, got: {entry.error}; leave it out")
    if paths and not entries:
        raise RequestError(f"expected {kind}s to resemble in {', '.join(paths)}, got empty files; name others")
    return entries


def _crystal(entry: Entry) -> Example:
    """Return a crystal as an example.

    Raises:
        RequestError: it has an element, or more atoms than, the models know, or no symmetry is found.
    """
    structure = entry.crystal
    if structure is None:
        raise TypeError(f"expected an entry with a structure, got {entry.name}")
    try:
        template, geometry = described(structure)
    except NoTemplateError as error:
        raise RequestError(f"expected a crystal that the models know in {entry.name}, got: {error}") from error
    most = MOST["crystal"]
    if template.n_atoms > most:
        raise RequestError(
            f"expected at most {most} atoms in the primitive cell of {entry.name}, got {template.n_atoms}; the models "
            "know no larger cells; leave it out"
        )
    return Example(entry.name, template, geometry, structure, _digest(structure))


def _molecule(entry: Entry) -> Example:
    """Return a molecule as an example.

    Raises:
        RequestError: it has an element, or more heavy atoms than, the models know.
    """
    template, most = MoleculeTemplate(entry.template), MOST["molecule"]
    unknown = sorted(set(template.composition) - set(MOLECULE_ELEMENTS))
    if unknown:
        known = ", ".join(SYMBOLS[z] for z in MOLECULE_ELEMENTS)
        raise RequestError(f"expected a molecule of {known} in {entry.name}, got {SYMBOLS[unknown[0]]}; leave it out")
    heavy = sum(n for z, n in template.composition.items() if z > 1)
    if heavy > most:
        raise RequestError(f"expected at most {most} heavy atoms in {entry.name}, got {heavy}; leave it out")
    geometry = Geometry(torch.zeros(1, 6), torch.zeros(template.n_atoms, 3))
    digest = hashlib.sha256(template.smiles.encode()).hexdigest()[:16]
    return Example(entry.name, template, geometry, None, digest)


def _digest(structure: Structure) -> str:
    return hashlib.sha256(json.dumps(material_record(structure)).encode()).hexdigest()[:16]
