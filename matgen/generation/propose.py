"""Distinct templates for a request: sampled, moved by Metropolis–Hastings, chosen."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from matgen.generation.kinds.base import Kind
from matgen.generation.repetition import repetition_energy
from matgen.generation.request import Request
from matgen.generation.resemblance import templates_of
from matgen.generation.total_energy import template_energy, template_ranking, template_targets
from matgen.runtime.progress import Report
from matgen.samplers.metropolis import Move, metropolis
from matgen.samplers.resample import resample, temperature_for
from matgen.templates.batch import Template, TemplateBatch

STEPS_BETWEEN_LOOKS = 4
"""Metropolis steps between two collections of the states of the chains."""

FEW_NEW = 0.05
"""Share of sampled templates that must be new for another attempt, as they are not where a formula allows few."""


def propose(request: Request, kind: Kind, generator: torch.Generator, report: Report) -> list[Template]:
    """Return distinct templates for a request.

    They are sampled from the prior, and made from examples, as many again; resampled by the targets, and moved on the
    total template energy; templates by analogy join them, where the kind has some; the best by rank are chosen. The
    templates of the examples themselves are left out.

    Args:
        request: what is asked.
        kind: crystals or molecules.
        generator: of all random numbers.
        report: receives the progress.
    """
    moves = kind.moves() if request.stages.moves and request.sampler.move_steps else {}
    wanted = request.search.n * (
        request.search.over_generation if moves else max(request.search.over_generation, request.sampler.started)
    )
    targets = template_targets(request, kind)
    pool: list[Template] = []
    goal, attempts = wanted * request.sampler.pool, 0
    while len(pool) < goal and attempts < 4 * request.sampler.pool:
        before = len(pool)
        pool = list(dict.fromkeys(pool + kind.sample(min(512, goal), generator)))
        attempts += 1
        report("propose", min(len(pool), goal), goal)
        if len(pool) - before < FEW_NEW * min(512, goal):
            break
    pool = list(dict.fromkeys(pool + kind.by_example(goal, generator)))
    analogues = kind.analogues(wanted)
    if not pool:
        return _promising(analogues, request, kind)
    with torch.no_grad():
        energies = targets(TemplateBatch.of(pool).to(kind.device)).double().cpu()
    temperature = temperature_for(energies, min(wanted, len(pool)) / 3)
    kept = [pool[i] for i in resample(energies, wanted, generator, temperature=temperature).tolist()]
    if moves:
        kept = moved_templates(kept, moves, request, kind, generator, report)
    return _promising(list(dict.fromkeys([*kept, *analogues])), request, kind)


def _promising(templates: list[Template], request: Request, kind: Kind) -> list[Template]:
    """Return the templates that get a geometry: those that rank best without one, in the order given."""
    if request.examples:
        given = templates_of(request.examples)
        templates = [template for template in templates if template not in given]
    most = request.search.n * request.sampler.started
    if len(templates) <= most:
        return templates
    with torch.no_grad():
        energies = template_ranking(request, kind)(TemplateBatch.of(templates).to(kind.device))
    energies = energies + repetition_energy(templates, energies, request, kind)
    return [templates[i] for i in energies.argsort()[:most].sort().values.tolist()]


def moved_templates(
    templates: list[Template],
    moves: Mapping[str, Move],
    request: Request,
    kind: Kind,
    generator: torch.Generator,
    report: Report,
) -> list[Template]:
    """Return the states of Metropolis–Hastings chains on the total template energy, collected after burn-in."""
    total = template_energy(request, kind)
    steps = request.sampler.move_steps
    first = max(1, min(request.sampler.burn_in, steps))
    seen: list[Template] = []

    def energy(batch: TemplateBatch) -> Tensor:  # the moves are made on the CPU
        return total(batch.to(kind.device)).cpu()

    def below(batch: TemplateBatch, ceiling: Tensor) -> Tensor:
        return total.below(batch.to(kind.device), ceiling.to(kind.device)).cpu()

    def visit(done: int, chains: Sequence[Template]) -> None:
        if done >= first and (done - first) % STEPS_BETWEEN_LOOKS == 0:
            seen.extend(chains)
        report("move templates", done, steps)

    with torch.no_grad():
        _, found = metropolis(
            energy,
            templates,
            moves,
            steps=steps,
            temperatures=request.sampler.temperatures,
            generator=generator,
            visit=visit,
            below=below,
        )
    mean = {name: float(values[0]) for name, values in found.acceptance.items() if not values[0].isnan()}
    report("move templates", steps, steps, energy=float(found.energy[-1].mean()), **mean)
    return seen
