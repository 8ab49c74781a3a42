"""The command line: fast help, and one line that explains each error."""

import hashlib
import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from pymatgen.core import Lattice, Structure
from rich.console import Console

from matgen import __version__, cli
from matgen.cli.common import same_command
from matgen.cli.option_groups import GROUPS
from matgen.cli.terminal import StageView
from matgen.generation.presets import FAST
from matgen.generation.request import Request
from matgen.structures.candidate import Candidate, Prediction, SpaceGroup
from matgen.structures.record import from_record
from matgen.weights.files import WEIGHTS
from matgen.weights.kinds import KINDS

REPOSITORY = Path(__file__).resolve().parents[1]
SHIPPED = all((WEIGHTS / f"{kind}.safetensors").exists() for kind in KINDS)
needs_weights = pytest.mark.skipif(not SHIPPED, reason="not all weights ship yet")


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `matgen ARGUMENTS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["matgen", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


@pytest.mark.parametrize("arguments", [["--help"], ["design", "--help"], ["train", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    heavy = ["torch", "e3nn", "pymatgen", "numpy", "ase", "chgnet", "scipy", "pyarrow"]
    code = (
        f"import sys; sys.argv = ['matgen', *{arguments}]\nfrom matgen.cli import main\n"
        f"try:\n    main()\nfinally:\n    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert answer.stderr.strip() == "[]"
    assert __version__ in answer.stdout or "Usage: " in answer.stdout


OPTIONS = [
    *("--bandgap", "--property", "--elements", "--include", "--exclude", "--formula", "--spacegroup", "--max-atoms"),
    *("-n", "--seed", "--out", "--overwrite", "--device", "--relax", "--no-moves", "--no-diffusion", "--no-mala"),
    *("--potential", "--potential-weight", "--json", "--config"),
]


def test_every_option_of_the_manual_exists(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    called(monkeypatch, "design", "--help", "all")
    shown = capsys.readouterr().out
    for option in OPTIONS:
        assert option in shown, option


def test_the_help_of_design_fits_a_screen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    called(monkeypatch, "design", "--help")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line.split()[0] in GROUPS] == [
        group for group, (daily, _) in GROUPS.items() if daily
    ]
    daily = [name for names, _ in GROUPS.values() for name in names.split()]
    assert all(sum(name in line.split()[:2] for line in lines) == 1 for name in daily)
    assert "--no-mala" not in " ".join(lines)  # a rare one
    assert "--help all" in lines[-1]


def test_every_option_of_design_has_a_group_and_every_group_names_options() -> None:
    command = typer.main.get_command(cli.app).commands["design"]  # type: ignore[attr-defined]
    options = command.get_params(command.make_context("design", []))
    assert all(option.rich_help_panel and option.help for option in options)
    named = [name for parts in GROUPS.values() for names in parts for name in names.split()]
    assert len(named) == len(set(named))
    assert set(named) <= {name for option in options for name in option.opts}


def commands_shown() -> list[str]:
    """Every `matgen ...` line of the READMEs and the manual."""
    pages = [(REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "data/README.md", "docs/cli.md")]
    lines = [line.strip() for page in pages for line in page.splitlines() if line.startswith("    matgen ")]
    return [line for line in lines if "COMMAND" not in line]


def test_commands_of_the_readme_are_understood() -> None:
    shown = commands_shown()
    assert len(shown) >= 15
    for line in shown:
        command, words = typer.main.get_command(cli.app), shlex.split(line, comments=True)[1:]
        while hasattr(command, "commands"):
            plain = command.name == "train" and words[0] not in command.commands  # `model` need not be said
            command = command.commands["model" if plain else words.pop(0)]
        command.make_context("matgen", words)  # raises on an option or argument that does not exist


TOML = {
    "no.toml": "n = = 3",
    "key.toml": "sead = 3",
    "type.toml": 'n = "three"',
    "sampler.toml": "[sampler]\nlevels = 0",
    "relax.toml": "[relaxation]\nfmax = 0.0",
    "target.toml": "[properties]\nband_gap = -2",
    "kind.toml": 'kind = "template_prio"',
    "size.toml": 'kind = "evaluator"\n[model]\nwidht = 3',
    "loss.toml": 'kind = "evaluator"\n[loss]\ncontrast = 3',
    "lost.toml": 'kind = "template_prior"\ndata = "nowhere.npz"',
}


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("design --bandgap -1", "expected a band_gap of 0 to 20 eV, got '-1'"),
        ("design --bandgap 1.8:1.2", "write 1.2:1.8"),
        ("design --bandgap wide", "expected band_gap as 1.5, 1.2:1.8, '>3' or '<=0.05' (eV), got 'wide'"),
        ("design --bandgap 99", "nothing known lies outside"),
        ("design --property bandgp=1", "did you mean band_gap?"),
        ("design --property colour=1", "expected one of band_gap"),
        ("design --property band_gap", "expected --property NAME=VALUE"),
        ("design --bandgap 1 --property band_gap=2", "got two for band_gap"),
        ("design --bandgap 1 --property gap=2", "got 2 for band_gap"),
        ("design --rule fe", "at character 1 of the rule 'fe', got 'fe'; did you mean Fe?"),
        ("design --rule count(Fe)<=x", "expected a number at character 12"),
        ("design --prefer ((Li", "expected ')' at character 5"),
        ("design --rule F --exclude F", "got --exclude F and 'F', which contradict each other"),
        ("design --rule count(Fe)>=21", "got 'count(Fe)>=21', which none does"),
        ("design --prefer O --elements Na,Cl", "got --elements Na,Cl and 'O', which contradict"),
        ("design --formula Fe2O3 --rule oxidation(Fe)==2", "got --formula Fe2O3 and 'oxidation(Fe)==2'"),
        ("design --kind molecule --rule oxidation(N)==3", "for a molecule, got oxidation in 'oxidation(N)==3'"),
        ("design --kind molecule --avoid \udcff", "expected a SMARTS such as [OX2H]"),
        ("design --kind molecule --smiles \udcff", "expected a SMILES such as CCO"),
        ("design --bandgap 1.5 --verify 1 --verify-minutes inf", "got 1 and inf"),
        ("design --elements Gaa,N", "got 'Gaa'; did you mean Ga?"),
        ("design --elements Ga,,N", "check the commas"),
        ("design --include Po", "no training crystal holds Po"),
        ("design --include Ga --exclude Ga", "Ga is required, but not allowed"),
        ("design --formula SrTiO3 --max-atoms 4", "more than max_atoms = 4"),
        ("design --formula Ca3(PO4)2Al20", "more than the 20 that the models know"),
        ("design --formula salt", "expected a formula such as SrTiO3"),
        ("design --formula MgAl2O4 --spacegroup 221 --max-atoms 7", "no template of space groups [221]"),
        ("design --spacegroup 231", "expected space groups from 1 to 230"),
        ("design --spacegroup Fm-3m", "expected --spacegroup as a number from 1 to 230"),
        ("design --max-atoms 50", "expected max_atoms from 1 to 20"),
        ("design -n 0", "expected n of at least 1"),
        ("design -n ten", "Invalid value for '-n'"),
        ("design --device tpu", "got 'tpu'; choose one of these"),
        ("design --spacegroup 227 --max-atoms 1", "space groups [227] hold 2 atoms or more"),
        ("design --config sampler.toml", "sampler.toml: expected levels of at least 1, got 0"),
        ("design --config relax.toml", "relax.toml: expected fmax above 0, got 0.0"),
        ("train template_prior --device tpu", "got 'tpu'; choose one of these"),
        ("train template_prior --minutes 0", "expected minutes above 0, got 0.0"),
        ("train template_prior --data broken.npz", "broken.npz is not a prepared table"),
        ("design --relax vasp", "got 'vasp'; choose one of usual, none, chgnet, xtb"),
        ("design --potential chgnet", "energies per atom of different compositions cannot be compared; give --formula"),
        ("design --formula NaCl --potential emt", "got 'emt'; choose one of none, chgnet"),
        ("design --potential-weight -1", "expected potential_weight of at least 0, got -1.0"),
        ("design --config absent.toml", "cannot read the configuration absent.toml"),
        ("design --config no.toml", "no.toml is not TOML"),
        ("design --config key.toml", "key.toml: unknown key 'sead'; did you mean seed?"),
        ("design --config type.toml", "n: expected a whole number, got 'three'"),
        ("design --config target.toml", "expected a band_gap of 0 to 20 eV, got '-2.0'"),
        ("design --gpa 1", "No such option"),
        ("desing", "No such command"),
        ("train", "Missing argument"),
        ("train template_prio", "did you mean template_prior?"),
        ("train absent.toml", "cannot read the configuration absent.toml"),
        ("train kind.toml", "did you mean template_prior?"),
        ("train size.toml", "[model] unknown key 'widht'; did you mean width?"),
        ("train loss.toml", "[loss] belongs to kinds graph_energy"),
        ("train lost.toml", "expected a prepared table at nowhere.npz; make one with `matgen data prepare FOLDER`"),
        ("data info", "or set MATGEN_DATA"),
        ("data info nowhere", "expected a folder of training tables, got nowhere"),
        ("data info .", "expected mp24_le20.parquet, chgnet_energies.parquet in crystals"),
        ("data info nowhere.npz", "expected a prepared table at nowhere.npz"),
        ("data info broken.npz", "broken.npz is not a prepared table"),
        ("data prepare", "or set MATGEN_DATA"),
        ("data prepare nowhere", "expected a folder of training tables, got nowhere"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(
    command: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MATGEN_DATA", raising=False)
    for name, text in TOML.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "broken.npz").write_bytes(b"no table")
    assert called(monkeypatch, *command.split(" ")) == cli.BAD_INPUT
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("matgen: ")
    assert said.err.count("\n") == 1, said.err
    assert hint in said.err
    assert {path.name for path in tmp_path.iterdir()} == {*TOML, "broken.npz"}  # it leaves nothing behind


@pytest.mark.parametrize(
    ("content", "hint"),
    [(None, "found none; make them with `matgen train`"), (b"no weights", "has no readable header")],
)
def test_weights_that_are_not_there_or_corrupt(
    content: bytes | None,
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matgen.weights.files.WEIGHTS", tmp_path)
    if content:
        file = tmp_path / "template_prior.safetensors"
        file.write_bytes(content)
        (tmp_path / "hashes.json").write_text(json.dumps({file.name: hashlib.sha256(content).hexdigest()}))
    assert called(monkeypatch, "design", "--bandgap", "1.5") == cli.BAD_INPUT
    said = capsys.readouterr().err
    assert hint in said
    assert said.count("\n") == 1


@needs_weights
def test_an_output_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert called(monkeypatch, "design", "--out", str(tmp_path / "file" / "run")) == cli.BAD_INPUT
    assert "choose another folder with --out" in capsys.readouterr().err


@needs_weights
def test_a_folder_that_holds_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = {"version": "0", "seed": 5, "weights": {}, "configuration": {}}
    (tmp_path / "run.json").write_text(json.dumps(report))
    assert called(monkeypatch, "design", "--out", str(tmp_path)) == cli.BAD_INPUT
    assert "was written by version 0, and this is" in capsys.readouterr().err


@pytest.mark.parametrize("named", [["--out", "x"], ["--out=x"], []])
def test_the_command_to_resume_never_overwrites(named: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["matgen", "design", "--overwrite", *named, "--json"])
    end = [*named, "--json"] if named else ["--json", "--out", "x"]
    assert shlex.split(same_command(Path("x"))) == ["matgen", "design", *end]


def test_a_new_candidate_is_printed_with_the_first_target_property() -> None:
    crystal = Structure(Lattice.cubic(3.0), ["Cs"], [[0, 0, 0]])
    properties = {"band_gap": Prediction(1.5, 0.1, "eV"), "formation_energy": Prediction(-2.0, 0.1, "eV/atom")}
    found = Candidate("a", crystal, crystal, SpaceGroup(221, "Pm-3m"), properties=properties)
    screen = io.StringIO()
    StageView(Console(file=screen)).found(found, Request.of(targets={"formation_energy": -2.0}).property_targets)
    printed = screen.getvalue()
    assert "-2.00" in printed
    assert "1.50" not in printed


@needs_weights
def test_models_lists_training_data_and_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, "models", "--json") == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["kind"] for entry in listed] == list(KINDS)
    assert all(entry["trained_on"] and entry["figures"] for entry in listed)
    assert called(monkeypatch, "models") == 0
    shown = capsys.readouterr().out
    assert all(kind in shown for kind in KINDS)


@needs_weights
@pytest.mark.slow
def test_json_goes_to_standard_output_and_progress_to_standard_error(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('relax = "none"\nover_generation = 8\nmax_atoms = 6\n[sampler]\npool = 2\nshaped = 3\n')
    command = [
        "design",
        "--bandgap",
        "1.5",
        "-n",
        "1",
        "--config",
        str(config),
        "--fast",
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    code = f"import sys; sys.argv = ['matgen', *{command}]\nfrom matgen.cli import main\nmain()"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    found = [from_record(json.loads(line)) for line in answer.stdout.splitlines()]
    assert answer.returncode == (0 if found else cli.NOTHING_FOUND)
    assert len(found) <= 1
    assert "propose: " in answer.stderr
    old = "relax is now relaxation.method, over_generation is now search.over_generation, max_atoms is now"
    assert answer.stderr.count("uses keys of version 0.1, which are still read") == answer.stderr.count(old) == 1
    assert f"everything is in {tmp_path / 'out'}" in answer.stderr.splitlines()[-1]
    asked = json.loads((tmp_path / "out" / "run.json").read_text())["configuration"]
    assert (asked["search"]["over_generation"], asked["sampler"]["pool"]) == (8, 2)  # from the file
    assert asked["sampler"]["shaped"] == FAST["sampler"]["shaped"]  # the option wins
    assert asked["stages"] == {"moves": True, "regrowth": "formula", "diffusion": False, "mala": False}
