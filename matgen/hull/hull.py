"""Energy above the hull: how far a crystal lies above the best mixture of known phases, by one potential.

    E_hull(x) = E(x) − min { Σ_i c_i E_i : Σ_i c_i x_i = x, c_i ≥ 0 }      (energies per atom)

Energies of different potentials differ by 50 meV/atom and more for the same crystal, so a hull takes energies of its
own potential only. The geometry is pymatgen's: S. P. Ong et al., Chem. Mater. 20, 1798 (2008).
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from pathlib import Path
from typing import Self

import numpy as np
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core.composition import Composition

from matgen.errors import UserError
from matgen.hull.reference import Reference, elements_of
from matgen.structures.candidate import Candidate, Verdict

MARGIN = 0.1
"""Phases so far above the hull are kept in a reference, eV/atom."""

ON_HULL = 1e-6
"""What counts as on the hull, eV/atom: the resolution of a reference file."""

DOUBTFUL = 0.3
"""Further below the hull than this, eV/atom, nothing is stable: the potential or the reference is wrong there."""

REFUTED = 0.25
"""A phase that first principles put so much further above the hull than the potential does is no reference, eV/atom."""

REMEMBERED = 512
"""Chemical systems kept in memory by each hull."""

Elements = tuple[str, ...]


class PotentialMismatchError(UserError, ValueError):
    """An energy of another potential than the hull's."""


class UnknownChemistryError(UserError, ValueError):
    """An element without a reference phase."""


@dataclass(frozen=True)
class Stability:
    """Where a composition and its energy lie relative to the known phases.

    Attributes:
        above_hull: energy above the hull, eV/atom. Negative below it: more stable than every mixture of known phases.
        formation_energy: energy relative to the elements, eV/atom.
        decomposition: what it would fall apart into: reduced formula → share of the atoms; shares add up to 1.
        n_phases: known phases on the hull of this chemical system, its elements among them.
    """

    above_hull: float
    formation_energy: float
    decomposition: dict[str, float]
    n_phases: int


def is_stable(height: float, limit: float) -> bool:
    """Whether an energy above the hull counts as stable: not above the limit, nor too far below to be believed.

    Args:
        height: eV/atom; NaN is not stable.
        limit: eV/atom, taken at the resolution of a reference, `ON_HULL`. The floor is `-DOUBTFUL`.
    """
    return -DOUBTFUL <= height <= limit + ON_HULL


class ReferenceHull:
    """The hull of a reference; diagrams of chemical systems are made when asked for, and remembered.

    Can be pickled; what it remembers stays behind.

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
        """The hull of a reference file; of the one that ships if no path is given.

        Raises:
            ReferenceFileError: there is none, or it is no reference.
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

    def above_hull(
        self, composition: Composition, energy: float, potential: str, *, without: Collection[str] = ()
    ) -> Stability:
        """Where an energy lies relative to the known phases.

        Args:
            composition: of any size; oxidation states are dropped.
            energy: eV/atom, by the hull's potential, best relaxed by it.
            potential: that gave the energy, name and version.
            without: names of phases that are left out of the hull for this once.

        Raises:
            PotentialMismatchError: the energy is of another potential.
            UnknownChemistryError: an element has no reference phase, or none that is not left out.
        """
        if potential != self.potential:
            raise PotentialMismatchError(
                f"expected an energy by {self.potential}, of which this hull is made, got one by {potential}; relax "
                "with that potential, or build a reference of yours with `matgen reference build`"
            )
        composition = composition.element_composition
        diagram = self._of(composition, frozenset(without))
        return stability(diagram, composition, energy)

    def ceiling(self, composition: Composition, limit: float) -> float:
        """The highest energy, eV/atom, at most `limit` above the hull; infinite where the hull knows nothing."""
        try:
            return limit - self.above_hull(composition, 0.0, self.potential).above_hull
        except UnknownChemistryError:
            return math.inf

    def _of(self, composition: Composition, without: frozenset[str]) -> PhaseDiagram:
        elements = tuple(sorted(element.symbol for element in composition.elements))
        if missing := sorted(set(elements) - self.elements):
            with quiet():
                formula = composition.reduced_formula
            raise UnknownChemistryError(
                f"expected elements that the reference has a phase of, got {', '.join(missing)} in {formula}; build a "
                "reference with `matgen reference build` that holds them"
            )
        return self._diagram(elements, without) if without else self._remembered(elements)

    def _diagram(self, elements: Elements, without: frozenset[str] = frozenset()) -> PhaseDiagram:
        """The phase diagram of a chemical system.

        A phase above the hull of its own elements is above that of any more, so those on it suffice, unless one of
        them is left out.
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


def stability(diagram: PhaseDiagram, composition: Composition, energy: float) -> Stability:
    """Where an energy (eV/atom) at a composition lies in a phase diagram that holds its elements."""
    with quiet():
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
    """The phases within a margin of the hull of them all, with their energies above it.

    Chemical systems are taken in the order of their number of elements, so that each is decided by its own phases and
    by those on the hull of its parts. A potential may have a hole where a phase is: one whose energy is refuted by
    first principles is left out, lest it condemn its whole neighbourhood.

    Args:
        reference: phases; `above_hull` is not read.
        margin: eV/atom.
        labels: energies above the hull by first principles (n,), eV/atom, NaN where not known. A phase that the
            potential puts within the margin and `REFUTED` or more below its label is left out.

    Returns:
        Those phases in the same order. Phases of elements that have no phase by themselves are left out.
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
    """The relaxed energy is stable within a limit, eV/atom above the known phases: see `is_stable`.

    Raises:
        PotentialMismatchError: the candidate was relaxed by another potential than the hull's.
    """
    report = candidate.relaxation
    if report is None or not math.isfinite(report.energy):
        reason = "no relaxed energy to compare with the known phases"
        return Verdict("hull", passed=False, value=math.nan, unit="eV/atom", reason=reason)
    composition = candidate.structure.composition
    try:
        found = hull.above_hull(composition, report.energy, report.potential)
    except UnknownChemistryError as error:
        return Verdict("hull", passed=False, value=math.nan, unit="eV/atom", reason=str(error))
    passed = is_stable(found.above_hull, limit)
    return Verdict("hull", passed, found.above_hull, "eV/atom", told(found, hull.potential, limit))


def told(found: Stability, potential: str, limit: float) -> str:
    """A stability in one sentence."""
    rivals = " + ".join(found.decomposition)
    side = "above" if found.above_hull >= 0 else "below"
    where = f"{abs(found.above_hull):.3f} eV/atom {side} {rivals} ({potential})"
    if found.above_hull < -DOUBTFUL:
        return f"to be doubted: {where}; so far below ({DOUBTFUL:g}) the potential or the reference is wrong"
    if not is_stable(found.above_hull, limit):
        return f"unstable: {where}, limit {limit:g}"
    return f"{where}, limit {limit:g}" if found.above_hull >= 0 else f"{where}: more stable than the known phases"


def by_elements(formulas: Iterable[str]) -> dict[Elements, list[int]]:
    """Indices of the formulas by their elements."""
    found: defaultdict[Elements, list[int]] = defaultdict(list)
    for index, formula in enumerate(formulas):
        found[elements_of(formula)].append(index)
    return dict(found)


def parts(elements: Elements) -> Iterator[Elements]:
    """All chemical systems that lie in one, itself the last; elements in alphabetical order."""
    for size in range(1, len(elements) + 1):
        yield from combinations(elements, size)


def entry(reference: Reference, row: int) -> PDEntry:
    """A phase as pymatgen's entry, named as in the reference."""
    composition = Composition(reference.formulas[row])
    return PDEntry(composition, float(reference.energies[row]) * composition.num_atoms, name=reference.names[row])


def diagram(entries: Iterable[PDEntry]) -> PhaseDiagram:
    """Pymatgen's phase diagram of some phases."""
    with quiet():
        return PhaseDiagram(list(entries))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pymatgen about noble gases, which have no electronegativity to sort by."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No Pauling electronegativity")
        yield
