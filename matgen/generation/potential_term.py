"""An interatomic potential as a term of the total energy."""

import math
from dataclasses import dataclass
from functools import partial

from matgen.energies.base import Sum
from matgen.energies.potential import Potential
from matgen.energies.ranking import ForRanking
from matgen.generation.errors import RequestError
from matgen.relaxation.calculators import chgnet_calculator

POTENTIALS = {"chgnet": partial(chgnet_calculator, "ignore")}
"""Makers of the calculators whose energy may be a term, by name."""

POTENTIAL_KT = 0.1
"""Divisor of the energy per atom of a potential, eV/atom."""


@dataclass(frozen=True)
class RankingConfig:
    """A potential whose energy per atom, over 0.1 eV, ranks proposals and chooses among geometries.

    Attributes:
        potential: name, or `none`.
        potential_weight: of the term.
    """

    potential: str = "none"
    potential_weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RequestError: an unknown potential, a negative weight, or a weight without a potential.
        """
        if self.potential not in {"none", *POTENTIALS}:
            raise RequestError(
                f"expected a potential, got {self.potential!r}; choose one of none, {', '.join(POTENTIALS)}; "
                "any ASE calculator is energies=[Potential(calculator, kT=0.1, per_atom=True)] of the library"
            )
        if not 0 <= self.potential_weight < math.inf:
            raise RequestError(f"expected potential_weight of at least 0, got {self.potential_weight}")
        if self.potential == "none" and self.potential_weight != 1:
            raise RequestError(
                f"expected a potential for potential_weight {self.potential_weight} to weigh, got none; "
                "give --potential"
            )

    @property
    def term(self) -> Sum:
        """The weighted term; an empty sum without a potential."""
        if self.potential == "none":
            return Sum({})
        potential = Potential(POTENTIALS[self.potential], POTENTIAL_KT, per_atom=True, name=self.potential)
        return self.potential_weight * ForRanking(potential)
