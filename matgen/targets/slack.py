"""Slack's model of the lattice thermal conductivity, from moduli and the Debye temperature."""

import math

A = 2.43e-6
"""W/m/K for mass in amu, length in Å and temperature in K, before the correction for the Grüneisen parameter."""

AMU = 1.66053906660e-27
"""kg."""

H_BAR_OVER_K = 1.054571817e-34 / 1.380649e-23
"""K s."""


def grueneisen(poisson_ratio: float) -> float:
    """Return the Grüneisen parameter of an isotropic solid from its Poisson ratio: γ = 3 (1 + ν) / (2 (2 - 3 ν)).

    Belomestnykh, Tesleva, Tech. Phys. 49, 1098 (2004).
    """
    return 1.5 * (1 + poisson_ratio) / (2 - 3 * poisson_ratio)


def poisson_ratio(bulk_modulus: float, shear_modulus: float) -> float:
    """Return the Poisson ratio of an isotropic solid from its moduli, in one unit."""
    return (3 * bulk_modulus - 2 * shear_modulus) / (6 * bulk_modulus + 2 * shear_modulus)


def debye_temperature(bulk_modulus: float, shear_modulus: float, mass: float, volume: float) -> float:
    """Return the Debye temperature of an isotropic solid, K, from its velocities of sound.

    θ = ħ/k (6π²/V)^(1/3) v, with 3/v³ = 2/v_t³ + 1/v_l³, ρ v_t² = G and ρ v_l² = K + 4 G/3: Anderson, J. Phys. Chem.
    Solids 24, 909 (1963).

    Args:
        bulk_modulus: K, GPa.
        shear_modulus: G, GPa.
        mass: mean of the atoms, amu.
        volume: V, per atom, Å³.
    """
    density = mass * AMU / (volume * 1e-30)
    transverse, longitudinal = (
        math.sqrt(c * 1e9 / density) for c in (shear_modulus, bulk_modulus + 4 / 3 * shear_modulus)
    )
    velocity = (3 / (2 / transverse**3 + 1 / longitudinal**3)) ** (1 / 3)
    return H_BAR_OVER_K * (6 * math.pi**2 / volume) ** (1 / 3) * 1e10 * velocity


def slack_conductivity(
    *,
    bulk_modulus: float,
    shear_modulus: float,
    debye_temperature: float,
    mass: float,
    volume: float,
    n_atoms: int,
    temperature: float = 300.0,
) -> float:
    """Return the lattice thermal conductivity by Slack's formula, W/m/K, with the γ of an isotropic solid.

    Args:
        bulk_modulus: GPa, by which with the next γ is estimated.
        shear_modulus: GPa.
        debye_temperature: θ of all modes, K.
        mass: m, mean of the atoms, amu.
        volume: per atom, Å³, the cube of δ.
        n_atoms: n, in the primitive cell.
        temperature: T, K.

    Raises:
        ValueError: a number that is not positive.
    """
    if not all(value > 0 and math.isfinite(value) for value in (bulk_modulus, shear_modulus)):
        raise ValueError(f"expected positive moduli, got {bulk_modulus} and {shear_modulus}")
    return conductivity_of(
        gamma=grueneisen(poisson_ratio(bulk_modulus, shear_modulus)),
        debye_temperature=debye_temperature,
        mass=mass,
        volume=volume,
        n_atoms=n_atoms,
        temperature=temperature,
    )


def conductivity_of(
    *,
    gamma: float,
    debye_temperature: float,
    mass: float,
    volume: float,
    n_atoms: int,
    temperature: float = 300.0,
) -> float:
    """Return the lattice thermal conductivity by Slack's formula from a Grüneisen parameter, W/m/K.

    κ = A(γ) m θ³ δ / (γ² n^(2/3) T), with A(γ) = 2.43e-6 / (1 - 0.514/γ + 0.228/γ²): Slack, Solid State Phys. 34, 1
    (1979); Julian, Phys. Rev. 137, A128 (1965). It holds for Umklapp scattering of acoustic phonons, so that it is no
    estimate for metals, whose electrons conduct, or for glasses.

    Args:
        gamma: γ, Grüneisen parameter.
        debye_temperature: θ of all modes, K.
        mass: m, mean of the atoms, amu.
        volume: per atom, Å³, the cube of δ.
        n_atoms: n, in the primitive cell.
        temperature: T, K.

    Raises:
        ValueError: a number that is not positive.
    """
    given = (gamma, debye_temperature, mass, volume, n_atoms, temperature)
    if not all(value > 0 and math.isfinite(value) for value in given):
        raise ValueError(f"expected positive numbers, got {given}")
    prefactor = A / (1 - 0.514 / gamma + 0.228 / gamma**2)
    return prefactor * mass * debye_temperature**3 * volume ** (1 / 3) / (gamma**2 * n_atoms ** (2 / 3) * temperature)
