"""Tables of summaries, models, figures, first-principles results and learned gaps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from matgen.first_principles.xtb_minimum import XtbMinimum
from matgen.generation.predictors import EVALUATOR
from matgen.learning.gap_errors import Errors
from matgen.metrics import Estimate
from matgen.metrics.shares import Shares
from matgen.weights.files import ModelInfo
from matgen.workflows.learn import Learned
from matgen.workflows.potentials import PotentialFacts
from matgen.workflows.properties import DescribedProperty
from matgen.workflows.verify import Verified


def rows_table(title: str, rows: Mapping[str, Any]) -> Table:
    """Make a table of names and values."""
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Make a table of how many structures were screened, and how many passed each check."""
    rows = {name: summary[name] for name in ("structures", "broken")}
    rows |= {name.replace("_", " "): f"{found['passed']} of {found['of']}" for name, found in summary["checks"].items()}
    rows |= {"passed all": summary["passed"], "with remarks": summary["remarks"]}
    if tolerance := summary.get("symmetry_tolerance"):
        rows["space groups"] = f"within {tolerance['angstrom']:g} Å, {tolerance['degrees']:g} degrees"
    return rows_table("screened", rows)


def shares_table(found: Shares, training: Shares) -> Table:
    """Make a table of the make-up of a set of crystals, beside that of the training data."""
    table = Table(title=f"shares of {found.n}, and of {training.n:,} ({training.source})", title_justify="left")
    table.add_column("of")
    for heading in ("here", "counted", "training"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("which, here and there")
    for name, here in found.shares.items():
        there = training.shares[name]
        counts = [f"{100 * here.share:.1f} %", f"{here.count}/{found.n}", f"{100 * there.share:.1f} %"]
        table.add_row(name.replace("_", " "), *counts, " | ".join(filter(None, (here.what, there.what))))
    return table


def estimate_table(estimates: Iterable[Estimate], title: str) -> Table:
    """Make a table of figures with interval, denominator, and what they depend on."""
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    for heading in ("value", "95 %", "counted"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("how")
    for one in estimates:
        interval = f"{figure(one, one.low, unit=False)}–{figure(one, one.high, unit=False)}"
        table.add_row(one.name, figure(one, one.value), interval, f"{one.numerator}/{one.denominator}", one.how)
    return table


def figure(estimate: Estimate, value: float, *, unit: bool = True) -> str:
    """Format a value of an estimate: shares in per cent, a dash for NaN."""
    if math.isnan(value):
        return "–"
    if estimate.share:
        return f"{100 * value:.1f}" + (" %" if unit else "")
    return f"{value:.3f}" + (f" {estimate.unit}" if unit and estimate.unit else "")


def model_table(models: Iterable[ModelInfo]) -> Table:
    """Make a table of the shipped models, their training data and their figures."""
    table = Table(title="models", title_justify="left")
    for heading in ("kind", "parameters", "trained on", "figures", "SHA-256"):
        table.add_column(heading)
    for found in models:
        table.add_row(
            found.kind, f"{found.n_parameters:,}", found.trained_on, _figures(found.figures), found.sha256[:12]
        )
    return table


def _figures(figures: Mapping[str, Any]) -> str:
    return "\n".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())


def potential_table(potentials: Iterable[PotentialFacts]) -> Table:
    """Make a table of the potentials that are known by name."""
    table = Table(title="potentials of crystals: --calculator NAME", title_justify="left")
    for heading in ("name", "weights", "installed", "hull", "learned", "licence"):
        table.add_column(heading, overflow="fold")
    for one in potentials:
        installed = one.version or f"no: pip install {one.install}"
        if one.source != "in the wheel":
            installed += "; weights need network"
        table.add_row(
            one.name,
            one.weights + ("" if one.checked == "run" else " (not run here)"),
            escape(installed),
            f"{one.hull:,} phases" if one.hull else "none: stability not assessed",
            f"{one.functional}, {one.learned}",
            one.licence,
        )
    return table


def property_table(properties: Iterable[DescribedProperty]) -> Table:
    """Make a table of the properties that can be a target."""
    table = Table(title="properties that can be a target", title_justify="left")
    for heading in ("property", "unit", "meaning", "model", "mean error", "source"):
        table.add_column(heading)
    for one in properties:
        lacking = f"; none for {', '.join(one.lacking)}" if one.lacking else ""
        error = error_text(one.error, one.error_log10, one.unit, one.error_of, one.coverage)
        table.add_row(one.name, one.unit, one.meaning, one.model, error, one.source + lacking)
    return table


def error_text(error: float | None, error_log10: float | None, unit: str, error_of: str, coverage: float | None) -> str:
    """Return the error of a property, what it was measured on, and how many values lie within the interval."""
    errors = [] if error is None else [f"{error:.3g} {unit}".rstrip()]
    errors += [] if error_log10 is None else [f"{error_log10:.3f} in log10"]
    within = "" if coverage is None else f"; {100 * coverage:.1f} % of them within 90 %"
    return " of ".join(filter(None, [", ".join(errors), error_of])) + within


def verified_table(verified: Sequence[Verified]) -> Table:
    """Make a table of calculated results of crystals or molecules, beside their predicted gaps."""
    molecules = any(isinstance(one.result, XtbMinimum) for one in verified)
    return _verified_molecules(verified) if molecules else _verified_crystals(verified)


def _verified_molecules(verified: Iterable[Verified]) -> Table:
    """Make a table of gaps on the scale of B3LYP, and of the way to the minimum of GFN2-xTB."""
    table = Table(title="gaps as predicted (eV), by GFN2-xTB as given, and at its minimum", title_justify="left")
    table.add_column("name", overflow="fold", min_width=14)
    table.add_column("SMILES", overflow="fold", min_width=12)
    for heading in ("predictor", "evaluator", "as given", "gap, eV", "RMSD, Å", "drop, eV"):
        table.add_column(heading, justify="right")
    table.add_column("reason", overflow="fold", min_width=14)
    for one in verified:
        found = one.result
        if isinstance(found, XtbMinimum) and found.converged:
            numbers = [f"{number:.2f}" for number in (found.gap, found.minimum_gap, found.rmsd)]
            numbers.append(f"{found.energy_drop:.3f}")
        else:
            numbers = [""] * 4
        subject = one.subject
        table.add_row(subject.name, escape(subject.template), *_predicted(one, "gap"), *numbers, escape(found.reason))
    return table


def _verified_crystals(verified: Iterable[Verified]) -> Table:
    """Make a table of first-principles results of crystals."""
    table = Table(title="gaps as predicted (eV), and from first principles (PBE)", title_justify="left")
    table.add_column("name")
    for heading in ("predictor", "evaluator", "gap, eV", "direct, eV", "eV/atom", "μB/cell", "k points", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("reason")
    for one in verified:
        found = one.result
        if isinstance(found, XtbMinimum):
            continue
        numbers = [f"{found.gap:.2f}", f"{found.direct_gap:.2f}", f"{found.energy:.3f}", f"{found.magnetic_moment:.2f}"]
        if not found.converged:
            numbers = [""] * len(numbers)
        mesh = "×".join(map(str, found.settings.get("kpoints", ())))
        seconds = f"{found.seconds:.0f}"
        table.add_row(one.subject.name, *_predicted(one, "band_gap"), *numbers, mesh, seconds, found.reason)
    return table


def _predicted(one: Verified, name: str) -> list[str]:
    """Return what predictor and evaluator predicted of a property; empty where unknown."""
    values = [one.subject.row.get(column) for column in (name, f"{EVALUATOR}{name}")]
    return ["" if value is None else f"{float(value):.2f}" for value in values]


def learned_table(found: Learned) -> Table:
    """Make a table of errors before and after learning, on held-out gaps and on those learned from."""
    fit, (training_before, training_after) = found.fit, found.training
    what = f"{found.labels} gaps of {found.formulas} formulas, {found.metals} of them metals"
    table = Table(title=f"gaps as predicted before and after learning: {what}", title_justify="left")
    table.add_column("gaps")
    for heading in ("", "number", "mean error, eV", "too high by, eV", "metal or not", "within 90 %", "-log p"):
        table.add_column(heading, justify="right")
    for name, before, after in (
        ("held out", fit.before, fit.after),
        ("learned from", fit.seen_before, fit.seen_after),
        ("of the validation rows", training_before, training_after),
    ):
        for when, errors in (("before", before), ("after", after)):
            if errors.n:
                table.add_row(name if when == "before" else "", when, *_error_columns(errors))
    return table


def _error_columns(errors: Errors) -> list[str]:
    shares = [f"{100 * share:.0f} %" for share in (errors.metals, errors.coverage)]
    return [str(errors.n), f"{errors.mae:.3f}", f"{errors.bias:+.3f}", *shares, f"{errors.nll:.3f}"]
