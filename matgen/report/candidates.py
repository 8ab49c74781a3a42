"""One candidate, or one screened structure, as plain data of the report."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matgen.hull.hull import ReferenceHull, UnknownChemistryError
from matgen.report.attached import attached
from matgen.report.decomposition import decomposition
from matgen.report.map import place_of, within_training
from matgen.report.predictions import prediction_record
from matgen.report.remembered import conventional_of, key_of, nearest_molecule_of, nearest_of, powder_of
from matgen.report.structures import crystal_drawing, lattice, molecule_drawing, own_file, p1_cif
from matgen.report.walk import walk
from matgen.report.words import check_label, energy_label, energy_meaning
from matgen.runtime.failures import guarded
from matgen.screening.second_opinion import SECOND_OPINION
from matgen.structures.candidate import Candidate, Verdict
from matgen.structures.record import formula
from matgen.targets.target import Target

Part = Callable[[], Any]

TOO_LARGE = "The conventional cell has too many atoms for a quick pattern; pymatgen's XRDCalculator makes it."
NO_STOICHIOMETRY = "No known crystal has this stoichiometry."
NO_PHASES = "An element has no phase in the hull of this potential."
NOT_EMBEDDED = "There is no place on the map: elements or size are far from those that the network was trained on."
WHY_NONE = {
    "crystal": {"powder": TOO_LARGE, "nearest": NO_STOICHIOMETRY, "decomposition": NO_PHASES},
    "molecule": {"map": NOT_EMBEDDED},
}
"""Why a part has no result although nothing failed."""


@dataclass(frozen=True)
class Setting:
    """What all candidates of a report share.

    Attributes:
        folder: of the run.
        kind: of the candidates.
        targets: of the run.
        hull: of known phases; None where there is none.
        second: the potential of the second opinion, as it was asked for; empty where none was.
        more: further fields of a candidate by its name, such as those from first principles.
    """

    folder: Path
    kind: str
    targets: tuple[Target, ...] = ()
    hull: ReferenceHull | None = None
    second: str = ""
    more: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def candidate_record(candidate: Candidate, rank: int, setting: Setting, *, accepted: bool = True) -> dict[str, Any]:
    """Return a candidate as plain data; what cannot be computed of it is named in `missing`, with the reason.

    Args:
        candidate: or screened structure.
        rank: from 1, best first.
        setting: of the report.
        accepted: whether no deciding check fails.
    """
    record = {
        "id": candidate.name,
        "name": candidate.name,
        "formula": formula(candidate),
        "rank": rank,
        "accepted": accepted,
        "n_atoms": len(candidate.structure),
        "energy_terms": energy_terms(candidate),
        "energy_total": sum(candidate.energies.values()) if candidate.energies else None,
        "predictions": [
            prediction_record(name, one, setting.targets, candidate.kind) for name, one in candidate.properties.items()
        ],
        "verdicts": [verdict_record(one) for one in candidate.verdicts.values()],
        **_identity(candidate),
        "missing": {},
    }
    file = own_file(candidate, setting.folder)
    if file is not None:
        record["file"] = f"{file.parent.name}/{file.name}"
    parts = _of_crystal(candidate, setting, file) if candidate.kind == "crystal" else _of_molecule(candidate, file)
    for name, part in parts.items():
        found, reason = guarded(lambda make: (make(), ""), part, lambda _, why: (None, f"Could not be computed: {why}"))
        if found is not None:
            record[name] = found
        else:
            record["missing"][name] = reason or WHY_NONE[candidate.kind].get(name, "There is none.")
    if (path := walk(setting.folder, candidate.name)) is not None:
        record["walk"] = path
    if (opinion := second_opinion(candidate, setting.second)) is not None:
        record["second_opinion"] = opinion
    beside = attached(setting.folder, candidate.name)
    record["missing"] |= beside.pop("missing", {})
    return record | beside | dict(setting.more.get(candidate.name, {}))


def energy_terms(candidate: Candidate) -> list[dict[str, Any]]:
    """Return the weighted terms of the energy, dimensionless, with what they mean."""
    kind = candidate.kind
    return [
        {"name": name, "label": energy_label(name), "value": value, "meaning": energy_meaning(name, kind)}
        for name, value in candidate.energies.items()
    ]


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain data; `passed` is null where nothing was assessed."""
    return {
        "name": verdict.name,
        "label": check_label(verdict.name),
        "passed": verdict.passed if verdict.assessed else None,
        "value": verdict.value,
        "unit": verdict.unit,
        "reason": verdict.reason,
    }


def second_opinion(candidate: Candidate, potential: str = "") -> dict[str, Any] | None:
    """Return what a second potential, of this name, says of the stability; None where none was asked."""
    verdict = candidate.verdicts.get(SECOND_OPINION)
    if verdict is None:
        return None
    return {
        "potential": potential or "a second potential",
        "e_above_hull": verdict.value,
        "passed": verdict.passed if verdict.assessed else None,
        "text": verdict.reason,
    }


def hull_height(candidate: Candidate) -> float | None:
    """Return the energy above the hull, eV/atom, that its verdict records; None if there is none."""
    verdict = candidate.verdicts.get("hull")
    return verdict.value if verdict is not None and math.isfinite(verdict.value) else None


def energy_above(candidate: Candidate, hull: ReferenceHull) -> float | None:
    """Return the energy above a hull, eV/atom, of what its potential relaxed without pressure; None for others."""
    report = candidate.relaxation
    if report is None or report.potential != hull.potential or report.pressure or not math.isfinite(report.energy):
        return None
    try:
        return hull.above_hull_of(candidate.crystal, report.energy, report.potential).above_hull
    except UnknownChemistryError:
        return None


def _identity(candidate: Candidate) -> dict[str, Any]:
    """Return what else a record says of a candidate, where it says something."""
    found: dict[str, Any] = {}
    if candidate.template:
        found["template" if candidate.kind == "crystal" else "smiles"] = candidate.template
    if candidate.family not in {"", candidate.name}:
        found["family"] = candidate.family
    if candidate.nearest_example is not None:
        found["nearest_example"] = asdict(candidate.nearest_example)
    if candidate.relaxation is not None:
        found["relaxation"] = asdict(candidate.relaxation)
    if candidate.space_group is not None:
        found["spacegroup"] = asdict(candidate.space_group)
    return found


def _of_crystal(candidate: Candidate, setting: Setting, file: Path | None) -> dict[str, Part]:
    """Return what is computed of a crystal, each part on its own, so that one that fails leaves the others."""
    key = key_of(candidate.crystal)
    group = candidate.space_group.number if candidate.space_group else 1

    def drawing() -> dict[str, Any]:
        cell = conventional_of(key)
        return crystal_drawing(cell, _text(file) or p1_cif(cell, candidate.name))

    parts: dict[str, Part] = {
        "structure": drawing,
        "lattice": lambda: lattice(conventional_of(key)),
        "powder": lambda: powder_of(key),
        "nearest": lambda: nearest_of(key, group),
        "map": lambda: place_of("crystal", key),
    }
    hull = setting.hull
    if hull is not None:
        height = hull_height(candidate)
        height = energy_above(candidate, hull) if height is None else height
        parts["decomposition"] = lambda: decomposition(candidate.crystal.composition, height, hull)
    return parts


def _of_molecule(candidate: Candidate, file: Path | None) -> dict[str, Part]:
    smiles = candidate.template
    return {
        "structure": lambda: molecule_drawing(candidate, _text(file)),
        "nearest": lambda: nearest_molecule_of(smiles),
        "map": lambda: place_of("molecule", smiles) if within_training(smiles) else None,
    }


def _text(file: Path | None) -> str | None:
    return None if file is None else file.read_text(encoding="utf-8", errors="replace")
