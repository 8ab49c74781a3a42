"""Deep ensembles: networks of one kind from different random initial parameters, and their mixture.

Where the members disagree, the prediction is uncertain (Lakshminarayanan et al., NeurIPS 2017).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from matgen.energies.sharing import shared_answers
from matgen.runtime.config import check_least
from matgen.targets.distributions import Distribution, Mixture


@dataclass(frozen=True)
class EnsembleConfig:
    """Base of the configurations of networks that form ensembles.

    Attributes:
        members: number of networks.
    """

    members: int = 1

    def __post_init__(self) -> None:
        """Check that there is a network.

        Raises:
            ConfigError: there is none.
        """
        check_least(self, 1, "members")


class Ensemble(nn.Module):
    """Members that predict distributions by property, and their equally weighted mixture."""

    def __init__(self, build: Callable[[Any], nn.Module], config: Any) -> None:
        """Build `config.members` networks of this configuration."""
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(build(config) for _ in range(config.members))

    def forward(self, *inputs: Any) -> Mapping[str, Distribution]:
        """Return calibrated distributions by property, from the inputs of a member."""
        with shared_answers():  # neighbourhoods
            return mixed([member(*inputs) for member in self.members])


def mixed(parts: Sequence[Mapping[str, Distribution]]) -> Mapping[str, Distribution]:
    """Return the equally weighted mixture of several predictions, by property."""
    return {name: mixture_of([part[name] for part in parts]) for name in parts[0]}


def mixture_of(parts: Sequence[Distribution]) -> Distribution:
    """Return the equally weighted mixture of distributions; a single one is returned itself."""
    return parts[0] if len(parts) == 1 else Mixture(tuple(parts))
