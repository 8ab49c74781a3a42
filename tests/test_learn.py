"""Learning from verified gaps: inputs that are read or refused, and what learning may change."""

import csv
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SMALL_MODELS
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from test_verify import answering

from matgen import cli
from matgen.first_principles.calculations import CalculationFile, Plan, calculated
from matgen.first_principles.gpaw import FirstPrinciplesConfig
from matgen.learning.calibration import fit_calibration
from matgen.learning.cross_validation import folds, learn
from matgen.learning.gap_errors import Errors
from matgen.learning.labels import Label, Labels, read_labels
from matgen.learning.rows import LabelConfig, LabelError
from matgen.learning.training_rows import LearnConfig
from matgen.nn.ensemble import Ensemble
from matgen.runtime.config import from_mapping
from matgen.screening.config import ScreenConfig, run_info
from matgen.structures.candidate import Candidate, Prediction
from matgen.structures.export import CandidateWriter
from matgen.structures.run_report import RunInfo
from matgen.structures.symmetry import space_group
from matgen.targets.calibration import Calibration
from matgen.targets.distributions import median
from matgen.training.refit import GapHeads, GapLabels
from matgen.weights.files import WEIGHTS, WeightsError, info, save, weights_file
from matgen.weights.kinds import NETWORKS
from matgen.weights.models import load
from matgen.weights.shipped import shipped_hashes
from matgen.workflows.learn import FIGURES, KIND, readable_labels, run

SALTS = [
    Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for cation, anion, a in (
        ("Na", "Cl", 5.64),
        ("K", "Cl", 6.29),
        ("Rb", "Cl", 6.58),
        ("Na", "Br", 5.97),
        ("K", "Br", 6.60),
        ("Rb", "Br", 6.85),
        ("Na", "I", 6.47),
        ("K", "I", 7.07),
        ("Rb", "I", 7.34),
        ("Li", "Cl", 5.13),
        ("Li", "Br", 5.50),
        ("Li", "I", 6.00),
    )
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small untrained ensemble."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    network = NETWORKS[KIND]
    model = network.build(from_mapping(network.config, SMALL_MODELS[KIND]))
    save(model, folder / f"{KIND}.safetensors", kind=KIND, trained_on="nothing", figures={})
    return folder


@pytest.fixture(scope="module")
def model(weights: Path) -> Ensemble:
    found = load(KIND, weights / f"{KIND}.safetensors")
    assert isinstance(found, Ensemble)
    return found


def labelled(structures: list[Structure], gaps: list[float]) -> Labels:
    pairs = zip(structures, gaps, strict=True)
    return Labels(tuple(Label(f"s{i}", one, gap, "a law") for i, (one, gap) in enumerate(pairs)))


def read(model: Ensemble, labels: Labels) -> GapLabels:
    return readable_labels(model, labels, lambda *_, **__: None)[1]


def formulas(structures: list[Structure]) -> list[str]:
    return [one.composition.reduced_formula for one in structures]


def predicted(heads: GapHeads, parameters: Any, labels: GapLabels) -> torch.Tensor:
    return median(heads.mixture(parameters, labels.read, heads.calibration))


# ---------------------------------------------------------------- what learning does


def test_learning_from_nothing_changes_nothing(model: Ensemble) -> None:
    heads = GapHeads(model)
    nothing = read(model, labelled(SALTS[:1], [1.0])).select(torch.zeros(0, dtype=torch.long))
    after = heads.fitted(nothing, penalty=1.0)
    assert all(torch.equal(after[name], value) for name, value in heads.begun.items())


@pytest.mark.parametrize("penalty", [1e5, 1e3, 1e1])
def test_learning_never_makes_what_it_saw_less_likely(model: Ensemble, penalty: float) -> None:
    heads = GapHeads(model)
    labels = read(model, labelled(SALTS, [0.0, 5.0, 0.3, 9.0, 0.0, 1.0, 2.0, 0.0, 4.0, 3.0, 0.0, 7.0]))
    before, after = (heads.losses(p, labels).sum() for p in (heads.begun, heads.fitted(labels, penalty)))
    assert after <= before


def test_a_weaker_penalty_follows_the_labels_more_and_strays_further(model: Ensemble) -> None:
    heads = GapHeads(model)
    labels = read(model, labelled(SALTS, [4.0] * len(SALTS)))
    fits = [heads.fitted(labels, penalty) for penalty in (1e5, 1e4, 1e3, 1e2)]
    losses = [heads.losses(fit, labels).sum().item() for fit in fits]
    strays = [sum((fit[name] - old).square().sum().item() for name, old in heads.begun.items()) for fit in fits]
    assert losses == sorted(losses, reverse=True)
    assert strays == sorted(strays)


@pytest.mark.parametrize("shift", [1.0, -0.5])
def test_results_that_say_more_move_held_out_members_of_the_family_that_way(model: Ensemble, shift: float) -> None:
    heads = GapHeads(model)
    before = predicted(heads, heads.begun, read(model, labelled(SALTS, [1.0] * len(SALTS))))
    labels = read(model, labelled(SALTS, (before + shift).clamp_min(0.05).tolist()))
    seen, held = torch.arange(8), torch.arange(8, 12)
    moved = predicted(heads, heads.fitted(labels.select(seen), 30.0), labels.select(held)) - before[held]
    assert (moved * shift > 0).all()


def test_energies_and_trunk_stay_what_they_were(weights: Path, tmp_path: Path) -> None:
    run(labelled(SALTS, [3.0] * len(SALTS)), tmp_path / "out", LearnConfig(weights))
    old, new = (load(KIND, folder / f"{KIND}.safetensors").state_dict() for folder in (weights, tmp_path / "out"))
    changed = {name.split(".", 2)[2] for name in old if not torch.equal(old[name], new[name])}
    assert changed
    assert all(name.startswith("heads.gap.") or name == "heads.calibration" for name in changed)
    for name in old:
        if name.endswith("calibration"):
            assert torch.equal(old[name][1:], new[name][1:])  # of the other properties


def test_what_is_written_predicts_what_was_learned(weights: Path, tmp_path: Path) -> None:
    labels = labelled(SALTS, [2.0 + 0.1 * i for i in range(len(SALTS))])
    found = run(labels, tmp_path / "out", LearnConfig(weights))
    again = load(KIND, found.path)
    gap = torch.tensor([label.gap for label in labels.labels], dtype=torch.float64)
    read_again = read(again, labels)  # type: ignore[arg-type]
    heads = GapHeads(again)  # type: ignore[arg-type]
    errors = Errors.of(heads.mixture(heads.begun, read_again.read, heads.calibration), gap)
    assert errors.mae == pytest.approx(found.fit.seen_after.mae, abs=0.01)  # half precision on disk
    figures = json.loads((tmp_path / "out" / FIGURES).read_text())
    assert (figures["labels"], figures["formulas"], figures["trusted"]) == (12, 12, True)
    assert figures["held_out"]["after"]["mae"] < figures["held_out"]["before"]["mae"]  # the law is simple
    header = info(KIND, found.path)
    assert "12 gaps (12 by a law)" in header.trained_on
    assert info(KIND, weights / f"{KIND}.safetensors").sha256[:12] in header.trained_on
    assert header.figures["learned_labels"] == 12


def test_the_same_results_teach_the_same(weights: Path, tmp_path: Path) -> None:
    labels = labelled(SALTS[:6], [1.0, 2.0, 0.0, 1.5, 0.0, 2.5])
    paths = (run(labels, tmp_path / name, LearnConfig(weights)).path for name in "ab")
    one, other = (load(KIND, path).state_dict() for path in paths)
    assert all(torch.equal(one[name], value) for name, value in other.items())


def test_training_rows_shown_again_hold_learning_back(weights: Path, prepared_table: Path, tmp_path: Path) -> None:
    labels = labelled(SALTS, [6.0] * len(SALTS))
    found = run(labels, tmp_path / "out", LearnConfig(weights, prepared_table, replay=20, weight=1.0))
    alone = run(labels, tmp_path / "alone", LearnConfig(weights))
    assert found.training[0].n > 0
    assert found.fit.seen_after.nll >= alone.fit.seen_after.nll - 1e-6


def test_few_results_are_not_to_be_trusted_and_one_formula_cannot_be_held_out(weights: Path, tmp_path: Path) -> None:
    found = run(labelled(SALTS[:1], [1.0]), tmp_path / "out", LearnConfig(weights))
    assert not found.trusted
    assert found.fit.before.n == 0
    assert json.loads((tmp_path / "out" / FIGURES).read_text())["held_out"]["before"]["mae"] is None


def test_formulas_are_held_out_as_a_whole() -> None:
    groups = ["NaCl"] * 5 + ["KCl", "KBr", "NaBr"] * 2 + ["LiI"]
    parts = folds(groups, 3)
    assert set(parts.tolist()) == {0, 1, 2}
    where = {group: {int(p) for p, g in zip(parts, groups, strict=True) if g == group} for group in groups}
    assert all(len(found) == 1 for found in where.values())
    assert sorted(torch.bincount(parts).tolist()) == [3, 4, 5]


def test_held_out_errors_are_those_of_weights_that_did_not_see_them(model: Ensemble) -> None:
    """Random gaps cannot be predicted: errors on seen gaps fall below those on held-out ones."""
    noise = (4 * torch.rand(len(SALTS), generator=torch.Generator().manual_seed(1))).tolist()
    labels = read(model, labelled(SALTS, noise))
    nothing = labels.select(torch.zeros(0, dtype=torch.long))
    fit = learn(GapHeads(model), labels, formulas(SALTS), nothing)
    assert fit.after.n == len(SALTS)
    assert fit.after.mae > fit.seen_after.mae


@pytest.mark.parametrize("nll", [math.nan, 1e9])
def test_where_nothing_gets_likelier_heads_and_errors_stay(
    nll: float, model: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "matgen.learning.cross_validation.cross_calibration", lambda *_: (Errors(nll=nll), Calibration(2.0))
    )
    labels = read(model, labelled(SALTS, [1.0] * len(SALTS)))
    heads = GapHeads(model)
    fit = learn(heads, labels, formulas(SALTS), labels.select(torch.zeros(0, dtype=torch.long)))
    assert math.isinf(fit.penalty)
    assert fit.after == fit.before
    assert fit.calibration == heads.calibration
    assert fit.parameters is heads.begun


def test_another_cell_of_a_crystal_is_the_same_label(model: Ensemble) -> None:
    """Parity of electrons is that of the primitive cell; sums over more neighbours differ by rounding."""
    large = SALTS[0].copy()
    large.make_supercell([2, 1, 1])
    one, other = (read(model, labelled([cell], [1.0])).read for cell in (SALTS[0].get_primitive_structure(), large))
    assert torch.allclose(one, other, atol=1e-4)


# ---------------------------------------------------------------- calibration


def test_a_spread_that_is_too_narrow_is_widened_and_metals_shift_the_bias(model: Ensemble) -> None:
    heads, shipped = GapHeads(model), Calibration()
    labels = read(model, labelled(SALTS, [1.0] * len(SALTS)))
    raw = heads.raw(heads.begun, labels.read)
    sharp = replace(raw, scale=torch.full_like(raw.scale, 0.01), zero_logit=torch.full_like(raw.scale, -3.0))
    far = sharp.loc[0] + torch.linspace(-0.5, 0.5, 12).double()
    assert fit_calibration(sharp, far, shipped).temperature > 1.5
    metals = fit_calibration(sharp, torch.where(torch.arange(12) < 8, 0.0, far), shipped)
    assert metals.bias > 0.3
    alone = fit_calibration(sharp, far, shipped)
    assert (alone.slope, alone.bias) == (1.0, 0.0)  # no information on metals
    few = fit_calibration(
        replace(sharp, **{n: getattr(sharp, n)[:, :5] for n in ("loc", "scale", "zero_logit")}),
        torch.zeros(5, dtype=torch.float64),
        shipped,
    )
    assert (few.slope, few.bias) == (1.0, 0.0)  # too few to say


# ---------------------------------------------------------------- what is read


def table(folder: Path, rows: list[dict[str, Any]], name: str = "gaps.csv") -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else ["structure", "band_gap"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def gaps_of(labels: Labels) -> dict[str, float]:
    return {label.structure.composition.reduced_formula: label.gap for label in labels.labels}


EXPECTED = {"NaCl": 5.0, "KCl": 0.0}


@pytest.mark.parametrize("form", ["json", "cif", "path", "beside", "parquet", "extxyz", "jsonl"])
def test_gaps_of_any_table_are_read(form: str, tmp_path: Path) -> None:
    salts = dict(zip(("salt", "sylvite"), SALTS[:2], strict=True))
    gaps = {"salt": 5.0, "sylvite": 0.0}
    for name, one in salts.items():
        if form in {"path", "beside"}:
            one.to(filename=str(tmp_path / f"{name}.cif"))
    if form == "extxyz":
        frames = [AseAtomsAdaptor.get_atoms(one) for one in salts.values()]
        for name, frame in zip(salts, frames, strict=True):
            frame.info["band_gap"] = gaps[name]
        ase.io.write(tmp_path / "gaps.extxyz", frames)
        path = tmp_path / "gaps.extxyz"
    elif form == "jsonl":
        path = tmp_path / "gaps.jsonl"
        lines = [json.dumps({"structure": one.as_dict(), "band_gap": gaps[name]}) for name, one in salts.items()]
        path.write_text("\n".join(lines) + "\n")
    else:
        held: dict[str, Any] = {
            "json": lambda name: {"structure": json.dumps(salts[name].as_dict())},
            "parquet": lambda name: {"structure": json.dumps(salts[name].as_dict())},
            "cif": lambda name: {"cif": salts[name].to(fmt="cif")},
            "path": lambda name: {"path": f"{name}.cif"},
            "beside": lambda _: {},
        }
        rows = [{"name": name, **held[form](name), "band_gap": gaps[name]} for name in salts]
        path = table(tmp_path, rows)
        if form == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / "gaps.parquet")
            path = tmp_path / "gaps.parquet"
        if form == "beside":
            path = tmp_path  # a folder of CIFs with a table beside them
    found = read_labels([path])
    assert gaps_of(found) == EXPECTED
    assert not found.skipped


def verified(folder: Path, structures: list[Structure], scratch: Path) -> Path:
    """Results of `matgen verify`, a gap of 1.25 eV each."""
    folder.mkdir(exist_ok=True)
    file = CalculationFile(folder / "verified.jsonl")
    named = [(f"c{i}", one) for i, one in enumerate(structures)]
    assert len(list(calculated(named, file, Plan(answering(scratch), FirstPrinciplesConfig())))) == len(structures)
    return folder


def test_verified_crystals_stand_beside_their_results(tmp_path: Path) -> None:
    folder = verified(tmp_path / "out", SALTS[:2], tmp_path)
    found = read_labels([folder])
    assert gaps_of(found) == dict.fromkeys(EXPECTED, 1.25)
    assert {label.source for label in found.labels} == {"GPAW 22.8.0 PBE"}
    assert gaps_of(read_labels([folder / "verified.jsonl"])) == gaps_of(found)


def test_predictions_of_a_design_are_never_learned(tmp_path: Path) -> None:
    properties = {"band_gap": Prediction(2.0, 0.1, "eV")}
    with CandidateWriter(tmp_path / "run", RunInfo("1", 0, {})) as writer:
        writer.write(Candidate("a", SALTS[0], SALTS[0], space_group(SALTS[0]), properties=properties))
    for path in (tmp_path / "run", tmp_path / "run" / "candidates.csv", tmp_path / "run" / "candidates.extxyz"):
        with pytest.raises(LabelError, match="matgen verify"):
            read_labels([path])
    verified(tmp_path / "run", SALTS[1:2], tmp_path)
    assert gaps_of(read_labels([tmp_path / "run"])) == {"KCl": 1.25}


def test_results_without_their_crystals_find_them_by_key(tmp_path: Path) -> None:
    folder = verified(tmp_path / "out", SALTS[:2], tmp_path)
    path = folder / "verified.jsonl"
    bare = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in line.items() if k != "structure"}) + "\n" for line in bare))
    with pytest.raises(LabelError, match="name the files that were verified too"):
        read_labels([folder])
    crystals = tmp_path / "crystals"
    crystals.mkdir()
    for i, one in enumerate(SALTS[:2]):
        (crystals / f"{i}.json").write_text(json.dumps(one.as_dict()))
    assert gaps_of(read_labels([folder, crystals])) == dict.fromkeys(EXPECTED, 1.25)


def test_frames_beside_results_are_read_and_need_no_gap_there(tmp_path: Path) -> None:
    folder = verified(tmp_path / "out", SALTS[:1], tmp_path)
    frames = [AseAtomsAdaptor.get_atoms(one) for one in SALTS[1:3]]
    ase.io.write(tmp_path / "bare.extxyz", frames)
    for frame in frames:
        frame.info["band_gap"] = 2.0
    ase.io.write(tmp_path / "gaps.extxyz", frames)
    paths = [folder / "verified.jsonl", tmp_path / "gaps.extxyz", tmp_path / "bare.extxyz"]
    assert gaps_of(read_labels(paths)) == {"NaCl": 1.25, "KCl": 2.0, "RbCl": 2.0}
    assert gaps_of(read_labels([folder, *paths[1:]])) == {"NaCl": 1.25, "KCl": 2.0, "RbCl": 2.0}


def test_a_crystal_of_the_same_name_is_not_that_of_a_result(tmp_path: Path) -> None:
    folder = verified(tmp_path / "out", SALTS[:2], tmp_path)
    path = folder / "verified.jsonl"
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    bare = {name: value for name, value in second.items() if name != "structure"}
    path.write_text(json.dumps(first) + "\n" + json.dumps(bare) + "\n")
    with CandidateWriter(folder, RunInfo("1", 0, {})) as writer:
        writer.write(Candidate("c1", SALTS[5], SALTS[5], space_group(SALTS[5])))
    found = read_labels([folder])
    assert gaps_of(found) == {"NaCl": 1.25}
    [(_, reason)] = found.skipped
    assert "in none of the paths" in reason


def test_results_of_another_functional_or_without_u_are_passed_over(tmp_path: Path) -> None:
    oxide = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.44), ["Mn", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    folder = verified(tmp_path / "out", [SALTS[0], SALTS[1], oxide], tmp_path)
    path = folder / "verified.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["settings"]["xc"] = "HSE06"
    lines[2]["settings"]["hubbard"] = False
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_labels([folder])
    assert list(gaps_of(found)) == ["KCl"]
    reasons = " ".join(reason for _, reason in found.skipped)
    assert "HSE06" in reasons
    assert "Hubbard U of Mn" in reasons


def test_what_is_no_label_is_passed_over_with_its_reason(tmp_path: Path) -> None:
    good, other = (json.dumps(one.as_dict()) for one in SALTS[:2])
    close = json.dumps(SALTS[2].copy().apply_strain(-0.8, inplace=False).as_dict())
    rows = [(good, "1.0"), (other, ""), (other, "-0.5"), (other, "99"), ("data_torn", "1"), (close, "1"), ("", "1")]
    found = read_labels([table(tmp_path, [{"structure": one, "band_gap": gap} for one, gap in rows])])
    assert gaps_of(found) == {"NaCl": 1.0}
    reasons = [reason for _, reason in found.skipped]
    assert len(reasons) == len(rows) - 1
    for words in ("expected a number", "from 0 to 20 eV", "expected a CIF", "Å"):
        assert any(words in reason for reason in reasons)


def test_of_a_crystal_that_comes_twice_the_last_gap_counts(tmp_path: Path) -> None:
    one = json.dumps(SALTS[0].as_dict())
    found = read_labels([table(tmp_path, [{"structure": one, "band_gap": gap} for gap in (1.0, 2.0)])])
    assert gaps_of(found) == {"NaCl": 2.0}


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([{"structure": "x", "gap": 1.0}], {}, "expected a column band_gap in .*structure, gap"),
        ([{"structure": "x", "gap_hse": 1.0}], {"column": "gap_hse"}, "speaks of hse"),
        ([{"structure": "x", "band_gap": 1.0}], {"unit": "Ha"}, "expected gaps in eV, got Ha"),
        ([{"structure": "x", "band_gap": 1.0}], {"functional": "HSE06"}, "--allow-functional"),
        ([{"structure": "x", "band_gap": "nan"}], {}, "found none"),
        ([{"structure": "x", "band_gap": 1.0, "band_gap_spread": 0.1}], {}, "was predicted"),
        ([], {}, "expected rows"),
    ],
)
def test_a_table_that_cannot_be_learned_is_refused(
    rows: list[dict[str, Any]], options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = table(tmp_path, rows)
    with pytest.raises(LabelError, match=words):
        read_labels([path], LabelConfig(**options))


def test_another_functional_is_learned_where_it_is_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path, [{"structure": json.dumps(SALTS[0].as_dict()), "gap_hse": 8.0}])
    config = LabelConfig(column="gap_hse", functional="HSE06", allow_functional=True)
    [label] = read_labels([path], config).labels
    assert (label.gap, label.source) == (8.0, "gaps.csv HSE06")


# ---------------------------------------------------------------- weights of users


def test_a_folder_stands_in_for_what_it_has_and_the_rest_ships(weights: Path, tmp_path: Path) -> None:
    assert weights_file(KIND, weights) == weights / f"{KIND}.safetensors"
    assert weights_file("evaluator", weights) == WEIGHTS / "evaluator.safetensors"
    with pytest.raises(WeightsError, match="expected a folder with weights"):
        weights_file(KIND, tmp_path)
    assert shipped_hashes("crystal", weights)["evaluator"] == shipped_hashes()["evaluator"]


def test_a_folder_that_would_change_nothing_is_refused(weights: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected weights that a design of molecules uses.*molecule_properties"):
        shipped_hashes("molecule", weights)
    with pytest.raises(WeightsError, match="a screening of molecules"):
        run_info(ScreenConfig(kind="molecule", weights=str(weights)), [])


def test_a_run_is_identified_by_the_weights_of_the_user(tmp_path: Path) -> None:
    for name in ("evaluator.safetensors", "hashes.json"):
        (tmp_path / name).write_bytes((WEIGHTS / name).read_bytes())
    assert shipped_hashes("crystal", tmp_path) == shipped_hashes()
    (tmp_path / "evaluator.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="is not the file that was written"):
        shipped_hashes("crystal", tmp_path)
    (tmp_path / "evaluator.safetensors").write_bytes((WEIGHTS / "template_prior.safetensors").read_bytes())
    (tmp_path / "hashes.json").unlink()
    with pytest.raises(WeightsError, match="expected weights of kind evaluator"):
        shipped_hashes("crystal", tmp_path)


def test_what_ships_is_never_overwritten(weights: Path) -> None:
    labels = labelled(SALTS[:1], [1.0])
    for folder in (WEIGHTS, weights):
        with pytest.raises(WeightsError, match="expected a folder of its own"):
            run(labels, folder, LearnConfig(weights))


# ---------------------------------------------------------------- the command


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["matgen", "learn", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_the_command_learns_and_reports(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"structure": json.dumps(one.as_dict()), "band_gap": 4.0} for one in SALTS[:3]]
    path = table(tmp_path, rows)
    arguments = (str(path), "--out", str(tmp_path / "out"), "--weights", str(weights))
    assert called(monkeypatch, *arguments) == 0
    said = capsys.readouterr()
    assert "held out" in said.out
    assert "too few for these figures to be trusted" in said.err
    assert called(monkeypatch, *arguments, "--column", "gapp") == 2
    assert "--column" in capsys.readouterr().err
    assert called(monkeypatch, str(tmp_path / "nowhere"), "--out", str(tmp_path / "o")) == 2


def test_a_crystal_that_the_network_cannot_read_is_left_out(model: Ensemble, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exception of whatever package raised it, and the others are learned."""
    crystals = [Structure(Lattice.cubic(a), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]) for a in (4.0, 4.1, 4.2)]
    labels = Labels(tuple(Label(f"c{i}", one, 1.0 + i, "here") for i, one in enumerate(crystals)))

    def failing(structure: Structure) -> Structure:
        if structure.lattice.a == 4.1:
            raise KeyError("no such crystal")
        return structure

    monkeypatch.setattr("matgen.workflows.learn.primitive_cell", failing)
    kept, read = readable_labels(model, labels, lambda *_, **__: None)
    assert [label.name for label in kept.labels] == ["c0", "c2"]
    assert read.gap.tolist() == [1.0, 3.0]
    assert dict(kept.skipped) == {"c1": "KeyError: 'no such crystal'"}
    with pytest.raises(LabelError, match="c1: KeyError"):
        readable_labels(model, Labels(labels.labels[1:2]), lambda *_, **__: None)
