"""Networks of one kind that began at different random numbers: where they disagree, they guess.

Deep ensembles: Lakshminarayanan et al., NeurIPS 2017.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from matgen.targets.distributions import Distribution, Mixture


class Ensemble(nn.Module):
    """Members that predict distributions by property; together they predict their even mixture."""

    def __init__(self, build: Callable[[Any], nn.Module], config: Any) -> None:
        """Build `config.members` networks of this configuration."""
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(build(config) for _ in range(config.members))

    def forward(self, *inputs: Any) -> Mapping[str, Distribution]:
        """Calibrated distributions by property, of what a member reads."""
        return mixed([member(*inputs) for member in self.members])


def mixed(parts: Sequence[Mapping[str, Distribution]]) -> Mapping[str, Distribution]:
    """The even mixture of several predictions, by property."""
    return {name: mixture_of([part[name] for part in parts]) for name in parts[0]}


def mixture_of(parts: Sequence[Distribution]) -> Distribution:
    """The even mixture of some distributions; of one, itself."""
    return parts[0] if len(parts) == 1 else Mixture(tuple(parts))
