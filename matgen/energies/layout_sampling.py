"""Templates by analogy: the Wyckoff layouts of given crystals, with elements sampled anew by the learned prior."""

from collections.abc import Sequence

import torch
from torch.nn.functional import pad

from matgen.energies.partial_templates import Partial
from matgen.energies.template_sampling import TemplateSampler
from matgen.nn.conditions import N_ELEMENTS, Conditions
from matgen.nn.sites import pad_sites
from matgen.nn.template_prior import MAX_POSITIONS
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.prototypes import layout
from matgen.templates.wyckoff import wyckoff_table


def with_sampled_elements(
    sampler: TemplateSampler, conditions: Conditions, templates: Sequence[CrystalTemplate], generator: torch.Generator
) -> list[CrystalTemplate]:
    """Return templates of the layouts given, whose elements the prior samples site by site, given the sites before.

    Those that break the rules are dropped, so that fewer may be returned.

    Args:
        sampler: the prior and the rules, without a composition.
        conditions: one row for each template.
        templates: whose space group and Wyckoff positions are kept.
        generator: of all random numbers.
    """
    batch = TemplateBatch.of(templates).to(conditions.n_atoms.device)
    sites, device = pad_sites(batch, generator), batch.device
    n, longest = sites.present.shape
    padding = (0, max(sampler.rules.max_atoms - longest, 0) + 1)
    letter = torch.where(sites.present, wyckoff_table(device).letter[sites.position], MAX_POSITIONS)
    row = torch.arange(n, device=device)
    empty = Partial(
        row=row,
        group=batch.space_group,
        letter=pad(letter, padding, value=MAX_POSITIONS),
        element=pad(torch.where(sites.present, -1, 0), padding),
        length=torch.zeros_like(row),
        left=torch.zeros(n, N_ELEMENTS, dtype=torch.long, device=device),
        log_p=torch.zeros(n, dtype=torch.float64, device=device),
        done=row < 0,
    )
    with torch.no_grad():
        sampled = sampler.completed(conditions, empty, generator)
    kept = {layout(template) for template in templates}
    return [one for one in sampled.templates() if layout(one) in kept and sampler.rules.satisfied(one)]
