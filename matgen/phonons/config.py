"""Settings of phonons."""

from dataclasses import dataclass, field

from matgen.relaxation.config import RelaxConfig
from matgen.runtime.config import check_least, check_positive

TIGHT = RelaxConfig(fmax=1e-3, smax=1e-4, max_steps=300, patience=80, progress=1e-6, max_volume_change=2.0)
"""Relaxation before displacements: eV/Å and eV/Å³ (16 MPa)."""


@dataclass(frozen=True)
class PhononConfig:
    """How phonons are calculated and assessed.

    Attributes:
        length: least distance between an atom and its image in the supercell, Å; less where `max_atoms` allows no more.
        max_atoms: most atoms of the supercell.
        length_if_uncertain: the same of a second supercell, where the first has imaginary modes only at wave vectors
            that it does not repeat: these are interpolated, and often a property of the short supercell alone.
        max_atoms_if_uncertain: of that supercell.
        displacement: of one atom, Å. Potentials are rough on smaller scales, as they calculate in single precision.
        mesh: density of the q points of spectrum and verdict: their number along a reciprocal vector is `mesh` Å over
            the length of the vector of the cell.
        tolerance: frequency, THz, below whose negative a mode counts as imaginary.
        symprec: tolerance of the symmetry, Å.
        relaxation: thresholds of the relaxation before.
        keep_cell: relax the atoms alone. Potentials err in volumes by some per cent, which softens modes; the cell of a
            calculation from first principles, or of a measurement, is nearer to the truth.
    """

    length: float = 10.0
    max_atoms: int = 120
    length_if_uncertain: float = 15.0
    max_atoms_if_uncertain: int = 300
    displacement: float = 0.03
    mesh: float = 40.0
    tolerance: float = 0.2
    symprec: float = 0.01
    relaxation: RelaxConfig = field(default=TIGHT)
    keep_cell: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigError if a number is out of range."""
        check_positive(self, "length", "length_if_uncertain", "displacement", "mesh", "tolerance", "symprec")
        check_least(self, 1, "max_atoms", "max_atoms_if_uncertain")
