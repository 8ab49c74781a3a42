"""Electrostatic energies of formal charges: Madelung constants, pymatgen's sum, slopes, invariances, what has none."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.core import Lattice, Molecule, Structure

from matgen.batch.state import State
from matgen.chemistry.formal_charges import formal_charges
from matgen.energies.base import gradients
from matgen.energies.electrostatic import Electrostatic, ewald
from matgen.energies.terms import TermError
from matgen.generation.errors import RequestError
from matgen.generation.request import Request
from matgen.structures.conversion import described, state_of
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.testing import check_energy, check_gradients, doubled

COULOMB = 14.399645  # e²/4πε0, eV Å


def spread(group: int, lattice: Lattice, **sites: list[float]) -> Structure:
    names = list(sites)
    return Structure.from_spacegroup(group, lattice, names, [sites[name] for name in names])


def batch(*structures: Structure | Molecule) -> State:
    return state_of(structures, torch.float64)


def per_atom(structure: Structure | Molecule) -> float:
    """The energy of the program's formal charges, eV/atom."""
    return float(Electrostatic(kT=1.0)(batch(structure), torch.zeros(1, dtype=torch.float64))[0])


SALT = spread(225, Lattice.cubic(5.64), Na=[0, 0, 0], Cl=[0.5, 0.5, 0.5])
RUTILE = spread(136, Lattice.tetragonal(4.594, 2.959), Ti=[0, 0, 0], O=[0.305, 0.305, 0])
BLENDE = spread(216, Lattice.cubic(5.41), Zn=[0, 0, 0], S=[0.25, 0.25, 0.25])


@pytest.mark.parametrize(
    ("structure", "charge", "distance", "madelung"),
    [
        (SALT, 1, 5.64 / 2, 1.747565),
        (spread(221, Lattice.cubic(4.12), Cs=[0, 0, 0], Cl=[0.5, 0.5, 0.5]), 1, 4.12 * math.sqrt(3) / 2, 1.762675),
        (BLENDE, 2, 5.41 * math.sqrt(3) / 4, 1.638055),
        (
            spread(
                186, Lattice.hexagonal(3.82, 3.82 * math.sqrt(8 / 3)), Zn=[1 / 3, 2 / 3, 0], S=[1 / 3, 2 / 3, 3 / 8]
            ),
            2,
            3.82 * math.sqrt(3 / 8),
            1.641322,
        ),
        # Of formula units with two monovalent ions, by the convention without a factor for the charges: 2 × 2.519393.
        (spread(225, Lattice.cubic(5.46), Ca=[0, 0, 0], F=[0.25, 0.25, 0.25]), 1, 5.46 * math.sqrt(3) / 4, 5.038785),
        (spread(224, Lattice.cubic(4.27), Cu=[0.25, 0.25, 0.25], O=[0, 0, 0]), 1, 4.27 * math.sqrt(3) / 4, 4.442475),
    ],
    ids=["NaCl", "CsCl", "zincblende", "wurtzite", "CaF2", "Cu2O"],
)
def test_madelung_constants_are_those_of_the_books(
    structure: Structure, charge: int, distance: float, madelung: float
) -> None:
    units = structure.composition.get_reduced_formula_and_factor()[1]
    energy = per_atom(structure) * len(structure) / units
    # Six digits are published.
    assert -energy * distance / (COULOMB * charge**2) == pytest.approx(madelung, rel=1e-6)


def test_random_crystals_agree_with_pymatgen() -> None:
    random = np.random.default_rng(0)
    compared = 0
    while compared < 20:
        cell = 6.0 * np.eye(3) + random.normal(0.0, 1.0, (3, 3))
        n = int(random.integers(2, 7))
        charges = random.normal(0.0, 2.0, n)
        charges -= charges.mean()
        crystal = Structure(cell, ["O"] * n, random.random((n, 3)))
        if (crystal.distance_matrix + 9 * np.eye(n)).min() < 1.5:  # where widths of charges would show
            continue
        expected = EwaldSummation(
            crystal.copy(site_properties={"charge": charges}).add_oxidation_state_by_site(charges)
        )
        got = ewald(batch(crystal), torch.tensor(charges))
        # pymatgen aims at twelve digits of each part, and keeps about six of small differences.
        assert float(got[0]) == pytest.approx(expected.total_energy, rel=1e-5, abs=1e-4)
        compared += 1


def crystals() -> tuple[TemplateBatch, Geometry, torch.Tensor]:
    found = [described(one, 0.01) for one in (RUTILE, BLENDE)]
    templates = TemplateBatch.of([template for template, _ in found])
    lattice = torch.cat([geometry.lattice for _, geometry in found]).double()
    coords = torch.cat([geometry.coords for _, geometry in found]).double()
    return templates, Geometry(lattice, coords), torch.full((2,), 0.1, dtype=torch.float64)


def test_a_net_charge_has_a_background_as_in_pymatgen() -> None:
    body_centred = Structure(Lattice.cubic(4.0), ["O", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for charges in ([1.0, 0.0], [1.0, 1.0], [2.0, -1.0]):
        expected = EwaldSummation(body_centred.copy().add_oxidation_state_by_site(charges)).total_energy
        got = ewald(batch(body_centred), torch.tensor(charges, dtype=torch.float64))
        assert float(got[0]) == pytest.approx(expected, rel=1e-6)


def test_it_keeps_the_contract_of_energies() -> None:
    templates, geometry, sigma = crystals()
    # Both sums are cut off at 1e-9 of energies of some hundred kT; the cutoffs differ for turned and moved cells.
    check_energy(Electrostatic(), expand(templates, geometry), sigma, tolerance=1e-6)
    check_gradients(Electrostatic(), templates, geometry, sigma)


def test_it_does_not_grow_with_the_cell_or_move_with_the_origin() -> None:
    state = batch(RUTILE, BLENDE)
    sigma = torch.zeros(2, dtype=torch.float64)
    energy = Electrostatic()(state, sigma)
    torch.testing.assert_close(Electrostatic()(doubled(state), sigma), energy, rtol=1e-6, atol=0)
    moved = batch(*(one.copy().translate_sites(range(len(one)), [0.1, 0.27, 0.4]) for one in (RUTILE, BLENDE)))
    torch.testing.assert_close(Electrostatic()(moved, sigma), energy, rtol=1e-6, atol=0)


def test_it_is_a_coulomb_energy_inverse_to_length() -> None:
    wide = RUTILE.copy()
    wide.scale_lattice(8 * RUTILE.volume)
    assert per_atom(wide) == pytest.approx(per_atom(RUTILE) / 2, rel=1e-6)
    assert per_atom(RUTILE) == pytest.approx(0.1 * float(Electrostatic(0.1)(batch(RUTILE), torch.zeros(1))), rel=1e-6)


def test_it_stays_finite_where_atoms_meet() -> None:
    met = SALT.copy()
    met[0] = "Na", met[4].frac_coords
    assert math.isfinite(per_atom(met))
    templates, geometry, sigma = crystals()
    at_origin = Geometry(geometry.lattice, torch.zeros_like(geometry.coords))  # of rutile, oxygen on titanium
    value, slope = gradients(Electrostatic(), templates, at_origin, sigma)
    assert value.isfinite().all()
    assert slope.lattice.isfinite().all()
    assert slope.coords.isfinite().all()


def test_it_runs_where_its_state_is(device: str) -> None:
    templates, geometry, sigma = crystals()
    there = gradients(Electrostatic(), templates.to(device), geometry.to(device), sigma.to(device))
    here = gradients(Electrostatic(), templates, geometry, sigma)
    assert there[0].device.type == torch.device(device).type
    torch.testing.assert_close(there[0].to("cpu"), here[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(there[1].lattice.to("cpu"), here[1].lattice, rtol=1e-6, atol=1e-6)


def test_alloys_elements_and_molecules_have_none() -> None:
    alloy = Structure(Lattice.cubic(3.0), ["Cu", "Au"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    silicon = spread(227, Lattice.cubic(5.43), Si=[0, 0, 0])
    water = Molecule(["O", "H", "H"], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    assert [per_atom(one) for one in (alloy, silicon, water)] == [0.0, 0.0, 0.0]


def test_charges_balance_and_the_most_probable_are_taken() -> None:
    assert formal_charges(((8, 2), (22, 1))) == {8: -2.0, 22: 4.0}
    assert formal_charges(((7, 1), (31, 1))) == {7: -3.0, 31: 3.0}  # +2 and -2 balance, too
    mean = formal_charges(((8, 4), (26, 3)))
    assert mean is not None
    assert mean[26] == pytest.approx(8 / 3)
    assert formal_charges(((29, 1), (79, 1))) is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"ewald_weight": 1.0}, "expected a formula beside ewald_weight, got none"),
        ({"ewald_weight": 1.0, "formula": "CuAu"}, "whose oxidation states balance for ewald_weight, got CuAu"),
        ({"ewald_weight": -1.0, "formula": "NaCl"}, "expected ewald_weight of at least 0, got -1.0"),
        ({"ewald_weight": math.nan, "formula": "NaCl"}, "expected ewald_weight of at least 0, got nan"),
        ({"ewald_weight": 1.0, "kind": "molecule"}, "expected no ewald_weight for a molecule"),
    ],
)
def test_what_has_no_electrostatic_energy_is_refused_before_the_search(
    options: dict[str, float | str], complaint: str
) -> None:
    with pytest.raises(RequestError, match=complaint):
        Request.of(**options)


def test_the_page_shows_code_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "electrostatics.md").read_text(encoding="utf-8")
    exec(compile(page.split("```python\n")[1].split("```")[0], "electrostatics.md", "exec"), {})  # noqa: S102
    assert "1.7476" in capsys.readouterr().out


def test_the_request_ranks_by_it() -> None:
    request = Request.of(formula="TiO2", ewald_weight=0.5)
    assert request.terms.weights == {"electrostatic": 0.5}
    assert list(request.terms.used("slopes", "values").terms()) == []
    sigma = torch.zeros(2, dtype=torch.float64)
    total = request.terms.states(batch(RUTILE, BLENDE), sigma)
    torch.testing.assert_close(total, 0.5 * Electrostatic(0.1)(batch(RUTILE, BLENDE), sigma))
    assert not Request.of(formula="TiO2").terms.weights


def test_as_an_energy_of_ones_own_it_steers_too() -> None:
    request = Request.of(formula="TiO2", energies=[0.5 * Electrostatic()])
    assert request.terms.weights == {"electrostatic": 0.5}
    assert list(request.terms.used("slopes").terms()) == ["electrostatic"]
    with pytest.raises(TermError, match="'electrostatic'"):
        Request.of(formula="TiO2", energies=[Electrostatic()], ewald_weight=0.5)
