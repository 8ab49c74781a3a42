"""Tables of candidates and of screened structures."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rich.markup import escape
from rich.table import Table

from matgen.cli.cells import (
    check_value_text,
    identity_text,
    median_text,
    number_text,
    prediction_text,
    rounded,
    shown_properties,
    stability_text,
    target_mark,
    verdicts_text,
)
from matgen.generation.predictors import EVALUATOR
from matgen.screening.ranking import enthalpy
from matgen.screening.row import DENSITY_ENERGY, Row
from matgen.search.host_energy import HOST_ENERGY
from matgen.search.verification import GAP
from matgen.structures.candidate import Candidate, KindName
from matgen.targets.properties import COMPUTED_PROPERTIES, PROPERTIES
from matgen.targets.target import Target


@dataclass(frozen=True)
class _Column:
    """A heading, and what stands below it for a candidate."""

    heading: str
    cell: Callable[[Candidate], str]
    right: bool = False


def candidate_table(candidates: Sequence[Candidate], targets: Sequence[Target]) -> Table:
    """Make a table of identity, predictions by predictor and evaluator, stability and verdicts of candidates.

    Near-repeats are indented below the best of their family.
    """
    kind: KindName = candidates[0].kind if candidates else "crystal"
    by_name = {target.name: target for target in targets}
    columns = [
        _Column("name", lambda c: f"  {c.name}" if c.family not in {"", c.name} else c.name),
        _Column("space group" if kind == "crystal" else "SMILES", lambda c: escape(identity_text(c, number=True))),
        _Column("atoms", lambda c: str(len(c.structure))),
    ]
    changed = any(HOST_ENERGY in candidate.properties for candidate in candidates)
    present = {name for candidate in candidates for name in candidate.properties}
    for name in shown_properties(targets, kind):
        if changed and name not in present:
            continue
        columns += _property_columns(name, by_name.get(name))
    if any(candidate.nearest_example is not None for candidate in candidates):
        columns.append(_Column("nearest example", _nearest_text))
    if any(GAP in candidate.properties for candidate in candidates):
        columns.append(_Column("gap by GPAW", partial(_median_text, name=GAP, target=by_name.get("band_gap")), True))
    if changed:
        columns.append(_Column("against host", partial(_predicted_text, name=HOST_ENERGY), True))
    columns += [
        _Column("above hull" if kind == "crystal" else "strain", stability_text, True),
        _Column("verdicts", verdicts_text),
    ]
    table = Table(title="candidates (value ± aleatoric ± epistemic spread)", title_justify="left")
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left")
    for candidate in by_family(candidates):
        table.add_row(*(column.cell(candidate) for column in columns))
    return table


def _property_columns(name: str, target: Target | None) -> list[_Column]:
    """Return the columns of a property: one if it needs no model, else by predictor and by evaluator."""
    if name in COMPUTED_PROPERTIES:
        return [_Column(name, partial(_predicted_text, name=name, target=target), True)]
    probability = [_Column("P(met)", partial(_probability_text, name=name), True)] if target else []
    evaluated = _Column("evaluator", partial(_predicted_text, name=f"{EVALUATOR}{name}", target=target), True)
    return [
        _Column(f"{name}, predictor", partial(_predicted_text, name=name), True),
        *probability,
        *([evaluated] if name in PROPERTIES else []),  # which knows no property of a file
    ]


def _predicted_text(candidate: Candidate, name: str, target: Target | None = None) -> str:
    predicted = candidate.properties.get(name)
    return escape(prediction_text(predicted)) + target_mark(target, predicted)


def _median_text(candidate: Candidate, name: str, target: Target | None) -> str:
    calculated = candidate.properties.get(name)
    return median_text(calculated) + target_mark(target, calculated)


def _probability_text(candidate: Candidate, name: str) -> str:
    predicted = candidate.properties.get(name)
    return "" if predicted is None else f"{predicted.probability:.0%}"


def _nearest_text(candidate: Candidate) -> str:
    nearest = candidate.nearest_example
    return "" if nearest is None else escape(f"{nearest.name} ({nearest.distance:.2f})")


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
    shown, by_name = shown_properties(targets, kind), {target.name: target for target in targets}
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
        unit = by_name[name].asked.unit if name in by_name else PROPERTIES[name].unit
        heading = f"{name.replace('_', ' ')}, {escape(unit)}" if unit else name.replace("_", " ")
        table.add_column(heading, justify="right", no_wrap=True)
        if name in COMPUTED_PROPERTIES:
            continue
        table.add_column("evaluator", justify="right", no_wrap=True)
    pressed = any(math.isfinite(enthalpy(row)) for row in rows)
    of_crystals = "H, eV per atom" if pressed else "above hull"
    for heading in (of_crystals if kind == "crystal" else "xTB gap", "density energy"):
        table.add_column(heading, justify="right", max_width=7)
    table.add_column("failed checks", overflow="fold", min_width=10)
    for row in rows[:top]:
        if row.candidate is None:
            n_shown = sum(1 if name in COMPUTED_PROPERTIES else 2 for name in shown)
            table.add_row(str(row.rank), escape(row.name), *[""] * (n_identity + n_shown + 2), escape(row.error))
            continue
        identity = [identity_text(row.candidate)] if kind == "molecule" else [row.formula, identity_text(row.candidate)]
        predictions = [text for name in shown for text in _predictions(row.candidate, name, by_name.get(name))]
        failed = ", ".join(row.failed).replace("_", " ")
        table.add_row(
            *map(escape, (str(row.rank), row.name, *identity)),
            *predictions,
            *_energies(row, row.candidate, kind),
            failed,
        )
    return table


def _predictions(candidate: Candidate, name: str, target: Target | None) -> tuple[str, ...]:
    """Return a property by predictor and by evaluator; one that needs no model once."""
    predicted, evaluated = candidate.properties.get(name), candidate.properties.get(f"{EVALUATOR}{name}")
    if name in COMPUTED_PROPERTIES:
        return (median_text(predicted) + target_mark(target, predicted),)
    spread = "" if predicted is None else f" ± {number_text(predicted.spread, predicted.spread)}"
    return (
        median_text(predicted) + spread + target_mark(target, predicted),
        median_text(evaluated) + target_mark(target, evaluated),
    )


def _energies(row: Row, candidate: Candidate, kind: KindName) -> tuple[str, str]:
    """Return the energy above the hull (at a pressure: enthalpy; of a molecule: gap by xTB), and the density energy."""
    check, digits = ("hull", 3) if kind == "crystal" else ("xtb", 2)
    density = candidate.energies.get(DENSITY_ENERGY)
    found = enthalpy(row)
    first = rounded(found, 3) if math.isfinite(found) else check_value_text(candidate.verdicts, check, digits)
    return first, "–" if density is None else rounded(density, 2)
