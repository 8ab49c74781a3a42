"""Write candidates to disk as soon as they are found, so that an interrupt loses none.

A folder holds `cif/NAME.cif` (symmetrised) of crystals or `sdf/NAME.sdf` of molecules, `candidates.jsonl` (everything;
the source of truth), the tables `candidates.csv` and `candidates.extxyz` made from it, and the report `run.json`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from matgen.runtime.csv_lines import csv_lines
from matgen.runtime.output import append, replace_file, wait_for_disk, writing
from matgen.structures.attached_files import remove_attached, with_files_written
from matgen.structures.candidate import Candidate, KindName, Verdict
from matgen.structures.candidate_files import CandidateFile
from matgen.structures.candidate_table import candidate_row, extxyz_frame
from matgen.structures.kind_formats import KIND_FORMATS, KindFormat
from matgen.structures.run_folder import CANDIDATES, CANDIDATES_FRAMES, CANDIDATES_TABLE, REPORT
from matgen.structures.run_report import (
    ADVICE,
    ResumeError,
    RunInfo,
    earlier_report,
    end_report,
    new_report,
    write_report,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._()+-]*")


class CandidateWriter:
    """Writes the candidates of one run into a folder; opening the folder of an interrupted run resumes it.

        with CandidateWriter("out", RunInfo(...)) as writer:
            for candidate in ...:
                if candidate.name not in writer.finished:
                    writer.write(candidate)

    Args:
        folder: created if it does not exist.
        run: identifies the run; an existing folder must agree with it.
        kind: of the candidates.
        overwrite: start anew if the folder holds another run.
    """

    def __init__(
        self, folder: str | Path, run: RunInfo, *, kind: KindName = "crystal", overwrite: bool = False
    ) -> None:
        self.folder = Path(folder)
        self.kind = kind
        self.candidates: list[Candidate] = []
        self._names: set[str] = set()
        self._file = CandidateFile(self.folder / CANDIDATES)
        self._run = run
        self._overwrite = overwrite
        self._report: dict[str, Any] = {}
        self._columns: list[str] = []

    @property
    def finished(self) -> frozenset[str]:
        """Names of the candidates on disk."""
        return frozenset(self._names)

    def __enter__(self) -> Self:
        with writing(self.folder):
            if self._overwrite:
                self._clear()
            self._format.folder(self.folder).mkdir(parents=True, exist_ok=True)
            earlier = self._earlier_report()
            self.candidates = self._earlier_candidates()
            self._names = {candidate.name for candidate in self.candidates}
            self._rebuild()
            self._report = {
                **new_report(self._run),
                "candidates": len(self.candidates),
                "stages": earlier.get("stages", []),
            }
            write_report(self.folder, self._report)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_report(self.folder, self._report, kind)

    def write(self, candidate: Candidate, file: tuple[str, Verdict] | None = None, *, wait: bool = True) -> Candidate:
        """Write one candidate in all formats.

        Args:
            candidate: to write.
            file: text of its own file, and the verdict on that, where they are known (`KindFormat.text`).
            wait: until it is on the disk, and safe from a power cut; if not, `wait_for_disk` does.

        Returns:
            The candidate with the verdict "cif" or "sdf" on its own file.

        Raises:
            ValueError: its name is taken or not a valid file name, or it is of another kind.
            OutputError: the disk is full, or the folder does not exist.
        """
        if not NAME.fullmatch(candidate.name):
            raise ValueError(f"expected a name of letters, digits and ._()+-, got {candidate.name!r}")
        if candidate.name in self._names:
            raise ValueError(f"candidate {candidate.name} is already in {self.folder}; names must differ")
        if candidate.kind != self.kind:
            raise ValueError(
                f"expected a {self.kind}, got the {candidate.kind} {candidate.name}; use a folder for each"
            )
        text, verdict = file or self._format.text(candidate)
        candidate = replace(candidate, verdicts={**candidate.verdicts, self._format.suffix: verdict})
        with writing(self.folder):
            replace_file(self._format.folder(self.folder) / f"{candidate.name}.{self._format.suffix}", text, wait=wait)
            candidate = with_files_written(self.folder, candidate)
            self._file.append(candidate, wait=wait)
            self.candidates.append(candidate)
            self._names.add(candidate.name)
            self._append_tables(candidate)
            self._report["candidates"] = len(self.candidates)
        return candidate

    def wait_for_disk(self) -> None:
        """Wait until the candidates are on the disk."""
        with writing(self.folder):
            wait_for_disk(self._file.path)

    def stage(self, name: str, seconds: float, **counts: int) -> None:
        """Add a finished stage to run.json: its wall time and its counts, such as requested=10, kept=7.

        Times of one stage add up; its last counts are kept.
        """
        self.stages([(name, seconds, counts)])

    def stages(self, finished: Iterable[tuple[str, float, Mapping[str, float]]]) -> None:
        """Add several finished stages: name, wall time and counts of each."""
        entries = {entry["name"]: entry for entry in self._report["stages"]}
        for name, seconds, counts in finished:
            before = entries.get(name, {}).get("seconds", 0.0)
            entries[name] = {"name": name, "seconds": round(before + seconds, 3), "counts": dict(counts)}
        self._report["stages"] = list(entries.values())
        with writing(self.folder):
            write_report(self.folder, self._report)

    def revise(self, candidates: Sequence[Candidate]) -> None:
        """Replace the candidates in all tables by ones with fields found later, such as their family.

        Raises:
            ValueError: they are not those on disk, in the same order.
            OutputError: the disk is full, or the folder does not exist.
        """
        if [one.name for one in candidates] != [one.name for one in self.candidates]:
            raise ValueError(f"expected the candidates of {self.folder} in their order, got others")
        if list(candidates) != self.candidates:
            self._replace(candidates)

    def arrange(self, key: Callable[[Candidate], float]) -> None:
        """Sort the candidates in all tables; the sort is stable.

        Raises:
            OutputError: the disk is full, or the folder does not exist.
        """
        self._replace(sorted(self.candidates, key=key))

    def _replace(self, candidates: Sequence[Candidate]) -> None:
        with writing(self.folder):
            self._file.write(candidates)
            self.candidates[:] = candidates
            self._rebuild()

    def note(self, name: str, value: Any) -> None:
        """Add an entry about the whole run to run.json, as JSON types."""
        self._report[name] = value
        with writing(self.folder):
            write_report(self.folder, self._report)

    @property
    def _format(self) -> KindFormat:
        return KIND_FORMATS[self.kind]

    def _clear(self) -> None:
        """Remove the files of a run; remove nothing from a folder without one."""
        if not (self.folder / REPORT).exists():
            return
        for name in (REPORT, CANDIDATES, CANDIDATES_TABLE, CANDIDATES_FRAMES):
            (self.folder / name).unlink(missing_ok=True)
        for form in KIND_FORMATS.values():
            for path in form.folder(self.folder).glob(f"*.{form.suffix}"):
                path.unlink()
        remove_attached(self.folder)

    def _earlier_report(self) -> dict[str, Any]:
        report = earlier_report(self.folder, self._run)
        if not report and self._file.exists():
            raise ResumeError(f"{self.folder} holds candidates but no {REPORT} to resume from; {ADVICE}")
        return report

    def _earlier_candidates(self) -> list[Candidate]:
        found = self._file.read()
        if other := next((candidate for candidate in found if candidate.kind != self.kind), None):
            raise ResumeError(f"{self.folder} holds {other.kind}s where {self.kind}s are to be written; {ADVICE}")
        return found

    def _rebuild(self) -> None:
        """Write the tables again from the candidates."""
        rows = list(map(candidate_row, self.candidates))
        self._columns = list(dict.fromkeys(column for row in rows for column in row))
        replace_file(self.folder / CANDIDATES_TABLE, csv_lines(self._columns, rows))
        replace_file(self.folder / CANDIDATES_FRAMES, "".join(map(extxyz_frame, self.candidates)))

    def _append_tables(self, candidate: Candidate) -> None:
        row = candidate_row(candidate)
        if set(row) <= set(self._columns):
            # They can be made again from the candidates.
            append(self.folder / CANDIDATES_TABLE, csv_lines(self._columns, [row], header=False), wait=False)
            append(self.folder / CANDIDATES_FRAMES, extxyz_frame(candidate), wait=False)
        else:
            self._rebuild()
