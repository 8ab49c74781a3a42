"""The energy of formation of a changed host against the host itself, by the potential of the hull.

    E_f = (E − n E_host − Σ_i Δn_i μ_i) / m

with E of the changed cell, E_host of the relaxed primitive cell, n of which make up the changed cell, Δn_i atoms of
element i put in (taken out: negative), and m atoms changed. The chemical potential μ_i is the energy per atom of the
most stable phase of the element in the reference of the hull, for oxygen that of solid or molecular O₂. The defects are
neutral: C. Freysoldt et al., Rev. Mod. Phys. 86, 253 (2014), eq. 1 with q = 0, without corrections for finite size.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pymatgen.core.composition import Composition
from pymatgen.core.structure import Structure

from matgen.hull.hull import ReferenceHull
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.pool import RelaxingPotential
from matgen.structures.candidate import Candidate, Prediction
from matgen.structures.hosts import Host, HostError

HOST_ENERGY = "host_formation_energy"
"""Name of the energy of formation against the host, eV per changed atom."""


@dataclass(frozen=True)
class RelaxedHost:
    """A host at the minimum of the potential within its symmetry.

    Attributes:
        host: as read.
        structure: the relaxed primitive cell, with the atoms of the first site first.
        energy: of that cell, eV, with the corrections of the hull.
        hull: whose elements are the chemical potentials.
    """

    host: Host
    structure: Structure
    energy: float
    hull: ReferenceHull

    @classmethod
    def of(cls, host: Host, potential: RelaxingPotential, config: RelaxConfig, hull: ReferenceHull) -> "RelaxedHost":
        """Relax a host.

        Raises:
            HostError: its relaxation does not converge, or leaves its symmetry.
        """
        found = potential.relax(host.structure, config)
        if found is None or not found[1].converged:
            why = found[1].reason if found else "it cannot be described"
            raise HostError(
                f"expected a host that {potential.name} relaxes, got {host.name}, whose relaxation ended {why}; its "
                "energy is needed as that of the host"
            )
        structure, report = found
        if structure.atomic_numbers != host.structure.atomic_numbers:
            raise HostError(
                f"expected a host whose symmetry is clear, got {host.name}, which has another one within "
                f"{config.symprec:g} Å; give it symmetrised"
            )
        return cls(host, structure, hull.corrected(structure, report.energy) * len(structure), hull)

    def potentials(self, composition: Composition) -> dict[str, float]:
        """Return the chemical potential of each element of a composition, eV per atom."""
        symbols = sorted(element.symbol for element in composition.elements)
        return {
            symbol: -self.hull.above_hull(Composition(symbol), 0.0, self.hull.potential).above_hull
            for symbol in symbols
        }

    def formation_energy(self, candidate: Candidate, cells: float, changed: float) -> Prediction:
        """Return the energy of formation of a relaxed candidate, eV per changed atom; NaN if it has no energy.

        Args:
            candidate: relaxed.
            cells: primitive cells of the host of which the candidate's cell was made.
            changed: atoms of the candidate's cell that were taken out, replaced or put in.
        """
        composition = candidate.crystal.composition.element_composition
        put_in = exchanged(composition, self.structure.composition * cells)
        if candidate.relaxation is None:
            return Prediction(math.nan, 0.0, "eV")
        energy = self.hull.corrected(candidate.crystal, candidate.relaxation.energy)
        total = energy * len(candidate.crystal) - cells * self.energy
        potentials = self.potentials(Composition(dict.fromkeys(put_in, 1)))
        return Prediction((total - sum(n * potentials[z] for z, n in put_in.items())) / changed, 0.0, "eV")


def exchanged(composition: Composition, host: Composition) -> Mapping[str, float]:
    """Return the atoms of each element that a composition has more than another one, without zeros."""
    symbols = sorted({element.symbol for element in (*composition.elements, *host.elements)})
    more = {symbol: float(composition[symbol] - host[symbol]) for symbol in symbols}
    return {symbol: n for symbol, n in more.items() if abs(n) > 1e-6}


def potentials_text(potentials: Mapping[str, float]) -> str:
    """Return chemical potentials in words: `O -4.93 eV`."""
    return ", ".join(f"{symbol} {energy:.2f} eV" for symbol, energy in potentials.items())


def order_by_host(candidate: Candidate) -> float:
    """Return the energy of formation against the host, by which candidates are sorted; infinity without one."""
    found = candidate.properties.get(HOST_ENERGY)
    return math.inf if found is None or math.isnan(found.value) else found.value
