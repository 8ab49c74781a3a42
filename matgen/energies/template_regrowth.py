"""Configurational-bias regrowth of templates by the learned prior: Metropolis–Hastings proposals of known density."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import pad

from matgen.energies.partial_templates import Partial, joined
from matgen.energies.template_prior import log_orders
from matgen.energies.template_sampling import TemplateSampler
from matgen.nn.conditions import N_ELEMENTS, Conditions
from matgen.nn.sites import PaddedSites, pad_sites
from matgen.nn.template_prior import MAX_POSITIONS, TemplatePrior
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import TemplateRules
from matgen.templates.wyckoff import wyckoff_table

Part = Literal["site", "tail", "sites", "template"]
"""One site; the last sites of a random order; all sites, in the same space group; the whole template."""

PARTS: tuple[Part, ...] = get_args(Part)


class LearnedRegrowth:
    """Keeps a part of each template and samples the rest, site by site, as `TemplateSampler` does.

    The n sites of a template S are put in a random order, one of the orders(S) distinct ones, and the first k are kept,
    k from p(k | n). Order and k are auxiliary variables, which a Metropolis step may sample and discard, so that it is
    exact with

        q(S' | S) = p(k | n) p(tail' | head) / orders(S),    q(S | S') = p(k | n') p(tail | head) / orders(S')

    where p(tail | head) is that of the masked, renormalised choices of the sampler. One loop samples the new tail and
    reads the old one.

    Held sites come first in every order and are always kept: S is then the multiset of the others, of which there is
    one or more. A tail that ends without any is a failed regrowth: templates without open sites are no states, and as
    p(k | n) is what it was, the ratio of the others is too.
    """

    def __init__(
        self,
        prior: TemplatePrior,
        rules: TemplateRules,
        conditions: Conditions,
        part: Part,
        held: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Fix what is regrown.

        Args:
            prior: the network.
            rules: hard constraints, masks in sampling; under a composition the cell keeps its formula units.
            conditions: one row, used for all templates.
            part: what is regrown; "site" or "tail" if sites are held.
            held: (position, element) of sites that every template has and keeps.
        """
        self.sampler, self.conditions, self.part = TemplateSampler(prior, rules), conditions, part
        self.held = tuple(held)

    @torch.no_grad()
    def regrow(
        self, templates: Sequence[CrystalTemplate], generator: torch.Generator
    ) -> tuple[list[CrystalTemplate], Tensor]:
        """Return new templates, the old ones where regrowth fails, and log q(new | old) - log q(old | new)."""
        n = len(templates)
        old = self._head(templates, generator)
        columns = torch.arange(old.letter.shape[1], device=old.length.device)
        kept = columns < old.length[:, None]
        new = replace(
            old, row=old.row + n, letter=torch.where(kept, old.letter, -1), element=torch.where(kept, old.element, -1)
        )
        ended = self._ended(joined([old, new]), generator)
        ended = ended.select(ended.row.argsort())
        log_p = ended.log_p[n:] - ended.log_p[:n]
        sampled = ended.select(ended.row >= n).templates()
        found = [b if self._valid(a, b) else a for a, b in zip(templates, sampled, strict=True)]
        extra = [self._log_weight(b) - self._log_weight(a) for a, b in zip(templates, found, strict=True)]
        return found, log_p + torch.tensor(extra, dtype=log_p.dtype, device=log_p.device)

    def _head(self, templates: Sequence[CrystalTemplate], generator: torch.Generator) -> Partial:
        """All sites in random order, with the length set to the number of sites that are kept."""
        batch = TemplateBatch.of(templates).to(self.conditions.n_atoms.device)
        sites, table = _with_first(pad_sites(batch, generator), self.held), wyckoff_table(batch.device)
        length = self._kept(sites.present.sum(1), generator)
        (n, longest), device = sites.present.shape, length.device
        padding = (0, max(self.sampler.rules.max_atoms - longest, 0) + 1)
        letter = torch.where(sites.present, table.letter[sites.position], MAX_POSITIONS)
        regrown = sites.present & (torch.arange(longest, device=device) >= length[:, None])
        left = torch.zeros(n, N_ELEMENTS, dtype=torch.long, device=device)
        row = torch.arange(n, device=device)
        return Partial(
            row=row,
            group=batch.space_group,
            letter=pad(letter, padding, value=MAX_POSITIONS),
            element=pad(sites.element, padding),
            length=length,
            left=left.scatter_add(1, sites.element, table.multiplicity[sites.position] * regrown),
            log_p=torch.zeros(n, dtype=torch.float64, device=device),
            done=row < 0,
        )

    def _kept(self, n_sites: Tensor, generator: torch.Generator) -> Tensor:
        """Number of sites to keep (n_systems,); before a tail 1 to n, so that the old tail may be empty.

        With held sites, of which there are h, it is h to n.
        """
        if self.part == "tail":
            share = torch.rand(len(n_sites), generator=generator, device=generator.device, dtype=torch.float64)
            least = max(1, len(self.held))
            return least + (share.to(n_sites.device) * (n_sites - least + 1)).long()
        return n_sites - 1 if self.part == "site" else torch.zeros_like(n_sites)

    def _ended(self, both: Partial, generator: torch.Generator) -> Partial:
        """Read the old templates and sample the new ones to their end."""
        conditions = self.conditions.select(torch.zeros_like(both.row))
        if self.part == "site":
            return self.sampler.extended(conditions, both, generator, may_stop=False)
        if self.part == "template":
            given = torch.where(both.row < len(both.row) // 2, both.group, 0)
            group, log_p = self.sampler.groups(conditions, given, generator)
            both = replace(both, group=group, log_p=log_p)
        return self.sampler.completed(conditions, both, generator)

    def _valid(self, old: CrystalTemplate, new: CrystalTemplate) -> bool:
        """Whether regrowth succeeded: a site is open, a single one has been replaced, a composition is complete."""
        if len(new.sites) <= len(self.held) or (self.part == "site" and len(new.sites) < len(old.sites)):
            return False
        return not self.sampler.rules.composition or new.composition == old.composition

    def _log_weight(self, template: CrystalTemplate) -> float:
        """Logarithm of orders(S) / p(k | n), which does not depend on k."""
        rest = Counter(template.sites)
        rest.subtract(self.held)
        orders = (
            log_orders(replace(template, sites=tuple(sorted(rest.elements())))) if self.held else log_orders(template)
        )
        choices = len(template.sites) - max(1, len(self.held)) + 1
        return orders + (math.log(choices) if self.part == "tail" else 0.0)


def _with_first(sites: PaddedSites, held: Sequence[tuple[int, int]]) -> PaddedSites:
    """Return padded sites with the held ones first, in the order given, and the others in the order they have."""
    if not held:
        return sites
    rank = torch.full_like(sites.position, len(held))
    for place, (position, element) in enumerate(held):
        same = (sites.position == position) & (sites.element == element) & sites.present & (rank == len(held))
        first = same & (same.long().cumsum(1) == 1)
        rank = torch.where(first, place, rank)
    order = rank.argsort(dim=1, stable=True)
    return PaddedSites(
        *(column.gather(1, order) for column in (sites.position, sites.element, sites.present, sites.rows))
    )
