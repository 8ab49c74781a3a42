"""What relaxes candidates, and when a relaxation ends."""

from dataclasses import dataclass, field
from typing import Literal

from matgen.energies.base import Sum
from matgen.energies.pressure import PressureVolume
from matgen.generation.errors import RequestError
from matgen.generation.potential_term import POTENTIAL_KT
from matgen.relaxation.calculators import CHGNET, check_calculator, hull_file, same_potential
from matgen.relaxation.config import RelaxConfig

RELAXERS: dict[str, tuple[Literal["chgnet", "potential", "xtb", "none"], ...]] = {
    "crystal": ("chgnet", "potential", "none"),
    "molecule": ("xtb", "none"),
}
"""Methods that relax candidates of each kind, the usual one first."""


@dataclass(frozen=True)
class RelaxationConfig:
    """What relaxes candidates, and when a relaxation ends.

    Attributes:
        method: `potential` (the calculator), `none`, or a name; `usual` for the calculator (crystals) or GFN2-xTB
            (molecules). Flat keyword `relax`.
        calculator: potential that relaxes crystals, and whose hull they are compared with: a name, or module:function.
        second_opinion: a second potential, by which a crystal must be stable, too; empty for none.
        settings: of a relaxation of crystals. Their pressure (flat keyword `pressure`, GPa) is also a term.
    """

    method: Literal["usual", "none", "chgnet", "xtb", "potential"] = field(
        default="usual", metadata={"keyword": "relax"}
    )
    calculator: str = CHGNET
    second_opinion: str = ""
    settings: RelaxConfig = field(default_factory=RelaxConfig, metadata={"keyword": None})

    def __post_init__(self) -> None:
        """Check the potentials.

        Raises:
            RequestError: two potentials that contradict each other, or no first opinion beside a second one.
            CalculatorError: a potential that is not known, or not installed.
        """
        for name in filter(None, (self.calculator, self.second_opinion)):
            check_calculator(name)
        if self.method in {CHGNET, "xtb"} and self.calculator != CHGNET:
            raise RequestError(
                f"expected relax of potential or none beside the calculator {self.calculator}, got {self.method}; "
                "leave one of them out"
            )
        if self.second_opinion and (why := self._no_first_opinion()):
            raise RequestError(f"expected a second opinion beside a hull by another potential, got {why}")

    def _no_first_opinion(self) -> str:
        """Say why no other potential than the second one says anything about stability; empty if one does."""
        if self.method == "none":
            return "no relaxation"
        if self.pressure:
            return "a pressure"
        if same_potential(self.second_opinion, self.calculator):
            return "the same as the first"
        if hull_file(self.calculator) is None:
            return f"{self.calculator} without a hull; name its file as {self.calculator}=HULL.parquet"
        return ""

    @property
    def pressure(self) -> float:
        """Pressure of the request, GPa."""
        return self.settings.pressure

    @property
    def terms(self) -> Sum:
        """Work p V per atom over 0.1 eV, as energies of a potential count; an empty sum without pressure."""
        return Sum({}) + PressureVolume(self.pressure, POTENTIAL_KT) if self.pressure else Sum({})
