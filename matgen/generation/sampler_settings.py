"""How hard each stage of the sampler works, and what each term of the energy weighs."""

import math
from dataclasses import dataclass

from matgen.runtime.config import ConfigError, check_least, check_positive


@dataclass(frozen=True)
class SamplerConfig:
    """How hard each stage works.

    Attributes:
        pool: templates drawn for each that is kept.
        move_steps: Metropolis steps on templates.
        burn_in: after how many of them what a chain is at counts as a proposal; then every four steps anew.
        temperatures: their ladder.
        likeness: width of the substitution kernel, in units of element descriptors.
        started: templates that get a geometry for each candidate wanted, those that rank best without one.
        geometries: starts of each template; times `started` for a molecular graph that is named.
        shaped: templates that are shaped for each candidate wanted; the rest are left at their starts.
        refined_geometries: starts that are shaped of each of these, the best by their ranking energy.
        prototypes: how many of them may be known prototypes.
        initial_noise, initial_levels, initial_churn: noise from which a geometry is drawn by diffusion, Å, in how many
            levels, and how much noise is put back on the way.
        initial_trials: how often, at most, a geometry is drawn that does not show its molecular graph and its hands.
        prototype_noise, sampled_noise: noise put on a prototype, and on a drawn geometry, before diffusion, Å.
        levels: noise levels of the diffusion.
        lowest: the last of them, Å.
        corrector_steps: Langevin steps at each level.
        churn: noise put back on the way.
        sampling_temperature: of the density that geometries are drawn from; below one it prefers its modes.
        refine_sigma: noise level of the refinement, Å.
        settle_noise, settle_levels: from which noise level, Å, and in how many the drawn geometry of a molecule settles
            at a mode; the diffusion that draws it ends there. No levels take the diffusion down to `lowest`.
        settle_stride: how far each of its steps goes, in denoising steps.
        finish_levels: in how many levels a geometry settles at last, from `sampled_noise`, by whole denoising steps; none
            leave it to a few steps of the diffusion.
        choose_sigma: noise level at which geometries of one template, and proposals, are compared, Å.
        refine_rounds, refine_steps: turns, and Langevin steps in each.
        target: weight of property wishes where the sampler walks, for each of the two models that read them.
        charge: penalty of a composition that SMACT calls invalid.
        chemical_distance: weight of chemistry known in its layout, where properties are wished for; zero leaves it out.
        novelty: weight of a formula that is known already, where known crystals are not wanted.
        closed_shell: weight of electrons that cannot close their shells, where a band gap is wished for; zero leaves
            it out.
        hull: weight of the wish to lie within 0.1 eV/atom of the hull, where the request asks for nothing else.
        graph: weight of the graph energy, which counts all atoms.
        rank_prior, rank_graph, rank_target: weights in ranking, where cells of different size compete: of the template
            prior, of the graph energy per atom, and of the wishes.
        variety: energy that each better-ranked proposal of the same layout adds.
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
    levels: int = 12
    lowest: float = 0.02
    corrector_steps: int = 1
    churn: float = 0.0
    sampling_temperature: float = 0.7
    refine_sigma: float = 0.05
    settle_noise: float = 0.3
    settle_levels: int = 0
    settle_stride: float = 1.0
    finish_levels: int = 0
    choose_sigma: float = 0.1
    refine_rounds: int = 2
    refine_steps: int = 8
    target: float = 1.5
    charge: float = 8.0
    chemical_distance: float = 2.0
    novelty: float = 3.0
    closed_shell: float = 8.0
    hull: float = 2.0
    graph: float = 1.0
    rank_prior: float = 0.5
    rank_graph: float = 2.0
    rank_target: float = 4.0
    variety: float = 0.5

    def __post_init__(self) -> None:
        """Check every number at the border.

        Raises:
            ConfigError: one is out of its range.
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
        check_least(self, 0, "target", "charge", "chemical_distance", "novelty", "closed_shell", "hull", "graph")
        check_least(self, 0, "rank_prior", "rank_graph", "rank_target", "variety")
        check_positive(
            self, "likeness", "initial_noise", "prototype_noise", "sampled_noise", "lowest", "sampling_temperature"
        )
        check_positive(self, "refine_sigma", "choose_sigma", "settle_noise", "settle_stride")
        if self.settle_levels and not self.initial_noise > self.settle_noise > self.lowest:
            got = f"{self.initial_noise}, {self.settle_noise} and {self.lowest}"
            raise ConfigError(f"expected start_noise above settle_noise above lowest, got {got}")
        if self.finish_levels and not self.sampled_noise > self.lowest:
            raise ConfigError(f"expected start_drawn above lowest, got {self.sampled_noise} and {self.lowest}")
        if self.settle_stride >= 2:
            raise ConfigError(f"expected settle_stride below 2, got {self.settle_stride}; steps would lead away")
        if not self.temperatures or not all(0 < kT < math.inf for kT in self.temperatures):
            raise ConfigError(f"expected temperatures above 0, at least one, got {list(self.temperatures)}")
