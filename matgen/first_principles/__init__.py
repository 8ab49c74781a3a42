"""Calculations from first principles: GPAW for crystals, GFN2-xTB for molecules."""
