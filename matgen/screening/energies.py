"""Energies of many structures by a potential, without forces; by CHGNet in batches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from ase.calculators.calculator import Calculator
from pymatgen.core.structure import Structure

from matgen.relaxation.calculators import CHGNET, calculator_maker, kept_calculator, potential_name
from matgen.relaxation.outcome import RELAXATION_ERRORS
from matgen.relaxation.pool import batches
from matgen.relaxation.static import static_energy

ATOMS_PER_BATCH = 128
"""Atoms in a batch. On one core, 8 to 16 small cells are fastest: 12 ms each, 18 ms one by one, and 15 ms at 32."""


@dataclass(frozen=True)
class StaticEnergies:
    """A potential as a function of structures as given, and as an ASE calculator.

    Attributes:
        name: of the calculator.
    """

    name: str = CHGNET

    @cached_property
    def calculator(self) -> Calculator:
        """The same potential as an ASE calculator."""
        return kept_calculator(calculator_maker(self.name))

    @cached_property
    def potential(self) -> str:
        """Name and version of the potential."""
        return potential_name(self.calculator)

    def __call__(self, structures: Sequence[Structure]) -> list[float | str]:
        """Return the energy of each structure, eV/atom, or why there is none, such as an atom without neighbours."""
        if not hasattr(getattr(self.calculator, "model", None), "graph_converter"):  # which CHGNet has
            return [self._of_one(structure) for structure in structures]
        found: list[float | str] = [""] * len(structures)
        graphs: dict[int, Any] = {}
        for index, structure in enumerate(structures):
            if strange := self._strange(structure):
                found[index] = f"{self.potential} does not know {', '.join(strange)}"
                continue
            try:
                graphs[index] = self._model.graph_converter(structure)
            except RELAXATION_ERRORS as error:
                found[index] = self._unread(error)
        for batch in batches(graphs, [len(structure) for structure in structures], ATOMS_PER_BATCH):
            energies = self._of_graphs([graphs[index] for index in batch])
            for index, energy in zip(batch, energies, strict=True):
                found[index] = energy
        return found

    def _of_one(self, structure: Structure) -> float | str:
        """Compute one energy by ASE, eV/atom, or say why there is none."""
        try:
            energy = static_energy(structure, self.calculator)
        except RELAXATION_ERRORS as error:
            return self._unread(error)
        return energy if math.isfinite(energy) else f"{self.potential} gives the energy {energy}"

    def _of_graphs(self, graphs: list[Any]) -> list[float | str]:
        """Compute energies in one batch; one by one if that fails, so that one crystal does not affect others."""
        try:
            with torch.no_grad():
                return self._model(graphs, task="e")["e"].tolist()
        except RELAXATION_ERRORS as error:
            if len(graphs) == 1:
                return [self._unread(error)]
        return [self._of_graphs([graph])[0] for graph in graphs]

    def _strange(self, structure: Structure) -> list[str]:
        """Return the elements that the network has no weights for."""
        known = range(1, self._model.composition_model.fc.weight.shape[1] + 1)
        return sorted({site.specie.symbol for site in structure if site.specie.Z not in known})

    def _unread(self, error: Exception) -> str:
        return f"{self.potential} cannot read it: {' '.join(str(error).split())}"

    @property
    def _model(self) -> Any:
        return self.calculator.model  # type: ignore[attr-defined]  # of CHGNet's calculator
