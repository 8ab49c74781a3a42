"""From structures of any origin to one verdict row each, on disk as soon as it is known, and a ranking at the end."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pymatgen.core.structure import Molecule, Structure

from matgen.relaxation.pool import TOGETHER
from matgen.runtime.config import from_mapping
from matgen.runtime.processes import Chunk, in_chunks
from matgen.runtime.progress import Report, Silence
from matgen.screening.assess import BATCH, check_files
from matgen.screening.config import NONE, ScreenConfig, ScreenError, run_info
from matgen.screening.files import Journal
from matgen.screening.parsl_workers import on_parsl
from matgen.screening.ranking import FirstOfItsKind, ranked, summary
from matgen.screening.row import Row
from matgen.screening.workers import Workers, here, processes
from matgen.structures.candidate import KindName, Material, kind_of
from matgen.structures.files import Found, digest, found, given, one_kind
from matgen.structures.run_report import identity


@dataclass(frozen=True)
class Screening:
    """What a screening came to.

    Attributes:
        folder: that holds everything.
        rows: one per structure, best first.
        summary: counts, as `matgen.screening.ranking.summary` makes them.
        new: rows that this call judged; the others were on disk.
        seconds: wall time of this call.
    """

    folder: Path
    rows: tuple[Row, ...]
    summary: dict[str, Any]
    new: int
    seconds: float


def run(
    paths: Sequence[Path],
    config: ScreenConfig,
    folder: Path,
    *,
    jobs: int = 1,
    executor: str = "",
    report: Report | None = None,
    known: Callable[[Row], None] = lambda _: None,
    overwrite: bool = False,
) -> Screening:
    """Judge the structures of files, folders and zips; the folder of an interrupted screening is gone on with.

    Args:
        paths: of whatever `matgen.structures.files` reads.
        config: what every structure is asked.
        folder: holds afterwards what `Journal` writes.
        jobs: processes.
        executor: a Python file with a Parsl configuration, or `local`; empty for a pool of this machine.
        report: hears how far it is.
        known: is handed each row as soon as those before it are known too, in the order of the input.
        overwrite: start anew where the folder holds something else.

    Raises:
        MissingPathError: a path that is not there.
        ScreenError: something that was asked for cannot be had.
        ReferenceFileError, WeightsError: files that are missing or damaged.
        OutputError: the folder cannot be written.
        ResumeError: the folder holds another run.
    """
    workers = _workers(jobs, executor, folder)
    return _run(found(paths), [str(path) for path in paths], config, folder, workers, jobs, report, known, overwrite)


def screen(
    what: str | Path | Material | Iterable[str | Path | Material],
    *,
    jobs: int = 1,
    executor: str = "",
    out: str | Path | None = None,
    report: Report | None = None,
    **options: Any,
) -> list[Row]:
    """A row of verdicts for each structure, in the order of the input: `screen("cifs", properties={"band_gap": 1.5})`.

    Args:
        what: a path (file, folder, zip), a crystal or a molecule, or several of either; not a mixture.
        jobs: processes.
        executor: a Python file with a Parsl configuration, or `local`.
        out: folder to write and to resume; nothing is kept if left out.
        report: hears how far it is.
        options: any field of `ScreenConfig`: properties, relax, max_ehull, reference, known, relaxation, kind.

    Returns:
        Rows; `row.rank` says which is best, `row.passed` whether nothing speaks against it, `row.verdicts` why.

    Raises:
        ConfigError: an option that there is not.
        MixedKindsError: there are crystals and molecules, and `kind` says not which of them are meant.
        ScreenError, MissingPathError, WishError, OutputError, ResumeError: as `run`.
    """
    several = [what] if isinstance(what, str | Path | Structure | Molecule) else list(what)
    structures = [item for item in several if isinstance(item, Structure | Molecule)]
    kinds = {kind_of(item) for item in structures}
    if len(kinds) > 1 or 0 < len(structures) < len(several):
        raise ScreenError("expected paths, or crystals, or molecules, got a mixture; screen them one after the other")
    paths = [Path(str(item)) for item in several] if not structures else []
    kind = {} if "kind" in options else {"kind": kinds.pop() if kinds else kind_of_files(paths)}
    config = from_mapping(ScreenConfig, options | kind)
    entries = given(structures) if structures else found(paths)
    named = ["structures of a program"] if structures else [str(path) for path in several]
    with TemporaryDirectory() as scratch:
        folder = Path(scratch if out is None else out)
        workers = _workers(jobs, executor, folder)
        in_order: list[str] = []
        done = _run(
            entries,
            named,
            config,
            folder,
            workers,
            jobs,
            report,
            lambda row: in_order.append(row.name),
            overwrite=False,
        )
    by_name = {row.name: row for row in done.rows}
    return [by_name[name] for name in in_order]


def kind_of_files(paths: Iterable[Path]) -> KindName:
    """What files hold, told without reading their structures; crystals where nothing tells.

    Raises:
        MissingPathError: a path that is not there.
        MixedKindsError: there are crystals and molecules.
    """
    return one_kind(found(paths)) or "crystal"


def default_folder(config: ScreenConfig, paths: Sequence[Path]) -> Path:
    """`screens/` and a name that tells the input, and that no other input, settings, version or weights share."""
    content = json.dumps(identity(run_info(config, [str(path) for path in paths])), sort_keys=True)
    words = "_".join(path.resolve().name for path in paths[:3])
    readable = re.sub(r"[^A-Za-z0-9.+-]+", "_", words).strip("_")[:60]
    return Path("screens") / f"{readable}_{hashlib.sha256(content.encode()).hexdigest()[:6]}"


def _run(
    entries: Iterator[Found],
    named: list[str],
    config: ScreenConfig,
    folder: Path,
    workers: Workers,
    jobs: int,
    report: Report | None,
    known: Callable[[Row], None],
    overwrite: bool,  # noqa: FBT001
) -> Screening:
    started = time.perf_counter()
    check_files(config)
    with Journal(folder, run_info(config, named), kind=config.kind, overwrite=overwrite) as journal:
        tray = Tray(journal, report or Silence(), known)
        size = TOGETHER if config.relax != NONE else BATCH
        for rows in workers(chunks(tray.unknown(entries), size, jobs), config):
            journal.write(rows)
            tray.put(rows)
        tray.put([])
        tray.check_complete()
        best_first = ranked(tray.finished)
        counts = summary(best_first)
        journal.finish(best_first, counts)
    return Screening(folder, tuple(best_first), counts, tray.new, time.perf_counter() - started)


class Tray:
    """Puts rows that come in any order back into that of the input, and says which are the first of their kind."""

    def __init__(self, journal: Journal, report: Report, known: Callable[[Row], None]) -> None:
        self.finished: list[Row] = []
        self.new = self._passed = self._broken = 0
        self._journal, self._report, self._known = journal, report, known
        self._order: list[str] = []
        self._waiting: dict[str, Row] = {}
        self._first = FirstOfItsKind()

    def unknown(self, entries: Iterable[Found]) -> Iterator[Found]:
        """Those of the entries that are not on disk yet."""
        for one in entries:
            row = self._journal.known(one.name, digest(one))
            self._order.append(one.name)
            if row is None:
                yield one
            else:
                self._waiting[one.name] = row

    def put(self, rows: Sequence[Row]) -> None:
        """Take rows, and let go those before which none is missing."""
        self.new += len(rows)
        self._waiting |= {row.name: row for row in rows}
        while len(self.finished) < len(self._order):
            row = self._waiting.pop(self._order[len(self.finished)], None)
            if row is None:
                break
            row = self._first(row)
            self.finished.append(row)
            self._passed += row.passed
            self._broken += row.candidate is None
            self._known(row)
        done = len(self.finished) + len(self._waiting)
        self._report("screen", done, len(self._order), passed=self._passed, broken=self._broken)

    def check_complete(self) -> None:
        """Make sure that everything that was found has its row.

        Raises:
            RuntimeError: workers have lost some, which is a fault of the program.
        """
        if len(self.finished) != len(self._order):
            missing = [name for name in self._order[len(self.finished) :] if name not in self._waiting]
            raise RuntimeError(
                f"expected a row for each of {len(self._order)} structures, got {len(self.finished)}; none of {missing}"
            )


def chunks(entries: Iterator[Found], size: int, jobs: int) -> Iterator[Chunk[Found]]:
    """Entries in chunks of at most this size, smaller ones where there are few, so that every worker gets some."""
    first = list(islice(entries, size * jobs))
    if len(first) < size * jobs:
        size = max(1, -(-len(first) // jobs))
    return in_chunks(chain(first, entries), size)


def _workers(jobs: int, executor: str, folder: Path) -> Workers:
    if jobs < 1:
        raise ScreenError(f"expected jobs of at least 1, got {jobs}")
    if executor:
        return on_parsl(executor, jobs, folder / "parsl")
    return here if jobs == 1 else processes(jobs)
