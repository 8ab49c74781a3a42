"""Figures and tables on searches in the index of known crystals."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matgen.novelty.fingerprint import TOLERANCE
from shared.measurement import Measurement
from shared.page import percent, table

TOLERANCES = (0.015, 0.020, 0.025, 0.030, 0.040, 0.060)

SIZES = (0.01, 0.02, 0.03)

TIMED = 300


def shares(values: Sequence[float]) -> list[str]:
    """Return the share of values within each tolerance."""
    return [percent(sum(value <= tolerance for value in values), len(values)) for tolerance in TOLERANCES]


def within(values: Sequence[float]) -> tuple[int, int]:
    """Return the number of values within the default tolerance, and of all."""
    return sum(value <= TOLERANCE for value in values), len(values)


def _sentences(
    looked: Sequence[Mapping[str, Any]],
    moved: Sequence[Mapping[str, Any]],
    times: Mapping[str, float],
    run: Mapping[str, float],
) -> list[str]:
    """Return the figures that are not in the table, as sentences."""
    itself = sum(entry["itself"] for entry in looked)
    change = statistics.median(abs(entry["volume"]) for entry in moved)
    nearest = (
        f"The nearest entry was the perturbed crystal itself for {percent(itself, len(looked))} at 1 %, a twin of "
        f"it otherwise. {moved[0]['potential']} changed the volume of the relaxed ones by {100 * change:.1f} % in "
        "the median."
    )
    speed = (
        f"Processor time: fingerprint {times['fingerprint_ms']:.1f} ms and look-up {times['find_ms']:.2f} ms a "
        f"structure ({TIMED} of ≤ 20 atoms), loading the index {times['load_s']:.2f} s. Uniqueness among "
        f"{run['structures']} structures of one formula, half of them copies: {run['seconds']:.1f} s, by "
        f"`StructureMatcher` alone {run['matcher_seconds']:.1f} s; {run['disagree']} verdicts differ."
    )
    return [nearest, speed]


def report(
    measurement: Measurement,
    looked: Mapping[str, Sequence[Mapping[str, Any]]],
    pairs: Mapping[str, Sequence[Mapping[str, Any]]],
    moved: Sequence[Mapping[str, Any]],
    times: Mapping[str, float],
    run: Mapping[str, float],
) -> None:
    """Write the record, and fill the page."""
    one = f"perturbed {SIZES[0]:g}"
    labels = {f"perturbed {size:g}": f"perturbed by {100 * size:g} %, ≤ 20 atoms" for size in SIZES}
    labels["large"] = f"perturbed by {100 * SIZES[0]:g} %, 21–120 atoms"
    rows = [
        [f"recognised: {labels[name]} ({len(found)})", *shares([entry["nearest"] for entry in found])]
        for name, found in looked.items()
    ]
    hull = [entry["nearest"] for entry in moved if entry["on_hull"]]
    rows.append([f"recognised: relaxed by CHGNet ({len(moved)})", *shares([entry["nearest"] for entry in moved])])
    rows.append([f"of these, on MP's hull ({len(hull)})", *shares(hull)])
    figures: dict[str, Any] = {"times": dict(times), "run": dict(run)}
    for name, some in pairs.items():
        label = "random pairs" if name == "random" else "closest pairs"
        distinct = [pair["apart"] for pair in some if not pair["equal"]]
        sure = [pair["apart"] for pair in some if not (pair["equal"] or pair["twins"])]
        equal = [pair["apart"] for pair in some if pair["equal"]]
        rows.append([f"confused: {label} that the matcher calls different ({len(distinct)})", *shares(distinct)])
        rows.append([f"confused: the same without twins as supercells ({len(sure)})", *shares(sure)])
        rows.append([f"same: {label} that the matcher calls equal ({len(equal)})", *shares(equal)])
        agree = [
            percent(sum((pair["apart"] <= t) == (pair["equal"] or pair["twins"]) for pair in some), len(some))
            for t in TOLERANCES
        ]
        rows.append([f"agreement with the matcher: {label} ({len(some)})", *agree])
        figures[name] = {
            "pairs": len(some),
            "distinct": within(distinct),
            "distinct_without_twins": within(sure),
            "equal": within(equal),
        }
    figures |= {name: within([entry["nearest"] for entry in found]) for name, found in looked.items()}
    figures["relaxed"] = within([entry["nearest"] for entry in moved])
    figures["relaxed_on_hull"] = within(hull)
    header = ["tolerance", *(f"**{t:.3f}**" if t == TOLERANCE else f"{t:.3f}" for t in TOLERANCES)]
    found, searched = figures[one]
    wrong, apart = figures["random"]["distinct"]
    sure_wrong, sure_apart = figures["random"]["distinct_without_twins"]
    bar = (
        f"recognised {percent(found, searched)} of {searched}; confused {percent(wrong, apart)} of {apart} pairs that "
        f"the matcher calls different, {percent(sure_wrong, sure_apart)} without the twins that it misses"
    )
    measurement.finish(
        figures,
        {
            "novelty": "\n\n".join([table(header, rows), *_sentences(looked[one], moved, times, run)]),
            "bar novelty": bar,
        },
    )
