"""What an evaluation is asked, and what comes out of it, whatever the kind of the structures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from matgen.errors import UserError
from matgen.evaluation.crystal_rows import Judged
from matgen.evaluation.molecule_rows import JudgedMolecule
from matgen.generation.request import RELAXERS
from matgen.metrics import Bootstrap, Estimate, Profile
from matgen.metrics.shares import Shares
from matgen.runtime.config import ConfigError, check_least
from matgen.runtime.progress import Report
from matgen.structures.candidate import KindName
from matgen.structures.files import Entry

REFERENCES: dict[KindName, str] = {"crystal": "mp20", "molecule": "qm9"}
"""What structures of each kind are compared with unless something else is named."""


class EvaluationError(UserError, ValueError):
    """An evaluation that cannot be made."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What structures are compared with, and how.

    Attributes:
        reference: name of a data set, or a path to structures; empty for what is usual: `mp20` for crystals, `qm9` for
            molecules.
        csp: path to the true structures, where each entry is to be one of them; of crystals only.
        relax: potential that relaxes, and whose hull counts for crystals; with none, stability is not measured. Empty
            for what is usual: CHGNet for crystals, GFN2-xTB for molecules.
        jobs: processes that relax.
        requested: how many structures were asked of the generator; as many as there are entries if 0.
        bootstrap: resampled sets behind each interval.
        seed: of the resampling.
    """

    reference: str = ""
    csp: Path | None = None
    relax: Literal["none", "chgnet", "xtb", ""] = ""
    jobs: int = 1
    requested: int = 0
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check at the border.

        Raises:
            ConfigError: an unknown potential, or a number out of its range.
        """
        if self.relax not in {"none", "chgnet", "xtb", ""}:
            raise ConfigError(f"expected relax as none, chgnet (crystals) or xtb (molecules), got {self.relax!r}")
        check_least(self, 1, "jobs", "bootstrap")
        check_least(self, 0, "requested")

    def of(self, kind: KindName) -> "EvaluationConfig":
        """The same with what is usual for a kind where nothing is named.

        Raises:
            EvaluationError: something that this kind has not.
        """
        usual, *others = RELAXERS[kind]
        if self.relax not in {"", usual, *others}:
            raise EvaluationError(f"expected relax as {' or '.join(RELAXERS[kind])} for a {kind}, got {self.relax!r}")
        if self.csp is not None and kind == "molecule":
            raise EvaluationError("expected crystals to pair with true structures, got molecules; leave out csp")
        return replace(self, reference=self.reference or REFERENCES[kind], relax=self.relax or usual)


@dataclass(frozen=True)
class Task:
    """What is to be judged, against what, and where it is kept.

    Attributes:
        entries: structures, and reasons where there are none.
        config: what to compare with, and how; settled for the kind.
        requested: how many structures were asked for.
        data: folder of the training tables, if there is one.
        folder: relaxations stream into it; none are kept without.
        report: hears how every stage gets on.
    """

    entries: tuple[Entry, ...]
    config: EvaluationConfig
    requested: int
    data: Path | None
    folder: Path | None
    report: Report

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are found."""
        return Bootstrap(self.config.bootstrap, self.config.seed)


@dataclass(frozen=True)
class Findings:
    """What was found out about a set.

    Attributes:
        rows: one for every entry.
        estimates: every figure.
        notes: what could not be measured, and why.
        reference: make-up of what the set was compared with.
        potential: that relaxed; empty if none did.
        known: what counts as known.
        shares: what the crystals that can be read are made of; None of molecules.
    """

    rows: tuple[Judged, ...] | tuple[JudgedMolecule, ...]
    estimates: tuple[Estimate, ...]
    notes: tuple[str, ...]
    reference: Profile
    potential: str
    known: str
    shares: Shares | None = None
