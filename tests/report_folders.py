"""Folders of runs for the tests of the report: known crystals, written by the writers of the package."""

import json
from dataclasses import replace
from pathlib import Path

from conftest import TEXTBOOK
from pymatgen.core import Structure
from test_molecule_checks import built

from matgen import __version__
from matgen.hull.hull import ReferenceHull
from matgen.runtime.json_lines import append_json_lines
from matgen.screening.files import Journal
from matgen.screening.row import Row
from matgen.search.unit_format import rejected_record
from matgen.structures.candidate import Candidate, Prediction, Relaxation, Verdict
from matgen.structures.export import CandidateWriter
from matgen.structures.run_report import RunInfo
from matgen.structures.symmetry import space_group

CONFIGURATION = {"kind": "crystal", "targets": {"band_gap": "1.5"}, "search": {"n": 3, "seed": 0}}
SCREENING = {"screen": ["files"], "properties": {"band_gap": ">3"}, "kind": "crystal", "reference": "shipped"}
POTENTIAL = ReferenceHull.load().potential


def crystal(file: str) -> Structure:
    """A textbook structure, primitive."""
    return Structure.from_file(TEXTBOOK / file).get_primitive_structure()


def candidate(file: str, name: str = "", *, gap: float = 1.4, energy: float = -4.0) -> Candidate:
    """A textbook structure as a candidate, with an energy by the potential of the hull, eV/atom."""
    structure = crystal(file)
    relaxed = Relaxation(True, "converged", 3, energy, energy + 0.1, 0.01, 0.001, 0.1, POTENTIAL)
    verdicts = {
        "target_band_gap": Verdict("target_band_gap", abs(gap - 1.5) < 0.25, gap, "eV", f"{gap} eV"),
        "novel": Verdict("novel", True, float("inf"), "", "no known crystal"),
        "hull": Verdict("hull", True, 0.01, "eV/atom", f"0.010 eV/atom above rivals ({POTENTIAL})"),
    }
    return Candidate(
        name or file.removesuffix(".cif"),
        structure,
        structure,
        space_group(structure),
        energies={"template_prior": 5.0, "graph": -1.25, "mine": 0.5},
        properties={
            "band_gap": Prediction(gap, 0.5, "eV", 0.3, 0.6),
            "evaluator_band_gap": Prediction(gap + 0.1, 0.4, "eV", 0.1, 0.5),
        },
        verdicts=verdicts,
        relaxation=relaxed,
    )


def design_folder(folder: Path, files: tuple[str, ...], rejected: tuple[tuple[str, str], ...] = ()) -> Path:
    """Write the folder of a design with these candidates, and rejected proposals as (file, check)."""
    with CandidateWriter(folder, RunInfo(__version__, 0, CONFIGURATION, {})) as writer:
        for file in files:
            writer.write(candidate(file))
    records = [
        rejected_record(
            replace(candidate(file, f"r{i}"), relaxation=None if early(check) else candidate(file).relaxation), check
        )
        for i, (file, check) in enumerate(rejected)
    ]
    if records:
        append_json_lines(folder / "rejected.jsonl", records)
    return folder


def molecule_folder(folder: Path, smiles: tuple[str, ...]) -> Path:
    """Write the folder of a design of molecules, named m0, m1 and so on."""
    configuration = {"kind": "molecule", "targets": {"gap": "5"}, "search": {"n": len(smiles), "seed": 0}}
    with CandidateWriter(folder, RunInfo(__version__, 0, configuration, {}), kind="molecule") as writer:
        for i, one in enumerate(smiles):
            writer.write(replace(built(one), name=f"m{i}"))
    return folder


def early(check: str) -> bool:
    """Whether a check is made before relaxation."""
    return check in {"target_band_gap", "charge_balance"}


def screen_folder(folder: Path, rows: list[Row]) -> Path:
    """Write the folder of a screening that has not made its ranking yet."""
    with Journal(folder, RunInfo(__version__, 0, SCREENING, {})) as journal:
        journal.write(rows)
    return folder


def with_report(folder: Path, **changes: object) -> None:
    """Change entries of run.json."""
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
