"""The formula, Z and structural formula that pymatgen writes into a CIF are understood as it means them."""

import pytest
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.io.cif import CifWriter

from matgen.structures.cif_reader import read_cif

DIATOMIC = ("H", "N", "O", "F", "Cl", "Br", "I")
COMPOUNDS = ("Na2O2", "Li2O2", "K2O2", "H2O2", "NaO2", "NaCl", "Fe2O3", "BN", "Si", "HF", "CO2")


def scattered(species: list[str]) -> Structure:
    """Atoms at places without any symmetry, far from each other."""
    coords = [[(0.07 + 0.31 * i) % 1, (0.11 + 0.43 * i) % 1, (0.05 + 0.59 * i) % 1] for i in range(len(species))]
    return Structure(Lattice.from_parameters(9, 10, 11, 80, 95, 105), species, coords)


def pairs(symbol: str) -> Structure:
    """Four molecules in a cubic cell, as solid nitrogen has them (Pa-3)."""
    return Structure.from_spacegroup("Pa-3", Lattice.cubic(5.7), [symbol], [[0.055, 0.055, 0.055]])


def read_back(structure: Structure, symprec: float | None) -> None:
    made = read_cif(str(CifWriter(structure, symprec=symprec)))
    assert made.faithful.passed, made.faithful.reason
    assert "formula" in made.faithful.compared
    assert made.structure.composition == structure.composition


@pytest.mark.parametrize("symbol", DIATOMIC)
def test_molecules_of_an_element_are_counted_as_pymatgen_does(symbol: str) -> None:
    for symprec in (None, 0.01):
        read_back(pairs(symbol), symprec)
        for n in range(1, 8):  # an odd number of atoms is no whole number of molecules
            read_back(scattered([symbol] * n), symprec)


@pytest.mark.parametrize("formula", COMPOUNDS)
def test_units_of_compounds_are_counted_as_pymatgen_does(formula: str) -> None:
    amounts = Composition(formula).get_el_amt_dict()
    unit = [symbol for symbol, amount in amounts.items() for _ in range(int(amount))]
    for n in (1, 2, 3):
        for symprec in (None, 0.01):
            read_back(scattered(unit * n), symprec)


def test_a_wrong_number_of_units_is_still_found() -> None:
    text = str(CifWriter(pairs("N")))
    for wrong in ("2", "3", "16"):
        made = read_cif(text.replace("_cell_formula_units_Z   4", f"_cell_formula_units_Z   {wrong}"))
        assert not made.faithful.passed
    lines = [line for line in text.splitlines() if "N7" not in line]
    assert not read_cif("\n".join(lines)).faithful.passed
