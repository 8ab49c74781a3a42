"""Hosts: crystals of the user that are changed in places, in their primitive cell, with numbered sites.

A *site* is a symmetry-distinct site: an orbit of atoms under the space group. Sites are numbered from 1 in the order of
the template, which is that of their Wyckoff letters.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from pymatgen.core.structure import Structure

from matgen.chemistry.elements import SYMBOLS
from matgen.errors import UserError
from matgen.structures.candidate import as_crystal
from matgen.structures.conversion import described, structures
from matgen.structures.files import digest, found, read
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand
from matgen.templates.symmetry import NoTemplateError
from matgen.templates.wyckoff import multiplicities, wyckoff_table

SYMPREC = 0.01
"""Tolerance of the symmetry of a host, Å, as in a relaxation."""

MOST_ATOMS = 300
"""Atoms of the largest supercell."""

MOST_REPEATS = 12
"""Repetitions along one axis at most."""


class HostError(UserError, ValueError):
    """A host that cannot be read, or lacks what is to be changed."""


@dataclass(frozen=True)
class Host:
    """A crystal to be changed.

    Attributes:
        name: of its file.
        digest: hash of what was read.
        template: space group and sites.
        geometry: its free parameters, in float64; the digest stands for them in comparisons.
    """

    name: str
    digest: str
    template: CrystalTemplate
    geometry: Geometry = field(compare=False)

    @cached_property
    def structure(self) -> Structure:
        """The primitive cell, with the atoms of the first site first."""
        state = expand(TemplateBatch.of([self.template]), self.geometry)
        return as_crystal(structures(state)[0])

    @property
    def site_of_atom(self) -> tuple[int, ...]:
        """Index from 0 of the site of each atom of the primitive cell."""
        atoms = multiplicities()
        return tuple(i for i, (position, _) in enumerate(self.template.sites) for _ in range(atoms[position]))

    @property
    def sites_text(self) -> str:
        """The sites in words: `1: 1a Sr, 2: 1b Ti`."""
        table = wyckoff_table()
        named = [f"{i}: {table.label(p)} {SYMBOLS[z]}" for i, (p, z) in enumerate(self.template.sites, start=1)]
        return ", ".join(named)

    def label(self, site: int) -> str:
        """A site by its index from 0 in words: `site 2 (1b Ti)`."""
        position, z = self.template.sites[site]
        return f"site {site + 1} ({wyckoff_table().label(position)} {SYMBOLS[z]})"

    def sites_of(self, z: int) -> tuple[int, ...]:
        """Indices from 0 of the sites that hold an element.

        Raises:
            HostError: there are none.
        """
        sites = tuple(i for i, (_, element) in enumerate(self.template.sites) if element == z)
        if not sites:
            raise HostError(f"expected an element of {self.name}, got {SYMBOLS[z]}; it has the sites {self.sites_text}")
        return sites

    def site(self, number: int) -> int:
        """Index from 0 of the site of a number from 1.

        Raises:
            HostError: there is no such site.
        """
        if not 1 <= number <= len(self.template.sites):
            raise HostError(
                f"expected a site from 1 to {len(self.template.sites)} of {self.name}, got {number}; "
                f"they are {self.sites_text}"
            )
        return number - 1


def read_host(path: Path) -> Host:
    """Read the one crystal of a file, in any format that `matgen screen` reads.

    Raises:
        MissingPathError: the file does not exist.
        HostError: it holds no crystal or several, a disordered one, an element that is unknown, or no symmetry is
            found.
    """
    entries = list(found([path]))
    if len(entries) != 1:
        raise HostError(f"expected one crystal in {path}, got {len(entries)}; give a file with one")
    entry = read(entries[0], "crystal")
    if entry.crystal is None:
        raise HostError(f"expected a crystal in {path}, got one that cannot be used: {entry.error}; correct the file")
    if len(entry.crystal) > MOST_ATOMS:
        raise HostError(f"expected a host of at most {MOST_ATOMS} atoms, got {len(entry.crystal)} in {path}")
    try:
        template, geometry = described(entry.crystal, SYMPREC)
    except NoTemplateError as error:
        raise HostError(f"expected a crystal that the models can describe in {path}: {error}") from error
    geometry = Geometry(geometry.lattice.double(), geometry.coords.double())
    return Host(path.name, digest(entries[0]), template, geometry)


def supercell(primitive: Structure, space_group: int, least: float) -> Structure:
    """Return the smallest supercell whose shortest lattice vector is long enough.

    Args:
        primitive: standard primitive cell, such as `Host.structure`.
        space_group: 1..230.
        least: length in Å; with 0 the primitive cell is returned.

    Returns:
        A copy with the site property `atom`: the index of each atom in the primitive cell.

    Raises:
        HostError: it has more atoms than `MOST_ATOMS`.
    """
    return repeated(primitive, supercell_matrix(primitive, space_group, least))


def repeated(primitive: Structure, matrix: np.ndarray) -> Structure:
    """Return a supercell by its integer matrix (3, 3), on which the order of its atoms depends, with `atom` of each."""
    made = primitive.copy(site_properties={"atom": list(range(len(primitive)))})
    return made.make_supercell(matrix, in_place=False)


def supercell_matrix(primitive: Structure, space_group: int, least: float) -> np.ndarray:
    """Return the matrix (3, 3) of that supercell: multiples of the primitive or of the conventional cell are tried.

    Raises:
        HostError: it has more atoms than `MOST_ATOMS`.
    """
    to_conventional = torch.linalg.inv(wyckoff_table().primitive[space_group]).round().long().numpy()
    cells = [np.eye(3, dtype=int), to_conventional]
    choices = [_repeats(cell @ primitive.lattice.matrix, least) @ cell for cell in cells]
    matrix = min(choices, key=lambda choice: round(abs(np.linalg.det(choice))))
    atoms = round(abs(np.linalg.det(matrix))) * len(primitive)
    if atoms > MOST_ATOMS:
        raise HostError(
            f"expected a supercell of at most {MOST_ATOMS} atoms, got {atoms} for images {least:g} Å apart; lower it "
            "with --supercell"
        )
    return matrix


def _repeats(cell: np.ndarray, least: float) -> np.ndarray:
    """Return the diagonal matrix (3, 3) of repetitions of a cell (3, 3) until its shortest vector is long enough."""
    lengths = np.linalg.norm(cell, axis=1)
    repeats = np.clip(np.ceil((least - 1e-6) / lengths), 1, MOST_REPEATS).astype(int)
    while _shortest(repeats[:, None] * cell) < least - 1e-6 and repeats.max() <= MOST_REPEATS:
        repeats[np.argmin(repeats * lengths)] += 1
    return np.diag(repeats)


def _shortest(cell: np.ndarray) -> float:
    """Return the length of the shortest lattice vector, Å, of a cell that is not extremely oblique."""
    steps = np.array([s for s in np.ndindex(5, 5, 5) if s != (2, 2, 2)]) - 2
    return float(np.linalg.norm(steps @ cell, axis=1).min())
