"""Warnings of pymatgen that are no news here."""

import warnings

from pymatgen.core.periodic_table import Element


def read_electronegativities() -> None:
    """Read the electronegativity of every element, of which pymatgen warns once if there is none.

    It sorts formulas by them, and so warns of each noble gas in a structure. They are read once per process, which
    later calls of pymatgen find done.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No Pauling electronegativity")
        for element in Element:
            _ = element.X
