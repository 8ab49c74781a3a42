"""Relaxation and assessment of what is made of a host: whole sites replaced, or point defects."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np
from pymatgen.core.composition import Composition
from pymatgen.core.structure import Structure

from matgen.checks.crystals import density, min_distance, parses
from matgen.checks.verdicts import Check, converged
from matgen.generation.host_plan import DefectPlan, HeldPlan
from matgen.generation.request import Request
from matgen.hull.hull import hull_verdict
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.outcome import RELAXATION_ERRORS, failed
from matgen.relaxation.pool import RelaxingPotential
from matgen.screening.hulls import hull_of, no_hull
from matgen.search.host_energy import HOST_ENERGY, RelaxedHost, exchanged, potentials_text
from matgen.search.selection import CandidateChecks
from matgen.structures.candidate import Candidate, Prediction, Relaxation, Verdict
from matgen.structures.hosts import HostError
from matgen.structures.point_defects import PointDefect, point_defects
from matgen.structures.symmetry import space_group
from matgen.templates.wyckoff import multiplicities

HOST = "host"
"""Name of the verdict that tells what was made of the host, and how."""

AMPLITUDE = 0.05
"""Standard deviation of the displacement of each coordinate before a defect relaxes without symmetry, Å."""

SAME_ENERGY = 0.01
"""Difference in eV below which a defect without symmetry is no other minimum than the one with symmetry."""


class WholeAssessment(Protocol):
    """The assessment of a crystal, as far as it is used here."""

    @property
    def candidate_checks(self) -> CandidateChecks:
        """The checks of the request."""
        ...

    def relaxed(self, candidates: Sequence[Candidate]) -> Generator[Candidate]:
        """Yield candidates with their final structure, in the order given."""
        ...

    def unfit(self, candidate: Candidate) -> Verdict | None:
        """Return the verdict that makes predictions meaningless, if there is one."""
        ...

    def predicted(self, candidate: Candidate) -> dict[str, Prediction]:
        """Predict the properties of the final structure."""
        ...

    def afterwards(self, candidate: Candidate) -> Candidate:
        """Add advisory verdicts."""
        ...


@dataclass
class ReplacedAssessment:
    """Crystals with other elements on whole sites of a host: assessed as any, with their energy against the host.

    Attributes:
        crystals: assesses them as any crystal.
        plan: what is replaced.
        host: relaxed.
    """

    crystals: WholeAssessment
    plan: HeldPlan
    host: RelaxedHost
    candidate_checks: CandidateChecks = field(init=False)

    def __post_init__(self) -> None:
        """Add the verdict on the host to the checks."""
        own = self.crystals.candidate_checks
        self.candidate_checks = replace(own, checks={**own.checks, HOST: self._verdict})

    def relaxed(self, candidates: Sequence[Candidate]) -> Generator[Candidate]:
        """Yield candidates with their final structure, in the order given."""
        yield from self.crystals.relaxed(candidates)

    def unfit(self, candidate: Candidate) -> Verdict | None:
        """Return the verdict on overlapping atoms."""
        return self.crystals.unfit(candidate)

    def predicted(self, candidate: Candidate) -> dict[str, Prediction]:
        """Predict the properties, and calculate the energy of formation against the host."""
        share = len(candidate.crystal) / len(self.host.structure)
        energy = self.host.formation_energy(candidate, share, self._changed * share)
        return self.crystals.predicted(candidate) | {HOST_ENERGY: energy}

    def afterwards(self, candidate: Candidate) -> Candidate:
        """Add whether it relaxes back after random displacements."""
        return self.crystals.afterwards(candidate)

    @property
    def _changed(self) -> int:
        """Atoms of the primitive cell that are replaced."""
        held, atoms = self.plan.held, multiplicities()
        return sum(atoms[held.template.sites[site][0]] for group in held.groups for site in group.sites)

    def _verdict(self, candidate: Candidate) -> Verdict:
        listed = len(self.plan.listed)
        how = f"one of {listed} templates, all of which were ranked" if listed else "chosen by the sampler"
        text = f"{candidate.template} on the sites of {self.plan.host.name}, {how}"
        return _energy_verdict(candidate, self.host, text, len(candidate.crystal) / len(self.host.structure))


@dataclass
class DefectAssessment:
    """Point defects: relaxed by the potential of the request, with their energy of formation.

    In a supercell the cell is that of the relaxed host, and all atoms relax: first within the symmetry of the defect,
    then from random displacements without any, which is kept if its energy is lower. In the primitive cell, the cell
    relaxes too, with the settings of the request.

    Attributes:
        request: what is asked.
        plan: the defects.
        host: relaxed.
        potential: that relaxes.
        defects: in the relaxed host.
    """

    request: Request
    plan: DefectPlan
    host: RelaxedHost
    potential: RelaxingPotential
    defects: list[PointDefect] = field(init=False)
    candidate_checks: CandidateChecks = field(init=False)
    _by_label: dict[str, PointDefect] = field(init=False)

    def __post_init__(self) -> None:
        """Make the defects and their checks."""
        self.defects = point_defects(self.plan.host, self.plan.changes, self.plan.supercell, self.host.structure)
        self._by_label = {defect.label: defect for defect in self.defects}
        above_hull = partial(hull_verdict, hull=self.host.hull, limit=self.request.selection.max_ehull)
        checks: dict[str, Check] = {"density": density, "min_distance": no_overlap, "relaxed": converged}
        checks |= {"parses": parses, HOST: self._verdict, "hull": above_hull}
        self.candidate_checks = CandidateChecks(checks, frozenset({"hull"}))

    def proposals(self, number: int, size: int) -> list[Candidate]:
        """Return the defects of a unit, which are `size` of the list; none behind its end."""
        some = self.defects[number * size : (number + 1) * size]
        return [self._candidate(defect, number, rank) for rank, defect in enumerate(some)]

    def relaxed(self, candidates: Sequence[Candidate]) -> Generator[Candidate]:
        """Yield relaxed defects, in the order given."""
        for candidate in candidates:
            structure, report = self._relaxed(candidate)
            yield replace(candidate, structure=structure, space_group=space_group(structure), relaxation=report)

    def unfit(self, candidate: Candidate) -> Verdict | None:
        """Return the verdict on overlapping atoms."""
        contact = no_overlap(candidate)
        return None if contact.passed else contact

    def predicted(self, candidate: Candidate) -> dict[str, Prediction]:
        """Return the energy of formation."""
        defect, share = self._of(candidate)
        energy = self.host.formation_energy(candidate, defect.cells * share, defect.changed * share)
        return {HOST_ENERGY: energy}

    def afterwards(self, candidate: Candidate) -> Candidate:
        """Return the candidate unchanged."""
        return candidate

    def _candidate(self, defect: PointDefect, number: int, rank: int) -> Candidate:
        structure = defect.structure
        name = f"{number}-{rank:03d}-{structure.composition.reduced_formula}"
        return Candidate(name, structure, structure, space_group(structure), template=defect.label, seed=rank)

    def _of(self, candidate: Candidate) -> tuple[PointDefect, float]:
        """Return the defect of a candidate, and its size as a share of the supercell, as several may repeat in that."""
        defect = self._by_label[candidate.template]
        return defect, len(candidate.crystal) / len(defect.structure)

    def _relaxed(self, candidate: Candidate) -> tuple[Structure, Relaxation]:
        """Relax a defect; a failure is reported."""
        settings, structure = self.request.relaxation.settings, candidate.crystal
        if not self.plan.supercell:
            return self._minimum(structure, settings, fixed_cell=False)
        found = [self._minimum(structure, settings, fixed_cell=True)] if settings.keep_symmetry else []
        displaced = _displaced(structure, np.random.default_rng(self.request.search.seed))
        found.append(self._minimum(displaced, replace(settings, keep_symmetry=False), fixed_cell=True))
        usable = [one for one in found if one[1].converged] or found
        return min(usable, key=lambda one: one[1].energy * len(structure) + (SAME_ENERGY if one is found[-1] else 0.0))

    def _minimum(
        self, structure: Structure, settings: RelaxConfig, *, fixed_cell: bool
    ) -> tuple[Structure, Relaxation]:
        """Relax a structure; a failure is reported."""
        try:
            found = self.potential.relax(structure, settings, fixed_cell=fixed_cell)
        except RELAXATION_ERRORS as error:
            return structure, failed(f"{type(error).__name__}: {error}", self.potential.name)
        return found or (structure, failed("an atom has no neighbours", self.potential.name))

    def _verdict(self, candidate: Candidate) -> Verdict:
        defect, share = self._of(candidate)
        dilute = self.plan.supercell > 0
        cell = f"a supercell of {defect.cells} primitive cells" if dilute else "the primitive cell"
        how = "all atoms relaxed in the cell of the host" if dilute else "atoms and cell relaxed"
        text = f"{defect.label}, in {cell}, one of {defect.places} equivalent places; listed by symmetry, {how}"
        return _energy_verdict(candidate, self.host, text, defect.cells * share)


def _energy_verdict(candidate: Candidate, host: RelaxedHost, text: str, cells: float) -> Verdict:
    """Return the verdict that tells what was made of a host, and its energy of formation."""
    energy = candidate.properties[HOST_ENERGY].value
    composition = candidate.crystal.composition.element_composition
    put_in = exchanged(composition, host.structure.composition * cells)
    potentials = potentials_text(host.potentials(Composition(dict.fromkeys(put_in, 1))))
    known = math.isfinite(energy)
    result = f"{energy:.2f} eV per changed atom ({host.hull.potential}; elements {potentials})"
    reason = f"{text}; {result if known else 'no energy'}"
    return Verdict(HOST, passed=True, value=energy, unit="eV", reason=reason)


def no_overlap(candidate: Candidate) -> Verdict:
    """Return the verdict on contacts by covalent radii alone: an atom in a void is nearer than in any known crystal."""
    return min_distance(candidate, pressed=True)


def _displaced(structure: Structure, random: np.random.Generator) -> Structure:
    """Return a structure with every coordinate displaced at random."""
    moved = structure.cart_coords + random.normal(0.0, AMPLITUDE, (len(structure), 3))
    return Structure(structure.lattice, structure.species, moved, coords_are_cartesian=True, to_unit_cell=True)


def host_assessment(request: Request, crystals: WholeAssessment | None) -> ReplacedAssessment | DefectAssessment | None:
    """Return the assessment of what is made of a host; None where it is that of any crystal.

    Args:
        request: what is asked.
        crystals: assesses any crystal; None if the plan has point defects, which need no predictors.

    Raises:
        HostError: the host does not relax, or the potential has no hull.
    """
    plan = request.host_plan
    if plan is None or request.relaxer == "none" or (isinstance(plan, HeldPlan) and not plan.replaced):
        return None
    calculator = request.relaxation.calculator
    potential, hull = RelaxingPotential(calculator, request.resources.device), hull_of(calculator)
    if hull is None:
        raise HostError(
            "expected a potential with a hull, whose elements are the chemical potentials of what is put in and taken "
            f"out, got {potential.name}; {no_hull(potential.name)}"
        )
    host = RelaxedHost.of(plan.host, potential, request.relaxation.settings, hull)
    if isinstance(plan, DefectPlan):
        return DefectAssessment(request, plan, host, potential)
    assert crystals is not None  # noqa: S101 (for mypy: replaced sites are assessed as crystals)
    return ReplacedAssessment(crystals, plan, host)
