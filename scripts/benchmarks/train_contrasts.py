"""Forms of the contrast of the graph energy, the whole network trained from the shipped weights for equal steps.

`python scripts/benchmarks/train_contrasts.py --folder runs/contrast --steps 250`: as `matgen train graph_energy` does,
with a lower rate. Prints AUROC by class of negatives as a Markdown table, own samples by the network's own denoiser and
by the shipped one, the change from the first variant, the ranking of candidates, and the errors of denoising. What was
trained is kept in the folder, and not trained again. Several processes train side by side, each some `--only`, with
`--peers` and `--until` in place of `--steps`: as many steps as fit, the same number for all. `--table-only` prints the
table of a folder. See `compare_contrasts.py` for the scalar alone.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from matgen.datasets.crystals import CrystalTable
from matgen.nn.graph_energy import GraphEnergy
from matgen.runtime.devices import find_device, placed
from matgen.templates.expand import expand
from matgen.training.denoising import denoising_loss, noised, own_samples
from matgen.training.graph_energy import GraphObjective
from matgen.training.graph_loss import GraphLoss
from matgen.training.loop import Schedule, fit
from matgen.training.properties import PropertyTargets, trainable
from matgen.weights.models import load
from shared.contrasts import COMPARED, SAMPLE, VARIANTS, above_own, areas, energies, intervals, rows_of, show
from shared.frozen import Candidates, makers, pool, read

LEVELS = (0.05, 0.2, 0.5)
"""Noise at which denoising is evaluated, Å."""

SHIPPED = "as shipped, no training"

PACED, WARM = 12, 4
"""Steps by which the pace is measured, of which the first are not counted."""

SPARED = 0.85
"""Share of the time that is planned for; the rest is for validation, and for a pace that falls."""


@dataclass(frozen=True)
class Work:
    """What all variants share.

    Attributes:
        table: of crystals, on the device.
        held: rows to evaluate, in the order of their size.
        folder: of the trained networks and their figures.
        options: of the command line.
    """

    table: CrystalTable
    held: Tensor
    folder: Path
    options: argparse.Namespace

    def network(self) -> GraphEnergy:
        """Return the shipped network on the device."""
        return load("graph_energy").to(self.held.device)

    def own(self, name: str, seed: int) -> Path:
        """Return the folder of a variant."""
        return self.folder / f"{name.replace(' ', '_').replace('%', 'percent').replace('/', '_')}_{seed}"


@torch.no_grad()
def denoising(model: GraphEnergy, table: CrystalTable, rows: Tensor) -> list[float]:
    """Return errors of denoising of the sites over the noise, at each level."""
    generator, found = torch.Generator().manual_seed(1), []
    for level in LEVELS:
        errors = []
        for chunk in rows.split(256):
            templates, geometry = table.batch(chunk)
            sigma = geometry.lattice.new_full(chunk.shape, level)
            dirty, back = noised(templates, geometry, sigma, generator)
            _, parts = denoising_loss(model(expand(templates, dirty), sigma), templates, dirty, back, sigma)
            errors.append(parts["dsm_sites"])
        found.append(fmean(errors))
    return found


def evaluated(model: GraphEnergy, work: Work) -> dict[str, Any]:
    """Return energies of real systems and of negatives, candidates that match, and errors of denoising."""
    shipped = work.network()
    classes = {**makers(model), "sample, shipped": lambda t, g, r: own_samples(shipped, t, g, r)}

    def levels(count: int, _: torch.Generator) -> Tensor:
        return torch.full((count,), COMPARED, device=work.held.device)

    generator = torch.Generator().manual_seed(1)
    held = pool(model, work.table, work.held, levels, generator, noise=False, classes=classes, size=128)
    real, false = energies(model.site_energy, held)
    found = {"rows": work.held.cpu(), "classes": list(classes), "real": real.cpu(), "false": false.cpu()}
    return found | {"hits": ranked(model, work), "denoising": denoising(model, work.table, work.held)}


def ranked(model: GraphEnergy, work: Work) -> Tensor:
    """Return for each row of the candidates whether the one of lowest energy matches (n_rows,)."""
    hits = [torch.zeros(0, dtype=torch.bool)]
    files = sorted(work.options.candidates.glob("*.pt")) if work.options.candidates else []
    for file in files:
        templates, geometry, owner, hit = placed(torch.load(file, weights_only=False), work.held.device)
        systems = read(model, templates, geometry, torch.full_like(geometry.lattice[:, 0], COMPARED))
        hits.append(Candidates(systems, owner, hit).chosen(model.site_energy).cpu())
    return torch.cat(hits)


def objective_of(work: Work, name: str) -> GraphObjective:
    """Return the objective of a variant."""
    rows, variant = trainable(work.table).nonzero().ravel(), VARIANTS[name]
    loss = GraphLoss(form=variant.form, sample_share=variant.sample_share)
    return GraphObjective(work.table, rows, work.held[:48], PropertyTargets.of(work.table, rows), loss)


def steps_that_fit(work: Work, name: str, seed: int) -> int:
    """Return how many steps fit, by the pace of all processes: the same number for all.

    Each trains a few steps and writes its seconds per step, and waits for those of the others. Between the slowest
    and the mean, since the quick ones end early and leave the device to the others.
    """
    times: list[float] = []

    def heard(line: dict[str, Any]) -> None:
        if "loss" in line:
            times.append(time.time())

    some = Schedule(steps=PACED, minutes=600, batch_size=work.options.batch, log_every=1, seed=seed + 1000)
    model = work.network().requires_grad_(requires_grad=True)
    fit(model, objective_of(work, name), some, work.own(name, seed) / "pace", report=heard)
    each = (times[-1] - times[WARM - 1]) / (PACED - WARM)
    places, file = work.folder / "pace", work.folder / "pace" / work.own(name, seed).name
    places.mkdir(exist_ok=True)
    file.with_suffix(".partial").write_text(json.dumps({"each": each, "at": time.time()}), encoding="utf-8")
    file.with_suffix(".partial").rename(file.with_suffix(".json"))
    while len(found := sorted(places.glob("*.json"))) < work.options.peers and time.time() < work.options.until:
        time.sleep(0.2)
    paces = [json.loads(one.read_text(encoding="utf-8")) for one in found]
    seconds = [pace["each"] for pace in paces]
    left = SPARED * (work.options.until - max(pace["at"] for pace in paces))
    return max(10, int(left / sqrt(fmean(seconds) * max(seconds))) // 10 * 10)


def train(work: Work, name: str, seed: int) -> GraphEnergy:
    """Return a variant after training, and write its weights."""
    options, folder = work.options, work.own(name, seed)
    steps = options.steps if options.until is None else steps_that_fit(work, name, seed)
    minutes = 600 if options.until is None else max(0.05, (options.until - time.time()) / 60)
    schedule = Schedule(
        steps=steps,
        minutes=minutes,
        batch_size=options.batch,
        learning_rate=options.rate,
        warmup=20,
        ema=0.98,
        seed=seed,
        log_every=10,
        validate_every=max(1, steps // 6),
    )
    model = work.network().requires_grad_(requires_grad=True)

    def heard(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)

    model = fit(model, objective_of(work, name), schedule, folder, report=heard).eval()
    torch.save({key: value.cpu() for key, value in model.state_dict().items()}, folder / "weights.pt")
    return model.requires_grad_(requires_grad=False)


def done(folder: Path) -> int:
    """Return the steps that the last checkpoint of a folder has seen; 0 if there is none."""
    file = folder / "checkpoint.pt"
    return int(torch.load(file, map_location="cpu", weights_only=True)["progress"]["step"]) if file.exists() else 0


def one(work: Work, name: str, seed: int) -> None:
    """Train and evaluate a variant, unless that is done."""
    folder = work.own(name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "result.pt").exists():
        return
    started = time.time()
    model = work.network() if name == SHIPPED else train(work, name, seed)
    trained = time.time()
    found = evaluated(model, work) | {"name": name, "seed": seed, "steps": done(folder), "seconds": trained - started}
    torch.save(found, folder / "result.pt")
    print(
        f"{name}, seed {seed}: {trained - started:.0f} s to train, {time.time() - trained:.0f} s to evaluate",
        flush=True,
    )


def results(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return what was found, by variant and seed, in the order of the variants."""
    found = [torch.load(file, weights_only=True) for file in folder.glob("*/result.pt")]
    order = [SHIPPED, *VARIANTS]
    found.sort(key=lambda some: (order.index(some["name"]), some["seed"]))
    return {(some["name"], some["seed"]): some for some in found}


def line(found: dict[str, Any], base: dict[str, Any]) -> list[str]:
    """Return the cells of a variant."""
    real, false = found["real"], found["false"]
    scores, change = areas(real, false), intervals([(real, false)], [(base["real"], base["false"])])
    gained = found["hits"].double() - base["hits"].double()
    error = float(gained.std()) / max(1, len(gained)) ** 0.5 if len(gained) > 1 else 0.0
    ranking = f"{100 * found['hits'].double().mean():.1f} % ({100 * gained.mean():+.1f} ± {196 * error:.1f})"
    return [
        f"{found['name']}, seed {found['seed']}",
        str(found["steps"]),
        f"{found['seconds']:.0f}",
        *(f"{value:.3f}" for value in scores.tolist()),
        f"{scores.mean():.3f}",
        *("{:+.4f} ({:+.4f} to {:+.4f})".format(*change[:, place].tolist()) for place in (SAMPLE, -1)),
        f"{100 * above_own(real, false[SAMPLE]):.1f} %",
        ranking if len(gained) else "",
        *(f"{value:.3f}" for value in found["denoising"]),
    ]


def print_table(found: dict[tuple[str, int], dict[str, Any]]) -> None:
    """Print the figures of all variants; changes are from the first that was trained with the same seed, or at all."""
    if not found:
        raise SystemExit("expected results in --folder, found none; train first")
    trained = [some for key, some in found.items() if key[0] != SHIPPED] or list(found.values())
    first = trained[0]
    bases = {some["seed"]: some for some in reversed(trained) if some["name"] == first["name"]}
    counts = (~first["false"].isnan()).sum(1).tolist()
    names = [f"{name} ({n})" for name, n in zip(first["classes"], counts, strict=True)]
    changes = ["own samples: change", "shipped samples: change"]
    titles = ["contrast", "steps", "seconds", *names, "mean", *changes, "above their originals"]
    titles += [f"best of ten ({len(first['hits'])})", *map(str, LEVELS)]
    show(titles)
    show(["---"] * len(titles))
    for some in found.values():
        show(line(some, bases.get(some["seed"], first)))


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    parser.add_argument("--folder", type=Path, default=Path("runs/contrast"))
    parser.add_argument("--candidates", type=Path, help="folder of candidates to rank")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--until", type=float, help="time, seconds since 1970, at which training ends")
    parser.add_argument("--peers", type=int, default=1, help="processes side by side, with --until")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--rows", type=int, default=300, help="to evaluate")
    parser.add_argument("--only", nargs="*", choices=[SHIPPED, *VARIANTS], default=[SHIPPED, *VARIANTS])
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--quiet", action="store_true", help="no table")
    return parser.parse_args(given)


def main() -> None:
    """Train each variant, and print the table."""
    options = parsed()
    torch.set_num_threads(1)
    if not options.table_only:
        table = CrystalTable.load(options.table)
        held = rows_of(table, options.split, options.rows)
        held = held[table.n_atoms[held].argsort(stable=True)]
        device = find_device(options.device)
        work = Work(table.to(device), held.to(device), options.folder, options)
        for name in options.only:
            for seed in options.seeds:
                one(work, name, seed)
    if not options.quiet:
        print_table(results(options.folder))


if __name__ == "__main__":
    main()
