"""Labels of crystals by property, and the rows to train and validate on."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from matgen.datasets.crystals import Crystals
from matgen.nn.property_heads import CHGNET, LEGACY
from matgen.templates.batch import TemplateBatch

AT_ONCE = 65_536
"""Rows whose compositions are in memory together."""

FITTED, RARE = 100_000, 1000
"""Reference energies are fitted to about so many rows, and to all rows of elements that fewer rows than this have."""

LARGEST_VOLUME_RATIO = 1.7
"""Rows with a larger ratio are left out of training, since their cell is probably wrong."""


def trainable(table: Crystals) -> Tensor:
    """Return the rows (n,) of the training split with plausible cells, bool."""
    return (table.split == 0) & (table.volume_ratio < LARGEST_VOLUME_RATIO)


def validation(table: Crystals) -> Tensor:
    """Return the validation rows with complete labels: those of MP-20's own validation split."""
    return (table.mp20_split == 1).nonzero().ravel()


def fold(table: Crystals, seed: int, share: float) -> Tensor:
    """Return which rows (n,) belong to a random share of the formulas; all rows of a formula belong together."""
    hashes: list[int] = []
    for templates in in_chunks(table):
        counts = torch.round(compositions(templates) * templates.n_atoms[:, None]).long()
        divisor = torch.zeros_like(counts[:, 0])
        for column in counts.T:
            divisor = torch.gcd(divisor, column)
        reduced = (counts // divisor[:, None]).cpu().numpy()
        hashes += [zlib.crc32(row.tobytes(), seed) for row in reduced]
    return torch.tensor(hashes, device=table.split.device) < share * 2**32


def in_chunks(table: Crystals) -> Iterator[TemplateBatch]:
    """Yield the templates of all rows, some at a time."""
    for rows in torch.arange(len(table), device=table.split.device).split(AT_ONCE):
        yield table.batch(rows)[0]


@dataclass(frozen=True)
class PropertyTargets:
    """Labels by property (n,), NaN where unknown; units as in `PROPERTIES`."""

    values: Mapping[str, Tensor]

    @classmethod
    def of(cls, table: Crystals, fitted_on: Tensor) -> Self:
        """Return the labels of a table; the reference energies of elements are fitted to the rows `fitted_on`."""
        form = table.label("e_form")
        unknown = torch.full_like(form, torch.nan)
        reference = reference_energies(table, fitted_on)
        of_elements = [(compositions(templates) @ reference).float() for templates in in_chunks(table)]
        chgnet = table.label("chgnet_energy") - torch.cat(of_elements)
        return cls(
            {
                "band_gap": table.label("band_gap"),
                "formation_energy": torch.where(table.mp2020, form, unknown),
                "energy_above_hull": table.label("energy_above_hull"),
                LEGACY: torch.where(table.mp2020, unknown, form),
                CHGNET: chgnet,
            }
        )

    def rows(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the labels of these rows."""
        return {name: value[rows] for name, value in self.values.items()}


def compositions(templates: TemplateBatch) -> Tensor:
    """Return the share of each element (n_systems, 95), float64."""
    counts = torch.zeros(templates.n_systems, 95, dtype=torch.float64, device=templates.device)
    counts.index_put_(
        (templates.site_system, templates.site_element), templates.site_multiplicity.double(), accumulate=True
    )
    return counts / counts.sum(1, keepdim=True)


def reference_energies(table: Crystals, rows: Tensor) -> Tensor:
    """Return energies of the elements (95,), eV/atom; CHGNet's energy minus them is a formation energy.

    A least-absolute-deviations fit (by reweighting) of the difference to the MP2020 formation energies of `rows`. It is
    weakly regularised towards the same fit to all formation energies, for elements that only those contain.
    """
    known = rows[torch.isfinite(table.label("e_form")[rows]) & torch.isfinite(table.label("chgnet_energy")[rows])]
    nothing = torch.zeros(95, dtype=torch.float64, device=rows.device)
    of_all = _absolute_fit(table, fitted_rows(table, known), nothing)
    return _absolute_fit(table, fitted_rows(table, known[table.mp2020[known]]), of_all)


def fitted_rows(table: Crystals, rows: Tensor, most: int = FITTED, rare: int = RARE) -> Tensor:
    """Return rows that are enough for a fit of the elements: evenly spaced ones, and all of rare elements.

    Args:
        table: of crystals.
        rows: all rows (n,).
        most: number of rows below which all are returned.
        rare: number of rows of an element below which all of them are returned.
    """
    if len(rows) <= most:
        return rows
    held = torch.cat([compositions(table.batch(chunk)[0]) > 0 for chunk in rows.split(AT_ONCE)])
    needed = held[:, held.sum(0) < rare].any(1)
    needed[:: -(-len(rows) // most)] = True
    return rows[needed]


def _absolute_fit(table: Crystals, rows: Tensor, towards: Tensor) -> Tensor:
    x = compositions(table.batch(rows)[0])
    y = (table.label("chgnet_energy") - table.label("e_form"))[rows].double() - x @ towards
    weight = torch.ones_like(y)
    ridge = 1e-3 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    for _ in range(20):
        weighted = x * weight[:, None]
        found = torch.linalg.solve(x.T @ weighted + ridge, weighted.T @ y)
        weight = 1 / ((y - x @ found).abs() + 0.01)
    return towards + found
