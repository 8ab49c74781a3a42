"""Molecules by the shipped models: sampled freely, shaped for given graphs, and designed for gaps.

`python scripts/benchmarks/evaluate_molecules.py --table cache/molecules.npz`: four measurements on QM9's scale.

free      3 n samples of the prior with one geometry each: EDM's protocol for all, and for the n that rank best by the
          energy among those that show their graph and stereo, by weight of novelty; some relaxed by GFN2-xTB.
shaped    geometries for graphs of QM9's test split with their stereo, as design samples them for a given graph: RMSD
          to the GFN2-xTB minimum, energy drop, stereo; beside RDKit's ETKDG + MMFF94 and QM9's own.
gaps      molecules designed for random gaps of the test split: mean absolute error by the evaluator, which takes no
          part in the design, and by calibrated GFN2-xTB.
labels    errors of the three property models on the test split.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from matgen.checks.molecular_graph import shows_template, stereo_of_geometry
from matgen.datasets.molecules import LABELS
from matgen.energies.graph import GraphPredictor
from matgen.generation.generate import generate
from matgen.generation.kinds.molecules import Molecules
from matgen.generation.presets import preset_of
from matgen.generation.request import Request
from matgen.generation.total_energy import ranking_terms
from matgen.relaxation.xtb import relax_molecule
from matgen.relaxation.xtb_properties import calibrated_gap, electronic, gap_from_levels
from matgen.runtime.progress import Silence
from matgen.samplers.initial_geometry import InitialGeometries
from matgen.structures.conversion import state_of, structures
from matgen.structures.rmsd import rmsd
from matgen.targets.distributions import median
from matgen.templates.batch import molecules_of
from matgen.templates.expand import expand
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.noise import CLEAN
from matgen.weights.models import MoleculeModels, load, load_molecule_models
from reports.molecules import OVERDRAWN, figures, molecules, pages
from shared.measurement import Measurement, Task
from shared.options import parser

TOGETHER = 40
"""Molecules per task."""


RELAXED = 200
"""How many of the first samples are relaxed."""


GAPS = 20
"""Target gaps, with five molecules each."""

SHAPED = 200
"""Test molecules that receive a geometry."""

Terms = dict[str, torch.Tensor]


@cache
def models() -> MoleculeModels:
    """Return the models that design uses, loaded once per process."""
    return load_molecule_models()


@cache
def kind(gap: float | None = None, n: int = 1) -> Molecules:
    """Return the kind for a design with this target."""
    targets = {} if gap is None else {"targets": {"gap": gap}}
    request = Request.of(kind="molecule", n=n, **preset_of("molecule"), **targets)
    return Molecules(request, models())


def begun(
    templates: Sequence[MoleculeTemplate], geometries: int, trials: int, generator: torch.Generator
) -> tuple[InitialGeometries, Terms]:
    """Return initial geometries of each template, and the terms of the energy that ranks them."""
    sampler = replace(kind().request.sampler, geometries=geometries, initial_trials=trials)
    request = replace(kind().request, sampler=sampler)
    maker = replace(kind(), request=request)
    found = maker.initial_geometries(templates, generator)
    level = found.geometry.lattice.new_full(found.owner.shape, request.sampler.choose_sigma)
    return found, ranking_terms(found.templates, found.geometry, level, request, maker)


def free(task: Task) -> list[dict[str, Any]]:
    """Return unselected samples; those that are no complete molecule are missing and count as failed."""
    generator, n = task.generator(), task.how["n"]
    initial_geometries, terms = begun(molecules_of(kind().sample(n, generator)), 1, 1, generator)
    found = structures(expand(initial_geometries.templates, initial_geometries.geometry))
    rows = []
    for i, (name, molecule) in enumerate(zip(initial_geometries.templates.smiles, found, strict=True)):
        row = {"smiles": name, **_placed(molecule), "terms": {term: float(value[i]) for term, value in terms.items()}}
        row["shown"] = shows_template(MoleculeTemplate(name), molecule.cart_coords)
        rows.append(row | (_relaxed(molecule) if task.how["relaxed"] else {}))
    return rows


def _placed(molecule: Any) -> dict[str, Any]:
    return {"elements": list(molecule.atomic_numbers), "before": molecule.cart_coords.tolist()}


def _relaxed(molecule: Any) -> dict[str, Any]:
    """Return the relaxed positions, their RMSD, and the energy gained."""
    after, report = relax_molecule(molecule)
    drop = float(report.energy_before - report.energy) * len(molecule)
    return {"after": after.cart_coords.tolist(), "rmsd": rmsd(molecule, after), "drop": drop}


def shaped(task: Task) -> list[dict[str, Any]]:
    """Return errors of geometries for test graphs, by matgen and by others."""
    whole = molecules(task.table)
    batch = whole.templates.select(torch.tensor(task.rows))
    templates = [MoleculeTemplate(name) for name in batch.smiles]
    sampler = kind().request.sampler
    geometries = sampler.geometries * sampler.started
    initial_geometries, terms = begun(templates, geometries, sampler.initial_trials, task.generator())
    order = (terms["graph"] + terms["repulsion"]).argsort()
    best = torch.stack([order[initial_geometries.owner[order] == i][0] for i in range(len(templates))])
    ours = structures(
        expand(
            initial_geometries.templates.select(best),
            initial_geometries.geometry.select(initial_geometries.templates, best),
        )
    )
    true = structures(expand(batch, whole.geometry.select(whole.templates, torch.tensor(task.rows))))
    found = []
    for template, molecule, own in zip(templates, ours, true, strict=True):
        row = _placed(molecule) | _relaxed(molecule)
        stereo = template.graph.stereo
        centres = stereo[:, 0] == 0
        row["centres"] = int(centres.sum())
        for name in ("before", "after"):
            shown = stereo_of_geometry(template, np.array(row[name]))
            row[f"right_{name}"] = int((shown[centres] == stereo[centres, -1]).sum())
            row[f"bonds_{name}"] = int((shown[~centres] == stereo[~centres, -1]).sum())
        row["bonds"] = int((~centres).sum())
        row["qm9"] = _strain(own)
        row["etkdg"] = _etkdg(template, own)
        found.append({k: v for k, v in row.items() if k not in {"before", "after", "elements"}})
    return found


def _strain(molecule: Any) -> list[float]:
    after, report = relax_molecule(molecule)
    return [rmsd(molecule, after), float(report.energy_before - report.energy) * len(molecule)]


def _etkdg(template: MoleculeTemplate, like: Any) -> list[float] | None:
    """Return the strain of RDKit's geometry after MMFF94; None where it finds none."""
    made = template.molecule
    if rdDistGeom.EmbedMolecule(made, randomSeed=1):
        return None
    if rdForceFieldHelpers.MMFFOptimizeMolecule(made, maxIters=2000) < 0:
        return None
    moved = like.copy()
    for i, place in enumerate(made.GetConformer().GetPositions()):
        moved[i].coords = place
    return _strain(moved)


def gaps(task: Task) -> list[dict[str, float]]:
    """Return gaps of molecules designed for one target and relaxed by xTB."""
    target = task.how["gap"]
    maker = kind(target, 5)
    found = generate(maker.request, maker, task.generator(), Silence())[:5]
    rows = []
    for proposal in found:
        after, report = relax_molecule(proposal.structure)  # type: ignore[arg-type]
        levels = electronic(after)
        rows.append(
            {
                "target": target,
                "predictor": float(proposal.properties["gap"].value),
                "evaluator": _evaluated(proposal.template.smiles, after),  # type: ignore[union-attr]
                "xtb": calibrated_gap(levels),
                "xtb_levels": gap_from_levels(levels),
                "converged": report.converged,
            }
        )
    return rows


@cache
def evaluator() -> Any:
    """Return the evaluator, loaded once per process."""
    return load("molecule_evaluator")


def _evaluated(smiles: str, molecule: Any) -> float:
    with torch.no_grad():
        state = state_of([molecule], templates=[smiles])
        return float(median(evaluator()(state)["gap"]))


def labels(task: Task) -> dict[str, dict[str, list[float]]]:
    """Return absolute errors of each model, by label."""
    whole = molecules(task.table)
    rows = torch.tensor(task.rows)
    batch = whole.templates.select(rows)
    state = expand(batch, whole.geometry.select(whole.templates, rows))
    sigma = torch.full((len(rows),), CLEAN)
    with torch.no_grad():
        predictions = {
            "evaluator": evaluator()(state),
            "graph energy": GraphPredictor(load("molecule_energy"))(state, sigma),
            "graph alone": load("molecule_properties")(batch),
        }
    return {
        name: {label: (median(found[label]) - whole.label(label)[rows]).abs().tolist() for label in LABELS}
        for name, found in predictions.items()
    }


WORK = {"free": free, "shaped": shaped, "gaps": gaps, "labels": labels}


def work(task: Task) -> Any:
    """Run one task."""
    return WORK[task.how["what"]](task)


def tasks(options: Any) -> Iterator[Task]:
    """Yield all tasks."""
    whole = molecules(options.table)
    order = np.random.default_rng(options.seed)
    test = (whole.split == 2).nonzero().ravel().numpy()
    samples = OVERDRAWN * options.n
    for i in range(0, samples, TOGETHER):
        how = {"what": "free", "n": min(TOGETHER, samples - i), "relaxed": i < RELAXED}
        yield Task(f"free {i}", options.table, options.seed, how=how)
    some = order.permutation(test)[: min(SHAPED, options.n)]
    for i in range(0, len(some), TOGETHER):
        rows = tuple(map(int, some[i : i + TOGETHER]))
        yield Task(f"shaped {i}", options.table, options.seed, rows, {"what": "shaped"})
    for i, row in enumerate(order.permutation(test)[:GAPS]):
        how = {"what": "gaps", "gap": round(float(whole.label("gap")[row]), 2)}
        yield Task(f"gap {i}", options.table, options.seed, how=how)
    for i in range(0, len(test), 1000):
        yield Task(f"labels {i}", options.table, options.seed, tuple(map(int, test[i : i + 1000])), {"what": "labels"})


def main() -> None:
    """Measure, print, record."""
    found = parser(__doc__, "molecules", n=1000)
    found.set_defaults(table=Path("cache/molecules.npz"))
    options = found.parse_args()
    measurement = Measurement(options, {"gaps": GAPS, "shaped": SHAPED}, material="molecule")
    results = measurement.run(work, list(tasks(options)))
    facts = figures(results, options)
    measurement.finish(facts, pages(facts))


if __name__ == "__main__":
    main()
