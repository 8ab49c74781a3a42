"""`matgen evidence`: differences that are zero and change sign where they must, output, bad input; bits of priors."""

import contextlib
import io
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pymatgen.core import Lattice, Structure
from rich.console import Console

from matgen import cli
from matgen.cli.evidence_table import evidence_table
from matgen.evaluation.evidence import Evidence, EvidenceConfig, LearnedStart
from matgen.structures.conversion import described
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.weights.models import load
from matgen.workflows.evidence import Compared, EvidenceError, difference_to, records, run

REPOSITORY = Path(__file__).resolve().parents[1]
TEXTBOOK = REPOSITORY / "data" / "textbook"
SALT = TEXTBOOK / "NaCl_rock_salt.cif"
EFFORT = EvidenceConfig(chains=6, levels=5, steps=1)


@pytest.fixture(scope="module")
def caesium_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NaCl in the structure of CsCl."""
    crystal = Structure(Lattice.cubic(3.4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    path = tmp_path_factory.mktemp("evidence") / "b2.cif"
    path.write_text(crystal.to(fmt="cif"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def both(caesium_like: Path) -> list[Compared]:
    return run([SALT, caesium_like], "NaCl", EFFORT)


def test_rock_salt_has_more_evidence_than_the_structure_of_caesium_chloride(both: list[Compared]) -> None:
    salt, other = (one.evidence for one in both)
    assert (salt.space_group, other.space_group) == (225, 221)
    assert (salt.n_free, other.n_free) == (1, 1)
    difference, error = difference_to(other, salt)
    assert difference < -3 * error
    assert all(0 < one.error < 2 for one in (salt, other))
    # One parameter with a minimum of some hundredths of its range costs a few nats.
    assert all(-8 < one.occam < 0 for one in (salt, other))


def test_exchanging_crystals_changes_the_sign_and_a_crystal_beside_itself_is_zero(
    both: list[Compared], caesium_like: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "again.cif"
    copied.write_text(SALT.read_text(encoding="utf-8"), encoding="utf-8")
    exchanged = run([caesium_like, SALT, copied], "NaCl", EFFORT)
    there = difference_to(both[1].evidence, both[0].evidence)
    back = difference_to(exchanged[1].evidence, exchanged[0].evidence)
    assert back == (-there[0], there[1])
    assert difference_to(exchanged[2].evidence, exchanged[1].evidence) == (0.0, 0.0)


def test_a_pressure_favours_the_denser_template(both: list[Compared], caesium_like: Path) -> None:
    pressed = run([SALT, caesium_like], "NaCl", EFFORT, pressure=30)
    none, high = (difference_to(pair[1].evidence, pair[0].evidence)[0] for pair in (both, pressed))
    assert high > none + 0.3  # p (V - V') / N of some 2 Å³ per atom over 0.1 eV/atom is about 4


def test_progress_counts_every_evaluation_and_ends_at_the_total() -> None:
    heard: list[tuple[int, int]] = []

    def report(stage: str, done: int, total: int, **counts: float) -> None:
        assert (stage, counts) == ("anneal", {})
        heard.append((done, total))

    run([SALT], "NaCl", EvidenceConfig(chains=2, levels=3, steps=2), report=report)
    assert [done for done, _ in heard] == list(range(1, len(heard) + 1))
    assert {total for _, total in heard} == {len(heard)}


def test_deuterium_is_told_to_be_read_as_hydrogen(tmp_path: Path) -> None:
    light = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.08), ["Li", "H"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    text = light.to(fmt="cif")
    (tmp_path / "light.cif").write_text(text, encoding="utf-8")
    (tmp_path / "heavy.cif").write_text(re.sub(r"^  H  H", "  D  D", text, flags=re.MULTILINE), encoding="utf-8")
    found = run([tmp_path / "light.cif", tmp_path / "heavy.cif"], "LiH", EvidenceConfig(chains=2, levels=2, steps=1))
    assert [one.note for one in found] == ["", "isotopes of hydrogen are read as hydrogen: D4, D5, D6, D7"]
    assert found[0].evidence == found[1].evidence


def test_records_are_json(both: list[Compared]) -> None:
    first, second = (json.loads(json.dumps(record)) for record in records(both))
    assert (first["difference"], first["difference_error"]) == (0.0, 0.0)
    assert second["difference"] == pytest.approx(second["log_evidence"] - first["log_evidence"])
    assert first["log_evidence"] == pytest.approx(first["log_z"] - first["template_energy"])


def test_convergence_is_told_by_both_estimates(both: list[Compared]) -> None:
    def of(gap: float) -> Evidence:
        one = both[0].evidence
        return replace(one, log_z=10.0, log_z_reverse=10.0 + gap, error=0.3, error_reverse=0.4)

    assert [of(gap).converged for gap in (0.0, 2.4, -2.4, 2.6, -2.6)] == [True, True, True, False, False]


def test_the_start_is_the_density_within_its_ranges() -> None:
    density = load("geometry_density")
    template, geometry = described(Structure.from_file(TEXTBOOK / "TiO2_rutile.cif"))
    batch = TemplateBatch.of([template] * 2)
    twice = Geometry(geometry.lattice.repeat(2, 1), geometry.coords.repeat(2, 1))
    twice.lattice[1, 5] = 0.75  # beyond the end of its range, 0.7
    value, slope = LearnedStart(density).landscape(batch)(twice)
    assert float(value[0]) == pytest.approx(-float(density.log_prob(batch, twice)[0]), rel=1e-6)
    assert float(value[1]) == math.inf
    step = 1e-3
    near = [Geometry(twice.lattice + s * step * torch.eye(6)[5], twice.coords) for s in (1, -1)]
    up, down = (-float(density.log_prob(batch, one)[0]) for one in near)
    # Differences of float32 values near 10 over 0.002 are known to 0.005.
    assert float(slope.lattice[0, 5]) == pytest.approx((up - down) / (2 * step), rel=0.03, abs=0.02)


# ---------------------------------------------------------------- bad input


def called(*words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["matgen", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "broken.cif").write_text("data_nothing\n_cell_length_a 3\n", encoding="utf-8")
    (folder / "water.sdf").write_text("no molecule\n", encoding="utf-8")
    (folder / "empty").mkdir()
    large = Structure.from_file(SALT)
    large.make_supercell([3, 1, 1])
    large.translate_sites([0], [0.01, 0.005, 0.02])
    (folder / "large.cif").write_text(large.to(fmt="cif"), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--formula NaCl broken.cif", "cannot read broken.cif"),
        ("--formula NaCl nowhere.cif", "nowhere.cif, which is not there; check the path"),
        ("--formula NaCl empty", "cannot read empty: the folder holds no file"),
        ("--formula NaCl large.cif", "expected at most 20 atoms in the primitive cell"),
        (f"--formula TiO2 {SALT}", "expected crystals of TiO2, got NaCl in NaCl_rock_salt.cif"),
        (f"--formula salt {SALT}", "expected a formula such as SrTiO3"),
        (f"--formula NaCl {SALT} --chains 1", "expected chains of at least 2, got 1"),
        (f"--formula NaCl {SALT} --levels 0", "expected levels of at least 2, got 0"),
        (f"--formula NaCl {SALT} --chains 100000000", "expected chains of at most 1000"),
        (f"--formula NaCl {SALT} --sigma -1", "expected sigma from 0.02 to 3 Å"),
        (f"--formula NaCl {SALT} --sigma 1e-9", "expected sigma from 0.02 to 3 Å, where the graph energy was trained"),
        (f"--formula NaCl {SALT} --sigma nan", "expected sigma from 0.02 to 3 Å"),
        (f"--formula NaCl {SALT} --pressure -3", "expected pressure from 0 to 500 GPa"),
        (f"--formula NaCl {SALT} --seed -3", "expected a seed from 0"),
        (f"{SALT}", "Missing option '--formula'"),
    ],
)
def test_bad_input_is_one_line(words: str, complaint: str, bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bad)
    code, out, err = called("evidence", *words.split())
    assert (code, out) == (2, "")
    assert complaint in err
    assert len(err.strip().splitlines()) == 1


def test_no_crystals_are_refused() -> None:
    with pytest.raises(EvidenceError, match="expected crystals, got none"):
        run([], "NaCl")


# ---------------------------------------------------------------- output and page


def test_the_command_prints_json_or_a_table(both: list[Compared]) -> None:
    effort = ["--chains", "6", "--levels", "5", "--steps", "1"]
    code, out, _ = called("evidence", "--formula", "NaCl", str(SALT), *effort, "--json")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == list(records(both))[:1]  # of the same seed
    shown = Console(width=140, file=io.StringIO())
    shown.print(evidence_table(both, "NaCl"))
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    difference, error = difference_to(both[1].evidence, both[0].evidence)
    assert f"{both[0].evidence.log_z:.2f} ± {both[0].evidence.error:.2f}" in text
    assert f"{difference:+.2f} ± {error:.2f}" in text


def test_the_page_shows_commands_and_code_that_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    page = (REPOSITORY / "docs" / "evidence.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^    matgen (evidence .*)$", page, re.MULTILINE)
    named = [word for word in command.split() if word.endswith(".cif")]
    assert len(named) == 2
    assert all(Path(word).is_file() for word in named)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(page.split("```python\n")[1].split("```")[0], "evidence.md", "exec"), {})  # noqa: S102
    assert "(0.0, 0.0)" in out.getvalue()
