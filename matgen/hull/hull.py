"""Energy above the hull: energy relative to the most stable mixture of known phases, by one potential.

    E_hull(x) = E(x) − min { Σ_i c_i E_i : Σ_i c_i x_i = x, c_i ≥ 0 }      (energies per atom)

Energies of different potentials differ by 50 meV/atom and more for the same crystal, so a hull accepts energies of its
own potential only. The phase diagram is pymatgen's: S. P. Ong et al., Chem. Mater. 20, 1798 (2008).
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from pymatgen.core.composition import Composition
from pymatgen.core.structure import Structure

from matgen.errors import UserError
from matgen.hull.corrections import correction
from matgen.hull.reference import Reference, elements_of
from matgen.structures.candidate import Candidate, Verdict

if TYPE_CHECKING:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

MARGIN = 0.1
"""Phases up to this far above the hull are kept in a reference, eV/atom."""

ON_HULL = 1e-6
"""Energy above the hull up to which a phase counts as on it, eV/atom: the resolution of a reference file."""

IMPLAUSIBLE = 0.3
"""Energies further below the hull than this, eV/atom, do not count as stable: potential or reference are wrong."""

REFUTED = 0.25
"""A phase is no reference if first principles put it this much further above the hull than the potential, eV/atom."""

CORRECTIONS, INCOMPLETE = "corrections", "incomplete"
"""Fields of the header: the corrections that all energies contain; known phases without an energy, by system."""

REMEMBERED = 512
"""Phase diagrams cached by each hull."""

Elements = tuple[str, ...]


class PotentialMismatchError(UserError, ValueError):
    """An energy of another potential than that of the hull."""


class UnknownChemistryError(UserError, ValueError):
    """A chemical system that the reference does not cover: an element without a phase, or phases without an energy."""


@dataclass(frozen=True)
class Stability:
    """Stability of a composition and its energy relative to the known phases.

    Attributes:
        above_hull: energy above the hull, eV/atom; negative if it is more stable than every mixture of known phases.
        formation_energy: energy relative to the elements, eV/atom.
        decomposition: into known phases: reduced formula → share of the atoms; shares add up to 1.
        n_phases: known phases on the hull of this chemical system, elements included.
    """

    above_hull: float
    formation_energy: float
    decomposition: dict[str, float]
    n_phases: int


def is_stable(height: float, limit: float) -> bool:
    """Return whether an energy above the hull counts as stable: at most the limit, and not implausibly low.

    Args:
        height: eV/atom; NaN is not stable.
        limit: eV/atom, with the tolerance `ON_HULL`. The lower limit is `-IMPLAUSIBLE`.
    """
    return -IMPLAUSIBLE <= height <= limit + ON_HULL


class ReferenceHull:
    """The hull of a reference; phase diagrams of chemical systems are computed on demand and cached.

    It can be pickled, without its cache.

    Args:
        reference: phases, with their energies above their own hull.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._rows = by_elements(reference.formulas)
        self._elements = frozenset(elements[0] for elements in self._rows if len(elements) == 1)
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._diagram)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Load the hull of a reference file; of the shipped one if no path is given.

        Raises:
            ReferenceFileError: the file is missing, or no reference.
        """
        return cls(Reference.load(path))

    def __reduce__(self) -> tuple[type[Self], tuple[Reference]]:
        return type(self), (self.reference,)

    @property
    def potential(self) -> str:
        """Name and version of the potential."""
        return self.reference.potential

    @cached_property
    def elements(self) -> frozenset[str]:
        """Symbols of the elements that have a reference phase."""
        return self._elements

    @property
    def corrections(self) -> str:
        """Name of the corrections that the energies of this hull contain, and raw ones need; empty for none."""
        return str(self.reference.facts.get(CORRECTIONS, ""))

    @cached_property
    def _incomplete(self) -> dict[Elements, int]:
        """Number of known phases without an energy, by chemical system."""
        found: Mapping[str, int] = self.reference.facts.get(INCOMPLETE, {})
        return {tuple(system.split("-")): n for system, n in found.items()}

    def corrected(self, structure: Structure, energy: float) -> float:
        """Return the raw energy of a crystal by the potential, eV/atom, with the corrections of this hull."""
        return energy + correction(structure, self.corrections)

    def above_hull_of(
        self, structure: Structure, energy: float, potential: str, *, without: Collection[str] = ()
    ) -> Stability:
        """Return the stability of a crystal relative to the known phases.

        Args:
            structure: ordered.
            energy: eV/atom, as the potential of the hull gives it; corrections are added here.
            potential: of the energy, name and version.
            without: names of phases to leave out of the hull.

        Raises:
            PotentialMismatchError: the energy is of another potential.
            UnknownChemistryError: the reference does not cover the chemical system.
        """
        return self.above_hull(structure.composition, self.corrected(structure, energy), potential, without=without)

    def above_hull(
        self, composition: Composition, energy: float, potential: str, *, without: Collection[str] = ()
    ) -> Stability:
        """Return the stability of an energy relative to the known phases.

        Args:
            composition: of any size; oxidation states are dropped.
            energy: eV/atom, by the potential of the hull, preferably at its minimum; with the corrections of the hull
                (`above_hull_of` adds them).
            potential: of the energy, name and version.
            without: names of phases to leave out of the hull.

        Raises:
            PotentialMismatchError: the energy is of another potential.
            UnknownChemistryError: an element has no reference phase, all of them are left out, or known phases have no
                energy.
        """
        if potential != self.potential:
            raise PotentialMismatchError(
                f"expected an energy by {self.potential}, of which this hull is made, got one by {potential}; relax "
                "with that potential, or build a reference of yours with `matgen reference build`"
            )
        composition = composition.element_composition
        diagram = self._of(composition, frozenset(without))
        return stability(diagram, composition, energy)

    def phases(self, elements: Iterable[str]) -> list["PDEntry"]:
        """Return the known phases on the hull of a chemical system, as entries for a `PhaseDiagram` of pymatgen.

        Raises:
            UnknownChemistryError: an element has no reference phase.
        """
        return list(self._of(Composition(dict.fromkeys(elements, 1)), frozenset()).all_entries)

    def ceiling(self, composition: Composition, limit: float) -> float:
        """Return the energy, eV/atom, that lies `limit` above the hull; infinite for unknown chemistry."""
        try:
            return limit - self.above_hull(composition, 0.0, self.potential).above_hull
        except UnknownChemistryError:
            return math.inf

    def _of(self, composition: Composition, without: frozenset[str]) -> "PhaseDiagram":
        elements = tuple(sorted(element.symbol for element in composition.elements))
        if missing := sorted(set(elements) - self.elements):
            formula = composition.reduced_formula
            raise UnknownChemistryError(
                f"expected elements that the reference has a phase of, got {', '.join(missing)} in {formula}; build a "
                "reference with `matgen reference build` that holds them"
            )
        for part in parts(elements) if self._incomplete else ():
            if lacking := self._incomplete.get(part):
                raise UnknownChemistryError(
                    f"the hull of {self.potential} has no energy of {lacking} known phase{'s' * (lacking > 1)} of "
                    f"{'-'.join(part)}, so that nothing is said of {composition.reduced_formula}"
                )
        return self._diagram(elements, without) if without else self._remembered(elements)

    def _diagram(self, elements: Elements, without: frozenset[str] = frozenset()) -> "PhaseDiagram":
        """Return the phase diagram of a chemical system.

        A phase above the hull of its own elements is above every hull with more elements, so the phases on the hull
        suffice, unless some of them are left out.
        """
        rows = [row for part in parts(elements) for row in self._rows.get(part, ())]
        if without:
            kept = [row for row in rows if self.reference.names[row] not in without]
            alone = {found[0] for row in kept if len(found := elements_of(self.reference.formulas[row])) == 1}
            if lost := sorted(set(elements) - alone):
                raise UnknownChemistryError(
                    f"expected a phase of each element to be left, got none of {', '.join(lost)} without "
                    f"{', '.join(sorted(without))}; leave out fewer"
                )
        else:
            kept = [row for row in rows if self.reference.above_hull[row] <= ON_HULL]
        return diagram(entry(self.reference, row) for row in kept)


def stability(diagram: "PhaseDiagram", composition: Composition, energy: float) -> Stability:
    """Return the stability of an energy (eV/atom) at a composition in a phase diagram that holds its elements."""
    mixture, hull_energy = diagram.get_decomp_and_hull_energy_per_atom(composition)
    elemental = diagram.get_reference_energy_per_atom(composition)
    shares = {phase.composition.reduced_formula: float(share) for phase, share in mixture.items()}
    return Stability(
        above_hull=float(energy - hull_energy),
        formation_energy=float(energy - elemental),
        decomposition=dict(sorted(shares.items(), key=lambda item: -item[1])),
        n_phases=len(diagram.stable_entries),
    )


def near_hull(reference: Reference, margin: float = MARGIN, labels: np.ndarray | None = None) -> Reference:
    """Return the phases within a margin of the hull of all, with their energies above it.

    Chemical systems are processed in the order of their number of elements, so that each hull consists of its own
    phases and those on the hulls of its subsystems. A phase whose energy is far too low by the potential, as first
    principles show, is left out, because it would make all compositions around it unstable.

    Args:
        reference: phases; `above_hull` is ignored.
        margin: eV/atom.
        labels: energies above the hull by first principles (n,), eV/atom, NaN where unknown. A phase that the
            potential puts within the margin and `REFUTED` or more below its label is left out.

    Returns:
        These phases in the same order. Phases with an element that has no elemental phase are left out.
    """
    labels = np.full(len(reference), math.nan) if labels is None else labels
    rows = by_elements(reference.formulas)
    on_hull: dict[Elements, list[PDEntry]] = {}
    heights = np.full(len(reference), math.inf)
    for elements in sorted(rows, key=len):
        below = [phase for part in parts(elements) for phase in on_hull.get(part, ())]
        if len(elements) > 1 and not all((element,) in on_hull for element in elements):
            continue
        own = {row: entry(reference, row) for row in rows[elements]}
        refuted: list[int] | None = None
        while refuted is None or refuted:
            for row in refuted or ():
                del own[row]
                heights[row] = math.inf
            whole = diagram([*below, *own.values()])
            for row, phase in own.items():
                heights[row] = stability(whole, phase.composition, reference.energies[row]).above_hull
            refuted = [row for row in own if heights[row] <= margin and labels[row] - heights[row] > REFUTED]
        stable = {id(phase) for phase in whole.stable_entries}
        on_hull[elements] = [phase for phase in own.values() if id(phase) in stable]
    kept = np.flatnonzero(heights <= margin)
    found = reference.select(kept)
    return Reference(
        found.potential,
        found.names,
        found.formulas,
        found.energies,
        np.maximum(heights[kept], 0.0),
        found.relaxed,
        {**found.facts, "margin": margin},
    )


def hull_verdict(candidate: Candidate, hull: ReferenceHull, limit: float = MARGIN) -> Verdict:
    """Check that the relaxed energy is stable within a limit, eV/atom above the known phases: see `is_stable`.

    Raises:
        PotentialMismatchError: the candidate was relaxed by another potential than the hull's.
    """
    report = candidate.relaxation
    if report is None or not math.isfinite(report.energy):
        reason = "no relaxed energy to compare with the known phases"
        return Verdict("hull", passed=False, value=math.nan, unit="eV/atom", reason=reason)
    try:
        found = hull.above_hull_of(candidate.crystal, report.energy, report.potential)
    except UnknownChemistryError as error:
        return Verdict("hull", passed=False, value=math.nan, unit="eV/atom", reason=str(error))
    passed = is_stable(found.above_hull, limit)
    return Verdict("hull", passed, found.above_hull, "eV/atom", describe(found, hull.potential, limit))


def describe(found: Stability, potential: str, limit: float) -> str:
    """Return a stability in one sentence."""
    rivals = " + ".join(found.decomposition)
    side = "above" if found.above_hull >= 0 else "below"
    where = f"{abs(found.above_hull):.3f} eV/atom {side} {rivals} ({potential})"
    if found.above_hull < -IMPLAUSIBLE:
        return f"implausible: {where}; so far below ({IMPLAUSIBLE:g}) the potential or the reference is wrong"
    if not is_stable(found.above_hull, limit):
        return f"unstable: {where}, limit {limit:g}"
    return f"{where}, limit {limit:g}" if found.above_hull >= 0 else f"{where}: more stable than the known phases"


def by_elements(formulas: Iterable[str]) -> dict[Elements, list[int]]:
    """Return the indices of the formulas by their elements."""
    found: defaultdict[Elements, list[int]] = defaultdict(list)
    for index, formula in enumerate(formulas):
        found[elements_of(formula)].append(index)
    return dict(found)


def parts(elements: Elements) -> Iterator[Elements]:
    """Yield all subsystems of a chemical system, itself last; elements in alphabetical order."""
    for size in range(1, len(elements) + 1):
        yield from combinations(elements, size)


def entry(reference: Reference, row: int) -> "PDEntry":
    """Return a phase as a pymatgen entry, named as in the reference."""
    from pymatgen.analysis.phase_diagram import PDEntry

    composition = Composition(reference.formulas[row])
    return PDEntry(composition, float(reference.energies[row]) * composition.num_atoms, name=reference.names[row])


def diagram(entries: Iterable["PDEntry"]) -> "PhaseDiagram":
    """Return the pymatgen phase diagram of some phases."""
    from pymatgen.analysis.phase_diagram import PhaseDiagram

    return PhaseDiagram(list(entries))
