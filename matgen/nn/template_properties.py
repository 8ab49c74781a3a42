"""Properties of a crystal from its template alone: a transformer over the occupied Wyckoff sites."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from matgen.nn.ensemble import EnsembleConfig
from matgen.nn.property_heads import PropertyHeads
from matgen.nn.sites import ElementEmbedding, PositionEmbedding, pad_sites
from matgen.nn.transformer import Transformer, padded_attention
from matgen.targets.distributions import Distribution
from matgen.templates.batch import TemplateBatch


@dataclass(frozen=True)
class TemplatePropertiesConfig(EnsembleConfig):
    """Size of a member."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    hidden: int = 160
    dropout: float = 0.1


class TemplateProperties(nn.Module):
    """Distributions of the properties of templates, over all their geometries."""

    Config = TemplatePropertiesConfig

    def __init__(self, config: TemplatePropertiesConfig) -> None:
        super().__init__()
        self.config = config
        self.element = ElementEmbedding(config.width)
        self.position = PositionEmbedding(config.width)
        self.share = nn.Linear(2, config.width)
        self.trunk = Transformer(config.width, config.layers, config.heads, expansion=2, dropout=config.dropout)
        self.heads = PropertyHeads(2 * config.width, config.hidden, config.dropout)

    def embed(self, templates: TemplateBatch) -> Tensor:
        """Return the means over atoms and over sites of the sites' hidden states (n_systems, 2 width)."""
        sites = pad_sites(templates)
        multiplicity = templates.site_multiplicity.to(self.share.weight)[sites.rows] * sites.present
        share = multiplicity / multiplicity.sum(1, keepdim=True)
        numbers = torch.stack([multiplicity.clamp_min(1.0).log(), share], dim=-1)
        tokens = self.element(sites.element) + self.position(sites.position) + self.share(numbers)
        hidden = self.trunk(tokens, padded_attention(sites.present))
        alike = sites.present / sites.present.sum(1, keepdim=True)
        return torch.cat([(weight[..., None] * hidden).sum(1) for weight in (share, alike)], dim=-1)

    def forward(self, templates: TemplateBatch) -> dict[str, Distribution]:
        """Return calibrated distributions by property."""
        return self.heads.calibrated(self.embed(templates))

    def raw(self, templates: TemplateBatch) -> dict[str, Distribution]:
        """Return uncalibrated distributions, including the auxiliary ones, for training."""
        return self.heads(self.embed(templates))
