"""Workflows: decisions and their reasons, runs that survive an interrupt, training and data from end to end."""

import json
import runpy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SMALL_MODELS, TextbookEntry
from finished_units import Offering
from pymatgen.core import Lattice, Structure

import matgen
from matgen.checks.verdicts import validate
from matgen.generation.predictors import EVALUATOR
from matgen.generation.request import Request
from matgen.generation.sampler_settings import Stages
from matgen.nn.ensemble import Ensemble
from matgen.nn.template_prior import TemplatePriorConfig
from matgen.relaxation.config import RelaxConfig
from matgen.runtime.output import OutputError
from matgen.runtime.progress import Silence
from matgen.screening.uniqueness import Uniqueness
from matgen.search.assessment import CrystalAssessment
from matgen.search.rejected import RejectedFile
from matgen.search.search import Search
from matgen.search.selection import CandidateChecks, checked_before_relaxation
from matgen.structures.candidate import Candidate, Prediction, Verdict
from matgen.structures.candidate_files import CandidateFile
from matgen.structures.export import CandidateWriter
from matgen.structures.run_report import ResumeError, RunInfo
from matgen.structures.symmetry import space_group
from matgen.templates.symmetry import NoTemplateError
from matgen.training.config import TrainConfig, train_config
from matgen.training.loop import CheckpointError, Schedule
from matgen.training.run import join, train
from matgen.training.tables import DataError
from matgen.weights.files import WEIGHTS, WeightsError, info, save
from matgen.weights.kinds import KINDS, NETWORKS, USED_BY
from matgen.weights.models import load
from matgen.workflows.data import TABLES, files, prepare_table, table_facts
from matgen.workflows.design import default_folder, identity, run
from matgen.workflows.design_steps import StageClock
from matgen.workflows.train import planned

SHIPPED = all((WEIGHTS / f"{kind}.safetensors").exists() for kind in KINDS)
needs_weights = pytest.mark.skipif(not SHIPPED, reason="not all weights ship yet")


def candidate(name: str, structure: Structure, gap: float = 1.5, evaluated: float = 1.5) -> Candidate:
    """A candidate with a predicted gap and one by the evaluator."""
    gaps = {"band_gap": Prediction(gap, 0.1, "eV"), f"{EVALUATOR}band_gap": Prediction(evaluated, 0.1, "eV")}
    return Candidate(name, structure, structure, space_group(structure), properties=gaps)


@pytest.fixture
def rock_salt() -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def unbalanced() -> Structure:
    """NaCl3 in the Cu3Au arrangement: no oxidation states balance it."""
    return Structure.from_spacegroup("Pm-3m", Lattice.cubic(4.6), ["Na", "Cl"], [[0, 0, 0], [0, 0.5, 0.5]])


# ---------------------------------------------------------------- what decides


def test_the_predictor_decides_and_the_evaluator_only_reports(rock_salt: Structure) -> None:
    book = CandidateChecks.of(Request.of(targets={"band_gap": 1.5}, relax="none"))
    verdicts = validate(candidate("a", rock_salt, gap=1.7, evaluated=3.0), book.checks)
    assert not verdicts["target_evaluator_band_gap"].passed
    assert book.deciding_failure(verdicts) == ""
    missed = validate(candidate("b", rock_salt, gap=1.8, evaluated=1.5), book.checks)
    assert missed["target_evaluator_band_gap"].passed
    assert book.deciding_failure(missed) == "target_band_gap"


def test_a_named_formula_settles_its_charges(unbalanced: Structure) -> None:
    free, named = (
        CandidateChecks.of(Request.of(relax="none")),
        CandidateChecks.of(Request.of(formula="NaCl3", relax="none")),
    )
    assert free.deciding_failure(validate(candidate("a", unbalanced), free.checks)) == "charge_balance"
    verdicts = validate(candidate("a", unbalanced), named.checks)
    assert not verdicts["charge_balance"].passed
    assert named.deciding_failure(verdicts) == ""


def test_named_space_groups_must_be_kept(rock_salt: Structure) -> None:
    for groups, objection in (((225,), ""), ((216, 225), ""), ((216,), "symmetry"), ((194, 227), "symmetry")):
        book = CandidateChecks.of(Request.of(space_groups=groups, relax="none"))
        assert book.deciding_failure(validate(candidate("a", rock_salt), book.checks)) == objection


def test_symmetry_decides_unless_it_was_let_go(rock_salt: Structure) -> None:
    free = RelaxConfig(keep_symmetry=False)
    displaced = rock_salt.copy()
    displaced.translate_sites([0], [0.02, 0.03, 0.05])
    lost = replace(candidate("a", rock_salt), structure=displaced)
    for request, decides in (
        (Request.of(relax="none"), True),
        (Request.of(relax="none", relaxation={"settings": free}), False),
        (Request.of(relax="none", relaxation={"settings": free}, space_groups=(225,)), True),
    ):
        book = CandidateChecks.of(request)
        verdicts = validate(lost, book.checks)
        assert not verdicts["symmetry"].passed
        assert book.deciding_failure(verdicts) == ("symmetry" if decides else "")


def test_an_unrelaxed_candidate_is_turned_away_where_relaxation_was_asked_for(rock_salt: Structure) -> None:
    book = CandidateChecks.of(Request())
    assert book.deciding_failure(validate(candidate("a", rock_salt), book.checks)) == "relaxed"


def test_what_no_relaxation_mends_is_turned_away_first(rock_salt: Structure, unbalanced: Structure) -> None:
    book = CandidateChecks.of(Request.of(targets={"band_gap": 1.5}))
    offered = [
        candidate("gap", rock_salt, gap=4.0),
        candidate("good", rock_salt),
        candidate("charge", unbalanced),
        candidate("again", rock_salt.copy()),
    ]
    kept, dropped = checked_before_relaxation(offered, book.before_relaxing(), Uniqueness())
    assert [c.name for c in kept] == ["good"]
    assert [(c.name, book.deciding_failure(c.verdicts)) for c in dropped] == [
        ("gap", "target_band_gap"),
        ("charge", "charge_balance"),
        ("again", "unique"),
    ]
    assert dropped[2].verdicts["unique"].reason == "the same structure as good"


# ---------------------------------------------------------------- files


def test_candidates_survive_their_file_and_a_cut_line_is_dropped(tmp_path: Path, rock_salt: Structure) -> None:
    file = CandidateFile(tmp_path / "rejected.jsonl")
    assert file.read() == []
    verdict = Verdict("unique", passed=False, value=1.0, unit="", reason="the same")
    file.append(replace(candidate("a", rock_salt), verdicts={"unique": verdict}))
    file.append(candidate("b", rock_salt))
    whole = file.path.read_text()
    file.path.write_text(whole + whole[:40])
    assert [c.name for c in file.read()] == ["a", "b"]
    assert file.path.read_text() == whole
    file.append(candidate("c", rock_salt))
    assert [c.name for c in file.read()] == ["a", "b", "c"]
    assert file.read()[0].verdicts == {"unique": verdict}
    file.path.write_text("{}\n")
    with pytest.raises(ResumeError, match="is damaged"):
        file.read()
    file.remove()
    assert not file.exists()


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path, rock_salt: Structure) -> None:
    with pytest.raises(OutputError, match="choose another folder with --out"):
        CandidateFile(tmp_path / "absent" / "x.jsonl").append(candidate("a", rock_salt))


def test_the_clock_notes_every_stage_with_its_last_counts(tmp_path: Path) -> None:
    heard = Silence()
    with CandidateWriter(tmp_path, RunInfo("0", 0, {})) as writer:
        clock = StageClock(writer, heard)
        clock("propose", 1, 2)
        clock("propose", 2, 2, kept=5)
        clock("relax", 1, 1, kept=3)
        clock.close()
        clock.add({"rank": 1.25})
        clock.add({"rank": 0.5})
    stages = json.loads((tmp_path / "run.json").read_text())["stages"]
    assert [(stage["name"], stage["counts"]) for stage in stages] == [*heard.counts.items(), ("rank", {})]
    assert stages[-1]["seconds"] == 1.75
    assert heard.counts["propose"] == {"done": 2, "total": 2, "kept": 5}


# ---------------------------------------------------------------- the search


class _Blind:
    """A predictor that finds no symmetry, as where a relaxation ended in a heap."""

    def of_structure(self, *_: object) -> dict:
        raise NoTemplateError("the symmetry could not be found")


def test_what_cannot_be_described_is_turned_away_and_stays_so(tmp_path: Path, rock_salt: Structure) -> None:
    heap = Structure(Lattice.cubic(6), ["Na", "Na"], [[0, 0, 0], [0, 0, 0]])
    offered = [candidate("heap", heap), candidate("blurred", rock_salt)]
    request = Request.of(relax="none")
    blind = CrystalAssessment(request, _Blind(), None, CandidateChecks.of(request))  # type: ignore[arg-type]
    unit = Offering(request, [offered], blind).made(0)
    with CandidateWriter(tmp_path, RunInfo("0", 0, {})) as writer:
        search = Search.resumed(request, writer, lambda _: None)
        search.take(unit, Silence())
        assert search.tally == {"min_distance": 1, "symmetry": 1}
    reasons = [next(iter(c.verdicts.values())).reason for c in RejectedFile(tmp_path).read()]
    assert "overlap" in reasons[0]
    assert "could not be found" in reasons[1]
    with CandidateWriter(tmp_path, RunInfo("0", 0, {})) as writer:
        again = Search.resumed(request, writer, lambda _: None)
        again.take(unit, Silence())
        assert again.tally == search.tally
    assert len(RejectedFile(tmp_path).read()) == 2


# ---------------------------------------------------------------- whole runs

SMALL = Request.of(
    targets={"band_gap": "1:2.5"}, max_atoms=6, n=2, relax="none", over_generation=6, rounds=2, seed=3, processes=1
)


class _Stop:
    """Interrupts, as Ctrl-C does, when it hears of the first candidate."""

    def __call__(self, _: Candidate) -> None:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run."""
    folder = tmp_path_factory.mktemp("finished")
    run(SMALL, folder)
    return folder


@needs_weights
@pytest.mark.slow
def test_a_run_accounts_for_every_proposal(finished: Path) -> None:
    outcome = run(SMALL, finished)  # finds it finished
    assert len(outcome.candidates) <= outcome.requested == 2
    assert len(outcome.candidates) == 2 or outcome.reason.startswith(f"found {len(outcome.candidates)} of 2")
    assert outcome.proposals == len(outcome.candidates) + sum(outcome.rejected.values())
    turned_away = RejectedFile(finished).read()
    assert len(turned_away) == sum(outcome.rejected.values())
    assert all(not all(v.passed for v in c.verdicts.values()) for c in turned_away)
    report = json.loads((finished / "run.json").read_text())
    assert report["status"] == "finished"
    assert report["version"] == matgen.__version__
    assert set(USED_BY["crystal"]) < set(report["weights"])
    assert report["configuration"]["targets"] == {"band_gap": "1:2.5"}
    assert {"propose", "rank"} <= {stage["name"] for stage in report["stages"]}
    for found in outcome.candidates:
        assert 1 <= found.properties["band_gap"].value <= 2.5
        assert f"{EVALUATOR}band_gap" in found.properties
        assert found.energies
        assert (finished / "cif" / f"{found.name}.cif").exists()


@needs_weights
@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_end(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, tmp_path, found=_Stop())
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    assert len((tmp_path / "candidates.jsonl").read_text().splitlines()) == 1
    run(SMALL, tmp_path)
    for name in ("candidates.jsonl", "rejected.jsonl"):  # one seed, one result, however often it was interrupted
        first, second = (folder / name for folder in (finished, tmp_path))
        assert first.exists() == second.exists()
        assert not first.exists() or first.read_text() == second.read_text()


@needs_weights
@pytest.mark.slow
def test_another_request_does_not_mix_with_a_run(finished: Path) -> None:
    with pytest.raises(ResumeError, match="holds another run"):
        run(SMALL.updated(seed=4), finished)
    assert default_folder(SMALL) != default_folder(replace(SMALL, stages=Stages(mala=False)))
    assert default_folder(SMALL) == default_folder(replace(SMALL))


@needs_weights
def test_effort_is_no_part_of_what_identifies_a_run() -> None:
    request = Request.of(band_gap=1.5)
    for effort in (
        {"budget": 1.0},
        {"rounds": 2},
        {"processes": 1},
        {"executor": "local"},
        {"verify": 3},
        {"verify_minutes": 1.0},
    ):
        assert identity(request.updated(**effort)) == identity(request)
        assert default_folder(request.updated(**effort)) == default_folder(request)
    for other in ({"n": 3}, {"confidence": 0.5}, {"device": "cpu", "max_atoms": 8}, {"sampler": {"levels": 3}}):
        assert identity(request.updated(**other)) != identity(request)


@needs_weights
def test_another_run_is_told_apart_setting_by_setting(tmp_path: Path) -> None:
    request = Request.of(band_gap=1.5, relax="none")
    with CandidateWriter(tmp_path, identity(request)):
        pass
    other = request.updated(n=3, sampler={"levels": 3})
    with pytest.raises(ResumeError, match=r"sampler\.levels was 6 and is now 3, search\.n was 10 and is now 3;"):
        CandidateWriter(tmp_path, identity(other)).__enter__()


@needs_weights
@pytest.mark.slow
def test_the_library_returns_candidates() -> None:
    found = matgen.design(formula="NaCl", n=1, relax="none", max_atoms=4)
    assert all(c.structure.composition.reduced_formula == "NaCl" for c in found)
    assert all(c.energies and c.properties and c.verdicts for c in found)
    with pytest.raises(ValueError, match=r"did you mean band_gap\?"):
        matgen.design(band_gp=1.0)


# ---------------------------------------------------------------- training


QUICK = "template_prior"
KIND_BY_KIND = [pytest.param(kind, marks=() if kind == QUICK else pytest.mark.slow) for kind in SMALL_MODELS]


@pytest.mark.parametrize("kind", KIND_BY_KIND)
def test_every_kind_trains_from_a_configuration_and_goes_on(kind: str, prepared_table: Path, tmp_path: Path) -> None:
    schedule = {"steps": 2, "batch_size": 8, "warmup": 1, "log_every": 1, "validate_every": 2}
    raw = {
        "kind": kind,
        "model": SMALL_MODELS[kind],
        "data": str(prepared_table),
        "folder": str(tmp_path),
        "schedule": schedule,
    }
    first = train(train_config(raw))
    assert first.path == tmp_path / f"{kind}.safetensors"
    assert all(np.isfinite(value) for value in first.figures.values())
    found = info(kind, first.path)
    assert found.figures == pytest.approx(first.figures)
    assert "rows of the split `train`" in found.trained_on
    heard: list[dict] = []
    train(train_config(raw | {"schedule": schedule | {"steps": 4}}), report=heard.append)
    assert [line["step"] for line in heard if "loss" in line] == [3, 4]
    config = load(kind, first.path).config
    if kind == "geometry_density":  # the training crystals say what is known
        assert config.known_layouts > 0
        config = replace(config, known_layouts=0, known_parameters=0)
    assert config == train_config(raw).model


def begun(folder: Path, table: Path, steps: int, **more: object) -> TrainConfig:
    schedule = Schedule(steps=steps, batch_size=8, warmup=1, log_every=1, validate_every=1, learning_rate=1e-6)
    raw = {"kind": QUICK, "model": SMALL_MODELS[QUICK], "data": str(table), "folder": str(folder)}
    return replace(train_config(raw), schedule=schedule, **more)


def test_training_begins_from_given_weights_and_says_so_however_it_goes_on(
    prepared_table: Path, tmp_path: Path
) -> None:
    first = train(begun(tmp_path / "first", prepared_table, 1))
    second = train(begun(tmp_path / "second", prepared_table, 1, init=first.path))
    # One step at a rate of 1e-6 leaves the average where it began, up to float16.
    one, other = (load(QUICK, path).state_dict() for path in (first.path, second.path))
    assert all(torch.allclose(one[name], other[name], atol=1e-3) for name in one)
    origin = f"begun from {QUICK}.safetensors {info(QUICK, first.path).sha256[:12]}"
    assert origin in info(QUICK, second.path).trained_on
    again = train(begun(tmp_path / "second", prepared_table, 2))
    assert origin in info(QUICK, again.path).trained_on
    with pytest.raises(DataError, match="began from random numbers; choose another --folder"):
        train(begun(tmp_path / "first", prepared_table, 2, init=second.path))


def test_weights_of_another_size_are_no_beginning(prepared_table: Path, tmp_path: Path) -> None:
    first = train(begun(tmp_path / "first", prepared_table, 1))
    wider = replace(begun(tmp_path / "wider", prepared_table, 1, init=first.path), model=TemplatePriorConfig(width=36))
    with pytest.raises(DataError, match=r"holds .* of size .*, expected .*; give \[model\] the sizes of that file"):
        train(wider)


def test_shipped_configurations_are_found_by_name(tmp_path: Path) -> None:
    for kind in NETWORKS:
        plan = planned(kind, data=Path("x.npz"), folder=tmp_path, minutes=1.5)
        assert (plan.kind, plan.data, plan.run_folder, plan.schedule.minutes) == (kind, Path("x.npz"), tmp_path, 1.5)
        assert plan.weights_file == tmp_path / f"{kind}.safetensors"  # a trial leaves what ships alone
        assert planned(kind, weights=Path("w.safetensors")).weights_file == Path("w.safetensors")


@pytest.mark.parametrize("option", ["folder", "weights"])
def test_a_folder_that_takes_no_files_is_told_before_training(
    option: str, prepared_table: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    places = {"folder": tmp_path / "runs", "weights": tmp_path / "w.safetensors"}
    places[option] = tmp_path / "file" / "w.safetensors"
    with pytest.raises(OutputError, match=f"choose another place with --{option}"):
        train(replace(planned(QUICK, data=prepared_table, minutes=0.1), **places))


def test_a_checkpoint_of_another_size_is_told(prepared_table: Path, tmp_path: Path) -> None:
    schedule = {"steps": 1, "batch_size": 4}
    raw = {
        "kind": QUICK,
        "model": SMALL_MODELS[QUICK],
        "data": str(prepared_table),
        "folder": str(tmp_path),
        "schedule": schedule,
    }
    train(train_config(raw))
    with pytest.raises(CheckpointError, match="of a model of another size"):
        train(train_config(raw | {"model": SMALL_MODELS[QUICK] | {"width": 32}}))


@pytest.mark.parametrize("content", [b"", b"no table", b"PK\x03\x04 cut"])
def test_a_damaged_table_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(DataError, match="is not a prepared table"):
        train(replace(planned(QUICK), data=tmp_path / "t.npz", folder=tmp_path))


# ---------------------------------------------------------------- ensembles of members trained apart

APART = "template_properties"


def ensemble(folder: Path, seed: int, members: int = 1, kind: str = APART, **sizes: int) -> Path:
    """A file of fresh networks."""
    torch.manual_seed(seed)
    config = train_config({"kind": kind, "model": SMALL_MODELS[kind] | {"members": members} | sizes}).model
    path = folder / f"{kind}-{seed}-{members}.safetensors"
    return save(NETWORKS[kind].build(config), path, kind=kind, trained_on="nothing", figures={})


def joined(files: Sequence[Path], table: Path, out: Path) -> Ensemble:
    return load(APART, join(TrainConfig(APART, data=table, weights=out), files).path)


def calibration_of(whole: Ensemble) -> torch.Tensor:
    """That of all members, which is one."""
    (first, *rest) = [member.heads.calibration for member in whole.members]
    assert all(torch.equal(first, other) for other in rest)
    return first


def test_a_joined_ensemble_has_the_members_of_all_files_calibrated_together(
    prepared_table: Path, tmp_path: Path
) -> None:
    one, two = ensemble(tmp_path, 0), ensemble(tmp_path, 1, members=2)
    heard: list[dict] = []
    config = TrainConfig(APART, data=prepared_table, weights=tmp_path / "new" / "whole.safetensors")
    found = join(config, [one, two], report=heard.append)
    assert heard == [{"weights": str(found.path), **found.figures}]
    assert info(APART, found.path).trained_on.endswith("members trained apart")
    whole = load(APART, found.path)
    assert whole.config.members == len(whole.members) == 3
    apart = [member for path in (one, two) for member in load(APART, path).members]
    for mine, given in zip(whole.members, apart, strict=True):
        trained = dict(given.named_parameters())
        assert all(torch.equal(value, trained[name]) for name, value in mine.named_parameters())
    # The order of files is none of the mixture's business, up to how its optimiser rounds.
    torch.testing.assert_close(
        calibration_of(joined([two, one], prepared_table, tmp_path / "turned.safetensors")),
        calibration_of(whole),
        rtol=1e-3,
        atol=1e-3,
    )
    # A mixture of equals is each of them; with another member it is not.
    alone, twice = (joined([one] * n, prepared_table, tmp_path / f"{n}.safetensors") for n in (1, 2))
    torch.testing.assert_close(calibration_of(twice), calibration_of(alone), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(calibration_of(whole), calibration_of(alone), rtol=1e-3, atol=1e-3)


def test_only_ensembles_of_networks_of_one_size_are_joined(prepared_table: Path, tmp_path: Path) -> None:
    one, wider = ensemble(tmp_path, 0), ensemble(tmp_path, 1, hidden=24)
    out = tmp_path / "whole.safetensors"
    with pytest.raises(DataError, match=r"expected networks of one size, .*train them alike"):
        joined([one, wider], prepared_table, out)
    with pytest.raises(DataError, match="got 0 of kind"):
        joined([], prepared_table, out)
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors"):
        joined([one, tmp_path / "nowhere.safetensors"], prepared_table, out)
    with pytest.raises(DataError, match="a prepared table at"):
        joined([one], tmp_path / "nowhere.npz", out)
    alone = ensemble(tmp_path, 2, kind="structure_properties")
    with pytest.raises(WeightsError, match="structure_properties"):
        joined([one, alone], prepared_table, out)
    single = tmp_path / "prior.safetensors"
    save(NETWORKS[QUICK].build(begun(tmp_path, prepared_table, 1).model), single, kind=QUICK, trained_on="", figures={})
    with pytest.raises(DataError, match=f"got 1 of kind {QUICK}"):
        join(TrainConfig(QUICK, data=prepared_table, weights=out), [single])
    assert not out.exists()


def test_evaluators_are_joined_where_none_was_trained(
    prepared_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where no folder of a training lies
    files = [ensemble(tmp_path, seed, kind="evaluator") for seed in range(2)]
    found = join(TrainConfig("evaluator", data=prepared_table, weights=tmp_path / "whole.safetensors"), files)
    assert len(load("evaluator", found.path).members) == 2


def test_the_script_that_joins_looks_for_the_table_of_the_kind(
    prepared_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = runpy.run_path(str(Path(__file__).resolve().parents[1] / "scripts" / "build" / "build_ensemble.py"))["main"]
    monkeypatch.chdir(tmp_path)
    files = [str(ensemble(tmp_path, seed)) for seed in range(2)]
    monkeypatch.setattr("sys.argv", ["", APART, *files, "--out", "whole.safetensors", "--data", str(prepared_table)])
    main()
    assert len(load(APART, tmp_path / "whole.safetensors").members) == 2
    config = NETWORKS["molecule_properties"].config(width=8, layers=1, hidden=8)
    kind, path = "molecule_properties", tmp_path / "of_molecules.safetensors"
    save(NETWORKS[kind].build(config), path, kind=kind, trained_on="nothing", figures={})
    monkeypatch.setattr("sys.argv", ["", kind, str(path), "--out", "whole.safetensors"])
    with pytest.raises(DataError, match=r"molecules\.npz"):
        main()


# ---------------------------------------------------------------- data


def test_a_table_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "crystals").mkdir()
    for name in TABLES:  # unreadable: nothing may be read before the complaint
        (tmp_path / "crystals" / name).write_text("")
    with pytest.raises(DataError, match=r"ends in \.npz"):
        prepare_table(tmp_path, tmp_path / "table.parquet")
    with pytest.raises(OutputError, match="choose another place with --out"):
        prepare_table(tmp_path, tmp_path / "crystals" / TABLES[0] / "table.npz")


@pytest.mark.slow  # its processes import everything anew
def test_tables_are_prepared_and_described(textbook: tuple[TextbookEntry, ...], tmp_path: Path) -> None:
    entries = textbook[:6]
    rows = [
        {
            "material_id": entry.file,
            "cell": list(entry.structure.lattice.parameters),
            "frac": entry.structure.frac_coords.ravel().tolist(),
            "Z": list(entry.structure.atomic_numbers),
            "band_gap": entry.band_gap,
            "e_form": -1.0,
            "e_form_src": "mp20_2021",
            "ehull": None,
            "split": "train",
            "mp20_split": None,
            "volume_ratio": 1.0,
        }
        for entry in entries
    ]
    folder = tmp_path / "crystals"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "mp24_le20.parquet")
    energies = {"material_id": [entries[0].file], "chgnet_energy": [-3.0]}
    pq.write_table(pa.Table.from_pydict(energies), folder / "chgnet_energies.parquet")
    shown: list[int] = []

    def counted(items: Iterator) -> Iterator:
        for item in items:
            shown.append(1)
            yield item

    progress: Callable = counted
    found = prepare_table(tmp_path, tmp_path / "cache" / "table.npz", progress=progress)
    assert (found.rows, len(shown), sum(found.failures.values())) == (6, 6, 0)
    facts = table_facts(found.path)
    assert facts.rows == 6
    assert facts.labels["chgnet_energy"] == 1
    assert facts.labels["energy_above_hull"] == 0
    assert facts.splits == {"train": 6, "val": 0, "test": 0, "none": 0}
    assert [fact.rows for fact in files(tmp_path)] == [1, 6]
    with pytest.raises(DataError, match="got the folder"):
        prepare_table(tmp_path, tmp_path)
