"""Properties of a molecule from its graph alone: a transformer over heavy atoms and their relations."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from matgen.batch.graphs import RELATIONS
from matgen.chemistry.elements import HYDROGEN
from matgen.nn.ensemble import EnsembleConfig
from matgen.nn.molecule_heads import MoleculeHeads, MoleculeReadout, with_dipole
from matgen.nn.property_heads import positive
from matgen.nn.sites import ElementEmbedding
from matgen.nn.transformer import Transformer
from matgen.nn.trunk import MOST_CHARGE
from matgen.targets.distributions import Distribution
from matgen.templates.batch import TemplateBatch
from matgen.templates.skeleton import MAX_HEAVY

MOST_HYDROGENS = 4


@dataclass(frozen=True)
class GraphPropertiesConfig(EnsembleConfig):
    """Size of a member."""

    width: int = 128
    layers: int = 5
    heads: int = 8
    hidden: int = 160
    dropout: float = 0.0


@dataclass(frozen=True)
class HeavyAtoms:
    """The heavy atoms of each molecule in rectangles (n_systems, length); hydrogens are counted at their atom.

    Attributes:
        element: atomic number, 0 where padded.
        charge: formal charge.
        hydrogens: number of attached hydrogens.
        present: False where padded.
        relation: of each pair, `RELATIONS` where one is padded (n_systems, length, length).
    """

    element: Tensor
    charge: Tensor
    hydrogens: Tensor
    present: Tensor
    relation: Tensor

    @classmethod
    def of(cls, templates: TemplateBatch) -> "HeavyAtoms":
        """Return the heavy atoms of molecules; of molecules of hydrogen only, the hydrogens."""
        n_sites, element = templates.n_sites, templates.site_element
        relation = templates.graphs.relation.long()
        start = n_sites.cumsum(0) - n_sites
        system = torch.repeat_interleave(torch.arange(len(n_sites), device=n_sites.device), templates.graphs.pairs)
        within = torch.arange(len(system), device=system.device)
        within = within - (templates.graphs.pairs.cumsum(0) - templates.graphs.pairs)[system]
        first, second = start[system] + within // n_sites[system], start[system] + within % n_sites[system]
        heavy = element > HYDROGEN
        n_heavy = torch.zeros_like(n_sites).index_add(0, templates.site_system, heavy.long())
        heavy = heavy | (n_heavy == 0)[templates.site_system]
        counts = torch.zeros_like(n_sites).index_add(0, templates.site_system, heavy.long())
        place = heavy.long().cumsum(0) - 1
        place = place - (counts.cumsum(0) - counts)[templates.site_system]
        shape = (len(n_sites), int(counts.max()))

        def laid_out(values: Tensor) -> Tensor:
            out = values.new_zeros(shape)
            out[templates.site_system[heavy], place[heavy]] = values[heavy]
            return out

        bonded = (relation == 1) & (element[second] == HYDROGEN)
        hydrogens = torch.zeros_like(element).index_add(0, first[bonded], torch.ones_like(first[bonded]))
        pairs = heavy[first] & heavy[second]
        table = relation.new_full((*shape, shape[1]), RELATIONS)
        table[system[pairs], place[first[pairs]], place[second[pairs]]] = relation[pairs]
        present = laid_out(torch.ones_like(element)) > 0
        return cls(laid_out(element), laid_out(templates.graphs.charge), laid_out(hydrogens), present, table)


class GraphProperties(nn.Module):
    """Distributions of the properties of molecular graphs, over all their conformers."""

    Config = GraphPropertiesConfig

    def __init__(self, config: GraphPropertiesConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.element = ElementEmbedding(width)
        self.charge = nn.Embedding(2 * MOST_CHARGE + 1, width)
        self.hydrogens = nn.Embedding(MOST_HYDROGENS + 1, width)
        self.bond = nn.Embedding(RELATIONS + 1, width)
        self.bias = nn.ModuleList(nn.Embedding(RELATIONS + 1, config.heads) for _ in range(config.layers))
        self.trunk = Transformer(width, config.layers, config.heads, expansion=2, dropout=config.dropout)
        self.readout = MoleculeReadout(width, config.hidden)
        self.dipole = nn.Sequential(nn.Linear(2 * width, config.hidden), nn.SiLU(), nn.Linear(config.hidden, 1))
        self.heads = MoleculeHeads(width, config.hidden, config.dropout)

    def embed(self, templates: TemplateBatch) -> Tensor:
        """Return the input of the heads (n_systems, width of `Layout`).

        The token of each atom includes its relations to the others, and the number of atoms by which the molecule is
        smaller than the largest one.
        """
        atoms = HeavyAtoms.of(templates)
        tokens = self.element(atoms.element) + self.charge(atoms.charge.clamp(-MOST_CHARGE, MOST_CHARGE) + MOST_CHARGE)
        tokens = tokens + self.hydrogens(atoms.hydrogens.clamp(max=MOST_HYDROGENS))
        related = self.bond(atoms.relation) * (atoms.relation < RELATIONS)[..., None]
        lacking = (MAX_HEAVY - atoms.present.sum(1)).clamp(min=0).to(related)[:, None, None]
        tokens = tokens + (related.sum(2) + lacking * self.bond.weight[RELATIONS]) / 3
        masked = torch.where(atoms.relation == RELATIONS, -1e4, 0.0)[:, None]
        hidden = tokens
        for block, bias in zip(self.trunk.blocks, self.bias, strict=True):
            hidden = block(hidden, (bias(atoms.relation).permute(0, 3, 1, 2) + masked).to(hidden))
        hidden = self.trunk.norm(hidden)
        system = torch.arange(len(hidden), device=hidden.device)[:, None].expand_as(atoms.element)[atoms.present]
        found, _ = self.readout(hidden[atoms.present], atoms.element[atoms.present], system, len(hidden))
        found = self._with_hydrogens(found, atoms.hydrogens.sum(1).to(found))
        return with_dipole(found, positive(self.dipole(found[:, : 2 * self.config.width])))

    def _with_hydrogens(self, found: Tensor, n_hydrogens: Tensor) -> Tensor:
        """Add the contribution of hydrogens, which are no tokens, to the sums over elements."""
        n = self.readout.references.shape[0]
        more = n_hydrogens[:, None] * self.readout.references[:, HYDROGEN].to(found)
        return torch.cat([found[:, :-n], found[:, -n:] + more], dim=1)

    def forward(self, templates: TemplateBatch) -> dict[str, Distribution]:
        """Return calibrated distributions by property."""
        return self.heads.calibrated(self.embed(templates))

    def raw(self, templates: TemplateBatch) -> dict[str, Distribution]:
        """Return uncalibrated distributions, for training."""
        return self.heads(self.embed(templates))
