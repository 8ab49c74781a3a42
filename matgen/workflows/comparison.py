"""What generated structures are compared with: a named data set, or structures in files."""

from dataclasses import dataclass
from pathlib import Path

from pymatgen.core.structure import Structure

from matgen.datasets.named import NAMED, DataSetError, named, named_structures
from matgen.structure_files import read_structures
from matgen.validation.metrics import Features, Profile, features, is_separated, profile, traits
from matgen.validation.metrics.distributions import SHIPPED


@dataclass(frozen=True)
class ComparisonSet:
    """What to compare with.

    Attributes:
        profile: its make-up, which distances need.
        features: of its structures, which coverage needs; none where they are not at hand.
        note: why there are none; empty if there are.
    """

    profile: Profile
    features: tuple[Features, ...]
    note: str = ""


def read_comparison(name: str, folder: Path | None) -> ComparisonSet:
    """The set of this name, or at this path.

    The make-up of MP-20 test comes with the package; its structures, and other data sets, are in the folder of training
    tables.

    Args:
        name: of a data set, or a path; a data set wins.
        folder: of the training tables; None where there is none.

    Raises:
        DataSetError: there is neither, or the data set is not at hand and its make-up does not ship.
    """
    if name not in NAMED:
        return _from_files(name)
    one = named(name)
    try:
        structures = named_structures(name, folder)
    except DataSetError as error:
        if name not in SHIPPED:
            raise
        return ComparisonSet(Profile.load(SHIPPED[name]), (), f"coverage needs the structures of {one.title}: {error}")
    made_up = Profile.load(SHIPPED[name]) if name in SHIPPED else _profile(one.title, one.source, structures)
    return ComparisonSet(made_up, tuple(map(features, structures)))


def _from_files(name: str) -> ComparisonSet:
    path = Path(name)
    if not path.exists():
        named(name)  # which says what there is
    readable = [entry.structure for entry in read_structures([path]) if entry.structure is not None]
    structures = [structure for structure in readable if is_separated(structure)]
    if not structures:
        raise DataSetError(f"expected structures to compare with in {path}, found none that can be read")
    return ComparisonSet(_profile(path.name, str(path), structures), tuple(map(features, structures)))


def _profile(title: str, source: str, structures: list[Structure]) -> Profile:
    return profile(title, [traits(structure) for structure in structures], source)
