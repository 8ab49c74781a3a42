"""Inverse design of crystals by composable energies: p(x) ∝ exp(−E(x)).

Importing this package loads nothing heavy, so that `matgen --help` answers at once.
"""

__version__ = "0.1.0"
