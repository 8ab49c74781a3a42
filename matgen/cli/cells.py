"""Texts of table cells: predictions, whether they meet a target, stability and verdicts."""

import math
from collections.abc import Mapping, Sequence

from matgen.structures.candidate import Candidate, KindName, Prediction, Verdict
from matgen.targets.target import Target


def shown_properties(targets: Sequence[Target], kind: KindName) -> list[str]:
    """Return the names of the properties to show: those with a target, or the gap."""
    return [target.name for target in targets] or ["band_gap" if kind == "crystal" else "gap"]


def identity_text(candidate: Candidate, *, number: bool = False) -> str:
    """Return the space group of a crystal, or the SMILES of a molecule."""
    group = candidate.space_group
    if group is None:
        return candidate.template
    return f"{group.symbol} ({group.number})" if number else group.symbol


def prediction_text(prediction: Prediction | None) -> str:
    """Return median ± aleatoric spread (± epistemic spread, of an ensemble) and unit; an exact value without spread."""
    if prediction is None:
        return ""
    if not prediction.spread:
        return f"{prediction.value:.4g} {prediction.unit}"
    epistemic = f" ± {prediction.epistemic:.2f}" if prediction.epistemic else ""
    return f"{prediction.value:.2f} ± {prediction.aleatoric:.2f}{epistemic} {prediction.unit}"


def median_text(prediction: Prediction | None) -> str:
    """Return the median, for a column whose heading names the unit."""
    return "" if prediction is None else f"{prediction.value:.2f}"


def target_mark(target: Target | None, prediction: Prediction | None) -> str:
    """Return a sign for whether a target is met; empty without a target or a prediction."""
    if target is None or prediction is None:
        return ""
    return " ✓" if target.met(prediction.value) else " ✗"


def stability_text(candidate: Candidate) -> str:
    """Return the energy above the hull of a crystal, or the strain of a molecule, of a relaxed candidate."""
    if candidate.relaxation is None:
        return "not relaxed"
    if candidate.kind == "molecule":
        strain = candidate.verdicts.get("strain")
        return "" if strain is None else f"{strain.value:.3f} {strain.unit}"
    verdict = candidate.verdicts.get("hull")
    return f"{candidate.relaxation.energy:.3f} eV/atom" if verdict is None else f"{verdict.value:+.3f} {verdict.unit}"


def check_value_text(verdicts: Mapping[str, Verdict], name: str, digits: int) -> str:
    """Return the number that decided a check; a dash where there was none."""
    found = verdicts.get(name)
    return "–" if found is None or math.isnan(found.value) else rounded(found.value, digits)


def rounded(value: float, digits: int) -> str:
    """Format a number; adding zero removes the sign of a negative one that rounds to zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def verdicts_text(candidate: Candidate) -> str:
    """Return how many checks pass, and the names of those that fail."""
    failed = [name.replace("_", " ") for name, verdict in candidate.verdicts.items() if not verdict.passed]
    passed = len(candidate.verdicts) - len(failed)
    return f"{passed} pass" if not failed else f"{passed} pass; not: {', '.join(failed)}"
