"""What relaxes candidates, and when a relaxation ends."""

from dataclasses import dataclass, field
from typing import Literal

from matgen.energies.base import Sum
from matgen.energies.pressure import PressureVolume
from matgen.generation.potential_term import POTENTIAL_KT
from matgen.relaxation.config import RelaxConfig

RELAXERS: dict[str, tuple[Literal["chgnet", "xtb", "none"], ...]] = {
    "crystal": ("chgnet", "none"),
    "molecule": ("xtb", "none"),
}
"""Methods that relax candidates of each kind, the usual one first."""


@dataclass(frozen=True)
class RelaxationConfig:
    """What relaxes candidates, and when a relaxation ends.

    Attributes:
        method: potential, or `none`; `usual` for CHGNet (crystals) or GFN2-xTB (molecules). Flat keyword `relax`.
        settings: of a relaxation of crystals. Their pressure (flat keyword `pressure`, GPa) is also a term.
    """

    method: Literal["usual", "none", "chgnet", "xtb"] = field(default="usual", metadata={"keyword": "relax"})
    settings: RelaxConfig = field(default_factory=RelaxConfig, metadata={"keyword": None})

    @property
    def pressure(self) -> float:
        """Pressure of the request, GPa."""
        return self.settings.pressure

    @property
    def terms(self) -> Sum:
        """Work p V per atom over 0.1 eV, as energies of a potential count; an empty sum without pressure."""
        return Sum({}) + PressureVolume(self.pressure, POTENTIAL_KT) if self.pressure else Sum({})
