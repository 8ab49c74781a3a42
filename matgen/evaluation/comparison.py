"""References that generated structures are compared with: a named data set, or structures in files.

A reference is named by a data set or by a path; a data set wins. The distributions of MP-20 test and QM9 test come with
the package; structures, and other data sets, are in the folder of training tables, which may be None.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from pymatgen.core.structure import Molecule, Structure
from rdkit import Chem

from matgen.datasets.named import NAMED, DataSetError, Named, named, named_molecules, named_structures
from matgen.metrics import Features, Profile, features, is_separated, profile, traits
from matgen.metrics.distributions import SHIPPED
from matgen.metrics.molecule_distributions import molecule_profile, molecule_traits
from matgen.metrics.molecules import perceived, protocol_knows
from matgen.structures.candidate import KindName
from matgen.structures.files import Entry, read_structures

T = TypeVar("T")


@dataclass(frozen=True)
class CrystalSet:
    """A reference set of crystals.

    Attributes:
        profile: its distributions, for distances.
        features: of its structures, for coverage; empty if they are not available.
        note: why they are not; otherwise empty.
    """

    profile: Profile
    features: tuple[Features, ...]
    note: str = ""


def crystals_to_compare(name: str, folder: Path | None) -> CrystalSet:
    """Return the set of crystals of a name.

    Raises:
        DataSetError: there is none, or the data set is not available and its distributions are not shipped.
    """
    one = _data_set(name, "crystal")
    if one is None:
        structures = _in_files(name, "crystal", _separated)
        return CrystalSet(_crystal_profile(Path(name).name, name, structures), tuple(map(features, structures)))
    try:
        structures = named_structures(name, folder)
    except DataSetError as error:
        if name not in SHIPPED:
            raise
        return CrystalSet(Profile.load(SHIPPED[name]), (), f"coverage needs the structures of {one.title}: {error}")
    shipped = Profile.load(SHIPPED[name]) if name in SHIPPED else _crystal_profile(one.title, one.source, structures)
    return CrystalSet(shipped, tuple(map(features, structures)))


def molecules_to_compare(name: str, folder: Path | None) -> Profile:
    """Return the distributions of the set of molecules of a name, with bonds perceived from distances.

    Raises:
        DataSetError: as `crystals_to_compare`.
    """
    one = _data_set(name, "molecule")
    if one is None:
        return _molecule_profile(Path(name).name, name, _in_files(name, "molecule", _bonded))
    if name in SHIPPED:
        return Profile.load(SHIPPED[name])
    return _molecule_profile(one.title, one.source, list(filter(None, map(bonded, named_molecules(name, folder)))))


def bonded(molecule: Molecule) -> Chem.Mol | None:
    """Return the molecule with bonds perceived by EDM's rules; None if they make no sense, or it is in pieces."""
    numbers = np.array(molecule.atomic_numbers)
    found = perceived(numbers, molecule.cart_coords) if protocol_knows(molecule.atomic_numbers) else None
    return found if found is not None and len(Chem.GetMolFrags(found)) == 1 else None


def _data_set(name: str, kind: KindName) -> Named | None:
    """Return the data set of a name; None if the name is an existing path and no data set."""
    if name not in NAMED and Path(name).exists():
        return None
    return named(name, kind)


def _in_files(name: str, kind: KindName, fit: Callable[[Entry], T | None]) -> list[T]:
    found = [one for one in map(fit, read_structures([Path(name)], kind)) if one is not None]
    if not found:
        raise DataSetError(f"expected {kind}s to compare with in {name}, found none that can be read")
    return found


def _separated(entry: Entry) -> Structure | None:
    crystal = entry.crystal
    return crystal if crystal is not None and is_separated(crystal) else None


def _bonded(entry: Entry) -> Chem.Mol | None:
    atoms = entry.molecule or entry.atoms
    return None if atoms is None else bonded(atoms)


def _crystal_profile(title: str, source: str, structures: list[Structure]) -> Profile:
    return profile(title, [traits(structure) for structure in structures], source)


def _molecule_profile(title: str, source: str, molecules: list[Chem.Mol]) -> Profile:
    return molecule_profile(title, [molecule_traits(molecule) for molecule in molecules], source)
