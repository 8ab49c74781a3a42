"""Names of the corrections that energies of first principles contain, or need before phases are compared."""

MP2020 = "MP2020"
"""Of the Materials Project of 2020 (A. Wang et al., Sci. Rep. 11, 15496, 2021)."""
