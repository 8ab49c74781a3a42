"""Pressure: enthalpies, their slopes and minima, the known order of phases, and what is refused."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa
from pymatgen.core import Lattice, Molecule, Structure
from rich.console import Console

from matgen.cli.candidate_tables import ranking_table
from matgen.cli.cells import stability_text
from matgen.energies.pressure import PressureVolume
from matgen.energies.terms import TermError
from matgen.generation.configuration import configured
from matgen.generation.errors import RequestError
from matgen.generation.kinds import kind_of_request
from matgen.generation.request import Request
from matgen.relaxation.calculators import chgnet_calculator
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.enthalpy import EnthalpyCalculator
from matgen.relaxation.free_parameters import at_pressure
from matgen.relaxation.operations import operations
from matgen.relaxation.pool import Relaxed, relaxed_together
from matgen.relaxation.symmetric import relax
from matgen.runtime.config import ConfigError, from_mapping, to_mapping
from matgen.screening.config import ScreenConfig, ScreenError
from matgen.screening.ranking import enthalpy
from matgen.screening.row import cells
from matgen.search.copies import no_copy
from matgen.structures.candidate import Candidate, Relaxation
from matgen.structures.conversion import described, state_of
from matgen.structures.record import from_record, to_record
from matgen.structures.symmetry import space_group
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.testing import check_energy
from matgen.workflows.design import design
from matgen.workflows.screen import screen

REPOSITORY = Path(__file__).resolve().parents[1]
B1 = Structure.from_spacegroup(225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
B2 = Structure.from_spacegroup(221, Lattice.cubic(3.4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
POTASSIUM = Structure.from_spacegroup(225, Lattice.cubic(6.29), ["K", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
RUTILE = Structure.from_spacegroup(136, Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
TIGHT = RelaxConfig(fmax=0.01, smax=2e-4)


def relaxed(structures: list[Structure], config: RelaxConfig) -> list[Relaxed[Structure]]:
    found = relaxed_together([(i, one, math.inf) for i, one in enumerate(structures)], config=config)
    return sorted(found, key=lambda one: one.index)


# ---------------------------------------------------------------- the term


def test_work_is_pressure_times_volume() -> None:
    state = state_of([RUTILE, B2], torch.float64)
    found = PressureVolume(10.0, kT=0.1)(state, torch.zeros(2, dtype=torch.float64))
    expected = [10 * GPa * RUTILE.volume / 6 / 0.1, 10 * GPa * B2.volume / 2 / 0.1]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    check_energy(PressureVolume(10.0), state, torch.zeros(2, dtype=torch.float64))


def test_a_molecule_has_no_volume() -> None:
    water = state_of([Molecule(["O", "H", "H"], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])])
    assert PressureVolume(10.0)(water, torch.zeros(1)).tolist() == [0.0]


# ---------------------------------------------------------------- relaxation


def test_slopes_of_the_enthalpy_are_its_differences() -> None:
    template, found = described(RUTILE, 0.01)
    templates, surface, pressure = TemplateBatch.of([template]), CHGNetSurface(), 30.0
    geometry = Geometry(found.lattice.double(), found.coords.double())
    symmetry, _ = operations(templates, expand(templates, geometry))

    def enthalpy(shift: float) -> tuple[float, float]:
        lattice = geometry.lattice.clone()
        lattice[0, 5] += shift
        slope = at_pressure(surface.slope(templates, Geometry(lattice, geometry.coords), symmetry), pressure)
        return float(slope.energy[0]), float(slope.lattice[0, 5])

    step = 0.002
    difference = (enthalpy(step)[0] - enthalpy(-step)[0]) / (2 * step)
    # The network works in float32: its energies err by 1e-5 eV, the difference by a few meV, of 16 eV.
    assert enthalpy(0.0)[1] == pytest.approx(difference, rel=2e-3)


def test_the_stress_at_the_minimum_is_the_pressure() -> None:
    (found,) = relaxed([RUTILE], replace(TIGHT, pressure=20.0))
    assert found.report.converged
    atoms = Atoms(
        numbers=found.structure.atomic_numbers,
        positions=found.structure.cart_coords,
        cell=found.structure.lattice.matrix,
        pbc=True,
        calculator=chgnet_calculator(),
    )
    np.testing.assert_allclose(atoms.get_stress(voigt=False) / GPa, -20 * np.eye(3), atol=0.1)
    assert found.report.energy == pytest.approx(atoms.get_potential_energy() / 6, abs=1e-4)
    assert found.report.enthalpy == pytest.approx(found.report.energy + 20 * GPa * atoms.get_volume() / 6, abs=1e-4)


def test_the_slope_of_the_enthalpy_in_the_pressure_is_the_volume() -> None:
    below, middle, above = (relaxed([RUTILE], replace(TIGHT, pressure=p))[0] for p in (18.0, 20.0, 22.0))
    slope = (above.report.enthalpy - below.report.enthalpy) / (4 * GPa)
    assert slope == pytest.approx(middle.structure.volume / 6, rel=2e-3)
    assert above.structure.volume < middle.structure.volume < below.structure.volume


@pytest.mark.parametrize("structure", [RUTILE, B1], ids=["TiO2", "NaCl"])
def test_both_relaxations_find_the_same_enthalpy(structure: Structure) -> None:
    (free,) = relaxed([structure], replace(TIGHT, pressure=20.0))
    final, report = relax(structure, chgnet_calculator(), replace(TIGHT, pressure=20.0))
    assert free.report.converged
    assert report.converged
    assert report.enthalpy == pytest.approx(free.report.enthalpy, abs=1e-3)
    volumes = [one.volume / len(one) for one in (final, free.structure)]
    assert volumes[0] == pytest.approx(volumes[1], rel=3e-3)


def test_a_calculator_under_pressure_has_consistent_stress() -> None:
    copper = bulk("Cu", a=3.5)
    copper.calc = EnthalpyCalculator(EMT(), 7.0)
    strained = [bulk("Cu", a=3.5 * math.exp(s)) for s in (-1e-4, 1e-4)]
    for one in strained:
        one.calc = EnthalpyCalculator(EMT(), 7.0)
    slope = (strained[1].get_potential_energy() - strained[0].get_potential_energy()) / 2e-4
    assert slope == pytest.approx(np.trace(copper.get_stress(voigt=False)) * copper.get_volume(), rel=1e-5)
    plain = bulk("Cu", a=3.5)
    plain.calc = EMT()
    work = 7 * GPa * copper.get_volume()
    assert copper.get_potential_energy() - plain.get_potential_energy() == pytest.approx(work)


def test_salt_turns_into_the_structure_of_caesium_chloride() -> None:
    def difference(pressure: float) -> float:
        low, high = relaxed([B1, B2], RelaxConfig(pressure=pressure))
        assert low.report.converged
        assert high.report.converged
        return high.report.enthalpy - low.report.enthalpy

    assert difference(0.0) > 0.05  # eV/atom
    assert difference(60.0) < -0.2  # measured near 30 GPa; CHGNet has 17


# ---------------------------------------------------------------- records


def test_reports_name_the_pressure_only_where_there_is_one() -> None:
    report = Relaxation(True, "converged", 3, -4.0, -3.0, 0.01, 0.001, 1.0, "CHGNet 0.3.0")
    under = replace(report, pressure=10.0, work=0.7)
    for one, more in ((report, set()), (under, {"pressure", "work"})):
        candidate = Candidate("0000-NaCl", B1, B1, space_group(B1), relaxation=one)
        record = json.loads(json.dumps(to_record(candidate)))
        assert from_record(record).relaxation == one
        assert set(record["relaxation"]) & {"pressure", "work"} == more
    assert (report.enthalpy, under.enthalpy) == (-4.0, -3.3)
    shown = stability_text(Candidate("0000-NaCl", B1, B1, space_group(B1), relaxation=under))
    assert shown == "H = -3.300 eV/atom at 10 GPa"


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pressure": 10}, "expected a formula beside pressure 10 GPa, got none"),
        ({"pressure": 10, "kind": "molecule"}, "expected no pressure for a molecule"),
        ({"pressure": 10, "formula": "NaCl", "band_gap": 1.5}, "expected no targets beside pressure 10 GPa"),
        ({"pressure": 10, "formula": "NaCl", "max_ehull": 0.2}, "got 0.2: the hull is that of 0 GPa"),
        ({"pressure": 10, "formula": "NaCl", "max_ehull": 0.1}, "got 0.1: the hull is that of 0 GPa"),
    ],
)
def test_what_has_no_meaning_at_a_pressure_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        Request.of(**options)
    with pytest.raises(RequestError, match=complaint):
        configured({}, options)


def test_a_file_may_list_the_usual_energy_above_the_hull_beside_a_pressure() -> None:
    request = Request.of(formula="NaCl", pressure=10)
    assert from_mapping(Request, to_mapping(request)) == request
    assert configured({"selection": {"max_ehull": 0.1}}, {"formula": "NaCl", "pressure": 10})[0].relaxation.pressure
    with pytest.raises(RequestError, match="leave --max-ehull out"):
        configured({"formula": "NaCl", "relaxation": {"settings": {"pressure": 10.0}}}, {"max_ehull": 0.1})


@pytest.mark.parametrize("pressure", [-1.0, 501.0, math.nan, math.inf])
def test_pressures_have_a_range(pressure: float) -> None:
    with pytest.raises(ConfigError, match="expected pressure from 0 to 500 GPa"):
        RelaxConfig(pressure=pressure)


def test_a_pressure_is_a_term_and_leaves_out_what_is_known_at_none() -> None:
    request = Request.of(formula="NaCl", pressure=30)
    assert request.relaxation.settings.pressure == 30.0
    assert list(request.terms.used("slopes").terms()) == ["pressure"]
    assert not Request.of(formula="NaCl").terms.weights


def test_screening_at_a_pressure_has_no_hull_and_ranks_each_formula_by_enthalpy() -> None:
    pressed = RelaxConfig(pressure=20.0)
    for options, complaint in (
        ({}, "give --relax chgnet"),
        ({"relax": "chgnet", "properties": {"band_gap": 1.5}}, "expected no targets"),
        ({"relax": "chgnet", "max_ehull": 0.3}, "expected no reference or max_ehull"),
        ({"kind": "molecule"}, "expected no pressure for a molecule, got 20 GPa"),
    ):
        with pytest.raises(ScreenError, match=complaint):
            ScreenConfig(relaxation=pressed, **options)  # type: ignore[arg-type]
    for named in (
        {"max_ehull": 0.1},
        {"reference": "shipped"},
    ):  # the defaults, which say nothing unless they are given
        with pytest.raises(ScreenError, match=f"expected no {next(iter(named))} beside a pressure of 40 GPa"):
            screen([B1], relax="chgnet", relaxation={"pressure": 40.0}, **named)
    rows = screen([B1, B2, POTASSIUM], relax="chgnet", relaxation={"pressure": 40.0})
    shown = [cells(row) for row in rows]
    assert [one["pressure"] for one in shown] == [40.0] * 3
    assert [one["enthalpy"] for one in shown] == [enthalpy(row) for row in rows]
    for row in rows:
        assert row.candidate is not None
        assert row.candidate.relaxation is not None
        assert row.candidate.relaxation.pressure == 40.0
        assert {"hull", "density", "in_domain"}.isdisjoint(row.verdicts)
        # Compressed by a quarter and more; known nevertheless.
        assert row.failed == ("novel",)
    assert rows[0].candidate is not None
    assert rows[0].candidate.crystal.volume / 2 < 0.75 * B1.volume / 8
    assert rows[1].rank < rows[0].rank  # B2 below B1
    assert rows[2].rank < rows[0].rank  # alone of its formula, though its enthalpy is the highest
    enthalpies = [enthalpy(row) for row in rows]
    assert enthalpies[1] < enthalpies[0] < enthalpies[2]
    printed = io.StringIO()
    Console(width=140, file=printed).print(ranking_table(sorted(rows, key=lambda row: row.rank), (), 3))
    assert all(f"{one:.3f}" in printed.getvalue() for one in enthalpies)


def test_one_energy_of_its_own_name_beside_no_pressure() -> None:
    """Without the option, a user's energy may have the name; with it, the name is taken."""
    own = PressureVolume(10.0)
    assert Request.of(formula="NaCl", energies=[own]).terms.weights == {"pressure": 1.0}
    with pytest.raises(TermError, match="'pressure'"):
        Request.of(formula="NaCl", energies=[own], pressure=10)


def test_the_page_shows_code_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    page = (REPOSITORY / "docs" / "pressure.md").read_text(encoding="utf-8")
    exec(compile(page.split("```python\n")[1].split("```")[0], "pressure.md", "exec"), {})  # noqa: S102
    enthalpy, energy, volume = map(float, capsys.readouterr().out.split())
    assert enthalpy == pytest.approx(energy + 20 * GPa * volume / 2, abs=1e-4)


def test_examples_at_a_pressure_are_resembled_by_templates_alone(tmp_path: Path) -> None:
    example = str(REPOSITORY / "data" / "textbook" / "MgO_rock_salt.cif")
    sampler = {"pool": 2, "move_steps": 4, "burn_in": 2, "started": 6, "geometries": 1, "shaped": 3}
    options = {"formula": "NaCl", "space_groups": (221, 225), "max_atoms": 2, "sampler": sampler, "processes": 1}
    kinds = {p: kind_of_request(Request.of(like=[example], pressure=p, **options)) for p in (0, 30)}
    assert [set(kind.state_terms().terms()) for kind in kinds.values()] == [{"likeness"}, set()]
    templates, energies = TemplateBatch.of([described(one, 0.01)[0] for one in (B1, B2)]), {}
    for pressure, kind in kinds.items():
        term = kind.template_terms().terms()["likeness_template"]
        energies[pressure] = term[0] * term[1](templates)
    torch.testing.assert_close(energies[30], energies[0])
    assert energies[30][0] < energies[30][1]
    found = design(n=2, fast=True, like=[example], pressure=30, relax="none", out=tmp_path / "run", **options)
    assert {one.space_group.number for one in found if one.space_group} == {221, 225}
    for one in found:
        assert "likeness_template" in one.energies
        assert "likeness" not in one.energies
        assert one.nearest_example is not None
        assert one.nearest_example.name == "MgO_rock_salt.cif"
        assert one.verdicts["no_copy"].passed


def test_a_compressed_example_is_a_copy() -> None:
    example = str(REPOSITORY / "data" / "textbook" / "NaCl_rock_salt.cif")
    examples = Request.of(formula="NaCl", like=[example], pressure=60).examples
    for crystal, copy in ((B1.copy().scale_lattice(0.6 * B1.volume), True), (B2, False)):
        assert no_copy(Candidate("one", crystal, crystal, None), examples).passed is not copy


def test_a_design_finds_the_phase_of_its_pressure(tmp_path: Path) -> None:
    def best(pressure: float) -> Candidate:
        sampler = {"pool": 2, "move_steps": 4, "burn_in": 2, "started": 6, "geometries": 1, "shaped": 3}
        options = {"formula": "NaCl", "space_groups": (221, 225), "max_atoms": 2, "sampler": sampler, "processes": 1}
        more = {"pressure": pressure} if pressure else {"max_ehull": math.inf}
        found = design(n=2, fast=True, out=tmp_path / f"{pressure:g}", **options, **more)
        assert {one.space_group.number for one in found if one.space_group} == {221, 225}
        assert ("pressure" in found[0].energies) == (pressure > 0)
        return found[0]

    none, high = best(0.0), best(60.0)
    assert none.space_group is not None
    assert high.space_group is not None
    assert (none.space_group.number, high.space_group.number) == (225, 221)
    assert "hull" in none.verdicts
    assert "hull" not in high.verdicts
