"""Labels of molecules, the first guess at those that are sums over atoms, and what their judge is trained for."""

import zlib

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.datasets.molecules import LABELS, MoleculeTable
from matgen.nn.molecule_heads import SUMS
from matgen.templates.batch import TemplateBatch
from matgen.templates.expand import expand
from matgen.training.properties import LikelihoodObjective, PropertyTargets


def molecule_targets(table: MoleculeTable) -> PropertyTargets:
    """The labels by property (n,)."""
    return PropertyTargets({name: table.label(name) for name in LABELS})


def counts(templates: TemplateBatch) -> Tensor:
    """Atoms of each element (n_systems, 95), float64."""
    found = torch.zeros(templates.n_systems, 95, dtype=torch.float64, device=templates.device)
    ones = torch.ones(len(templates.site_system), dtype=torch.float64, device=templates.device)
    found.index_put_((templates.site_system, templates.site_element), ones, accumulate=True)
    return found


def element_references(table: MoleculeTable, rows: Tensor) -> Tensor:
    """What each element adds to each property that is a sum over atoms (3, 95): least squares over these rows."""
    x = counts(table.templates.select(rows))
    y = torch.stack([table.label(name)[rows].double() for name in SUMS], dim=1)
    ridge = 1e-3 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(x.T @ x + ridge, x.T @ y).T.float()


def numbered(index: Tensor, seed: int, share: float) -> Tensor:
    """Which molecules (n,) belong to a fold, by a hash of their number: `share` of them."""
    hashes = [zlib.crc32(f"{seed}:{i}".encode()) / 2**32 for i in index.tolist()]
    return torch.tensor(hashes, device=index.device) < share


def from_states(table: MoleculeTable, targets: PropertyTargets, train: Tensor, val: Tensor) -> LikelihoodObjective:
    """Labels given clean geometries."""

    def inputs(rows: Tensor, _: torch.Generator | None) -> State:
        templates = table.templates.select(rows)
        return expand(templates, table.geometry.select(table.templates, rows))

    return LikelihoodObjective(inputs, table.templates.n_sites[train], targets, train, val, together=128)
