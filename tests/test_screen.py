"""Screening: one row for each structure, whatever it contains, through interrupts, with any workers."""

import contextlib
import csv
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import TextbookEntry
from pymatgen.core import Lattice, Structure

import matgen
from matgen import cli
from matgen.checks.crystals import min_distance
from matgen.hull.hull import PotentialMismatchError
from matgen.hull.reference import Reference
from matgen.novelty.crystals import KnownIndex
from matgen.relaxation.calculators import chgnet_calculator
from matgen.relaxation.symmetric import relax
from matgen.runtime.config import ConfigError
from matgen.runtime.devices import DeviceError
from matgen.runtime.processes import TRIES, Chunk
from matgen.screening.assess import LARGEST, assess
from matgen.screening.config import NONE, ScreenConfig, ScreenError, run_info
from matgen.screening.crystals import _height, primitive_cell
from matgen.screening.domain import LIMIT, domain
from matgen.screening.energies import StaticEnergies
from matgen.screening.files import Journal
from matgen.screening.hulls import hull_of
from matgen.screening.ordered_rows import OrderedRows
from matgen.screening.parsl_workers import on_parsl
from matgen.screening.ranking import Counts, merit
from matgen.screening.row import Row, cells, row_of, row_record
from matgen.screening.workers import here
from matgen.structures.candidate import Candidate, SpaceGroup, Verdict
from matgen.structures.cif import cif_text
from matgen.structures.files import MissingPathError, digest, found, given
from matgen.structures.run_report import ResumeError
from matgen.targets.target import TargetError
from matgen.workflows.screen import chunks, run, screen, unknown_chunks

CHEAP = ScreenConfig(reference=NONE, known=NONE)
"""Without energies of a potential, which cost most of the time."""

LOOSE = {"rel": 1e-3, "abs": 2e-4}
"""Networks in float32 sum in another order when atoms are listed in another one."""


def block(symbols: list[str], edge: float, coords: list[list[float]]) -> Structure:
    return Structure(Lattice.cubic(edge), symbols, coords)


@pytest.fixture(scope="session")
def some(textbook: tuple[TextbookEntry, ...]) -> list[Structure]:
    """Small textbook crystals."""
    return [entry.structure for entry in textbook if len(entry.structure) <= 8][:12]


@pytest.fixture
def folder(some: list[Structure], tmp_path: Path) -> Path:
    """Files with valid, broken, repeated and overlapping structures."""
    place = tmp_path / "set"
    place.mkdir()
    for index, structure in enumerate(some[:6]):
        (place / f"{index}.cif").write_text(cif_text(structure), encoding="utf-8")
    (place / "broken.cif").write_text("data_nothing\n", encoding="utf-8")
    (place / "copy.cif").write_text(cif_text(some[0] * (2, 1, 1)), encoding="utf-8")
    overlapping = block(["Na", "Cl"], 5.0, [[0, 0, 0], [0.05, 0, 0]])
    (place / "overlap.cif").write_text(cif_text(overlapping), encoding="utf-8")
    return place


def texts(rows: Iterable[Row]) -> list[str]:
    return [json.dumps(row_record(row)) for row in rows]


def close(one: Row, other: Row) -> None:
    """Check that two rows agree on a structure."""
    assert one.candidate is not None
    assert other.candidate is not None
    assert {name: v.passed for name, v in one.verdicts.items()} == {n: v.passed for n, v in other.verdicts.items()}
    assert one.candidate.space_group == other.candidate.space_group
    for name, energy in one.candidate.energies.items():
        assert other.candidate.energies[name] == pytest.approx(energy, **LOOSE), name
    for name, found_one in one.candidate.properties.items():
        found_other = other.candidate.properties[name]
        # A median may jump where half of the probability lies at zero; the distribution as a whole does not.
        assert found_other.spread == pytest.approx(found_one.spread, rel=0.02, abs=2e-3), name
    if not math.isnan(one.energy):
        assert other.energy == pytest.approx(one.energy, abs=1e-4)


# ---------------------------------------------------------------- one chunk


def test_each_failure_has_its_named_reason(folder: Path) -> None:
    rows = {row.name: row for row in assess(list(found([folder])), CHEAP)}
    assert len(rows) == 9
    assert rows["set/broken.cif"].failed == ("reads",)
    assert "not readable as cif" in rows["set/broken.cif"].error
    overlap = rows["set/overlap.cif"]
    assert "min_distance" in overlap.failed
    assert "in_domain" in overlap.failed  # not assessed, with a reason
    assert "overlap" in overlap.verdicts["in_domain"].reason
    assert overlap.candidate is not None
    assert not overlap.candidate.properties
    for index in range(6):
        row = rows[f"set/{index}.cif"]
        assert row.passed, row.failed
        assert row.candidate is not None
        assert set(row.candidate.properties) >= {"band_gap", "evaluator_band_gap"}


def test_nothing_is_predicted_outside_the_range_of_the_models() -> None:
    generator = np.random.default_rng(0)
    many = Structure(Lattice.cubic(9.0), ["Si"] * 27, np.indices((3, 3, 3)).reshape(3, -1).T / 3.0)
    many.translate_sites(list(range(27)), generator.normal(size=3), frac_coords=False)
    for index in range(27):  # no translation left, but no overlap
        many.translate_sites([index], generator.normal(scale=0.15, size=3), frac_coords=False)
    strange = block(["Po", "Rn"], 3.8, [[0, 0, 0], [0.5, 0.5, 0.5]])
    huge = Structure(Lattice.cubic(40.0), ["Si"] * (LARGEST + 1), generator.random((LARGEST + 1, 3)))
    large, unknown, refused = assess(list(given([many, strange, huge])), CHEAP)
    assert "27 atoms in the primitive cell" in large.verdicts["in_domain"].reason
    assert "have never seen" in unknown.verdicts["in_domain"].reason
    for row in (large, unknown):
        assert row.candidate is not None
        assert not row.candidate.properties
        assert not row.candidate.energies
        assert not row.passed
    assert refused.candidate is None
    assert f"more than {LARGEST}" in refused.error


def test_elements_without_electronegativity_cause_no_warning(tmp_path: Path) -> None:
    """Pymatgen warns when it sorts noble gases, and warnings are errors here."""
    text = cif_text(block(["He", "Na", "Na"], 4.5, [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]]))
    (tmp_path / "he.cif").write_text(text, encoding="utf-8")
    (row,) = run([tmp_path / "he.cif"], CHEAP, tmp_path / "out").rows
    assert row.formula == "Na2He"


def test_another_cell_of_the_same_crystal_has_the_same_verdicts(some: list[Structure]) -> None:
    """Double cell, other origin, other order of atoms, rotated axes: only the number of atoms may change."""
    config = ScreenConfig(known=NONE, properties={"band_gap": "0:20"})
    generator = random.Random(1)
    for structure in some[:3]:
        double = structure * (1, 2, 1)
        double.translate_sites(list(range(len(double))), [0.13, 0.29, 0.41])
        sites = list(double)
        generator.shuffle(sites)
        turned = Structure.from_sites(sites)
        turned = Structure(Lattice.from_parameters(*turned.lattice.parameters), turned.species, turned.frac_coords)
        one, other = assess(list(given([structure, turned])), config)
        assert other.n_atoms == 2 * one.n_atoms
        close(one, other)
        assert one.verdicts["hull"].value == pytest.approx(other.verdicts["hull"].value, abs=2e-4)


def test_batch_mates_do_not_matter(some: list[Structure]) -> None:
    together = assess(list(given(some)), ScreenConfig(known=NONE))
    for index in (0, 5, 11):
        (alone,) = assess([list(given(some))[index]], ScreenConfig(known=NONE))
        assert alone.name == together[index].name
        close(alone, together[index])


def test_a_primitive_cell_moves_no_atom(some: list[Structure]) -> None:
    for structure in some:
        cell = primitive_cell(structure * (2, 1, 1))
        assert 2 * len(structure) % len(cell) == 0
        assert len(cell) <= len(structure)
        assert cell.volume / len(cell) == pytest.approx(structure.volume / len(structure), rel=1e-6)
        ours, theirs = (np.sort(s.get_neighbor_list(4.0)[3]) for s in (cell, structure))
        np.testing.assert_allclose(np.unique(ours.round(4)), np.unique(theirs.round(4)), atol=2e-4)
    # Half of the atoms moved by more than the tolerance: the cell is what it is.
    distorted = some[0] * (2, 1, 1)
    distorted.translate_sites([0], [0.03, 0.0, 0.0])
    assert len(primitive_cell(distorted)) == len(distorted)


def test_the_energy_names_its_geometry_and_potential(some: list[Structure]) -> None:
    (row,) = assess(list(given(some[:1])), ScreenConfig(known=NONE))
    assert row.geometry == "as given"
    assert "CHGNet" in row.potential
    assert "energy of the geometry as given" in row.verdicts["hull"].reason
    stretched = some[0].copy()
    stretched.scale_lattice(1.08 * stretched.volume)
    config = ScreenConfig(known=NONE, relax="chgnet")
    as_given, relaxed = (assess(list(given([stretched])), c)[0] for c in (ScreenConfig(known=NONE), config))
    assert relaxed.geometry == "relaxed"
    assert relaxed.verdicts["relaxed"].passed
    assert relaxed.energy < as_given.energy
    assert relaxed.verdicts["hull"].value < as_given.verdicts["hull"].value


def test_the_limit_on_the_hull_is_the_one_asked_for(some: list[Structure]) -> None:
    stretched = some[0].copy()
    stretched.scale_lattice(1.3 * stretched.volume)
    heights = []
    for limit in (0.0, 10.0):
        (row,) = assess(list(given([stretched])), ScreenConfig(known=NONE, max_ehull=limit))
        heights.append(row.verdicts["hull"].value)
        assert row.verdicts["hull"].passed is (heights[-1] <= limit)
    assert heights[0] == heights[1] > 0.05


def test_an_energy_too_far_below_the_hull_fails() -> None:
    """Otherwise a search over a potential would end where the potential fails."""
    hull = hull_of()
    crystal = block(["Na", "Cl"], 4.0, [[0, 0, 0], [0.5, 0.5, 0.5]])
    candidate = Candidate("one", crystal, crystal, SpaceGroup(221, "Pm-3m"))
    row = Row("one", "", 0, "", candidate=candidate, potential=hull.potential).with_verdicts(min_distance(candidate))
    ground = -hull.above_hull(crystal.composition, 0.0, hull.potential).above_hull
    found = [
        _height(replace(row, energy=ground + height), ScreenConfig()).verdicts["hull"] for height in (-2.0, -0.2, 0.05)
    ]
    assert [verdict.passed for verdict in found] == [False, True, True]
    assert "implausible" in found[0].reason


def test_targets_are_checked_by_predictor_and_evaluator_and_the_predictor_decides(some: list[Structure]) -> None:
    config = ScreenConfig(reference=NONE, known=NONE, properties={"band_gap": ">19"})
    for row in assess(list(given(some[:4])), config):
        assert row.failed == ("target_band_gap",)
        assert not row.verdicts["target_evaluator_band_gap"].passed


def test_a_known_crystal_is_not_novel_in_any_cell(some: list[Structure], tmp_path: Path) -> None:
    KnownIndex.from_structures({"rock": some[0], "other": some[1]}).save(tmp_path / "known.npz")
    config = ScreenConfig(reference=NONE, known=str(tmp_path / "known.npz"))
    rows = assess(list(given([some[0] * (1, 1, 2), some[1], some[2]])), config)
    assert [row.verdicts["novel"].passed for row in rows] == [False, False, True]
    assert "rock" in rows[0].verdicts["novel"].reason


def test_a_structure_beyond_the_potential_does_not_affect_others(some: list[Structure]) -> None:
    heavy = block(["Cm", "O"], 5.0, [[0, 0, 0], [0.5, 0.5, 0.5]])
    lonely = block(["Na"], 20.0, [[0, 0, 0]])
    config = ScreenConfig(known=NONE)
    one, curium, isolated, other = assess(list(given([some[0], heavy, lonely, some[1]])), config)
    assert "does not know Cm" in curium.verdicts["hull"].reason
    assert "isolated" in isolated.verdicts["hull"].reason
    for row, alone in zip((one, other), assess(list(given(some[:2])), config), strict=True):
        assert row.energy == pytest.approx(alone.energy, abs=1e-4)


def test_a_faulty_crystal_does_not_affect_its_batch(some: list[Structure]) -> None:
    potential = StaticEnergies()
    converter = potential.calculator.model.graph_converter  # type: ignore[attr-defined]
    sound, damaged = converter(some[0]), converter(some[1])
    damaged.atomic_number = damaged.atomic_number + 100  # embeddings that do not exist
    energy, reason, again = potential._of_graphs([sound, damaged, sound])
    assert energy == again == pytest.approx(potential(some[:1])[0], abs=1e-4)
    assert isinstance(reason, str)
    assert "cannot read it" in reason


# ---------------------------------------------------------------- the domain


def test_the_domain_is_that_of_the_shipped_energy_and_splits_real_from_wrong(
    textbook: tuple[TextbookEntry, ...],
) -> None:
    usual = domain()
    assert list(usual.energies) == sorted(usual.energies)
    assert usual.share_below(usual.limit) == pytest.approx(LIMIT, abs=1e-6)
    assert usual.share_below(-1e9) == 0.0
    assert usual.share_below(1e9) == 1.0
    structures = [entry.structure for entry in textbook if len(entry.structure) <= 12][:24]
    swollen = [structure.copy().scale_lattice(1.3 * structure.volume) for structure in structures]
    real, wrong = (
        [row.verdicts["in_domain"].passed for row in assess(list(given(some)), CHEAP)] for some in (structures, swollen)
    )
    assert sum(real) >= 23
    assert sum(wrong) <= 6


# ---------------------------------------------------------------- many chunks, in any order, more than once


def test_rows_in_any_order_give_the_same_result(folder: Path, tmp_path: Path) -> None:
    """The speed of workers must not matter, not even for which of two equal structures is the first."""

    def scrambled(seed: int) -> list[str]:
        entries = list(found([folder]))
        with Journal(tmp_path / f"out{seed}", run_info(CHEAP, [])) as journal:
            seen: list[str] = []
            ordered = OrderedRows(journal, lambda *_, **__: None, lambda row: seen.append(row.name))
            parts = list(chunks(ordered.unknown(entries), 2, 1))
            random.Random(seed).shuffle(parts)
            for part in parts:
                rows = assess(part.items, CHEAP)
                journal.write(rows)
                ordered.put(rows)
            assert seen == [entry.name for entry in entries]
            return texts(ordered.ranked())

    first = scrambled(0)
    assert first == scrambled(1)
    rows = {row["name"]: row for row in map(json.loads, first)}
    assert "the same structure as set/0.cif" in rows["set/copy.cif"]["candidate"]["verdicts"]["unique"]["reason"]
    assert rows["set/0.cif"]["candidate"]["verdicts"]["unique"]["passed"]


def test_cut_short_and_resumed_no_row_is_lost_or_doubled(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = run([folder], CHEAP, out)
    rows, ranking = (out / "rows.jsonl").read_bytes(), (out / "results.csv").read_bytes()
    assert whole.new == 9
    names = [row.name for row in whole.rows]
    generator = random.Random(0)
    for cut in (0, len(rows) - 1, generator.randrange(len(rows))):
        (out / "rows.jsonl").write_bytes(rows[:cut])
        again = run([folder], CHEAP, out)
        kept = rows[:cut].count(b"\n")
        assert again.new == 9 - kept
        lines = [json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
        assert sorted(line["name"] for line in lines) == sorted(names)
        assert [row.name for row in again.rows] == names
        with pytest.raises(ResumeError, match="written anew"):
            whole.rows[0]
    (out / "rows.jsonl").write_bytes(rows)
    assert run([folder], CHEAP, out).new == 0
    assert (out / "results.csv").read_bytes() == ranking


def test_an_interrupt_keeps_what_is_known(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def impatient(_: Row) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([folder], CHEAP, out, known=impatient)
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    assert len((out / "rows.jsonl").read_text(encoding="utf-8").splitlines()) == 9
    done = run([folder], CHEAP, out)
    assert (done.new, len(done.rows)) == (0, 9)


def test_a_changed_file_is_screened_again_and_a_new_one_is_added(
    folder: Path, some: list[Structure], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run([folder], CHEAP, out)
    (folder / "broken.cif").write_text(cif_text(some[7]), encoding="utf-8")
    (folder / "new.cif").write_text(cif_text(some[8]), encoding="utf-8")
    (folder / "overlap.cif").unlink()
    done = run([folder], CHEAP, out)
    assert done.new == 2
    names = [row.name for row in done.rows]
    assert sorted(names) == sorted(f"set/{n}.cif" for n in (0, 1, 2, 3, 4, 5, "broken", "copy", "new"))
    assert all(row.candidate for row in done.rows)


def test_other_settings_are_refused_in_the_same_folder(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one = folder / "0.cif"
    run([one], CHEAP, out)
    other = ScreenConfig(reference=NONE, known=NONE, max_ehull=0.2)
    with pytest.raises(ResumeError, match=r"max_ehull was 0\.1 and is now 0\.2"):
        run([one], other, out)
    with pytest.raises(ResumeError, match="screen was"):
        run([folder / "1.cif"], CHEAP, out)
    done = run([one], other, out, overwrite=True)
    assert done.new == 1
    (out / "run.json").unlink()
    with pytest.raises(ResumeError, match=r"no run\.json"):
        run([one], other, out)


def test_the_tables_say_the_same_in_all_formats(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run([folder], ScreenConfig(known=NONE, properties={"band_gap": "1.5"}), out)
    parquet = pq.read_table(out / "results.parquet").to_pylist()
    assert parquet == [cells(row) for row in done.rows]
    with (out / "results.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    for line, row in zip(lines, parquet, strict=True):
        assert line == {name: "" if value is None else str(value) for name, value in row.items()}
    records = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row_record(row_of(record)) for record in records] == records
    assert texts(done.rows) == [json.dumps(record) for record in records]


def made(name: str, failed: int, height: float, energy: float) -> Row:
    structure = block(["Cu"], 2.5, [[0, 0, 0]])
    verdicts = {f"check{i}": Verdict(f"check{i}", passed=False, value=0.0, unit="", reason="") for i in range(failed)}
    verdicts["hull"] = Verdict("hull", passed=True, value=height, unit="", reason="")
    candidate = Candidate(name, structure, structure, SpaceGroup(221, "Pm-3m"), energies={"graph": energy})
    return Row(name, "", 0, "", candidate=candidate).with_verdicts(*verdicts.values())


def test_ranking_prefers_fewer_objections_then_stability_then_density() -> None:
    rows = [
        Row("broken", "", 0, "", error="why"),
        made("two", 2, -0.5, -9.0),
        made("one", 1, 0.2, -9.0),
        made("high", 0, 0.09, -9.0),
        made("low", 0, 0.01, 3.0),
        made("same height, denser", 0, 0.01, -3.0),
        made("no height", 0, math.nan, -9.0),
        made("hole", 1, -2.0, -9.0),  # of the potential
    ]
    order = [row.name for row in sorted(rows, key=merit)]
    assert order == ["same height, denser", "low", "high", "no height", "one", "hole", "two", "broken"]
    counter = Counts()
    assert list(counter.counted(rows)) == rows
    counts = counter.summary()
    assert (counts["structures"], counts["broken"], counts["passed"]) == (8, 1, 4)
    assert counts["checks"]["hull"] == {"passed": 7, "of": 7}


# ---------------------------------------------------------------- workers that die


def test_only_the_structure_that_kills_its_workers_is_given_up(some: list[Structure]) -> None:
    """Follow a chunk through deaths: workers with the culprit die, all other structures get through."""
    entries = list(given(some))
    for culprit in (0, 7, 11):
        waiting, through, deaths = [Chunk(tuple(entries))], [], 0
        given_up = []
        while waiting:
            chunk = waiting.pop()
            if entries[culprit] in chunk.items:
                deaths += 1
                rest = chunk.after_death()
                waiting += rest
                given_up += [] if rest else list(chunk.items)
            else:
                through += chunk.items
        assert given_up == [entries[culprit]]
        assert sorted(e.index for e in through) == [i for i in range(12) if i != culprit]
        assert deaths <= math.ceil(math.log2(12)) + TRIES


def screening(out: Path, folder: Path, *options: str) -> subprocess.Popen:
    """A screening in a process of its own, in a session of its own, with all that it starts."""
    command = [sys.executable, "-m", "matgen.cli", "screen", str(folder), "--out", str(out), "--reference", "none"]
    command += ["--known", "none", "--jobs", "2", *options]
    environment = os.environ | {"PYTHONPATH": str(Path(matgen.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True)


def workers_of(process: subprocess.Popen, mark: str) -> list[int]:
    """Processes of its session whose command line has this mark."""
    found_ids = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(entry.name)) == process.pid and mark in (entry / "cmdline").read_text():
                found_ids.append(int(entry.name))
        except (OSError, ProcessLookupError):
            continue
    return found_ids


def when_rows(out: Path, least: int, process: subprocess.Popen, seconds: float = 240.0) -> int:
    """Wait for so many rows on disk."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        rows = (out / "rows.jsonl").read_text().count("\n") if (out / "rows.jsonl").exists() else 0
        if rows >= least:
            return rows
        time.sleep(0.05)
    raise AssertionError(f"not {least} rows in {seconds} s: {process.stderr and process.stderr.read()}")


@pytest.fixture
def many(some: list[Structure], tmp_path: Path) -> Path:
    """A hundred and twenty-eight slightly different crystals."""
    place = tmp_path / "many"
    place.mkdir()
    for index in range(128):
        structure = some[index % 12].copy()
        structure.scale_lattice(structure.volume * (0.95 + 0.0005 * index))
        (place / f"{index:03d}.cif").write_text(cif_text(structure), encoding="utf-8")
    return place


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for workers in /proc")
@pytest.mark.parametrize(
    ("options", "mark"),
    [
        pytest.param((), "worker_process", id="process"),
        pytest.param(("--executor", "local"), "spawn_main", id="parsl_worker"),
        pytest.param(("--executor", "local"), "process_worker_pool.py", id="parsl_manager"),
    ],
)
def test_a_killed_worker_loses_nothing(many: Path, tmp_path: Path, options: tuple[str, ...], mark: str) -> None:
    if options:
        pytest.importorskip("parsl")
    out = tmp_path / "out"
    process = screening(out, many, *options)
    try:
        when_rows(out, 1, process)
        os.kill(max(workers_of(process, mark)), signal.SIGKILL)  # the last one started
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        lines = [json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
        assert sorted(line["name"] for line in lines) == sorted(f"many/{i:03d}.cif" for i in range(128))
        assert not any(line["error"] for line in lines)
    finally:
        with contextlib.suppress(ProcessLookupError):  # a killed manager leaves its worker behind
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_screening_resumes(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = screening(out, many)
    before = when_rows(out, 32, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    process = screening(out, many)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    names = [json.loads(line)["name"] for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(names) == sorted(f"many/{i:03d}.cif" for i in range(128))
    assert f"{128 - before} screened now" in errors


@pytest.mark.slow
def test_two_processes_agree_with_one(many: Path, tmp_path: Path) -> None:
    process = screening(tmp_path / "two", many)
    process.communicate(timeout=600)
    one = run([many], CHEAP, tmp_path / "one")
    lines = (tmp_path / "two" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    two = {row.name: row for row in map(row_of, map(json.loads, lines))}
    assert len(two) == len(one.rows)
    for row in one.rows:
        close(row, two[row.name])


# ---------------------------------------------------------------- library and command


def test_the_library_gives_rows_in_the_order_of_the_input(some: list[Structure]) -> None:
    rows = screen(iter(some[:4]), reference=NONE, known=NONE, properties={"band_gap": 1.5})
    assert [row.name for row in rows] == [f"structure#{i}" for i in range(4)]
    assert sorted(row.rank for row in rows) == [1, 2, 3, 4]
    for row, structure in zip(rows, some[:4], strict=True):
        assert row.candidate is not None
        assert row.candidate.structure.composition.reduced_formula == structure.composition.reduced_formula
    assert matgen.screen is screen


def test_impossible_settings_are_refused_at_once(some: list[Structure], folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ScreenError, match="a mixture"):
        screen([some[0], folder])
    with pytest.raises(ConfigError, match="did you mean max_ehull"):
        screen(some[0], max_hull=0.1)
    with pytest.raises(MissingPathError):
        screen(tmp_path / "nowhere")
    with pytest.raises(ScreenError, match="expected reference as a file"):
        ScreenConfig(reference="nowhere.parquet")
    with pytest.raises(TargetError):
        ScreenConfig(properties={"band_gap": "-3"})
    with pytest.raises(ScreenError, match="jobs of at least 1"):
        screen(some[0], jobs=0)
    foreign = tmp_path / "foreign.parquet"
    Reference("EMT 1", ("a",), ("Cu",), np.array([-1.0]), np.array([0.0]), np.array([True])).save(foreign)
    with pytest.raises(PotentialMismatchError, match="got one by EMT 1"):
        screen(some[0], reference=str(foreign), known=NONE)


def test_a_parsl_configuration_must_be_defined_in_a_file(tmp_path: Path) -> None:
    pytest.importorskip("parsl")
    with pytest.raises(ScreenError, match="a Python file that defines"):
        on_parsl(str(tmp_path / "nowhere.py"), 1, tmp_path)
    (tmp_path / "empty.py").write_text("config = 3\n", encoding="utf-8")
    with pytest.raises(ScreenError, match="got int"):
        on_parsl(str(tmp_path / "empty.py"), 1, tmp_path)


def test_chunks_give_every_worker_something_and_keep_the_order(some: list[Structure]) -> None:
    entries = list(given(some))
    for n, size, jobs in ((12, 4, 2), (12, 32, 2), (12, 32, 5), (1, 32, 2), (0, 32, 2), (12, 1, 3)):
        parts = list(chunks(iter(entries[:n]), size, jobs))
        assert [e for part in parts for e in part.items] == entries[:n]
        assert all(1 <= len(part.items) <= size for part in parts)
        assert len(parts) >= min(n, jobs) or n <= size * jobs


def test_a_resumed_run_has_the_chunks_of_an_undisturbed_one(some: list[Structure], tmp_path: Path) -> None:
    """What is read together determines the last digits of predictions."""
    entries = list(given(some))
    with Journal(tmp_path, run_info(CHEAP, [])) as journal:
        ordered = OrderedRows(journal, lambda *_, **__: None, lambda _: None)
        whole = [part.items for part in unknown_chunks(ordered, chunks(iter(entries), 5, 1))]
        assert [len(part) for part in whole] == [5, 5, 2]
        journal.write([Row(one.name, one.path, one.index, digest(one)) for one in (*whole[0], whole[2][0])])
        again = OrderedRows(journal, lambda *_, **__: None, lambda _: None)
        rest = [part.items for part in unknown_chunks(again, chunks(iter(entries), 5, 1))]
    assert rest == [whole[1], whole[2][1:]]


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["matgen", "screen", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_the_command_prints_a_ranking_or_json(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--reference", "none", "--known", "none", "--jobs", "1"]
    out = str(tmp_path / "out")
    assert called(monkeypatch, str(folder), *common, "--out", out, "--bandgap", ">0") == 0
    shown = capsys.readouterr()
    assert "the best 9 of 9" in shown.out
    assert "set/broken.cif" in shown.out
    assert f"everything is in {out}" in " ".join(shown.err.split())
    assert called(monkeypatch, str(folder), *common, "--out", out, "--bandgap", ">0", "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["name"] for record in records] == [entry.name for entry in found([folder])]
    assert called(monkeypatch, str(folder / "broken.cif"), *common, "--out", str(tmp_path / "other")) == 1
    assert called(monkeypatch, str(folder), *common, "--out", out) == 2
    assert "holds another run" in capsys.readouterr().err
    assert called(monkeypatch, str(tmp_path / "nowhere"), *common) == 2
    assert called(monkeypatch, str(folder), "--relax", "dft", "--out", out) == 2


def test_a_row_that_workers_lose_is_no_success(folder: Path, tmp_path: Path) -> None:
    entries = list(found([folder]))[:4]
    with Journal(tmp_path / "out", run_info(CHEAP, [])) as journal:
        ordered = OrderedRows(journal, lambda *_, **__: None, lambda _: None)
        known = list(ordered.unknown(entries))
        ordered.put([row for row in assess(known, CHEAP) if row.name != entries[1].name])
        with pytest.raises(RuntimeError, match=r"4 structures, got 1; none of \['set/1.cif'\]"):
            ordered.check_complete()


def test_relaxing_a_chunk_gives_what_relaxing_each_alone_gives(some: list[Structure]) -> None:
    config = ScreenConfig(reference=NONE, known=NONE, relax="chgnet")
    heavy = block(["Cm", "O"], 5.0, [[0, 0, 0], [0.5, 0.5, 0.5]])
    overlapping = block(["Na", "Cl"], 5.0, [[0, 0, 0], [0.05, 0, 0]])
    stretched = some[0].copy()
    stretched.scale_lattice(1.04 * stretched.volume)
    rows = assess(list(given([heavy, stretched, overlapping, some[1]])), config)
    assert [row.verdicts["relaxed"].passed for row in rows] == [False, True, False, True]
    assert "overlap" in rows[2].verdicts["relaxed"].reason
    for index, initial in ((1, stretched), (3, some[1])):
        assert rows[index].energy == pytest.approx(relax(initial, chgnet_calculator())[1].energy, abs=2e-3)


def test_workers_here_are_workers(folder: Path) -> None:
    entries = list(found([folder]))
    parts: Iterator[list[Row]] = here([Chunk(tuple(entries[:3])), Chunk(tuple(entries[3:]))], CHEAP)
    assert [row.name for rows in parts for row in rows] == [entry.name for entry in entries]


@pytest.mark.parametrize("device", ["-inf", "gpu", "cuda:", "cuda:x", "", "cpu "])
def test_a_device_that_no_machine_has_is_refused_beside_an_executor(device: str, tmp_path: Path) -> None:
    """Workers may have a GPU that this machine lacks, but none has a device of such a name."""
    with pytest.raises(DeviceError, match="expected a device as cpu, cuda, or cuda:1"):
        matgen.screen(tmp_path, device=device, kind="crystal", executor="local", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
