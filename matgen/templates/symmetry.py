"""Template and free parameters of a structure (needs moyopy; training does not import this)."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import moyopy
import numpy as np
import torch
from ase.data import chemical_symbols

from matgen.chemistry.elements import atomic_volumes, known_elements
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.lattice import FAMILY_MASKS, crystal_family, family_tables, lattice_to_parameters
from matgen.templates.wyckoff import alternatives, wyckoff_table

logging.getLogger("moyo").setLevel(logging.ERROR)  # it warns about every cell that is not primitive

FIT_TOLERANCE = 0.02  # of a cell edge: symmetrised positions fit to 1e-6, wrong assignments deviate far more


class NoTemplateError(ValueError):
    """A structure whose symmetry-distinct sites do not match Wyckoff positions."""


@dataclass(frozen=True)
class Described:
    """The template and free parameters of a structure.

    Attributes:
        template: with ascending sites.
        lattice: lattice parameters of `Geometry`, zero if not free (6,).
        coords: site parameters of `Geometry`, zero if not free (n_sites, 3).
    """

    template: CrystalTemplate
    lattice: np.ndarray
    coords: np.ndarray


@dataclass(frozen=True)
class _Fit:
    """The free parameters of the first member of a position: u = inverse @ (frac - shift)."""

    matrix: np.ndarray
    shift: np.ndarray
    inverse: np.ndarray
    translations: np.ndarray


@cache
def _fit(position: int) -> _Fit:
    table = wyckoff_table()
    first = int(table.member_offset[position])
    matrix, shift = table.matrix[first].numpy(), table.shift[first].numpy()
    inverse = np.zeros((3, 3))
    for column in np.flatnonzero(table.free[position].numpy()):
        row = next(r for r in range(3) if abs(matrix[r, column]) == 1 and np.count_nonzero(matrix[r]) == 1)
        inverse[column, row] = matrix[row, column]
    primitive = table.primitive[int(table.space_group[position])].numpy()
    corners = np.array(list(product(range(-2, 3), repeat=3))) @ primitive
    translations = np.unique(np.round(corners % 1.0 % 1.0, 6), axis=0)
    return _Fit(matrix, shift, inverse, translations[np.all(translations < 1 - 1e-5, axis=1)])


def _fits(position: int, frac: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the atoms (n, 3) at which the first member of a position can lie, and its free parameters there (n, 3)."""
    fit = _fit(position)
    points = (frac[:, None] + fit.translations).reshape(-1, 3)
    parameters = (points - fit.shift) @ fit.inverse.T
    miss = parameters @ fit.matrix.T + fit.shift - points
    fits = (np.abs(miss - np.rint(miss)) < FIT_TOLERANCE).all(1)
    return points[fits], parameters[fits]


def _free_parameters(position: int, frac: np.ndarray) -> np.ndarray | None:
    """Return the smallest free parameters that place the first member of a position on an atom; None if none do."""
    _, parameters = _fits(position, frac)
    if not len(parameters):
        return None
    if not _fit(position).inverse.any():  # nothing is free
        return np.zeros(3)
    wrapped = np.round(parameters % 1.0, 4) % 1.0
    total = np.round(wrapped[:, 0] + wrapped[:, 1] + wrapped[:, 2], 4)
    best = np.lexsort((wrapped[:, 2], wrapped[:, 1], wrapped[:, 0], total))[0]
    return parameters[best] % 1.0


def _sites(
    group: int, letters: np.ndarray, elements: np.ndarray, orbits: list[np.ndarray]
) -> tuple[tuple[tuple[int, int], ...], np.ndarray] | None:
    """Return sites in canonical order with their free parameters; None if an orbit fits no position."""
    start = wyckoff_table().positions_of(group).start
    rows = []
    for letter, element, frac in zip(letters.tolist(), elements.tolist(), orbits, strict=True):
        parameters = _free_parameters(start + letter, frac)
        if parameters is None:
            return None
        rows.append((start + letter, element, *parameters.tolist()))
    rounded = (np.round(np.array([r[2:] for r in rows]), 4) % 1.0).tolist()
    order = sorted(range(len(rows)), key=lambda i: (rows[i][0], rows[i][1], *rounded[i]))
    rows = [rows[i] for i in order]
    return tuple((r[0], r[1]) for r in rows), np.array([r[2:] for r in rows])


def _anchored(
    group: int, letters: np.ndarray, elements: np.ndarray, orbits: list[np.ndarray]
) -> tuple[tuple[tuple[int, int], ...], np.ndarray] | None:
    """Return `_sites` with the origin of a polar group on the first member of a site of the rarest kind."""
    free = wyckoff_table().free_axis[group].numpy()
    start = wyckoff_table().positions_of(group).start
    if not free.any():
        return _sites(group, letters, elements, orbits)
    kinds = list(zip(letters.tolist(), elements.tolist(), strict=True))
    rarest = min(kinds, key=lambda kind: (kinds.count(kind), kind))
    candidates = []
    for anchor in (i for i, kind in enumerate(kinds) if kind == rarest):
        points, _ = _fits(start + int(letters[anchor]), orbits[anchor])
        for shift in np.unique(np.round(np.where(free, points, 0.0) % 1.0, 6) % 1.0, axis=0):
            found = _sites(group, letters, elements, [frac - shift for frac in orbits])
            if found is not None:
                candidates.append(found)
    return min(candidates, key=lambda f: tuple(np.round(f[1], 3).ravel() % 1.0), default=None)


def _canonical(
    group: int, cell: np.ndarray, letters: np.ndarray, elements: np.ndarray, orbits: list[np.ndarray]
) -> tuple[tuple[tuple[int, int], ...], np.ndarray, np.ndarray]:
    """Return the equivalent description of a group with the smallest (letters, elements, free parameters)."""
    mask = np.array(FAMILY_MASKS[crystal_family(group)], dtype=bool)
    choices = alternatives(group)
    keys = [tuple(sorted(zip(a.letters[letters].tolist(), elements.tolist(), strict=True))) for a in choices]
    best_key = min(keys)
    found = []
    of_rotation: dict[bytes, np.ndarray] = {}
    for choice, key in zip(choices, keys, strict=True):
        if key != best_key:
            continue
        name = choice.rotation.tobytes()
        if name not in of_rotation:
            turned = np.linalg.inv(choice.rotation).T @ cell
            of_rotation[name] = lattice_to_parameters(torch.from_numpy(turned)).numpy()
        parameters = of_rotation[name]
        if np.abs(parameters[:5][~mask[:5]]).max(initial=0.0) > 1e-3 and crystal_family(group) != "hexagonal":
            continue
        moved = [frac @ choice.rotation.T + choice.shift for frac in orbits]
        described = _anchored(group, choice.letters[letters], elements, moved)
        if described is not None:
            found.append((*described, parameters))
    if not found:
        message = f"no Wyckoff positions of space group {group} fit the symmetrised atoms"
        raise NoTemplateError(message)
    return min(found, key=lambda f: (tuple(np.round(f[1], 3).ravel() % 1.0), tuple(np.round(f[2], 3))))


def describe(cell: np.ndarray, frac: np.ndarray, atomic_numbers: np.ndarray, symprec: float = 0.1) -> Described:
    """Return the canonical template and free parameters of a structure.

    Args:
        cell: row vectors (3, 3), Å.
        frac: fractional coordinates (n_atoms, 3).
        atomic_numbers: (n_atoms,).
        symprec: tolerance of the symmetry search, Å.

    Raises:
        NoTemplateError: no atoms, an element whose volume is unknown, or the symmetry search or the assignment of
            Wyckoff positions failed.
    """
    check_atoms(atomic_numbers)
    atoms = moyopy.Cell(basis=cell.tolist(), positions=frac.tolist(), numbers=[int(z) for z in atomic_numbers])
    try:
        found = moyopy.MoyoDataset(atoms, symprec=symprec, setting=moyopy.Setting.standard())
    except ValueError as error:
        message = f"no symmetry found at symprec {symprec} Å: {error}"
        raise NoTemplateError(message) from error
    standard, mapping, wyckoffs = found.prim_std_cell, found.mapping_std_prim, found.wyckoffs  # each call copies
    conventional = np.array(found.std_cell.basis)
    primitive = np.array(standard.basis)
    points = np.array(standard.positions) @ primitive @ np.linalg.inv(conventional)
    representative = np.full(len(points), -1)
    letter = np.zeros(len(points), dtype=int)
    for atom, (target, orbit) in enumerate(zip(mapping, found.orbits, strict=True)):
        representative[target] = orbit
        letter[target] = "abcdefghijklmnopqrstuvwxyzA".index(wyckoffs[atom])
    kinds = np.array(standard.numbers)
    label = np.array(mapping)[representative]
    distinct, first = np.unique(label, return_index=True)
    orbits = [points[label == d] for d in distinct]
    sites, coords, lattice = _canonical(found.number, conventional, letter[first], kinds[first], orbits)
    lattice = np.where(family_tables()[0][found.number].numpy(), lattice, 0.0)
    lattice[5] -= _reference_parameter(found.number, sites)
    free = wyckoff_table().free[[position for position, _ in sites]].numpy()
    return Described(CrystalTemplate(found.number, sites), lattice, np.where(free, coords, 0.0))


@cache
def _cells_per_primitive(group: int) -> float:
    """Return the volume of a primitive cell in conventional cells."""
    return float(torch.linalg.det(wyckoff_table().primitive[[group]])[0])


@cache
def _site_tables() -> tuple[list[float], list[int]]:
    """Return the volume of each element, and the multiplicity of each position."""
    return atomic_volumes().tolist(), wyckoff_table().multiplicity.tolist()


def _reference_parameter(group: int, sites: Sequence[tuple[int, int]]) -> float:
    """Return `TemplateBatch.reference_parameter` of one template."""
    volumes, multiplicity = _site_tables()
    volume = sum(volumes[z] * multiplicity[position] for position, z in sites) / _cells_per_primitive(group)
    return float(torch.tensor([volume], dtype=torch.float64).log() / math.sqrt(3))


def check_atoms(atomic_numbers: np.ndarray) -> None:
    """Check that the volume of every element is known.

    Raises:
        NoTemplateError: a volume is unknown, or there are no atoms.
    """
    if len(atomic_numbers) == 0:
        raise NoTemplateError("expected at least one atom, got none")
    unknown = sorted({int(z) for z in atomic_numbers} - set(known_elements()))
    if unknown:
        names = ", ".join(chemical_symbols[z] if 0 < z < len(chemical_symbols) else f"Z = {z}" for z in unknown)
        raise NoTemplateError(f"no training crystal holds {names}, so its volume is unknown; replace it")
