"""Settings of a screening, and what makes up its identity."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from matgen import __version__
from matgen.checks.targets import Interval
from matgen.errors import UserError
from matgen.generation.acceptance import intervals
from matgen.generation.relaxation_settings import RELAXERS
from matgen.hull import reference
from matgen.hull.hull import MARGIN
from matgen.novelty import index_file, molecules
from matgen.phonons.asked import ELASTICITY, PHONONS, check_asked
from matgen.relaxation.calculators import CHGNET, check_calculator, hull_file, same_potential
from matgen.relaxation.config import RelaxConfig
from matgen.runtime.config import check_least, from_mapping, to_mapping
from matgen.structures.candidate import KindName
from matgen.structures.run_report import RunInfo
from matgen.targets.properties import Property
from matgen.targets.target import Target, parse_targets
from matgen.weights import property_files
from matgen.weights.files import weights_file, weights_hash
from matgen.weights.property_format import PropertyFile
from matgen.weights.property_sets import files_in_use, hashes_of, named_files, predicted_by, targets_by_files
from matgen.weights.shipped import check_weights, folder_of

PACKAGE = Path(__file__).resolve().parents[1]

SHIPPED, NONE = property_files.SHIPPED, "none"
"""Words in place of a file: the one that comes with the package, or no such check."""

MODELS: dict[KindName, tuple[str, ...]] = {
    "crystal": ("graph_energy", "structure_properties", "evaluator"),
    "molecule": ("molecule_energy", "molecule_properties", "molecule_evaluator"),
}
"""Kinds of weights that a screening reads, by what is screened."""

FILES: dict[KindName, dict[str, Path]] = {
    "crystal": {"reference": PACKAGE / reference.SHIPPED, "known": index_file.SHIPPED},
    "molecule": {"known": molecules.SHIPPED},
}
"""The files that ship, by what is screened and what they are for."""


class ScreenError(UserError, ValueError):
    """A screening with impossible settings."""


@dataclass(frozen=True)
class ScreenConfig:
    """Checks and targets of a screening.

    Attributes:
        properties: targets by property: 1.5, "1.2:1.8", ">3", "<=0.05".
        relax: what relaxes structures first: `potential` (the calculator), `chgnet`, or `xtb` for molecules; with
            `none`, the energy is that of the geometry as given.
        max_ehull: greatest energy above the hull at which a crystal passes, eV/atom.
        reference: file of the hull's phases; `shipped`, or `none` for no energies by a potential. Molecules have no
            hull: one of the two words.
        known: file of known structures; `shipped`, or `none` for no check of novelty.
        relaxation: settings of the relaxation of crystals.
        kind: of all structures; others get a row with a reason.
        weights: folder of weights that replace shipped ones; empty for none.
        device: where the networks and CHGNet's relaxations run: `cpu`, `cuda`, `cuda:1`; a worker must have it.
        with_files: property files whose properties are predicted too, or `shipped`.
        order: ordered supercells that stand for a partially occupied crystal, at most; 0 to refuse it.
        calculator: potential of crystals, by name or import path.
        second_opinion: a second potential, by which a crystal must be stable, too; empty for none.
        phonons: whether a crystal must have no imaginary mode by the calculator; needs phonopy.
        elasticity: whether its elastic tensor by the calculator must be positive.
    """

    properties: dict[str, float | str] = field(default_factory=dict)
    relax: Literal["none", "chgnet", "xtb", "potential"] = "none"
    max_ehull: float = MARGIN
    reference: str = SHIPPED
    known: str = SHIPPED
    relaxation: RelaxConfig = field(default_factory=RelaxConfig)
    kind: KindName = "crystal"
    weights: str = ""
    device: str = "cpu"
    with_files: tuple[str, ...] = ()
    order: int = 0
    calculator: str = CHGNET
    second_opinion: str = ""
    phonons: bool = False
    elasticity: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ScreenError: an unknown word, or a file that does not exist.
            CalculatorError: a potential that is not known, or not installed.
            ConfigError: a number out of its range.
            TargetError: a target that cannot be parsed or met.
        """
        if self.kind not in FILES:
            raise ScreenError(f"expected kind as {' or '.join(FILES)}, got {self.kind!r}")
        if self.relax not in RELAXERS[self.kind]:
            expected = " or ".join(reversed(RELAXERS[self.kind]))
            raise ScreenError(f"expected relax as {expected} for a {self.kind}, got {self.relax!r}")
        self._check_potentials()
        check_least(self, 0, "max_ehull", "order")
        for name in FILES[self.kind]:
            value = getattr(self, name)
            if value not in {SHIPPED, NONE} and not Path(value).is_file():
                raise ScreenError(f"expected {name} as a file, or {SHIPPED}, or {NONE}, got {value}; check the name")
        if self.kind == "molecule":
            self._check_no_hull()
        elif self.relaxation.pressure:
            self._check_pressure()
        _ = self.targets, self.property_files

    def _check_potentials(self) -> None:
        for name in filter(None, (self.calculator, self.second_opinion)):
            check_calculator(name)
        if self.relax == CHGNET != self.calculator:
            raise ScreenError(
                f"expected relax as potential or none beside the calculator {self.calculator}, got {self.relax!r}; "
                "leave --calculator out, or give --relax potential"
            )
        if self.second_opinion and (why := self._no_first_opinion()):
            raise ScreenError(f"expected a second opinion beside a first one of another potential, got {why}")
        check_asked(self.lattice_checks, self.relaxation.pressure)

    def _no_first_opinion(self) -> str:
        """Say why no other potential than the second one says anything about stability; empty if one does."""
        if self.reference == NONE:
            return "no energies at all"
        if same_potential(self.second_opinion, self.calculator):
            return f"{self.second_opinion} for both"
        if self.reference == SHIPPED and hull_file(self.calculator) is None:
            return f"{self.calculator} without a hull; name its file as {self.calculator}=HULL.parquet"
        return ""

    def _check_no_hull(self) -> None:
        if self.reference not in {SHIPPED, NONE}:
            raise ScreenError(f"expected reference as {SHIPPED} or {NONE} for a molecule, got {self.reference}")
        if self.relaxation.pressure:
            asked = f"{self.relaxation.pressure:g} GPa"
            raise ScreenError(f"expected no pressure for a molecule, got {asked}; only a crystal has one")
        if self.order:
            raise ScreenError(f"expected no order for a molecule, got {self.order}; only a crystal has sites to order")
        usual_values = (
            ("max_ehull", MARGIN),
            ("relaxation", RelaxConfig()),
            ("calculator", CHGNET),
            ("second_opinion", ""),
            (PHONONS, False),
            (ELASTICITY, False),
        )
        for name, usual in usual_values:
            if getattr(self, name) != usual:
                raise ScreenError(f"expected no {name} for a molecule, got {getattr(self, name)!r}; leave it out")

    def _check_pressure(self) -> None:
        asked = f"a pressure of {self.relaxation.pressure:g} GPa"
        if self.relax == "none":
            raise ScreenError(f"expected relax as chgnet beside {asked}, got {self.relax!r}; give --relax chgnet")
        if self.second_opinion:
            raise ScreenError(f"expected no second opinion beside {asked}: no hull is one of a pressure; leave it out")
        if self.properties:
            raise ScreenError(
                f"expected no targets beside {asked}, got {', '.join(self.properties)}: the models know properties at "
                "0 GPa; leave the targets or the pressure out"
            )
        if self.reference not in {SHIPPED, NONE} or self.max_ehull != MARGIN:
            raise ScreenError(
                f"expected no reference or max_ehull beside {asked}: enthalpies cannot be compared with the hull of "
                "0 GPa; leave them out"
            )

    @property
    def lattice_checks(self) -> tuple[str, ...]:
        """Names of the checks on the lattice that are asked for: phonons, elasticity."""
        return tuple(name for name in (PHONONS, ELASTICITY) if getattr(self, name))

    @property
    def has_hull(self) -> bool:
        """Whether energies are computed and compared with a hull; at a pressure there is none."""
        return self.reference != NONE and not self.relaxation.pressure

    @property
    def uses_potential(self) -> bool:
        """Whether crystals are relaxed, or their energy or lattice is computed, by the calculator."""
        return self.kind == "crystal" and (self.has_hull or self.relax != NONE or bool(self.lattice_checks))

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """The parsed targets."""
        return parse_targets(self.properties, self.known_properties)

    @cached_property
    def named_files(self) -> tuple[PropertyFile, ...]:
        """The property files that are named, checked."""
        return named_files(self.with_files, self.kind, folder_of(self.weights))

    @cached_property
    def property_files(self) -> tuple[PropertyFile, ...]:
        """The property files in use: those named, and the shipped one where a target needs it."""
        targets = [target.name for target in self.targets]
        return files_in_use(self.named_files, self.kind, targets, folder_of(self.weights))

    @cached_property
    def known_properties(self) -> dict[str, Property]:
        """All properties that may be targets, by name."""
        return targets_by_files(self.named_files, self.kind)

    @property
    def more_properties(self) -> tuple[str, ...]:
        """Names of the properties that the files in use add to the columns."""
        return predicted_by(self.property_files)

    @property
    def target_intervals(self) -> dict[str, Interval]:
        """The interval in which each property with a target must lie, by name."""
        return intervals(self.targets)


def config_of(options: Mapping[str, Any]) -> ScreenConfig:
    """Return the settings of options that were given, which say more than settings: a default may be among them.

    Raises:
        ScreenError: a limit above the hull is given at a pressure, where there is no hull.
        ConfigError: an unknown option, or one out of its range.
    """
    config = from_mapping(ScreenConfig, dict(options))
    pressure = config.relaxation.pressure
    if pressure and (given := [name for name in ("max_ehull", "reference") if options.get(name, NONE) != NONE]):
        raise ScreenError(
            f"expected no {' or '.join(given)} beside a pressure of {pressure:g} GPa: enthalpies cannot be compared "
            "with the hull of 0 GPa; leave it out"
        )
    return config


def run_info(config: ScreenConfig, paths: list[str]) -> RunInfo:
    """Return the identity of a screening: version, settings, weights, and hashes of the files named.

    Raises:
        ScreenError: a file cannot be read.
        WeightsError: weights are missing or damaged.
    """
    shipped = FILES[config.kind]
    named = {name: getattr(config, name) for name in shipped}
    if named.get("reference") == SHIPPED and config.calculator != CHGNET:
        own = hull_file(config.calculator)
        named["reference"] = NONE if own is None else str(own)
    if second := config.second_opinion and hull_file(config.second_opinion):
        named["second_opinion"] = str(second)
    paths_of = {
        name: shipped[name] if value == SHIPPED else Path(value) for name, value in named.items() if value != NONE
    }
    hashes = {name: file_digest(path) for name, path in paths_of.items()}
    configuration: dict[str, Any] = {"screen": paths} | to_mapping(config)
    del configuration["weights"]  # represented by their hashes
    del configuration["device"]  # results differ by rounding only
    del configuration["with_files"]
    if not config.order:
        del configuration["order"]  # which earlier versions did not have
    for name, usual in (("calculator", CHGNET), ("second_opinion", ""), (PHONONS, False), (ELASTICITY, False)):
        if configuration[name] == usual:
            del configuration[name]  # likewise
    check_weights(folder_of(config.weights), MODELS[config.kind], f"a screening of {config.kind}s")
    files = {kind: weights_file(kind, folder_of(config.weights)) for kind in MODELS[config.kind]}
    hashes |= hashes_of(config.property_files)
    return RunInfo(__version__, 0, configuration, {k: weights_hash(k, path) for k, path in files.items()} | hashes)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        ScreenError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ScreenError(
            f"cannot read {path}: {error.strerror}; install matgen again, or name another file"
        ) from error
