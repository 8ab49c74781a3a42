"""The domain of the models: whether a structure is like their training data.

The graph energy per atom separates real crystals from wrong ones (docs/results/geometry.md, "Graph energy: real
against wrong crystals"). Its quantiles over crystals of the validation split, which trained nothing, tell how common a
value is; values above 98 % of them are out of domain. `scripts/build/build_domain.py` computes `domain.json`.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from matgen.errors import UserError
from matgen.weights.files import info

FILE = Path(__file__).resolve().parent / "domain.json"

LIMIT = 0.98
"""Share of validation crystals that are in the domain, by definition."""


class DomainError(UserError, ValueError):
    """The quantiles are not those of the graph energy that is installed."""


@dataclass(frozen=True)
class Domain:
    """Quantiles of the graph energy per atom over real crystals.

    Attributes:
        weights: SHA-256 of the graph energy.
        source: of the crystals, in words.
        rows: number of crystals.
        sigma: noise level at which the energy was evaluated, Å.
        levels: shares of the crystals, ascending.
        energies: value below which each share lies, dimensionless.
    """

    weights: str
    source: str
    rows: int
    sigma: float
    levels: tuple[float, ...]
    energies: tuple[float, ...]

    @property
    def limit(self) -> float:
        """The energy per atom above which a structure is out of domain."""
        return float(np.interp(LIMIT, self.levels, self.energies))

    def share_below(self, energy: float) -> float:
        """Return the share of validation crystals with a lower energy per atom."""
        return float(np.interp(energy, self.energies, self.levels))


@cache
def domain() -> Domain:
    """Load the shipped quantiles.

    Raises:
        DomainError: they belong to other weights.
    """
    raw = json.loads(FILE.read_text(encoding="utf-8"))
    found = Domain(**raw | {name: tuple(raw[name]) for name in ("levels", "energies")})
    installed = info("graph_energy").sha256
    if found.weights != installed:
        raise DomainError(
            f"expected quantiles of the graph energy {installed[:12]}…, got those of {found.weights[:12]}…; "
            "run scripts/build/build_domain.py"
        )
    return found
