"""Properties that need no model: facts, values, targets as energies, verdicts, columns, and what is refused."""

import json
import math
import random
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import smact
import torch
import typer
from ase.data import atomic_masses as ase_masses
from conftest import TextbookEntry
from pymatgen.core import Composition, Element, Lattice, Structure
from scipy.stats import spearmanr

from matgen import cli
from matgen.batch.state import State
from matgen.checks.targets import Interval, target_met
from matgen.chemistry.economics import atomic_masses, economics, price, without_value
from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS, atomic_volumes, known_elements
from matgen.chemistry.hazards import HAZARDOUS, RADIOACTIVE, TOXIC
from matgen.chemistry.moments import moments
from matgen.energies.base import TemplateSum, forces
from matgen.energies.computed_target import (
    STEP,
    UNKNOWN,
    CompositionTarget,
    EstimatedTarget,
    StructureTarget,
    estimate,
)
from matgen.generation.acceptance import intervals_before_relaxation
from matgen.generation.computed_predictions import computed_predictions
from matgen.generation.impossible import HIGHER_MOMENT
from matgen.generation.kinds.crystals import sampled_conditions, settled_conditions
from matgen.generation.request import Request
from matgen.relaxation.magnetic_moments import site_moments
from matgen.rules.groups import NOBLE_GASES
from matgen.screening.assess import assess
from matgen.screening.config import NONE, ScreenConfig
from matgen.screening.row import cells
from matgen.search.selection import CandidateChecks
from matgen.structures.candidate import Candidate, Prediction, SpaceGroup
from matgen.structures.candidate_table import candidate_row
from matgen.structures.cif import cif_text
from matgen.structures.conversion import state_of, template_of
from matgen.structures.files import found, given
from matgen.targets.computed import OF_COMPOSITION, computed_values, distance
from matgen.targets.learned import BY_FILE, known_properties
from matgen.targets.properties import COMPUTED_CRYSTAL_PROPERTIES, COMPUTED_PROPERTIES, PROPERTIES_OF
from matgen.targets.target import Target, TargetError, parse_target
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal_rules import ContradictionError
from matgen.templates.molecule import MoleculeTemplate
from matgen.testing import check_energy
from matgen.weights.property_errors import property_errors
from matgen.workflows.properties import described_properties

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "properties.md").read_text(encoding="utf-8")

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
IRON = Structure(Lattice.cubic(2.86), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def counts(formula: str) -> dict[int, int]:
    return {element.Z: int(n) for element, n in Composition(formula).items()}


def target(name: str, text: str) -> Target:
    kind = "molecule" if name == "molecular_weight" else "crystal"
    return parse_target(name, text, PROPERTIES_OF[kind])


def templates(*structures: Structure) -> TemplateBatch:
    return TemplateBatch.of([template for one in structures if (template := template_of(one)) is not None])


# ---------------------------------------------------------------- facts of the elements


def test_facts_have_a_source_and_a_year_where_there_is_a_price() -> None:
    assert sorted(economics()) == list(range(1, 95))
    for z, one in economics().items():
        priced = not math.isnan(one.price)
        assert priced is bool(one.price_source) is (1990 <= one.price_year <= 2026), SYMBOLS[z]
        assert math.isnan(one.hhi_production) is math.isnan(one.hhi_reserve)
    assert {SYMBOLS[z] for z in without_value("price") & set(known_elements())} == {"Tc", "Pm", "Ac", "Pa", "Np", "Pu"}


def test_masses_are_those_of_pymatgen() -> None:
    expected = [float(Element.from_Z(z).atomic_mass) for z in range(1, 95)]
    np.testing.assert_allclose(atomic_masses()[1:], expected, rtol=1e-7)


def test_masses_are_those_of_ase() -> None:
    known = np.array([z for z in range(1, 95) if z not in RADIOACTIVE or z in {90, 91, 92}])
    ours = atomic_masses().numpy()
    # Standard weights, of which ASE has the later revisions: Zn 65.409 was 65.38 since 2007.
    np.testing.assert_allclose(ours[known], ase_masses[known], rtol=5e-4)
    # Of elements without one, each takes the mass, or the mass number, of a long-lived isotope: Rn 220 or 222.
    np.testing.assert_allclose(ours[1:], ase_masses[1:95], atol=2.1)


def test_indices_and_abundances_agree_with_smact() -> None:
    misprints = {"S", "Nb", "Lu"}  # SMACT's are off by a factor of 10 or 100, as a comparison with neighbours shows
    compared = 0
    for z in range(1, 95):
        ours, theirs = economics()[z], smact.Element(SYMBOLS[z])
        for one, other in ((ours.hhi_production, theirs.HHI_p), (ours.hhi_reserve, theirs.HHI_r)):
            assert math.isnan(one) is (other is None), SYMBOLS[z]
            assert other is None or one == other
        if theirs.crustal_abundance is not None and SYMBOLS[z] not in misprints:
            assert ours.abundance == pytest.approx(theirs.crustal_abundance, rel=1e-6), SYMBOLS[z]
            compared += 1
    assert compared > 75


def test_rare_elements_are_expensive() -> None:
    some = [one for one in economics().values() if not math.isnan(one.price + one.abundance)]
    order = spearmanr([one.price for one in some], [one.abundance for one in some]).statistic
    assert order < -0.5  # two lists from different sources; shuffled rows would give 0 ± 0.11
    assert [economics()[ATOMIC_NUMBERS[s]].price for s in ("Fe", "Cu", "Ag", "Au")] == sorted(
        economics()[ATOMIC_NUMBERS[s]].price for s in ("Fe", "Cu", "Ag", "Au")
    )


def test_hazards() -> None:
    assert {SYMBOLS[z] for z in TOXIC} == {"Be", "As", "Cd", "Hg", "Tl", "Pb"}
    stable = {z for z in range(1, 95) if z not in RADIOACTIVE}
    assert {43, 61, 84, 92} <= RADIOACTIVE
    assert max(stable) == ATOMIC_NUMBERS["Bi"]


# ---------------------------------------------------------------- values


def test_density_is_that_of_pymatgen(textbook: tuple[TextbookEntry, ...]) -> None:
    for entry in textbook:
        crystal = entry.structure
        values = computed_values("crystal", Counter(crystal.atomic_numbers), crystal.volume)
        assert values["density"] == pytest.approx(float(crystal.density), rel=1e-6)
        assert values["volume_per_atom"] == pytest.approx(crystal.volume / len(crystal))


@pytest.mark.parametrize("name", [name for name in OF_COMPOSITION if name != "molecular_weight"])
def test_values_of_compositions_are_intensive_and_lie_between_those_of_the_elements(name: str) -> None:
    value = OF_COMPOSITION[name]
    draw = random.Random(0)
    known = [z for z in range(1, 84) if not math.isnan(value({z: 1}))]
    for _ in range(200):
        some = {z: draw.randint(1, 6) for z in draw.sample(known, draw.randint(1, 4))}
        assert value(some) == pytest.approx(value({z: 7 * n for z, n in some.items()}))
        if name != "n_elements":
            ends = [value({z: 1}) for z in some]
            assert min(ends) * (1 - 1e-9) <= value(some) <= max(ends) * (1 + 1e-9)


def test_prices_and_indices_by_hand() -> None:
    # 47.867 g of titanium at 11.4 USD/kg and 31.9988 g of oxygen at 0.154.
    assert price(counts("TiO2")) == pytest.approx((47.867 * 11.4 + 31.9988 * 0.154) / (47.867 + 31.9988))
    assert OF_COMPOSITION["crustal_abundance"](counts("CuInSe2")) == 0.05  # of selenium
    assert computed_values("molecule", counts("C2H6O"))["molecular_weight"] == pytest.approx(46.068, abs=2e-3)


def test_what_is_unknown_is_not_zero() -> None:
    for formula, name in (("PmCl3", "price"), ("LiH", "hhi_production"), ("TcO2", "crustal_abundance")):
        assert math.isnan(computed_values("crystal", counts(formula), 50.0)[name])
    values = computed_values("crystal", counts("Fe"), 11.8)
    assert math.isnan(values["magnetic_moment"])
    assert values.keys() == COMPUTED_CRYSTAL_PROPERTIES.keys()


# ---------------------------------------------------------------- targets and their energies


@pytest.mark.parametrize(
    ("text", "window"), [("<3", (-math.inf, 2)), (">3", (4, math.inf)), ("<=3", (-math.inf, 3)), ("3", (3, 3))]
)
def test_whole_numbers_exclude_the_limit_where_it_is_excluded(text: str, window: tuple[float, float]) -> None:
    assert target("n_elements", text).window == window


def test_distance_is_zero_inside_and_grows_outside() -> None:
    assert distance("price", 9.0, -math.inf, 10.0) == 0.0
    steps = [distance("price", value, -math.inf, 10.0) for value in (10.1, 20.0, 200.0, 1e5)]
    assert steps == sorted(steps)
    assert steps[1] == pytest.approx(math.log(2))
    assert distance("price", 5.0, 10.0, math.inf) == pytest.approx(math.log(2))
    assert distance("n_elements", 5.0, 2.0, 3.0) == 2.0


CHEAP, DEAR, DEARER, NO_PRICE = (
    Structure(Lattice.cubic(5.0), symbols, [[0, 0, 0], [0.5, 0.5, 0.5]])
    for symbols in (["Na", "Cl"], ["Ag", "Cl"], ["Pt", "Cl"], ["Tc", "Cl"])
)


def test_the_energy_of_a_composition_is_zero_exactly_where_the_target_is_met() -> None:
    batch = templates(CHEAP, DEAR, DEARER, NO_PRICE)
    energy = CompositionTarget(target("price", "<10"))
    cheap, dear, dearer, none = energy(batch).tolist()
    assert cheap == 0.0
    assert STEP < dear < dearer
    assert dear == pytest.approx(STEP + math.log(price(counts("AgCl")) / 10) / 0.25, rel=1e-6)
    assert none == UNKNOWN
    assert CompositionTarget(target("price", ">100"))(batch).tolist()[1] == 0.0
    assert (energy.floor(batch) <= energy(batch)).all()


def test_energies_of_targets_add_up_and_batch_mates_do_not_matter() -> None:
    batch = templates(CHEAP, DEAR, DEARER)
    one, other = CompositionTarget(target("price", "<10")), EstimatedTarget(target("density", "<3"))
    total: TemplateSum = one + 2.0 * other
    torch.testing.assert_close(total(batch), one(batch) + 2.0 * other(batch))
    torch.testing.assert_close(total(batch.select(torch.tensor([2]))), total(batch)[2:])
    ceiling = torch.full((3,), 5.0)
    below = total.below(batch, ceiling)
    assert ((below == total(batch)) | (total(batch) > ceiling)).all()


def test_a_molecule_is_weighed() -> None:
    batch = TemplateBatch.of([MoleculeTemplate.of("CCO"), MoleculeTemplate.of("C")])
    ethanol, methane = CompositionTarget(target("molecular_weight", "40:50"))(batch).tolist()
    assert ethanol == 0.0
    assert methane > STEP


@pytest.mark.parametrize(("name", "text"), [("density", ">3"), ("volume_per_atom", "<20"), ("density", "2")])
def test_the_energy_of_a_structure_follows_the_contract_of_energies(name: str, text: str) -> None:
    state = state_of([SALT, DEAR], torch.float64)
    check_energy(StructureTarget(target(name, text)), state, torch.full((2,), 0.1, dtype=torch.float64))


def test_the_energy_of_a_structure_is_zero_exactly_where_the_target_is_met() -> None:
    state, sigma = state_of([SALT, SALT.copy().scale_lattice(1.2 * SALT.volume)], torch.float64), torch.zeros(2)
    density = float(SALT.density)
    met = StructureTarget(target("density", f"<={1.0001 * density:.6f}"))(state, sigma)
    assert met.tolist() == [0.0, 0.0]
    missed = StructureTarget(target("density", f">={density:.6f}"))(state, sigma)
    assert missed[1].item() == pytest.approx(math.log(1.2) / 0.05, rel=1e-4)
    doubled = StructureTarget(target("density", ">=3"))(state_of([SALT, SALT * (2, 1, 1)]), sigma)
    torch.testing.assert_close(doubled[0], doubled[1])


def test_the_slope_of_the_density_is_that_of_differences() -> None:
    def energy(edge: float) -> torch.Tensor:
        state = state_of([SALT], torch.float64)
        return StructureTarget(target("density", ">=4"))(
            State.of(state.positions, state.atomic_numbers, edge * state.cell, state.pbc, state.system_idx),
            torch.zeros(1),
        )

    step = 1e-4
    slope = (energy(1 + step) - energy(1 - step)).item() / (2 * step)
    assert slope == pytest.approx(3 / 0.05, rel=1e-6)  # E = 3 log(edge) / 0.05 + constant
    _, force = forces(StructureTarget(target("density", ">=4")), state_of([SALT], torch.float64), torch.zeros(1))
    assert not force.any()  # atoms do not change the volume


def test_estimates_of_volumes_cover_real_crystals(textbook: tuple[TextbookEntry, ...]) -> None:
    crystals = [one.structure for one in textbook if set(one.structure.atomic_numbers) <= set(known_elements())]
    crystals = [one for one in crystals if template_of(one) is not None]
    found_by = estimate("density", templates(*crystals))
    true = torch.tensor([float(one.density) for one in crystals], dtype=torch.float64)
    spread = found_by.summary().spread
    inside = ((found_by.loc - true).abs() < spread).double().mean()
    assert inside > 0.5  # 73 % of a logistic distribution, and of training crystals; these are of rarer structures
    assert (true / found_by.loc).median().item() == pytest.approx(1.0, abs=0.1)
    energy = EstimatedTarget(target("density", ">1"))(templates(*crystals))
    assert (energy >= 0).all()


def test_moments_are_estimated_by_element() -> None:
    batch = templates(IRON, CHEAP)
    magnetic, other = estimate("magnetic_moment", batch).loc.tolist()
    assert magnetic == pytest.approx(moments()[26].mean)
    assert other < 0.05
    volume = float(atomic_volumes()[26])
    assert estimate("magnetic_density", batch).loc[0].item() == pytest.approx(moments()[26].mean / volume)
    wanted = EstimatedTarget(target("magnetic_moment", ">1"))(batch)
    assert wanted[0] < wanted[1]


# ---------------------------------------------------------------- magnetic moments


def test_moments_by_chgnet_are_those_of_textbooks() -> None:
    nickel_oxide = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.18), ["Ni", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    iron, twice, oxide, salt = site_moments([IRON, IRON * (1, 1, 2), nickel_oxide, SALT])
    assert iron == pytest.approx([2.2, 2.2], abs=0.3)  # 2.2 measured; CHGNet's own error is 0.04, PBE's 0.1
    assert sum(twice) == pytest.approx(2 * sum(iron), rel=1e-4)
    assert max(oxide) == pytest.approx(1.7, abs=0.2)  # 1.6 to 1.9 measured, though the spins of NiO cancel
    assert max(salt) < 0.05
    assert min(map(min, (iron, oxide, salt))) >= 0.0  # magnitudes


def test_what_chgnet_cannot_read_has_no_moment() -> None:
    lonely = Structure(Lattice.cubic(15.0), ["Fe"], [[0, 0, 0]])
    assert site_moments([lonely]) == [[]]
    (made,) = computed_predictions(lonely, [target("magnetic_moment", ">1")]).values()
    assert math.isnan(made.value)
    assert made.probability == 0.0


# ---------------------------------------------------------------- requests


def test_a_number_of_elements_is_a_rule() -> None:
    rules = Request.of(n_elements="<=2").crystal_rules
    assert rules.n_elements == (1, 2)
    binary, unary = template_of(SALT), template_of(IRON)
    assert binary is not None
    assert unary is not None
    assert rules.satisfied(binary)
    assert not Request.of(n_elements=3).crystal_rules.satisfied(binary)
    assert not Request.of(n_elements=">1").crystal_rules.satisfied(unary)


def test_hazards_are_masked() -> None:
    allowed = Request.of(avoid_hazard=True).rules.allowed_elements
    assert allowed == set(known_elements()) - HAZARDOUS - NOBLE_GASES
    assert Request.of(avoid_hazard=False).rules == Request().rules
    assert Request.of(kind="molecule", avoid_hazard=True).rules == Request.of(kind="molecule").rules


@pytest.mark.parametrize(
    ("asked", "kind", "complaint"),
    [
        ({"price": "<1", "elements": ["Pt", "Au"]}, TargetError, "2.78e+04 to 4.48e+04 USD/kg"),
        ({"price": "<10", "include": ["Rh"], "max_atoms": 6}, TargetError, "that the allowed elements can have"),
        ({"price": ">5", "formula": "SiO2"}, TargetError, "got price > 5"),
        ({"price": 5, "include": ["Pm"]}, TargetError, "got Pm, which must occur"),
        ({"hhi_production": "<1000", "include": ["H"]}, TargetError, "is known for the target"),
        ({"density": ">25", "elements": ["Si", "O"]}, TargetError, "0.2521 to 5.64 g/cm³"),
        ({"magnetic_moment": ">2", "elements": ["Na", "Cl"]}, TargetError, "can have, 0 to 0."),
        ({"magnetic_density": "<0"}, TargetError, "none lies below 0"),
        ({"n_elements": "2.5"}, TargetError, "in whole numbers"),
        ({"n_elements": 4, "formula": "SrTiO3"}, ContradictionError, "has 3 elements"),
        ({"n_elements": 4, "elements": ["Sr", "O"]}, ContradictionError, "4 distinct elements are asked for"),
        ({"price": "cheap"}, TargetError, "(USD/kg), got 'cheap'"),
        ({"price": "<1", "cost": "<2"}, TargetError, "got 2 for price"),
        ({"kind": "molecule", "molecular_weight": "<5"}, TargetError, "12.01 to"),
        ({"kind": "molecule", "molecular_weight": "50:60", "formula": "C6H6"}, TargetError, "78.11 to 78.11"),
        ({"kind": "molecule", "price": "<5"}, TargetError, "expected one of gap"),
        ({"avoid_hazard": True, "include": ["Pb"]}, ContradictionError, "Pb (toxic) must occur"),
        ({"avoid_hazard": True, "formula": "UO2"}, ContradictionError, "U (radioactive) must occur"),
        ({"avoid_hazard": True, "elements": ["Pb", "Cd"]}, ContradictionError, "Cd (toxic), Pb (toxic) may occur"),
    ],
)
def test_what_cannot_be_is_told_before_the_search(asked: dict, kind: type[Exception], complaint: str) -> None:
    with pytest.raises(kind) as error:
        Request.of(**asked)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["price", "hhi_production", "hhi_reserve", "crustal_abundance"])
def test_no_value_that_a_composition_has_is_called_impossible(name: str) -> None:
    draw, value = random.Random(1), OF_COMPOSITION[name]
    known = [z for z in known_elements() if not math.isnan(value({z: 1}))]
    for _ in range(60):
        some = {z: draw.randint(1, 5) for z in draw.sample(known, 3)}
        elements = [SYMBOLS[z] for z in some]
        for text in (f"<={value(some) * 1.0001:.9g}", f">={value(some) * 0.9999:.9g}"):
            Request.of(targets={name: text}, elements=elements, include=elements[:1])


def test_moments_of_training_crystals_are_not_called_impossible(textbook: tuple[TextbookEntry, ...]) -> None:
    crystals = [one.structure for one in textbook if len(one.structure) <= 8][:12]
    for crystal, found_moments in zip(crystals, site_moments(crystals), strict=True):
        for z, moment in zip(crystal.atomic_numbers, found_moments, strict=True):
            assert moment < moments()[z].highest + HIGHER_MOMENT


def test_computed_targets_set_no_condition_and_leave_names_free() -> None:
    plain, asked = Request(), Request.of(price="<10", density=">2", magnetic_moment=">1")
    both = [settled_conditions(one).properties for one in (plain, asked)]
    torch.testing.assert_close(*both, equal_nan=True)
    both = [sampled_conditions(one, 20, torch.Generator().manual_seed(0)).properties for one in (plain, asked)]
    torch.testing.assert_close(*both, equal_nan=True)

    class Price(CompositionTarget):
        """A term of the user."""

    own = Price(target("price", "<10"))
    assert Request.of(energies=[own]).terms.weights == {"price": 1.0}
    with pytest.raises(ValueError, match="price"):
        Request.of(energies=[own], price="<10")


# ---------------------------------------------------------------- verdicts and columns


def candidate(structure: Structure, targets: list[Target]) -> Candidate:
    properties = computed_predictions(structure, targets)
    return Candidate("one", structure, structure, SpaceGroup(225, "Fm-3m"), "template", properties=properties)


def test_verdicts_are_exact() -> None:
    wanted = target("price", "<10")
    cheap, dear, none = (
        target_met(candidate(one, [wanted]), "price", Interval(wanted.low, wanted.high), confidence=0.9)
        for one in (CHEAP, DEAR, NO_PRICE)
    )
    assert cheap.passed
    assert "±" not in cheap.reason
    assert not dear.passed
    assert "is not at most 10" in dear.reason
    assert not none.passed
    assert "unknown" in none.reason


def test_no_evaluator_is_asked_for_what_is_computed() -> None:
    request = Request.of(price="<10", density=">2", magnetic_moment=">1", band_gap=1.5)
    checks = CandidateChecks.of(request)
    assert {name for name in checks.checks if name.startswith("target_")} == {
        *("target_price", "target_density", "target_magnetic_moment", "target_band_gap", "target_evaluator_band_gap")
    }
    before = checks.before_relaxing()
    assert "target_magnetic_moment" not in before  # which is known afterwards
    (wider,) = intervals_before_relaxation([target("density", "2:3")]).values()
    assert (wider.low, wider.high) == (pytest.approx(2 / 1.1), pytest.approx(3.3))


def test_tables_have_a_column_for_each() -> None:
    row = candidate_row(candidate(DEAR, []))
    assert row["price"] == pytest.approx(price(counts("AgCl")))
    assert row["density"] == pytest.approx(float(DEAR.density), rel=1e-6)
    assert row["magnetic_moment"] is None  # CHGNet was not asked
    assert candidate_row(candidate(NO_PRICE, []))["price"] is None
    asked = candidate_row(candidate(IRON, [target("magnetic_moment", ">1")]))
    assert asked["magnetic_moment"] == pytest.approx(2.2, abs=0.3)
    assert "price_spread" not in asked


def test_a_screening_gives_columns_and_verdicts(tmp_path: Path) -> None:
    for name, one in (("salt", SALT), ("iron", IRON)):
        (tmp_path / f"{name}.cif").write_text(cif_text(one), encoding="utf-8")
    asked = {"price": "<5", "magnetic_moment": ">1", "density": ">2"}
    config = ScreenConfig(properties=asked, reference=NONE, known=NONE)
    iron, salt = (cells(row) for row in assess(list(found([tmp_path])), config))
    assert iron["magnetic_moment"] == pytest.approx(2.2, abs=0.3)
    assert iron["check_target_magnetic_moment"] is True
    assert salt["check_target_magnetic_moment"] is False
    assert salt["check_target_price"] is salt["check_target_density"] is True
    assert salt["price"] == pytest.approx(price(counts("NaCl")))
    assert not [name for name in salt if "evaluator_price" in name]
    (plain,) = assess(list(given([IRON])), ScreenConfig(reference=NONE, known=NONE))
    assert plain.candidate is not None
    assert not plain.candidate.properties.keys() & COMPUTED_PROPERTIES.keys()  # records are as before
    assert cells(plain)["price"] == pytest.approx(0.424)
    assert cells(plain)["magnetic_moment"] is None


# ---------------------------------------------------------------- the list, and the page


def test_every_property_is_described() -> None:
    listed = {(one.kind, one.name): one for one in described_properties()}
    assert set(listed) == {(kind, name) for kind in PROPERTIES_OF for name in known_properties(kind)}
    assert all(one.meaning and one.source and one.error_of for one in listed.values())
    assert all(one.unit for one in listed.values() if one.name not in BY_FILE)
    assert listed["crystal", "band_gap"].error == property_errors("crystal")["band_gap"].mae
    assert listed["crystal", "price"].lacking == ("Tc", "Pm", "Ac", "Pa", "Np", "Pu")
    assert listed["molecule", "gap"].error is not None


def test_listed_errors_are_those_of_the_page() -> None:
    for name, error in property_errors("crystal").items():
        assert f"| `{error.model}` | {name} | {error.mae:.3f} " in PAGE
        assert PAGE.split("<!-- properties -->\n")[1].startswith(error.of.split(" rows")[0])


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["matgen", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_the_command_lists(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch, "properties", "--kind", "crystal", "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["name"] for one in records} == known_properties("crystal").keys()
    monkeypatch.setenv("COLUMNS", "200")
    assert called(monkeypatch, "properties") == 0
    assert "magnetic_density" in capsys.readouterr().out
    assert called(monkeypatch, "properties", "--kind", "polymer") == cli.BAD_INPUT
    assert capsys.readouterr().err == (
        "matgen: expected kind as crystal or molecule, got 'polymer'; leave it out for both\n"
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--property", "price=<1", "--elements", "Pt,Au"], "that the allowed elements can have"),
        (["--avoid-hazard", "--include", "Pb"], "Pb (toxic) must occur"),
        (["--property", "n_elements=1.5"], "in whole numbers"),
    ],
)
def test_bad_requests_end_in_one_line(
    options: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, "design", *options) == cli.BAD_INPUT
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1


def test_the_examples_of_the_page_run() -> None:
    section = PAGE.split("## Properties that need no model\n")[1].split("\n## ")[0]
    commands = [line.strip() for line in section.splitlines() if line.startswith("    matgen ")]
    assert len(commands) == 3
    for line in commands:
        words = shlex.split(line)[1:]
        typer.main.get_group(cli.app).commands[words[0]].make_context("matgen", words[1:])
    names: dict = {}
    exec(section.split("```python\n")[1].split("```")[0], names)  # noqa: S102 (our own page)
    assert names["values"]["density"] == pytest.approx(4.25, abs=0.01)  # of rutile, as measured
    assert names["values"]["price"] == pytest.approx(names["price"](names["titania"]))
    assert names["request"].rules.n_elements == (2, 3)


def test_the_page_names_every_computed_property() -> None:
    assert not [name for name in COMPUTED_PROPERTIES if f"`{name}`" not in PAGE]
    assert isinstance(computed_predictions(IRON, [target("price", "<5")])["price"], Prediction)
