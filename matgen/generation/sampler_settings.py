"""Which stages of the sampler run, how hard each works, and what each term of the energy weighs."""

import math
from dataclasses import dataclass
from typing import Literal

from matgen.runtime.config import ConfigError, check_least, check_positive


@dataclass(frozen=True)
class Stages:
    """Which stages of the sampler run; each can be left out, so that its worth can be measured.

    Attributes:
        moves: Metropolis–Hastings moves on templates.
        regrowth: among them, parts regrown from the prior: always, never, or where a formula is named, which leaves
            little to exchange; elsewhere exchanges of elements find more in the same time.
        diffusion: reverse diffusion of the geometry.
        guidance: of the diffusion by property targets. Geometries of crystals hardly change what is predicted for their
            elements and sites: it takes as long as the diffusion itself, and finds no more on target.
        mala: Metropolis-adjusted Langevin refinement on the total energy.
    """

    moves: bool = True
    regrowth: Literal["formula", "always", "never"] = "formula"
    diffusion: bool = True
    guidance: bool = False
    mala: bool = True


@dataclass(frozen=True)
class SamplerConfig:
    """How hard each stage works, and what each term weighs.

    Attributes:
        pool: templates sampled for each that is kept.
        move_steps: Metropolis steps on templates.
        burn_in: steps after which the state of a chain counts as a proposal; from then on every fourth step.
        temperatures: temperature ladder of the chains.
        likeness: width of the substitution kernel, in units of element descriptors.
        started: templates that get a geometry, per candidate wanted: those that rank best without one.
        geometries: initial geometries of each template; times `started` for a named molecular graph.
        prototypes: how many of them may be known prototypes.
        shaped: templates that are diffused and refined, per candidate wanted; the rest keep their initial geometries.
        refined_geometries: initial geometries refined of each of these, the best by their ranking energy.
        initial_noise, initial_levels, initial_churn: noise from which diffusion samples a geometry, Å, number of
            levels, and noise added back on the way.
        initial_trials: most attempts to sample a geometry that shows its molecular graph and stereo.
        prototype_noise, sampled_noise: noise added to a prototype, and to a sampled geometry, before diffusion, Å.
        levels: noise levels of the diffusion.
        lowest: the last of them, Å.
        corrector_steps: Langevin steps at each level.
        churn: noise added back on the way.
        sampling_temperature: of the density from which geometries are sampled; below one it prefers its modes.
        refine_sigma: noise level of the refinement, Å.
        settle_noise, settle_levels: noise level, Å, from which the sampled geometry of a molecule settles at a mode,
            and number of levels; the diffusion that samples it ends there. Zero levels take the diffusion to `lowest`.
        settle_stride: length of each of its steps, in denoising steps.
        finish_levels: levels in which a geometry settles at last, from `sampled_noise`, by whole denoising steps; zero
            leave it to a few steps of the diffusion.
        choose_sigma: noise level at which geometries of one template, and proposals, are compared, Å.
        refine_rounds, refine_steps: rounds of refinement, and Langevin steps in each.
        target: weight of property targets in the sampler, for each of the two models that read them.
        charge: penalty of a composition that SMACT calls invalid.
        chemical_distance: weight of the distance to chemistry known in the same Wyckoff layout, where there are
            property targets or the composition is given; zero leaves it out.
        novelty: weight of a formula that is known already, where known crystals are not wanted.
        closed_shell: weight of electrons that cannot close their shells, where a band gap is a target; zero leaves it
            out.
        rules: weight of each rule that is preferred, and of coordination numbers that rules ask for, per unit of
            distance.
        hull: weight of the target to lie within 0.1 eV/atom of the hull, where the request names no other.
        graph: weight of the graph energy, which counts all atoms.
        rank_prior, rank_graph, rank_target: weights in ranking, where cells of different size compete: of the template
            prior, of the graph energy per atom, and of the targets.
        variety: energy that each better-ranked proposal of the same Wyckoff layout adds.
    """

    pool: int = 6
    move_steps: int = 40
    burn_in: int = 8
    temperatures: tuple[float, ...] = (1.0,)
    likeness: float = 0.6
    started: int = 10
    geometries: int = 2
    prototypes: int = 2
    shaped: int = 5
    refined_geometries: int = 1
    initial_noise: float = 4.0
    initial_levels: int = 40
    initial_churn: float = 25.0
    initial_trials: int = 1
    prototype_noise: float = 0.15
    sampled_noise: float = 0.3
    levels: int = 6
    lowest: float = 0.02
    corrector_steps: int = 1
    churn: float = 0.0
    sampling_temperature: float = 0.1
    refine_sigma: float = 0.05
    settle_noise: float = 0.3
    settle_levels: int = 0
    settle_stride: float = 1.0
    finish_levels: int = 0
    choose_sigma: float = 0.1
    refine_rounds: int = 1
    refine_steps: int = 4
    target: float = 1.5
    charge: float = 8.0
    chemical_distance: float = 2.0
    novelty: float = 3.0
    closed_shell: float = 8.0
    rules: float = 4.0
    hull: float = 2.0
    graph: float = 1.0
    rank_prior: float = 0.5
    rank_graph: float = 2.0
    rank_target: float = 4.0
    variety: float = 0.5

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: a number is out of its range.
        """
        check_least(self, 1, "pool", "started", "geometries", "shaped", "refined_geometries", "levels")
        check_least(self, 1, "initial_levels", "initial_trials")
        check_least(
            self,
            0,
            "prototypes",
            "move_steps",
            "burn_in",
            "refine_rounds",
            "refine_steps",
            "corrector_steps",
            "churn",
            "initial_churn",
            "settle_levels",
            "finish_levels",
        )
        check_least(
            self, 0, "target", "charge", "chemical_distance", "novelty", "closed_shell", "rules", "hull", "graph"
        )
        check_least(self, 0, "rank_prior", "rank_graph", "rank_target", "variety")
        check_positive(
            self, "likeness", "initial_noise", "prototype_noise", "sampled_noise", "lowest", "sampling_temperature"
        )
        check_positive(self, "refine_sigma", "choose_sigma", "settle_noise", "settle_stride")
        if self.settle_levels and not self.initial_noise > self.settle_noise > self.lowest:
            got = f"{self.initial_noise}, {self.settle_noise} and {self.lowest}"
            raise ConfigError(f"expected initial_noise above settle_noise above lowest, got {got}")
        if self.finish_levels and not self.sampled_noise > self.lowest:
            raise ConfigError(f"expected sampled_noise above lowest, got {self.sampled_noise} and {self.lowest}")
        if self.settle_stride >= 2:
            raise ConfigError(f"expected settle_stride below 2, got {self.settle_stride}; steps would lead away")
        if not self.temperatures or not all(0 < kT < math.inf for kT in self.temperatures):
            raise ConfigError(f"expected temperatures above 0, at least one, got {list(self.temperatures)}")
