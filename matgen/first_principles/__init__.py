"""Calculations: GPAW for crystals (first principles), GFN2-xTB for molecules (semi-empirical)."""
