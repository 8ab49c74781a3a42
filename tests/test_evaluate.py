"""`matgen evaluate`: failures stay in denominators, order does not matter, relaxations are not done twice."""

import csv
import io
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from conftest import TextbookEntry
from pymatgen.core import Lattice, Structure

from matgen.cli import main
from matgen.datasets.named import DataSetError, named_structures
from matgen.evaluation import crystal_figures, crystal_rows
from matgen.evaluation.crystal_figures import low_energy_note, stability_figures
from matgen.evaluation.crystal_rows import CrystalRow, compared_rows, relaxed_rows, rows_as_read
from matgen.evaluation.findings import EvaluationConfig, EvaluationError
from matgen.evaluation.pairs import Pairing, paired
from matgen.evaluation.relaxations import Outcome
from matgen.hull.hull import PotentialMismatchError, ReferenceHull, is_stable
from matgen.metrics import Bootstrap, Profile, profile, traits
from matgen.metrics.distributions import SHIPPED
from matgen.novelty.crystals import KnownIndex
from matgen.runtime.config import ConfigError
from matgen.runtime.progress import Silence
from matgen.structures.candidate import Relaxation
from matgen.structures.cif import cif_text
from matgen.structures.files import Entry, read_structures
from matgen.workflows.evaluate import default_folder, evaluate

QUICK = EvaluationConfig(relax="none", bootstrap=100)


@pytest.fixture(scope="module")
def hull() -> ReferenceHull:
    return ReferenceHull.load()


@pytest.fixture(scope="module")
def known(textbook: tuple[TextbookEntry, ...]) -> KnownIndex:
    """An index of the textbook structures."""
    small = {one.file: one.structure for one in textbook if len(one.structure) <= 16}
    return KnownIndex.from_structures(small, "textbook structures")


@pytest.fixture(scope="module")
def crystals(textbook: tuple[TextbookEntry, ...]) -> list[Structure]:
    small = [entry.structure.get_primitive_structure() for entry in textbook]
    return [structure for structure in small if len(structure) <= 6][:8]


@pytest.fixture
def folder(crystals: list[Structure], tmp_path: Path) -> Path:
    """Eight good structures, one twice, one broken."""
    made = tmp_path / "made"
    made.mkdir()
    for i, structure in enumerate([*crystals, crystals[0]]):
        (made / f"{i}.cif").write_text(cif_text(structure), encoding="utf-8")
    (made / "broken.cif").write_text("data_nothing\n", encoding="utf-8")
    return made


def values(estimates: object) -> dict[str, float]:
    return {one.name: one.value for one in estimates}  # type: ignore[attr-defined]


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["matgen", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def entry(name: str, structure: Structure | None) -> Entry:
    return Entry(name, name, 0, structure, "" if structure else "broken")


# ---------------------------------------------------------------- the whole command


def test_a_broken_file_is_a_row_and_a_failure_of_everything(folder: Path, known: KnownIndex) -> None:
    found = evaluate([folder], QUICK, known=known)
    by_name = {one.name: one for one in found.estimates}
    assert by_name["readable"].value == 0.9
    assert by_name["structure valid, CDVAE"].value == 0.9
    assert by_name["unique"].value == 0.8
    assert by_name["novel"].value == 0.0  # all that can be read are in the index
    assert len(found.structures) == 10
    assert [row.name for row in found.structures if row.error] == ["made/broken.cif"]
    assert by_name["Wasserstein: density"].numerator == 9


def test_the_number_requested_is_the_denominator(folder: Path, known: KnownIndex) -> None:
    came, asked = (evaluate([folder], replace(QUICK, requested=n), known=known) for n in (0, 20))
    for one, other in zip(came.estimates, asked.estimates, strict=True):
        assert other.denominator == 20 or "–" in one.name or "Wasserstein" in one.name
        assert other.value == pytest.approx(one.value / 2 if one.share else one.value)
    with pytest.raises(EvaluationError, match="at least the 10 entries"):
        evaluate([folder], replace(QUICK, requested=9))


def test_the_order_of_the_structures_does_not_matter(folder: Path, known: KnownIndex) -> None:
    files = sorted(folder.iterdir())
    forth, back = (values(evaluate(order, QUICK, known=known).estimates) for order in (files, files[::-1]))
    assert forth == pytest.approx(back)


def test_a_set_compared_with_itself_is_covered_and_no_distance_away(folder: Path, known: KnownIndex) -> None:
    found = values(evaluate([folder], replace(QUICK, reference=str(folder)), known=known).estimates)
    assert found["coverage recall"] == 1.0
    assert found["coverage precision"] == 0.9  # the broken one covers nothing
    assert all(value < 1e-6 for name, value in found.items() if "Wasserstein" in name or "Jensen" in name)


def test_true_structures_are_matched_by_name_or_by_order(folder: Path, tmp_path: Path, known: KnownIndex) -> None:
    truth = tmp_path / "truth"
    truth.mkdir()
    for file in folder.glob("[0-7].cif"):
        (truth / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    some = [folder / f"{i}.cif" for i in (5, 2, 0, 7)]
    by_name = values(evaluate(some, replace(QUICK, csp=truth), known=known).estimates)
    assert by_name["match rate"] == by_name["METRe"] == 0.5
    assert by_name["match rate: RMSE"] == pytest.approx(0.0, abs=1e-6)
    assert by_name["METRe: cRMSE"] == pytest.approx(0.25, abs=1e-6)
    more = evaluate([folder], replace(QUICK, csp=truth), known=known)
    assert values(more.estimates)["match rate"] == 1.0
    assert more.about["pairs"] == {
        "by": "file name",
        "pairs": 8,
        "predictions_without_partner": 2,
        "true_structures_without_partner": 0,
    }
    assert "8 pairs of prediction and true structure by file name; 2 predictions and 0 true" in "".join(more.notes)


def test_pairs_by_order_need_as_many_of_both(crystals: list[Structure]) -> None:
    truth = [entry(f"t{i}", s) for i, s in enumerate(crystals[:3])]
    guesses = [entry("x#0", crystals[0]), entry("x#1", None), entry("x#2", crystals[2])]
    assert places(paired(guesses, truth)) == [0, 1, 2]
    assert paired(guesses, truth).how == "natural order"
    with pytest.raises(EvaluationError, match="named as the true structures, or as many"):
        paired(guesses[:2], truth)
    with pytest.raises(EvaluationError, match="readable"):
        paired(truth, guesses)


def test_predictions_in_another_order_than_the_truth_are_refused(crystals: list[Structure]) -> None:
    truth = [entry(f"truth.csv#{i}", s) for i, s in enumerate(crystals[:4])]
    shuffled = [entry(f"made.csv#{i}", crystals[k]) for i, k in enumerate((2, 0, 1, 3))]
    with pytest.raises(EvaluationError, match="got 3 of 4 of another composition"):
        paired(shuffled, truth)
    wrong = [entry(f"made.csv#{i}", crystals[k]) for i, k in enumerate((0, 5, 2, 3))]  # a prediction may be wrong
    assert places(paired(wrong, truth)) == [0, 1, 2, 3]


def places(found: Pairing) -> list[int]:
    return [index for _, index in found.pairs]


def test_pairs_in_natural_order(crystals: list[Structure]) -> None:
    """A folder lists gen_10 before gen_2, and means no other order by that."""
    listed = [entry(f"gen/gen_{k}.cif", crystals[i]) for k, i in ((1, 0), (10, 3), (2, 1), (9, 2))]
    truth = [entry(f"truth.csv#{i}", s) for i, s in enumerate(crystals[:4])]
    assert places(paired(listed, truth)) == [0, 2, 3, 1]


def test_pairs_by_the_identifiers_of_both(crystals: list[Structure]) -> None:
    """In whatever order, and whatever their number; what has no partner is counted."""
    truth = [replace(entry(f"truth.csv#{i}", s), id=f"ex-{i}") for i, s in enumerate(crystals[:4])]
    order = (2, 0, 3, 1)
    shuffled = [replace(entry(f"made.csv#{n}", crystals[i]), id=f"ex-{i}") for n, i in enumerate(order)]
    found = paired(shuffled, truth)
    assert places(found) == [1, 3, 0, 2]
    assert found.how == "id"
    few = paired([*shuffled[:2], replace(entry("made.csv#9", crystals[5]), id="ex-77")], truth)
    assert places(few) == [1, -1, 0, -1]
    assert (few.lonely, few.missing) == (1, 2)
    named = paired([entry(f"gen/ex-{i}.cif", crystals[i]) for i in order], truth)
    assert places(named) == [1, 3, 0, 2]
    assert named.how == "file name of the prediction and id of the true structure"


def test_pairs_by_the_folders_of_files_of_one_name(crystals: list[Structure]) -> None:
    """One folder for each structure is how calculations lie on a disk."""
    truth = [entry(f"true/{i}/POSCAR", s) for i, s in enumerate(crystals[:4])]
    order = (2, 0, 3, 1)
    for name in ("gen/{}/POSCAR", "gen/{}/CONTCAR", "gen/{}/relaxed/a.cif.gz", "all.zip/{}.cif", "{}.cif"):
        found = paired([entry(name.format(i), crystals[i]) for i in order], truth)
        assert places(found) == [1, 3, 0, 2], name
        assert "path" in found.how
    few = paired([entry(f"gen/{i}/POSCAR", crystals[i]) for i in (3, 1)], truth)
    assert places(few) == [-1, 1, -1, 0]
    titled = [replace(entry(f"gen/{i}/POSCAR", crystals[i]), id="relaxed") for i in order]
    named = [replace(one, id="relaxed") for one in truth]
    assert places(paired(titled, named)) == [1, 3, 0, 2]  # an identifier of all is none
    with pytest.raises(EvaluationError, match="got 4 with 'POSCAR'"):
        paired([entry(f"gen/{i}/POSCAR", crystals[0]) for i in "abcd"], truth)


def test_ambiguous_identifiers_are_refused(crystals: list[Structure]) -> None:
    truth = [replace(entry(f"truth.csv#{i}", s), id=f"ex-{i}") for i, s in enumerate(crystals[:4])]
    twice = [replace(entry(f"made.csv#{n}", crystals[i]), id=f"ex-{i}") for n, i in enumerate((0, 1, 1, 2))]
    with pytest.raises(EvaluationError, match="got 2 with 'ex-1'; give each its own"):
        paired(twice, truth)
    strange = [replace(one, id=f"ex-{i + 3}") for i, one in enumerate(truth)]
    with pytest.raises(EvaluationError, match="4 and 4 of which 1 agree, such as 'ex-3'"):
        paired(strange, truth)


def test_identifiers_are_read_from_every_format(crystals: list[Structure], tmp_path: Path) -> None:
    """And files of predictions in another order than the truth match all of it."""
    order = (3, 0, 2, 1)
    rows = [(f"ex-{i}", cif_text(crystals[i])) for i in range(4)]
    tables = {name: io.StringIO() for name in ("truth", "made")}
    for name, places_in_table in (("truth", range(4)), ("made", order)):
        csv.writer(tables[name]).writerows([("Material_ID", "cif"), *(rows[i] for i in places_in_table)])
        (tmp_path / f"{name}.csv").write_text(tables[name].getvalue(), encoding="utf-8")
    records = [{"id": f"ex-{i}", "structure": crystals[i].as_dict()} for i in order]
    (tmp_path / "a.json").write_text(json.dumps(records), encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps({one["id"]: one["structure"] for one in records}), encoding="utf-8")
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    frames = []
    for i in order:
        atoms = crystals[i].to_ase_atoms()
        atoms.info = {"material_id": f"ex-{i}", "note": "some words"}
        frames.append(atoms)
    ase.io.write(tmp_path / "d.extxyz", frames, format="extxyz")
    truth = list(read_structures([tmp_path / "truth.csv"]))
    assert [one.id for one in truth] == ["ex-0", "ex-1", "ex-2", "ex-3"]
    for name in ("made.csv", "a.json", "b.json", "c.jsonl", "d.extxyz"):
        made = list(read_structures([tmp_path / name]))
        assert [one.id for one in made] == [f"ex-{i}" for i in order], name
        assert places(paired(made, truth)) == [1, 3, 2, 0], name
    bare = [replace(one, id="") for one in truth]
    assert paired(bare, truth).how == "natural order"


def test_figures_and_rows_are_on_disk(folder: Path, tmp_path: Path, known: KnownIndex) -> None:
    out = tmp_path / "out"
    found = evaluate([folder], QUICK, folder=out, known=known)
    document = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert [figure["name"] for figure in document["figures"]] == [one.name for one in found.estimates]
    assert document["requested"] == 10
    made_of, training = document["shares"]["found"], document["shares"]["training"]
    assert made_of["n"] == document["readable"] < training["n"]
    assert list(made_of["shares"]) == list(training["shares"])
    rows = (out / "structures.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 11
    assert rows[0].startswith("name,error,formula")


def test_other_paths_and_settings_have_another_folder(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "made", tmp_path / "b" / "made"
    cases = [(QUICK, [one]), (QUICK, [other]), (QUICK, [one, other]), (replace(QUICK, relax="chgnet"), [one])]
    folders = [default_folder(config, paths) for config, paths in cases]
    assert len(set(folders)) == len(cases)
    assert all(folder.name.startswith("made_") for folder in folders)
    assert default_folder(replace(QUICK, jobs=2), [one]) == folders[0]  # it goes on, with more processes


def test_a_cell_too_large_to_be_evaluated_is_a_row_with_a_reason(folder: Path, known: KnownIndex) -> None:
    large = Structure(Lattice.cubic(2.5), ["Cu"], [[0, 0, 0]]).make_supercell((8, 8, 8))
    (folder / "large.cif").write_text(cif_text(large), encoding="utf-8")
    row = next(row for row in evaluate([folder], QUICK, known=known).structures if row.name.endswith("large.cif"))
    assert "512 atoms" in row.error
    assert (row.separated, row.unique, row.novel) == (False, False, False)


def test_the_command_prints_every_figure(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--relax", "none", "--bootstrap", "50", "--out", str(tmp_path / "out")]
    assert called(monkeypatch, "evaluate", str(folder), *options) == 0
    printed = capsys.readouterr().out
    assert "80.0 %" in printed
    assert "8/10" in printed
    assert "commonest layout" in printed
    assert called(monkeypatch, "evaluate", str(folder), *options, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert {"unique", "novel", "valid, CDVAE"} <= {figure["name"] for figure in document["figures"]}
    assert any("relax with chgnet" in note for note in document["notes"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--reference", "mp21"], "a data set (mp20"),
        (["--relax", "emt"], "choose one of none, chgnet"),
        (["--requested", "3"], "at least the 10 entries"),
        (["--bootstrap", "0"], "bootstrap"),
        (["--reference", "perov5"], "MATGEN_DATA"),
    ],
)
def test_a_wrong_command_gets_one_line(
    folder: Path,
    options: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MATGEN_DATA", raising=False)
    out = ["--out", str(folder.parent / "out"), "--relax", "none"]
    assert called(monkeypatch, "evaluate", str(folder), *out, *options) == 2
    assert complaint in capsys.readouterr().err


def test_relaxations_are_kept_and_not_done_again(tmp_path: Path, known: KnownIndex) -> None:
    made, out = tmp_path / "made", tmp_path / "out"
    made.mkdir()
    for name, stretch in (("salt", 1.01), ("again", 0.99)):
        lattice = Lattice.cubic(5.64 * stretch)
        salt = Structure.from_spacegroup("Fm-3m", lattice, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        (made / f"{name}.cif").write_text(cif_text(salt.get_primitive_structure()), encoding="utf-8")
    config = replace(QUICK, relax="chgnet")
    first = evaluate([made], config, folder=out, known=known)
    (kept,) = out.glob("relaxed_*.jsonl")
    lines = kept.read_text(encoding="utf-8")
    found = values(first.estimates)
    assert found["relaxation converges"] == 1.0
    assert found["unique"] == 0.5
    assert found["stable ≤ 0.1 eV/atom"] == 1.0
    assert found["S.U.N. ≤ 0.1 eV/atom"] == 0.0  # rock salt is known
    assert found["RMSD to relaxed"] == pytest.approx(0.0, abs=1e-4)  # both sites are fixed by symmetry
    seen = Silence()
    again = evaluate([made], config, folder=out, known=known, report=seen)
    assert kept.read_text(encoding="utf-8") == lines
    assert again.estimates == first.estimates
    # A changed structure is relaxed again, under its old name.
    text = (made / "salt.cif").read_text(encoding="utf-8")
    (made / "again.cif").write_text(text, encoding="utf-8")
    evaluate([made], config, folder=out, known=known)
    assert len(kept.read_text(encoding="utf-8").splitlines()) == 3


# ---------------------------------------------------------------- rows


def outcome(structure: Structure, hull: ReferenceHull, above: float, *, converged: bool = True) -> Outcome:
    """A relaxation that ended this far above the hull, eV/atom."""
    on_hull = -hull.above_hull(structure.composition, 0.0, hull.potential).above_hull
    reason = "converged" if converged else "out of steps"
    energy = on_hull + above
    return Outcome(structure, Relaxation(converged, reason, 5, energy, energy + 0.1, 0.01, 0.001, 1.0, hull.potential))


def evaluated_rows(
    structures: list[Structure], heights: list[float], hull: ReferenceHull, known: KnownIndex, *, converged: bool = True
) -> list[CrystalRow]:
    entries = [entry(str(i), structure) for i, structure in enumerate(structures)]
    outcomes = {
        one.name: outcome(structure, hull, height, converged=converged)
        for one, structure, height in zip(entries, structures, heights, strict=True)
    }
    rows = relaxed_rows(rows_as_read(entries, Silence()), entries, outcomes, hull)
    return compared_rows(rows, structures, known, Silence())


def unknown_crystals() -> list[Structure]:
    """Three unknown crystals: combinations of elements that do not form such structures, of unusual size."""
    return [
        Structure.from_spacegroup("Pm-3m", Lattice.cubic(a), [*symbols], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]])
        for a, symbols in ((4.4, ("Cs", "Bi", "F")), (5.1, ("Rb", "W", "I")), (4.7, ("Ba", "Re", "Br")))
    ]


def test_stability_is_counted_at_0_and_at_a_tenth(hull: ReferenceHull, known: KnownIndex) -> None:
    three = unknown_crystals()
    rows = evaluated_rows([*three, three[0]], [-0.02, 0.05, 0.3, 0.05], hull, known)
    np.testing.assert_allclose([row.above_hull for row in rows], [-0.02, 0.05, 0.3, 0.05], atol=1e-9)
    found = values(stability_figures(rows, 8, Bootstrap(50), hull.potential))
    assert found["stable ≤ 0 eV/atom"] == 1 / 8
    assert found["stable ≤ 0.1 eV/atom"] == 3 / 8
    assert found["S.U.N. ≤ 0 eV/atom"] == 1 / 8
    assert found["S.U.N. ≤ 0.1 eV/atom"] == 2 / 8  # two of the three are the same crystal
    assert found["energy above hull"] == pytest.approx(np.mean([-0.02, 0.05, 0.3, 0.05]))


def test_sun_is_at_most_each_of_its_parts(crystals: list[Structure], hull: ReferenceHull, known: KnownIndex) -> None:
    random = np.random.default_rng(0)
    for _ in range(3):
        some = [*unknown_crystals(), *unknown_crystals(), *crystals[:3]]
        rows = evaluated_rows(some, random.normal(0.05, 0.1, len(some)).tolist(), hull, known)
        for flag, limit in ((lambda r: r.sun, 0.1), (lambda r: r.sun_on_hull, 0.0)):
            n = sum(map(flag, rows))
            assert n <= sum(row.unique for row in rows)
            assert n <= sum(row.novel for row in rows)
            assert n <= sum(is_stable(row.above_hull, limit) for row in rows)
        assert sum(row.sun_on_hull for row in rows) <= sum(row.sun for row in rows)


def test_a_kind_counts_once_whichever_member_is_stable(hull: ReferenceHull, known: KnownIndex) -> None:
    one = unknown_crystals()[0]
    for heights in ([0.5, 0.0], [0.0, 0.5], [0.0, 0.05]):
        assert sum(row.sun for row in evaluated_rows([one, one], heights, hull, known)) == 1


def test_what_did_not_converge_is_not_stable(hull: ReferenceHull, known: KnownIndex) -> None:
    rows = evaluated_rows(unknown_crystals(), [-1.0, -1.0, -1.0], hull, known, converged=False)
    found = values(stability_figures(rows, 3, Bootstrap(50), hull.potential))
    assert found["stable ≤ 0.1 eV/atom"] == found["S.U.N. ≤ 0.1 eV/atom"] == found["relaxation converges"] == 0.0
    assert math.isnan(found["energy above hull"])


def test_energies_of_another_potential_are_refused(crystals: list[Structure], hull: ReferenceHull) -> None:
    entries = [entry("a", crystals[0])]
    right = outcome(crystals[0], hull, 0.0)
    wrong = Outcome(right.structure, replace(right.report, potential="EMT"))
    with pytest.raises(PotentialMismatchError, match="EMT"):
        relaxed_rows(rows_as_read(entries, Silence()), entries, {"a": wrong}, hull)


def test_energies_far_below_the_hull_are_noted(hull: ReferenceHull, known: KnownIndex) -> None:
    rows = evaluated_rows(unknown_crystals(), [-0.5, -0.4, -0.1], hull, known)
    assert "2 lie more than 0.3" in low_energy_note(rows)
    found = values(stability_figures(rows, 3, Bootstrap(50), hull.potential))
    assert found["stable ≤ 0 eV/atom"] == found["S.U.N. ≤ 0.1 eV/atom"] == pytest.approx(1 / 3)
    assert not low_energy_note(evaluated_rows(unknown_crystals(), [0.0, 0.0, 0.0], hull, known))


# ---------------------------------------------------------------- references


def test_the_shipped_profile_is_what_it_says() -> None:
    shipped = Profile.load(SHIPPED["mp20"])
    assert "Materials Project" in shipped.source
    assert sum(shipped.counts["density"].values()) == shipped.n == 7342
    assert SHIPPED["mp20"].stat().st_size < 50_000


@pytest.mark.data
def test_the_shipped_profile_is_that_of_the_data(data_dir: Path) -> None:
    structures = named_structures("mp20", data_dir)
    shipped = Profile.load(SHIPPED["mp20"])
    assert len(structures) == shipped.n
    sizes = profile("", [traits(structure) for structure in structures[::20]])
    for quantity, counts in sizes.counts.items():
        assert set(counts) <= set(shipped.counts[quantity])


def test_a_missing_data_set_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="README"):
        named_structures("mp20", tmp_path)
    with pytest.raises(DataSetError, match="carbon24"):
        named_structures("mp99", tmp_path)


@pytest.mark.parametrize("wrong", [{"jobs": 0}, {"bootstrap": 0}, {"requested": -1}, {"relax": "emt"}])
def test_an_invalid_config_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        replace(EvaluationConfig(), **wrong)  # type: ignore[arg-type]


def test_nothing_to_evaluate_is_an_error_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text("nothing", encoding="utf-8")
    assert [e.structure for e in read_structures([tmp_path])] == [None]
    with pytest.raises(EvaluationError, match="none that can be read"):
        evaluate([tmp_path], QUICK)


class OfAForeignPackageError(Exception):
    """An exception that no list of expected ones contains."""


@pytest.mark.parametrize("step", ["is_separated", "find", "traits"])
def test_an_exception_in_an_evaluation_concerns_one_row(
    step: str, folder: Path, crystals: list[Structure], known: KnownIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validity, novelty and distances: the others keep theirs, and denominators stay."""
    bad = crystals[2].composition.reduced_formula
    place = {"is_separated": crystal_rows, "find": KnownIndex, "traits": crystal_figures}[step]
    plain = getattr(place, step)

    def failing(*given: Any) -> Any:
        if any(isinstance(one, Structure) and one.composition.reduced_formula == bad for one in given):
            raise OfAForeignPackageError("no such crystal")
        return plain(*given)

    before = evaluate([folder], QUICK, known=known)
    monkeypatch.setattr(place, step, failing)
    after = evaluate([folder], QUICK, known=known)
    assert [one.denominator for one in after.estimates] == [one.denominator for one in before.estimates]
    reason = "OfAForeignPackageError: no such crystal"
    for row, same in zip(after.structures, before.structures, strict=True):
        assert isinstance(row, CrystalRow)
        assert isinstance(same, CrystalRow)
        if same.formula != bad or step == "traits":
            assert row == same
        elif step == "find":
            assert row == replace(same, remark=f"not assessed: {reason}", novel=False, known="")
        else:
            assert row.error == f"not assessed: {reason}"
    assert any(reason in note for note in after.notes) == (step == "traits")
