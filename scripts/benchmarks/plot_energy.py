"""Figures of docs/energy.md: the terms of the energy along chains of templates, and how a target bends the sum.

`python scripts/benchmarks/plot_energy.py` samples with the shipped models (a minute of one core) and writes
docs/figures/energy-chain.png and docs/figures/energy-target.png.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pymatgen.core import Composition, Lattice, Structure

from matgen.energies.graph import GraphPredictor
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.propose import propose
from matgen.generation.request import Request
from matgen.generation.sampler_settings import Stages
from matgen.generation.total_energy import state_energy, template_energy
from matgen.runtime.progress import Silence
from matgen.samplers.metropolis import metropolis
from matgen.structures.conversion import state_of
from matgen.targets.distributions import interval, median
from matgen.templates.batch import Template, TemplateBatch
from shared.crystals import shipped
from shared.figure import save, style, subplots

TERMS = {
    "template_prior": "prior",
    "band_gap_template": "target: band gap",
    "chemical_distance": "chemical distance",
    "novelty": "novelty",
    "closed_shell": "closed shells",
    "charge_balance": "charge balance",
    "energy_above_hull_template": "stability",
}
"""Names in the sum and in the figure, from the bottom up."""


def chain(target: float, steps: int, seed: int) -> tuple[list[Template], dict[str, torch.Tensor]]:
    """Return the chain whose energy falls most, and its weighted terms (steps + 1,).

    Args:
        target: band gap, eV.
        steps: Metropolis–Hastings steps.
        seed: of all random numbers.
    """
    request = Request.of(targets={"band_gap": target}, n=5, seed=seed, relax="none", stages=Stages(moves=False))
    kind = Crystals(request, shipped())
    generator = torch.Generator().manual_seed(seed)
    first = propose(request, kind, generator, Silence())
    energy = template_energy(request, kind)
    visited = [list(first)]
    with torch.no_grad():
        metropolis(
            energy,
            first,
            kind.moves(),
            steps=steps,
            generator=generator,
            visit=lambda _, chains: visited.append(list(chains)),
        )
        totals = torch.stack([energy(TemplateBatch.of(chains)) for chains in (visited[0], visited[-1])])
        best = int((totals[1] - totals[0]).argmin())
        states = [chains[best] for chains in visited]
        return states, energy.breakdown(TemplateBatch.of(states))


def draw_chain(states: Sequence[Template], terms: dict[str, torch.Tensor]) -> Any:
    """Draw the terms of a chain as layers, and the compound after each accepted step."""
    figure, axes = subplots(1, 1, (8.0, 3.6))
    axis = axes[0][0]
    shown = {name: terms[key].numpy() for key, name in TERMS.items() if key in terms and float(terms[key].max()) > 0}
    axis.stackplot(range(len(states)), *shown.values(), labels=list(shown), step="post", alpha=0.85, lw=0)
    top = sum(shown.values())
    for i, state in enumerate(states):
        if i == 0 or state != states[i - 1]:
            axis.annotate(
                formula(state), (i, top[i]), xytext=(2, 4), textcoords="offset points", rotation=40, fontsize=8
            )
    axis.set(xlabel="Metropolis–Hastings step", ylabel="energy, weighted terms", xlim=(0, len(states) - 1))
    axis.set_ylim(0, 1.3 * max(top))
    axis.legend(loc="upper right", ncols=2)
    return figure


def formula(template: Template) -> str:
    """Return the reduced formula of a template."""
    return str(Composition(template.formula).reduced_formula)


def zinc_blende(a: float) -> Structure:
    """Return GaAs with this lattice parameter, Å."""
    return Structure.from_spacegroup(
        "F-43m", Lattice.cubic(a), ["Ga", "As"], [[0, 0, 0], [0.25] * 3]
    ).get_primitive_structure()


def draw_target(target: float, sigma: float) -> Any:
    """Draw energy and predicted gap of GaAs over its lattice parameter, with and without a target.

    Args:
        target: band gap, eV.
        sigma: noise level of the energy, Å.
    """
    request = Request.of(targets={"band_gap": target}, relax="none")
    kind = Crystals(request, shipped())
    lengths = torch.linspace(5.35, 6.05, 36)
    state = state_of([zinc_blende(float(a)) for a in lengths])
    noise = torch.full((len(lengths),), sigma)
    with torch.no_grad():
        terms = state_energy(request, kind).breakdown(state, noise)
        gap = GraphPredictor(kind.graph)(state, noise)["band_gap"]
        gaps, (low, high) = median(gap), interval(gap)
    physical = terms["graph"] + terms["repulsion"] + terms["energy_above_hull"]
    physical = physical - physical.min()
    figure, axes = subplots(1, 2, (8.0, 3.2))
    axis = axes[0][0]
    for values, label, marked in (
        (physical, "graph energy, repulsion, stability", True),
        (terms["band_gap"], f"target: {target:g} eV", False),
        (physical + terms["band_gap"], "sum", True),
    ):
        (line,) = axis.plot(lengths, values, label=label, lw=2.2 if label == "sum" else 1.4)
        if marked:
            least = int(values.argmin())
            axis.plot(lengths[least], values[least], "o", color=line.get_color())
    axis.set(xlabel="lattice parameter of GaAs, Å", ylabel="energy")
    axis.legend()
    axis = axes[0][1]
    axis.fill_between(lengths, low, high, alpha=0.2, lw=0, label="90 % of the prediction")
    axis.plot(lengths, gaps, label="predicted gap")
    axis.axhspan(target - 0.25, target + 0.25, color="C1", alpha=0.25, lw=0, label="target")
    axis.set(xlabel="lattice parameter of GaAs, Å", ylabel="band gap (PBE), eV", ylim=(-0.05, 2.4))
    axis.legend(loc="upper right")
    return figure


def main() -> None:
    """Sample and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/figures"), help="folder of the figures")
    parser.add_argument("--target", type=float, default=1.5, help="band gap of both figures, eV")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    style()
    save(draw_target(options.target, 0.05), options.out / "energy-target.png")
    save(draw_chain(*chain(options.target, options.steps, options.seed)), options.out / "energy-chain.png")


if __name__ == "__main__":
    main()
