"""The Wyckoff positions of the 230 space groups as plain tensors, and the position of the atoms of molecules."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from matgen.runtime.devices import per_device

NO_GROUP = 0
"""Space group of a molecule."""

MOLECULE_SITE = 1731
"""Row of the position of the atoms of molecules: after all Wyckoff positions, with three free parameters."""

LETTERS = "abcdefghijklmnopqrstuvwxyzA"

# Row vectors of the primitive cell in units of the conventional ones.
PRIMITIVE = {
    "P": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "A": [[1, 0, 0], [0, 0.5, 0.5], [0, -0.5, 0.5]],
    "C": [[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]],
    "I": [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]],
    "F": [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    "R": [[2 / 3, 1 / 3, 1 / 3], [-1 / 3, 1 / 3, 1 / 3], [-1 / 3, -2 / 3, 1 / 3]],
}


@dataclass(frozen=True)
class WyckoffTable:
    """All Wyckoff positions in pyxtal's setting (ITA standard, origin choice 2, hexagonal axes).

    A *position* is a row 0..1730, or `MOLECULE_SITE`; its orbit members modulo centring translations are rows
    `member_offset[p] : member_offset[p + 1]`. Member m of a site with free parameters u lies at the conventional
    fractional coordinates `matrix[m] @ u + shift[m]`, where only the entries `free[p]` of the three of u count.

    Attributes:
        space_group: 1..230 of each position, 0 of the last (1732,).
        letter: 0 for a, 1 for b, ... (1732,).
        dof: number of free coordinates (1732,).
        free: which entries of u are free (1732, 3).
        multiplicity: atoms per primitive cell (1732,).
        member_offset: first member of each position (1733,).
        matrix: (n_members, 3, 3), with zero columns for entries that are not free.
        shift: (n_members, 3).
        rotation: fractional rotation from the first member (n_members, 3, 3).
        group_offset: first position of each group, indexed by space_group - 1 (231,).
        primitive: primitive rows in conventional units, by space_group (231, 3, 3).
        free_axis: axes along which the origin is arbitrary, by space_group (231, 3).
    """

    space_group: Tensor
    letter: Tensor
    dof: Tensor
    free: Tensor
    multiplicity: Tensor
    member_offset: Tensor
    matrix: Tensor
    shift: Tensor
    rotation: Tensor
    group_offset: Tensor
    primitive: Tensor
    free_axis: Tensor

    @property
    def n_positions(self) -> int:
        """Number of Wyckoff positions, 1731."""
        return MOLECULE_SITE

    def positions_of(self, space_group: int) -> range:
        """Return the rows of one space group, letter a first."""
        return range(int(self.group_offset[space_group - 1]), int(self.group_offset[space_group]))

    def label(self, position: int) -> str:
        """Return the conventional name, such as `4a`."""
        group = int(self.space_group[position])
        centring = round(1 / float(torch.linalg.det(self.primitive[group])))
        return f"{int(self.multiplicity[position]) * centring}{LETTERS[int(self.letter[position])]}"


def _arrays() -> dict[str, np.ndarray]:
    with (files("matgen.templates") / "wyckoff.npz").open("rb") as file:
        return dict(np.load(file))


@per_device
def wyckoff_table() -> WyckoffTable:
    """Return the shipped table (float64; built by `scripts/build/build_wyckoff_table.py`)."""
    raw = _arrays()
    integer = {name: torch.from_numpy(raw[name].astype(np.int64)) for name in raw if raw[name].dtype.kind != "U"}
    offset = integer["position_offset"]
    member_offset = torch.cat([offset, offset[-1:] + 1])
    identity = torch.eye(3, dtype=torch.float64)[None]
    primitive = torch.tensor([PRIMITIVE[c] for c in raw["group_centring"]], dtype=torch.float64)
    return WyckoffTable(
        space_group=_and(integer["position_group"], NO_GROUP),
        letter=_and(integer["position_letter"], 0),
        dof=_and(integer["position_dof"], 3),
        free=torch.cat([integer["position_free"].bool(), torch.ones(1, 3, dtype=torch.bool)]),
        multiplicity=member_offset.diff(),
        member_offset=member_offset,
        matrix=torch.cat([integer["matrix"].double(), identity]),
        shift=torch.cat([integer["shift"].double() / 24, torch.zeros(1, 3, dtype=torch.float64)]),
        rotation=torch.cat([integer["rotation"].double(), identity]),
        group_offset=integer["group_offset"],
        primitive=torch.cat([identity, primitive]),
        free_axis=torch.cat([torch.ones(1, 3, dtype=torch.bool), integer["group_free_axis"].bool()]),
    )


def _and(column: Tensor, last: int) -> Tensor:
    return torch.cat([column, column.new_tensor([last])])


@cache
def multiplicities() -> tuple[int, ...]:
    """Return the atoms per primitive cell of each position as integers: indexing a tensor is slow."""
    return tuple(wyckoff_table().multiplicity.tolist())


@dataclass(frozen=True)
class Alternative:
    """An equivalent description of a group: x' = rotation x + shift, letter i becomes letters[i]."""

    rotation: np.ndarray
    shift: np.ndarray
    letters: np.ndarray


@cache
def alternatives(space_group: int) -> tuple[Alternative, ...]:
    """Return coset representatives of the Euclidean normalizer (from Bilbao, via pyxtal); identity first."""
    raw = _alternative_arrays()
    first, last = (int(raw["alternative_offset"][i]) for i in (space_group - 1, space_group))
    letters = raw["alternative_letters_offset"].astype(int)
    return tuple(
        Alternative(
            rotation=raw["alternative_rotation"][i].astype(float),
            shift=raw["alternative_shift"][i] / 24,
            letters=raw["alternative_letters"][letters[i] : letters[i + 1]].astype(int),
        )
        for i in range(first, last)
    )


@cache
def _alternative_arrays() -> dict[str, np.ndarray]:
    return {name: array for name, array in _arrays().items() if name.startswith("alternative")}
