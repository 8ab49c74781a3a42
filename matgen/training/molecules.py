"""Labels of molecules, and the sums over elements that some of them nearly are."""

import torch
from torch import Tensor

from matgen.datasets.molecules import LABELS, MoleculeTable
from matgen.nn.molecule_heads import SUMS
from matgen.templates.batch import TemplateBatch
from matgen.training.properties import PropertyTargets


def training_and_validation(table: MoleculeTable) -> tuple[Tensor, Tensor]:
    """Return the rows of the training split and those of the validation split."""
    return (table.split == 0).nonzero().ravel(), (table.split == 1).nonzero().ravel()


def molecule_targets(table: MoleculeTable) -> PropertyTargets:
    """Return the labels by property (n,)."""
    return PropertyTargets({name: table.label(name) for name in LABELS})


def counts(templates: TemplateBatch) -> Tensor:
    """Return the number of atoms of each element (n_systems, 95), float64."""
    found = torch.zeros(templates.n_systems, 95, dtype=torch.float64, device=templates.device)
    ones = torch.ones(len(templates.site_system), dtype=torch.float64, device=templates.device)
    found.index_put_((templates.site_system, templates.site_element), ones, accumulate=True)
    return found


def element_references(table: MoleculeTable, rows: Tensor) -> Tensor:
    """Return the least-squares contribution of each element to each sum over atoms (3, 95), fitted to these rows."""
    x = counts(table.templates.select(rows))
    y = torch.stack([table.label(name)[rows].double() for name in SUMS], dim=1)
    ridge = 1e-3 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(x.T @ x + ridge, x.T @ y).T.float()
