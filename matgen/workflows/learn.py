"""Refit the gap heads of an ensemble to calculated gaps, and write weights and errors."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from matgen.learning.cross_validation import GapFit, learn
from matgen.learning.gap_errors import METAL, Errors
from matgen.learning.labels import Label, Labels, digest
from matgen.learning.rows import LabelError
from matgen.learning.training_rows import LearnConfig, training_rows
from matgen.nn.ensemble import Ensemble
from matgen.nn.structure_properties import StructureInputs
from matgen.runtime.failures import each
from matgen.runtime.folder_lock import FolderLock
from matgen.runtime.output import make_folder, replace_file, writing
from matgen.runtime.progress import Report, Silence
from matgen.screening.crystals import primitive_cell
from matgen.structures.conversion import state_of
from matgen.training.refit import GapHeads, GapLabels, read_by_heads
from matgen.weights.files import WEIGHTS, WeightsError, info, save, weights_file
from matgen.weights.models import load

KIND = "structure_properties"
FIGURES = "learned.json"

TRUSTED = 8
"""Labels, and half as many formulas, below which held-out errors mean little."""


@dataclass(frozen=True)
class Learned:
    """Result of a call.

    Attributes:
        path: file of weights.
        fit: heads and their errors.
        labels: number of gaps.
        metals: number of metals among them.
        formulas: number of different formulas.
        skipped: names and reasons of what was left out.
        trusted: whether there were enough gaps for the held-out errors to mean something.
        training: errors on validation rows before and after, if a table was given.
    """

    path: Path
    fit: GapFit
    labels: int
    metals: int
    formulas: int
    skipped: tuple[tuple[str, str], ...]
    trusted: bool
    training: tuple[Errors, Errors] = (Errors(), Errors())


def run(labels: Labels, folder: Path, config: LearnConfig | None = None, *, report: Report | None = None) -> Learned:
    """Learn gaps and write weights and errors into a folder.

    Args:
        labels: gaps and crystals.
        folder: receives `structure_properties.safetensors`, `hashes.json` and `learned.json`.
        config: settings.
        report: receives the progress.

    Raises:
        LabelError: there is nothing to learn.
        WeightsError: initial weights that are missing or damaged, or that would be overwritten.
        DataError: the file is no prepared table.
        OutputError: the folder cannot be written.
    """
    config, tell = config or LearnConfig(), report or Silence()
    if not labels.labels:
        raise LabelError("expected gaps to learn from, got none")
    begun = weights_file(KIND, config.weights)
    if folder.resolve() in {WEIGHTS.resolve(), begun.parent.resolve()}:
        raise WeightsError(f"expected a folder of its own for what is learned, got {folder}; name another --out")
    make_folder(folder, "--out")
    with FolderLock(folder):
        return _learned(labels, folder, config, tell, begun)


def _learned(labels: Labels, folder: Path, config: LearnConfig, tell: Report, begun: Path) -> Learned:
    model = load(KIND, begun)
    if not isinstance(model, Ensemble):
        raise WeightsError(f"expected an ensemble in {begun}; name another folder")
    labels, gaps = readable_labels(model, labels, tell)
    shown, others = training_rows(model, config, tell)
    groups = [label.structure.composition.reduced_formula for label in labels.labels]
    fit = learn(GapHeads(model), gaps, groups, shown, tell)
    training = (_errors(GapHeads(model), others, None), _errors(GapHeads(model), others, fit))
    trusted = len(labels) >= TRUSTED and len(set(groups)) >= TRUSTED // 2
    metals = int((gaps.gap <= METAL).sum())
    path = folder / f"{KIND}.safetensors"
    found = Learned(path, fit, len(labels), metals, len(set(groups)), labels.skipped, trusted, training)
    figures = as_figures(found, labels, begun)
    learned = deepcopy(model)
    GapHeads(model).put_into(learned, fit.parameters, fit.calibration)
    header = info(KIND, begun)
    with writing(folder):
        save(learned, path, kind=KIND, trained_on=_history(labels, begun, header.trained_on), figures=_header(figures))
        replace_file(folder / FIGURES, json.dumps(figures, indent=1) + "\n")
    return found


def readable_labels(model: Ensemble, labels: Labels, report: Report) -> tuple[Labels, GapLabels]:
    """Return labels, also as inputs of the gap heads of a model; one that raises an exception is left out with it.

    Raises:
        LabelError: nothing is left to learn.
    """
    faults: dict[str, str] = {}
    parts: list[Tensor] = []

    def read(label: Label) -> Label:
        parts.append(read_by_heads(model, StructureInputs(state_of([primitive_cell(label.structure)]))))
        return label

    def failed(label: Label, reason: str) -> None:
        faults[label.name] = reason

    kept: list[Label] = []
    for number, label in enumerate(labels.labels):
        kept += filter(None, each(read, [label], failed))
        report("read", number + 1, len(labels))
    if not kept:
        name, reason = next(iter(faults.items()))
        raise LabelError(f"expected gaps of crystals that the network can read, found none: {name}: {reason}")
    gap = torch.tensor([label.gap for label in kept], dtype=torch.float64)
    skipped = (*labels.skipped, *faults.items())
    return Labels(tuple(kept), skipped), GapLabels(torch.cat(parts, dim=1), gap, torch.ones_like(gap))


def _errors(heads: GapHeads, labels: GapLabels, fit: GapFit | None) -> Errors:
    if not len(labels):
        return Errors()
    parameters, calibration = (heads.begun, heads.calibration) if fit is None else (fit.parameters, fit.calibration)
    return Errors.of(heads.mixture(parameters, labels.read, calibration), labels.gap)


def as_figures(found: Learned, labels: Labels, begun: Path) -> dict[str, Any]:
    """Return the content of `learned.json`."""
    fit = found.fit
    figures = {
        "labels": found.labels,
        "metals": found.metals,
        "formulas": found.formulas,
        "sources": dict(Counter(label.source for label in labels.labels)),
        "begun_from": info(KIND, begun).sha256,
        "trusted": found.trusted,
        "penalty": fit.penalty,
        "calibration": asdict(fit.calibration),
        "held_out": {"before": asdict(fit.before), "after": asdict(fit.after)},
        "seen": {"before": asdict(fit.seen_before), "after": asdict(fit.seen_after)},
        "validation_rows": {"before": asdict(found.training[0]), "after": asdict(found.training[1])},
        "crystals": {label.name: digest(label.structure) for label in labels.labels},
        "skipped": dict(found.skipped),
    }
    return _finite(figures)


def _finite(value: Any) -> Any:
    """Replace numbers that are not finite by None."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _header(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures for the header of the new weights; those of the initial weights do not apply to them."""
    flat = {"learned_labels": figures["labels"]}
    for when in ("before", "after"):
        for name in ("mae", "nll", "coverage"):
            value = figures["held_out"][when][name]
            flat |= {} if value is None else {f"held_out_{name}_{when}": round(value, 4)}
    return flat


def _history(labels: Labels, begun: Path, trained_on: str) -> str:
    sources = ", ".join(f"{n} by {source}" for source, n in Counter(label.source for label in labels.labels).items())
    heads = f"{trained_on}; then heads of the gap on {len(labels)} gaps ({sources})"
    return f"{heads}, begun from {info(KIND, begun).sha256[:12]}"
