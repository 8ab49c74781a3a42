"""Molecules by what ships: drawn freely, shaped, asked for by gap and by hand, and the models that judge them.

`python scripts/benchmarks/evaluate_molecules.py --table cache/molecules.npz`: four measurements on QM9's scale.

free      3 n draws of the prior and one draw of a geometry for each: EDM's protocol for all as they come, and for the n
          of those that show their graph and hands that rank best by the energy, by its weight on novelty; some relaxed
          by GFN2-xTB.
shaped    geometries for graphs of QM9's test split that ask for the hands they have, drawn as design does for a named
          graph: RMSD to the GFN2-xTB minimum, energy drop, hands; beside RDKit's ETKDG + MMFF94 and QM9's own.
gaps      molecules designed for gaps drawn from the test split: mean absolute error by the judge, which guided nothing,
          and by calibrated GFN2-xTB.
labels    errors of the three property models on the test split.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rdkit.Chem import AllChem

from matgen.checks.molecular_graph import shows_template, stereo_of_geometry
from matgen.checks.rmsd import rmsd
from matgen.datasets.molecules import LABELS, MoleculeTable
from matgen.energies.graph import GraphPredictor
from matgen.generation.generate import generate
from matgen.generation.kinds.molecules import Molecules
from matgen.generation.presets import preset_of
from matgen.generation.request import Request
from matgen.generation.total_energy import ranking_terms
from matgen.metrics.molecule_distributions import distribution_distances, histograms
from matgen.metrics.molecules import (
    AtomSets,
    assess_molecules,
    known_smiles,
    molecule_metrics,
    perceived_molecules,
)
from matgen.relaxation.xtb import relax_molecule
from matgen.relaxation.xtb_properties import calibrated_gap, electronic, gap_from_levels
from matgen.runtime.progress import Silence
from matgen.samplers.initial_geometry import InitialGeometries
from matgen.structures.conversion import state_of, structures
from matgen.targets.distributions import median
from matgen.templates.batch import molecules_of
from matgen.templates.expand import expand
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.noise import CLEAN
from matgen.weights.models import MoleculeModels, load, load_molecule_models
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import table

TOGETHER = 40
"""Molecules of a task."""

OVERDRAWN = 3
"""Molecules drawn for each that is kept by the energy, as many as design starts."""

RELAXED = 200
"""Of those that are drawn, the first, which are relaxed."""

FEWEST = 300
"""Values of a quantity without which its distribution is not compared."""

NOVELTY = {"known": 0.0, "novel": 1.0, "newer": 1.5}
"""By which the weight of novelty is multiplied in ranking."""

GAPS = 20
"""Gaps asked for; five molecules each."""

SHAPED = 200
"""Test molecules that get a geometry."""

PUBLISHED = {
    "EDM": ("98.7", "82.0", "91.9"),
    "GeoLDM": ("98.9", "89.4", "93.8"),
    "GeoBFN-2k": ("99.3", "93.3", "96.9"),
    "SemlaFlow (predicts bonds)": ("99.9", "99.7", "99.4"),
    "QM9 itself": ("99.4", "95.3", "97.7"),
}
PUBLISHED_GAPS = {"EDM": 655, "GeoLDM": 587, "GeoBFN": 577}


Terms = dict[str, torch.Tensor]


@cache
def molecules(path: Path) -> MoleculeTable:
    """The prepared table."""
    return MoleculeTable.load(path)


@cache
def models() -> MoleculeModels:
    """What guides, loaded once per process."""
    return load_molecule_models()


@cache
def kind(gap: float | None = None, n: int = 1) -> Molecules:
    """Molecules as design would ask for them."""
    asked = {} if gap is None else {"targets": {"gap": gap}}
    request = Request.of(kind="molecule", n=n, **preset_of("molecule"), **asked)
    return Molecules(request, models())


def begun(
    templates: Sequence[MoleculeTemplate], geometries: int, trials: int, generator: torch.Generator
) -> tuple[InitialGeometries, Terms]:
    """So many starts of each template, and what they are ranked by, term by term."""
    sampler = replace(kind().request.sampler, geometries=geometries, initial_trials=trials)
    request = replace(kind().request, sampler=sampler)
    maker = replace(kind(), request=request)
    found = maker.initial_geometries(templates, generator)
    level = found.geometry.lattice.new_full(found.owner.shape, request.sampler.choose_sigma)
    return found, ranking_terms(found.templates, found.geometry, level, request, maker)


def free(task: Task) -> list[dict[str, Any]]:
    """Draws as they come; what the prior could not bring to a molecule is missing, and counts as failed."""
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
    """Where a molecule relaxes to, how far off that is, and the energy that it takes."""
    after, report = relax_molecule(molecule)
    drop = float(report.energy_before - report.energy) * len(molecule)
    return {"after": after.cart_coords.tolist(), "rmsd": rmsd(molecule, after), "drop": drop}


def shaped(task: Task) -> list[dict[str, Any]]:
    """Geometries of test graphs, ours and others'."""
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
    """RDKit's geometry, relaxed by MMFF94; None where it finds none."""
    made = template.molecule
    if AllChem.EmbedMolecule(made, randomSeed=1) or AllChem.MMFFOptimizeMolecule(made, maxIters=2000) < 0:
        return None
    moved = like.copy()
    for i, place in enumerate(made.GetConformer().GetPositions()):
        moved[i].coords = place
    return _strain(moved)


def gaps(task: Task) -> list[dict[str, float]]:
    """Molecules designed for one gap, relaxed by xTB, read by those who guided nothing."""
    asked = task.how["gap"]
    maker = kind(asked, 5)
    found = generate(maker.request, maker, task.generator(), Silence())[:5]
    rows = []
    for proposal in found:
        after, report = relax_molecule(proposal.structure)  # type: ignore[arg-type]
        levels = electronic(after)
        rows.append(
            {
                "asked": asked,
                "guided": float(proposal.properties["gap"].value),
                "judged": _judged(proposal.template.smiles, after),  # type: ignore[union-attr]
                "xtb": calibrated_gap(levels),
                "xtb_levels": gap_from_levels(levels),
                "converged": report.converged,
            }
        )
    return rows


@cache
def evaluator() -> Any:
    """The model that guided nothing."""
    return load("molecule_evaluator")


def _judged(smiles: str, molecule: Any) -> float:
    with torch.no_grad():
        state = state_of([molecule], templates=[smiles])
        return float(median(evaluator()(state)["gap"]))


def labels(task: Task) -> dict[str, dict[str, list[float]]]:
    """Absolute errors of each model, and whether its 90 % interval holds the label, summed over rows."""
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
    """One part."""
    return WORK[task.how["what"]](task)


def tasks(options: Any) -> Iterator[Task]:
    """All parts."""
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


def figures(results: dict[str, Any], options: Any) -> dict[str, Any]:
    """Everything that is reported."""
    sampled = [row for key, rows in results.items() if key.startswith("free") for row in rows]
    made = [row for key, rows in results.items() if key.startswith("shaped") for row in rows]
    asked = [row for key, rows in results.items() if key.startswith("gap") for row in rows]
    read = [rows for key, rows in results.items() if key.startswith("labels")]
    whole = molecules(options.table)
    known = known_smiles(assess_molecules(_split(whole, 0)))
    best = {name: _best(sampled, options.n, weight) for name, weight in NOVELTY.items()}
    shown = [row for row in best["novel"] if "after" in row]
    sets = {
        "raw": (sampled, "before", OVERDRAWN * options.n),
        **{name: (rows, "before", options.n) for name, rows in best.items()},
        "unrelaxed": (shown, "before", len(shown)),
        "relaxed": (shown, "after", len(shown)),
    }
    found: dict[str, Any] = {"free": {name: _edm(*one, known) for name, one in sets.items()}}
    found["distances"] = _distances(whole, {"one draw each": (sampled, "before"), "ranked": (best["novel"], "before")})
    found["shaped"] = {"ours": _median([[row["rmsd"], row["drop"]] for row in made])}
    found["shaped"]["QM9"] = _median([row["qm9"] for row in made])
    found["shaped"]["ETKDG + MMFF94"] = _median([row["etkdg"] for row in made if row["etkdg"]])
    found["stereo"] = {
        f"{what}_{name}": [sum(row[f"{what}_{name}"] for row in made), sum(row[asked_of] for row in made)]
        for name in ("before", "after")
        for what, asked_of in (("right", "centres"), ("bonds", "bonds"))
    }
    found["gaps"] = {
        name: float(np.nanmean([abs(row[name] - row["asked"]) for row in asked]))
        for name in ("guided", "judged", "xtb", "xtb_levels")
    } | {
        "n": len(asked),
        "requested": 5 * sum(key.startswith("gap") for key in results),
        "targets": len({row["asked"] for row in asked}),
        "without_xtb": sum(math.isnan(row["xtb"]) for row in asked),
    }
    models = read[0].keys()
    found["labels"] = {
        model: {label: float(np.mean(np.concatenate([part[model][label] for part in read]))) for label in LABELS}
        for model in models
    } | {"n": sum(len(part["evaluator"]["gap"]) for part in read)}
    return found


def _best(rows: list[dict[str, Any]], n: int, novelty: float) -> list[dict[str, Any]]:
    """Of different graphs that their geometries show, the n that rank best, in the order they were drawn.

    Args:
        rows: of draws.
        n: how many.
        novelty: by what its usual weight is multiplied.
    """

    def total(row: dict[str, Any]) -> float:
        return float(sum(value * (novelty if name == "novelty" else 1.0) for name, value in row["terms"].items()))

    different: dict[str, dict[str, Any]] = {}
    for row in sorted((row for row in rows if row["shown"]), key=total):
        different.setdefault(row["smiles"], row)
    chosen = {id(row) for row in list(different.values())[:n]}
    return [row for row in rows if id(row) in chosen]


def _split(whole: MoleculeTable, number: int) -> AtomSets:
    chosen = whole.select((whole.split == number).nonzero().ravel())
    return AtomSets(
        chosen.templates.site_element.numpy(),
        chosen.geometry.coords.double().numpy(),
        chosen.templates.n_sites.numpy(),
    )


def _atoms(rows: list[dict[str, Any]], name: str) -> AtomSets:
    sizes = np.array([len(row["elements"]) for row in rows])
    elements = np.concatenate([row["elements"] for row in rows])
    return AtomSets(elements, np.concatenate([np.array(row[name]) for row in rows]), sizes)


def _distances(
    whole: MoleculeTable, sets: dict[str, tuple[list[dict[str, Any]], str]]
) -> dict[str, dict[str, list[float]]]:
    """Jensen–Shannon distance to QM9's test split and number of values, by quantity and set."""
    test = histograms(perceived_molecules(_split(whole, 2)))
    found: dict[str, dict[str, list[float]]] = {}
    for title, (rows, name) in sets.items():
        for one in distribution_distances(histograms(perceived_molecules(_atoms(rows, name))), test, FEWEST):
            if min(one.n, one.n_other) >= FEWEST:
                found.setdefault(one.name, {})[title] = [one.value, one.n]
    return found


def _edm(rows: list[dict[str, Any]], name: str, requested: int, known: frozenset[str]) -> dict[str, float]:
    found = molecule_metrics(assess_molecules(_atoms(rows, name)), known, requested)
    names = ("atom_stability", "molecule_stability", "validity", "uniqueness", "valid_and_unique", "novelty")
    return {one: float(getattr(found, one)) for one in names} | {"requested": requested}


def _median(pairs: list[list[float]]) -> dict[str, float]:
    """Of RMSD and drop; what xTB cannot relax counts as farther than all others."""
    both = np.array(pairs)
    both[np.isnan(both[:, 1])] = math.inf
    moved, drop = both.T
    return {
        "rmsd": float(np.median(moved)),
        "drop": float(np.median(drop)),
        "rmsd_90": float(np.quantile(moved, 0.9, method="higher")),
        "drop_90": float(np.quantile(drop, 0.9, method="higher")),
        "n": len(moved),
        "failed": int(np.isinf(drop).sum()),
    }


def pages(found: dict[str, Any]) -> dict[str, str]:
    """Markdown by place."""

    def share(value: float) -> str:
        return f"{100 * value:.1f}"

    titles = {
        "raw": "one draw each, as they come",
        "known": "the best third by the energy, novelty not weighed",
        "novel": "the best third by the energy",
        "newer": "the best third by the energy, novelty weighed half as much again",
        "unrelaxed": "of the best third, those that were relaxed, before",
        "relaxed": "the same, relaxed by GFN2-xTB",
    }
    free_rows = []
    for name, title in titles.items():
        values = [share(found["free"][name][key]) for key in KEYS]
        free_rows.append([f"matgen, {title}, {found['free'][name]['requested']:,}", *values])
    free_rows += [[name, *values, "", ""] for name, values in PUBLISHED.items()]
    heads = ["", "atoms stable, %", "molecules stable, %", "valid, %", "unique of valid, %", "novel of unique, %"]
    geometry = [
        [
            name,
            f"{row['rmsd']:.3f}",
            f"{row['drop']:.3f}",
            f"{row['rmsd_90']:.3f}",
            f"{row['drop_90']:.3f}",
            str(row["n"]),
            str(row["failed"]),
        ]
        for name, row in found["shaped"].items()
    ]
    asked = [[f"matgen, by {name}", f"{1000 * found['gaps'][key]:.0f}"] for name, key in READERS.items()]
    asked += [[name, str(value)] for name, value in PUBLISHED_GAPS.items()]
    errors = [
        [model, *(f"{found['labels'][model][label]:.3f}" for label in LABELS)]
        for model in found["labels"]
        if model != "n"
    ]
    return bars(found) | {
        "molecules free": table(heads, free_rows),
        "molecules shaped": table(
            ["", "median RMSD, Å", "median drop, eV", "90 % RMSD", "90 % drop", "of", "not relaxed"], geometry
        ),
        "molecules gaps": table(
            [f"{found['gaps']['n']} molecules for {found['gaps']['targets']} gaps", "MAE, meV"], asked
        ),
        "molecules distances": table(
            ["quantity", "one draw each (values)", "the best third (values)"],
            [
                [name, *(_distance(row.get(title)) for title in ("one draw each", "ranked"))]
                for name, row in found["distances"].items()
            ],
        ),
        "molecules hands": _hands(found["stereo"]),
        "molecules labels": table([f"MAE on {found['labels']['n']} test rows", *LABELS], errors),
    }


def bars(found: dict[str, Any]) -> dict[str, str]:
    """The short table's places."""
    made, asked = found["shaped"]["ours"], found["gaps"]
    errors = {
        model: ", ".join(
            (f"{1000 * row['gap']:.0f} meV", f"{1000 * row['atomization_energy']:.0f} meV", f"{row['dipole']:.2f} D")
        )
        for model, row in found["labels"].items()
        if model != "n"
    }
    (right, centres), (after, _) = found["stereo"]["right_before"], found["stereo"]["right_after"]
    return {
        "bar molecules free": "; ".join(
            f"{title} {_shares(found['free'][name])}"
            for name, title in {
                "novel": "the best third by the energy:",
                "newer": "with novelty weighed half as much again:",
                "known": "with novelty not weighed:",
                "raw": "all as they come:",
            }.items()
        ),
        "bar molecules shaped": f"{made['rmsd']:.3f} Å, {made['drop']:.3f} eV (of {made['n']})",
        "bar molecules gaps": f"{1000 * asked['judged']:.0f} meV, {1000 * asked['xtb']:.0f} meV by the line and "
        f"{1000 * asked['xtb_levels']:.0f} by the levels ({_asked(asked)})",
        "bar molecules labels": "; ".join(f"{model} {text}" for model, text in errors.items()),
        "bar molecules hands": f"{100 * right / centres:.1f} % as started, {100 * after / centres:.1f} % after "
        f"relaxation, of {centres}",
    }


def _shares(found: dict[str, float]) -> str:
    share = [f"{100 * found[key]:.1f}" for key in KEYS]
    return f"{' / '.join(share[:3])} %, unique {share[3]}, novel {share[4]} (of {found['requested']:,})"


def _distance(found: list[float] | None) -> str:
    return f"{found[0]:.3f} ({found[1]:,})" if found else ""


def _asked(found: dict[str, Any]) -> str:
    missing = f", {found['without_xtb']} of them without a word of xTB" if found["without_xtb"] else ""
    return f"{found['n']} molecules of {found['requested']} requested, for {found['targets']} gaps{missing}"


def _hands(found: dict[str, list[int]]) -> str:
    (right, centres), (after, _) = found["right_before"], found["right_after"]
    (sides, bonds), (later, _) = found["bonds_before"], found["bonds_after"]
    return (
        f"Of {centres} centres, {right} have the hand that was asked for as started and {after} after relaxation; of "
        f"{bonds} double bonds, {sides} and {later} have the side."
    )


KEYS = ("atom_stability", "molecule_stability", "validity", "uniqueness", "novelty")
READERS = {"the guide": "guided", "the judge": "judged", "xTB, a line": "xtb", "xTB, levels": "xtb_levels"}


def main() -> None:
    """Measure."""
    found = parser(__doc__, "molecules", n=1000)
    found.set_defaults(table=Path("cache/molecules.npz"))
    options = found.parse_args()
    measurement = Measurement(options, {"gaps": GAPS, "shaped": SHAPED}, material="molecule")
    results = measurement.run(work, list(tasks(options)))
    facts = figures(results, options)
    measurement.finish(facts, pages(facts))


if __name__ == "__main__":
    main()
