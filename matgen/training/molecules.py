"""Labels of molecules, the first guess at those that are sums over atoms, and what their judge is trained for."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from matgen.datasets.molecules import LABELS, MoleculeTable
from matgen.nn.ensemble import Ensemble, mixed
from matgen.nn.molecule_heads import SUMS
from matgen.properties import Distribution
from matgen.state import State
from matgen.templates.batch import TemplateBatch
from matgen.templates.expand import expand
from matgen.training.loop import bucketed
from matgen.training.properties import PropertyTargets, errors, mean_likelihood, predicted


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


@dataclass(frozen=True)
class MoleculeJudgeObjective:
    """Likelihood of all labels given clean geometries.

    Attributes:
        table: molecules.
        targets: their labels.
        train: rows to train on.
        val: rows to validate on.
    """

    table: MoleculeTable
    targets: PropertyTargets
    train: Tensor
    val: Tensor

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Rows of a similar number of atoms."""
        sizes = self.table.templates.n_sites[self.train]
        return (self.train[rows] for rows in bucketed(sizes, batch_size, generator))

    def state(self, rows: Tensor) -> State:
        """These molecules in space."""
        templates = self.table.templates.select(rows)
        return expand(templates, self.table.geometry.select(self.table.templates, rows))

    def loss(self, model: Ensemble, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        """Mean over the members of the negative log-likelihood of a batch."""
        state = self.state(rows)
        predictions = [member.raw(state) for member in model.members]  # type: ignore[operator]
        return mean_likelihood(predictions, self.targets.rows(rows))

    def validate(self, model: Ensemble) -> dict[str, float]:
        """Errors of the mixture on the validation rows."""
        parts = [self.predict(member, self.val) for member in model.members]
        return errors(mixed(parts), self.targets.rows(self.val))

    def predict(self, member: nn.Module, rows: Tensor) -> dict[str, Distribution]:
        """Raw predictions of one member for rows."""
        return predicted(lambda chunk: member.raw(self.state(chunk)), rows, batch_size=128)  # type: ignore[operator]
