"""Predicted against true structures: match rate, METRe, and the distance to a relaxed structure."""

import math
from collections import defaultdict
from collections.abc import Sequence

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure

from matgen.metrics.estimate import Bootstrap, Estimate, average, share
from matgen.runtime.failures import guarded

LTOL, STOL, ANGLE_TOL = 0.3, 0.5, 10.0
MATCHER = StructureMatcher(ltol=LTOL, stol=STOL, angle_tol=ANGLE_TOL)
"""Usual tolerances of crystal structure prediction on MP-20."""

HOW = f"StructureMatcher ltol {LTOL:g}, stol {STOL:g}, {ANGLE_TOL:g}°"


def rms_distance(first: Structure, second: Structure) -> float:
    """Return the RMS distance over (volume per atom)^(1/3), volumes rescaled to their mean; NaN without a match.

    Two structures whose comparison raises an exception do not match.
    """
    if first.composition.reduced_formula != second.composition.reduced_formula:
        return math.nan
    found = guarded(lambda pair: MATCHER.get_rms_dist(*pair), (first, second), lambda _, __: None)
    return math.nan if found is None else float(found[0])


def rmsd_to_relaxed(before: Structure, after: Structure) -> tuple[float, float]:
    """Return the RMS displacement of a relaxation in Å, and over (volume per atom)^(1/3); NaN without a match.

    A change of the cell at fixed fractional coordinates does not count, as in MatterGen.
    """
    distance = rms_distance(before, after)
    length = (0.5 * (before.volume / len(before) + after.volume / len(after))) ** (1 / 3)
    return distance * length, distance


def match_rate(
    predicted: Sequence[Structure | None],
    truth: Sequence[Structure],
    valid: Sequence[bool] | None = None,
    bootstrap: Bootstrap | None = None,
) -> tuple[Estimate, Estimate]:
    """Return the share of true structures that are matched by their own prediction.

    Args:
        predicted: in the order of `truth`; None for a missing or unreadable one, which is a failure.
        truth: true structures.
        valid: flags of predictions that may match; CDVAE, DiffCSP and FlowMM require validity by CDVAE's rules.
        bootstrap: of the intervals.

    Returns:
        The rate, and the mean normalised distance of the matches.
    """
    allowed = valid or [True] * len(truth)
    found = [
        rms_distance(guess, true) if guess is not None and fit else math.nan
        for guess, true, fit in zip(predicted, truth, allowed, strict=True)
    ]
    label = "match rate" if valid is None else "match rate, valid ones only"
    how = HOW if valid is None else f"{HOW}; a prediction that is invalid by CDVAE's rules matches nothing"
    return (
        share(label, [math.isfinite(d) for d in found], None, bootstrap, how),
        average(f"{label}: RMSE", found, None, bootstrap, "(V/N)^(1/3)", f"{HOW}; mean over matches"),
    )


def match_everyone(
    generated: Sequence[Structure | None], truth: Sequence[Structure], bootstrap: Bootstrap | None = None
) -> tuple[Estimate, Estimate]:
    """Return METRe, "match everyone to reference": the share of true structures matched by any generated one.

    Martirossyan et al., "All that structure matches does not glitter", arXiv:2509.12178, 2025. Unlike the match rate it
    does not depend on the polymorph that a prediction was made for. The corrected distance (cRMSE) is that of the best
    match of each true structure, and the site tolerance, 0.5, where there is none.

    Args:
        generated: in any order; None for an unreadable one.
        truth: true structures.
        bootstrap: of the intervals.

    Returns:
        The rate, and the corrected distance over all true structures.
    """
    by_formula: defaultdict[str, list[Structure]] = defaultdict(list)
    for structure in generated:
        if structure is not None:
            by_formula[structure.composition.reduced_formula].append(structure)
    best = []
    for true in truth:
        found = (rms_distance(guess, true) for guess in by_formula[true.composition.reduced_formula])
        best.append(min((d for d in found if math.isfinite(d)), default=math.nan))
    corrected = [STOL if math.isnan(distance) else distance for distance in best]
    return (
        share("METRe", [math.isfinite(d) for d in best], None, bootstrap, f"{HOW}; any generated structure"),
        average("METRe: cRMSE", corrected, None, bootstrap, "(V/N)^(1/3)", f"{HOW}; {STOL:g} where nothing matches"),
    )
