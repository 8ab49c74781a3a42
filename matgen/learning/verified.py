"""Gaps from results of `matgen verify`."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pymatgen.core.structure import Structure

from matgen.first_principles import gpaw
from matgen.first_principles.gpaw import FirstPrinciples, FirstPrinciplesConfig
from matgen.first_principles.gpaw_interpreter import Interpreter
from matgen.first_principles.gpaw_worker import hubbard_u
from matgen.first_principles.subjects import RESULTS, subjects
from matgen.learning.rows import PBE, LabelError, Row, failed_row
from matgen.learning.tables import TABLES
from matgen.runtime.json_lines import read_json_lines
from matgen.structures.candidate import Material
from matgen.structures.record import material_of
from matgen.structures.run_folder import CANDIDATES


def result_files(path: Path) -> list[Path]:
    """Return the files of results that a path stands for: those in a folder, or the file itself."""
    if path.is_dir():
        return sorted(path.rglob(f"{RESULTS}.jsonl"))
    return [path] if path.suffix == ".jsonl" and _is_result(path) else []


def _is_result(path: Path) -> bool:
    with path.open(encoding="utf-8") as stream:
        try:
            first = json.loads(stream.readline())
        except ValueError:
            return False
    return isinstance(first, dict) and {"key", "converged"} <= set(first)


def verified_rows(files: Sequence[Path], paths: Sequence[Path]) -> Iterator[Row]:
    """Yield results with their crystals: those stored with them, or else those of the paths with the same key."""
    lines = [(file, line) for file in files for line in _records(file)]
    without = [line for _, line in lines if "structure" not in line]
    homes = list(dict.fromkeys([*(file.parent for file in files), *paths])) if without else []
    known = _by_key(without, [path for path in homes if path.is_dir() or path.suffix.lower() not in TABLES])
    for file, line in lines:
        name = f"{file.parent.name}/{line.get('name', '')}"
        if "rmsd" in line:
            yield failed_row(name, "a molecule: matgen learn learns the gaps of crystals")
            continue
        result = gpaw.from_record(line)
        crystal = material_of(line["structure"]) if "structure" in line else known.get(line["key"])
        if not result.converged:
            yield failed_row(name, f"not calculated: {result.reason}")
        elif not isinstance(crystal, Structure):
            yield failed_row(name, "its crystal is in none of the paths: name the files that were verified too")
        else:
            yield Row(name, crystal, _another_functional(result, crystal), result.gap, _method(result))


def _records(file: Path) -> list[dict[str, Any]]:
    """Return the last line of each key, without a line that an interrupt cut short."""
    whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
    try:
        lines = {line["key"]: line for line in map(json.loads, whole.splitlines())}
        for line in lines.values():
            if "rmsd" not in line:
                gpaw.from_record(line)
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(f"{file} is damaged ({error}); verify again, into another --out") from error
    return list(lines.values())


def _by_key(lines: Iterable[Mapping[str, Any]], homes: Sequence[Path]) -> dict[str, Structure]:
    """Return the crystals of the paths by their keys, for each set of settings among the results."""
    kinds = {json.dumps(_settings(line), sort_keys=True): line for line in lines if line["settings"]}
    if not kinds:
        return {}
    runs = {file.parent for home in homes if home.is_dir() for file in home.rglob(CANDIDATES)}
    entries = [structure for run in runs for structure in _candidates(run).values()]
    others = [home for home in homes if not home.is_dir() or not any(run.is_relative_to(home) for run in runs)]
    entries += [one.structure for one in subjects(others) if isinstance(one.structure, Structure)] if others else []
    keyed: dict[str, Structure] = {}
    for line in kinds.values():
        config, interpreter = _settings(line), Interpreter("", str(line["settings"].get("gpaw")), "")
        keyed |= {gpaw.key(s, FirstPrinciplesConfig(**config), interpreter): s for s in entries}
    return keyed


def _candidates(folder: Path) -> dict[str, Structure]:
    """Return the crystals of a design by name; other fields may be of any version."""
    path = folder / CANDIDATES
    advice = "name the CIFs of its candidates instead"
    found = dict(read_json_lines(path, _named_material, error=LabelError, advice=advice))
    return {name: one for name, one in found.items() if isinstance(one, Structure)}


def _named_material(record: Mapping[str, Any]) -> tuple[str, Material]:
    return str(record["name"]), material_of(record["structure"])


def _settings(line: Mapping[str, Any]) -> dict[str, Any]:
    names = (f.name for f in fields(FirstPrinciplesConfig))
    return {name: line["settings"].get(name, 0.0) for name in names}  # 0 where the setting did not exist yet


def _method(result: FirstPrinciples) -> str:
    return f"GPAW {result.settings.get('gpaw', '')} {result.settings.get('xc', 'PBE')}".replace("  ", " ")


def _another_functional(result: FirstPrinciples, crystal: Structure) -> str:
    """Return why a result is not comparable with the training data; empty if it is."""
    functional = str(result.settings.get("xc", "PBE"))
    if functional.upper() not in PBE:
        return f"calculated with {functional}, expected PBE"
    shifts = hubbard_u([element.symbol for element in crystal.elements])
    if shifts and not result.settings.get("hubbard", True):
        return f"calculated without the Hubbard U of {', '.join(shifts)}, which the training gaps have"
    return ""
