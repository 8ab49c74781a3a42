"""Which property files a run reads, which properties they add, and the ensembles that read them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from matgen.nn.embedding_heads import WithHeads
from matgen.nn.ensemble import Ensemble
from matgen.targets.derived import SOURCES
from matgen.targets.learned import BY_FILE, known_properties
from matgen.targets.properties import Property
from matgen.weights.files import WeightsError
from matgen.weights.property_files import SHIPPED, check_reads, heads_of, read_property_file, write_property_file
from matgen.weights.property_format import PropertyFile


def named_files(names: Sequence[str], material: str, folder: Path | None = None) -> tuple[PropertyFile, ...]:
    """Return the property files that are named.

    Args:
        names: paths, or `shipped`.
        material: crystal or molecule.
        folder: weights in it replace the shipped ones.

    Raises:
        WeightsError: a file that is damaged, for another kind, that reads another embedding, or that is named twice; or
            two files whose properties of one name differ in unit or scale.
    """
    files = tuple(read_property_file(name, folder) for name in names)
    for read in files:
        check_reads(read, material, folder)
    hashes = [read.sha256 for read in files]
    seen: dict[str, PropertyFile] = {}
    for read in files:
        if hashes.count(read.sha256) > 1:
            raise WeightsError(f"expected different property files, got {read.path} twice; name it once")
        for name, one in read.learned.items():
            other = seen.setdefault(name, read).learned[name]
            if (one.described.unit, one.logarithmic) != (other.described.unit, other.logarithmic):
                raise WeightsError(
                    f"expected {name} in one unit and on one scale, got {one.described.unit!r} in {read.path} and "
                    f"{other.described.unit!r} in {seen[name].path}; leave one out, or train it under another --name"
                )
    return files


def files_in_use(
    named: Sequence[PropertyFile], material: str, targets: Iterable[str], folder: Path | None = None
) -> tuple[PropertyFile, ...]:
    """Return the named files, and the shipped one if a target of it is in none of them.

    Args:
        named: result of `named_files`.
        material: crystal or molecule.
        targets: names of properties.
        folder: weights in it replace the shipped ones.

    Raises:
        WeightsError: as `named_files`, or the one in the folder does not predict a target.
    """
    targets = set(targets)
    covered = {name for read in named for name in read.properties}
    needed = material == "crystal" and any(name in BY_FILE and name not in covered for name in targets)
    if needed and all(read.path != read_property_file(SHIPPED, folder).path for read in named):
        named = (*named, *named_files([SHIPPED], material, folder))
    if missing := {name for name in targets if name in BY_FILE}.difference(covered, predicted_by(named)):
        raise WeightsError(f"expected heads for {min(missing)} in {named[-1].path}, got none; leave the target out")
    return tuple(named)


def targets_by_files(named: Sequence[PropertyFile], material: str) -> dict[str, Property]:
    """Return all properties that may be targets, those of the files included."""
    return known_properties(material, [read.properties for read in named])


def out_of_range(files: Sequence[PropertyFile], name: str, low: float, high: float) -> str:
    """Return a warning if no value from low to high lies in the range of the training labels; empty otherwise.

    Args:
        files: in use.
        name: of the property.
        low: least value that meets the target.
        high: greatest value that meets the target.
    """
    found = [(read, read.learned[name]) for read in files if name in read.learned]
    if not found or any(one.lowest_label <= high and low <= one.highest_label for _, one in found):
        return ""
    read, one = found[0]
    unit = f" {one.described.unit}".rstrip()
    return (
        f"the target for {name} lies outside the labels of {read.path.name}, {one.lowest_label:g} to "
        f"{one.highest_label:g}{unit}: its predictions mean little there"
    )


def predicted_by(files: Sequence[PropertyFile]) -> tuple[str, ...]:
    """Return the names of all properties that files predict, the derived ones included."""
    found: dict[str, None] = {}
    for read in files:
        for block in read.blocks:
            names = [one.described.name for one in block.properties]
            found |= dict.fromkeys(names)
            if read.material == "crystal":
                found |= dict.fromkeys(name for name, needed in SOURCES.items() if set(needed) <= set(names))
    return tuple(found)


def hashes_of(files: Sequence[PropertyFile]) -> dict[str, str]:
    """Return the SHA-256 of files by name; of files of one name, by path."""
    names = [read.path.name for read in files]
    return {(str(read.path) if names.count(read.path.name) > 1 else read.path.name): read.sha256 for read in files}


def with_heads(
    ensemble: Ensemble, kind: str, files: Sequence[PropertyFile], device: torch.device | str = "cpu"
) -> Ensemble | WithHeads:
    """Return an ensemble that also predicts the properties of files; the ensemble itself without files.

    Args:
        ensemble: of this kind.
        kind: of network.
        files: that read it.
        device: of the ensemble.
    """
    if not files:
        return ensemble
    return WithHeads(ensemble, [heads for read in files for heads in heads_of(read, kind)]).to(device)


def packed(paths: Sequence[Path], out: Path) -> PropertyFile:
    """Join property files of one kind of material into one.

    Args:
        paths: of the files.
        out: file to write.

    Raises:
        WeightsError: as `named_files`, or the file to write is one of them or no safetensors file.
        OutputError: the file cannot be written.
    """
    material = read_property_file(paths[0]).material
    files = named_files([str(path) for path in paths], material)
    if out.suffix != ".safetensors" or out.resolve() in {read.path for read in files}:
        raise WeightsError(f"expected a .safetensors file of its own to write, got {out}; name another --out")
    blocks = []
    for read in files:
        of_kind = {kind: heads_of(read, kind) for kind in read.reads}
        blocks += [
            (block, {kind: heads[place] for kind, heads in of_kind.items()}) for place, block in enumerate(read.blocks)
        ]
    return write_property_file(out, material, blocks)
