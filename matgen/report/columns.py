"""The columns of the table of candidates, and what stands in them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matgen.generation.predictors import EVALUATOR
from matgen.report.candidates import hull_height
from matgen.report.words import described, property_label
from matgen.structures.candidate import Candidate
from matgen.structures.candidate_table import CALCULATED, OF_LATTICE, CheckColumn
from matgen.structures.record import formula
from matgen.targets.properties import COMPUTED_PROPERTIES
from matgen.targets.target import Target

SHOWN_WITHOUT_TARGET = {"crystal": "band_gap", "molecule": "gap"}
"""The property that has a column where no target names one."""


def column(
    key: str, label: str, *, unit: str = "", digits: int = 2, about: str = "", numeric: bool = True
) -> dict[str, Any]:
    """Return the description of a column."""
    return {"key": key, "label": label, "unit": unit, "digits": digits, "numeric": numeric, "help": about}


def columns(
    candidates: Iterable[Candidate], targets: Sequence[Target], kind: str, also: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the columns that these candidates fill, in order.

    Args:
        candidates: of the run.
        targets: that candidates have to meet.
        kind: of the materials.
        also: names of properties that were asked for, but have not to be met.
    """
    some = list(candidates)
    present = {name for one in some for name in one.properties}
    names = list(dict.fromkeys([*(target.name for target in targets), *also])) or [SHOWN_WITHOUT_TARGET[kind]]
    found = [column("formula", "Formula", numeric=False)]
    found += [column("spacegroup", "Space group", about="Hermann-Mauguin symbol", numeric=False)] * (kind == "crystal")
    found += [column("smiles", "SMILES", numeric=False)] * (kind == "molecule")
    found.append(column("n_atoms", "Atoms", digits=0, about="in the primitive cell" if kind == "crystal" else ""))
    for name in names:
        found += _of_property(name, kind, present, {t.name: t for t in targets}.get(name))
    found += [_calculated(name, some) for name in CALCULATED if name in present]
    found += [
        _of_check(key, of, some) for key, of in OF_LATTICE.items() if any(of.check in one.verdicts for one in some)
    ]
    if any(hull_height(one) is not None for one in some):
        about = "energy above the hull of known phases, by the potential that relaxed; negative is below it"
        found.append(column("e_above_hull", "Above hull", unit="eV/atom", digits=3, about=about))
    if any("strain" in one.verdicts for one in some):
        found.append(column("strain", "Strain", unit=_unit(some, "strain"), digits=3, about="released by relaxation"))
    if any(one.energies for one in some):
        found.append(column("energy", "Energy", digits=2, about="sum of all weighted terms; lower is better"))
    found.append(column("failed", "Checks not passed", about="names of checks", numeric=False))
    return found


def values(candidate: Candidate) -> dict[str, Any]:
    """Return what stands in the columns for a candidate, and in others that a page may offer."""
    found: dict[str, Any] = {"formula": formula(candidate), "n_atoms": len(candidate.structure)}
    if candidate.space_group is not None:
        found["spacegroup"] = candidate.space_group.symbol
    if candidate.kind == "molecule":
        found["smiles"] = candidate.template
    for name, prediction in candidate.properties.items():
        found[name] = prediction.value
        if math.isfinite(prediction.probability):
            found[f"{name}_probability"] = prediction.probability
    if (height := hull_height(candidate)) is not None:
        found["e_above_hull"] = height
    checks = {key: of.check for key, of in OF_LATTICE.items() if of.check in candidate.verdicts}
    found |= {key: candidate.verdicts[check].value for key, check in checks.items()}
    if "strain" in candidate.verdicts:
        found["strain"] = candidate.verdicts["strain"].value
    if candidate.energies:
        found["energy"] = sum(candidate.energies.values())
    found["failed"] = ", ".join(name for name, verdict in candidate.verdicts.items() if not verdict.passed)
    return found


def _of_property(name: str, kind: str, present: set[str], target: Target | None) -> list[dict[str, Any]]:
    """Return the columns of a property: prediction, probability, and that of the evaluator."""
    if name not in present:
        return []
    unit = target.asked.unit if target else described(name, kind).unit
    digits = 3 if unit == "eV/atom" else 2
    label = property_label(name)
    note = described(name, kind).note
    found = [column(name, label, unit=unit, digits=digits, about=note)]
    if name in COMPUTED_PROPERTIES:
        return found
    if target is not None:
        about = "probability that the target is met, by the whole predicted distribution"
        found.append(column(f"{name}_probability", "P(target)", digits=2, about=about))
    if f"{EVALUATOR}{name}" in present:
        about = "by the evaluator, which steers nothing"
        found.append(column(f"{EVALUATOR}{name}", f"{label}, evaluator", unit=unit, digits=digits, about=about))
    return found


def _of_check(key: str, of: CheckColumn, candidates: Sequence[Candidate]) -> dict[str, Any]:
    return column(key, of.label, unit=_unit(candidates, of.check), about=of.meaning)


def _calculated(name: str, candidates: Sequence[Candidate]) -> dict[str, Any]:
    unit = next(one.properties[name].unit for one in candidates if name in one.properties)
    return column(name, property_label(name), unit=unit, about="calculated, not predicted")


def _unit(candidates: Sequence[Candidate], check: str) -> str:
    return next((one.verdicts[check].unit for one in candidates if check in one.verdicts), "")
