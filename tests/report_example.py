"""A report with all parts, made from textbook structures: what the tests of the page show."""

from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

TEXTBOOK = Path(__file__).resolve().parents[1] / "data" / "textbook"

LOW, HIGH = 1.25, 1.75

COLUMNS = [
    {"key": "band_gap", "label": "Band gap", "unit": "eV", "digits": 2, "numeric": True, "help": "predicted"},
    {"key": "e_above_hull", "label": "Above hull", "unit": "eV/atom", "digits": 3, "numeric": True, "help": ""},
    {"key": "n_atoms", "label": "Atoms", "unit": "", "digits": 0, "numeric": True, "help": ""},
    {"key": "prototype", "label": "Prototype", "unit": "", "numeric": False, "help": ""},
]


def structure_of(crystal: Structure, text: str) -> dict[str, Any]:
    return {
        "format": "cif",
        "text": text,
        "cell": crystal.lattice.matrix.round(4).tolist(),
        "symbols": [site.specie.symbol for site in crystal],
        "positions": crystal.cart_coords.round(3).tolist(),
    }


def powder_of(crystal: Structure) -> dict[str, Any]:
    pattern = XRDCalculator().get_pattern(crystal)
    strongest = sorted(np.argsort(-pattern.y)[:60])
    return {
        "wavelength": "CuKa",
        "two_theta": pattern.x[strongest].round(3).tolist(),
        "intensity": pattern.y[strongest].round(2).tolist(),
        "hkl": ["(" + " ".join(map(str, pattern.hkls[i][0]["hkl"])) + ")" for i in strongest],
    }


def prediction(name: str, value: float) -> dict[str, Any]:
    spreads = {"aleatoric": 0.3, "epistemic": 0.1, "low": LOW, "high": HIGH, "probability": 0.5, "text": None}
    return {"name": name, "label": "PBE band gap", "unit": "eV", "value": value, **spreads}


def trajectory_of(crystal: Structure) -> dict[str, Any]:
    """Frames that close in on the crystal."""
    frames = []
    for i, far in enumerate((1.2, 1.1, 1.0)):
        larger = crystal.copy()
        larger.scale_lattice(far * crystal.volume)
        cell, positions = larger.lattice.matrix, larger.cart_coords
        frames.append(
            {
                "cell": cell.round(3).ravel().tolist(),
                "positions": positions.round(3).ravel().tolist(),
                "energy": 3.0 - i,
                "stage": "diffusion" if i < 2 else "relaxation",
                "label": f"step {i}",
            }
        )
    frames[0]["symbols"] = [site.specie.symbol for site in crystal]
    return {"frames": frames, "text": "Three frames."}


def candidate(i: int, path: Path) -> dict[str, Any]:
    """All that a report can say of one candidate; the i-th has a gap and an energy that follow from i."""
    crystal = Structure.from_file(path)
    symmetry = SpacegroupAnalyzer(crystal)
    formula, lattice = crystal.composition.reduced_formula, crystal.lattice
    gap, above = round(1.0 + (7 * i % 20) / 20, 3), round(0.005 * (i % 9) - 0.01, 4)
    good = LOW <= gap <= HIGH
    return {
        "id": f"{i:04d}-{formula}",
        "name": path.stem,
        "formula": formula,
        "rank": i + 1,
        "accepted": good,
        "n_atoms": len(crystal),
        "values": {"band_gap": gap, "e_above_hull": above, "n_atoms": len(crystal), "prototype": path.stem},
        "spacegroup": {"number": symmetry.get_space_group_number(), "symbol": symmetry.get_space_group_symbol()},
        "structure": structure_of(crystal, path.read_text(encoding="utf-8")),
        "lattice": {**dict(zip("abc", lattice.abc, strict=True)), "alpha": lattice.alpha, "beta": lattice.beta}
        | {"gamma": lattice.gamma, "volume": crystal.volume, "density": float(crystal.density)},
        "energy_terms": [
            {"name": "template_prior", "value": 5.5, "meaning": "minus the log probability of the template"},
            {"name": "graph", "value": -2.0, "meaning": "how unlike real structures the geometry is"},
            {"name": "repulsion", "value": 0.0, "meaning": "atoms too close"},
        ],
        "predictions": [prediction("band_gap", gap), prediction("evaluator_band_gap", gap + 0.1)],
        "verdicts": [
            {"name": "target_band_gap", "passed": good, "reason": f"{gap} eV against 1.5 ± 0.25 eV"},
            {"name": "charge_balance", "passed": True, "reason": "oxidation states balance"},
            {"name": "phonons", "passed": None, "reason": "not asked for"},
        ],
        "nearest": {"name": "mp-1", "formula": formula, "distance": 0.1, "text": "the same structure type"},
        "decomposition": {"e_above_hull": above, "products": [{"formula": formula, "fraction": 1.0}], "text": "itself"},
        "powder": powder_of(crystal),
        "map": [np.cos(i) * (1 + i / 9), np.sin(i)],
    }


def with_all(one: dict[str, Any]) -> dict[str, Any]:
    """A candidate with the parts that are made on request only."""
    crystal = Structure(
        one["structure"]["cell"], one["structure"]["symbols"], one["structure"]["positions"], coords_are_cartesian=True
    )
    x = np.linspace(0.0, 1.0, 11)
    bands = [(amplitude * np.sin(np.pi * x)).round(3).tolist() for amplitude in (2.0, 3.0, 4.5)]
    return {
        **one,
        "first_principles": {"code": "GPAW", "functional": "PBE", "bandgap": 1.4, "text": "gap of the relaxed cell"},
        "second_opinion": {"potential": "another", "e_above_hull": 0.02, "text": "both say stable"},
        "phonons": {
            "stable": True,
            "lowest_thz": 0.0,
            "bands": {
                "x": x.tolist(),
                "frequencies": bands,
                "ticks": [{"x": 0.0, "label": "Γ"}, {"x": 1.0, "label": "X"}],
            },
            "dos": {"frequency": x.tolist(), "density": (x * (1 - x)).tolist()},
            "text": "no imaginary mode",
        },
        "elasticity": {"tensor_gpa": (100 * np.eye(6)).tolist(), "bulk": 90.0, "shear": 50.0, "born_stable": True},
        "walk": trajectory_of(crystal),
    }


def hull_of(system: list[str], one: dict[str, Any]) -> dict[str, Any]:
    """A hull with the pure elements, two compounds and a candidate."""
    n = len(system)
    pure = [
        {"formula": symbol, "x": [float(symbol == other) for other in system], "e": 0.0, "on_hull": True}
        for symbol in system
    ]
    middle = {"formula": "".join(system), "x": [1 / n] * n, "e": -1.0, "on_hull": True}
    high = {"formula": f"{system[0]}2{system[1]}", "x": [2 / 3, 1 / 3, 0.0][:n], "e": -0.1, "on_hull": False}
    mixed = [0.25, 0.75, 0.0] if n == 2 else [0.2, 0.2, 0.6]
    return {
        "system": system,
        "phases": [*pure, middle, high],
        "candidates": [{"id": one["id"], "x": mixed[:n], "e": -0.5}],
    }


def example(n: int = 12, pattern: str = "*.cif") -> dict[str, Any]:
    """A report of a design with n candidates, from the textbook files of this pattern in turn."""
    paths = sorted(TEXTBOOK.glob(pattern))
    candidates = [candidate(i, paths[i % len(paths)]) for i in range(n)]
    candidates[0] = with_all(candidates[0])
    before = [0.05 * i for i in range(80)]
    return {
        "schema": 1,
        "title": "Design of crystals with a PBE band gap of 1.5 ± 0.25 eV",
        "command": "design",
        "kind": "crystal",
        "run": {
            "created": "2026-01-02T03:04:05+00:00",
            "version": "0.4.0",
            "state": "finished",
            "seconds": 84.2,
            "options": [["--bandgap", "1.5"], ["-n", str(n)]],
            "potential": "CHGNet 0.3.0",
            "weights": ["template_prior"],
            "notes": [],
        },
        "targets": [
            {"name": "band_gap", "label": "PBE band gap", "unit": "eV", "text": "1.5 ± 0.25", "low": LOW, "high": HIGH}
        ],
        "asked": "crystals with a PBE band gap of 1.5 ± 0.25 eV",
        "found": n,
        "wanted": n,
        "columns": COLUMNS,
        "candidates": candidates,
        "rejected": {
            "count": 30,
            "reasons": [{"text": "not charge neutral", "count": 20}, {"text": "known", "count": 10}],
        },
        "stages": [
            {"from": "proposed", "to": "rejected: not charge neutral", "count": 20},
            {"from": "proposed", "to": "relaxed", "count": n + 10},
            {"from": "relaxed", "to": "rejected: known", "count": 10},
            {"from": "relaxed", "to": "candidates", "count": n},
        ],
        "histogram": {
            "name": "band_gap",
            "label": "PBE band gap",
            "unit": "eV",
            "before": before,
            "after": [one["values"]["band_gap"] for one in candidates],
            "bands": [{"of": "", "text": "1.5 ± 0.25 eV", "low": LOW, "high": HIGH}],
        },
        "map": {
            "method": "PCA of the embeddings",
            "explained": [0.31, 0.12],
            "known": [[np.cos(3 * i) * i / 20, np.sin(2 * i) * i / 20, f"Known{i}"] for i in range(60)],
        },
        "hulls": [hull_of(["Na", "Cl"], candidates[0]), hull_of(["Sr", "Ti", "O"], candidates[1])],
        "metrics": [
            {"name": "valid", "value": 0.91, "low": 0.86, "high": 0.94, "of": 200, "text": "pass all checks"},
            {"name": "density_distance", "value": 2.4, "low": None, "high": None, "of": 200, "text": "g/cm³"},
            {"name": "stable", "value": None, "low": None, "high": None, "of": 0, "text": "not measured"},
        ],
        "missing": {},
    }


def with_path(data: dict[str, Any]) -> dict[str, Any]:
    """The report as one of a run between two requests; a has two examples."""
    places = np.array([one["map"] for one in data["candidates"]])
    middle = places.mean(axis=0).round(3).tolist()
    path = {
        "alpha": 0.3,
        "candidates": len(places),
        "ends": [
            {"name": "a", "points": [[-4.0, 1.0, "one.cif"], [-2.0, 1.0, "two.cif"]], "middle": [-3.0, 1.0]},
            {"name": "b", "points": [[3.0, -1.0, "three.cif"]], "middle": [3.0, -1.0]},
        ],
        "middle": middle,
        "line": [[-3.0, 1.0], middle, [3.0, -1.0]],
        "drawn": "The dashed line goes from a to b.",
        "text": "The dashed line goes from a to b. At alpha = 0.3.",
        "along": {one["id"]: [round((one["map"][0] + 3) / 6, 3), 0.25] for one in data["candidates"]},
        "middle_along": [0.5, 0.1],
    }
    bands = [{"of": "a", "text": "1 eV", "low": 0.9, "high": 1.1}, {"of": "b", "text": "at least 3 eV", "low": 3.0}]
    return {
        **data,
        "targets": [],
        "ends": [{"name": one["of"], "targets": [{**data["targets"][0], **one}]} for one in bands],
        "histogram": {**data["histogram"], "bands": bands},
        "map": {**data["map"], "path": path},
    }
