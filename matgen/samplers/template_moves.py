"""Metropolis–Hastings moves on crystal templates.

The target is exp(-E/T) over *multisets* of (position, element) sites, as `CrystalTemplate` holds them. Element moves
act on labelled sites, where substitution and swap are symmetric; a multiset with N labellings is N times as likely to
be proposed, which `element_move` corrects.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import lgamma
from typing import Protocol

import torch
from torch import Tensor

from matgen.chemistry.elements import descriptors
from matgen.samplers.metropolis import Move, uniforms
from matgen.templates.batch import Template, TemplateBatch, crystals_of
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import TemplateRules

LabelledMove = Callable[[TemplateBatch, torch.Generator], tuple[TemplateBatch, Tensor]]
"""A move on labelled sites, whose order and positions it keeps: coords of a `Geometry` stay with their sites."""


class TemplateProposal(Protocol):
    """A template prior that can regrow a part of a template, such as its last sites, with known densities."""

    def regrow(
        self, templates: Sequence[CrystalTemplate], generator: torch.Generator
    ) -> tuple[list[CrystalTemplate], Tensor]:
        """Return new templates and log q(new | old) - log q(old | new) (n_systems,), over multisets of sites."""
        ...


@dataclass(frozen=True)
class ElementKernel:
    """Probabilities of substituting one element by another.

    Attributes:
        probability: of each element (column) in place of each (row) (n_elements, n_elements), by atomic number; rows
            sum to one, or to zero where no element is allowed.
    """

    probability: Tensor

    @classmethod
    def of(cls, elements: Sequence[int], width: float = float("inf")) -> "ElementKernel":
        """Return a kernel among these elements.

        Args:
            elements: atomic numbers.
            width: chemical similarity: weight exp(-d²/2 width²) with d the distance of two elements' descriptors,
                root mean square; infinite for a uniform choice.
        """
        z = torch.tensor(sorted(set(elements)))
        table = descriptors().double()
        weight = (-((torch.cdist(table, table) / width) ** 2) / (2 * table.shape[1])).exp()
        allowed = torch.zeros(len(table), dtype=torch.bool).index_fill(0, z, value=True)
        weight = weight * (allowed[:, None] & allowed & ~torch.eye(len(table), dtype=torch.bool))
        return cls(weight / weight.sum(1, keepdim=True).clamp(min=1e-300))


def substitute(kernel: ElementKernel) -> LabelledMove:
    """Return a move that puts another element on one site, chosen uniformly."""
    cumulative = kernel.probability.cumsum(1)
    cumulative = cumulative / cumulative[:, -1:].clamp(min=1e-300)
    log_probability = kernel.probability.log()

    def move(templates: TemplateBatch, generator: torch.Generator) -> tuple[TemplateBatch, Tensor]:
        device = templates.site_element.device
        which, what = uniforms(templates.n_systems, 2, generator).to(device).unbind(1)
        n_sites = torch.bincount(templates.site_system, minlength=templates.n_systems)
        site = n_sites.cumsum(0) - n_sites + (which * n_sites).long()
        old = templates.site_element[site]
        rows = cumulative.to(device)[old]
        possible = rows[:, -1] > 0
        sampled = torch.searchsorted(rows, what[:, None].contiguous(), right=True)[:, 0]
        new = torch.where(possible, sampled, old)
        log_p = log_probability.to(device)
        log_q = torch.where(possible, log_p[old, new] - log_p[new, old], 0.0)
        return replace(templates, site_element=templates.site_element.index_copy(0, site, new)), log_q

    return move


def swap(*, keep_composition: bool = False) -> LabelledMove:
    """Return a move that exchanges the elements of two sites, uniform among pairs that differ in element.

    A swap does not change the number of such pairs, so that the move is symmetric.

    Args:
        keep_composition: choose among pairs of equal multiplicity.
    """

    def move(templates: TemplateBatch, generator: torch.Generator) -> tuple[TemplateBatch, Tensor]:
        device, n_systems = templates.site_element.device, templates.n_systems
        one, other = _pairs(templates, keep_composition=keep_composition)
        n_pairs = torch.bincount(templates.site_system[one], minlength=n_systems)
        uniform = uniforms(n_systems, 1, generator)[:, 0].to(device)
        sampled = (n_pairs.cumsum(0) - n_pairs + (uniform * n_pairs).long())[n_pairs > 0]
        one, other = one[sampled], other[sampled]
        element = templates.site_element
        swapped = element.index_copy(0, one, element[other]).index_copy(0, other, element[one])
        return replace(templates, site_element=swapped), torch.zeros(n_systems, dtype=torch.float64, device=device)

    return move


def element_move(labelled: LabelledMove, rules: TemplateRules) -> Move:
    """Return a move of elements on multisets of sites; proposals that break the rules become no change."""

    def move(templates: Sequence[Template], generator: torch.Generator) -> tuple[list[Template], Tensor]:
        old = crystals_of(templates)
        batch, log_q = labelled(TemplateBatch.of(old), generator)
        proposed = crystals_of(batch.unbatch())
        extra = [_log_labellings(b) - _log_labellings(a) for a, b in zip(old, proposed, strict=True)]
        return _within_rules(rules, old, proposed, log_q.cpu() + torch.tensor(extra, dtype=torch.float64))

    return move


def regrow(proposal: TemplateProposal, rules: TemplateRules) -> Move:
    """Return a move that regrows a part of the template; proposals that break the rules become no change."""

    def move(templates: Sequence[Template], generator: torch.Generator) -> tuple[list[Template], Tensor]:
        old = crystals_of(templates)
        proposed, log_q = proposal.regrow(old, generator)
        return _within_rules(rules, old, proposed, log_q.detach().cpu().double())

    return move


def _within_rules(
    rules: TemplateRules, old: Sequence[CrystalTemplate], new: Sequence[CrystalTemplate], log_q: Tensor
) -> tuple[list[Template], Tensor]:
    valid = [a != b and rules.satisfied(b) for a, b in zip(old, new, strict=True)]
    kept: list[Template] = [b if yes else a for a, b, yes in zip(old, new, valid, strict=True)]
    return kept, torch.where(torch.tensor(valid, dtype=torch.bool), log_q, 0.0)


def _log_labellings(template: CrystalTemplate) -> float:
    """Logarithm of the number of distinct labellings of a template, up to a constant that element moves keep."""
    if len(set(template.sites)) == len(template.sites):
        return 0.0
    return -sum(lgamma(n + 1) for n in Counter(template.sites).values())


def _pairs(templates: TemplateBatch, *, keep_composition: bool) -> tuple[Tensor, Tensor]:
    """Ordered pairs of sites of one system that differ in element, by system."""
    n_sites = torch.bincount(templates.site_system, minlength=templates.n_systems)
    partners = n_sites[templates.site_system]
    one = torch.repeat_interleave(torch.arange(len(partners), device=partners.device), partners)
    within = torch.arange(len(one), device=one.device) - (partners.cumsum(0) - partners)[one]
    other = (n_sites.cumsum(0) - n_sites)[templates.site_system[one]] + within
    differ = templates.site_element[one] != templates.site_element[other]
    if keep_composition:
        differ &= templates.site_multiplicity[one] == templates.site_multiplicity[other]
    return one[differ], other[differ]
