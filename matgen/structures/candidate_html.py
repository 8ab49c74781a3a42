"""How notebooks show candidates: one as a card, several as a table. All text is escaped; nothing is loaded."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from matgen.structures.material_svg import material_svg
from matgen.templates.molecule import MoleculeTemplate

if TYPE_CHECKING:
    from matgen.structures.candidate import Candidate, Prediction, Verdict

COUNT = re.compile(r"(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)")
"""A number of atoms in a formula."""

PLAIN = 'style="text-align:left"'

MOST_ROWS = 100
"""Rows of a table; more make a notebook slow."""


def formula_html(formula: str) -> str:
    """Return a formula with its numbers of atoms as subscripts."""
    return COUNT.sub(r"<sub>\1</sub>", escape(formula))


def candidate_html(candidate: "Candidate") -> str:
    """Return a card: picture, formula, space group or SMILES, predictions with their spreads, verdicts with reasons."""
    heads = [f"<b>{formula_html(_formula(candidate))}</b>"]
    if candidate.space_group is not None:
        heads.append(f"{escape(candidate.space_group.symbol)} ({candidate.space_group.number})")
    elif candidate.template:
        heads.append(f"<code>{escape(candidate.template)}</code>")
    heads += [f"{len(candidate.structure)} atoms", escape(candidate.name)]
    predicted = [[escape(name), *_prediction(one)] for name, one in candidate.properties.items()]
    checked = [[_mark(one), escape(name), escape(one.reason)] for name, one in candidate.verdicts.items()]
    parts = [f"<div>{' · '.join(heads)}</div>"]
    if predicted:
        parts.append(table(["property", "value", "± within", "± between models", "P(target)"], predicted))
    if checked:
        parts.append(f"<details><summary>{_summary(candidate.verdicts)}</summary>{table([], checked)}</details>")
    picture = material_svg(candidate.structure)
    return f'<div style="display:flex;gap:1em;align-items:flex-start">{picture}<div>{"".join(parts)}</div></div>'


def candidates_html(candidates: Sequence["Candidate"]) -> str:
    """Return a table with a line for each candidate, in their order."""
    names = list(dict.fromkeys(name for one in candidates for name in one.properties))
    heads = ["", "name", "formula", "space group" if _crystals(candidates) else "SMILES", *names, "checks"]
    lines = []
    for place, one in enumerate(candidates[:MOST_ROWS], 1):
        group = one.space_group
        identity = one.template if group is None else f"{group.symbol} ({group.number})"
        values = [_spread(one.properties.get(name)) for name in names]
        whole = formula_html(_formula(one))
        lines.append([str(place), escape(one.name), whole, escape(identity), *values, _summary(one.verdicts)])
    return table(list(map(escape, heads)), lines) + beyond(len(candidates))


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    head = f"<thead><tr>{''.join(f'<th {PLAIN}>{cell}</th>' for cell in heads)}</tr></thead>" if heads else ""
    body = "".join(f"<tr>{''.join(f'<td {PLAIN}>{cell}</td>' for cell in line)}</tr>" for line in lines)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def beyond(n: int) -> str:
    """Say how many rows are not shown."""
    return f"<div>… and {n - MOST_ROWS} more</div>" if n > MOST_ROWS else ""


def _crystals(candidates: Sequence["Candidate"]) -> bool:
    return any(one.space_group is not None for one in candidates)


def _formula(candidate: "Candidate") -> str:
    """Return the formula as `matgen.structures.record.formula` does."""
    if candidate.kind == "molecule" and candidate.template:
        return MoleculeTemplate(candidate.template).hill_formula
    return candidate.structure.composition.reduced_formula


def _prediction(one: "Prediction") -> list[str]:
    probability = "" if math.isnan(one.probability) else f"{one.probability:.0%}"
    return [f"{one.value:.4g} {escape(one.unit)}", f"{one.aleatoric:.2g}", f"{one.epistemic:.2g}", probability]


def _spread(one: "Prediction | None") -> str:
    return "" if one is None else f"{one.value:.4g} ± {one.spread:.2g} {escape(one.unit)}"


def _mark(one: "Verdict") -> str:
    return "✓" if one.passed else "✗" if one.assessed else "?"


def _summary(verdicts: Mapping[str, "Verdict"]) -> str:
    """Say which checks failed and which were not assessed, or that all passed."""
    if not verdicts:
        return "no checks"
    failed = [escape(name) for name, one in verdicts.items() if one.assessed and not one.passed]
    unknown = [escape(name) for name, one in verdicts.items() if not one.assessed]
    told = [f"✗ {', '.join(failed)}"] * bool(failed) + [f"? not assessed: {', '.join(unknown)}"] * bool(unknown)
    return "; ".join(told) or f"✓ all {len(verdicts)} checks"
