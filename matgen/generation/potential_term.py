"""An interatomic potential, and electrostatics, as terms of the total energy."""

import math
from dataclasses import dataclass
from functools import partial

from matgen.energies.base import Sum
from matgen.energies.electrostatic import Electrostatic
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
    """Energies per atom, over 0.1 eV, that rank proposals and choose among geometries.

    Attributes:
        potential: name, or `none`.
        potential_weight: of the term.
        ewald_weight: of the electrostatic energy of formal charges; 0 leaves it out.
    """

    potential: str = "none"
    potential_weight: float = 1.0
    ewald_weight: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RequestError: an unknown potential, a negative weight, or a weight without a potential.
        """
        for name in ("potential_weight", "ewald_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise RequestError(f"expected {name} of at least 0, got {getattr(self, name)}")
        if self.potential not in {"none", *POTENTIALS}:
            raise RequestError(
                f"expected a potential, got {self.potential!r}; choose one of none, {', '.join(POTENTIALS)}; "
                "any ASE calculator is energies=[Potential(calculator, kT=0.1, per_atom=True)] of the library"
            )
        if self.potential == "none" and self.potential_weight != 1:
            raise RequestError(
                f"expected a potential for potential_weight {self.potential_weight} to weigh, got none; "
                "give --potential"
            )

    @property
    def terms(self) -> Sum:
        """The weighted terms; an empty sum without any."""
        total = Sum({})
        if self.potential != "none":
            potential = Potential(POTENTIALS[self.potential], POTENTIAL_KT, per_atom=True, name=self.potential)
            total = total + self.potential_weight * ForRanking(potential)
        if self.ewald_weight:
            total = total + self.ewald_weight * ForRanking(Electrostatic(POTENTIAL_KT))
        return total
