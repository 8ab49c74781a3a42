"""The commands that make and serve reports, and the reports that other commands end with."""

import http.client
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from conftest import TEXTBOOK
from report_folders import design_folder, with_report

from matgen import cli
from matgen.generation.request import Request
from matgen.report.runs import runs_below
from matgen.report.server import server
from matgen.structures.run_folder import CANDIDATES
from matgen.workflows.design import run


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `matgen ARGUMENTS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["matgen", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


# ---------------------------------------------------------------- matgen report


def test_report_makes_the_page_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = design_folder(tmp_path / "run", ("NaCl_rock_salt.cif",))
    before = sorted(path.name for path in folder.iterdir())
    assert called(monkeypatch, "report", str(folder), "--out", str(tmp_path / "page.html")) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    assert "NaCl" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == before
    assert called(monkeypatch, "report", str(folder)) == 0
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_report_refuses_what_is_no_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert called(monkeypatch, "report", str(tmp_path / name)) == 2
    said = capsys.readouterr().err
    assert "expected a folder of `matgen design`" in said
    assert len(said.splitlines()) == 1


def test_report_says_where_it_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = design_folder(tmp_path / "run", ())
    assert called(monkeypatch, "report", str(folder), "--out", str(tmp_path / "no" / "page.html")) == 2
    assert "cannot write" in capsys.readouterr().err


# ---------------------------------------------------------------- reports of other commands


def test_screen_ends_with_a_report_unless_told_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(TEXTBOOK / name) for name in ("NaCl_rock_salt.cif", "MgO_rock_salt.cif")]
    usual = ("screen", *files, "--jobs", "1", "--reference", "none", "--json")
    assert called(monkeypatch, *usual, "--out", str(tmp_path / "one")) == 0
    said = capsys.readouterr()
    page = tmp_path / "one" / "report.html"
    command = json.loads((tmp_path / "one" / "run.json").read_text(encoding="utf-8"))["command_line"]
    assert shlex.split(command) == ["matgen", *usual, "--out", str(tmp_path / "one")]
    assert f"the report is {page}" in said.err
    assert {json.loads(line)["report"] for line in said.out.splitlines()} == {str(page)}
    assert "MgO" in page.read_text(encoding="utf-8")
    assert called(monkeypatch, *usual, "--out", str(tmp_path / "two"), "--no-report") == 0
    said = capsys.readouterr()
    assert not (tmp_path / "two" / "report.html").exists()
    assert all("report" not in json.loads(line) for line in said.out.splitlines())


def test_evaluate_ends_with_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    file = str(TEXTBOOK / "NaCl_rock_salt.cif")
    assert (
        called(monkeypatch, "evaluate", file, "--relax", "none", "--bootstrap", "10", "--out", str(out), "--json") == 0
    )
    said = capsys.readouterr()
    assert json.loads(said.out)["report"] == str(out / "report.html")
    assert (out / "report.html").is_file()


# ---------------------------------------------------------------- recorded trajectories


def without_times(text: str) -> list[dict[str, object]]:
    """Candidates without the times that their relaxations took."""
    found = [json.loads(line) for line in text.splitlines()]
    for record in found:
        record["relaxation"].pop("seconds")
    return found


def test_recording_changes_no_candidate_and_keeps_its_steps(tmp_path: Path) -> None:
    usual = Request.of(kind="crystal").updated(n=1, processes=1, formula="NaCl", max_atoms=8)
    for name, request in (("with", usual.updated(record=True)), ("without", usual)):
        run(request, tmp_path / name)
    texts = [(tmp_path / name / CANDIDATES).read_text(encoding="utf-8") for name in ("with", "without")]
    assert without_times(texts[0]) == without_times(texts[1])
    (candidate,) = without_times(texts[0])
    frames = (tmp_path / "with" / "trajectories" / f"{candidate['name']}.extxyz").read_text(encoding="utf-8")
    for stage in ("initial", "diffusion", "langevin", "denoising", "relaxation"):
        assert f'stage="{stage}"' in frames
    assert frames.count("Lattice=") <= 60
    assert not (tmp_path / "without" / "trajectories").exists()
    # The same folder is resumed with and without: watching is not part of what identifies a run.
    run(usual, tmp_path / "with")


# ---------------------------------------------------------------- matgen serve


@contextmanager
def served(folder: Path) -> Iterator[http.client.HTTPConnection]:
    """A connection to a server of a folder."""
    with server(folder, port=0) as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", running.server_port, timeout=120)
        try:
            yield connection
        finally:
            connection.close()
            running.shutdown()
            thread.join()


def asked(connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Status and text of the answer to a request, whose path is sent as it is."""
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of two runs, beside what must not be served."""
    root = tmp_path / "runs"
    design_folder(root / "one", ("NaCl_rock_salt.cif",))
    design_folder(root / "deep" / "<b>two", ())
    design_folder(tmp_path / "outside", ("MgO_rock_salt.cif",))
    (root / "secret.txt").write_text("secret", encoding="utf-8")
    (root / "link").symlink_to(tmp_path / "outside", target_is_directory=True)
    return root


def test_serve_lists_runs_and_shows_their_pages(runs: Path) -> None:
    assert {one.path for one in runs_below(runs)} == {"one", "deep/<b>two"}
    with served(runs) as connection:
        status, text = asked(connection, "/")
        assert status == 200
        assert "1 of 3 candidates" in text
        assert "/run/one" in text
        assert "<b>two" not in text  # a name is no element
        status, page = asked(connection, "/run/one")
        assert status == 200
        assert "NaCl" in page
        assert '<meta http-equiv="refresh"' not in page
        assert asked(connection, "/run/deep/%3Cb%3Etwo")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/run/../outside",
        "/run/one/../../outside",
        "/run/%2e%2e/outside",
        "/run/%2e%2e%2foutside",
        "/run/..%5coutside",
        "/run//etc",
        "/run/%00",
        "/run/" + "x" * 5000,
        "/run/" + "x/" * 5000,
        "/run/link",
        "/run/one/candidates.jsonl",
        "/run/one/cif",
        "/secret.txt",
        "/run/secret.txt",
        "/nothing",
    ],
)
def test_serve_shows_nothing_but_runs_of_the_folder(path: str, runs: Path) -> None:
    with served(runs) as connection:
        status, text = asked(connection, path)
    assert status == 404
    assert "secret" not in text
    assert "MgO" not in text


def test_serve_only_reads(runs: Path) -> None:
    before = sorted(str(path) for path in runs.rglob("*"))
    with served(runs) as connection:
        for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
            assert asked(connection, "/run/one", method)[0] == 405
        assert asked(connection, "/run/one")[0] == 200
        # A site whose name leads to this machine must not read it through the browser.
        assert asked(connection, "/", Host="evil.example")[0] == 403
        assert asked(connection, "/", Host="localhost:1")[0] == 200
    assert sorted(str(path) for path in runs.rglob("*")) == before


def test_serve_makes_a_page_again_when_its_run_has_grown(runs: Path) -> None:
    with_report(runs / "one", status="running")
    with served(runs) as connection:
        first = asked(connection, "/run/one")[1]
        assert '<meta http-equiv="refresh"' in first
        assert asked(connection, "/run/one")[1] == first
        with (runs / "one" / CANDIDATES).open(encoding="utf-8") as stream:
            record = json.loads(stream.readline()) | {"name": "grown"}
        with (runs / "one" / CANDIDATES).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        assert "grown" in asked(connection, "/run/one")[1]


def test_serve_refuses_a_folder_that_is_none_and_a_port_in_use(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, "serve", str(runs / "nothing")) == 2
    assert "expected a folder of runs" in capsys.readouterr().err
    with server(runs, port=0) as running:
        assert called(monkeypatch, "serve", str(runs), "--port", str(running.server_port)) == 2
        assert "cannot listen" in capsys.readouterr().err
    assert called(monkeypatch, "serve", str(runs), "--host", "192.0.2.1", "--port", "0") == 2
    assert "cannot listen" in capsys.readouterr().err
