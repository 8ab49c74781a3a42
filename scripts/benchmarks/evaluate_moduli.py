"""Moduli of designs by CHGNet's own elastic tensor, which no design uses, and Slack's thermal conductivity from them.

`python scripts/benchmarks/evaluate_moduli.py --known 60 none k50 k150`: folders that `matgen design` wrote, of targets
for moduli or thermal conductivity, and of none. Each candidate is relaxed by CHGNet in its primitive cell; its tensor
is calculated by linear response (`matgen/phonons/elastic_tensor.py`), K and G are averages of Voigt, Reuss and Hill,
the Debye temperature follows from them, and the conductivity from Slack's formula (`matgen/targets/slack.py`). A
crystal without a positive tensor counts as a miss; how many of these hit the target by their response to pressure is
given beside.

CHGNet's moduli are too small, as its energy surface is too soft (Deng et al., npj Comput. Mater. 11, 9, 2025). With
--known, crystals of the test split with labels are calculated too, and the median of CHGNet's modulus over the label is
divided out in a second column of figures.

Each result is appended to a file of JSON lines at once, and not calculated again.
"""

import argparse
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from pymatgen.core import Structure

from matgen.phonons.elastic_tensor import TIGHT, ElasticityError, elastic_tensor, is_positive
from matgen.phonons.elasticity import responses
from matgen.relaxation.symmetric import relax
from matgen.screening.crystals import primitive_cell
from matgen.targets.slack import debye_temperature, slack_conductivity
from shared.crystals import crystals, true_structures
from shared.designs import Line, designs, kept_results
from shared.measurement import single_thread
from shared.page import table

SMALL = 10
"""Atoms of the largest known crystal that is calculated."""

WITHIN = 0.2
LIMITS = {"above 100 W/m/K": lambda kappa: kappa > 100, "below 1 W/m/K": lambda kappa: kappa < 1}
KNOWN = "known"


def main() -> None:
    """Calculate what is not yet calculated, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="of designs; one may be without a target")
    parser.add_argument("--out", type=Path, default=Path("results/moduli.jsonl"))
    parser.add_argument("--known", type=int, default=0, metavar="N", help="labelled crystals of the test split")
    parser.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    parser.add_argument("--print", action="store_true", help="calculate nothing: print the figures of what there is")
    asked = parser.parse_args()
    single_thread()
    wanted = [*labelled(asked.table, asked.known), *(one for folder in asked.folders for one in designs(folder))]
    print(figures(kept_results(asked.out, wanted, calculated, calculate=not asked.print)))


def labelled(path: Path, n: int) -> Iterator[tuple[Line, Structure]]:
    """Yield small crystals of the test split at random, with their labels of the Materials Project."""
    if not n:
        return
    known = crystals(path)
    bulk, shear = known.label("bulk_modulus"), known.label("shear_modulus")
    good = (known.split == 2) & (bulk > 1) & (shear > 1) & (known.templates.n_atoms <= SMALL)
    rows = good.nonzero().ravel()
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:n]].tolist()
    for row, crystal in zip(rows, true_structures(known, rows), strict=True):
        labels = {"K": float(bulk[row]), "G": float(shear[row])}
        yield {"folder": KNOWN, "name": f"{row}-{crystal.composition.reduced_formula}", "labels": labels}, crystal


def calculated(crystal: Structure, calculator: Any) -> Line:
    """Return moduli in GPa, or why there are none, mean mass in amu, and volume per atom in Å³."""
    started = time.process_time()
    relaxed, report = relax(primitive_cell(crystal), calculator, TIGHT)
    n = len(relaxed)
    mass = sum(float(site.specie.atomic_mass) for site in relaxed) / n
    found: Line = {"n_atoms": n, "mass": mass, "volume": relaxed.volume / n, "relaxed": report.reason}
    if not report.converged:
        return found | {"error": "not relaxed"}
    try:
        tensor = elastic_tensor(relaxed, responses(calculator))
        if is_positive(tensor):
            found |= {"K": float(tensor.k_vrh), "G": float(tensor.g_vrh)}
        else:
            found |= {"error": "the elastic tensor is not positive", "K_of_volume": float(tensor.k_voigt)}
    except ElasticityError as error:
        found["error"] = str(error)
    return found | {"cpu_s": round(time.process_time() - started, 1)}


def conductivity(line: Line, factors: Mapping[str, float]) -> float:
    """Return Slack's conductivity, W/m/K, from moduli divided by factors; NaN without moduli."""
    if "K" not in line:
        return math.nan
    bulk, shear, mass, volume = line["K"] / factors["K"], line["G"] / factors["G"], line["mass"], line["volume"]
    return slack_conductivity(
        bulk_modulus=bulk,
        shear_modulus=shear,
        debye_temperature=debye_temperature(bulk, shear, mass, volume),
        mass=mass,
        volume=volume,
        n_atoms=line["n_atoms"],
    )


def figures(lines: Sequence[Line]) -> str:
    """Return the tables as Markdown."""
    known = [line for line in lines if line["folder"] == KNOWN]
    factors = {name: _factor(known, name) for name in ("K", "G")}
    parts = [_known_table(known, factors)] if known else []
    of_folder: dict[str, list[Line]] = {}
    for line in lines:
        if line["folder"] != KNOWN:
            of_folder.setdefault(line["folder"], []).append(line)
    rows = [row for name, own in of_folder.items() for row in _on_target(name, own, factors)]
    if rows:
        heads = (
            "designs",
            "target",
            "designs with a tensor",
            "within 20 %",
            "within 20 %, softness divided out",
            "by pressure alone, tensor not positive",
        )
        parts.append(table(heads, rows))
    if of_folder:
        parts += [_conductivities(of_folder, one) for one in (dict.fromkeys(factors, 1.0), factors) if _known(one)]
    return "\n\n".join(parts)


def _factor(known: Sequence[Line], name: str) -> float:
    ratios = [line[name] / line["labels"][name] for line in known if name in line]
    return median(ratios) if ratios else math.nan


def _known_table(known: Sequence[Line], factors: Mapping[str, float]) -> str:
    rows = []
    for name, factor in factors.items():
        pairs = [(line[name], line["labels"][name]) for line in known if name in line]
        plain = sum(abs(own / label - 1) <= WITHIN for own, label in pairs)
        divided = sum(abs(own / factor / label - 1) <= WITHIN for own, label in pairs)
        spread = median(abs(math.log10(own / factor / label)) for own, label in pairs) if pairs else math.nan
        counts = [f"{n} of {len(known)}" for n in (plain, divided)]
        rows.append((name, f"{len(pairs)} of {len(known)}", f"{factor:.2f}", *counts, f"{spread:.3f}"))
    heads = (
        "",
        "with a tensor",
        "median CHGNet/label",
        "within 20 %",
        "divided out",
        "median difference of log10, divided out",
    )
    return table(heads, rows)


def _on_target(folder: str, lines: Sequence[Line], factors: Mapping[str, float]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each point target of a modulus."""
    for name, key in (("bulk_modulus", "K"), ("shear_modulus", "G")):
        text = str(lines[0]["targets"].get(name, ""))
        try:
            target = float(text)
        except ValueError:  # none, or a range
            continue
        found = [line[key] for line in lines if key in line]
        cells = []
        for factor in (1.0, factors[key]):
            met = sum(abs(value / factor / target - 1) <= WITHIN for value in found)
            cells.append("" if math.isnan(factor) else f"{met} of {len(lines)} ({met / len(lines):.0%})")
        sheared = [line["K_of_volume"] for line in lines if "K_of_volume" in line and key == "K"]
        cells.append(f"{sum(abs(value / target - 1) <= WITHIN for value in sheared)} of {len(sheared)}")
        yield folder, f"{name} {text}", f"{len(found)} of {len(lines)}", *cells


def _known(factors: Mapping[str, float]) -> bool:
    return not any(math.isnan(factor) for factor in factors.values())


def _conductivities(of_folder: Mapping[str, Sequence[Line]], factors: Mapping[str, float]) -> str:
    """Return how often Slack's conductivity is high and low, by folder, and how much oftener than without a target."""
    plain = [line for lines in of_folder.values() for line in lines if not line["targets"]]
    rows = []
    for folder, lines in of_folder.items():
        kappas = [kappa for kappa in (conductivity(line, factors) for line in lines) if not math.isnan(kappa)]
        cells = [folder, f"{median(kappas):.3g}" if kappas else ""]
        for is_met in LIMITS.values():
            met, usual = (sum(is_met(conductivity(one, factors)) for one in some) for some in (lines, plain))
            times = _times(met, len(lines), usual, len(plain)) if lines[0]["targets"] and plain else ""
            cells += [f"{met} of {len(lines)}", times]
        rows.append(cells)
    heads = [head for limit in LIMITS for head in (limit, "times as often as without a target")]
    how = ", ".join(f"{name} / {factor:.2f}" for name, factor in factors.items())
    return table(("designs", f"median Slack κ, W/m/K, of {how}", *heads), rows)


def _times(met: int, n: int, usual: int, of: int) -> str:
    """Return the ratio of two shares; a lower limit if the second is zero."""
    if usual:
        return f"{met / n / (usual / of):.1f}"
    return f"> {met / n * of:.1f}" if met else "0 of both"


if __name__ == "__main__":
    main()
