"""Metropolis–Hastings on templates, with parallel tempering."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from matgen.templates.batch import Template, TemplateBatch

Move = Callable[[Sequence[Template], torch.Generator], tuple[list[Template], Tensor]]
"""Proposes a template for each one, with log q(new | old) - log q(old | new), forward minus backward (n_systems,)."""


@dataclass(frozen=True)
class MetropolisReport:
    """Acceptance and energies of a run on templates.

    Attributes:
        acceptance: share of the proposals of each move that changed a template, by temperature (n_temperatures,); NaN
            for a move that was never chosen.
        exchange: share of accepted exchanges between each temperature and the next (n_temperatures - 1,); NaN if none
            was tried.
        energy: at the first temperature, before the first and after every step (steps + 1, n_systems).
    """

    acceptance: dict[str, Tensor]
    exchange: Tensor
    energy: Tensor


def metropolis(
    energy: Callable[[TemplateBatch], Tensor],
    templates: Sequence[Template],
    moves: Mapping[str, Move],
    *,
    steps: int,
    temperatures: Sequence[float] = (1.0,),
    generator: torch.Generator,
    visit: Callable[[int, Sequence[Template]], None] = lambda *_: None,
    below: Callable[[TemplateBatch, Tensor], Tensor] | None = None,
) -> tuple[list[Template], MetropolisReport]:
    """Sample exp(-E/T) over templates.

    Each system runs one chain per temperature. A step is one move (chosen at random, the same kind for all) and an
    exchange between neighbouring temperatures, even and odd pairs in turn. Each system accepts independently.

    Args:
        energy: of a batch of templates, on the CPU (n_systems,).
        templates: initial templates of the chains.
        moves: by name; a forbidden change must be proposed as no change.
        steps: number of steps.
        temperatures: the ladder; the first one is the target.
        generator: source of all randomness.
        visit: called after every step with the number of finished steps and the templates at the first temperature.
        below: the same energy, which may be infinite where it is above a ceiling (n_systems,). Random numbers are
            sampled before energies, so that it is known up to which energy each proposal is accepted.

    Returns:
        Templates at the first temperature, and the report.

    Raises:
        ValueError: no moves, a temperature that is not positive, or an initial energy that is not finite.
    """
    if not moves or min(temperatures, default=0.0) <= 0:
        raise ValueError(f"expected moves and positive temperatures, got {list(moves)} and {list(temperatures)}")
    shape = (len(temperatures), len(templates))
    chains = list(templates) * shape[0]
    energies = energy(TemplateBatch.of(chains)).detach().double()
    _check_finite(energies, templates)
    beta = 1 / torch.tensor(temperatures, dtype=torch.float64, device=energies.device)
    names = list(moves)
    tally = _Tally.empty(names, shape[0])
    trace = [energies[: shape[1]]]
    for step in range(steps):
        name = names[int(torch.randint(len(names), (1,), generator=generator, device=generator.device))]
        chains, energies, changed = _move(below or _exact(energy), chains, energies, moves[name], beta, generator)
        tally.count_move(name, changed.reshape(shape))
        chains, energies, swapped = _exchange(chains, energies.reshape(shape), beta, step % 2, generator)
        tally.count_exchange(step % 2, swapped)
        trace.append(energies[: shape[1]])
        visit(step + 1, chains[: shape[1]])
    return chains[: shape[1]], tally.report(torch.stack(trace))


def _exact(energy: Callable[[TemplateBatch], Tensor]) -> Callable[[TemplateBatch, Tensor], Tensor]:
    return lambda templates, _: energy(templates)


def _move(
    below: Callable[[TemplateBatch, Tensor], Tensor],
    chains: list[Template],
    energies: Tensor,
    move: Move,
    beta: Tensor,
    generator: torch.Generator,
) -> tuple[list[Template], Tensor, Tensor]:
    """One Metropolis step of every chain; also return which of them changed (n_chains,)."""
    proposed, log_q = move(chains, generator)
    uniform = uniforms(len(chains), 1, generator)[:, 0].to(energies.device)
    per_chain = beta.repeat_interleave(len(chains) // len(beta))
    ceiling = energies - (uniform.log() + log_q.to(energies)) / per_chain
    new = _energies_after(below, chains, proposed, energies, ceiling)
    log_ratio = per_chain * (energies - new) - log_q.to(energies)
    accept = (uniform.log() < log_ratio) & new.isfinite()
    kept = [b if yes else a for a, b, yes in zip(chains, proposed, accept.tolist(), strict=True)]
    changed = torch.tensor([a != b for a, b in zip(chains, kept, strict=True)])
    return kept, torch.where(accept, new, energies), changed


def _energies_after(
    below: Callable[[TemplateBatch, Tensor], Tensor],
    chains: Sequence[Template],
    proposed: Sequence[Template],
    energies: Tensor,
    ceiling: Tensor,
) -> Tensor:
    """Energies of proposals (n_chains,), infinite if above the ceiling; unchanged templates are not evaluated again."""
    differ = [a != b for a, b in zip(chains, proposed, strict=True)]
    if not any(differ):
        return energies
    changed = [b for b, yes in zip(proposed, differ, strict=True) if yes]
    mask = torch.tensor(differ, device=energies.device)
    new = below(TemplateBatch.of(changed), ceiling[mask]).detach().to(energies)
    return energies.masked_scatter(mask, new)


def _exchange(
    chains: list[Template], energies: Tensor, beta: Tensor, parity: int, generator: torch.Generator
) -> tuple[list[Template], Tensor, Tensor]:
    """Exchange neighbours of the ladder, from rung `parity` on; also return which changed (n_pairs, n_systems)."""
    n_rungs, n_systems = energies.shape
    lower = torch.arange(n_rungs - 1, device=energies.device)[parity::2]
    log_ratio = (beta[lower] - beta[lower + 1])[:, None] * (energies[lower] - energies[lower + 1])
    uniform = uniforms(len(lower), n_systems, generator).to(energies.device)
    swapped = uniform.log() < log_ratio
    rung = torch.arange(n_rungs, device=energies.device)[:, None].repeat(1, n_systems)
    rung[lower] += swapped.long()
    rung[lower + 1] -= swapped.long()
    order = (rung * n_systems + torch.arange(n_systems, device=energies.device)).ravel()
    return [chains[i] for i in order.tolist()], energies.ravel()[order], swapped


def uniforms(n: int, k: int, generator: torch.Generator) -> Tensor:
    """Return random numbers in [0, 1) (n, k), in float64 on the device of the generator."""
    return torch.rand(n, k, generator=generator, device=generator.device, dtype=torch.float64)


def _check_finite(energies: Tensor, templates: Sequence[Template]) -> None:
    bad = (~energies.isfinite()).nonzero().ravel().tolist()
    if bad:
        raise ValueError(
            f"expected a finite energy at the start of every chain, got {float(energies[bad[0]])} for "
            f"`{templates[bad[0] % len(templates)]}`; start from templates that the energy allows"
        )


@dataclass(frozen=True)
class _Tally:
    """Counts of tried and accepted, by move (n_temperatures,) and by pair of temperatures."""

    moves: dict[str, Tensor]
    exchanges: Tensor

    @classmethod
    def empty(cls, names: Sequence[str], n_rungs: int) -> "_Tally":
        return cls({name: torch.zeros(2, n_rungs) for name in names}, torch.zeros(2, max(n_rungs - 1, 0)))

    def count_move(self, name: str, changed: Tensor) -> None:
        self.moves[name] += torch.stack([torch.ones(len(changed)), changed.float().mean(1)])

    def count_exchange(self, parity: int, swapped: Tensor) -> None:
        self.exchanges[:, parity::2] += torch.stack([torch.ones(len(swapped)), swapped.float().mean(1).cpu()])

    def report(self, energy: Tensor) -> MetropolisReport:
        acceptance = {name: accepted / tried for name, (tried, accepted) in self.moves.items()}
        return MetropolisReport(acceptance, self.exchanges[1] / self.exchanges[0], energy)
