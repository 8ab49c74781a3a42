"""Joint refinement: Langevin moves of the geometry and substitutions of elements, on one total energy."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import gradients
from matgen.runtime.random import uniform
from matgen.samplers.langevin import LangevinReport, mala
from matgen.samplers.template_moves import LabelledMove
from matgen.templates.batch import Geometry, TemplateBatch, crystals_of
from matgen.templates.crystal_rules import TemplateRules
from matgen.templates.expand import expand

StateEnergy = Callable[[State, Tensor], Tensor]
BatchEnergy = Callable[[TemplateBatch], Tensor]


@dataclass(frozen=True)
class Substitution:
    """A move of elements on sites.

    Attributes:
        move: proposes.
        rules: hard constraints on templates; None for none.
    """

    move: LabelledMove
    rules: TemplateRules | None = None


@dataclass(frozen=True)
class RefineReport:
    """How a refinement went.

    Attributes:
        mala: acceptance of the Langevin moves in the last round (n_systems,).
        substitution: share of accepted substitutions over all rounds (n_systems,).
        energy: total energy before and after (2, n_systems).
    """

    mala: Tensor
    substitution: Tensor
    energy: Tensor


def refine(
    energy: StateEnergy,
    templates: TemplateBatch,
    geometry: Geometry,
    sigma: Tensor,
    *,
    rounds: int,
    steps: int,
    generator: torch.Generator,
    template_energy: BatchEnergy | None = None,
    substitution: Substitution | None = None,
    step_size: float = 1e-3,
) -> tuple[TemplateBatch, Geometry, RefineReport]:
    """Alternate Metropolis-adjusted Langevin steps with substitutions; every system decides for itself.

    Args:
        energy: of states at noise level sigma.
        templates: the discrete halves.
        geometry: their free numbers.
        sigma: noise level of the energy (n_systems,), Å.
        rounds: how often both kinds of move take turns.
        steps: Langevin steps of a round; the first half of the first round adapts the step.
        generator: source of all randomness.
        template_energy: what the template alone contributes; only substitutions change it.
        substitution: a move of elements on sites; none leaves the templates alone.
        step_size: first guess of the Langevin step, Å².
    """
    sizes: float | Tensor = step_size
    start = energy(expand(templates, geometry), sigma).detach()
    accepted = torch.zeros_like(sigma)
    report: LangevinReport | None = None
    for turn in range(rounds):
        fixed = templates

        def landscape(q: Geometry, fixed: TemplateBatch = fixed) -> tuple[Tensor, Geometry]:
            return gradients(energy, fixed, q, sigma)

        adapt = steps // 2 if turn == 0 else 0
        geometry, report = mala(
            landscape, templates, geometry, steps=steps, step_size=sizes, generator=generator, adapt_steps=adapt
        )
        sizes = report.step_size
        if substitution is not None:
            templates, yes = _substituted(energy, template_energy, substitution, templates, geometry, sigma, generator)
            accepted = accepted + yes
    end = energy(expand(templates, geometry), sigma).detach()
    acceptance = report.acceptance if report is not None else torch.full_like(sigma, torch.nan)
    return templates, geometry, RefineReport(acceptance, accepted / max(rounds, 1), torch.stack([start, end]))


def _substituted(
    energy: StateEnergy,
    template_energy: BatchEnergy | None,
    substitution: Substitution,
    templates: TemplateBatch,
    geometry: Geometry,
    sigma: Tensor,
    generator: torch.Generator,
) -> tuple[TemplateBatch, Tensor]:
    """One Metropolis step on the elements, the free numbers kept; volumes follow the new composition."""
    proposed, log_q = substitution.move(templates, generator)

    def total(batch: TemplateBatch) -> Tensor:
        value = energy(expand(batch, geometry), sigma).detach()
        return value if template_energy is None else value + template_energy(batch).to(value)

    log_ratio = total(templates) - total(proposed) - log_q.to(sigma)
    rules = substitution.rules
    lawful = [rules is None or rules.satisfied(template) for template in crystals_of(proposed.unbatch())]
    accept = (uniform(sigma.shape, generator, sigma).log() < log_ratio) & torch.tensor(lawful, device=sigma.device)
    element = torch.where(accept[templates.site_system], proposed.site_element, templates.site_element)
    return replace(templates, site_element=element), accept.to(sigma)
