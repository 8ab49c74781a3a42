"""Metrics of `matgen evaluate` on published data: agreement with published values, and response to damage.

`python scripts/benchmarks/evaluate_metrics.py --data FOLDER`: validity of the test sets of MP-20, Perov-5 and
Carbon-24; uniqueness of MP-20 test; its coverage by and distances to itself, MP-20 validation, and damaged versions of
itself; match rates of its structures in another cell with displaced atoms. Also measures the cutoffs of coverage,
within which 95 % of the validation crystals have a test crystal.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from pymatgen.core import Structure

from matgen.chemistry.charges import is_valid
from matgen.datasets.named import NAMED, named_structures
from matgen.metrics import (
    Bootstrap,
    Profile,
    coverage,
    distances,
    features,
    first_of_kind,
    is_balanced_smact14,
    is_separated,
    is_spaced,
    match_everyone,
    match_rate,
    traits,
)
from matgen.metrics.coverage import nearest
from matgen.metrics.distributions import SHIPPED
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import percent, table

DATA_SETS = ("mp20", "mp20_val", "perov5", "carbon24")
PUBLISHED = {"mp20": "90.4 % of MP-20", "perov5": "98.6 %, 98.9 % of samples of CDVAE, DiffCSP"}
"""Published composition validity, of the data where it is reported."""

SETS = {
    "itself": "MP-20 test itself",
    "validation": "MP-20 validation",
    "tenth": "every tenth of MP-20 test",
    "displaced": "MP-20 test, atoms displaced by 0.5 Å each",
    "dilute": "MP-20 test, volumes × 1.5",
    "shuffled": "MP-20 test, elements replaced at random",
}
MATCHED, STEP = 300, 0.1
KINDS = ("structure", "composition")


def displaced(structure: Structure, step: float, random: np.random.Generator) -> Structure:
    """Displace every atom by a distance in Å, each in its own random direction."""
    moves = random.normal(size=(len(structure), 3))
    moves *= step / np.linalg.norm(moves, axis=1, keepdims=True)
    there = structure.cart_coords + moves
    return Structure(structure.lattice, structure.species, there, coords_are_cartesian=True)


def shuffled(structure: Structure, random: np.random.Generator) -> Structure:
    """Replace the elements of a crystal by random ones from hydrogen to bismuth."""
    kinds = sorted({site.specie for site in structure})
    new = random.choice(np.arange(1, 84), size=len(kinds), replace=False)
    numbers = dict(zip(kinds, new.tolist(), strict=True))
    return Structure(structure.lattice, [numbers[site.specie] for site in structure], structure.frac_coords)


def made(how: str, task: Task, n: int) -> list[Structure]:
    """Return the set that is compared with MP-20 test."""
    folder = task.how["data"]
    if how == "validation":
        return named_structures("mp20_val", folder)
    test = named_structures("mp20", folder)
    random = np.random.default_rng(task.seed)
    some = [test[i] for i in random.permutation(len(test))[:n]]
    match how:
        case "displaced":
            return [displaced(structure, 0.5, random) for structure in some]
        case "dilute":
            return [structure.scale_lattice(1.5 * structure.volume) for structure in some]
        case "shuffled":
            return [shuffled(structure, random) for structure in some]
        case "tenth":
            return test[::10]
    return test


def measured(task: Task) -> dict[str, Any]:
    """Run one task: validity of a data set, a comparison, or the matching."""
    kind, _, name = task.key.partition(" ")
    if kind == "validity":
        structures = named_structures(name, task.how["data"])
        return {
            "n": len(structures),
            "separated": sum(map(is_separated, structures)),
            "spaced": sum(map(is_spaced, structures)),
            "smact14": sum(is_balanced_smact14(s.composition) for s in structures),
            "smact": sum(is_valid(s.composition) for s in structures),
            "unique": sum(first_of_kind(structures)) if name.startswith("mp20") else None,
        }
    if kind == "compare":
        return compared(task, name)
    return matched(task)


def compared(task: Task, how: str) -> dict[str, Any]:
    """Return coverage and distances of one set against MP-20 test."""
    bootstrap = Bootstrap(seed=task.seed)
    some = made(how, task, task.how["n"])
    own = [features(structure) for structure in some]
    test = [features(structure) for structure in named_structures("mp20", task.how["data"])]
    found = [
        *coverage(own, test, None, None, bootstrap),
        *distances([traits(s) for s in some], Profile.load(SHIPPED["mp20"]), None, bootstrap),
    ]
    apart = {kind: nearest(*(np.array([getattr(f, kind) for f in side]) for side in (own, test)))[0] for kind in KINDS}
    return {
        "n": len(some),
        "estimates": {one.name: asdict(one) for one in found},
        "nearest": {kind: [float(q) for q in np.quantile(apart[kind], [0.5, 0.95])] for kind in KINDS},
    }


def matched(task: Task) -> dict[str, Any]:
    """Return match rates of displaced structures, also in doubled cells, and the expected distance."""
    random = np.random.default_rng(task.seed)
    test = named_structures("mp20", task.how["data"])
    truth = [test[i] for i in random.permutation(len(test))[:MATCHED]]
    guesses = [displaced(structure, STEP, random) for structure in truth]
    lengths = [(structure.volume / len(structure)) ** (1 / 3) for structure in truth]
    # The matcher removes the common shift of n independent displacements: 1 − 1/n of the mean square is left.
    expected = [STEP / a * np.sqrt(1 - 1 / len(s)) for a, s in zip(lengths, truth, strict=True)]
    cells = [guess.make_supercell([1, 1, 2], in_place=False) for guess in guesses]
    estimates = [*match_rate(guesses, truth), *match_everyone(guesses[::-1], truth), *match_rate(cells, truth)]
    names = ("match rate", "RMSE", "METRe", "cRMSE", "match rate, doubled cells", "RMSE, doubled cells")
    return {
        "n": len(truth),
        "expected": float(np.mean(expected)),
        "estimates": {name: asdict(one) for name, one in zip(names, estimates, strict=True)},
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Return tables of validity and comparisons, and the match rates."""
    rows = []
    for name in DATA_SETS:
        f = found[f"validity {name}"]
        shares = [percent(f[kind], f["n"]) for kind in ("separated", "spaced", "smact14")]
        unique = "" if f["unique"] is None else percent(f["unique"], f["n"])
        rows.append((NAMED[name].title, f["n"], *shares, PUBLISHED.get(name, ""), percent(f["smact"], f["n"]), unique))
    words = ("data set", "rows", "structure, CDVAE", "structure, ours", "composition, CDVAE's rule", "as published")
    first = table((*words, "composition, SMACT today", "unique"), rows)

    shown = (
        "Wasserstein: density",
        "Wasserstein: n elements",
        "Jensen–Shannon: space group",
        "Jensen–Shannon: elements",
    )
    rows = []
    for how, title in SETS.items():
        f = found[f"compare {how}"]
        e = f["estimates"]
        covered = [f"{100 * e[f'coverage {side}']['value']:.1f} %" for side in ("recall", "precision")]
        rows.append((title, f["n"], *covered, *(f"{e[name]['value']:.3f}" for name in shown)))
    second = table(("set", "crystals", "coverage recall", "precision", *shown), rows)

    cutoffs = found["compare validation"]["nearest"]
    m = found["match 0.1"]
    e = m["estimates"]
    third = (
        f"Distance from a validation crystal to the nearest test crystal, median and 95th percentile: in structure "
        f"{cutoffs['structure'][0]:.2f} and {cutoffs['structure'][1]:.2f}, in composition "
        f"{cutoffs['composition'][0]:.2f} and {cutoffs['composition'][1]:.2f}.\n\n"
        f"{m['n']} test crystals, every atom displaced by {STEP:g} Å: match rate "
        f"{100 * e['match rate']['value']:.1f} %, RMSE {e['RMSE']['value']:.4f} ({m['expected']:.4f} expected); "
        f"in doubled cells {100 * e['match rate, doubled cells']['value']:.1f} %, "
        f"{e['RMSE, doubled cells']['value']:.4f}; in reverse order METRe {100 * e['METRe']['value']:.1f} %, cRMSE "
        f"{e['cRMSE']['value']:.4f}."
    )
    return f"{first}\n\n{second}\n\n{third}"


if __name__ == "__main__":
    options = parser(__doc__, "metrics", 2000, 1).parse_args()
    how = {"data": options.data, "n": options.n}
    measurement = Measurement(options, {"sets": sorted(SETS), "matched": MATCHED, "step": STEP})
    keys = [f"validity {name}" for name in DATA_SETS] + [f"compare {name}" for name in SETS] + [f"match {STEP:g}"]
    found = measurement.run(measured, [Task(key, options.table, options.seed, (), how) for key in keys])
    test = found["validity mp20"]
    itself = {name: one["value"] for name, one in found["compare itself"]["estimates"].items()}
    farthest = max(value for name, value in itself.items() if not name.startswith("coverage"))
    bar = (
        f"MP-20 test: composition {percent(test['smact14'], test['n'])} of {test['n']:,}, structure "
        f"{percent(test['separated'], test['n'])}; against itself coverage {100 * itself['coverage recall']:.0f} % / "
        f"{100 * itself['coverage precision']:.0f} %, largest distance {farthest:.3g}"
    )
    measurement.finish(found, {"metrics": markdown(found), "bar metrics": bar})
