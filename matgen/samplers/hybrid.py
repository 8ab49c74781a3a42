"""Joint refinement: Langevin steps of the geometry alternate with substitutions of elements, on one total energy."""

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
        move: proposes other elements.
        rules: hard constraints on templates; None for none.
    """

    move: LabelledMove
    rules: TemplateRules | None = None


@dataclass(frozen=True)
class RefineSchedule:
    """Length of a refinement.

    Attributes:
        rounds: how often Langevin steps and a substitution alternate.
        steps: Langevin steps of a round; the first half of the first round adapts the step size.
        step_size: initial Langevin step, Å².
    """

    rounds: int
    steps: int
    step_size: float = 1e-3


@dataclass(frozen=True)
class RefineReport:
    """Acceptance and energies of a refinement.

    Attributes:
        mala: acceptance of the Langevin steps in the last round (n_systems,).
        substitution: share of accepted substitutions over all rounds (n_systems,).
        energy: total energy before and after (2, n_systems).
        path: what the systems were after every step.
    """

    mala: Tensor
    substitution: Tensor
    energy: Tensor
    path: tuple["RefineStep", ...] = ()


@dataclass(frozen=True)
class RefineStep:
    """The systems after one step of a refinement.

    Attributes:
        templates: the discrete halves.
        geometry: their free parameters.
        energy: of states (n_systems,); None after a substitution, whose step has none of its own.
    """

    templates: TemplateBatch
    geometry: Geometry
    energy: Tensor | None


def refine(
    energy: StateEnergy,
    templates: TemplateBatch,
    geometry: Geometry,
    sigma: Tensor,
    *,
    schedule: RefineSchedule,
    generator: torch.Generator,
    template_energy: BatchEnergy | None = None,
    substitution: Substitution | None = None,
) -> tuple[TemplateBatch, Geometry, RefineReport]:
    """Alternate Metropolis-adjusted Langevin steps with substitutions; each system is accepted independently.

    Args:
        energy: of states at noise level sigma.
        templates: the discrete halves.
        geometry: their free parameters.
        sigma: noise level of the energy (n_systems,), Å.
        schedule: rounds and steps.
        generator: source of all randomness.
        template_energy: energy of the templates, which only substitutions change.
        substitution: a move of elements on sites; None keeps the templates.
    """
    sizes: float | Tensor = schedule.step_size
    before = energy(expand(templates, geometry), sigma).detach()
    accepted = torch.zeros_like(sigma)
    report: LangevinReport | None = None
    path: list[RefineStep] = []
    for turn in range(schedule.rounds):
        fixed = templates

        def landscape(q: Geometry, fixed: TemplateBatch = fixed) -> tuple[Tensor, Geometry]:
            return gradients(energy, fixed, q, sigma)

        adapt = schedule.steps // 2 if turn == 0 else 0
        geometry, report = mala(
            landscape,
            templates,
            geometry,
            steps=schedule.steps,
            step_size=sizes,
            generator=generator,
            adapt_steps=adapt,
        )
        sizes = report.step_size
        steps = zip(report.path[1:], report.energy[1:], strict=True)
        path += [RefineStep(templates, passed, value) for passed, value in steps]
        if substitution is not None:
            templates, accept = _substituted(
                energy, template_energy, substitution, templates, geometry, sigma, generator
            )
            accepted = accepted + accept
            path.append(RefineStep(templates, geometry, None))
    after = energy(expand(templates, geometry), sigma).detach()
    acceptance = report.acceptance if report is not None else torch.full_like(sigma, torch.nan)
    share = accepted / max(schedule.rounds, 1)
    return templates, geometry, RefineReport(acceptance, share, torch.stack([before, after]), tuple(path))


def _substituted(
    energy: StateEnergy,
    template_energy: BatchEnergy | None,
    substitution: Substitution,
    templates: TemplateBatch,
    geometry: Geometry,
    sigma: Tensor,
    generator: torch.Generator,
) -> tuple[TemplateBatch, Tensor]:
    """One Metropolis step on the elements at constant free parameters; volumes follow the new composition."""
    proposed, log_q = substitution.move(templates, generator)

    def total(batch: TemplateBatch) -> Tensor:
        value = energy(expand(batch, geometry), sigma).detach()
        return value if template_energy is None else value + template_energy(batch).to(value)

    log_ratio = total(templates) - total(proposed) - log_q.to(sigma)
    rules = substitution.rules
    satisfied = [rules is None or rules.satisfied(template) for template in crystals_of(proposed.unbatch())]
    accept = (uniform(sigma.shape, generator, sigma).log() < log_ratio) & torch.tensor(satisfied, device=sigma.device)
    element = torch.where(accept[templates.site_system], proposed.site_element, templates.site_element)
    return replace(templates, site_element=element), accept.to(sigma)
