"""Phonons and elastic tensors by any potential: phonopy's finite displacements, and finite strains.

from matgen.phonons import elasticity, phonons

found = phonons(structure, calculator="sevennet")
print(found.verdict.reason)
"""

from matgen.phonons.calculation import PhononError, Phonons, phonons
from matgen.phonons.config import PhononConfig
from matgen.phonons.elasticity import Elasticity, elasticity

__all__ = ["Elasticity", "PhononConfig", "PhononError", "Phonons", "elasticity", "phonons"]
