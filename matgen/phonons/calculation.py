"""Phonons of a crystal by any potential: relaxed, displaced, and assessed."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.cell import Cell
from pymatgen.core.structure import Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from matgen.errors import UserError
from matgen.phonons.asked import PHONONS
from matgen.phonons.config import PhononConfig
from matgen.phonons.displacements import force_constants, phonopy
from matgen.phonons.frequencies import SAME_LATTICE, Bands, Lowest, at, bands, commensurate, lowest, mesh, told
from matgen.phonons.spectrum import Heat, Spectrum, heat, spectrum
from matgen.phonons.supercell import SupercellError, shortest
from matgen.relaxation.calculators import calculator_maker, potential_name
from matgen.relaxation.outcome import RELAXATION_ERRORS
from matgen.relaxation.symmetric import primitive, relax
from matgen.structures.candidate import KindError, Material, Relaxation, Verdict, as_crystal

LOOSE = 0.02
"""Largest force, eV/Å, of a crystal that is not relaxed tightly and is calculated all the same."""

OVERLAP = 0.5
"""Distance, Å, below which two atoms are one."""

TOO_SHORT = 5.0
"""Length, Å, of a supercell that says nothing: forces reach an atom from its own image."""

MORE_ATOMS = "no option raises this limit; in Python, phonons(crystal, config=PhononConfig(max_atoms=200)) does"
"""What to do about a cell that is too large; `matgen.phonons` has both names."""

HALFWAY = np.eye(3) / 2
"""Wave vectors at which neighbours move against each other."""

MOVES = 0.1
"""Share of an element in a mode from which it is named."""


class PhononError(UserError, ValueError):
    """There are no phonons of a crystal by a potential; the message says why."""


@dataclass(frozen=True)
class Phonons:
    """Phonons of a crystal.

    Attributes:
        crystal: relaxed primitive cell.
        relaxation: report of the relaxation.
        constants: a `phonopy.Phonopy` with forces and force constants.
        config: settings.
        gamma: frequencies at Γ (3 n_atoms,), THz.
        lowest: lowest frequency at the wave vectors that the supercell tells of, without the three acoustic modes at Γ.
        exact: the same of those that the supercell repeats, at which nothing is interpolated.
        near_gamma: lowest interpolated frequency nearer to Γ than these, which depends on forces beyond the supercell.
    """

    crystal: Structure
    relaxation: Relaxation
    constants: Any
    config: PhononConfig
    gamma: np.ndarray
    lowest: Lowest
    exact: Lowest
    near_gamma: Lowest

    @property
    def uncertain(self) -> bool:
        """Whether modes are imaginary by interpolation alone."""
        least = min(self.lowest.thz, self.near_gamma.thz)
        return least < -self.config.tolerance <= self.exact.thz

    @property
    def potential(self) -> str:
        """Name and version of the potential."""
        return self.relaxation.potential

    @property
    def stable(self) -> bool:
        """Whether no mode that the supercell tells of is imaginary beyond the tolerance."""
        return self.lowest.thz >= -self.config.tolerance

    @property
    def acoustic(self) -> float:
        """Largest of the three frequencies at Γ that should be zero, THz."""
        return float(np.sort(np.abs(self.gamma))[:3].max())

    @property
    def length(self) -> float:
        """Distance of an atom from its nearest image in the supercell, Å."""
        return shortest(self.constants.supercell.cell)

    @cached_property
    def bands(self) -> Bands:
        """Frequencies along a path through the Brillouin zone."""
        return bands(self.constants)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Density of states."""
        return spectrum(self.constants, self.config.mesh)

    @cached_property
    def heat(self) -> Heat | None:
        """Free energy, entropy and heat capacity at 300 K; None if a mode is imaginary."""
        return heat(self.constants, self.config.mesh) if self.stable and not self.uncertain else None

    @property
    def verdict(self) -> Verdict:
        """Passed if no mode is imaginary; the value is the lowest frequency, THz."""
        found = f"lowest frequency {self.lowest.thz:.2f} THz"
        if self.stable and self.uncertain:
            found += f"; {self._imaginary(self.near_gamma)} is not counted: a larger supercell would tell"
        if not self.stable:
            found = f"{self._imaginary(self.lowest)}, in which {_moving(self.crystal, self.lowest.shares)}"
        limit = f"tolerance {self.config.tolerance:g} THz"
        interpolated = ", interpolated" if self.uncertain and not self.stable else ""
        cell = ", in the given cell" if self.config.keep_cell else ""
        supercell = f"{len(self.constants.supercell)} atoms, images {self.length:.1f} Å apart"
        how = f"{self.potential}{cell}{interpolated}, {supercell}"
        return Verdict(PHONONS, self.stable, self.lowest.thz, "THz", f"{found} ({limit}; {how})")

    def _imaginary(self, low: Lowest) -> str:
        where = f"at q = {_fractions(low.q)}{_special(low.q, self.crystal)}"
        return f"imaginary mode of {-low.thz:.2f}i THz {where}"

    @property
    def yaml(self) -> str:
        """Cells, displacements and forces as text that `phonopy.load` reads."""
        settings = {"force_sets": True, "displacements": True, "force_constants": False}
        return f"# forces by {self.potential}\n{self.constants.to_phonopy_yaml(settings=settings)}\n"

    @property
    def record(self) -> dict[str, Any]:
        """Everything that a page shows, as JSON types; frequencies in THz, negative where imaginary."""
        heat, bands, spectrum = self.heat, self.bands, self.spectrum
        return {
            "stable": self.stable,
            "lowest_thz": _rounded(self.lowest.thz),
            "q": _rounded(self.lowest.q),
            "lowest_exact_thz": _rounded(self.exact.thz) if np.isfinite(self.exact.thz) else None,
            "lowest_near_gamma_thz": _rounded(self.near_gamma.thz),
            "shares": _rounded(self.lowest.shares),
            "tolerance_thz": self.config.tolerance,
            "gamma_thz": _rounded(self.gamma),
            "potential": self.potential,
            "cell_given": self.config.keep_cell,
            "supercell": np.asarray(self.constants.supercell_matrix).round().astype(int).tolist(),
            "supercell_atoms": len(self.constants.supercell),
            "length": _rounded(self.length),
            "displacements": len(self.constants.supercells_with_displacements),
            "bands": {
                "x": _rounded(bands.x),
                "q": _rounded(bands.q),
                "frequencies": _rounded(bands.frequencies),
                "ticks": [{"x": _rounded(place), "label": label} for place, label in bands.ticks],
            },
            "dos": {"frequency": _rounded(spectrum.frequency), "density": _rounded(spectrum.density)},
            "at_300_K": None if heat is None else {name: _rounded(value) for name, value in asdict(heat).items()},
            "text": self.verdict.reason,
        }


def phonons(
    crystal: Material | Atoms,
    calculator: str | BaseCalculator | Callable[[], BaseCalculator] = "chgnet",
    config: PhononConfig | None = None,
) -> Phonons:
    """Relax a crystal and calculate its phonons: `phonons(structure, calculator="sevennet").verdict`.

    Args:
        crystal: of pymatgen or ASE.
        calculator: name of a potential, "module:function", or an ASE calculator with forces and stress.
        config: settings; the usual ones if left out.

    Raises:
        PhononError: it is no crystal, it does not relax, its cell is too large, or the potential does not know it.
        CalculatorError: there is no such calculator.
        PhonopyMissingError: phonopy is not installed.
    """
    phonopy()
    config, potential = config or PhononConfig(), made(calculator)
    return of_relaxed(*relaxed_tightly(crystal_of(crystal), potential, config), potential, config)


def of_relaxed(crystal: Structure, report: Relaxation, calculator: BaseCalculator, config: PhononConfig) -> Phonons:
    """Return the phonons of a relaxed primitive cell, in a larger supercell where the first one leaves it uncertain.

    Raises:
        PhononError: the cell is too large, or the potential gives no forces.
        PhonopyMissingError: phonopy is not installed.
    """
    found = _in_supercell(crystal, report, calculator, config)
    larger = replace(config, length=config.length_if_uncertain, max_atoms=config.max_atoms_if_uncertain)
    if found.uncertain and larger.max_atoms > config.max_atoms and larger.length > found.length:
        return _in_supercell(crystal, report, calculator, larger)
    return found


def _in_supercell(crystal: Structure, report: Relaxation, calculator: BaseCalculator, config: PhononConfig) -> Phonons:
    try:
        constants = force_constants(crystal, calculator, config)
    except SupercellError as error:
        raise PhononError(f"{error}; {MORE_ATOMS}") from error
    except RELAXATION_ERRORS as error:
        raise PhononError(f"{potential_name(calculator)} gives no forces: {type(error).__name__}: {error}") from error
    if not np.isfinite(constants.force_constants).all():
        raise PhononError(f"{potential_name(calculator)} gives forces that are not finite")
    if (length := shortest(constants.supercell.cell)) < TOO_SHORT:
        raise PhononError(
            f"images are {length:.1f} Å apart in the largest supercell of {config.max_atoms} atoms, less than "
            f"{TOO_SHORT:g} Å; {MORE_ATOMS}"
        )
    if at(constants, HALFWAY).max() < config.tolerance:
        raise PhononError(f"no mode is above {config.tolerance:g} THz: its atoms do not act on each other")
    q_points = commensurate(constants)
    between = np.concatenate([bands(constants).q, mesh(constants, config.mesh)])
    far = told(constants, between)
    exact, near = lowest(constants, q_points), lowest(constants, between[~far])
    low = min(exact, lowest(constants, between[far]), key=lambda one: one.thz) if far.any() else exact
    return Phonons(crystal, report, constants, config, at(constants, q_points[:1])[0], low, exact, near)


def made(calculator: str | BaseCalculator | Callable[[], BaseCalculator]) -> BaseCalculator:
    """Return a calculator that is named, given, or made by a function."""
    if isinstance(calculator, str):
        return calculator_maker(calculator)()
    return calculator if isinstance(calculator, BaseCalculator) else calculator()


def relaxed_tightly(
    crystal: Structure, calculator: BaseCalculator, config: PhononConfig
) -> tuple[Structure, Relaxation]:
    """Return the symmetrised primitive cell at the minimum of a potential, or in the cell given, and the report.

    Raises:
        PhononError: the potential lacks forces or stress, or the crystal does not relax.
    """
    needed = {"forces"} if config.keep_cell else {"forces", "stress"}
    if lacking := needed.difference(calculator.implemented_properties):
        raise PhononError(
            f"expected a calculator with {' and '.join(sorted(needed))}, got {potential_name(calculator)} without "
            f"{' and '.join(sorted(lacking))}"
        )
    if not crystal.is_valid(tol=OVERLAP):
        raise PhononError(f"atoms are closer than {OVERLAP:g} Å")
    relaxed, report = relax(
        crystal,
        calculator,  # type: ignore[arg-type]  # ASE's hints are narrower
        config.relaxation,
        fixed_cell=config.keep_cell,
    )
    if not report.converged and not report.max_force < LOOSE:
        raise PhononError(f"it does not relax: {report.reason} ({report.potential})")
    return primitive(relaxed, config.symprec), report


def unassessed(reason: str, name: str = PHONONS, unit: str = "THz") -> Verdict:
    """Return the verdict on a crystal without phonons."""
    return Verdict(name, passed=False, value=math.nan, unit=unit, reason=f"not assessed: {reason}")


def crystal_of(given: Material | Atoms) -> Structure:
    """Return a crystal of pymatgen.

    Raises:
        PhononError: it is a molecule, or partially occupied.
    """
    if isinstance(given, Atoms):
        if not given.pbc.all():
            raise PhononError("expected a crystal that repeats along three axes, got atoms that do not")
        given = AseAtomsAdaptor.get_structure(given)
    if not isinstance(given, Structure | Molecule):
        raise PhononError(f"expected a crystal of pymatgen or ASE, got {type(given).__name__}")
    try:
        crystal = as_crystal(given)
    except KindError as error:
        raise PhononError(f"{error}; a molecule has vibrations, not phonons") from error
    if not crystal.is_ordered:
        raise PhononError("expected an ordered crystal, got partial occupancies; order them first")
    return crystal


def _rounded(values: Any) -> Any:
    found = np.round(np.asarray(values, dtype=float), 4) + 0.0  # no minus zero
    return found.tolist()


def _fractions(q: np.ndarray) -> str:
    parts = [Fraction(float(x)).limit_denominator(24) for x in q]
    near = all(abs(float(part) - x) < 1e-4 for part, x in zip(parts, q, strict=True))
    return f"({', '.join(map(str, parts)) if near else ', '.join(f'{x:.3f}' for x in q)})"


def _special(q: np.ndarray, crystal: Structure) -> str:
    """The name of a special point of the Brillouin zone in brackets; empty if it is none."""
    points = Cell(crystal.lattice.matrix).bandpath(npoints=2, eps=SAME_LATTICE).special_points
    for name, point in points.items():
        apart = np.asarray(point) - q
        if np.abs(apart - np.round(apart)).max() < 1e-4:
            return f" [{name.replace('G', 'Γ')}]"
    return ""


def _moving(crystal: Structure, shares: np.ndarray) -> str:
    """The elements that move, and their shares."""
    of_element: dict[str, float] = {}
    for site, share in zip(crystal, shares, strict=True):
        of_element[site.specie.symbol] = of_element.get(site.specie.symbol, 0.0) + float(share)
    named = sorted(((share, element) for element, share in of_element.items() if share >= MOVES), reverse=True)
    return " and ".join(f"{element} moves ({share:.0%})" for share, element in named)
