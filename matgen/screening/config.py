"""What a screening asks of every structure."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from matgen import __version__
from matgen.config import check_least, to_mapping
from matgen.energies.property import Target, parse_wishes
from matgen.errors import UserError
from matgen.export import RunInfo
from matgen.models import weights_hash
from matgen.request import intervals
from matgen.validation import known_file, reference
from matgen.validation.checks import Interval
from matgen.validation.hull import MARGIN
from matgen.validation.relax import RelaxConfig

PACKAGE = Path(__file__).resolve().parents[1]

SHIPPED, NONE = "shipped", "none"
"""Words in the place of a file: the one that comes with the package, or no such judgement at all."""

MODELS = ("graph_energy", "template_properties", "judge")
"""Kinds of weights that a screening reads."""


FILES = {"reference": PACKAGE / reference.SHIPPED, "known": known_file.SHIPPED}
"""The files that ship, by what they are for."""


class ScreenError(UserError, ValueError):
    """A screening that cannot be done as it was asked for."""


@dataclass(frozen=True)
class ScreenConfig:
    """What every structure is asked.

    Attributes:
        properties: wishes by property: 1.5, "1.2:1.8", ">3", "<=0.05".
        relax: potential that relaxes structures first, or `none`: the energy is that of the geometry as given.
        max_ehull: energy above the hull up to which a structure passes, eV/atom.
        reference: file of the hull's phases; `shipped`, or `none` for no energies of a potential.
        known: file of known structures; `shipped`, or `none` for no judgement on novelty.
        relaxation: when a relaxation is done.
    """

    properties: dict[str, float | str] = field(default_factory=dict)
    relax: Literal["none", "chgnet"] = "none"
    max_ehull: float = MARGIN
    reference: str = SHIPPED
    known: str = SHIPPED
    relaxation: RelaxConfig = field(default_factory=RelaxConfig)

    def __post_init__(self) -> None:
        """Check what was asked at the border.

        Raises:
            ScreenError: a word or file that is none.
            ConfigError: a number out of its range.
            WishError: a wish that cannot be understood or cannot come true.
        """
        if self.relax not in {"none", "chgnet"}:
            raise ScreenError(f"expected relax as none or chgnet, got {self.relax!r}")
        check_least(self, 0, "max_ehull")
        for name in FILES:
            value = getattr(self, name)
            if value not in {SHIPPED, NONE} and not Path(value).is_file():
                raise ScreenError(f"expected {name} as a file, or {SHIPPED}, or {NONE}, got {value}; check the name")
        _ = self.wishes

    @cached_property
    def wishes(self) -> tuple[Target, ...]:
        """The wishes, understood."""
        return parse_wishes(self.properties)

    @property
    def targets(self) -> dict[str, Interval]:
        """The interval in which each wished property must lie, by name."""
        return intervals(self.wishes)


def run_info(config: ScreenConfig, paths: list[str]) -> RunInfo:
    """What makes a screening the one that it is: version, settings, weights, and the content of the files named.

    Raises:
        ScreenError: a file that cannot be read.
        WeightsError: weights that are missing or damaged.
    """
    named = {name: getattr(config, name) for name in FILES}
    paths_of = {
        name: FILES[name] if value == SHIPPED else Path(value) for name, value in named.items() if value != NONE
    }
    hashes = {name: _digest(path) for name, path in paths_of.items()}
    configuration: dict[str, Any] = {"screen": paths} | to_mapping(config)
    return RunInfo(__version__, 0, configuration, {kind: weights_hash(kind) for kind in MODELS} | hashes)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ScreenError(
            f"cannot read {path}: {error.strerror}; install matgen again, or name another file"
        ) from error
