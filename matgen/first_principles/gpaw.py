"""Settings and results of calculations of crystals by GPAW."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pymatgen.core.structure import Structure

from matgen.first_principles.gpaw_interpreter import Interpreter
from matgen.first_principles.gpaw_worker import hubbard_u
from matgen.first_principles.records import shared_fields, with_nulls
from matgen.runtime.config import ConfigError, check_least, check_positive

RECIPE = 1
"""Version of the worker; to be changed where it gives other figures for the same settings."""

OUT_OF_TIME = "not finished within"

NUMBERS = ("gap", "direct_gap", "energy", "magnetic_moment")


@dataclass(frozen=True)
class FirstPrinciplesConfig:
    """Settings of a calculation: PBE in plane waves, on a k-point mesh that contains Γ, in the primitive cell.

    Attributes:
        cutoff: of the plane waves, eV.
        soft_cutoff: the same for crystals of soft elements only (`gpaw_worker.SOFT`), eV; 0 for no difference.
        kpoint_density: points per Å⁻¹ along each reciprocal axis (2π included).
        gap_kpoint_density: of a second, denser mesh that gives the gap at fixed density; 0 for none.
        smearing: width of the Fermi–Dirac occupations, eV.
        max_iterations: limit of self-consistency steps.
        symprec: tolerance at which the primitive cell is found, Å.
        gap_tolerance: self-consistency ends when the last gaps lie within it, eV; 0 for GPAW's own criteria, which are
            much stricter, and its own solver.
        hubbard: with the U of the Materials Project in oxides and fluorides of some metals, as in the gaps that models
            are trained on.
    """

    cutoff: float = 400.0
    soft_cutoff: float = 340.0
    kpoint_density: float = 4.0
    gap_kpoint_density: float = 0.0
    smearing: float = 0.05
    max_iterations: int = 200
    symprec: float = 0.01
    gap_tolerance: float = 0.02
    hubbard: bool = True

    def __post_init__(self) -> None:
        """Check every number.

        Raises:
            ConfigError: a number is out of its range.
        """
        check_positive(self, "cutoff", "kpoint_density", "smearing", "symprec")
        check_least(self, 1, "max_iterations")
        check_least(self, 0, "gap_tolerance", "soft_cutoff")
        if self.gap_kpoint_density and not self.kpoint_density <= self.gap_kpoint_density < math.inf:
            raise ConfigError(
                f"expected gap_kpoint_density of 0, or at least that of the first mesh ({self.kpoint_density:g}), got "
                f"{self.gap_kpoint_density:g}"
            )


def thorough(config: FirstPrinciplesConfig) -> FirstPrinciplesConfig:
    """Return the settings with GPAW's own criteria, solver and mixer, and one cutoff for all elements."""
    return replace(config, gap_tolerance=0.0, soft_cutoff=0.0)


@dataclass(frozen=True)
class FirstPrinciples:
    """Result of GPAW for a crystal; NaN where there is none.

    Attributes:
        gap: smallest difference between empty and filled states of the mesh, eV; 0 for a metal.
        direct_gap: the same at one k point, eV.
        energy: eV/atom, extrapolated to zero smearing, relative to GPAW's own atoms, so that it can be compared only
            with energies of the same settings.
        magnetic_moment: μB per primitive cell; 0 where it was calculated without spin.
        settings: what the figures depend on: `FirstPrinciplesConfig`, meshes, spin, versions.
        converged: whether there is a result.
        reason: why there is none; empty otherwise.
        seconds: wall time.
    """

    gap: float
    direct_gap: float
    energy: float
    magnetic_moment: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    converged: bool = True
    reason: str = ""
    seconds: float = 0.0

    @property
    def out_of_time(self) -> bool:
        """Whether it reached its time limit."""
        return self.reason.startswith(OUT_OF_TIME)


def failed(reason: str, seconds: float = 0.0) -> FirstPrinciples:
    """Return the result of a calculation that failed."""
    nan = math.nan
    return FirstPrinciples(nan, nan, nan, nan, converged=False, reason=reason, seconds=seconds)


def to_record(found: FirstPrinciples) -> dict[str, Any]:
    """Return a result as JSON types; NaN becomes null."""
    return with_nulls(asdict(found), NUMBERS)


def from_record(record: Mapping[str, Any]) -> FirstPrinciples:
    """Return the result that `to_record` or the worker wrote.

    Raises:
        KeyError, TypeError, ValueError: the record is damaged.
    """
    return FirstPrinciples(**shared_fields({"seconds": 0.0, **record}, NUMBERS))


def key(structure: Structure, config: FirstPrinciplesConfig, interpreter: Interpreter) -> str:
    """Return a hash that identifies a calculation: the crystal as given, the settings, the version of GPAW."""
    crystal = [structure.lattice.matrix.tolist(), [str(s) for s in structure.species_and_occu]]
    settings = asdict(config)
    for name in ("gap_tolerance", "soft_cutoff"):
        if not settings[name]:
            del settings[name]  # so that keys from before these settings existed stay valid
    shifts = hubbard_u([element.symbol for element in structure.elements]) if settings.pop("hubbard") else {}
    content = json.dumps(
        [*crystal, structure.frac_coords.tolist(), settings, interpreter.gpaw, RECIPE, *filter(None, [shifts])]
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]
