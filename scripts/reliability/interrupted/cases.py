"""Small runs of each command, with the inputs that they need, made of data/textbook."""

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pymatgen.core import Structure

from matgen.datasets.crystals import CrystalTable
from matgen.nn.structure_properties import StructurePropertiesConfig
from matgen.nn.trunk import TrunkConfig
from matgen.structures.conversion import described
from matgen.templates.batch import TemplateBatch, concatenated
from matgen.weights.files import save
from matgen.weights.kinds import NETWORKS

TEXTBOOK = Path(__file__).resolve().parents[3] / "data" / "textbook"

DESIGN = """relax = "none"
[targets]
band_gap = "<2"
[composition]
max_atoms = 5
[search]
n = 3
seed = 3
over_generation = 1
[selection]
confidence = 0.05
[sampler]
move_steps = 4
started = 5
shaped = 2
geometries = 1
prototypes = 1
"""
"""Candidates of several units of work, in seconds."""

MOLECULES = """kind = "molecule"
relax = "xtb"
[composition]
max_atoms = 4
[search]
n = 3
seed = 3
over_generation = 1
[sampler]
move_steps = 4
started = 3
shaped = 2
geometries = 1
initial_levels = 10
settle_levels = 10
"""

TRAIN = """kind = "template_properties"
[model]
members = 1
width = 16
layers = 1
heads = 2
hidden = 8
[schedule]
steps = 24
batch_size = 16
warmup = 2
log_every = 3
validate_every = 4
"""
"""Two passes over the 47 rows for training, with a checkpoint every fourth step and a line of the log every third."""

SMILES = "O water|C methane|CO methanol|N ammonia|CC ethane|C=O methanal|C#N cyanide|CN amine|FC fluoride|CCO ethanol"

LEARNED = "structure_properties"
TRUNK = TrunkConfig(channels=4, layers=1, n_radial=4, both_ends=True)
ENSEMBLE = StructurePropertiesConfig(members=2, trunk=TRUNK, hidden=4)
"""Networks whose heads are fitted in a second."""


@dataclass(frozen=True)
class Case:
    """A command that is interrupted.

    Attributes:
        name: of the case; its first word is the command.
        arguments: of the command, without the place of its output.
        out: option that names that place.
        file: name of the file that the option wants; empty for a folder.
        ordered: whether lines of `rows.jsonl` come in a fixed order, and no process works ahead.
    """

    name: str
    arguments: tuple[str, ...]
    out: str = "--out"
    ordered: bool = True

    def command(self, folder: Path) -> list[str]:
        """Return the arguments of a run that writes into a folder."""
        return [*self.arguments, self.out, str(folder)]


def cases(inputs: Path) -> dict[str, Case]:
    """Write the inputs of all cases into a folder that may hold them, and return the cases by name."""
    if not (inputs / "complete").exists():
        _write(inputs)
        (inputs / "complete").touch()
    crystals, molecules = str(inputs / "crystals"), str(inputs / "molecules.smi")
    table, pairs = str(inputs / "crystals.npz"), str(inputs / "few")
    weights, screen = str(inputs / "weights"), ("screen", crystals, "--jobs")
    found = [
        Case("design", ("design", "--fast", "--processes", "1", "--config", str(inputs / "design.toml"))),
        Case(
            "design-two",
            ("design", "--fast", "--processes", "2", "--config", str(inputs / "design.toml")),
            ordered=False,
        ),
        Case("design-molecules", ("design", "--processes", "1", "--config", str(inputs / "molecules.toml"))),
        Case("screen", (*screen, "1", "--reference", "none", "--known", "none")),
        Case("screen-all", (*screen, "1", "--bandgap", "1:4")),
        Case("screen-two", (*screen, "2", "--reference", "none", "--known", "none"), ordered=False),
        Case(
            "evaluate",
            ("evaluate", pairs, "--csp", pairs, "--relax", "none", "--reference", crystals, "--bootstrap", "20"),
        ),
        Case(
            "evaluate-relaxed", ("evaluate", molecules, "--relax", "xtb", "--reference", molecules, "--bootstrap", "20")
        ),
        Case("verify", ("verify", molecules, "--jobs", "1")),
        Case("verify-gpaw", ("verify", pairs, "--top", "3", "--jobs", "1", "--cutoff", "150", "--kpoints", "1")),
        Case("learn", ("learn", str(inputs / "gaps.csv"), "--data", table, "--replay", "10", "--weights", weights)),
        Case("train", ("train", str(inputs / "train.toml"), "--data", table), out="--folder"),
    ]
    return {case.name: case for case in found}


def _write(inputs: Path) -> None:
    """Write 20 crystals, 6 of them again, 10 molecules, gaps, configurations, and a prepared table."""
    with (TEXTBOOK / "index.csv").open(encoding="utf-8", newline="") as stream:
        entries = list(csv.DictReader(stream))
    for folder, some in (("crystals", entries[:20]), ("few", entries[16:22])):
        (inputs / folder).mkdir(parents=True, exist_ok=True)
        for entry in some:
            shutil.copy(TEXTBOOK / entry["file"], inputs / folder)
    (inputs / "molecules.smi").write_text(SMILES.replace("|", "\n") + "\n", encoding="utf-8")
    (inputs / "design.toml").write_text(DESIGN, encoding="utf-8")
    (inputs / "molecules.toml").write_text(MOLECULES, encoding="utf-8")
    (inputs / "train.toml").write_text(TRAIN, encoding="utf-8")
    with (inputs / "gaps.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["name", "cif", "band_gap"])
        for entry in [entry for entry in entries if entry["band_gap"]][:5]:
            text = (TEXTBOOK / entry["file"]).read_text(encoding="utf-8")
            table.writerow([entry["formula"], text, entry["band_gap"]])
    _table(entries).save(inputs / "crystals.npz")
    torch.manual_seed(0)
    ensemble = NETWORKS[LEARNED].build(ENSEMBLE)
    save(ensemble, inputs / "weights" / f"{LEARNED}.safetensors", kind=LEARNED, trained_on="nothing", figures={})


def _table(entries: list[dict[str, str]]) -> CrystalTable:
    """Return a prepared table of the smaller crystals with made-up labels, two thirds of them for training."""
    every = [Structure.from_file(TEXTBOOK / entry["file"]) for entry in entries]
    pairs = [described(one) for one in every if len(one.get_primitive_structure()) <= 20]
    templates, geometry = concatenated([(TemplateBatch.of([template]), one) for template, one in pairs])
    n = len(pairs)
    numbers = torch.rand(n, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, -2.0, 0.1, -4.0])
    labels = dict(zip(("band_gap", "e_form", "energy_above_hull", "chgnet_energy"), numbers.T, strict=True))
    split, ones = torch.arange(n) % 3 // 2, torch.ones(n)
    names, sources = np.array([f"t{i}" for i in range(n)]), np.full(n, "made up")
    return CrystalTable(names, templates, geometry, split, split, labels, sources, ones.bool(), ones, ones.bool())
