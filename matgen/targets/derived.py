"""Properties that follow from predicted ones by a formula, with their errors.

In logarithms the formulas are linear, or nearly so. With k = log10 K and g = log10 G, a quantity
log10 q = a k + b g + c has the variance a² s_k² + b² s_g² + 2 a b ρ s_k s_g, where ρ is the correlation of the errors
of k and g, measured on held-out rows. The result is taken as logistic with that variance. This is done for each member
of an ensemble, so that their disagreement is carried through as well.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from matgen.targets.distributions import Distribution, Logistic
from matgen.targets.transformed import PoissonOfLogRatio, PowerOfTen, Transformed, log_logistic

BULK, SHEAR, INDEX = "bulk_modulus", "shear_modulus", "refractive_index"

TIAN = (0.92, 1.137, 0.708)
"""H = 0.92 (G/K)^1.137 G^0.708, GPa: Tian, Xu, Zhao, Int. J. Refract. Met. Hard Mater. 33, 93 (2012)."""

SOURCES: dict[str, tuple[str, ...]] = {
    "pugh_ratio": (BULK, SHEAR),
    "poisson_ratio": (BULK, SHEAR),
    "young_modulus": (BULK, SHEAR),
    "vickers_hardness": (BULK, SHEAR),
    "dielectric_constant": (INDEX,),
}
"""Predicted properties that each derived one needs."""


def derived(found: Mapping[str, Distribution], correlation: float) -> dict[str, Distribution]:
    """Return the derived properties of those whose sources one network predicts.

    Args:
        found: distributions by property, of one member of an ensemble, those of moduli and index in logarithms.
        correlation: of the errors of log10 K and log10 G.
    """
    more: dict[str, Distribution] = {}
    if BULK in found and SHEAR in found:
        more |= _of_moduli(_logarithm(found[BULK]), _logarithm(found[SHEAR]), correlation)
    if INDEX in found:
        index = _logarithm(found[INDEX])
        more["dielectric_constant"] = log_logistic(2 * index.loc, 2 * index.scale)
    return more


def _of_moduli(bulk: Logistic, shear: Logistic, correlation: float) -> dict[str, Distribution]:
    """Return what follows from the logarithms of bulk and shear modulus, in GPa."""
    k, g = bulk.loc, shear.loc

    def scale(a: Any, b: Any) -> Tensor:
        both = 2 * a * b * correlation * bulk.scale * shear.scale
        return ((a * bulk.scale) ** 2 + (b * shear.scale) ** 2 + both).clamp_min(1e-12).sqrt()

    ratio = Logistic(k - g, scale(1.0, -1.0))
    part = 1 / (1 + 3 * 10 ** (k - g))  # d log E / d log K = G / (3 K + G)
    young = math.log10(9) + k + torch.log10(part)
    factor, of_ratio, of_shear = TIAN
    hardness = math.log10(factor) + of_ratio * (g - k) + of_shear * g
    return {
        "pugh_ratio": Transformed(ratio, PowerOfTen()),
        "poisson_ratio": Transformed(ratio, PoissonOfLogRatio()),
        "young_modulus": log_logistic(young, scale(part, 1 - part)),
        "vickers_hardness": log_logistic(hardness, scale(-of_ratio, of_ratio + of_shear)),
    }


def _logarithm(distribution: Distribution) -> Logistic:
    """Return the distribution of the logarithm of a quantity.

    Raises:
        TypeError: it is not predicted as a logarithm.
    """
    match distribution:
        case Transformed(base=Logistic() as base, transform=PowerOfTen()):
            return base
    raise TypeError(distribution)
