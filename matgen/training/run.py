"""Training by name: one configuration → one file of weights."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from matgen.datasets.crystals import CrystalTable
from matgen.datasets.molecules import MoleculeTable
from matgen.errors import UserError
from matgen.nn import layout_embedding
from matgen.nn.ensemble import Ensemble
from matgen.nn.evaluator import Evaluator, EvaluatorInputs
from matgen.nn.geometry_density import GeometryDensity
from matgen.nn.graph_energy import GraphEnergy
from matgen.nn.graph_prior import GraphPrior
from matgen.nn.graph_properties import GraphProperties
from matgen.nn.molecule_evaluator import MoleculeEvaluator
from matgen.nn.structure_properties import StructureProperties
from matgen.nn.template_prior import TemplatePrior
from matgen.nn.template_properties import TemplateProperties
from matgen.nn.trunk import Trunk
from matgen.runtime.config import ConfigError, did_you_mean, from_mapping, read_toml, to_toml
from matgen.runtime.devices import find_device, placed
from matgen.runtime.output import make_folder
from matgen.targets.distributions import Distribution
from matgen.templates.expand import expand
from matgen.templates.noise import CLEAN
from matgen.training.geometry import GeometryObjective
from matgen.training.graph import GraphLoss, GraphObjective
from matgen.training.graph_prior import GraphPriorObjective, SkeletonTable
from matgen.training.heads import fit_heads, fit_structure_heads
from matgen.training.loop import Objective, Schedule, fit
from matgen.training.molecule_negatives import MOLECULE_NEGATIVES
from matgen.training.molecules import element_references, from_states, molecule_targets, numbered
from matgen.training.prior import PriorObjective, unigram_nll
from matgen.training.properties import (
    LikelihoodObjective,
    PropertyTargets,
    calibration_table,
    described,
    fold,
    from_descriptors,
    from_templates,
    predicted,
    trainable,
)
from matgen.training.structures import from_structures
from matgen.weights.models import NETWORKS, USED_BY, load, round_parameters, save, tensors, weights_hash

T = TypeVar("T", CrystalTable, MoleculeTable)

OF_MOLECULES = frozenset(USED_BY["molecule"])

EVALUATOR_SEED, EVALUATOR_SHARE = 2027, 0.8
"""The judge sees this share of the training formulas, those that hash so with this seed."""

MANY_SHAPES = 64
"""How many variants of a compiled layer are kept."""

MOLECULE_EVALUATOR_SHARE = 0.5
"""The judge of molecules sees this share of the training rows, as is the custom for QM9 (Hoogeboom et al. 2022)."""

MOLECULE_LOSS = GraphLoss(
    median_sigma=0.3,
    spread_sigma=1.3,
    lowest_sigma=0.01,
    highest_sigma=4.0,
    low_sigma=(0.01, 0.06),
    contrast=0.2,
    properties=0.1,
    sample_share=0.2,
    own_share=0.25,
)
"""Noise up to twice the size of a molecule, and down to where bonds are exact."""


class DataError(UserError, ValueError):
    """Training data that are not there, or not what they should be."""


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, for how long.

    Attributes:
        kind: one of `NETWORKS`.
        model: configuration of that network.
        data: prepared table; of crystals or of molecules, as the kind needs, if left out.
        folder: receives checkpoint and log; runs/KIND if left out.
        weights: file that receives the weights; KIND.safetensors in the folder if left out.
        init: file of weights to begin from, such as the ones that ship; parameters that it lacks begin at random.
        device: where; weights and checkpoints can be read on any other.
        compiled: compile the layers of a trunk, which takes two minutes and a C++ compiler and pays on a CPU.
        schedule: how long and how fast.
        loss: of a graph energy, the defaults if left out; other kinds have no use for it.
        heads: of a graph energy or of properties of structures: epochs for which the property heads are fitted last,
            the trunk standing still.
        absolute: of properties of structures: weight of mean absolute errors beside the likelihood.
    """

    kind: str
    model: Any = None
    data: Path | None = None
    folder: Path | None = None
    weights: Path | None = None
    init: Path | None = None
    device: str = "cpu"
    compiled: bool = False
    schedule: Schedule = field(default_factory=Schedule)
    loss: GraphLoss | None = None
    heads: int = 0
    absolute: float = 0.0

    @property
    def table_file(self) -> Path:
        """The prepared table."""
        return self.data or Path("cache") / ("molecules.npz" if self.kind in OF_MOLECULES else "crystals.npz")

    @property
    def run_folder(self) -> Path:
        """Where checkpoint and log lie."""
        return self.folder or Path("runs") / self.kind

    @property
    def weights_file(self) -> Path:
        """Where the weights will lie."""
        return self.weights or self.run_folder / f"{self.kind}.safetensors"

    def hasten(self, model: nn.Module) -> None:
        """Compile what pays, if that is asked for."""
        if not self.compiled:
            return
        torch._dynamo.config.cache_size_limit = MANY_SHAPES  # noqa: SLF001 (its documented place)
        for trunk in (module for module in model.modules() if isinstance(module, Trunk)):
            for layer in trunk.layers:
                layer.compile(dynamic=True)


@dataclass(frozen=True)
class Trained:
    """What training gave.

    Attributes:
        path: file of weights.
        figures: on the validation split, of the weights as they are stored.
    """

    path: Path
    figures: dict[str, float]


Predict = Callable[[nn.Module, Tensor], dict[str, Distribution]]
"""Raw distributions by property that a network predicts for rows of a table."""


@dataclass(frozen=True)
class Plan:
    """How a kind of network is trained.

    Attributes:
        model: a fresh one.
        objective: what it is trained for.
        trained_on: on what, in words.
        targets: labels, where properties are predicted.
        predict: property predictions of it, or of a member where it is an ensemble; None where it makes none.
        calibrated_on: rows on which these are calibrated.
    """

    model: nn.Module
    objective: Objective
    trained_on: str
    targets: PropertyTargets = field(default_factory=lambda: PropertyTargets({}))
    predict: Predict | None = None
    calibrated_on: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))


def train_config(raw: Mapping[str, Any]) -> TrainConfig:
    """A training configuration from what a TOML file holds; `kind` says what [model] may say.

    Raises:
        ConfigError: it says something it cannot mean.
    """
    kind = raw.get("kind", "")
    if kind not in NETWORKS:
        raise ConfigError(f"kind: got {kind!r}; {did_you_mean(str(kind), NETWORKS)}")
    energies = ("graph_energy", "molecule_energy")
    belongs = {"loss": energies, "heads": (*energies, "structure_properties"), "absolute": ("structure_properties",)}
    for name, kinds in belongs.items():
        if name in raw and kind not in kinds:
            told = "[loss]" if name == "loss" else name
            raise ConfigError(f"{told} belongs to kinds {' and '.join(kinds)}, got it for {kind}; leave it out")
    if not isinstance(raw.get("heads", 0), int) or raw.get("heads", 0) < 0:
        raise ConfigError(f"expected heads as a number of epochs, 0 for none, got {raw['heads']!r}")
    rest = {name: value for name, value in raw.items() if name != "model"}
    model: Any = from_mapping(NETWORKS[kind].config, raw.get("model", {}), where="model")
    return replace(from_mapping(TrainConfig, rest), model=model)


def load_train_config(path: Path) -> TrainConfig:
    """Read a training configuration from a TOML file.

    Raises:
        ConfigError: the file cannot be read, or says something it cannot mean.
    """
    raw = read_toml(path)
    try:
        return train_config(raw)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def train(config: TrainConfig, report: Callable[[Mapping[str, Any]], None] = lambda _: None) -> Trained:
    """Train, or go on from the checkpoint in the folder; calibrate; write the weights.

    Args:
        config: what, on what, how long.
        report: hears every line of the log.

    Raises:
        DeviceError: the device is not there.
        DataError: there is no prepared table, or it is damaged.
        OutputError: a folder cannot be written.
        CheckpointError: the checkpoint in the folder is damaged, or of another model.
        DivergedError: the loss is not finite.
    """
    device = find_device(config.device)
    table = table_of(config)
    folder = config.run_folder
    make_folder(folder, "--folder")
    make_folder(config.weights_file.parent, "--weights")
    (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
    torch.manual_seed(config.schedule.seed)
    plan = PLANS[config.kind](table.to(device), config)
    origin = _origin(config, plan.model)
    fitted = fit(plan.model.to(device), plan.objective, config.schedule, folder, report=report, hasten=config.hasten)
    if config.heads:
        _fit_heads_last(fitted, plan.objective, config)
    origin = f", begun from {origin}" if origin else ""
    return _finished(fitted, plan, config, table, f"{plan.trained_on}{origin}", report)


def join(
    config: TrainConfig, files: Sequence[Path], report: Callable[[Mapping[str, Any]], None] = lambda _: None
) -> Trained:
    """Make one ensemble of the members of several files, which were trained apart, and calibrate it as a whole.

    Args:
        config: as for training; the schedule is not looked at.
        files: of one kind and of one size of network.
        report: hears the figures.

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
    return _finished(plan.model, plan, whole, table, f"{plan.trained_on}, members trained apart", report)


def _fit_heads_last(model: nn.Module, objective: Objective, config: TrainConfig) -> None:
    """Property heads to a trunk that stands still, where a kind has both."""
    seed = config.schedule.seed
    if isinstance(model, GraphEnergy) and isinstance(objective, GraphObjective):
        fit_heads(model, objective, config.heads, seed)
    elif isinstance(model, Ensemble) and isinstance(objective, LikelihoodObjective):
        for number, member in enumerate(model.members):
            fit_structure_heads(member, objective, config.heads, seed + number)  # type: ignore[arg-type]


def _finished(
    fitted: nn.Module,
    plan: Plan,
    config: TrainConfig,
    table: CrystalTable | MoleculeTable,
    told: str,
    report: Callable[[Mapping[str, Any]], None],
) -> Trained:
    """Rounded, calibrated, measured and written."""
    model = round_parameters(fitted.eval())
    if plan.predict is not None:
        calibrate(model, plan.predict, plan.targets, plan.calibrated_on)
    figures = plan.objective.validate(model)
    if isinstance(table, CrystalTable) and config.kind == "template_prior":
        figures["nll_unigram"] = unigram_nll(table)
    path = save(model, config.weights_file, kind=config.kind, trained_on=told, figures=figures)
    report({"weights": str(path), **figures})
    return Trained(path, figures)


@torch.no_grad()
def calibrate(model: nn.Module, predict: Predict, targets: PropertyTargets, rows: Tensor) -> None:
    """Calibrate property heads on these rows, in place; the members of an ensemble alike, so that their mixture is."""
    members = list(model.members) if isinstance(model, Ensemble) else [model]
    parts = [placed(predict(member, rows), "cpu") for member in members]
    found = calibration_table(parts, placed(targets.rows(rows), "cpu"))
    for member in members:
        member.heads.calibration.copy_(found)  # type: ignore[union-attr,operator]


def _origin(config: TrainConfig, model: nn.Module) -> str:
    """Begin from the weights that are asked for, unless there is a checkpoint to go on from; what was begun from.

    Raises:
        DataError: the checkpoint began from other weights than are asked for now.
    """
    note = config.run_folder / "begun_from.txt"
    asked = f"{config.init.name} {weights_hash(config.kind, config.init)[:12]}" if config.init else ""
    if not (config.run_folder / "checkpoint.pt").exists():
        if config.init is not None:
            begin_from(model, config.kind, config.init)
        note.write_text(asked, encoding="utf-8")
        return asked
    begun = note.read_text(encoding="utf-8") if note.exists() else ""
    if asked and asked != begun:
        raise DataError(
            f"expected a training that began from {asked} in {config.run_folder}, which holds one that began from "
            f"{begun or 'random numbers'}; choose another --folder, or leave --init out to go on"
        )
    return begun


def begin_from(model: nn.Module, kind: str, path: Path) -> None:
    """Give a fresh network all trained parameters of another of its kind; what that one lacks begins at random.

    Raises:
        WeightsError: no such file, or one that is damaged or of another kind.
        DataError: the file holds a parameter that this network has not, or not in this size, or other layouts.
    """
    known, found = model.state_dict(), tensors(kind, path)
    for name, value in found.items():
        if name not in known or known[name].shape != value.shape:
            here = tuple(known[name].shape) if name in known else "nothing of that name"
            raise DataError(
                f"{path} holds {name} of size {tuple(value.shape)}, expected {here}; give [model] the sizes of that "
                "file and train on its crystals, or begin without --init"
            )
    if "memory.keys" in found and not torch.equal(found["memory.keys"], known["memory.keys"].cpu()):
        raise DataError(f"{path} remembers other layouts than these crystals have; begin without --init")
    buffers = {name for name, _ in model.named_buffers()}
    model.load_state_dict({n: v.float() for n, v in found.items() if n not in buffers}, strict=False)


def table_of(config: TrainConfig) -> CrystalTable | MoleculeTable:
    """The prepared table that a kind of network is trained on.

    Raises:
        DataError: there is none, or it is damaged.
    """
    if config.kind in OF_MOLECULES:
        return read_table(config.table_file, MoleculeTable)
    return read_table(config.table_file, CrystalTable)


def read_table(path: Path, of: type[T]) -> T:
    """A prepared table, of crystals or of molecules.

    Raises:
        DataError: there is none, or it is damaged.
    """
    if not path.is_file():
        raise DataError(f"expected a prepared table at {path}; make one with `matgen data prepare FOLDER`")
    try:
        return of.load(path)
    except (ValueError, KeyError, TypeError, EOFError, OSError, BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a prepared table ({error}); make one with `matgen data prepare`") from error


def validation(table: CrystalTable) -> Tensor:
    """Validation rows whose labels are complete: those of MP-20's own validation split."""
    return (table.mp20_split == 1).nonzero().ravel()


def _template_prior(table: CrystalTable, config: TrainConfig) -> Plan:
    objective = PriorObjective(table)
    return Plan(TemplatePrior(config.model), objective, _rows(len(objective.train)))


def _template_properties(table: CrystalTable, config: TrainConfig) -> Plan:
    train = trainable(table).nonzero().ravel()
    targets = PropertyTargets.of(table, train)
    objective = from_templates(table, targets, train, validation(table))
    model = Ensemble(TemplateProperties, config.model)
    return Plan(model, objective, _rows(len(train)), targets, objective.predict, objective.val)


def _geometry_density(table: CrystalTable, config: TrainConfig) -> Plan:
    objective = GeometryObjective(table)
    known = table.templates.select(objective.rows)
    n_layouts, n_parameters = layout_embedding.sizes(known)
    model = GeometryDensity(replace(config.model, known_layouts=n_layouts, known_numbers=n_parameters))
    model.memory.know(known)
    return Plan(model, objective, _rows(len(objective.rows)))


def _graph_energy(table: CrystalTable, config: TrainConfig) -> Plan:
    rows = trainable(table).nonzero().ravel()
    val = (table.split == 1).nonzero().ravel()[::9]
    objective = GraphObjective(table, rows, val, PropertyTargets.of(table, rows), config.loss or GraphLoss())

    def predict(model: nn.Module, rows: Tensor) -> dict[str, Distribution]:
        return predicted(lambda chunk: model.heads(_embedding(model, table, chunk)), rows, batch_size=128)  # type: ignore[operator]

    model = GraphEnergy(config.model)
    return Plan(model, objective, _rows(len(objective.rows)), objective.targets, predict, validation(table))


def _embedding(model: nn.Module, table: CrystalTable | MoleculeTable, rows: Tensor) -> Tensor:
    """What the property heads of a graph energy read of noiseless geometries (n_rows, width)."""
    templates = table.templates.select(rows)
    state = expand(templates, table.geometry.select(table.templates, rows))
    return model(state, state.cell.new_full(rows.shape, CLEAN)).embedding


def _structure_properties(table: CrystalTable, config: TrainConfig) -> Plan:
    train, val = trainable(table).nonzero().ravel(), validation(table)
    targets = PropertyTargets.of(table, train)
    objective = from_structures(table, targets, train, val, config.model.trunk.cutoff)
    objective = replace(objective, absolute=config.absolute)
    model = Ensemble(StructureProperties, config.model)
    return Plan(model, objective, _rows(len(train)), targets, objective.predict, val)


def _evaluator(table: CrystalTable, config: TrainConfig) -> Plan:
    train = (trainable(table) & fold(table, EVALUATOR_SEED, EVALUATOR_SHARE)).nonzero().ravel()
    val = validation(table)
    targets = PropertyTargets.of(table, train)
    known = _described_once(table, torch.cat([train, val]), config.run_folder)
    objective = from_descriptors(known, targets, train, val)
    model = Ensemble(Evaluator, config.model)
    for member in model.members:
        member.standardize(objective.inputs(train, None))  # type: ignore[operator]
    told = f"{_rows(len(train))} (formulas that hash below {EVALUATOR_SHARE} with seed {EVALUATOR_SEED})"
    return Plan(model, objective, told, targets, objective.predict, val)


def _described_once(table: CrystalTable, rows: Tensor, folder: Path) -> tuple[Tensor, EvaluatorInputs]:
    """Rows and their descriptors, from the file that an earlier run left in the folder if there is one."""
    path = folder / "described.pt"
    if not path.exists():
        make_folder(folder, "--folder")
        torch.save(placed({"rows": rows, **vars(described(table, rows))}, "cpu"), path)
    stored = torch.load(path, weights_only=True)
    if not torch.equal(stored.pop("rows"), rows.cpu()):
        raise DataError(f"{path} describes other rows than {len(rows)} of this table; delete it and run again")
    return rows, placed(EvaluatorInputs(**stored), rows.device)


def _graph_prior(table: MoleculeTable, config: TrainConfig) -> Plan:
    train, val = (SkeletonTable.of(table.select(table.split == split)) for split in (0, 1))
    objective = GraphPriorObjective(train, val)
    return Plan(GraphPrior(config.model), objective, _rows(len(objective.train)))


def _of_qm9(table: MoleculeTable) -> tuple[Tensor, Tensor]:
    """Rows to train on, and those to validate on."""
    return (table.split == 0).nonzero().ravel(), (table.split == 1).nonzero().ravel()


def _molecule_properties(table: MoleculeTable, config: TrainConfig) -> Plan:
    train, val = _of_qm9(table)
    targets = molecule_targets(table)
    model = Ensemble(GraphProperties, config.model)
    for member in model.members:
        member.readout.references.copy_(element_references(table, train))  # type: ignore[union-attr,operator]
    objective = from_templates(table, targets, train, val[::9])
    return Plan(model, objective, _rows(len(train)), targets, objective.predict, val)


def _molecule_energy(table: MoleculeTable, config: TrainConfig) -> Plan:
    train, val = _of_qm9(table)
    targets = molecule_targets(table)
    objective = GraphObjective(table, train, val[::40], targets, config.loss or MOLECULE_LOSS, MOLECULE_NEGATIVES)
    model = GraphEnergy(config.model)
    model.readout.of_scalars.references.copy_(element_references(table, train))

    def predict(network: nn.Module, rows: Tensor) -> dict[str, Distribution]:
        return predicted(lambda chunk: network.heads(_embedding(network, table, chunk)), rows, batch_size=128)  # type: ignore[operator]

    return Plan(model, objective, _rows(len(train)), targets, predict, val[::4])


def _molecule_evaluator(table: MoleculeTable, config: TrainConfig) -> Plan:
    train, val = _of_qm9(table)
    half = train[numbered(table.index[train], EVALUATOR_SEED, MOLECULE_EVALUATOR_SHARE)]
    targets = molecule_targets(table)
    model = Ensemble(MoleculeEvaluator, config.model)
    for member in model.members:
        member.readout.of_scalars.references.copy_(element_references(table, half))  # type: ignore[union-attr,operator]
    objective = from_states(table, targets, half, val[::9])
    told = f"{_rows(len(half))} (numbers that hash below {MOLECULE_EVALUATOR_SHARE} with seed {EVALUATOR_SEED})"
    return Plan(model, objective, told, targets, objective.predict, val[::4])


def _rows(n: int) -> str:
    return f"{n} rows of the split `train`"


PLANS: dict[str, Callable[[Any, TrainConfig], Plan]] = {
    "template_prior": _template_prior,
    "template_properties": _template_properties,
    "geometry_density": _geometry_density,
    "graph_energy": _graph_energy,
    "structure_properties": _structure_properties,
    "evaluator": _evaluator,
    "graph_prior": _graph_prior,
    "molecule_properties": _molecule_properties,
    "molecule_energy": _molecule_energy,
    "molecule_evaluator": _molecule_evaluator,
}
