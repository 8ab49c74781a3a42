"""The data of the report: laws of what it computes, and folders that are unfinished, old or damaged."""

import json
import math
from collections import Counter
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Molecule, Structure
from report_folders import CONFIGURATION, POTENTIAL, candidate, crystal, design_folder, screen_folder, with_report

from matgen.chemistry.corrections import MP2020
from matgen.first_principles import gpaw
from matgen.first_principles.calculations import result_record
from matgen.first_principles.gpaw import FirstPrinciples
from matgen.hull.hull import CORRECTIONS, ReferenceHull
from matgen.novelty.crystals import KnownIndex
from matgen.report.attached import MOST_NUMBERS, attached
from matgen.report.candidates import energy_above, verdict_record
from matgen.report.columns import columns, values
from matgen.report.csv_rows import csv_rows
from matgen.report.data import DamagedRunError, report_data
from matgen.report.decomposition import decomposition
from matgen.report.evaluate_run import metric
from matgen.report.first_principles import first_principles
from matgen.report.folders import NoRunError, run_folder
from matgen.report.histogram import MOST_VALUES, histogram
from matgen.report.hulls import hulls, phases
from matgen.report.map import place_of, shipped_map
from matgen.report.nearest import nearest
from matgen.report.plain import plain
from matgen.report.powder import powder
from matgen.report.predictions import prediction_record
from matgen.report.remembered import key_of
from matgen.report.stages import design_stages, screen_stages
from matgen.report.structure_types import StructureTypes, counts_of
from matgen.report.structures import conventional, p1_cif
from matgen.report.table_rows import MOST_BYTES, packed
from matgen.report.targets import asked, read_targets, target_record, unread_targets
from matgen.report.walk import MOST_FRAMES, walk
from matgen.report.words import LABELS
from matgen.screening.row import Row
from matgen.search.unit_format import REJECTED_BY
from matgen.structures.attached_files import attached_path
from matgen.structures.candidate import KindName, Prediction, Verdict
from matgen.structures.candidate_html import candidate_html
from matgen.structures.candidate_table import BULK, CALCULATED, OF_LATTICE, SHEAR, XTB_GAP, candidate_row
from matgen.structures.trajectory_files import TRAJECTORY, frame_text, thinned

FILES = ("NaCl_rock_salt.cif", "SrTiO3_perovskite.cif", "GaAs_zinc_blende.cif")


@pytest.fixture(scope="module")
def hull() -> ReferenceHull:
    return ReferenceHull.load()


# ---------------------------------------------------------------- what is computed of a crystal


@pytest.mark.parametrize("formula", ["SrTiO3", "LiFePO4", "Cu2ZnSnS4", "NaHfCu3Se4", "KTlS"])
def test_products_of_decomposition_conserve_every_element(formula: str, hull: ReferenceHull) -> None:
    found = decomposition(Composition(formula), 0.02, hull)
    assert found is not None
    products = found["products"]
    assert sum(one["fraction"] for one in products) == pytest.approx(1.0, abs=1e-6)
    total: Counter[str] = Counter()
    for one in products:
        for element, n in Composition(one["formula"]).get_el_amt_dict().items():
            total[element] += one["amount"] * n
    assert dict(total) == pytest.approx(Composition(formula).get_el_amt_dict(), abs=1e-5)
    assert len(products) == 1 or f"{formula} → " in found["text"].replace(Composition(formula).reduced_formula, formula)


def test_decomposition_says_on_which_side_of_the_hull_a_crystal_is(hull: ReferenceHull) -> None:
    texts = [(decomposition(Composition("KTlS"), height, hull) or {})["text"] for height in (0.05, -0.05, None)]
    assert "0.050 eV/atom above" in texts[0]
    assert "0.050 eV/atom below" in texts[1]
    assert "not known" in texts[2]


@pytest.mark.parametrize("formula", ["KTlS", "NaCl"])
def test_an_energy_far_below_the_hull_is_called_implausible(formula: str, hull: ReferenceHull) -> None:
    found = decomposition(Composition(formula), -0.45, hull)
    assert found is not None
    assert found["implausible"]
    assert found["text"].startswith("Implausible: 0.450 eV/atom below")
    assert "may be made" not in found["text"]
    assert "implausible" not in (decomposition(Composition(formula), -0.2, hull) or {})


def test_an_element_without_a_phase_has_no_decomposition(hull: ReferenceHull) -> None:
    assert decomposition(Composition("NaOg"), 0.0, hull) is None


def test_the_strongest_line_of_rock_salt_is_200() -> None:
    # NaCl, a = 5.64 Å: 2 arcsin(1.5418 / 5.64) = 31.7 degrees for Cu K alpha.
    found = powder(conventional(crystal("NaCl_rock_salt.cif")))
    assert found is not None
    strongest = int(np.argmax(found["intensity"]))
    assert found["hkl"][strongest] == "(2 0 0)"
    assert found["two_theta"][strongest] == pytest.approx(31.7, abs=0.1)
    assert found["intensity"][strongest] == 100
    assert found["two_theta"] == sorted(found["two_theta"])


def test_the_pattern_does_not_depend_on_the_cell_that_is_given() -> None:
    primitive = crystal("SrTiO3_perovskite.cif")
    turned = Structure(
        Lattice(primitive.lattice.matrix[[1, 2, 0]]), primitive.species, primitive.frac_coords[:, [1, 2, 0]]
    )
    one, other = (powder(conventional(s)) for s in (primitive * (1, 2, 1), turned))
    assert one is not None
    assert other is not None
    assert one["two_theta"] == pytest.approx(other["two_theta"], abs=0.01)
    assert one["hkl"] == other["hkl"]


def test_a_large_cell_has_no_pattern() -> None:
    assert powder(crystal("NaCl_rock_salt.cif") * (6, 6, 6)) is None


def test_known_phases_of_a_binary_lie_on_its_hull(hull: ReferenceHull) -> None:
    found = {one["formula"]: one for one in reversed(phases(("Cl", "Na"), hull))}  # of polymorphs the lowest
    assert found["NaCl"]["on_hull"]
    assert found["NaCl"]["x"] == [0.5, 0.5]
    assert found["NaCl"]["e"] < -1.5  # eV/atom; measured: -2.13
    assert found["Na"]["e"] == pytest.approx(0.0, abs=1e-6)
    for one in phases(("Cl", "Na"), hull):
        assert sum(one["x"]) == pytest.approx(1.0, abs=1e-4)
        assert not one["on_hull"] or one["e_above_hull"] == 0.0


def test_points_of_candidates_stand_above_the_hull_by_their_energy(hull: ReferenceHull) -> None:
    salt = candidate("NaCl_rock_salt.cif", energy=-3.0)
    (found,) = hulls([salt, candidate("LiFePO4_olivine.cif")], hull)  # the second has four elements
    assert found["system"] == ["Cl", "Na"]
    (point,) = found["candidates"]
    on_hull = next(one["e"] for one in found["phases"] if one["formula"] == "NaCl" and one["on_hull"])
    assert point["e"] - point["e_above_hull"] == pytest.approx(on_hull, abs=2e-4)


def test_energies_are_corrected_as_those_of_the_hull_are(hull: ReferenceHull) -> None:
    corrected = ReferenceHull(replace(hull.reference, facts={**hull.reference.facts, CORRECTIONS: MP2020}))
    oxide = candidate("MgO_rock_salt.cif", energy=-5.0)
    (raw,), (point,) = (hulls([oxide], one)[0]["candidates"] for one in (hull, corrected))
    shift = 0.5 * -0.687  # the correction of an oxide's oxygen, eV (Wang et al. 2021), per atom
    assert point["e_above_hull"] - raw["e_above_hull"] == pytest.approx(shift, abs=1e-3)
    assert energy_above(oxide, corrected) == pytest.approx(point["e_above_hull"], abs=1e-4)


def test_what_could_not_be_assessed_is_neither_passed_nor_failed() -> None:
    unknown = Verdict("hull", passed=False, value=math.nan, unit="eV/atom", reason="no hull for mine")
    bare = candidate("NaCl_rock_salt.cif")
    records = {
        one.name: verdict_record(one)["passed"]
        for one in (
            unknown,
            Verdict("novel", passed=True, value=math.inf, unit="", reason=""),
            Verdict("density", passed=False, value=3.0, unit="", reason=""),
            Verdict("no_copy", passed=False, value=math.nan, unit="", reason="is the example a"),
        )
    }
    assert records == {"hull": None, "novel": True, "density": False, "no_copy": False}
    card = candidate_html(replace(bare, verdicts={"hull": unknown}))
    assert "? not assessed: hull" in card
    assert "✗" not in card


def test_a_known_crystal_is_its_own_nearest() -> None:
    structure = crystal("SrTiO3_perovskite.cif")
    found = nearest(structure, 221)
    assert found is not None
    assert found["formula"] == "SrTiO3"
    assert found["text"].startswith("The same crystal as mp-")


@pytest.mark.parametrize("symbols", [("Na", "Br"), ("Br", "Na"), ("Ag", "F")])
def test_the_structure_type_is_found_whatever_the_elements(symbols: tuple[str, str]) -> None:
    known = {"salt": crystal("NaCl_rock_salt.cif"), "caesium": crystal("CsCl_cscl.cif")}
    types = StructureTypes.of(KnownIndex.from_structures(known))
    salt = known["salt"]
    other = Structure(Lattice(1.1 * salt.lattice.matrix), symbols, salt.frac_coords)
    found = nearest(other, 225, types)
    assert found is not None
    assert found["name"] == "salt"
    assert found["distance"] == pytest.approx(0.0, abs=0.01)  # the index rounds logarithms to 0.005
    assert "has the structure type of NaCl (salt)" in found["text"]
    for symbol in set(symbols) - {"Na", "Cl"}:
        assert f"{symbol} in place of" in found["text"]


def test_of_one_structure_type_the_one_with_fewest_other_elements_is_named() -> None:
    perovskite = crystal("SrTiO3_perovskite.cif")

    def with_species(*species: str) -> Structure:
        return Structure(perovskite.lattice, species, perovskite.frac_coords)

    order = [site.specie.symbol for site in perovskite]
    replaced = {"Sr": "Ba", "Ti": "Ti", "O": "O"}
    known = {
        "near": with_species(*(replaced[s] for s in order)),
        "far": with_species(*({"Sr": "K", "Ti": "Mg", "O": "F"}[s] for s in order)),
    }
    found = nearest(
        with_species(*({"Sr": "Ca", "Ti": "Ti", "O": "O"}[s] for s in order)),
        221,
        StructureTypes.of(KnownIndex.from_structures(known)),
    )
    assert found is not None
    assert found["name"] == "near"
    assert "Ca in place of Ba" in found["text"]


@pytest.mark.parametrize("formula", ["Y(PS3)2", "SrTiO3", "Li4Fe4P4O16", "Ca(NO3)2", "Si"])
def test_formulas_are_counted_as_pymatgen_does(formula: str) -> None:
    assert counts_of(formula) == {str(e): n for e, n in sorted(Composition(formula).items(), key=lambda one: one[0].Z)}


def test_the_map_does_not_depend_on_the_cell() -> None:
    structure = crystal("GaAs_zinc_blende.cif")
    # Neighbour lists differ, and with them the order of sums in float32.
    one, doubled, other = (
        place_of("crystal", key_of(each)) for each in (structure, structure * (2, 1, 1), crystal("Fe_bcc.cif"))
    )
    assert one == pytest.approx(doubled, abs=0.02)
    assert one != pytest.approx(other, abs=0.5)


@pytest.mark.parametrize("kind", ["crystal", "molecule"])
def test_the_map_holds_a_sample_of_known_materials(kind: KindName) -> None:
    table = shipped_map(kind)
    assert len(table.points) == len(table.names) >= 1000
    assert 0.05 < table.explained[1] <= table.explained[0] < 1.0
    assert np.abs(table.components @ table.components.T - np.eye(2)).max() < 1e-4


def test_the_drawn_cell_holds_the_same_crystal() -> None:
    structure = crystal("TiO2_anatase.cif")
    read = Structure.from_str(p1_cif(conventional(structure)), fmt="cif")
    assert read.composition.reduced_formula == "TiO2"
    assert read.density == pytest.approx(structure.density, rel=1e-4)
    assert len(read) == 12


# ---------------------------------------------------------------- counts


def conserved(links: list[dict[str, Any]], first: str) -> None:
    """As many come into each inner node as go out."""
    incoming, outgoing = Counter[str](), Counter[str]()
    for link in links:
        incoming[link["to"]] += link["count"]
        outgoing[link["from"]] += link["count"]
    for node in set(outgoing) - {first}:
        assert incoming[node] == outgoing[node], node


@pytest.mark.parametrize("seed", range(5))
def test_as_many_proposals_leave_a_stage_as_enter_it(seed: int) -> None:
    draw = np.random.default_rng(seed)
    names = ["target_band_gap", "charge_balance", "relaxed", "hull", "novel", "not_needed", "variety"]
    records = [
        {REJECTED_BY: name, "relaxation": {"steps": 1} if draw.random() < 0.5 else None}
        for name in draw.choice(names, size=40)
    ]
    found, proposed = int(draw.integers(0, 9)), 40 + int(draw.integers(9, 30))
    links = design_stages(records, found, proposed, over=True)
    conserved(links, "proposed")
    assert sum(link["count"] for link in links if link["from"] == "proposed") == proposed
    assert sum(link["count"] for link in links if link["to"] == "candidates") == found


def test_structures_of_a_screening_are_conserved() -> None:
    failures = ["reads"] * 3 + ["hull"] * 5 + [""] * 4 + ["novel"]
    links = screen_stages(failures)
    conserved(links, "structures")
    assert sum(link["count"] for link in links if link["from"] == "structures") == len(failures)


def test_a_histogram_keeps_known_values_and_the_range_of_many() -> None:
    (target,) = read_targets({"band_gap": ">3"}, "crystal", {})
    found = histogram([("", target)], [*np.linspace(0, 5, 3 * MOST_VALUES), None, math.nan], [4.0], ("a", "b"))
    assert found is not None
    assert len(found["before"]) == MOST_VALUES
    assert (found["before"][0], found["after"]) == (0.0, [4.0])
    assert plain(found)["bands"] == [{"of": "", "text": "at least 3 eV", "low": 3.0, "high": None}]
    assert histogram([("", target)], [None], [], ("a", "b")) is None


@pytest.mark.parametrize(
    ("text", "words", "low", "high"),
    [
        ("1.5", "1.5 ± 0.25 eV", 1.25, 1.75),
        ("1.2:1.8", "1.2 to 1.8 eV", 1.2, 1.8),
        (">3", "at least 3 eV", 3.0, None),
        ("<=0.5", "at most 0.5 eV", None, 0.5),
    ],
)
def test_targets_in_words(text: str, words: str, low: float | None, high: float | None) -> None:
    (target,) = read_targets({"band_gap": text}, "crystal", {})
    record = target_record(target)
    assert (record["text"], record["low"], record["high"]) == (words, low, high)
    assert asked("crystals", [target]) == f"crystals with a PBE band gap of {words}"


def test_targets_of_another_version_are_left_out() -> None:
    assert read_targets({"band_gap": "about two"}, "crystal", {}) == []
    (note,) = unread_targets({"band_gap": "about two"}, "crystal", [])
    assert "band_gap = about two" in note
    (own,) = read_targets({"my_column": "1:2"}, "crystal", {"my_column": "K"})
    assert target_record(own)["text"] == "1 to 2 K"


def test_rows_beyond_the_first_stay_within_their_size() -> None:
    rows = [
        {"id": f"file{i}.cif", "formula": "NaCl", "accepted": True, "values": {"gap": 1.23456789}}
        for i in range(60_000)
    ]
    found, left = packed(rows, ["gap", "nothing"])
    assert found["keys"] == ["id", "formula", "accepted", "gap", "nothing"]
    assert found["rows"][0] == ["file0.cif", "NaCl", 1, 1.235, None]
    assert len(json.dumps(found["rows"])) <= 1.2 * MOST_BYTES
    assert len(found["rows"]) + left == len(rows)
    assert left > 0


def test_plain_data_has_no_number_that_json_lacks() -> None:
    found = plain(
        {"a": [math.nan, math.inf, 1.23456789, np.float32(2.0), True], "b": np.array([1, 2]), "c": (None, "x")}
    )
    assert found == {"a": [None, None, 1.23457, 2.0, True], "b": [1, 2], "c": [None, "x"]}
    with pytest.raises(TypeError, match="expected JSON types"):
        plain({"a": object()})


# ---------------------------------------------------------------- trajectories and further files


def test_a_trajectory_is_read_back_as_it_was_recorded(tmp_path: Path) -> None:
    salt = crystal("NaCl_rock_salt.cif")
    frames = [salt.copy().apply_strain(0.001 * i) for i in range(100)]
    text = "".join(
        frame_text(one, {"stage": "diffusion", "label": f'level "{i}"', "step_energy": -float(i)})
        for i, one in enumerate(frames)
    )
    path = attached_path(tmp_path, TRAJECTORY, "salt")
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    found = walk(tmp_path, "salt")
    assert found is not None
    assert len(found["frames"]) == MOST_FRAMES
    first, last = found["frames"][0], found["frames"][-1]
    assert first["symbols"] == [site.specie.symbol for site in salt]
    assert "symbols" not in last
    assert (first["energy"], last["energy"]) == (0.0, -99.0)
    assert last["cell"] == pytest.approx(frames[-1].lattice.matrix.ravel(), abs=1e-3)
    assert last["positions"] == pytest.approx(frames[-1].cart_coords.ravel(), abs=6e-3)
    assert walk(tmp_path, "another") is None


def test_a_molecule_has_a_trajectory_without_a_cell(tmp_path: Path) -> None:
    water = Molecule(["O", "H", "H"], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    path = attached_path(tmp_path, TRAJECTORY, "water")
    path.parent.mkdir()
    path.write_text(frame_text(water, {"stage": "initial"}), encoding="utf-8")
    found = walk(tmp_path, "water")
    assert found is not None
    assert found["frames"][0]["cell"] is None


@pytest.mark.parametrize(("n", "most"), [(1, 5), (5, 5), (6, 5), (100, 8)])
def test_thinning_keeps_both_ends(n: int, most: int) -> None:
    kept = list(thinned(n, most))
    assert (kept[0], kept[-1], len(kept)) == (0, n - 1, min(n, most))
    assert kept == sorted(set(kept))


def test_bands_are_drawn_band_by_band_within_their_size(tmp_path: Path) -> None:
    n_points, n_bands = 500, 60
    record = {
        "stable": True,
        "lowest_thz": -0.01,
        "q": [0, 0, 0],
        "bands": {
            "x": [i / 100 for i in range(n_points)],
            "frequencies": [[float(band + i / 1000) for band in range(n_bands)] for i in range(n_points)],
            "ticks": [{"x": 0.0, "label": "Γ"}, {"x": 1.23, "label": "X"}],
        },
        "dos": {"frequency": [0.0, 1.0], "density": [0.0, 2.0]},
        "text": "stable",
    }
    path = attached_path(tmp_path, "phonons/json", "one")
    path.parent.mkdir()
    path.write_text(json.dumps(record), encoding="utf-8")
    found = attached(tmp_path, "one")["phonons"]
    assert len(found["bands"]["frequencies"]) == n_bands
    assert {len(band) for band in found["bands"]["frequencies"]} == {len(found["bands"]["x"])}
    assert 1.23 in found["bands"]["x"]
    assert sum(map(len, found["bands"]["frequencies"])) <= MOST_NUMBERS + 3 * n_bands
    path.write_text("{", encoding="utf-8")
    assert "cannot be read" in attached(tmp_path, "one")["missing"]["phonons"]


TENSOR = {"tensor_gpa": [[1.0] * 6] * 6, "bulk": 1.0, "shear": None, "born_stable": True, "text": "stable"}


@pytest.mark.parametrize(
    ("part", "record"),
    [
        ("elasticity", [1]),
        ("elasticity", TENSOR | {"tensor_gpa": [[1.0] * 6]}),
        ("elasticity", {"tensor_gpa": [[1.0] * 6] * 6}),
        ("phonons", {"bands": {"x": [], "frequencies": [], "ticks": []}, "dos": {}}),
        ("phonons", [1]),
    ],
)
def test_a_file_of_another_format_is_told(tmp_path: Path, part: str, record: object) -> None:
    path = attached_path(tmp_path, f"{part}/json", "one")
    path.parent.mkdir()
    path.write_text(json.dumps(TENSOR), encoding="utf-8")
    if part == "elasticity":
        assert attached(tmp_path, "one") == {part: TENSOR}
    path.write_text(json.dumps(record), encoding="utf-8")
    found = attached(tmp_path, "one")
    assert list(found) == ["missing"]
    assert "cannot be read" in found["missing"][part]


def test_the_last_result_of_first_principles_counts(tmp_path: Path) -> None:
    failed, found = gpaw.failed("out of time"), FirstPrinciples(1.25, 1.5, -3.0, 0.0, {"xc": "PBE"}, seconds=9.0)
    lines = [json.dumps({"name": "a", "key": str(i)} | result_record(one)) for i, one in enumerate((failed, found))]
    (tmp_path / "verified.jsonl").write_text("\n".join([*lines, '{"name": "cut']), encoding="utf-8")
    found_of = first_principles(tmp_path)
    assert set(found_of) == {"a"}
    one = found_of["a"]["first_principles"]
    assert one["bandgap"] == 1.25
    assert "By PBE at" in one["text"]
    assert "a gap of 1.25 eV" in one["text"]


def test_results_are_found_by_whole_names_and_name_their_functional(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    names = ("run/a", "other/a", "files/b.cif")
    lines = [
        {"name": name, "key": name}
        | result_record(FirstPrinciples(float(i), 1.5, -3.0, 0.0, {"xc": "PBE", "hubbard_u": {"Fe": 5.3}}))
        for i, name in enumerate(names)
    ]
    (folder / "verified.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    found = first_principles(folder)
    assert {name: one["first_principles"]["bandgap"] for name, one in found.items()} == {
        "a": 0.0,
        "run/a": 0.0,
        "other/a": 1.0,
        "files/b.cif": 2.0,
    }
    assert found["a"]["first_principles"]["functional"] == "PBE+U"
    assert found["files/b.cif"]["first_principles"]["text"].startswith("By PBE+U at")


# ---------------------------------------------------------------- folders


def test_the_report_of_a_design(tmp_path: Path) -> None:
    rejected = (
        ("MgO_rock_salt.cif", "target_band_gap"),
        ("LiF_rock_salt.cif", "hull"),
        ("LiF_rock_salt.cif", "not_needed"),
    )
    data = report_data(design_folder(tmp_path, FILES, rejected))
    text = json.dumps(data, allow_nan=False)
    assert len(text) < 60_000 * len(FILES)
    assert data["run"]["state"] == "finished"
    assert (data["found"], data["wanted"]) == (3, 3)
    assert data["asked"] == "crystals with a PBE band gap of 1.5 ± 0.25 eV"
    assert data["rejected"]["count"] == 3
    conserved(data["stages"], "proposed")
    keys = {column["key"] for column in data["columns"]}
    for one in data["candidates"]:
        assert one["missing"] == {}
        assert {"structure", "lattice", "powder", "nearest", "decomposition", "map"} <= set(one)
        assert keys <= set(one["values"])
        assert len(one["structure"]["symbols"]) == len(one["structure"]["positions"])
        assert one["energy_total"] == pytest.approx(sum(term["value"] for term in one["energy_terms"]))
        assert all(term["meaning"] for term in one["energy_terms"])
        assert one["structure"]["text"] == (tmp_path / one["file"]).read_text(encoding="utf-8")
    assert len(data["histogram"]["before"]) == 6
    assert len(data["histogram"]["after"]) == 3
    assert [one["system"] for one in data["hulls"]] == [["Cl", "Na"], ["O", "Sr", "Ti"], ["As", "Ga"]]


def test_candidates_beyond_the_first_are_rows_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matgen.report.design_run.MOST_IN_FULL", 1)
    folder = design_folder(tmp_path, FILES)
    with_report(folder, configuration=CONFIGURATION | {"targets": {"band_gap": "1.5", "gap": "about two"}})
    data = report_data(folder)
    assert [one["formula"] for one in data["candidates"]] == ["NaCl"]
    assert [row[:3] for row in data["rest"]["rows"]] == [
        ["SrTiO3_perovskite", "SrTiO3", 1],
        ["GaAs_zinc_blende", "GaAs", 1],
    ]
    assert data["rest"]["rows"][0][data["rest"]["keys"].index("band_gap")] == 1.4
    assert any("first 1 of 3 candidates" in note for note in data["run"]["notes"])
    assert any("gap = about two" in note for note in data["run"]["notes"])


def test_spreads_are_told_apart(tmp_path: Path) -> None:
    data = report_data(design_folder(tmp_path, FILES[:1]))
    own, evaluated = data["candidates"][0]["predictions"]
    assert (own["epistemic"], own["aleatoric"]) == (0.3, pytest.approx(0.4))
    assert (own["source"], evaluated["source"]) == ("predictor", "evaluator")
    assert own["low"] == evaluated["low"] == 1.25
    for name in CALCULATED:
        record = prediction_record(name, Prediction(1.2, 0.0, "eV"), (), "crystal")
        assert record["source"] == "calculated"


def test_table_and_report_agree_on_what_is_calculated() -> None:
    assert set(CALCULATED) == {"gpaw_gap", "host_formation_energy", "xtb_gap", BULK, SHEAR}
    assert set(CALCULATED) <= set(LABELS)
    verdicts = {of.check: Verdict(of.check, True, 2.5, "THz", "") for of in OF_LATTICE.values()}
    properties = {name: Prediction(1.2, 0.4 * (name == XTB_GAP), "eV") for name in CALCULATED}
    one = replace(candidate("NaCl_rock_salt.cif"), properties=properties, verdicts=verdicts)
    in_report = {column["key"]: column for column in columns([one], (), "crystal")}
    in_table = candidate_row(one)
    for name in (*CALCULATED, *OF_LATTICE):
        assert values(one)[name] == in_table[name] in {1.2, 2.5}
        assert in_report[name]["unit"] in {"eV", "THz"}
    assert [in_report[key]["label"] for key in OF_LATTICE] == ["Lowest phonon", "Least stiffness"]
    assert [name for name in CALCULATED if f"{name}_spread" in in_table] == [XTB_GAP]  # the others have no error


def test_a_run_whose_table_has_columns_of_before_has_those_of_now_in_its_report(tmp_path: Path) -> None:
    """The report reads the records of a run, not its table, whose columns were renamed."""
    verdicts = {
        "phonons": Verdict("phonons", False, -1.12, "THz", ""),
        "elasticity": Verdict("elasticity", True, 51, "GPa", ""),
    }
    one = replace(candidate("NaCl_rock_salt.cif"), verdicts=verdicts)
    folder = screen_folder(tmp_path, [Row(one.name, "a.cif", 0, "", candidate=one)])
    (folder / "results.csv").write_text(f"name,lowest_phonon,least_stiffness\n{one.name},7.0,7.0\n", encoding="utf-8")
    data = report_data(folder)
    shown = {column["key"]: data["candidates"][0]["values"].get(column["key"]) for column in data["columns"]}
    assert {"lowest_phonon_THz": -1.12, "least_stiffness_GPa": 51}.items() <= shown.items()


def test_the_second_potential_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    folder = design_folder(tmp_path, FILES[:1])
    path = folder / "candidates.jsonl"
    record = json.loads(path.read_text(encoding="utf-8"))
    reason = "both call it stable: 0.020 eV/atom above A (EMT (ase 3.26.0)), limit 0.1"
    record["verdicts"]["second_opinion"] = record["verdicts"]["hull"] | {"name": "second_opinion", "reason": reason}
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    with_report(folder, configuration=CONFIGURATION | {"relaxation": {"second_opinion": "sevennet"}})
    assert report_data(folder)["candidates"][0]["second_opinion"]["potential"] == "sevennet"


def test_the_command_of_a_run_is_told_where_it_is_recorded(tmp_path: Path) -> None:
    folder = design_folder(tmp_path, ())
    assert "command_line" not in report_data(folder)["run"]
    with_report(folder, command_line="matgen design --bandgap 1.5 --out 'a b'")
    assert report_data(folder)["run"]["command_line"] == "matgen design --bandgap 1.5 --out 'a b'"


def test_the_report_does_not_change_when_it_is_made_again(tmp_path: Path) -> None:
    folder = design_folder(tmp_path, FILES[:2])
    assert report_data(folder) == report_data(folder)


@pytest.mark.parametrize(
    ("status", "state", "said"),
    [
        ("interrupted", "interrupted", "was interrupted"),
        ("running", "running", "has not ended"),
        ("failed: ValueError", "failed", "ended with an error (ValueError)"),
    ],
)
def test_an_unfinished_run_says_so(tmp_path: Path, status: str, state: str, said: str) -> None:
    folder = design_folder(tmp_path, FILES[:1])
    with_report(folder, status=status)
    run = report_data(folder)["run"]
    assert run["state"] == state
    assert any(said in note for note in run["notes"])


def test_a_run_without_candidates_is_told_in_words(tmp_path: Path) -> None:
    data = report_data(design_folder(tmp_path, (), (("MgO_rock_salt.cif", "hull"),)))
    assert data["candidates"] == []
    assert any("No candidate" in note for note in data["run"]["notes"])
    assert set(data["missing"]) >= {"hulls", "map", "walk"}
    json.dumps(data, allow_nan=False)


def test_a_folder_of_an_older_version_is_read(tmp_path: Path) -> None:
    folder = design_folder(tmp_path, FILES[:1])
    path = folder / "candidates.jsonl"
    old = path.read_text(encoding="utf-8").replace("evaluator_band_gap", "judge_band_gap")  # as 0.1 wrote it
    record = json.loads(old)
    del record["family"]
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    with_report(folder, version="0.1.0", configuration={"targets": {"band_gap": "1.5"}}, stages=None)
    data = report_data(folder)
    assert [one["name"] for one in data["candidates"][0]["predictions"]] == ["band_gap", "evaluator_band_gap"]
    assert any("version 0.1.0" in note for note in data["run"]["notes"])


def test_a_damaged_line_and_a_damaged_run_are_told(tmp_path: Path) -> None:
    folder = design_folder(tmp_path, FILES[:2])
    path = folder / "candidates.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(lines[0] + '{"name": 3}\n' + lines[1] + lines[0][:100], encoding="utf-8")
    (folder / "run.json").write_text("{", encoding="utf-8")
    data = report_data(folder)
    assert [one["formula"] for one in data["candidates"]] == ["NaCl", "SrTiO3"]
    notes = " ".join(data["run"]["notes"])
    assert "1 line of candidates.jsonl cannot be read" in notes
    assert "run.json cannot be read" in notes


def test_a_structure_that_cannot_be_analysed_leaves_the_others(tmp_path: Path) -> None:
    folder = design_folder(tmp_path, FILES[:2])
    path = folder / "candidates.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    records[0]["structure"]["frac_coords"] = [[0, 0, 0], [0, 0, 0]]  # one atom on another
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    data = report_data(folder)
    assert len(data["candidates"]) == 2
    assert data["candidates"][1]["missing"] == {}
    json.dumps(data, allow_nan=False)


@pytest.mark.parametrize("name", ["../../secret", "linked", "x" * 400, "ABSOLUTE"])
def test_no_file_outside_the_folder_is_read(tmp_path: Path, name: str) -> None:
    folder = design_folder(tmp_path / "run", FILES[:1])
    secret = tmp_path / "secret.cif"
    secret.write_text("what nobody else may read", encoding="utf-8")
    name = name.replace("ABSOLUTE", str(tmp_path / "secret"))
    for link in ("cif/linked.cif", "elasticity/linked.json", "trajectories/linked.extxyz"):
        (folder / link).parent.mkdir(exist_ok=True)
        (folder / link).symlink_to(secret)
    path = folder / "candidates.jsonl"
    record = json.loads(path.read_text(encoding="utf-8")) | {"name": name}
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    (one,) = report_data(folder)["candidates"]
    assert "nobody" not in json.dumps(one)
    assert not {"file", "elasticity", "walk"} & set(one)
    assert one["structure"]["text"].startswith("data_")


@pytest.mark.parametrize("made", ["nothing", "file", "empty"])
def test_what_is_no_run_is_refused(tmp_path: Path, made: str) -> None:
    path = tmp_path / "there"
    if made == "file":
        path.write_text("x", encoding="utf-8")
    elif made == "empty":
        path.mkdir()
    with pytest.raises(NoRunError, match="expected a folder of `matgen design`"):
        run_folder(path)


def rows(n: int) -> list[Row]:
    """Rows of a screening: every tenth file is broken, every third structure fails."""
    found = []
    for i in range(n):
        if i % 10 == 9:
            found.append(Row(f"f/{i}.cif", f"f/{i}.cif", 0, f"d{i}", error="no atoms"))
            continue
        one = candidate("NaCl_rock_salt.cif", f"f/{i}.cif", gap=4.0)
        if i % 3:
            one = candidate("NaCl_rock_salt.cif", f"f/{i}.cif", gap=1.0)
        found.append(Row(one.name, one.name, 0, f"d{i}", n_atoms=2, candidate=one, potential=POTENTIAL))
    return found


def test_the_report_of_a_screening_puts_the_best_first(tmp_path: Path) -> None:
    data = report_data(screen_folder(tmp_path, rows(130)))
    assert data["command"] == "screen"
    assert data["headline"].startswith("130 structures screened")
    shown = data["candidates"]
    assert len(shown) == 100
    assert len(data["rest"]["rows"]) == 30
    assert [one["accepted"] for one in shown] == sorted((one["accepted"] for one in shown), reverse=True)
    broken = [row for row in data["rest"]["rows"] if row[-1] == "reads"]
    assert len(broken) == 13
    conserved(data["stages"], "structures")
    assert any("ranking is not made yet" in note for note in data["run"]["notes"])
    assert len(data["histogram"]["before"]) == 117
    json.dumps(data, allow_nan=False)


def test_a_row_that_is_screened_again_counts_once(tmp_path: Path) -> None:
    folder = screen_folder(tmp_path, rows(4))
    path = folder / "rows.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + text.splitlines()[0] + "\n", encoding="utf-8")
    assert len(report_data(folder)["candidates"]) == 4


def test_energies_of_structures_as_given_have_a_point(tmp_path: Path) -> None:
    salt = replace(candidate("NaCl_rock_salt.cif", "salt"), relaxation=None)
    row = Row("salt", "salt", 0, "d", n_atoms=2, candidate=salt, energy=-3.3, potential=POTENTIAL, geometry="as given")
    folder = screen_folder(tmp_path, [row, replace(row, name="other", potential="mine", candidate=None, error="x")])
    (point,) = report_data(folder)["hulls"][0]["candidates"]
    assert point["id"] == "salt"
    assert point["e_above_hull"] == pytest.approx(
        ReferenceHull.load().above_hull(Composition("NaCl"), -3.3, POTENTIAL).above_hull, abs=1e-3
    )


@pytest.mark.parametrize("damage", [{"structure": None}, {"structure": {"lattice": 3}}, {"structure": ...}])
def test_a_damaged_row_of_a_screening_is_told(tmp_path: Path, damage: dict[str, Any]) -> None:
    folder = screen_folder(tmp_path, rows(3))
    path = folder / "rows.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    records[1]["candidate"] = {k: v for k, v in (records[1]["candidate"] | damage).items() if v is not ...}
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    data = report_data(folder)
    assert data["headline"].startswith("2 structures screened")
    assert any("1 line of rows.jsonl cannot be read and is left out" in note for note in data["run"]["notes"])


def test_tables_are_read_by_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "structures.csv"
    path.write_text("name,formula,energy,novel\nNaN,InF,inf,True\n0_001,True,1.5,maybe\n,NaCl,,\n", encoding="utf-8")
    found = csv_rows(path, ["energy"], ["novel"])
    assert found.values == [
        {"name": "NaN", "formula": "InF", "energy": None, "novel": True},
        {"name": "0_001", "formula": "True", "energy": 1.5, "novel": None},
    ]
    assert found.notes == ["1 row of structures.csv without a name is left out."]


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("structures.csv", "name,formula\nè.cif,NaCl\n".encode("latin-1"), "structures.csv is not UTF-8"),
        ("structures.csv", b"formula\nNaCl\n", "1 row of structures.csv without a name"),
        ("evaluation.json", b'{"figures": [{"name": "valid"}]}', "1 of 1 figures of evaluation.json"),
        ("verified.csv", b"formula\nNaCl\n", "1 row of verified.csv without a name"),
    ],
)
def test_damaged_tables_are_told(tmp_path: Path, file: str, content: bytes, told: str) -> None:
    if file == "structures.csv":
        (tmp_path / "evaluation.json").write_text("{}", encoding="utf-8")
    (tmp_path / file).write_bytes(content)
    assert told in " ".join(report_data(tmp_path)["run"]["notes"])


def test_a_run_that_cannot_be_shown_names_its_files(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text('{"figures": [], "settings": 3}', encoding="utf-8")
    with pytest.raises(DamagedRunError, match=r"damaged run: expected evaluation\.json"):
        report_data(tmp_path)


def test_the_figures_of_an_evaluation(tmp_path: Path) -> None:
    figure = {"name": "valid", "value": 0.5, "low": 0.1, "high": 0.9, "numerator": 1, "denominator": 2, "unit": ""}
    document = {
        "version": "0.3.0",
        "settings": {"reference": "mp20"},
        "kind": "crystal",
        "entries": 2,
        "readable": 1,
        "notes": ["a note"],
        "potential": "",
        "figures": [figure | {"share": True, "how": "why"}],
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(document), encoding="utf-8")
    table = "name,error,formula,n_atoms,separated,above_hull\na.cif,,NaCl,2,True,nan\nb.cif,no atoms,,0,False,\n"
    (tmp_path / "structures.csv").write_text(table, encoding="utf-8")
    data = report_data(tmp_path)
    assert data["metrics"] == [plain(metric(document["figures"][0]))]  # type: ignore[index]
    assert data["metrics"][0]["of"] == 2
    assert data["headline"] == "2 crystals evaluated, 1 could be read"
    assert [one["accepted"] for one in data["candidates"]] == [True, False]
    assert "a note" in data["run"]["notes"]


def test_a_folder_of_verification_alone(tmp_path: Path) -> None:
    found = FirstPrinciples(1.25, 1.5, -3.0, 0.0, {"xc": "PBE"}, seconds=9.0)
    salt = crystal("NaCl_rock_salt.cif")
    structure = {
        "lattice": salt.lattice.matrix.tolist(),
        "species": ["Na", "Cl"],
        "frac_coords": salt.frac_coords.tolist(),
    }
    lines = [
        {"name": "salt", "key": "1"} | result_record(found) | {"structure": structure},
        {"name": "bad", "key": "2"} | result_record(gpaw.failed("no convergence")),
    ]
    (tmp_path / "verified.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    data = report_data(tmp_path)
    assert data["command"] == "verify"
    assert data["headline"] == "2 structures calculated, 1 with a result"
    salt_record, bad = data["candidates"]
    assert salt_record["values"]["calculated_gap"] == 1.25
    assert salt_record["spacegroup"]["number"] == 225
    assert bad["verdicts"][0]["reason"] == "no convergence"
    json.dumps(data, allow_nan=False)


def test_every_way_to_assign_elements_of_equal_counts_is_tried() -> None:
    half_heusler = crystal("TiNiSn_half_heusler.cif")
    types = StructureTypes.of(KnownIndex.from_structures({"known": half_heusler}))
    order = [site.specie.symbol for site in half_heusler]
    for species in permutations(["Zr", "Pd", "Pb"]):
        swapped = dict(zip(("Ti", "Ni", "Sn"), species, strict=True))
        found = nearest(
            Structure(half_heusler.lattice, [swapped[s] for s in order], half_heusler.frac_coords), 216, types
        )
        assert found is not None
        assert found["distance"] < 0.01


def test_the_hull_of_a_potential_without_one_is_told(tmp_path: Path) -> None:
    folder = design_folder(tmp_path, FILES[:1])
    with_report(folder, configuration=CONFIGURATION | {"relaxation": {"calculator": "mypackage:make"}})
    data = report_data(folder)
    assert "hulls" not in data
    assert "no hull for mypackage:make" in data["missing"]["hulls"]
    assert "decomposition" not in data["candidates"][0]
