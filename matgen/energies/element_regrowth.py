"""Elements of open sites sampled anew by the learned prior, with positions and all other sites kept."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma

import torch
from torch import Tensor

from matgen.nn.conditions import N_ELEMENTS, Conditions
from matgen.nn.sites import PaddedSites
from matgen.nn.template_prior import TemplatePrior
from matgen.runtime.random import choice
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.held import HeldTemplate, Sites


@dataclass(frozen=True)
class ElementRegrowth:
    """Samples the elements on the open sites of one group, site by site, given all other sites.

    The m open sites of a template are put in a random order and all but the last k keep their element, k uniform from 1
    to m, whatever the elements. On labelled sites,

        q(z' | z) = Π_t p(z'_t | other sites, positions, z'_<t)

    with the choices of the prior among the elements of the group, renormalised. A multiset of sites with N labellings
    is N times as likely as a labelled one, so that log q(new | old) - log q(old | new) gets log N(new) - log N(old).

    Attributes:
        prior: the network.
        conditions: one row, used for all templates.
        held: which sites are open.
        group: index of the group.
    """

    prior: TemplatePrior
    conditions: Conditions
    held: HeldTemplate
    group: int

    @torch.no_grad()
    def regrow(
        self, templates: Sequence[CrystalTemplate], generator: torch.Generator
    ) -> tuple[list[CrystalTemplate], Tensor]:
        """Return new templates and log q(new | old) - log q(old | new) (n_systems,), over multisets of sites."""
        parts = [self.held.parts(template) for template in templates]
        heads: list[Sites] = []
        tails: list[list[tuple[int, int]]] = []
        for part in parts:
            own = list(part[self.group])
            order = torch.randperm(len(own), generator=generator).tolist()
            kept = int(torch.randint(len(own), (1,), generator=generator))
            others = [site for i, sites in enumerate(part) if i != self.group for site in sites]
            heads.append((*self.held.held, *others, *(own[i] for i in order[:kept])))
            tails.append([own[i] for i in order[kept:]])
        new, log_new = self.sampled(heads, [[p for p, _ in tail] for tail in tails], generator)
        log_old = self._log_p(heads, tails)
        found = [
            self.held.with_open([*head[len(self.held.held) :], *tail]) for head, tail in zip(heads, new, strict=True)
        ]
        extra = [self._log_labellings(b) - self._log_labellings(a) for a, b in zip(templates, found, strict=True)]
        return found, log_new - log_old + torch.tensor(extra, dtype=torch.float64)

    @torch.no_grad()
    def sampled(
        self, heads: Sequence[Sites], positions: Sequence[Sequence[int]], generator: torch.Generator
    ) -> tuple[list[list[tuple[int, int]]], Tensor]:
        """Return sites with sampled elements behind given ones, and the log probability of these (n_systems,).

        Args:
            heads: sites before.
            positions: of the sites whose elements are sampled, in order.
            generator: source of all randomness.
        """
        tails: list[list[tuple[int, int]]] = [[] for _ in heads]
        log_p = torch.zeros(len(heads), dtype=torch.float64)
        for step in range(max(map(len, positions), default=0)):
            rows = [i for i, some in enumerate(positions) if len(some) > step]
            here = [positions[i][step] for i in rows]
            log_probability = self._elements([(*heads[i], *tails[i]) for i in rows], here)
            chosen = choice(log_probability.exp(), generator).cpu()
            log_p[rows] += log_probability.cpu().gather(1, chosen[:, None]).squeeze(1)
            for i, position, z in zip(rows, here, chosen.tolist(), strict=True):
                tails[i].append((position, z))
        return tails, log_p

    def _log_p(self, heads: Sequence[Sites], tails: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
        """Return the log probability (n_systems,) of the elements of given sites behind others."""
        log_p = torch.zeros(len(heads), dtype=torch.float64)
        for step in range(max(map(len, tails), default=0)):
            rows = [i for i, tail in enumerate(tails) if len(tail) > step]
            before = [(*heads[i], *tails[i][:step]) for i in rows]
            probability = self._elements(before, [tails[i][step][0] for i in rows]).cpu()
            z = torch.tensor([tails[i][step][1] for i in rows])
            log_p[rows] += probability.gather(1, z[:, None]).squeeze(1)
        return log_p

    def _elements(self, before: Sequence[Sites], positions: Sequence[int]) -> Tensor:
        """Return log probabilities (n_systems, 95) of the element on a position behind other sites, in float64."""
        device = self.conditions.n_atoms.device
        sites = _padded(before, device)
        rows = torch.arange(len(before), device=device)
        group = torch.full_like(rows, self.held.template.space_group)
        hidden = self.prior.hidden(self.conditions.select(torch.zeros_like(rows)), group, sites)
        position = torch.tensor(positions, device=device)
        allowed = torch.zeros(len(before), N_ELEMENTS, dtype=torch.bool, device=device)
        allowed[:, sorted(self.held.groups[self.group].elements)] = True
        logits = self.prior.element_logits(hidden[rows, 1 + sites.present.sum(1)], position, allowed)
        return logits.double().masked_fill(~allowed, -torch.inf).log_softmax(-1)

    def _log_labellings(self, template: CrystalTemplate) -> float:
        """Logarithm of the number of labellings of the group's sites, up to a constant that its positions fix."""
        counts = Counter(self.held.parts(template)[self.group]).values()
        return -sum(lgamma(n + 1) for n in counts)


def _padded(sites: Sequence[Sites], device: torch.device) -> PaddedSites:
    """Return sites as rectangles, in the order given."""
    longest = max(map(len, sites))
    rows = [[*some, *[(0, 0)] * (longest - len(some))] for some in sites]
    table = torch.tensor(rows, dtype=torch.long, device=device).reshape(len(sites), longest, 2)
    lengths = torch.tensor([len(some) for some in sites], device=device)
    present = torch.arange(longest, device=device) < lengths[:, None]
    return PaddedSites(table[..., 0], table[..., 1], present, torch.zeros_like(table[..., 0]))
