"""Tables of candidates and of screened structures."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from matgen.cli.cells import (
    check_value_text,
    identity_text,
    median_text,
    prediction_text,
    rounded,
    shown_properties,
    stability_text,
    target_mark,
    verdicts_text,
)
from matgen.generation.predictors import EVALUATOR
from matgen.screening.row import DENSITY_ENERGY, Row
from matgen.search.verification import GAP
from matgen.structures.candidate import Candidate, KindName
from matgen.targets.properties import COMPUTED_PROPERTIES, PROPERTIES
from matgen.targets.target import Target


def candidate_table(candidates: Sequence[Candidate], targets: Sequence[Target]) -> Table:
    """Make a table of identity, predictions by predictor and evaluator, stability and verdicts of candidates.

    Near-repeats are indented below the best of their family.
    """
    kind: KindName = candidates[0].kind if candidates else "crystal"
    shown, by_name = shown_properties(targets, kind), {target.name: target for target in targets}
    table = Table(title="candidates (value ± aleatoric ± epistemic spread)", title_justify="left")
    for heading in ("name", "space group" if kind == "crystal" else "SMILES", "atoms"):
        table.add_column(heading)
    for heading in (heading for name in shown for heading in _headings(name, target=name in by_name)):
        table.add_column(heading, justify="right")
    resembling = any(candidate.nearest_example is not None for candidate in candidates)
    verified = any(GAP in candidate.properties for candidate in candidates)
    if resembling:
        table.add_column("nearest example")
    if verified:
        table.add_column("gap by GPAW", justify="right")
    table.add_column("above hull" if kind == "crystal" else "strain", justify="right")
    table.add_column("verdicts")
    for candidate in by_family(candidates):
        near_repeat = candidate.family not in {"", candidate.name}
        row = [
            f"  {candidate.name}" if near_repeat else candidate.name,
            escape(identity_text(candidate, number=True)),
            str(len(candidate.structure)),
        ]
        for name in shown:
            row += _of_property(candidate, name, by_name.get(name))
        if resembling:
            row.append(_nearest(candidate))
        if verified:
            calculated = candidate.properties.get(GAP)
            row.append(median_text(calculated) + target_mark(by_name.get("band_gap"), calculated))
        table.add_row(*row, stability_text(candidate), verdicts_text(candidate))
    return table


def _headings(name: str, *, target: bool) -> list[str]:
    """Return the headings of the cells of one property."""
    if name in COMPUTED_PROPERTIES:
        return [name]
    return [f"{name}, predictor", *(["P(met)"] if target else []), "evaluator"]


def _nearest(candidate: Candidate) -> str:
    """Return the nearest example and its distance, in words."""
    nearest = candidate.nearest_example
    return "" if nearest is None else escape(f"{nearest.name} ({nearest.distance:.2f})")


def _of_property(candidate: Candidate, name: str, target: Target | None) -> list[str]:
    """Return the cells of one property: of the predictor, of its probability where it is a target, of the evaluator."""
    predicted, evaluated = candidate.properties.get(name), candidate.properties.get(f"{EVALUATOR}{name}")
    if name in COMPUTED_PROPERTIES:
        return [prediction_text(predicted) + target_mark(target, predicted)]
    met = [] if target is None else ["" if predicted is None else f"{predicted.probability:.0%}"]
    return [prediction_text(predicted), *met, prediction_text(evaluated) + target_mark(target, evaluated)]


def by_family(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Sort near-repeats behind the best of their family; otherwise keep the order."""
    place = {candidate.name: i for i, candidate in enumerate(candidates)}

    def key(candidate: Candidate) -> tuple[int, bool, int]:
        best = candidate.family if candidate.family in place else candidate.name
        return place[best], candidate.name != best, place[candidate.name]

    return sorted(candidates, key=key)


def energy_table(candidates: Sequence[Candidate]) -> Table:
    """Make a table of every term of each candidate's energy, and their sum."""
    names = list(dict.fromkeys(name for candidate in candidates for name in candidate.energies))
    table = Table(title="energies (dimensionless, weighted; before relaxation)", title_justify="left")
    table.add_column("name")
    for name in ("total", *names):
        table.add_column(name.replace("_", " "), justify="right")
    for candidate in candidates:
        values = [candidate.energies.get(name) for name in names]
        terms = ["" if value is None else f"{value:.2f}" for value in values]
        table.add_row(candidate.name, f"{sum(candidate.energies.values()):.2f}", *terms)
    return table


def ranking_table(rows: Sequence[Row], targets: Sequence[Target], top: int) -> Table:
    """Make a table of the first rows of a ranking: identity, predictions, stability, failed checks."""
    kind: KindName = next((row.candidate.kind for row in rows if row.candidate is not None), "crystal")
    shown = shown_properties(targets, kind)
    table = Table(title=f"the best {min(top, len(rows))} of {len(rows)}", title_justify="left")
    table.add_column("", justify="right")
    table.add_column("name", overflow="fold", min_width=14)
    if kind == "crystal":
        table.add_column("formula", overflow="fold")
        table.add_column("group", no_wrap=True)
    else:
        table.add_column("SMILES", overflow="fold", min_width=12)
    n_identity = len(table.columns) - 2
    for name in shown:
        table.add_column(f"{name.replace('_', ' ')}, {PROPERTIES[name].unit}", justify="right", no_wrap=True)
        if name in COMPUTED_PROPERTIES:
            continue
        table.add_column("evaluator", justify="right", no_wrap=True)
    for heading in ("above hull" if kind == "crystal" else "xTB gap", "density energy"):
        table.add_column(heading, justify="right", max_width=7)
    table.add_column("failed checks", overflow="fold", min_width=10)
    by_name = {target.name: target for target in targets}
    for row in rows[:top]:
        if row.candidate is None:
            n_shown = sum(1 if name in COMPUTED_PROPERTIES else 2 for name in shown)
            table.add_row(str(row.rank), row.name, *[""] * (n_identity + n_shown + 2), row.error)
            continue
        identity = [identity_text(row.candidate)] if kind == "molecule" else [row.formula, identity_text(row.candidate)]
        predictions = [text for name in shown for text in _predictions(row.candidate, name, by_name.get(name))]
        failed = ", ".join(row.failed).replace("_", " ")
        table.add_row(
            str(row.rank), row.name, *map(escape, identity), *predictions, *_energies(row.candidate, kind), failed
        )
    return table


def _predictions(candidate: Candidate, name: str, target: Target | None) -> tuple[str, ...]:
    """Return a property by predictor and by evaluator; one that needs no model once."""
    predicted, evaluated = candidate.properties.get(name), candidate.properties.get(f"{EVALUATOR}{name}")
    if name in COMPUTED_PROPERTIES:
        return (median_text(predicted) + target_mark(target, predicted),)
    spread = "" if predicted is None else f" ± {predicted.spread:.2f}"
    return (
        median_text(predicted) + spread + target_mark(target, predicted),
        median_text(evaluated) + target_mark(target, evaluated),
    )


def _energies(candidate: Candidate, kind: KindName) -> tuple[str, str]:
    """Return the energy above the hull, or of a molecule the gap by xTB, and the density energy."""
    check, digits = ("hull", 3) if kind == "crystal" else ("xtb", 2)
    density = candidate.energies.get(DENSITY_ENERGY)
    return check_value_text(candidate.verdicts, check, digits), "–" if density is None else rounded(density, 2)
