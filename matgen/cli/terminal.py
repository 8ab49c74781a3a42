"""What a person sees: stages as they run, and the candidates at the end."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from matgen.first_principles.xtb_minimum import XtbMinimum
from matgen.generation.predictors import EVALUATOR
from matgen.metrics import Estimate
from matgen.metrics.shares import Shares
from matgen.screening.row import DENSITY_ENERGY, Row
from matgen.search.verification import GAP
from matgen.structures.candidate import Candidate, KindName, Prediction, Verdict
from matgen.targets.properties import PROPERTIES
from matgen.targets.target import Target
from matgen.weights.models import ModelInfo
from matgen.workflows.learn import Errors, Learned
from matgen.workflows.verify import Verified

NARROWEST = 110
"""Columns assumed where the output is no terminal."""


def console(*, stderr: bool = False) -> Console:
    """A console that is wide enough for tables where nobody looks."""
    found = Console(stderr=stderr)
    return found if found.is_terminal else Console(stderr=stderr, width=max(found.width, NARROWEST))


class StageView(AbstractContextManager["StageView"]):
    """A bar for each stage on a terminal; one line for each elsewhere. It is a `Report`."""

    def __init__(self, where: Console) -> None:
        self.console = where
        self._tasks: dict[str, TaskID] = {}
        self._last = ""
        self._progress = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[told]}"),
            console=where,
            disable=not where.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        self._tell_last()

    def __call__(self, stage: str, done: int, total: int, **counts: float) -> None:
        """Show how far a stage is."""
        told = "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in counts.items())
        if not self._last.startswith(f"{stage}:"):
            self._tell_last()
        self._last = f"{stage}: {done}/{total}  {told}"
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, told="")
        self._progress.update(self._tasks[stage], completed=done, total=total, told=told)

    def found(self, candidate: Candidate, targets: Sequence[Target]) -> None:
        """Tell of a new candidate above the bars, with the property that was wished first."""
        guided = told(candidate.properties.get(_shown(targets, candidate.kind)[0]))
        self._progress.console.print(f"  found {candidate.name}  {_what(candidate)}  {guided}", markup=False)

    def _tell_last(self) -> None:
        if self._last and not self.console.is_terminal:
            self.console.print(self._last.rstrip(), highlight=False)
        self._last = ""


def told(prediction: Prediction | None) -> str:
    """Median ± aleatoric spread (± epistemic spread, of an ensemble) and unit."""
    if prediction is None:
        return ""
    apart = f" ± {prediction.epistemic:.2f}" if prediction.epistemic else ""
    return f"{prediction.value:.2f} ± {prediction.aleatoric:.2f}{apart} {prediction.unit}"


def candidate_table(candidates: Sequence[Candidate], targets: Sequence[Target]) -> Table:
    """What each is, predictions by the guiding and by the checking model, stability and verdicts of each candidate.

    Near-repeats are indented below the best of their family.
    """
    kind: KindName = candidates[0].kind if candidates else "crystal"
    shown, by_name = _shown(targets, kind), {target.name: target for target in targets}
    table = Table(title="candidates (value ± aleatoric ± epistemic spread)", title_justify="left")
    for heading in ("name", "space group" if kind == "crystal" else "SMILES", "atoms"):
        table.add_column(heading)
    for name in shown:
        table.add_column(f"{name}, guided by", justify="right")
        if name in by_name:
            table.add_column("P(met)", justify="right")
        table.add_column("checked by", justify="right")
    verified = any(GAP in candidate.properties for candidate in candidates)
    if verified:
        table.add_column("gap by GPAW", justify="right")
    table.add_column("above hull" if kind == "crystal" else "strain", justify="right")
    table.add_column("verdicts")
    for candidate in by_family(candidates):
        near_repeat = candidate.family not in {"", candidate.name}
        row = [
            f"  {candidate.name}" if near_repeat else candidate.name,
            escape(_what(candidate, number=True)),
            str(len(candidate.structure)),
        ]
        for name in shown:
            guided, checked = candidate.properties.get(name), candidate.properties.get(f"{EVALUATOR}{name}")
            met = [] if name not in by_name else ["" if guided is None else f"{guided.probability:.0%}"]
            row += [told(guided), *met, told(checked) + _mark(by_name.get(name), checked)]
        if verified:
            calculated = candidate.properties.get(GAP)
            row.append(_short(calculated) + _mark(by_name.get("band_gap"), calculated))
        table.add_row(*row, _above_hull(candidate), _verdicts(candidate))
    return table


def by_family(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Near-repeats after the best of their family, the rest in the order given."""
    place = {candidate.name: i for i, candidate in enumerate(candidates)}

    def key(candidate: Candidate) -> tuple[int, bool, int]:
        best = candidate.family if candidate.family in place else candidate.name
        return place[best], candidate.name != best, place[candidate.name]

    return sorted(candidates, key=key)


def shares_table(found: Shares, training: Shares) -> Table:
    """What a set of crystals is made of, beside the training data."""
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


def energy_table(candidates: Sequence[Candidate]) -> Table:
    """Every term of each candidate's energy, and their sum."""
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
    """The first rows of a ranking: what it is, what is predicted, how stable, and what speaks against it."""
    kind: KindName = next((row.candidate.kind for row in rows if row.candidate is not None), "crystal")
    shown = _shown(targets, kind)
    table = Table(title=f"the best {min(top, len(rows))} of {len(rows)}", title_justify="left")
    table.add_column("", justify="right")
    table.add_column("name", overflow="fold", min_width=14)
    if kind == "crystal":
        table.add_column("formula", overflow="fold")
        table.add_column("group", no_wrap=True)
    else:
        table.add_column("SMILES", overflow="fold", min_width=12)
    before = len(table.columns)
    for name in shown:
        table.add_column(f"{name.replace('_', ' ')}, {PROPERTIES[name].unit}", justify="right", no_wrap=True)
        table.add_column("evaluator", justify="right", no_wrap=True)
    for heading in ("above hull" if kind == "crystal" else "xTB gap", "density energy"):
        table.add_column(heading, justify="right", max_width=7)
    table.add_column("against it", overflow="fold", min_width=10)
    by_name = {target.name: target for target in targets}
    for row in rows[:top]:
        candidate = row.candidate
        if candidate is None:
            table.add_row(str(row.rank), row.name, *[""] * (before - 2 + 2 * len(shown) + 2), row.error)
            continue
        named = (row.formula, _what(candidate)) if kind == "crystal" else (_what(candidate),)
        told_row = [str(row.rank), row.name, *map(escape, named)]
        for name in shown:
            guided, judged = candidate.properties.get(name), candidate.properties.get(f"{EVALUATOR}{name}")
            spread = "" if guided is None else f" ± {guided.spread:.2f}"
            told_row.append(_short(guided) + spread + _mark(by_name.get(name), guided))
            told_row.append(_short(judged) + _mark(by_name.get(name), judged))
        stable = _number(row.verdicts, "hull", 3) if kind == "crystal" else _number(row.verdicts, "xtb", 2)
        density = candidate.energies.get(DENSITY_ENERGY)
        heights = [stable, "–" if density is None else _rounded(density, 2)]
        table.add_row(*told_row, *heights, ", ".join(row.failed).replace("_", " "))
    return table


def summary_table(summary: Mapping[str, Any]) -> Table:
    """How many structures there were, and how many passed each check."""
    rows = {name: summary[name] for name in ("structures", "broken")}
    rows |= {name.replace("_", " "): f"{found['passed']} of {found['of']}" for name, found in summary["checks"].items()}
    return rows_table("screened", rows | {"passed all": summary["passed"]})


def model_table(models: Iterable[ModelInfo]) -> Table:
    """What ships, trained on what, how good."""
    table = Table(title="models", title_justify="left")
    for heading in ("kind", "numbers", "trained on", "figures", "SHA-256"):
        table.add_column(heading)
    for found in models:
        table.add_row(
            found.kind, f"{found.n_parameters:,}", found.trained_on, _figures(found.figures), found.sha256[:12]
        )
    return table


def verified_table(verified: Sequence[Verified]) -> Table:
    """What a calculation says of each crystal or molecule, beside the gaps that were predicted."""
    molecules = any(isinstance(one.result, XtbMinimum) for one in verified)
    return _verified_molecules(verified) if molecules else _verified_crystals(verified)


def _verified_molecules(verified: Iterable[Verified]) -> Table:
    """Gaps on the scale of B3LYP, and how far a relaxation by GFN2-xTB went."""
    table = Table(title="gaps as predicted (eV), and at the minimum of GFN2-xTB", title_justify="left")
    table.add_column("name", overflow="fold", min_width=14)
    table.add_column("SMILES", overflow="fold", min_width=12)
    for heading in ("guided by", "checked by", "gap, eV", "by levels", "RMSD, Å", "drop, eV"):
        table.add_column(heading, justify="right")
    table.add_column("against it", overflow="fold", min_width=14)
    for one in verified:
        found = one.result
        told_row = [one.subject.name, escape(one.subject.template), *_guesses(one, "gap")]
        if isinstance(found, XtbMinimum) and found.converged:
            told_row += [f"{number:.2f}" for number in (found.gap, found.levels_gap, found.rmsd)]
            told_row.append(f"{found.energy_drop:.3f}")
        else:
            told_row += [""] * 4
        table.add_row(*told_row, escape(found.reason))
    return table


def _guesses(one: Verified, name: str) -> list[str]:
    """What guide and judge had predicted of a property; empty where nothing is known."""
    guesses = [one.subject.row.get(column) for column in (name, f"{EVALUATOR}{name}")]
    return ["" if guess is None else f"{float(guess):.2f}" for guess in guesses]


def _verified_crystals(verified: Iterable[Verified]) -> Table:
    """What first principles say of each crystal."""
    table = Table(title="gaps as predicted (eV), and from first principles (PBE)", title_justify="left")
    table.add_column("name")
    for heading in ("guided by", "checked by", "gap, eV", "direct, eV", "eV/atom", "μB/cell", "k points", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("why not")
    for one in verified:
        found = one.result
        if isinstance(found, XtbMinimum):
            continue
        numbers = [f"{found.gap:.2f}", f"{found.direct_gap:.2f}", f"{found.energy:.3f}", f"{found.magnetic_moment:.2f}"]
        told = numbers if found.converged else [""] * len(numbers)
        mesh = "×".join(map(str, found.settings.get("kpoints", ())))
        table.add_row(one.subject.name, *_guesses(one, "band_gap"), *told, mesh, f"{found.seconds:.0f}", found.reason)
    return table


def learned_table(found: Learned) -> Table:
    """Errors before and after, on gaps that were held out and on those that were seen."""
    lesson, (training_before, training_after) = found.lesson, found.training
    what = f"{found.labels} gaps of {found.formulas} formulas, {found.metals} of them metals"
    table = Table(title=f"gaps as predicted before and after learning: {what}", title_justify="left")
    table.add_column("gaps")
    for heading in ("", "number", "mean error, eV", "too high by, eV", "metal or not", "within 90 %", "-log p"):
        table.add_column(heading, justify="right")
    for name, before, after in (
        ("held out", lesson.before, lesson.after),
        ("learned from", lesson.seen_before, lesson.seen_after),
        ("of the validation rows", training_before, training_after),
    ):
        for when, errors in (("before", before), ("after", after)):
            if errors.n:
                table.add_row(name if when == "before" else "", when, *_error_columns(errors))
    return table


def _error_columns(errors: Errors) -> list[str]:
    shares = [f"{100 * share:.0f} %" for share in (errors.metals, errors.coverage)]
    return [str(errors.n), f"{errors.mae:.3f}", f"{errors.bias:+.3f}", *shares, f"{errors.nll:.3f}"]


def estimate_table(estimates: Iterable[Estimate], title: str) -> Table:
    """Every figure with its interval, its denominator, and what it depends on."""
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
    """A value of this estimate as it is read: shares in per cent, a dash where there is none."""
    if math.isnan(value):
        return "–"
    if estimate.share:
        return f"{100 * value:.1f}" + (" %" if unit else "")
    return f"{value:.3f}" + (f" {estimate.unit}" if unit and estimate.unit else "")


def rows_table(title: str, rows: Mapping[str, Any]) -> Table:
    """Names and values."""
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _shown(targets: Sequence[Target], kind: KindName) -> list[str]:
    """Names of the properties to show: the wished ones, or the gap."""
    return [target.name for target in targets] or ["band_gap" if kind == "crystal" else "gap"]


def _what(candidate: Candidate, *, number: bool = False) -> str:
    """Space group of a crystal, SMILES of a molecule."""
    group = candidate.space_group
    if group is None:
        return candidate.template
    return f"{group.symbol} ({group.number})" if number else group.symbol


def _mark(target: Target | None, prediction: Prediction | None) -> str:
    """Whether a wish is met, as a sign; nothing where nothing was wished."""
    if target is None or prediction is None:
        return ""
    return " ✓" if target.met(prediction.value) else " ✗"


def _above_hull(candidate: Candidate) -> str:
    if candidate.relaxation is None:
        return "not relaxed"
    if candidate.kind == "molecule":
        strain = candidate.verdicts.get("strain")
        return "" if strain is None else f"{strain.value:.3f} {strain.unit}"
    verdict = candidate.verdicts.get("hull")
    return f"{candidate.relaxation.energy:.3f} eV/atom" if verdict is None else f"{verdict.value:+.3f} {verdict.unit}"


def _short(prediction: Prediction | None) -> str:
    """The median, in a table whose head names the unit."""
    return "" if prediction is None else f"{prediction.value:.2f}"


def _number(verdicts: Mapping[str, Verdict], name: str, digits: int) -> str:
    """The number that decided a check; a dash where there was none."""
    found = verdicts.get(name)
    return "–" if found is None or math.isnan(found.value) else _rounded(found.value, digits)


def _rounded(value: float, digits: int) -> str:
    """A number; zero is added so that a negative one that rounds to nothing loses its sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _verdicts(candidate: Candidate) -> str:
    failed = [name.replace("_", " ") for name, verdict in candidate.verdicts.items() if not verdict.passed]
    passed = len(candidate.verdicts) - len(failed)
    return f"{passed} pass" if not failed else f"{passed} pass; not: {', '.join(failed)}"


def _figures(figures: Mapping[str, Any]) -> str:
    return "\n".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
