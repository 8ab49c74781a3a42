"""What generated structures are compared with: a named data set, or structures in files."""

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
    """What to compare crystals with.

    Attributes:
        profile: its make-up, which distances need.
        features: of its structures, which coverage needs; none where they are not at hand.
        note: why there are none; empty if there are.
    """

    profile: Profile
    features: tuple[Features, ...]
    note: str = ""


def crystals_to_compare(name: str, folder: Path | None) -> CrystalSet:
    """The set of crystals of this name, or at this path.

    The make-up of MP-20 test comes with the package; its structures, and other data sets, are in the folder of training
    tables.

    Args:
        name: of a data set, or a path; a data set wins.
        folder: of the training tables; None where there is none.

    Raises:
        DataSetError: there is neither, or the data set is not at hand and its make-up does not ship.
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
    made_up = Profile.load(SHIPPED[name]) if name in SHIPPED else _crystal_profile(one.title, one.source, structures)
    return CrystalSet(made_up, tuple(map(features, structures)))


def molecules_to_compare(name: str, folder: Path | None) -> Profile:
    """The make-up of the set of molecules of this name, or at this path; bonds are those that distances tell.

    That of QM9 test comes with the package.

    Args:
        name: of a data set, or a path; a data set wins.
        folder: of the training tables; None where there is none.

    Raises:
        DataSetError: there is neither, or the data set is not at hand and its make-up does not ship.
    """
    one = _data_set(name, "molecule")
    if one is None:
        return _molecule_profile(Path(name).name, name, _in_files(name, "molecule", _bonded))
    if name in SHIPPED:
        return Profile.load(SHIPPED[name])
    return _molecule_profile(one.title, one.source, list(filter(None, map(bonded, named_molecules(name, folder)))))


def bonded(molecule: Molecule) -> Chem.Mol | None:
    """The molecule whose bonds the distances tell by EDM's rules; None where that makes no sense, or is in pieces."""
    numbers = np.array(molecule.atomic_numbers)
    found = perceived(numbers, molecule.cart_coords) if protocol_knows(molecule.atomic_numbers) else None
    return found if found is not None and len(Chem.GetMolFrags(found)) == 1 else None


def _data_set(name: str, kind: KindName) -> Named | None:
    """The data set of this name; None where a path of that name is there."""
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
