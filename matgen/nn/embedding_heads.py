"""Heads that read the frozen embeddings of an ensemble, for properties that it was not trained on.

A member of the ensemble gives an embedding of a system; the head of this member turns it into the distribution of each
property, and the distributions of all members are mixed evenly, as those of the ensemble are. A head reads the
standardised embedding, and one hidden layer on it, which its properties share, so that properties with few labels
profit from those with many.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matgen.energies.sharing import shared_answers
from matgen.nn.ensemble import Ensemble, mixed
from matgen.nn.graph_properties import GraphProperties
from matgen.nn.structure_properties import StructureInputs, StructureProperties
from matgen.nn.template_properties import TemplateProperties
from matgen.targets.derived import derived
from matgen.targets.distributions import Distribution, Logistic
from matgen.targets.transformed import log_logistic

SMALLEST_SCALE, LARGEST_SCALE = 0.02, 1.0
"""Of a standardised property: the largest is nearly twice the spread of the labels; far from them nothing is known."""

OFFSET = 0.5
"""Subtracted from the raw scale, so that heads begin with a scale of about a half."""

FARTHEST = 6.0
"""Standard deviations beyond which an embedding counts as so far out: nothing is extrapolated from there."""


@dataclass(frozen=True)
class HeadsConfig:
    """Size of the heads, and the scales of their properties.

    Attributes:
        members: of the ensemble that is read.
        width: of its embeddings.
        hidden: units of the hidden layer.
        names: of the properties.
        logarithmic: whether each is predicted as its decimal logarithm.
        centre: mean of each, or of its logarithm, in training.
        spread: standard deviation of each, likewise.
        correlation: of the errors of the logarithms of bulk and shear modulus.
        derives: whether properties are derived from the predicted ones: of crystals, not of molecules.
    """

    members: int
    width: int
    hidden: int
    names: tuple[str, ...]
    logarithmic: tuple[bool, ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    correlation: float = 0.0
    derives: bool = True


class EmbeddingHeads(nn.Module):
    """The heads of all members, evaluated together.

    Attributes:
        mean: of the embeddings of each member in training (members, width).
        std: their standard deviation (members, width).
        temperature: factor of the scale of each property, from held-out rows (n_properties,).
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        self.config = config
        m, w, h, p = config.members, config.width, config.hidden, len(config.names)
        self.register_buffer("mean", torch.zeros(m, w))
        self.register_buffer("std", torch.ones(m, w))
        self.register_buffer("temperature", torch.ones(p))
        self.weight = nn.Parameter(torch.randn(m, w, h) / w**0.5)
        self.bias = nn.Parameter(torch.zeros(m, 1, h))
        self.read = nn.Parameter(torch.zeros(m, w + h, 2 * p))
        self.offset = nn.Parameter(torch.zeros(m, 1, 2 * p))

    def features(self, embedded: Tensor) -> Tensor:
        """Return what is read linearly (members, n_systems, width + hidden): standardised embeddings, hidden units."""
        standardised = ((embedded - self.mean[:, None]) / self.std[:, None]).clamp(-FARTHEST, FARTHEST)
        return torch.cat([standardised, F.silu(torch.baddbmm(self.bias, standardised, self.weight))], dim=-1)

    def standardised(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return location and scale (members, n_systems, n_properties) of the standardised properties."""
        loc, raw = torch.baddbmm(self.offset, features, self.read).chunk(2, dim=-1)
        return loc, F.softplus(raw - OFFSET) + SMALLEST_SCALE

    def forward(self, embedded: Tensor) -> list[dict[str, Distribution]]:
        """Return calibrated distributions by property, derived ones included, of each member.

        Args:
            embedded: of the systems by each member (members, n_systems, width).
        """
        loc, scale = self.standardised(self.features(embedded))
        config = self.config
        spread, centre = loc.new_tensor(config.spread), loc.new_tensor(config.centre)
        loc, scale = loc * spread + centre, (scale * self.temperature).clamp_max(LARGEST_SCALE) * spread
        of_members = []
        for own_loc, own_scale in zip(loc, scale, strict=True):
            found: dict[str, Distribution] = {}
            for place, (name, logarithmic) in enumerate(zip(config.names, config.logarithmic, strict=True)):
                made = log_logistic if logarithmic else Logistic
                found[name] = made(own_loc[:, place], own_scale[:, place])
            of_members.append(found | derived(found, config.correlation) if config.derives else found)
        return of_members


Embed = Callable[..., Tensor]
"""Embeddings (n_systems, width) of a batch by a member of an ensemble, from the inputs of the member."""


def embedding(member: nn.Module, *inputs: object) -> Tensor:
    """Return the embeddings (n_systems, width) that heads on a member read, from its inputs.

    Raises:
        TypeError: a network of another kind.
    """
    match member:
        case StructureProperties():
            return member.pool(inputs[0] if isinstance(inputs[0], StructureInputs) else StructureInputs(inputs[0]))  # type: ignore[arg-type]
        case TemplateProperties() | GraphProperties():
            return member.embed(inputs[0])  # type: ignore[arg-type]
    raise TypeError(type(member))


def own_properties(member: nn.Module, embedded: Tensor) -> Mapping[str, Distribution]:
    """Return the calibrated distributions by a member of the properties that it was trained on, from its embeddings."""
    if isinstance(member, StructureProperties):
        return member.calibrated(embedded)
    return member.heads.calibrated(embedded)  # type: ignore[operator,union-attr]


class WithHeads(nn.Module):
    """An ensemble, and heads on its embeddings: it predicts the properties of both.

    A property that several heads predict gets the even mixture of their predictions.

    Attributes:
        members: of the ensemble.
        config: of the ensemble.
    """

    def __init__(self, ensemble: Ensemble, heads: Sequence[EmbeddingHeads]) -> None:
        super().__init__()
        self.members, self.config = ensemble.members, ensemble.config
        self.heads = nn.ModuleList(heads)

    def forward(self, *inputs: object) -> Mapping[str, Distribution]:
        """Return calibrated distributions by property, from the inputs of a member of the ensemble."""
        with shared_answers():  # neighbourhoods
            embedded = [embedding(member, *inputs) for member in self.members]
        own = mixed([own_properties(member, x) for member, x in zip(self.members, embedded, strict=True)])
        together = torch.stack(embedded)
        return {**own, **predicted([heads(together) for heads in self.heads])}


def predicted(of_heads: Sequence[Sequence[Mapping[str, Distribution]]]) -> dict[str, Distribution]:
    """Return the even mixture over the members of all heads that predict a property, by property.

    Args:
        of_heads: for each set of heads, the predictions of each member.
    """
    names = dict.fromkeys(name for members in of_heads for name in members[0])
    return {
        name: mixed([{name: one[name]} for members in of_heads if name in members[0] for one in members])[name]
        for name in names
    }
