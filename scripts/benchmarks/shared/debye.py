"""Thermal conductivity from energies of isotropically strained cells: the quasi-harmonic Debye model.

A Birch-Murnaghan equation of state E(V) gives the bulk modulus B(V) = V d²E/dV², and this with an assumed Poisson ratio
the Debye temperature θ(V) ~ V^(1/6) (B/m)^(1/2), its Grüneisen parameter γ = -d ln θ / d ln V, and the volume at which
the pressure of the phonons, γ U/V, balances -dE/dV: Blanco, Francisco, Luaña, Comput. Phys. Commun. 158, 57 (2004).
Slack's formula follows with θ and γ at that volume: Toher et al., Phys. Rev. B 90, 174107 (2014), whose model (AGL) is
that of AFLOW's conductivities.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial
from scipy.integrate import quad
from scipy.optimize import brentq

from matgen.phonons.elastic_tensor import EV_PER_A3
from matgen.targets.slack import conductivity_of, debye_temperature

POISSON = 0.25
"""Assumed ratio, of a Cauchy solid."""

BOLTZMANN = 8.617333262e-5
"""eV/K."""

ORDER = 3
"""Of the equation of state in V^(-2/3): Birch, Phys. Rev. 71, 809 (1947)."""


class EquationOfStateError(Exception):
    """The energies have no minimum among the volumes, or the crystal is unstable there."""


@dataclass(frozen=True)
class EquationOfState:
    """Energy per atom as a polynomial P of y = V^(-2/3).

    Attributes:
        polynomial: P, eV.
        lowest: smallest volume of the fit, Å³ per atom.
        highest: largest one.
        residual: root of the mean square of the fit, eV.
    """

    polynomial: Polynomial
    lowest: float
    highest: float
    residual: float

    def pressure(self, volume: float) -> float:
        """Return -dE/dV, eV/Å³."""
        y = volume ** (-2 / 3)
        return float(2 / 3 * y * self.polynomial.deriv()(y) / volume)

    def bulk_modulus(self, volume: float) -> float:
        """Return V d²E/dV², GPa."""
        y = volume ** (-2 / 3)
        return float(self._stiffness()(y) / volume) * EV_PER_A3

    def grueneisen(self, volume: float) -> float:
        """Return γ = -1/6 - d ln B / d ln V / 2."""
        y, stiffness = volume ** (-2 / 3), self._stiffness()
        return float(1 + y * stiffness.deriv()(y) / stiffness(y)) / 3

    def _stiffness(self) -> Polynomial:
        """Return V² d²E/dV² as a polynomial of y."""
        y, slope = Polynomial([0.0, 1.0]), self.polynomial.deriv()
        return 4 / 9 * y**2 * slope.deriv() + 10 / 9 * y * slope


def fitted(volumes: Sequence[float], energies: Sequence[float]) -> EquationOfState:
    """Return the equation of state of least squares.

    Args:
        volumes: per atom, Å³.
        energies: per atom, eV.
    """
    y = np.asarray(volumes, float) ** (-2 / 3)
    polynomial = Polynomial.fit(y, energies, ORDER).convert()
    residual = math.sqrt(float(np.mean((polynomial(y) - np.asarray(energies)) ** 2)))
    return EquationOfState(polynomial, min(volumes), max(volumes), residual)


@dataclass(frozen=True)
class DebyeCrystal:
    """What the model says of a crystal at a temperature.

    Attributes:
        volume: per atom, Å³.
        bulk_modulus: static, at that volume, GPa.
        debye_temperature: K.
        grueneisen: parameter.
        conductivity: of the lattice, W/m/K.
    """

    volume: float
    bulk_modulus: float
    debye_temperature: float
    grueneisen: float
    conductivity: float


def debye_crystal(state: EquationOfState, mass: float, n_atoms: int, temperature: float = 300.0) -> DebyeCrystal:
    """Return the model at a temperature and without pressure.

    Args:
        state: equation of state.
        mass: mean of the atoms, amu.
        n_atoms: in the primitive cell.
        temperature: K.

    Raises:
        EquationOfStateError: no stable volume among those of the fit.
    """

    def theta(volume: float) -> float:
        bulk, gamma = state.bulk_modulus(volume), state.grueneisen(volume)
        if bulk <= 0 or gamma <= 0:
            raise EquationOfStateError(f"bulk modulus {bulk:.1f} GPa, Grüneisen parameter {gamma:.2f}")
        return debye_temperature(bulk, bulk * 1.5 * (1 - 2 * POISSON) / (1 + POISSON), mass, volume)

    def unbalanced(volume: float) -> float:
        energy = vibrational_energy(theta(volume), temperature)
        return state.pressure(volume) + state.grueneisen(volume) * energy / volume

    volume = _root(unbalanced, _static(state), state.highest)
    gamma, found = state.grueneisen(volume), theta(volume)
    kappa = conductivity_of(
        gamma=gamma, debye_temperature=found, mass=mass, volume=volume, n_atoms=n_atoms, temperature=temperature
    )
    return DebyeCrystal(volume, state.bulk_modulus(volume), found, gamma, kappa)


def vibrational_energy(theta: float, temperature: float) -> float:
    """Return the energy of the phonons of Debye's model with that at zero temperature, eV per atom."""
    x = theta / temperature
    integral, _ = quad(lambda t: t**3 / math.expm1(t) if t else 0.0, 0, x)
    return BOLTZMANN * temperature * (9 / 8 * x + 9 * integral / x**3)


def _static(state: EquationOfState) -> float:
    """Return the volume without phonons."""
    return _root(state.pressure, state.lowest, state.highest)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a pressure vanishes that falls with the volume."""
    if not function(low) >= 0 >= function(high):
        raise EquationOfStateError("no equilibrium among the volumes")
    return float(brentq(function, low, high))
