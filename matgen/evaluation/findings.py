"""Settings, task and result of an evaluation, for crystals and molecules alike."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from matgen.errors import UserError
from matgen.evaluation.crystal_rows import CrystalRow
from matgen.evaluation.molecule_rows import MoleculeRow
from matgen.generation.relaxation_settings import RELAXERS
from matgen.metrics import Bootstrap, Estimate, Profile
from matgen.metrics.shares import Shares
from matgen.relaxation.calculators import CHGNET, check_calculator
from matgen.runtime.config import ConfigError, check_least
from matgen.runtime.devices import find_device
from matgen.runtime.progress import Report
from matgen.structures.candidate import KindName
from matgen.structures.files import Entry

REFERENCES: dict[KindName, str] = {"crystal": "mp20", "molecule": "qm9"}
"""Default reference of each kind."""


class EvaluationError(UserError, ValueError):
    """An evaluation that cannot be made."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What structures are compared with, and how.

    Attributes:
        reference: name of a data set, or a path to structures; empty for the default: `mp20` for crystals, `qm9` for
            molecules.
        csp: path to the true structures that entries are to reproduce; for crystals only.
        relax: potential that relaxes, and whose hull is used for crystals; with none, stability is not measured. Empty
            for the default: the calculator for crystals, GFN2-xTB for molecules.
        jobs: processes that relax.
        requested: number of structures requested from the generator; 0 for the number of entries.
        bootstrap: number of resampled sets for each interval.
        seed: of the resampling.
        device: where CHGNet relaxes: `cpu`, `cuda`, `cuda:1`; other potentials stay on the CPU.
        calculator: potential that relaxes crystals, by name or import path.
    """

    reference: str = ""
    csp: Path | None = None
    relax: Literal["none", "chgnet", "xtb", "potential", ""] = ""
    jobs: int = 1
    requested: int = 0
    bootstrap: int = 1000
    seed: int = 0
    device: str = "cpu"
    calculator: str = CHGNET

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: an unknown potential, or a number out of its range.
            DeviceError: a device that is not there.
            CalculatorError: a potential that is not known, or not installed.
        """
        if self.relax not in {"none", "chgnet", "potential", "xtb", ""}:
            raise ConfigError(
                f"expected relax as none, chgnet or potential (crystals) or xtb (molecules), got {self.relax!r}"
            )
        check_calculator(self.calculator)
        if self.relax in {CHGNET, "xtb"} and self.calculator != CHGNET:
            raise ConfigError(
                f"expected relax as potential beside the calculator {self.calculator}, got {self.relax}; leave one out"
            )
        check_least(self, 1, "jobs", "bootstrap")
        check_least(self, 0, "requested", "seed")
        find_device(self.device)

    def of(self, kind: KindName) -> "EvaluationConfig":
        """Fill in the defaults of a kind.

        Raises:
            EvaluationError: a setting that this kind does not have.
        """
        usual = "potential" if self.calculator != CHGNET else RELAXERS[kind][0]
        if self.relax and self.relax not in RELAXERS[kind]:
            raise EvaluationError(f"expected relax as {' or '.join(RELAXERS[kind])} for a {kind}, got {self.relax!r}")
        if self.csp is not None and kind == "molecule":
            raise EvaluationError("expected crystals to pair with true structures, got molecules; leave out csp")
        if self.calculator != CHGNET and kind == "molecule":
            raise EvaluationError(f"expected no calculator for molecules, got {self.calculator}; leave it out")
        return replace(self, reference=self.reference or REFERENCES[kind], relax=self.relax or usual)


@dataclass(frozen=True)
class Task:
    """The structures to evaluate, the settings, and where results are stored.

    Attributes:
        entries: structures, which may be built on access, or the reasons why there are none.
        config: with the defaults of the kind filled in.
        requested: number of structures requested from the generator.
        data: folder of the training tables; None for none.
        folder: of the relaxations; None to store none.
        report: hears the progress.
    """

    entries: Sequence[Entry]
    config: EvaluationConfig
    requested: int
    data: Path | None
    folder: Path | None
    report: Report

    @property
    def bootstrap(self) -> Bootstrap:
        """The resampling that gives intervals."""
        return Bootstrap(self.config.bootstrap, self.config.seed)


@dataclass(frozen=True)
class Findings:
    """The result of an evaluation.

    Attributes:
        rows: one for each entry.
        estimates: all figures.
        notes: what could not be measured, and why.
        reference: distributions of the reference.
        potential: that relaxed; empty for none.
        known: source of the known structures.
        shares: make-up of the readable crystals; None for molecules.
        pairs: how predictions and true structures were paired, as JSON types; None without true structures.
    """

    rows: tuple[CrystalRow, ...] | tuple[MoleculeRow, ...]
    estimates: tuple[Estimate, ...]
    notes: tuple[str, ...]
    reference: Profile
    potential: str
    known: str
    shares: Shares | None = None
    pairs: dict[str, Any] | None = None
