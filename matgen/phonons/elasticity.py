"""Elastic tensor of a crystal by any potential, and Born's criterion of stability."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from pymatgen.core.structure import Structure

from matgen.phonons.asked import ELASTICITY
from matgen.phonons.calculation import PhononError, crystal_of, made, relaxed_tightly
from matgen.phonons.config import PhononConfig
from matgen.phonons.elastic_tensor import (
    EV_PER_A3,
    ElasticityError,
    Respond,
    Response,
    eigenvalues,
    elastic_tensor,
)
from matgen.relaxation.calculators import potential_name
from matgen.relaxation.outcome import RELAXATION_ERRORS
from matgen.structures.candidate import Material, Relaxation, Verdict


@dataclass(frozen=True)
class Elasticity:
    """Elastic tensor of a crystal.

    Attributes:
        crystal: relaxed primitive cell, in whose Cartesian axes the tensor is given.
        relaxation: report of the relaxation.
        tensor: Voigt's notation (6, 6), GPa.
    """

    crystal: Structure
    relaxation: Relaxation
    tensor: np.ndarray

    @property
    def stiffness(self) -> np.ndarray:
        """Eigenvalues of the tensor in Mandel's notation (6,), GPa, rising: the stiffness against any strain."""
        return eigenvalues(self.tensor)

    @property
    def born_stable(self) -> bool:
        """Whether every strain costs energy: Mouhat and Coudert, Phys. Rev. B 90, 224104 (2014)."""
        return bool(self.stiffness[0] > 0)

    @property
    def bulk(self) -> float:
        """Bulk modulus, GPa: mean of Voigt's and Reuss's."""
        return float(self._tensor.k_vrh)

    @property
    def shear(self) -> float:
        """Shear modulus, GPa, likewise; without meaning where the crystal is not stable."""
        return float(self._tensor.g_vrh)

    @property
    def _tensor(self) -> Any:
        from pymatgen.analysis.elasticity.elastic import ElasticTensor

        return ElasticTensor.from_voigt(self.tensor)

    @property
    def verdict(self) -> Verdict:
        """Passed if every strain costs energy; the value is the least stiffness, GPa."""
        least, by = float(self.stiffness[0]), self.relaxation.potential
        found = f"bulk modulus {self.bulk:.0f} GPa, shear modulus {self.shear:.0f} GPa, least stiffness {least:.1f} GPa"
        if not self.born_stable:
            found = f"unstable against a strain: stiffness {least:.1f} GPa (Born's criterion)"
        return Verdict(ELASTICITY, self.born_stable, least, "GPa", f"{found}; {by}")

    @property
    def record(self) -> dict[str, Any]:
        """Everything that a page shows, as JSON types."""
        return {
            "tensor_gpa": np.round(self.tensor, 2).tolist(),
            "stiffness_gpa": np.round(self.stiffness, 2).tolist(),
            "bulk": round(self.bulk, 2) if self.born_stable else None,
            "shear": round(self.shear, 2) if self.born_stable else None,
            "born_stable": self.born_stable,
            "potential": self.relaxation.potential,
            "text": self.verdict.reason,
        }


def elasticity(
    crystal: Material | Atoms,
    calculator: str | BaseCalculator | Callable[[], BaseCalculator] = "chgnet",
    config: PhononConfig | None = None,
) -> Elasticity:
    """Relax a crystal and calculate its elastic tensor: `elasticity(structure, calculator="sevennet").bulk`.

    Args:
        crystal: of pymatgen or ASE.
        calculator: name of a potential, "module:function", or an ASE calculator with forces and stress.
        config: settings of the relaxation; the usual ones if left out.

    Raises:
        PhononError: it is no crystal, does not relax, its atoms are unstable at the zone centre, or the potential does
            not know it.
        CalculatorError: there is no such calculator.
    """
    potential, config = made(calculator), config or PhononConfig()
    return of_relaxed(*relaxed_tightly(crystal_of(crystal), potential, config), potential)


def of_relaxed(crystal: Structure, report: Relaxation, calculator: BaseCalculator) -> Elasticity:
    """Return the elastic tensor of a crystal that the calculator has relaxed.

    Raises:
        PhononError: its atoms are unstable at the zone centre, or the potential gives nothing finite.
    """
    try:
        tensor = np.array(elastic_tensor(crystal, responses(calculator)).voigt)
    except ElasticityError as error:
        raise PhononError(f"{error}, so that the atoms have no minimum under strain") from error
    except RELAXATION_ERRORS as error:
        raise PhononError(f"{potential_name(calculator)} gives no stress: {type(error).__name__}: {error}") from error
    if not np.isfinite(tensor).all():
        raise PhononError(f"{potential_name(calculator)} gives stress that is not finite")
    return Elasticity(crystal, report, tensor)


def responses(calculator: BaseCalculator) -> Respond:
    """Return what calculates forces and stresses by an ASE calculator."""

    def respond(cells: Sequence[Structure]) -> list[Response]:
        found = []
        for cell in cells:
            atoms = Atoms(
                list(cell.atomic_numbers),
                cell.cart_coords,
                cell=cell.lattice.matrix,
                pbc=True,
                calculator=calculator,
            )
            forces, stress = np.array(atoms.get_forces(), float), atoms.get_stress(voigt=False)
            found.append(Response(forces, np.array(stress, float) * EV_PER_A3))
        return found

    return respond
