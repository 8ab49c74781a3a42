"""Candidates on disk, each as soon as it is found, so that an interrupt loses none.

A folder holds `cif/NAME.cif` (symmetrised) of crystals or `sdf/NAME.sdf` of molecules, `candidates.jsonl` (everything;
the source of truth), and, made from it, `candidates.csv` and `candidates.extxyz`; `run.json` says how they came about.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ase.io
from ase import Atoms
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SymmetryUndeterminedError

from matgen.errors import UserError
from matgen.runtime.output import append, replace_file, writing
from matgen.structures.candidate import Candidate, KindName, Prediction, Verdict
from matgen.structures.cif import cif_text, displacement, read_cif
from matgen.structures.record import formula, from_record, to_record
from matgen.structures.sdf import farthest, read_sdf, sdf_text
from matgen.structures.symmetry import space_group
from matgen.templates.molecule import MoleculeTemplate, inchi_key

SYMPRECS = (0.1, 0.01)
"""Tolerances tried for a symmetrised CIF, Å: that of the training labels, then one that moves no atom visibly."""

ROUNDING = 1e-4
"""Å; four decimals of an SDF move an atom by less."""

CALCULATED = frozenset({"gpaw_gap"})
"""Properties that first principles calculated: a value, and no spread that a predictor could have told."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._()+-]*")


ADVICE = "name another folder with --out, or overwrite it"


class ResumeError(UserError, ValueError):
    """The output folder holds something else than the beginning of this run."""


@dataclass(frozen=True)
class RunInfo:
    """What makes a run the run it is; two runs that agree in all of it give the same candidates.

    Attributes:
        version: of the program.
        seed: of the run.
        configuration: all settings, as JSON types.
        weights: hash of each file of weights or references by name.
    """

    version: str
    seed: int
    configuration: Mapping[str, Any]
    weights: Mapping[str, str] = field(default_factory=dict)


def faithful_cif(structure: Structure) -> tuple[str, Verdict]:
    """A CIF that reads back to the same structure, with as much symmetry as leaves its atoms where they are.

    Returns:
        The text, and a verdict: failed if all that symmetry had to be given up, or if nothing reads back.
    """
    seen = space_group(structure, SYMPRECS[0])
    for symprec in SYMPRECS:
        try:
            text = cif_text(structure, symprec)
        except SymmetryUndeterminedError:
            continue
        group = space_group(structure, symprec)
        moved = _moved(structure, text)
        if math.isnan(moved) or (group.number == 1 and seen.number != 1):
            continue
        return text, Verdict("cif", True, moved, "", f"symmetrised in {group.symbol} ({group.number})")
    text = cif_text(structure)
    reason = f"lists all atoms in P1: symmetrising it to {seen.symbol} ({seen.number}) would move them"
    if math.isnan(moved := _moved(structure, text)):
        reason = "does not read back to the same structure"
    return text, Verdict("cif", False, moved, "", reason)


def _moved(structure: Structure, text: str) -> float:
    back = read_cif(text)
    return math.nan if back is None else displacement(structure, back)


def faithful_sdf(candidate: Candidate) -> tuple[str, Verdict]:
    """An SDF with all hydrogens that reads back to the same molecule, its atoms where they are.

    Returns:
        The text, and a verdict: failed if the coordinates show another graph or hand than the template asks for.
    """
    template, positions = MoleculeTemplate(candidate.template), candidate.structure.cart_coords
    text = sdf_text(template, positions, candidate.name, _sdf_fields(candidate))
    back = read_sdf(text)
    moved = math.nan if back is None else farthest(template, positions, back)
    passed = moved <= ROUNDING
    reason = "reads back to the same graph and hands" if passed else f"does not read back as {template}"
    return text, Verdict("sdf", passed, moved, "Å", reason)


def _sdf_fields(candidate: Candidate) -> dict[str, str]:
    """What is known of a molecule, for whoever opens its file."""
    told = {"SMILES": candidate.template, "InChIKey": inchi_key(candidate.template)}
    for name, prediction in candidate.properties.items():
        told[name] = f"{prediction.value:.6g} +- {prediction.spread:.2g} {prediction.unit}"
    failed = [name for name, verdict in candidate.verdicts.items() if not verdict.passed]
    told["passed"] = "no" if failed else "yes"
    return told | {"failed": ", ".join(failed)} if failed else told


class CandidateWriter:
    """Writes the candidates of one run into a folder; opening the folder of an interrupted run resumes it.

        with CandidateWriter("out", RunInfo(...)) as writer:
            for candidate in ...:
                if candidate.name not in writer.finished:
                    writer.write(candidate)

    Args:
        folder: made if it is not there.
        run: what the run is; an existing folder must agree in it.
        kind: what its candidates are.
        overwrite: start anew where the folder holds another run.
    """

    def __init__(
        self, folder: str | Path, run: RunInfo, *, kind: KindName = "crystal", overwrite: bool = False
    ) -> None:
        self.folder = Path(folder)
        self.kind = kind
        self.candidates: list[Candidate] = []
        self._run = run
        self._overwrite = overwrite
        self._report: dict[str, Any] = {}
        self._columns: list[str] = []

    @property
    def finished(self) -> frozenset[str]:
        """Names of the candidates on disk."""
        return frozenset(candidate.name for candidate in self.candidates)

    def __enter__(self) -> Self:
        with writing(self.folder):
            if self._overwrite:
                self._clear()
            self._form.folder(self.folder).mkdir(parents=True, exist_ok=True)
            earlier = self._earlier_report()
            self.candidates = self._earlier_candidates()
            self._rebuild()
            self._report = {
                "status": "running",
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                **identity(self._run),
                "candidates": len(self.candidates),
                "stages": earlier.get("stages", []),
            }
            self._write_report()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._report["status"] = "finished"
        else:
            self._report["status"] = "interrupted" if kind is KeyboardInterrupt else f"failed: {kind.__name__}"
        with writing(self.folder):
            self._write_report()

    def write(self, candidate: Candidate) -> Candidate:
        """Put one candidate on disk, in all formats.

        Returns:
            The candidate with the verdict "cif" or "sdf" on its own file.

        Raises:
            ValueError: its name is taken, or can be no file name, or it is of another kind.
            OutputError: the disk is full, or the folder has gone.
        """
        if not NAME.fullmatch(candidate.name):
            raise ValueError(f"expected a name of letters, digits and ._()+-, got {candidate.name!r}")
        if candidate.name in self.finished:
            raise ValueError(f"candidate {candidate.name} is already in {self.folder}; names must differ")
        if candidate.kind != self.kind:
            raise ValueError(
                f"expected a {self.kind}, got the {candidate.kind} {candidate.name}; use a folder for each"
            )
        text, verdict = self._form.text(candidate)
        candidate = replace(candidate, verdicts={**candidate.verdicts, self._form.suffix: verdict})
        with writing(self.folder):
            replace_file(self._form.folder(self.folder) / f"{candidate.name}.{self._form.suffix}", text)
            append(self._path("jsonl"), _line(candidate))
            self.candidates.append(candidate)
            self._append_tables(candidate)
            self._report["candidates"] = len(self.candidates)
        return candidate

    def stage(self, name: str, seconds: float, **counts: int) -> None:
        """Note in run.json that a stage ended: its wall time and what it counted, such as requested=10, kept=7."""
        self._report["stages"].append({"name": name, "seconds": round(seconds, 3), "counts": counts})
        with writing(self.folder):
            self._write_report()

    def revise(self, candidates: Sequence[Candidate]) -> None:
        """Put what became known of the candidates later, such as their family, in all tables.

        Raises:
            ValueError: they are not those on disk, in the same order.
            OutputError: the disk is full, or the folder has gone.
        """
        if [one.name for one in candidates] != [one.name for one in self.candidates]:
            raise ValueError(f"expected the candidates of {self.folder} in their order, got others")
        if list(candidates) != self.candidates:
            self._put(candidates)

    def arrange(self, key: Callable[[Candidate], int]) -> None:
        """Sort the candidates in all tables; of equal ones the order stays.

        Raises:
            OutputError: the disk is full, or the folder has gone.
        """
        self._put(sorted(self.candidates, key=key))

    def _put(self, candidates: Sequence[Candidate]) -> None:
        with writing(self.folder):
            replace_file(self._path("jsonl"), "".join(map(_line, candidates)))
            self.candidates[:] = candidates
            self._rebuild()

    def note(self, name: str, value: Any) -> None:
        """Note something about the run as a whole in run.json, as JSON types."""
        self._report[name] = value
        with writing(self.folder):
            self._write_report()

    @property
    def _form(self) -> "Form":
        return FORMS[self.kind]

    def _path(self, kind: str) -> Path:
        return self.folder / f"candidates.{kind}"

    def _write_report(self) -> None:
        replace_file(self.folder / "run.json", json.dumps(self._report, indent=2) + "\n")

    def _clear(self) -> None:
        """Remove what a run has left, and nothing from a folder where none has been."""
        if not (self.folder / "run.json").exists():
            return
        for path in (self.folder / "run.json", *map(self._path, ("jsonl", "csv", "extxyz"))):
            path.unlink(missing_ok=True)
        for form in FORMS.values():
            for path in form.folder(self.folder).glob(f"*.{form.suffix}"):
                path.unlink()

    def _earlier_report(self) -> dict[str, Any]:
        report = earlier_report(self.folder, self._run)
        if not report and self._path("jsonl").exists():
            raise ResumeError(f"{self.folder} holds candidates but no run.json to resume from; {ADVICE}")
        return report

    def _earlier_candidates(self) -> list[Candidate]:
        """Candidates on disk; a last line that an interrupt cut short is dropped."""
        if not self._path("jsonl").exists():
            return []
        try:
            whole, newline, _ = self._path("jsonl").read_text(encoding="utf-8").rpartition("\n")
            replace_file(self._path("jsonl"), whole + newline)
            found = [from_record(json.loads(line)) for line in whole.splitlines()]
        except (KeyError, TypeError, ValueError) as error:
            raise ResumeError(f"{self._path('jsonl')} is damaged ({error}); overwrite the folder") from error
        if other := next((candidate for candidate in found if candidate.kind != self.kind), None):
            raise ResumeError(f"{self.folder} holds {other.kind}s where {self.kind}s are to be written; {ADVICE}")
        return found

    def _rebuild(self) -> None:
        """Write the tables anew from the candidates."""
        self._columns = list(dict.fromkeys(column for c in self.candidates for column in _row(c)))
        replace_file(self._path("csv"), _csv(self._columns, self.candidates, header=True))
        replace_file(self._path("extxyz"), "".join(map(_extxyz, self.candidates)))

    def _append_tables(self, candidate: Candidate) -> None:
        if set(_row(candidate)) <= set(self._columns):
            append(self._path("csv"), _csv(self._columns, [candidate], header=False))
            append(self._path("extxyz"), _extxyz(candidate))
        else:
            self._rebuild()


def earlier_report(folder: Path, run: RunInfo) -> dict[str, Any]:
    """What `run.json` tells of an earlier call of the same run; nothing where there is none.

    Raises:
        ResumeError: it tells of another run, or is no such report.
    """
    path = folder / "run.json"
    if not path.exists():
        return {}
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        found = {name: report[name] for name in identity(run)}
    except (KeyError, TypeError, ValueError) as error:
        raise ResumeError(f"{path} is not a report of a run; {ADVICE}") from error
    different = [name for name, value in identity(run).items() if found[name] != value]
    if different:
        raise ResumeError(f"{folder} holds another run: {_differences(found, run, different)}; {ADVICE}")
    return report


def identity(run: RunInfo) -> dict[str, Any]:
    """What two runs must share to be the same, as it comes back from JSON."""
    whole = {
        "version": run.version,
        "seed": run.seed,
        "weights": dict(run.weights),
        "configuration": dict(run.configuration),
    }
    return json.loads(json.dumps(whole))


def _differences(found: Mapping[str, Any], run: RunInfo, names: list[str]) -> str:
    """In words, what an earlier run had and this one has."""
    wanted = identity(run)
    told = []
    for name in names:
        if isinstance(wanted[name], dict) and isinstance(found[name], dict):
            keys = sorted({*wanted[name], *found[name]})
            pairs = [(key, found[name].get(key), wanted[name].get(key)) for key in keys]
        else:
            pairs = [(name, found[name], wanted[name])]
        told += [f"{key} was {old!r} and is now {new!r}" for key, old, new in pairs if old != new]
    return ", ".join(told)


def _line(candidate: Candidate) -> str:
    return json.dumps(to_record(candidate), allow_nan=False) + "\n"


def _row(candidate: Candidate) -> dict[str, Any]:
    """A candidate as one line of the table."""
    row: dict[str, Any] = {
        "name": candidate.name,
        "formula": formula(candidate),
        **FORMS[candidate.kind].identity(candidate),
        "passed": all(verdict.passed for verdict in candidate.verdicts.values()),
        "energy": sum(candidate.energies.values()),
    }
    row |= {f"energy_{name}": value for name, value in candidate.energies.items()}
    for name, prediction in candidate.properties.items():
        row |= {name: prediction.value} if name in CALCULATED else prediction_columns(name, prediction)
    if candidate.relaxation is not None:
        row |= {"eV_per_atom": candidate.relaxation.energy, "relaxation_steps": candidate.relaxation.steps}
    return row | {f"check_{name}": "pass" if v.passed else "fail" for name, v in candidate.verdicts.items()}


def prediction_columns(name: str, prediction: Prediction | None) -> dict[str, float | None]:
    """A prediction as columns of a table: value and spread, both parts of the spread, and P(the wish is met)."""
    if prediction is None:
        numbers: list[float | None] = [None] * 5
    else:
        parts = (prediction.spread, prediction.aleatoric, prediction.epistemic, prediction.probability)
        numbers = [prediction.value, *(number if math.isfinite(number) else None for number in parts)]
    names = (name, f"{name}_spread", f"{name}_aleatoric", f"{name}_epistemic", f"{name}_probability")
    return dict(zip(names, numbers, strict=True))


def _csv(columns: list[str], candidates: list[Candidate], *, header: bool) -> str:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, lineterminator="\n")
    if header and columns:
        table.writeheader()
    table.writerows(_row(candidate) for candidate in candidates)
    return text.getvalue()


def _extxyz(candidate: Candidate) -> str:
    """One frame; the columns of the table in its comment line."""
    frame = FORMS[candidate.kind].frame(candidate)
    for name, value in _row(candidate).items():
        if value is None:  # which would read back as True
            continue
        escaped = value.replace("\\", "\\\\") if isinstance(value, str) else value  # a SMILES says F/C=C\\F
        frame.info["energy_total" if name == "energy" else name] = escaped
    text = io.StringIO()
    ase.io.write(text, frame, format="extxyz")
    return text.getvalue()


# ---------------------------------------------------------------- what differs between crystals and molecules


@dataclass(frozen=True)
class Form:
    """How candidates of one kind are written.

    Attributes:
        suffix: of the file of each candidate; name of the folder of these files, and of the verdict on them.
        text: of that file, and the verdict.
        identity: columns of the table that say which material it is.
        frame: its atoms, for extxyz.
    """

    suffix: str
    text: Callable[[Candidate], tuple[str, Verdict]]
    identity: Callable[[Candidate], dict[str, Any]]
    frame: Callable[[Candidate], Atoms]

    def folder(self, run: Path) -> Path:
        """Where the files of the candidates are, within the folder of a run."""
        return run / self.suffix


def _crystal_columns(candidate: Candidate) -> dict[str, Any]:
    group = candidate.space_group
    return {
        "n_atoms": len(candidate.structure),
        "space_group": group and group.number,
        "space_group_symbol": group and group.symbol,
        "template": candidate.template,
        **({"family": candidate.family} if candidate.family else {}),
    }


def _crystal_frame(candidate: Candidate) -> Atoms:
    crystal = candidate.crystal
    return Atoms(list(crystal.atomic_numbers), crystal.cart_coords, cell=crystal.lattice.matrix, pbc=True)


def _molecule_columns(candidate: Candidate) -> dict[str, Any]:
    return {
        "smiles": candidate.template,
        "inchikey": inchi_key(candidate.template),
        "n_atoms": len(candidate.structure),
    }


def _molecule_frame(candidate: Candidate) -> Atoms:
    molecule = candidate.structure
    return Atoms(list(molecule.atomic_numbers), molecule.cart_coords, info={"charge": int(molecule.charge)})


FORMS: dict[KindName, Form] = {
    "crystal": Form("cif", lambda one: faithful_cif(one.crystal), _crystal_columns, _crystal_frame),
    "molecule": Form("sdf", faithful_sdf, _molecule_columns, _molecule_frame),
}
