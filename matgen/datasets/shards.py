"""A table of crystals in a folder of files that are mapped into memory: rows are read from the disk when they are used.

Each file, or shard, is a safetensors file of columns in their narrowest types; `table.json` lists them. Batches are
gathered from the mapped columns, so that memory holds some bytes for each row and the pages of the disk that were
used last, which the system drops when memory is short.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor

from matgen.batch.graphs import take_rows
from matgen.datasets.crystals import LABEL, CrystalTable, joined_tables
from matgen.runtime.output import replace_file, replacing
from matgen.templates.batch import Geometry, TemplateBatch

MANIFEST = "table.json"
SUFFIX = ".safetensors"
FORMAT = "matgen crystals 1"
ROWS_OF_A_SHARD = 32_768

Columns = Mapping[str, Tensor]
"""Of a shard, by name."""


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:05d}{SUFFIX}"


def write_shard(table: CrystalTable, path: Path, metadata: Mapping[str, str]) -> None:
    """Write rows as one file; a file of this name is there only when it is complete."""
    templates = table.templates
    counts = torch.bincount(templates.site_system, minlength=len(table))
    columns = {
        "first_site": (counts.cumsum(0) - counts).int(),
        "n_sites": counts.to(torch.uint8),
        "n_atoms": templates.n_atoms.to(torch.int16),
        "space_group": templates.space_group.to(torch.uint8),
        "site_position": templates.site_position.to(torch.int16),
        "site_element": templates.site_element.to(torch.uint8),
        "lattice": table.geometry.lattice.float(),
        "coords": table.geometry.coords.float(),
        "split": table.split.to(torch.uint8),
        "mp20_split": table.mp20_split.to(torch.uint8),
        "mp2020": table.mp2020,
        "volume_ratio": table.volume_ratio,
        "neutral": table.neutral,
        "material_id": _as_bytes(table.material_id),
        "gap_source": _as_bytes(table.gap_source),
    } | {f"{LABEL}{name}": value for name, value in table.labels.items()}
    with replacing(path) as stream:
        stream.write(serialized({name: value.contiguous() for name, value in columns.items()}, dict(metadata)))


def write_manifest(folder: Path, rows: Mapping[str, int], more: Mapping[str, Any]) -> None:
    """Write the list of shards, with the number of rows of each, when all are complete."""
    content = {"format": FORMAT, "shards": dict(rows), **more}
    replace_file(folder / MANIFEST, json.dumps(content, indent=1) + "\n")


def read_columns(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the columns of a shard, mapped into memory, and its metadata.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} is missing or damaged: {error}") from error


@dataclass(frozen=True)
class ShardedCrystals:
    """Crystals in shards, read as `CrystalTable` is, without what only whole tables can do.

    Attributes:
        shards: columns of each shard, mapped into memory.
        device: of the tensors that are returned.
    """

    shards: tuple[Columns, ...]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open a folder of shards.

        Raises:
            ValueError: it is incomplete, damaged, or of another format.
        """
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if content.get("format") != FORMAT:
            raise ValueError(f"expected the format {FORMAT!r} in {MANIFEST}, got {content.get('format')!r}")
        shards = []
        for name, rows in content["shards"].items():
            columns, _ = read_columns(folder / name)
            if len(columns["space_group"]) != rows:
                raise ValueError(f"expected {rows} rows in {name}, got {len(columns['space_group'])}")
            shards.append(columns)
        if not shards:
            raise ValueError(f"expected shards, {MANIFEST} lists none")
        return cls(tuple(shards))

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def _starts(self) -> Tensor:
        """First row of each shard, and the number of all rows (n_shards + 1,)."""
        return torch.tensor([0, *(len(columns["space_group"]) for columns in self.shards)]).cumsum(0)

    def column(self, name: str) -> Tensor:
        """Return one column of all rows (n, ...), in its narrow type."""
        return torch.cat([columns[name] for columns in self.shards]).to(self.device)

    @property
    def split(self) -> Tensor:
        """0 train, 1 val, 2 test, 3 none (n,)."""
        return self.column("split").long()

    @property
    def mp20_split(self) -> Tensor:
        """Likewise for MP-20 (n,)."""
        return self.column("mp20_split").long()

    @property
    def mp2020(self) -> Tensor:
        """Whether e_form follows the MP2020 corrections (n,)."""
        return self.column("mp2020")

    @property
    def volume_ratio(self) -> Tensor:
        """Cell volume over the fitted atomic volumes (n,)."""
        return self.column("volume_ratio")

    @property
    def neutral(self) -> Tensor:
        """Whether common oxidation states sum to zero (n,)."""
        return self.column("neutral")

    @property
    def n_atoms(self) -> Tensor:
        """Atoms in each primitive cell (n,)."""
        return self.column("n_atoms").long()

    @property
    def n_sites(self) -> Tensor:
        """Sites of each crystal (n,)."""
        return self.column("n_sites").long()

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels."""
        return tuple(name.removeprefix(LABEL) for name in self.shards[0] if name.startswith(LABEL))

    def label(self, name: str) -> Tensor:
        """Return one label (n,), NaN if unknown."""
        return self.column(f"{LABEL}{name}")

    @property
    def gap_source(self) -> np.ndarray:
        """Source of each band gap (n,)."""
        return np.concatenate([_as_words(columns["gap_source"]) for columns in self.shards])

    def batch(self, rows: Tensor) -> tuple[TemplateBatch, Geometry]:
        """Return templates and geometries of some rows, by indices that may repeat, in that order."""
        rows = rows.cpu().contiguous()
        shard = torch.bucketize(rows, self._starts[1:], right=True)
        order = shard.argsort(stable=True)
        numbers, sizes = shard[order].unique_consecutive(return_counts=True)
        parts = [
            _gathered(self.shards[number], rows[some] - self._starts[number])
            for number, some in zip(numbers.tolist(), order.split(sizes.tolist()), strict=True)
        ] or [_gathered(self.shards[0], rows)]
        group, lattice, counts, position, element, coords = (torch.cat(x) for x in zip(*parts, strict=True))
        back = order.argsort()
        sites, owner = take_rows(counts.cumsum(0) - counts, counts, back)
        templates = TemplateBatch.of_sites(group[back], position[sites], element[sites], owner)
        return templates.to(self.device), Geometry(lattice[back], coords[sites]).to(self.device)

    def to(self, device: torch.device | str) -> Self:
        """Return the same table with results on another device; what is on the disk stays there."""
        return replace(self, device=torch.device(device))

    def whole(self) -> CrystalTable:
        """Return all rows in memory."""
        return joined_tables([_as_table(columns) for columns in self.shards]).to(self.device)


def _gathered(columns: Columns, rows: Tensor) -> tuple[Tensor, ...]:
    """Return group, lattice and number of sites of rows of one shard, and position, element, coordinates of sites."""
    counts = columns["n_sites"][rows].long()
    owner = torch.repeat_interleave(torch.arange(len(rows)), counts)
    within = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
    sites = columns["first_site"][rows].long()[owner] + within
    return (
        columns["space_group"][rows].long(),
        columns["lattice"][rows],
        counts,
        columns["site_position"][sites].long(),
        columns["site_element"][sites].long(),
        columns["coords"][sites],
    )


def _as_table(columns: Columns) -> CrystalTable:
    """Return a shard as a table."""
    n = len(columns["space_group"])
    group, lattice, counts, position, element, coords = _gathered(columns, torch.arange(n))
    return CrystalTable(
        material_id=_as_words(columns["material_id"]),
        templates=TemplateBatch.of_sites(group, position, element, torch.repeat_interleave(torch.arange(n), counts)),
        geometry=Geometry(lattice, coords),
        split=columns["split"].long(),
        mp20_split=columns["mp20_split"].long(),
        labels={name.removeprefix(LABEL): v.clone() for name, v in columns.items() if name.startswith(LABEL)},
        gap_source=_as_words(columns["gap_source"]),
        mp2020=columns["mp2020"].clone(),
        volume_ratio=columns["volume_ratio"].clone(),
        neutral=columns["neutral"].clone(),
    )


def _as_bytes(words: np.ndarray) -> Tensor:
    """Return words as rows of UTF-8 bytes (n, length), padded with zeros."""
    encoded = np.char.encode(words.astype(str), "utf-8")
    width = max(1, encoded.dtype.itemsize)
    return torch.from_numpy(np.frombuffer(encoded.astype(f"S{width}").tobytes(), np.uint8).reshape(-1, width).copy())


def _as_words(rows: Tensor) -> np.ndarray:
    """Return the words of `_as_bytes`."""
    numbers = np.ascontiguousarray(rows.numpy())
    return np.char.decode(numbers.view(f"S{numbers.shape[1]}").ravel(), "utf-8")
