"""What relaxes candidates, and when a relaxation ends."""

from dataclasses import dataclass, field
from typing import Literal

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
        settings: of a relaxation of crystals.
    """

    method: Literal["usual", "none", "chgnet", "xtb"] = field(default="usual", metadata={"keyword": "relax"})
    settings: RelaxConfig = field(default_factory=RelaxConfig, metadata={"keyword": None})
