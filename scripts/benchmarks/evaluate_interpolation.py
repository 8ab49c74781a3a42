"""A path in eleven steps between two requests: what changes with α in α E_A + (1 − α) E_B.

`python scripts/benchmarks/evaluate_interpolation.py --out results/interpolation -n 10`: A asks for a gap of 1 eV like
two chalcopyrites, B for one of 3 eV like an elpasolite (data/textbook), both for at most 10 atoms;
`matgen design --between A.toml B.toml --alpha ... --relax none` is run for α = 0, 0.1, … 1. The folders are resumed.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from matgen.generation.predictors import EVALUATOR
from matgen.generation.request import Request
from matgen.structures.candidate import Candidate
from matgen.workflows.design import run
from shared.figure import save, subplots

TEXTBOOK = Path("data") / "textbook"
A = (1.0, ("CuInSe2_chalcopyrite.cif", "ZnGeP2_chalcopyrite.cif"))
B = (3.0, ("Cs2AgBiBr6_elpasolite.cif",))
"""Band gap in eV, and examples."""


def written(path: Path, gap: float, names: Sequence[str]) -> str:
    """Write one of the two requests; return its path."""
    examples = ", ".join(f'"{TEXTBOOK / name}"' for name in names)
    text = f"[like]\nexamples = [{examples}]\n\n[composition]\nmax_atoms = 10\n\n[targets]\nband_gap = {gap}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def described(alpha: float, found: Sequence[Candidate]) -> dict[str, Any]:
    """Return what one step of the path gives."""
    near = [one.nearest_example.name for one in found if one.nearest_example is not None]
    groups = Counter(one.space_group.number for one in found if one.space_group is not None)
    return {
        "alpha": alpha,
        "n": len(found),
        "gap": median(one.properties["band_gap"].value for one in found),
        "evaluator": median(one.properties[f"{EVALUATOR}band_gap"].value for one in found),
        "nearest_a": sum(name in A[1] for name in near),
        "chalcopyrites": groups[122],
        "elpasolites": groups[225],
        "groups": dict(groups.most_common(3)),
        "formulas": sorted(one.crystal.composition.reduced_formula for one in found),
    }


def drawn(path: Path, steps: Sequence[dict[str, Any]]) -> None:
    """Draw gap, space groups and nearest example against α."""
    figure, axes = subplots(1, 2, (8.0, 3.2))
    alphas = [step["alpha"] for step in steps]
    left, right = axes[0]
    left.plot(alphas, [step["gap"] for step in steps], "o-", label="predictor")
    left.plot(alphas, [step["evaluator"] for step in steps], "s--", label="evaluator")
    left.axhline(A[0], color="0.7", lw=0.8)
    left.axhline(B[0], color="0.7", lw=0.8)
    left.set(xlabel="α, weight of A", ylabel="median band gap, eV")
    for name, label in (
        ("chalcopyrites", "group 122"),
        ("elpasolites", "group 225"),
    ):
        right.plot(alphas, [step[name] / step["n"] for step in steps], "o-", label=label)
    right.set(xlabel="α, weight of A", ylabel="share of the candidates")
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8)
    save(figure, path)


def main() -> None:
    """Run, print, draw."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("results/interpolation"))
    options.add_argument("--figure", type=Path, default=Path("docs/figures/interpolation.png"))
    options.add_argument("-n", type=int, default=10)
    options.add_argument("--steps", type=int, default=11)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--processes", type=int, default=1)
    chosen = options.parse_args()
    two = [written(chosen.out / f"{name}.toml", *end) for name, end in (("a", A), ("b", B))]
    steps = []
    for i in range(chosen.steps):
        alpha = round(i / (chosen.steps - 1), 6)
        settings = {"n": chosen.n, "relax": "none", "seed": chosen.seed, "processes": chosen.processes, "budget": 600.0}
        request = Request.of(between=two, between_alpha=alpha, **settings)
        steps.append(described(alpha, run(request, chosen.out / f"alpha_{alpha:g}").candidates))
        print(json.dumps(steps[-1]), flush=True)
    (chosen.out / "interpolation.json").write_text(json.dumps(steps, indent=1) + "\n", encoding="utf-8")
    drawn(chosen.figure, steps)


if __name__ == "__main__":
    main()
