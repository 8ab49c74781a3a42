"""Screening of structures of any origin: a row of verdicts for each, written at once, and a ranking at the end."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matgen.relaxation.pool import batching
from matgen.runtime.devices import check_device_name, find_device
from matgen.runtime.processes import Chunk, in_chunks
from matgen.runtime.progress import Report, Silence
from matgen.screening.assess import BATCH, check_files
from matgen.screening.config import NONE, ScreenConfig, ScreenError, config_of, run_info
from matgen.screening.files import Journal
from matgen.screening.ordered_input import with_orderings
from matgen.screening.ordered_rows import OrderedRows
from matgen.screening.parsl_workers import on_parsl
from matgen.screening.row import Row
from matgen.screening.row_list import Rows
from matgen.screening.workers import Workers, here, processes
from matgen.structures.candidate import KindName
from matgen.structures.files import Found, found, given, one_kind
from matgen.structures.in_memory import InMemory, kind_in_memory
from matgen.structures.passed_over import files_passed_over
from matgen.structures.run_report import identity
from matgen.workflows.folder_name import folder_name

FEW = 4
"""Structures of a chunk with phonons or elasticity, which take so long that an interrupt should lose few."""


@dataclass(frozen=True)
class Screening:
    """The result of a screening.

    Attributes:
        folder: of the run.
        rows: one per structure, best first, read from the folder whenever one is asked for.
        summary: counts by `matgen.screening.ranking.Counts`, and `passed_over`: files without a structure, by kind.
        new: number of rows that this call computed; the others were on disk.
        seconds: wall time of this call.
    """

    folder: Path
    rows: Sequence[Row]
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
    """Screen the structures of files, folders and zips; an interrupted screening in the folder is resumed.

    Args:
        paths: of structures in formats of `matgen.structures.files`.
        config: checks and targets.
        folder: for the files that `Journal` writes.
        jobs: number of processes.
        executor: a Python file with a Parsl configuration, or `local`; empty for a pool of this machine.
        report: hears the progress.
        known: receives each row, in the order of the input.
        overwrite: start anew if the folder holds another run.

    Raises:
        MissingPathError: a path does not exist.
        ScreenError: an impossible setting.
        DeviceError: a device that is not there.
        ReferenceFileError, WeightsError: files that are missing or damaged.
        OutputError: the folder cannot be written.
        ResumeError: the folder holds another run.
    """
    pool = _Pool.of(jobs, executor, folder, config.device)
    named = [str(path) for path in paths]
    return _run(found(paths), named, config, folder, pool, report, known, overwrite=overwrite)


def screen(
    what: str | Path | InMemory | Iterable[str | Path | InMemory],
    *,
    jobs: int = 1,
    executor: str = "",
    out: str | Path | None = None,
    report: Report | None = None,
    **options: Any,
) -> Rows:
    """Return a row of verdicts for each structure, in order: `screen("cifs", properties={"band_gap": 1.5})`.

    Args:
        what: a path (file, folder, zip, tar), or a crystal or a molecule of pymatgen (`Structure`, `Molecule`) or ASE
            (`Atoms`), or several of either; not a mixture.
        jobs: number of processes.
        executor: a Python file with a Parsl configuration, or `local`.
        out: folder to write and to resume; None to write no files.
        report: hears the progress.
        options: any field of `ScreenConfig`: properties, relax, max_ehull, reference, known, relaxation, kind, device,
            with_files, order (several rows for a partially occupied crystal, in place of one), calculator (the
            potential: a name, "module:function", or either with "=HULL.parquet"), second_opinion (another one, by
            which a crystal must be stable, too), phonons and elasticity (True to require them).

    Returns:
        A list of rows with `row.rank` (1 is best), `row.passed` (no check fails) and `row.verdicts` (with reasons);
        notebooks show it as a table, and `.to_dataframe()` returns one.

    Raises:
        ConfigError: an unknown option.
        MixedKindsError: there are crystals and molecules, and `kind` is not given.
        ScreenError, MissingPathError, TargetError, OutputError, ResumeError: as `run`.
    """
    several = _several(what)
    structures = [item for item in several if isinstance(item, InMemory)]
    kinds = {kind_in_memory(item) for item in structures}
    if len(kinds) > 1 or 0 < len(structures) < len(several):
        raise ScreenError("expected paths, or crystals, or molecules, got a mixture; screen them one after the other")
    paths = [Path(str(item)) for item in several] if not structures else []
    kind = {} if "kind" in options else {"kind": kinds.pop() if kinds else kind_of_files(paths)}
    config = config_of(options | kind)
    entries = given(structures) if structures else found(paths)
    named = ["structures of a program"] if structures else [str(path) for path in several]
    with TemporaryDirectory() as scratch:
        folder = Path(scratch if out is None else out)
        in_order: list[Row] = []
        pool = _Pool.of(jobs, executor, folder, config.device)
        done = _run(entries, named, config, folder, pool, report, in_order.append, overwrite=False)
        ranks = {row.name: row.rank for row in done.rows}
    ranked = (replace(row, rank=ranks[row.name]) for row in in_order)
    return Rows(ranked, config.kind, config.more_properties)


def _several(what: str | Path | InMemory | Iterable[str | Path | InMemory]) -> list[str | Path | InMemory]:
    """Return what is to be screened as a list.

    Raises:
        ScreenError: something is neither a path nor a structure.
    """
    if isinstance(what, str | Path | InMemory):
        return [what]
    several: list[Any] = list(what) if isinstance(what, Iterable) else [what]
    if strange := [item for item in several if not isinstance(item, str | Path | InMemory)]:
        raise ScreenError(
            f"expected paths, or structures of pymatgen (Structure, Molecule) or ASE (Atoms), got "
            f"{type(strange[0]).__name__}"
        )
    return several


def kind_of_files(paths: Iterable[Path]) -> KindName:
    """Return the kind of files without reading their structures; crystals if nothing tells.

    Raises:
        MissingPathError: a path does not exist.
        MixedKindsError: there are crystals and molecules.
    """
    return one_kind(found(paths)) or "crystal"


def default_folder(config: ScreenConfig, paths: Sequence[Path]) -> Path:
    """Return a folder in `screens/` named after input, settings, version and weights."""
    return Path("screens") / folder_name(paths, identity(run_info(config, [str(path) for path in paths])))


def _run(
    entries: Iterator[Found],
    named: list[str],
    config: ScreenConfig,
    folder: Path,
    pool: "_Pool",
    report: Report | None,
    known: Callable[[Row], None],
    *,
    overwrite: bool,
) -> Screening:
    started = time.perf_counter()
    check_files(config)
    more = config.more_properties
    if config.order:
        entries = with_orderings(entries, config.order, pool.jobs)
    with Journal(folder, run_info(config, named), kind=config.kind, more=more, overwrite=overwrite) as journal:
        ordered = OrderedRows(journal, report or Silence(), known)
        size = batching(config.device).slots if config.relax != NONE else BATCH
        size = min(size, FEW) if config.lattice_checks else size
        waiting = journal.at_work.noted(unknown_chunks(ordered, chunks(entries, size, pool.jobs)))
        for some in pool.workers(waiting, config):
            ordered.put(journal.write(some))
            journal.at_work.end(row.name for row in some)
        ordered.put([])
        ordered.check_complete()
        beside = files_passed_over([Path(name) for name in named if Path(name).exists()])
        rows, counts = journal.finish(ordered.ranked(), beside, ordered.given)
    return Screening(folder, rows, counts, ordered.new, time.perf_counter() - started)


@dataclass(frozen=True)
class _Pool:
    """Workers and their number."""

    workers: Workers
    jobs: int

    @classmethod
    def of(cls, jobs: int, executor: str, folder: Path, device: str) -> "_Pool":
        """Make the workers of an executor; empty for processes of this machine, which must have the device."""
        if jobs < 1:
            raise ScreenError(f"expected jobs of at least 1, got {jobs}")
        if executor:
            check_device_name(device)  # its workers may have one that this machine lacks
            return cls(on_parsl(executor, jobs, folder / "parsl"), jobs)
        find_device(device)
        return cls(here if jobs == 1 else processes(jobs), jobs)


def unknown_chunks(ordered: OrderedRows, every: Iterable[Chunk[Found]]) -> Iterator[Chunk[Found]]:
    """Yield chunks without what the journal holds; a resumed run has those of an undisturbed one, and so its numbers.

    The last digits of what networks predict depend on the structures that are read together.
    """
    for chunk in every:
        if items := tuple(ordered.unknown(chunk.items)):
            yield Chunk(items)


def chunks(entries: Iterator[Found], size: int, jobs: int) -> Iterator[Chunk[Found]]:
    """Split entries into chunks of at most this size, smaller if there are few, so that every worker gets some."""
    first = list(islice(entries, size * jobs))
    if len(first) < size * jobs:
        size = max(1, -(-len(first) // jobs))
    return in_chunks(chain(first, entries), size)
