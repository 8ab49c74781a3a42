"""The relaxation of one crystal as a minimisation over its free parameters."""

import math
import time
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from scipy.linalg import block_diag

from matgen.relaxation.quotient_graph import Operations
from matgen.relaxation.symmetric import ATOM_STIFFNESS, BULK_MODULUS
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import conventional_cell, expand
from matgen.templates.wyckoff import wyckoff_table

SHEAR_MODULUS = BULK_MODULUS * 0.46  # of Poisson's ratio 0.3


@dataclass(frozen=True)
class RelaxationProblem:
    """What is constant in the relaxation of one crystal: template, symmetry, initial geometry.

    Attributes:
        index: of the structure.
        batch: its template, as a batch of one.
        initial: initial geometry, in float64.
        symmetry: operations on its atoms.
        ceiling: energy in eV/atom above which the relaxation is not worth finishing; infinite for none.
        started: time at which the relaxation began, s.
    """

    index: int
    batch: TemplateBatch
    initial: Geometry
    symmetry: Operations
    ceiling: float = math.inf
    started: float = field(default_factory=time.perf_counter)

    @cached_property
    def free(self) -> np.ndarray:
        """Which of the lattice parameters and coordinates, in this order, are free (6 + 3 n_sites,), bool."""
        return torch.cat([self.batch.free_lattice.ravel(), self.batch.free_coords.ravel()]).numpy()

    @cached_property
    def n_atoms(self) -> int:
        """Atoms in the primitive cell."""
        return int(self.batch.n_atoms[0])

    @property
    def x0(self) -> np.ndarray:
        """The free parameters of the initial geometry (n_free,)."""
        return _flat(self.initial)[self.free]

    def geometry(self, x: np.ndarray) -> Geometry:
        """The geometry at free parameters x (n_free,)."""
        full = self._spread(x, _flat(self.initial))
        return Geometry(torch.from_numpy(full[None, :6]), torch.from_numpy(full[6:].reshape(-1, 3)))

    def stiffness(self) -> np.ndarray:
        """Guess of the second derivatives of the energy (n_free, n_free), eV.

        Each atom is bound to its position with `ATOM_STIFFNESS`; the cell is isotropic, with the lattice parameters as
        its strain.
        """
        volume = float(torch.linalg.det(expand(self.batch, self.initial).cell[0]).abs())
        lattice = np.full(6, 2 * SHEAR_MODULUS)
        lattice[5] = 3 * BULK_MODULUS
        sites = [ATOM_STIFFNESS * block for block in self._site_metric(self.initial)]
        whole = block_diag(np.diag(volume * lattice), *sites)
        return whole[np.ix_(self.free, self.free)]

    def max_force(self, geometry: Geometry, by_coords: np.ndarray) -> float:
        """Largest force on an atom, eV/Å, from the derivatives in the coordinates (n_sites, 3), eV.

        The forces f of a symmetric crystal are a combination J a of the directions in which its free parameters u move
        the atoms, and ∂E/∂u = -Jᵀ f, so that |f|² = (∂E/∂u)ᵀ (JᵀJ)⁻¹ ∂E/∂u, shared by the atoms of a site.
        """
        inverse = np.linalg.pinv(self._site_metric(geometry), hermitian=True)
        squares = np.einsum("si,sij,sj->s", by_coords, inverse, by_coords)
        return float(np.sqrt(np.maximum(squares, 0) / self.batch.site_multiplicity.numpy()).max())

    def length(self, x: np.ndarray, step: np.ndarray) -> float:
        """The largest displacement of an atom (Å) or change of a lattice parameter in a step from x."""
        spread = self._spread(step, np.zeros(len(self.free)))
        moved = spread[6:].reshape(-1, 3)
        squares = np.einsum("si,sij,sj->s", moved, self._site_metric(self.geometry(x)), moved)
        atoms = np.sqrt(np.maximum(squares, 0) / self.batch.site_multiplicity.numpy())
        return max(float(np.abs(spread[:6]).max()), float(atoms.max()))

    def _spread(self, x: np.ndarray, full: np.ndarray) -> np.ndarray:
        full[self.free] = x
        return full

    def _site_metric(self, geometry: Geometry) -> np.ndarray:
        """JᵀJ = Σ over the atoms of a site of ∂r/∂u_i · ∂r/∂u_j (n_sites, 3, 3), Å²; zero where not free."""
        table = wyckoff_table()
        first = table.member_offset[self.batch.site_position]
        along = torch.einsum("sji,jk->sik", table.matrix[first], conventional_cell(self.batch, geometry.lattice)[0])
        return (along @ along.mT * self.batch.site_multiplicity[:, None, None]).numpy()


def _flat(geometry: Geometry) -> np.ndarray:
    return torch.cat([geometry.lattice.ravel(), geometry.coords.ravel()]).numpy().copy()
