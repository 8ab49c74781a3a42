"""Training by kind: one configuration → one file of weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from matgen.datasets.crystals import CrystalTable
from matgen.datasets.molecules import MoleculeTable
from matgen.datasets.shards import ShardedCrystals
from matgen.nn.ensemble import Ensemble
from matgen.nn.graph_energy import GraphEnergy
from matgen.runtime.config import to_toml
from matgen.runtime.devices import find_device
from matgen.runtime.output import make_folder, replace_file, writing
from matgen.training import (
    evaluator,
    geometry_density,
    graph_energy,
    graph_prior,
    molecule_energy,
    molecule_evaluator,
    molecule_properties,
    structure_properties,
    template_prior,
    template_properties,
)
from matgen.training.calibration import calibrate
from matgen.training.config import OF_MOLECULES, TrainConfig
from matgen.training.graph_energy import GraphObjective
from matgen.training.heads import fit_heads, fit_structure_heads
from matgen.training.initial_weights import initialise
from matgen.training.likelihood import LikelihoodObjective
from matgen.training.loop import Objective, fit
from matgen.training.parallel import ALONE, Processes
from matgen.training.plan import Plan
from matgen.training.tables import DataError, read_crystals, read_table
from matgen.weights.files import round_parameters, save
from matgen.weights.models import load

PLANS: dict[str, Callable[[Any, TrainConfig], Plan]] = {
    "template_prior": template_prior.plan,
    "template_properties": template_properties.plan,
    "geometry_density": geometry_density.plan,
    "graph_energy": graph_energy.plan,
    "structure_properties": structure_properties.plan,
    "evaluator": evaluator.plan,
    "graph_prior": graph_prior.plan,
    "molecule_properties": molecule_properties.plan,
    "molecule_energy": molecule_energy.plan,
    "molecule_evaluator": molecule_evaluator.plan,
}

IN_MEMORY = frozenset({"geometry_density"})
"""Kinds of crystals that need the whole table in memory."""


@dataclass(frozen=True)
class Trained:
    """Result of a training.

    Attributes:
        path: file of weights.
        figures: on the validation split, of the weights as they are stored.
    """

    path: Path
    figures: dict[str, float]


def train(
    config: TrainConfig,
    report: Callable[[Mapping[str, Any]], None] = lambda _: None,
    processes: Processes = ALONE,
) -> Trained:
    """Train, or resume from the checkpoint in the folder; calibrate; write the weights.

    Args:
        config: kind, data and schedule.
        report: called by the first process with each line of the log.
        processes: that share each batch, from `matgen.training.parallel.joined`. The first one writes all files, and
            has the figures; for the others they are empty.

    Raises:
        DeviceError: the device is not available.
        DataError: there is no prepared table, or it is damaged.
        OutputError: a folder cannot be written.
        CheckpointError: the checkpoint in the folder is damaged, or of another model.
        DivergedError: the loss is not finite.
        ParallelError: the processes do not fit together, or one ended.
    """
    device = find_device(processes.device(config.device))
    table = table_of(config)
    folder = config.run_folder
    if processes.is_first:
        make_folder(folder, "--folder")
        make_folder(config.weights_file.parent, "--weights")
        with writing(folder):
            replace_file(folder / "config.toml", to_toml(config))
    plan = _planned(config, table.to(device), processes)
    origin = initialise(config, plan.model, store=processes.is_first)
    model, work = plan.model.to(device), config.compile_layers
    fitted = fit(model, plan.objective, config.schedule, folder, report=report, accelerate=work, processes=processes)
    if not processes.is_first:
        return Trained(config.weights_file, {})
    if config.heads:
        _fit_heads_last(fitted, plan.objective, config)
    origin = f", begun from {origin}" if origin else ""
    return _finished(replace(plan, model=fitted, trained_on=f"{plan.trained_on}{origin}"), config, table, report)


def _planned(config: TrainConfig, table: CrystalTable | ShardedCrystals | MoleculeTable, processes: Processes) -> Plan:
    """Return the plan of a training; the first process makes it first, since it may store parts of it in the folder."""
    if not processes.is_first:
        processes.wait()
    torch.manual_seed(config.schedule.seed)
    plan = PLANS[config.kind](table, config)
    if processes.is_first:
        processes.wait()
    return plan


def join(
    config: TrainConfig, files: Sequence[Path], report: Callable[[Mapping[str, Any]], None] = lambda _: None
) -> Trained:
    """Join the members of several files, which were trained apart, in one ensemble, and calibrate it as a whole.

    Args:
        config: as for training; the schedule is not used.
        files: of one kind and of one size of network.
        report: called with the figures.

    Raises:
        WeightsError: a file that is missing, damaged, or of another kind.
        DataError: networks of different sizes, or a kind that is no ensemble.
    """
    ensembles = [load(config.kind, path) for path in files]
    if not ensembles or not all(isinstance(one, Ensemble) for one in ensembles):
        raise DataError(f"expected files of ensembles to join, got {len(files)} of kind {config.kind}")
    members = [member for one in ensembles for member in one.members]  # type: ignore[union-attr]
    sizes = {str(replace(one.config, members=1)) for one in ensembles}  # type: ignore[type-var]
    if len(sizes) > 1:
        raise DataError(f"expected networks of one size, got {' and '.join(sorted(sizes))}; train them alike")
    table = table_of(config)
    whole = replace(config, model=replace(ensembles[0].config, members=len(members)))  # type: ignore[type-var]
    plan = PLANS[config.kind](table, whole)
    for mine, found in zip(plan.model.members, members, strict=True):  # type: ignore[arg-type]
        mine.load_state_dict(found.state_dict())
    return _finished(replace(plan, trained_on=f"{plan.trained_on}, members trained apart"), whole, table, report)


def table_of(config: TrainConfig) -> CrystalTable | ShardedCrystals | MoleculeTable:
    """Return the prepared table that a kind of network is trained on; shards stay on the disk where the kind allows.

    Raises:
        DataError: there is none, or it is damaged.
    """
    if config.kind in OF_MOLECULES:
        return read_table(config.table_file, MoleculeTable)
    if config.kind in IN_MEMORY:
        return read_table(config.table_file, CrystalTable)
    return read_crystals(config.table_file)


def _fit_heads_last(model: nn.Module, objective: Objective, config: TrainConfig) -> None:
    """Fit property heads with the trunk fixed, where a kind has both."""
    seed = config.schedule.seed
    if isinstance(model, GraphEnergy) and isinstance(objective, GraphObjective):
        fit_heads(model, objective, config.heads, seed)
    elif isinstance(model, Ensemble) and isinstance(objective, LikelihoodObjective):
        for number, member in enumerate(model.members):
            fit_structure_heads(member, objective, config.heads, seed + number)  # type: ignore[arg-type]


def _finished(
    plan: Plan,
    config: TrainConfig,
    table: CrystalTable | ShardedCrystals | MoleculeTable,
    report: Callable[[Mapping[str, Any]], None],
) -> Trained:
    """Round, calibrate, validate and save the model of a plan."""
    model = round_parameters(plan.model.eval())
    if plan.predict is not None:
        calibrate(model, plan.predict, plan.targets, plan.calibrated_on)
    figures = plan.objective.validate(model)
    if not isinstance(table, MoleculeTable) and config.kind == "template_prior":
        figures["nll_unigram"] = template_prior.unigram_nll(table)
    path = save(model, config.weights_file, kind=config.kind, trained_on=plan.trained_on, figures=figures)
    report({"weights": str(path), **figures})
    return Trained(path, figures)
