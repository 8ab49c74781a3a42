"""The wheel, the Dockerfile, the conda recipe: each holds what it must, and agrees with pyproject.toml."""

import json
import shlex
import shutil
import sys
import tomllib
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from dockerfile_parse import DockerfileParser
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

from matgen import __version__, cli
from matgen.first_principles.subjects import subjects
from matgen.structures.candidate_files import CandidateFile
from matgen.structures.run_folder import CANDIDATES

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OLD_RUN = ROOT / "tests" / "expected" / "run_of_0_3"

LARGEST = 60e6
"""Bytes of the wheel; indices refuse files above 100 MB."""

CODE = {".py", ".typed", ".css", ".html", ".js"}
DATA = {".csv", ".json", ".npz", ".parquet", ".safetensors", ".toml", ".txt"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    builder = WheelBuilder(str(ROOT))
    return Path(next(builder.build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])))


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"matgen-{__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < LARGEST
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"matgen-{__version__}.dist-info"
    ours = {name for name in names if not name.startswith(f"{info}/")}
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "matgen").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours == there | {"matgen/installation/constraints.txt"}
    assert {Path(name).suffix for name in ours} <= CODE | DATA
    assert f"{info}/licenses/LICENSE" in names


def test_the_metadata_say_what_an_installer_needs(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        text = archive.read(f"matgen-{__version__}.dist-info/METADATA").decode()
        entry = archive.read(f"matgen-{__version__}.dist-info/entry_points.txt").decode()
        constraints = archive.read("matgen/installation/constraints.txt").decode()
    assert "Requires-Python: >=3.11\n" in text
    assert "License-Expression: MIT\n" in text
    assert "matgen = matgen.__main__:main" in entry
    assert constraints == (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert all("://" not in line for line in text.splitlines() if line.startswith("Requires-Dist"))


# ---------------------------------------------------------------- Dockerfile


def instructions() -> list[dict[str, str]]:
    parser = DockerfileParser(fileobj=BytesIO((ROOT / "Dockerfile").read_bytes()))
    return list(parser.structure)


def test_the_dockerfile_copies_files_that_exist_and_that_are_sent() -> None:
    copied = [
        word
        for one in instructions()
        if one["instruction"] == "COPY" and "--from" not in one["value"]
        for word in shlex.split(one["value"])[:-1]
    ]
    assert {"pyproject.toml", "README.md", "LICENSE", "constraints.txt", "matgen"} <= set(copied)
    assert all((ROOT / path).exists() for path in copied)
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert sent[0] == "*"
    assert all(f"!{path}" in sent for path in copied)


def test_the_image_runs_matgen_without_rights_of_root() -> None:
    values = {one["instruction"]: one["value"] for one in instructions()}
    assert json.loads(values["ENTRYPOINT"]) == ["matgen"]
    assert int(values["USER"]) > 0
    names = [one["instruction"] for one in instructions()]
    assert max(i for i, name in enumerate(names) if name == "RUN") < names.index("USER")
    arguments = [one["value"] for one in instructions() if one["instruction"] == "ARG"]
    assert arguments == ["TORCH_INDEX=", "GPAW="]
    python = [one["value"] for one in instructions() if one["instruction"] == "FROM"]
    versions = {value.split(":")[1].partition("-")[0] for value in python}
    assert len(versions) == 1
    assert f"Programming Language :: Python :: {versions.pop()}" in PROJECT["project"]["classifiers"]


# ---------------------------------------------------------------- conda

CONDA_NAMES = {"torch": "pytorch", "torch-geometric": "pytorch_geometric", "tblite": "tblite-python"}
"""Packages whose name at conda-forge is another one."""


def test_the_conda_recipe_needs_what_the_project_needs() -> None:
    recipe = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))
    needed = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
    expected = [f"{CONDA_NAMES.get(one.name, one.name)} {one.specifier}" for one in needed]
    python = f"python {PROJECT['project']['requires-python']}"
    assert sorted(recipe["requirements"]["run"]) == sorted([python, *expected])
    assert set(PROJECT["build-system"]["requires"]) == {"hatchling>=1.25"}
    assert recipe["requirements"]["host"] == [python, "pip", "hatchling >=1.25"]
    assert recipe["context"]["version"] == __version__
    entry = PROJECT["project"]["scripts"]
    assert recipe["build"]["python"]["entry_points"] == [f"{name} = {target}" for name, target in entry.items()]


def test_required_and_tested_versions_agree() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    everything = [*PROJECT["project"]["dependencies"], PROJECT["project"]["optional-dependencies"]["plot"][0]]
    for one in map(Requirement, everything):
        if one.name in pins:
            assert one.specifier.contains(pins[one.name]), one
    assert {"torch", "numpy", "typer", "rich", "packaging"} <= set(pins)


# ---------------------------------------------------------------- a run folder of an older version


def test_a_run_of_version_0_3_is_read_and_what_cannot_go_on_is_said_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "old"
    shutil.copytree(OLD_RUN, folder)
    older = json.loads((folder / "run.json").read_text(encoding="utf-8")) | {"version": "0.2.9"}
    (folder / "run.json").write_text(json.dumps(older), encoding="utf-8")
    assert [one.name for one in CandidateFile(folder / CANDIDATES).read()] == ["0-003-SmTlCuS3"]
    assert [one.name for one in subjects([folder])] == ["0-003-SmTlCuS3"]  # which `matgen verify` takes
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(
        sys, "argv", ["matgen", "design", "--bandgap", "1.5", "-n", "3", "--out", str(folder), "--json"]
    )
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capsys.readouterr().err
    assert left.value.code == cli.BAD_INPUT
    assert f"was written by version 0.2.9, and this is {__version__}" in said
    assert "name another folder with --out, or overwrite it" in said
    assert said.count("\n") == 1
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert {path: after[path] for path in before} == before
