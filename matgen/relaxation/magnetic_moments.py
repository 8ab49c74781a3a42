"""Magnetic moments of the atoms of crystals by CHGNet.

CHGNet (Deng et al., Nat. Mach. Intell. 5, 1031, 2023) was trained on the absolute values of the site moments of
spin-polarised PBE(+U) calculations that began ferromagnetic. It predicts magnitudes without a sign, so that their sum
is that of the ferromagnetic order: an upper bound of the net moment, which an antiferromagnet does not reach.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pymatgen.core.structure import Structure

from matgen.relaxation.calculators import chgnet_calculator, kept_calculator
from matgen.relaxation.outcome import RELAXATION_ERRORS


def site_moments(structures: Sequence[Structure]) -> list[list[float]]:
    """Return the magnitude of the moment of each atom of each structure, μB.

    The list of a structure that CHGNet cannot read (an unknown element, an atom without neighbours) is empty.
    """
    model: Any = kept_calculator(chgnet_calculator).model  # type: ignore[attr-defined]  # of CHGNet's calculator
    known = model.composition_model.fc.weight.shape[1]
    return [_moments(structure, model) if max(structure.atomic_numbers) <= known else [] for structure in structures]


def _moments(structure: Structure, model: Any) -> list[float]:
    try:
        graph = model.graph_converter(structure)
        with torch.no_grad():
            return model([graph], task="em")["m"][0].tolist()
    except RELAXATION_ERRORS:
        return []
