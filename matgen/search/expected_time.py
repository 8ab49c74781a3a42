"""How long a design takes: an estimate from runs that were measured."""

import math
from dataclasses import dataclass, fields

from matgen.generation.presets import preset_of
from matgen.generation.request import Request

START = 10.0
"""Seconds until the first proposals, for imports and weights."""

CPU_SECONDS = {
    ("crystal", "no target"): 2.8,
    ("crystal", "targets"): 9.0,
    ("molecule", "targets"): 9.7,
}
"""CPU seconds for each candidate that is found (docs/results.md): 1.5 ± 0.25 eV 9.6 (480 s on two cores for 100),
0.5 eV 9.5 and 3 eV 7.3 (238 s and 182 s for 50), no target 2.8 (70 s for 50); molecules of 5 eV 9.7 (97 s for 20)."""

SPEED_OF_FAST = {"no target": 1.4, "targets": 2.6}
"""Candidates per CPU hour with `--fast` over those without (docs/results.md)."""


FREE = frozenset({"kind", "targets", "search", "resources", "stages", "sampler"})
"""Tables of a request that may differ from the usual ones of a measured run; of these, values count."""


@dataclass(frozen=True)
class ExpectedTime:
    """How long a run takes.

    Attributes:
        seconds: wall time; NaN if no run of this kind was measured.
        at_most: seconds of the budget.
        processes: that work side by side.
        cores: that there are.
    """

    seconds: float
    at_most: float
    processes: int
    cores: int


def expected_time(request: Request, cores: int, found: int = 0) -> ExpectedTime:
    """Estimate the time of a design.

    Args:
        request: what is asked.
        cores: that may be used.
        found: candidates that an earlier call has found.
    """
    budget, processes = 60.0 * request.search.budget, request.resources.processes
    work = max(0, request.search.n - found) * _cpu_seconds(request)
    seconds = START + work / max(1, min(processes, cores))
    return ExpectedTime(seconds, budget, processes, cores)


def _cpu_seconds(request: Request) -> float:
    """Return the CPU seconds for each candidate; NaN if nothing like the request was measured."""
    usual, fast = (_preset(request, fast=fast) for fast in (False, True))
    if any(getattr(request, name) != getattr(usual, name) for name in _compared()):
        return math.nan
    if request.resources.executor or request.resources.device != "cpu" or len(request.targets) > 1:
        return math.nan
    asked = "targets" if request.targets else "no target"
    each = CPU_SECONDS.get((request.kind, asked), math.nan)
    chosen = request.sampler, request.stages
    if chosen == (usual.sampler, usual.stages):
        return each
    return each / SPEED_OF_FAST[asked] if chosen == (fast.sampler, fast.stages) else math.nan


def _preset(request: Request, *, fast: bool) -> Request:
    return Request.of(kind=request.kind, exclude=request.composition.exclude, **preset_of(request.kind, fast=fast))


def _compared() -> list[str]:
    """Return the tables that must be the usual ones: any other may make a candidate take any time."""
    return [table.name for table in fields(Request) if table.name not in FREE]
