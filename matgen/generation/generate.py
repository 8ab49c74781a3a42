"""From a request to ranked proposals: propose templates, diffuse geometry, refine jointly, rank.

    E(x) = E_prior(template) + E_graph(state) + Σ_k w_k E_k

Every stage samples from a part of this sum, and every proposal carries its terms by name.
"""

import torch

from matgen.generation.kinds.base import Kind
from matgen.generation.propose import propose
from matgen.generation.rank import Proposed, rank
from matgen.generation.request import Request
from matgen.generation.shape import shape
from matgen.generation.trajectory import Recorder
from matgen.runtime.progress import Report


def generate(
    request: Request,
    kind: Kind,
    generator: torch.Generator,
    report: Report,
    unit: int = 0,
    recorder: Recorder | None = None,
) -> list[Proposed]:
    """Return proposals for a request, one geometry for each template, lowest energy first.

    Args:
        request: what is asked.
        kind: crystals or molecules.
        generator: of all random numbers.
        report: receives the progress of every stage.
        unit: number of the unit of work.
        recorder: receives the geometries on the way to each proposal; None for nothing.
    """
    request.terms.to(kind.device)
    templates = propose(request, kind, generator, report, unit)
    if not templates:
        return []
    batch, geometry = shape(templates, request, kind, generator, report, recorder)
    return rank(batch, geometry, request, kind, report)
