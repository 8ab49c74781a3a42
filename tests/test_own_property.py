"""A property of one's own: read from a table, fitted on frozen embeddings, and used as a target."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer
from conftest import TEXTBOOK, TextbookEntry
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from test_cli import called

from matgen import cli
from matgen.generation.request import Request
from matgen.learning.columns import Column, Conversion, read_column
from matgen.learning.own_property import fits, scale_of
from matgen.learning.rows import LabelError
from matgen.screening.crystals import primitive_cell
from matgen.structures.conversion import state_of
from matgen.structures.files import MissingPathError
from matgen.targets.distributions import median
from matgen.templates.batch import TemplateBatch
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.symmetry import NoTemplateError
from matgen.training.embedding_heads import FOLDS, PENALTIES, _ridge_path, covered, fit_ridge, folds, mixture
from matgen.weights.files import WEIGHTS, WeightsError
from matgen.weights.kinds import KINDS
from matgen.weights.models import load
from matgen.weights.property_files import SHIPPED_FILE, read_property_file
from matgen.weights.property_sets import predicted_by, with_heads
from matgen.workflows import property as workflow
from matgen.workflows.property import _check_unit, checked_name, run

needs_weights = pytest.mark.skipif(
    not all((WEIGHTS / f"{kind}.safetensors").exists() for kind in KINDS), reason="not all weights ship yet"
)

DOUBLE = torch.float64


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- regression


@pytest.mark.parametrize("n", [12, 80])  # fewer and more rows than features
def test_ridge_regression_solves_its_normal_equations(n: int) -> None:
    features, labels = random(2, n, 30), random(n, seed=1)
    for one in _ridge_path(features, labels, (0.3, 30.0)):
        for member in range(2):
            x = (features[member] - features[member].mean(0)).numpy()
            y = (labels - labels.mean()).numpy()
            exact = np.linalg.solve(x.T @ x + one.penalty * np.eye(30), x.T @ y)
            assert one.weight[member].tolist() == pytest.approx(exact.tolist(), abs=1e-9)
        assert one.predict(features).mean(1).tolist() == pytest.approx([float(labels.mean())] * 2, abs=1e-9)


def test_rows_of_one_formula_are_held_out_together_in_even_folds() -> None:
    groups = [f"f{i % 23}" for i in range(100)]
    fold = folds(groups, FOLDS, seed=3)
    assert {len({int(f) for f, g in zip(fold, groups, strict=True) if g == name}) for name in set(groups)} == {1}
    sizes = torch.bincount(fold)
    assert len(sizes) == FOLDS
    assert int(sizes.max() - sizes.min()) <= 5  # rows of one formula
    assert torch.equal(fold, folds(groups, FOLDS, seed=3))


def test_what_is_linear_is_learned_and_noise_is_not() -> None:
    signal, groups = random(120, 40), [str(i) for i in range(120)]
    features = signal + 0.1 * random(4, 120, 40, seed=3)  # each member sees the signal with noise of its own
    truth = signal @ random(40, seed=5)
    truth = truth / truth.std()
    learned, noise = fits(features, truth, groups), fits(features, random(120, seed=9), groups)
    assert learned.curve[-1][1] < 0.3 * float((truth - truth.mean()).abs().mean())  # the noise alone costs a tenth
    assert noise.ridge.penalty >= 100 * learned.ridge.penalty or noise.ridge.penalty == PENALTIES[-1]
    assert [n for n, _ in learned.curve] == sorted({n for n, _ in learned.curve})  # more rows each time
    assert learned.curve[0][1] > learned.curve[-1][1]


def test_the_scale_is_the_one_that_covers_held_out_rows() -> None:
    labels, predicted = random(4000, seed=2), torch.zeros(4, 4000, dtype=DOUBLE)
    for spread in (0.3, 1.0):
        scale = scale_of(predicted, spread * labels)
        assert scale == pytest.approx(spread * 0.575, rel=0.1)  # of the logistic nearest to a Gaussian; a grid of 6 %
        assert covered(predicted, torch.full_like(predicted, scale), spread * labels) == pytest.approx(0.9, abs=0.02)
    apart = predicted + torch.tensor([-1.0, -0.5, 0.5, 1.0], dtype=DOUBLE)[:, None]
    assert float(mixture(apart, torch.full_like(apart, 0.1)).summary().epistemic[0]) == pytest.approx(0.79, abs=0.01)


def test_a_rate_of_penalties_is_tried_and_the_best_on_held_out_groups_is_taken() -> None:
    features, groups = random(1, 60, 10), [str(i) for i in range(60)]
    exact = features[0] @ random(10, seed=1)
    assert fit_ridge(features, exact, groups).penalty == PENALTIES[0]
    assert fit_ridge(features, random(60, seed=4), groups).penalty > 10


# ---------------------------------------------------------------- tables


def table(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "mine.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def rows(textbook: tuple[TextbookEntry, ...]) -> list[tuple[str, float]]:
    """Names of files and the volume per atom."""
    return [(one.file, one.structure.volume / len(one.structure)) for one in textbook]


def lines(rows: list[tuple[str, float]], value: str = "{v}") -> str:
    return "\n".join(["file,my volume", *(f"{file},{value.format(v=v)}" for file, v in rows)]) + "\n"


def test_all_formats_give_the_same_samples(
    textbook: tuple[TextbookEntry, ...], rows: list[tuple[str, float]], tmp_path: Path
) -> None:
    some, pairs = textbook[:25], rows[:25]
    by_name = "\n".join(["name,my volume", *(f"{Path(file).stem},{v}" for file, v in pairs)])
    asked = [
        Column(table(tmp_path / "files", lines(pairs)), "my volume", TEXTBOOK),
        Column(table(tmp_path / "names", by_name), "my volume", TEXTBOOK),
    ]
    held = {"structure": [json.dumps(one.structure.as_dict()) for one in some], "my volume": [v for _, v in pairs]}
    pq.write_table(pa.table(held), tmp_path / "mine.parquet")
    frames = [AseAtomsAdaptor.get_atoms(one.structure, msonable=False) for one in some]
    for frame, (_, v) in zip(frames, pairs, strict=True):
        frame.info = {"volume_of_mine": v}
    ase.io.write(tmp_path / "mine.extxyz", frames, format="extxyz")
    asked += [Column(tmp_path / "mine.parquet", "my volume"), Column(tmp_path / "mine.extxyz", "volume_of_mine")]
    found = [read_column(one) for one in asked]
    assert {one.kind for one in found} == {"crystal"}
    for one in found:
        assert [s.value for s in one.samples] == pytest.approx([v for _, v in pairs])
        assert [s.group for s in one.samples] == [s.group for s in found[0].samples]


def test_units_are_converted() -> None:
    assert Conversion.of("mS/cm", "S/m")(1.0) == pytest.approx(0.1)
    assert Conversion.of("degC", "K")(25.0) == pytest.approx(298.15)
    assert Conversion.of("", "K")(25.0) == 25.0
    for source, target in (("eV", "K"), ("bananas", "K"), ("S/cm", "")):
        with pytest.raises(LabelError, match="converts to"):
            Conversion.of(source, target)
    for wrong in ("S/(", "$", "'", "S^^", "S/cm**", "1/0"):
        for source, target in ((wrong, "K"), ("K", wrong)):
            with pytest.raises(LabelError, match="converts to"):
                Conversion.of(source, target)
    with pytest.raises(LabelError, match="plain text"):
        Conversion.of("", "K\x1b[31m")


def test_rows_that_are_left_out_late_count_too(
    rows: list[tuple[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fitted to fewer rows than the least, whatever the reason that others are left out."""

    def without(_: object) -> None:
        raise NoTemplateError

    monkeypatch.setattr(workflow, "described", without)
    asked = Column(table(tmp_path, lines(rows)), "my volume", TEXTBOOK)
    with pytest.raises(LabelError, match=r"at least 20 rows .* got 0 .*symmetry"):
        run(asked, tmp_path / "a.safetensors")


def bad(name: str, rows: list[tuple[str, float]], folder: Path) -> Column:
    """A table that nothing can be learned from."""
    texts = {
        "no column": lines(rows).replace("my volume", "volume"),
        "text": lines(rows).replace(f"{rows[3][1]}", "large"),
        "ten rows": lines(rows[:10]),
        "equal": lines(rows, "7.5"),
        "not positive": lines(rows).replace(f"{rows[3][1]}", "-2"),
        "no files": lines(rows).replace(".cif", ".none"),
        "empty": "",
        "infinite": lines(rows).replace(f"{rows[3][1]}", "inf"),
        "huge": lines(rows).replace(f"{rows[3][1]}", "1e300"),
        "binary": "\x00\x01,\x02\n\x03,\x04\n",
        "no values": lines(rows, ""),
    }
    text = texts.get(name, lines(rows))
    asked = Column(table(folder, text), "my volume", TEXTBOOK, logarithmic=name == "not positive")
    changed = {"folder": folder / "nowhere"}
    return Column(asked.table, asked.column, changed.get(name, TEXTBOOK), logarithmic=asked.logarithmic)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no column", "expected a column my volume"),
        ("text", "expected numbers .* got 'large' in mine.csv#3"),
        ("ten rows", "at least 20 rows to learn from, got 10"),
        ("equal", "expected different numbers"),
        ("not positive", "expected positive numbers with --log, got -2"),
        ("no files", "at least 20 rows to learn from, got 0"),
        ("empty", "expected a column"),
        ("infinite", "got 'inf' in mine.csv#3"),
        ("huge", "1e.300 in mine.csv#3"),
        ("binary", "characters that are no text"),
        ("no values", "got 0 .*no value"),
    ],
)
def test_what_cannot_be_learned_from_is_told_in_one_line(
    name: str, message: str, rows: list[tuple[str, float]], tmp_path: Path
) -> None:
    with pytest.raises(LabelError, match=message) as error:
        read_column(bad(name, rows, tmp_path))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_missing_folders_and_foreign_files_are_told(rows: list[tuple[str, float]], tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="not there"):
        read_column(bad("folder", rows, tmp_path))
    (tmp_path / "mine.docx").write_text("volume")
    with pytest.raises(LabelError, match="expected a table"):
        read_column(Column(tmp_path / "mine.docx", "volume"))


def test_broken_structures_are_counted_by_reason(rows: list[tuple[str, float]], tmp_path: Path) -> None:
    (tmp_path / "broken.cif").write_text("data_nothing\n")
    Structure(np.eye(3) * 4, ["Na", "Cl"], [[0, 0, 0], [0.01, 0, 0]]).to(filename=str(tmp_path / "near.cif"))
    for file, _ in rows[:30]:
        (tmp_path / file).write_bytes((TEXTBOOK / file).read_bytes())
    more = [*rows[:30], ("broken.cif", 1.0), ("near.cif", 1.0), ("none.cif", 2.0), ("none.cif", 3.0)]
    found = read_column(Column(table(tmp_path, lines(more)), "my volume"))
    assert len(found.samples) == 30
    assert sorted(found.skipped.values()) == [1, 1, 2]
    assert found.skipped["with overlapping atoms"] == 1


@pytest.mark.parametrize(
    "name", ["band_gap", "ehull", "hardness", "formula", "n", "energy_graph", "hue_spread", "3", "°", ""]
)
def test_a_name_that_is_taken_or_none_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="expected a name"):
        checked_name(name)
    assert checked_name("ionic conductivity") == "ionic_conductivity"


# ---------------------------------------------------------------- from table to target


@needs_weights
def test_measured_gaps_are_learned_and_become_a_target(
    textbook: tuple[TextbookEntry, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "measured.safetensors"
    command = ["train", "property", "--table", str(TEXTBOOK / "index.csv"), "--column", "band_gap"]
    code = called(monkeypatch, *command, "--name", "measured_gap", "--unit", "eV", "--out", str(out))
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert "left out: no value" in shown.err
    read = read_property_file(out)
    one = read.learned["measured_gap"]
    held_out = one.figures["held_out"]["structure_properties"]
    assert held_out["mae"] < 0.6 * held_out["mean"]
    assert held_out["mae"] < held_out["forest"]
    assert 0.75 < held_out["coverage"] < 1.0
    known = [entry for entry in textbook if entry.band_gap is not None]
    assert one.figures["rows"] == len(known)
    model = with_heads(load("structure_properties"), "structure_properties", [read])
    with torch.no_grad():
        found = model(state_of([primitive_cell(entry.structure) for entry in known]))["measured_gap"]
    errors = (median(found) - torch.tensor([entry.band_gap for entry in known])).abs()
    assert float(errors.mean()) < held_out["mae"]  # these rows were seen
    asked = Request.of(measured_gap=3, with_files=[str(out)])
    assert asked.property_targets[0].asked.unit == "eV"
    assert Request.of(measured_gap=900, with_files=[str(out)]).warnings


@needs_weights
def test_molecules_have_columns_too(tmp_path: Path) -> None:
    smiles = [f"{'C' * n}{end}" for n in range(1, 7) for end in ("O", "N", "F", "=O", "#N")]
    lines_of = ["smiles,boiling", *(f"{one},{20.0 * len(one) + 10 * ('O' in one)}" for one in smiles)]
    trained = run(Column(table(tmp_path, "\n".join(lines_of)), "boiling", unit="K"), tmp_path / "b.safetensors")
    assert trained.kind == "molecule"
    assert trained.rows == len(smiles)
    found = trained.errors["molecule_properties"]
    assert found.mae < 0.5 * found.mean
    asked = Request.of(kind="molecule", boiling="<90", with_files=[str(trained.file.path)])
    assert [target.name for target in asked.property_targets] == ["boiling"]
    index = Column(table(tmp_path, "\n".join(lines_of)), "boiling", logarithmic=True)
    log = run(index, tmp_path / "n.safetensors", name="refractive_index").file  # nothing is derived for molecules
    assert predicted_by([log]) == ("refractive_index",)
    model = with_heads(load("molecule_properties"), "molecule_properties", [log])
    with torch.no_grad():
        assert "dielectric_constant" not in model(TemplateBatch.of([MoleculeTemplate("CCO")]))
    assert Request.of(kind="molecule", refractive_index=90, with_files=[str(log.path)]).warnings == ()
    with pytest.raises(WeightsError, match="for a molecule"):
        Request.of(with_files=[str(trained.file.path)])


def test_a_shipped_property_keeps_its_unit() -> None:
    with pytest.raises(WeightsError, match="bulk_modulus in GPa"):
        _check_unit("bulk_modulus", "crystal", "kbar", logarithmic=True)
    with pytest.raises(WeightsError, match="a logarithmic scale"):
        _check_unit("refractive_index", "crystal", "", logarithmic=False)
    _check_unit("bulk_modulus", "crystal", "GPa", logarithmic=True)
    _check_unit("poisson_ratio", "crystal", "", logarithmic=False)
    _check_unit("bulk_modulus", "molecule", "", logarithmic=False)


def test_the_command_explains_bad_input_in_one_line(
    rows: list[tuple[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(table(tmp_path, lines(rows[:10])))
    command = ["train", "property", "--table", path, "--structures", str(TEXTBOOK), "--out"]
    for more in (
        [str(tmp_path / "a.safetensors"), "--column", "my volume"],
        [str(tmp_path / "a.safetensors"), "--column", "gap"],
        [str(tmp_path / "a.pt"), "--column", "my volume"],
        [str(tmp_path / "a.safetensors"), "--column", "my volume", "--column-unit", "K", "--unit", "eV"],
        [str(tmp_path / "a.safetensors"), "--column", "my volume", "--name", "band gap"],
        [str(tmp_path / "a.safetensors"), "--column", "my volume", "--name", "bulk modulus", "--unit", "eV"],
    ):
        assert called(monkeypatch, *command, *more) == 2
        shown = capsys.readouterr()
        assert shown.err.count("\n") == 1, shown.err
        assert "expected" in shown.err
    assert not list(tmp_path.glob("a.*"))
    with (TEXTBOOK / "index.csv").open(encoding="utf-8") as stream:
        assert "band_gap" in next(csv.reader(stream))


@needs_weights
def test_the_commands_of_the_manual_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (TEXTBOOK.parents[1] / "docs" / "own_property.md").read_text(encoding="utf-8")
    commands = [shlex.split(line)[1:] for line in page.splitlines() if line.startswith("    matgen ")]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(TEXTBOOK.parent)
    (tmp_path / "mine.safetensors").symlink_to(SHIPPED_FILE)
    of_design = [words for words in commands if words[0] == "design"]
    for words in commands:
        if words[0] == "design":
            continue  # which takes minutes
        if words[:2] == ["energy", "pack"]:
            shutil.copy("measured.safetensors", "theirs.safetensors")
        one = ["--jobs", "1"] if words[0] == "screen" else []
        assert called(monkeypatch, *words, *one) == 0, words
    assert list(read_property_file("both.safetensors").properties)[-1] == "measured_gap"
    with Path("screens/gaps/results.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert sum(row["name"].endswith(".cif") for row in rows) == len(list(TEXTBOOK.glob("*.cif")))
    assert 5 <= sum(row["check_target_measured_gap"] == "True" for row in rows) <= 30
    assert len(of_design) == 1
    typer.main.get_command(cli.app).commands["design"].make_context("design", of_design[0][1:])  # type: ignore[attr-defined]
