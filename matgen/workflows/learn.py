"""From verified gaps to better heads: how much to believe them is decided by gaps that were held out."""

import json
import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from matgen.datasets.crystals import CrystalTable
from matgen.learning.labels import Label, LabelError, Labels, digest
from matgen.nn.ensemble import Ensemble, mixture_of
from matgen.nn.structure_properties import StructureInputs
from matgen.runtime.output import make_folder, replace_file, writing
from matgen.runtime.progress import Report, Silence
from matgen.screening.crystals import primitive_cell
from matgen.structures.conversion import state_of
from matgen.targets.calibration import Calibration, calibrated, coverage
from matgen.targets.distributions import Distribution, Hurdle, median
from matgen.targets.properties import PROPERTIES
from matgen.training.properties import trainable
from matgen.training.refit import GapHeads, GapLabels, members_of, read_by_heads, together
from matgen.training.run import read_table
from matgen.training.structures import Neighbourhoods
from matgen.weights.models import WEIGHTS, WeightsError, info, load, save, weights_file

KIND = "structure_properties"
FIGURES = "learned.json"

PULLS = (1e5, 3e4, 1e4, 3e3, 1e3, 3e2, 1e2)
"""Strengths of the pull to what was there that are tried; a step of one label and one of the prior are alike at some
thousands."""

UNTESTED_PULL = 1e4
"""Taken where nothing can be held out."""

FEW = 40
"""Labels up to which more parts, and smaller ones, are held out."""

FOLDS, INNER_FOLDS = (10, 5), (5, 3)
"""Parts that are held out for figures, and for the choice of the pull: of few labels, and of more."""

CHOICE_STEPS, CHOICE_SHOWN = 40, 250
"""Steps of a fit, and training rows shown again, that suffice to compare pulls: each row then counts as several."""

PATIENCE = 2
"""Weaker pulls in a row that held-out gaps may speak against before still weaker ones, the dear ones, are left out."""

TRUSTED = 8
"""Labels, and half as many formulas, below which held-out figures say little."""

PLATT_FROM, PLATT_EACH = 10, 3
"""Labels from which on P(metal) is corrected too, and how many metals and others have to be among them: results of
which none is a metal would else teach that nothing is one."""

SPREADS = (0.3, 0.2, 0.5)
"""Standard deviations of the prior of log temperature, slope and bias around those that were there."""

METAL = PROPERTIES["band_gap"].zero
"""eV up to which a gap is none."""


@dataclass(frozen=True)
class LearnConfig:
    """How to learn.

    Attributes:
        weights: folder of weights to begin from; those that ship if left out.
        data: prepared table whose training rows are shown again; none if left out.
        replay: how many of them.
        weight: how many of them a verified gap counts as.
        seed: of the choice among them.
    """

    weights: Path | None = None
    data: Path | None = None
    replay: int = 1000
    weight: float = 10.0
    seed: int = 0


@dataclass(frozen=True)
class Errors:
    """How far predictions lie from gaps; NaN where there are none.

    Attributes:
        n: gaps.
        mae: mean distance of the median, eV.
        nll: mean negative log-likelihood.
        bias: mean of median minus gap, eV.
        metals: share of which it is told rightly whether they are metals.
        coverage: share of gaps within the central 90 % of the distribution.
    """

    n: int = 0
    mae: float = math.nan
    nll: float = math.nan
    bias: float = math.nan
    metals: float = math.nan
    coverage: float = math.nan

    @classmethod
    def of(cls, predicted: Distribution, gap: Tensor) -> "Errors":
        """Of a distribution (n,) and gaps (n,), eV."""
        middle = median(predicted)
        told = predicted.log_prob(torch.zeros_like(gap)).exp() > 0.5
        return cls(
            len(gap),
            mae=(middle - gap).abs().mean().item(),
            nll=-predicted.log_prob(gap).mean().item(),
            bias=(middle - gap).mean().item(),
            metals=(told == (gap <= METAL)).double().mean().item(),
            coverage=coverage(predicted, gap).mean().item(),
        )


@dataclass(frozen=True)
class Lesson:
    """What was learned.

    Attributes:
        parameters: of the heads.
        calibration: of gaps.
        pull: to what was there; infinite where nothing better was found, and the heads stayed as they were.
        before: errors on held-out gaps, of the weights that were there.
        after: the same of weights that learned from the others; where the heads stayed as they were, as before.
        seen_before: errors on all gaps of the weights that were there.
        seen_after: of what was learned, on the gaps that it saw.
    """

    parameters: Mapping[str, Tensor]
    calibration: Calibration
    pull: float
    before: Errors = field(default_factory=Errors)
    after: Errors = field(default_factory=Errors)
    seen_before: Errors = field(default_factory=Errors)
    seen_after: Errors = field(default_factory=Errors)


@dataclass(frozen=True)
class Learned:
    """What came of a call.

    Attributes:
        path: file of weights.
        lesson: what was learned.
        labels: how many gaps.
        metals: how many of them are none.
        formulas: how many different ones.
        skipped: names and reasons of what was passed over.
        trusted: whether there were enough for the held-out figures to mean something.
        training: errors on training rows before and after, where a table was given.
    """

    path: Path
    lesson: Lesson
    labels: int
    metals: int
    formulas: int
    skipped: tuple[tuple[str, str], ...]
    trusted: bool
    training: tuple[Errors, Errors] = (Errors(), Errors())


def run(labels: Labels, folder: Path, config: LearnConfig | None = None, *, report: Report | None = None) -> Learned:
    """Learn gaps and write weights and figures into a folder.

    Args:
        labels: gaps and crystals.
        folder: receives `structure_properties.safetensors`, `hashes.json` and `learned.json`.
        config: how.
        report: hears how far it is.

    Raises:
        LabelError: nothing to learn.
        WeightsError: weights to begin from that are missing or damaged, or that would be overwritten.
        DataError: a prepared table that is none.
        OutputError: the folder cannot be written.
    """
    config, tell = config or LearnConfig(), report or Silence()
    if not labels.labels:
        raise LabelError("expected gaps to learn from, got none")
    begun = weights_file(KIND, config.weights)
    if folder.resolve() in {WEIGHTS.resolve(), begun.parent.resolve()}:
        raise WeightsError(f"expected a folder of its own for what is learned, got {folder}; name another --out")
    make_folder(folder, "--out")
    model = load(KIND, begun)
    if not isinstance(model, Ensemble):
        raise WeightsError(f"expected an ensemble in {begun}; name another folder")
    told = gap_labels(model, labels.labels, tell)
    shown, others = _training_rows(model, config, tell)
    groups = [label.structure.composition.reduced_formula for label in labels.labels]
    lesson = learn(GapHeads(model), told, groups, shown, tell)
    training = (_errors(GapHeads(model), others, None), _errors(GapHeads(model), others, lesson))
    trusted = len(labels) >= TRUSTED and len(set(groups)) >= TRUSTED // 2
    metals = int((told.gap <= METAL).sum())
    path = folder / f"{KIND}.safetensors"
    found = Learned(path, lesson, len(labels), metals, len(set(groups)), labels.skipped, trusted, training)
    figures = as_figures(found, labels, begun)
    learned = deepcopy(model)
    GapHeads(model).put_into(learned, lesson.parameters, lesson.calibration)
    header = info(KIND, begun)
    with writing(folder):
        save(learned, path, kind=KIND, trained_on=_story(labels, begun, header.trained_on), figures=_header(figures))
        replace_file(folder / FIGURES, json.dumps(figures, indent=1) + "\n")
    return found


def gap_labels(model: Ensemble, labels: Sequence[Label], report: Report) -> GapLabels:
    """Labels as the heads of a model read them."""
    parts = []
    for number, label in enumerate(labels):
        parts.append(read_by_heads(model, StructureInputs(state_of([primitive_cell(label.structure)]))))
        report("read", number + 1, len(labels))
    gap = torch.tensor([label.gap for label in labels], dtype=torch.float64)
    return GapLabels(torch.cat(parts, dim=1), gap, torch.ones_like(gap))


def learn(
    heads: GapHeads, labels: GapLabels, groups: Sequence[str], shown: GapLabels, report: Report | None = None
) -> Lesson:
    """Choose the strength of the pull by held-out gaps, fit all, calibrate by held-out gaps.

    Every part is held out once, with all of its formulas; the strength for it is chosen by the others alone, so that no
    figure saw what it is counted on. Where held-out gaps get no likelier, heads and calibration stay as they were.

    Args:
        heads: to begin from.
        labels: n gaps.
        groups: of each, such that those of one group are held out together (n).
        shown: training rows shown again, which are never held out; may be empty.
        report: hears how far it is.
    """
    tell, parts = report or Silence(), folds(groups, FOLDS[len(groups) > FEW])
    shipped, n_folds = heads.calibration, int(parts.max()) + 1
    if n_folds < 2:
        parameters = _fitted(heads, labels.joined(shown), UNTESTED_PULL)
        return _seen(heads, labels, Lesson(parameters, shipped, UNTESTED_PULL))
    held, rows = [], []
    for part in range(n_folds):
        tell("hold out", part, n_folds + 1)
        rest = (parts != part).nonzero().ravel()
        pull = best_pull(heads, labels.select(rest), [groups[i] for i in rest.tolist()], shown)
        out = (parts == part).nonzero().ravel()
        held.append(heads.raw(_fitted(heads, labels.select(rest).joined(shown), pull), labels.select(out).read))
        rows.append(out)
    order = torch.cat(rows)
    whole, gap, of_part = _beside(held), labels.gap[order], parts[order]
    before = Errors.of(heads.mixture(heads.begun, labels.read, shipped), labels.gap)
    after, better = _calibration(whole, gap, of_part, shipped)
    pull = best_pull(heads, labels, groups, shown)
    if not after.nll < before.nll:  # nor where it is no number
        pull, better, after = math.inf, shipped, before
    parameters = _fitted(heads, labels.joined(shown), pull)
    tell("hold out", n_folds + 1, n_folds + 1)
    return _seen(heads, labels, Lesson(parameters, better, pull, before, after))


def best_pull(heads: GapHeads, labels: GapLabels, groups: Sequence[str], shown: GapLabels) -> float:
    """The strength with which held-out gaps are likeliest; infinite if they are so with what was there.

    From the strongest on, each fit from that of the pull before, until weaker ones did no better several times.
    """
    parts = folds(groups, INNER_FOLDS[len(groups) > FEW])
    if int(parts.max()) < 1:
        return UNTESTED_PULL
    fewer = _fewer(shown, CHOICE_SHOWN)
    taught = [labels.select(parts != part).joined(fewer) for part in range(int(parts.max()) + 1)]
    held = [labels.select(parts == part) for part in range(len(taught))]
    fits: list[Mapping[str, Tensor]] = [heads.begun] * len(taught)
    best, least, worse = math.inf, _held_out(heads, fits, held), 0
    for pull in PULLS:
        fits = [heads.fitted(one, pull, CHOICE_STEPS, start) for one, start in zip(taught, fits, strict=True)]
        found = _held_out(heads, fits, held)
        best, least, worse = (pull, found, 0) if found < least else (best, least, worse + 1)
        if worse == PATIENCE:
            break
    return best


def _held_out(heads: GapHeads, fits: Sequence[Mapping[str, Tensor]], held: Sequence[GapLabels]) -> float:
    """Negative log-likelihood of the gaps of each part, by heads that learned the others."""
    told = (heads.mixture(fit, out.read, heads.calibration) for fit, out in zip(fits, held, strict=True))
    return -sum(one.log_prob(out.gap).sum().item() for one, out in zip(told, held, strict=True))


def _fewer(shown: GapLabels, most: int) -> GapLabels:
    """The first of the rows, which are in no order, with the weight of all."""
    few = shown.select(torch.arange(min(most, len(shown))))
    return replace(few, weight=few.weight * (len(shown) / max(1, len(few))))


def _fitted(heads: GapHeads, labels: GapLabels, pull: float) -> Mapping[str, Tensor]:
    return heads.begun if math.isinf(pull) else heads.fitted(labels, pull)


def folds(groups: Sequence[str], most: int) -> Tensor:
    """A number of parts (n,), at most so many and about alike in size, that no group is divided between."""
    sizes = Counter(groups)
    load_of = [0] * min(most, len(sizes))
    where = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], zlib.crc32(name.encode()), name)):
        where[group] = load_of.index(min(load_of))
        load_of[where[group]] += sizes[group]
    return torch.tensor([where[group] for group in groups])


# ---------------------------------------------------------------- calibration


def _calibration(whole: Hurdle, gap: Tensor, parts: Tensor, shipped: Calibration) -> tuple[Errors, Calibration]:
    """Errors on each part with a calibration by the others, and that of all; as it was where that is no better."""
    corrected = []
    order = []
    for part in range(int(parts.max()) + 1):
        rest, out = (parts != part).nonzero().ravel(), (parts == part).nonzero().ravel()
        mine = fit_calibration(_rows(whole, rest), gap[rest], shipped)
        corrected.append(calibrated(_rows(whole, out), mine))
        order.append(out)
    places = torch.cat(order)
    crossed = Errors.of(mixture_of(members_of(_beside(corrected))), gap[places])
    kept = Errors.of(together(whole, shipped), gap)
    if crossed.nll < kept.nll:
        return crossed, fit_calibration(whole, gap, shipped)
    return kept, shipped


def fit_calibration(raw: Hurdle, gap: Tensor, shipped: Calibration) -> Calibration:
    """The correction that makes gaps likeliest, drawn to the one that was there.

    Args:
        raw: of each member (n_members, n).
        gap: eV (n,).
        shipped: centre of the prior, whose spreads are `SPREADS`; slope and bias stay there where gaps are few.
    """
    metals = int((gap <= METAL).sum())
    free = 3 if len(gap) >= PLATT_FROM and min(metals, len(gap) - metals) >= PLATT_EACH else 1
    steps = torch.zeros(free, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([steps], max_iter=100, line_search_fn="strong_wolfe")

    def moved() -> tuple[Tensor, Tensor, Tensor]:
        by = torch.cat([steps, steps.new_zeros(3 - free)]) * steps.new_tensor(SPREADS)
        return shipped.temperature * by[0].exp(), shipped.slope + by[1], shipped.bias + by[2]

    def closure() -> Tensor:
        optimizer.zero_grad()
        temperature, slope, bias = moved()
        corrected = replace(raw, scale=raw.scale * temperature, zero_logit=raw.zero_logit * slope + bias)
        loss = 0.5 * steps.square().sum() - mixture_of(members_of(corrected)).log_prob(gap).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return Calibration(*(number.item() for number in moved()))


def _rows(raw: Hurdle, rows: Tensor) -> Hurdle:
    parts = {name: getattr(raw, name)[:, rows] for name in ("zero_logit", "loc", "scale")}
    return replace(raw, **parts)


def _beside(several: Sequence[Any]) -> Hurdle:
    parts = {name: torch.cat([getattr(one, name) for one in several], dim=1) for name in ("zero_logit", "loc", "scale")}
    return replace(several[0], **parts)


def _seen(heads: GapHeads, labels: GapLabels, lesson: Lesson) -> Lesson:
    before = Errors.of(heads.mixture(heads.begun, labels.read, heads.calibration), labels.gap)
    after = Errors.of(heads.mixture(lesson.parameters, labels.read, lesson.calibration), labels.gap)
    return replace(lesson, seen_before=before, seen_after=after)


# ---------------------------------------------------------------- training rows


def _training_rows(model: Ensemble, config: LearnConfig, report: Report) -> tuple[GapLabels, GapLabels]:
    """Training rows to show again, and validation rows to see what was forgotten; both empty without a table."""
    width = model.config.hidden
    nothing = torch.zeros(0, dtype=torch.float64)
    empty = GapLabels(torch.zeros(len(model.members), 0, width), nothing, nothing)
    if config.data is None:
        return empty, empty
    table = read_table(config.data, CrystalTable)
    known = torch.isfinite(table.label("band_gap"))
    generator = torch.Generator().manual_seed(config.seed)
    train = _some((trainable(table) & known).nonzero().ravel(), config.replay, generator)
    val = _some(((table.mp20_split == 1) & known).nonzero().ravel(), config.replay, generator)
    found = []
    for name, rows in (("show again", train), ("compare", val)):
        if not len(rows):
            found.append(empty)
            continue
        beside = Neighbourhoods.of(table, rows, model.config.trunk.cutoff)
        parts = []
        for chunk in torch.arange(len(rows)).split(64):
            parts.append(read_by_heads(model, beside.select(chunk)))
            report(name, int(chunk[-1]) + 1, len(rows))
        gap = table.label("band_gap")[rows].double()
        found.append(GapLabels(torch.cat(parts, dim=1), gap, torch.full_like(gap, 1 / config.weight)))
    return found[0], found[1]


def _some(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:n]]


def _errors(heads: GapHeads, labels: GapLabels, lesson: Lesson | None) -> Errors:
    if not len(labels):
        return Errors()
    told = (heads.begun, heads.calibration) if lesson is None else (lesson.parameters, lesson.calibration)
    return Errors.of(heads.mixture(told[0], labels.read, told[1]), labels.gap)


# ---------------------------------------------------------------- what is written


def as_figures(found: Learned, labels: Labels, begun: Path) -> dict[str, Any]:
    """Everything that is to be known of a lesson, as JSON types."""
    lesson = found.lesson
    told = {
        "labels": found.labels,
        "metals": found.metals,
        "formulas": found.formulas,
        "sources": dict(Counter(label.source for label in labels.labels)),
        "begun_from": info(KIND, begun).sha256,
        "trusted": found.trusted,
        "pull": lesson.pull,
        "calibration": asdict(lesson.calibration),
        "held_out": {"before": asdict(lesson.before), "after": asdict(lesson.after)},
        "seen": {"before": asdict(lesson.seen_before), "after": asdict(lesson.seen_after)},
        "validation_rows": {"before": asdict(found.training[0]), "after": asdict(found.training[1])},
        "crystals": {label.name: digest(label.structure) for label in labels.labels},
        "skipped": dict(found.skipped),
    }
    return _finite(told)


def _finite(value: Any) -> Any:
    """With null for what is no number."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _header(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the header of the weights: what is known of these ones, not of those that they began from."""
    flat = {"learned_labels": figures["labels"]}
    for when in ("before", "after"):
        for name in ("mae", "nll", "coverage"):
            value = figures["held_out"][when][name]
            flat |= {} if value is None else {f"held_out_{name}_{when}": round(value, 4)}
    return flat


def _story(labels: Labels, begun: Path, trained_on: str) -> str:
    sources = ", ".join(f"{n} by {source}" for source, n in Counter(label.source for label in labels.labels).items())
    told = f"{trained_on}; then heads of the gap on {len(labels)} gaps ({sources})"
    return f"{told}, begun from {info(KIND, begun).sha256[:12]}"
