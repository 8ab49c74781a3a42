"""First principles during a search: refuted candidates are replaced, confirmed ones come first, nothing is lost."""

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finished_units import Offering, passing, unit_of
from pymatgen.core import Lattice, Structure
from test_cli import called
from test_verify import ANSWER, alive, script, wait_until

from matgen.cli.candidate_tables import candidate_table
from matgen.first_principles.calculations import CalculationFile, Plan
from matgen.first_principles.gpaw import FirstPrinciplesConfig
from matgen.first_principles.gpaw_interpreter import VARIABLE, Interpreter, MissingGpawError
from matgen.generation.errors import RequestError
from matgen.generation.request import Request
from matgen.learning.labels import read_labels
from matgen.learning.rows import LabelConfig
from matgen.runtime.progress import Silence
from matgen.runtime.workers import Here
from matgen.search.assessment import assessment_of
from matgen.search.outcome import Outcome
from matgen.search.rejected import RejectedFile
from matgen.search.search import Search
from matgen.search.verification import CONFIRMED, GAP, Verification, intervals
from matgen.structures.candidate import Candidate, Prediction, Verdict
from matgen.structures.export import CandidateWriter
from matgen.structures.run_report import RunInfo
from matgen.structures.symmetry import space_group
from matgen.workflows.design import run
from matgen.workflows.design_steps import steps, to_the_end

REQUEST = Request.of(targets={"band_gap": 1.5}, n=2, verify=2, relax="none", allow_known=True, processes=2, variety=0.0)


def rock_salt(cation: str, anion: str, a: float) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def offered(name: str, cation: str, anion: str, a: float) -> Candidate:
    structure = rock_salt(cation, anion, a)
    return Candidate(
        name, structure, structure, space_group(structure), properties={"band_gap": Prediction(1.5, 0.1, "eV")}
    )


PROPOSALS = [
    offered("a", "Na", "Cl", 5.64),
    offered("b", "K", "Cl", 6.29),
    offered("c", "Mg", "O", 4.21),
    offered("d", "Ca", "O", 4.81),
]


def answering(folder: Path, gaps: dict[str, float], before: str = "") -> Interpreter:
    """A fake interpreter whose gap depends on an element of the crystal; it fails for other elements."""
    cases = "".join(
        f"*'\"{symbol}\"'*) echo {shlex.quote(json.dumps(ANSWER | {'gap': gap}))};; " for symbol, gap in gaps.items()
    )
    return script(folder, f'{before}\ncase "$(cat "$2")" in {cases} *) exit 1;; esac')


class Saying:
    """An assessment that passes every proposal, with its predictions."""

    def __init__(self, request: Request) -> None:
        self._assessment = assessment_of(request)
        self.candidate_checks = self._assessment.candidate_checks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._assessment, name)

    def predicted(self, candidate: Candidate) -> dict[str, Prediction]:
        return candidate.properties


def outcome_of(
    folder: Path, interpreter: Interpreter, request: Request = REQUEST, proposals: Sequence[Candidate] = PROPOSALS
) -> Outcome:
    """Return the outcome of a run with these proposals."""
    request = request.updated(rounds=1)
    plan = Plan(interpreter, FirstPrinciplesConfig(), jobs=request.resources.processes)
    verification = Verification(plan, folder, intervals(request.property_targets)["band_gap"], request.verification.n)
    units = Here(Offering(request, [proposals, *[()] * 50], Saying(request)))
    with CandidateWriter(folder, RunInfo("0", 0, {})) as writer, verification:
        taken = steps(request, writer, units, verification, Silence(), lambda _: None, time.perf_counter())
        return to_the_end(taken)


def searched(folder: Path, interpreter: Interpreter, request: Request = REQUEST) -> tuple[Candidate, ...]:
    """Return the candidates found among the proposals, in their final order."""
    return outcome_of(folder, interpreter, request).candidates


def test_a_refuted_candidate_is_replaced_and_listed_last(tmp_path: Path) -> None:
    found = searched(tmp_path / "run", answering(tmp_path, {"Na": 5.0, "K": 1.6, "Mg": 1.4, "Ca": 1.5}))
    assert [one.name for one in found] == ["b", "c", "a"]
    assert [one.verdicts[CONFIRMED].passed for one in found] == [True, True, False]
    assert [one.properties[GAP].value for one in found] == [1.6, 1.4, 5.0]
    lines = (tmp_path / "run" / "candidates.csv").read_text().splitlines()
    names, *rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines]
    assert [(row["name"], row["gpaw_gap"], row["check_confirmed"]) for row in rows] == [
        ("b", "1.6", "pass"),
        ("c", "1.4", "pass"),
        ("a", "5.0", "fail"),
    ]
    assert names
    heads = [str(column.header) for column in candidate_table(found, REQUEST.property_targets).columns]
    assert "gap by GPAW" in heads


def test_what_cannot_be_calculated_is_neither_confirmed_nor_refuted(tmp_path: Path) -> None:
    found = searched(tmp_path / "run", answering(tmp_path, {"K": 1.6, "Mg": 9.0, "Ca": 1.5}))
    assert [one.name for one in found] == ["b", "d", "a", "c"]
    assert CONFIRMED not in found[2].verdicts
    assert not found[3].verdicts[CONFIRMED].passed


def test_only_as_many_are_calculated_as_are_to_be_confirmed(tmp_path: Path) -> None:
    note = tmp_path / "jobs"
    fake = answering(tmp_path, dict.fromkeys(("Na", "K", "Mg", "Ca"), 1.5), f"echo job >> {note}")
    found = searched(tmp_path / "run", fake, REQUEST.updated(n=3, verify=1))
    assert [CONFIRMED in one.verdicts for one in found] == [True, False, False]
    assert len(note.read_text().splitlines()) == 1


def test_a_call_that_goes_on_calculates_nothing_anew(tmp_path: Path) -> None:
    note = tmp_path / "jobs"
    fake = answering(tmp_path, {"Na": 5.0, "K": 1.6, "Mg": 1.4}, f"echo job >> {note}")
    first = searched(tmp_path / "run", fake)
    (tmp_path / "run" / "candidates.jsonl").write_text(
        "".join(
            json.dumps(json.loads(line) | {"properties": {}, "verdicts": {}}) + "\n"
            for line in (tmp_path / "run" / "candidates.jsonl").read_text().splitlines()
        )
    )  # as if it had been stopped before any verdict reached the candidates
    again = searched(tmp_path / "run", fake)
    assert [one.name for one in again] == [one.name for one in first]
    assert [one.properties[GAP] for one in again] == [one.properties[GAP] for one in first]
    assert len(note.read_text().splitlines()) == 3


def test_a_spent_budget_stops_what_is_at_work_and_keeps_what_is_done(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    slow = f'case "$(cat "$2")" in *K*) ;; *) echo $$ >> {note}; exec sleep 60;; esac'
    fake = answering(tmp_path, {"K": 1.6}, slow)
    found = searched(tmp_path / "run", fake, REQUEST.updated(budget=1 / 6))  # the models take their time to load
    assert CONFIRMED in found[0].verdicts
    assert found[0].name == "b"
    assert wait_until(lambda: not any(alive(int(pid)) for pid in note.read_text().split()))
    results = CalculationFile(tmp_path / "run" / "verified.jsonl").read()
    assert [one.gap for one in results.values()] == [1.6]  # type: ignore[union-attr]


def test_an_interrupt_kills_what_is_at_work(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    fake = script(tmp_path, f"echo $$ > {note}; exec sleep 60")
    plan = Plan(fake, FirstPrinciplesConfig())
    verification = Verification(plan, tmp_path / "run", intervals(REQUEST.property_targets)["band_gap"], 1)
    with verification:  # which an interrupt leaves like any other end
        verification.submit(PROPOSALS[0])
        assert wait_until(lambda: note.exists() and note.read_text().strip())
    assert wait_until(lambda: not alive(int(note.read_text())))
    assert CalculationFile(tmp_path / "run" / "verified.jsonl").read() == {}


def test_without_gpaw_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/nowhere/python3")
    with pytest.raises(MissingGpawError, match="apt install gpaw"):
        run(REQUEST, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("wrong", [{"verify": -1}, {"verify_minutes": 0.0}, {"targets": {}}, {"kind": "molecule"}])
def test_what_cannot_be_verified_is_refused(wrong: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"targets": {"band_gap": 1.5}, "verify": 2} | wrong
    if wrong == {"kind": "molecule"}:
        asked["targets"] = {"gap": 5.0}
    with pytest.raises(RequestError, match="verify"):
        Request.of(**asked)


def test_a_run_finds_as_many_as_are_to_be_verified() -> None:
    assert Request.of(targets={"band_gap": 1.5}, n=2, verify=5).wanted == 5


RADII = {"Na": 1.02, "K": 1.38, "Rb": 1.52, "Cs": 1.67, "Li": 0.76, "Ag": 1.15}, {"Cl": 1.81, "Br": 1.96, "I": 2.20}
"""Of ions, Å."""

SALTS = [
    offered(f"s{i:02d}", cation, anion, 2 * (RADII[0][cation] + RADII[1][anion]))
    for i, (cation, anion) in enumerate((c, a) for c in RADII[0] for a in RADII[1])
]


def with_probability(candidate: Candidate, probability: float) -> Candidate:
    return replace(candidate, properties={"band_gap": Prediction(1.5, 0.1, "eV", 0.0, probability)})


@pytest.mark.parametrize("refuted", [0, 1])
def test_only_as_many_uncertain_candidates_are_taken_as_are_missing(refuted: int, tmp_path: Path) -> None:
    """A spent budget or a refuted candidate does not make the search take all of them."""
    request = REQUEST.updated(n=3, verify=3)
    deadline = time.perf_counter() + (1000 if refuted else -1)
    with CandidateWriter(tmp_path, RunInfo("0", 0, {})) as writer:
        if refuted:
            no = Verdict(CONFIRMED, passed=False, value=5.0, unit="eV", reason="")
            writer.write(replace(SALTS[0], verdicts={CONFIRMED: no}))
        search = Search.resumed(request, writer, lambda _: None, deadline)
        for one in SALTS[1:]:
            search.deferred.add(passing(one))
        assert search.fill_up() == 3
        assert len(writer.candidates) == 3 + refuted


def test_who_waits_for_variety_replaces_who_is_refuted(tmp_path: Path) -> None:
    """Eight of one Wyckoff layout, one of which may be found: others are deferred until enough are confirmed."""
    gaps = {"Na": 5.0, "K": 1.5, "Rb": 1.5}
    request = REQUEST.updated(n=3, verify=3, variety=1.0)
    found = outcome_of(tmp_path / "run", answering(tmp_path, gaps), request, SALTS[:8])
    assert sum(one.verdicts[CONFIRMED].passed for one in found.candidates if CONFIRMED in one.verdicts) == 3
    assert "found all 3" in found.reason
    none = outcome_of(tmp_path / "none", answering(tmp_path, dict.fromkeys(("Na", "K", "Rb"), 5.0)), request, SALTS[:8])
    assert len(none.candidates) == 8
    assert "found 0 of 3 and confirmed 0 of 3: 1 rounds of proposals are used up" in none.reason


def test_enough_that_wait_are_said_to_be_why_a_search_ended(tmp_path: Path) -> None:
    with CandidateWriter(tmp_path, RunInfo("0", 0, {})) as writer:
        search = Search.resumed(REQUEST.updated(n=3, verify=3, variety=1.0), writer, lambda _: None)
        search.take(unit_of(SALTS[:4]), Silence())
        search.variety.turned_away = 10 * 3
        assert search.over
        search.fill_up()
        reason = search.outcome(tmp_path, 0.0).reason
    assert "found all 3 and confirmed 0 of 3: no other Wyckoff layouts were found" in reason
    assert "used up" not in reason


def test_who_was_not_needed_is_taken_when_more_are_to_be_verified(tmp_path: Path) -> None:
    folder, fake = tmp_path / "run", answering(tmp_path, dict.fromkeys(("Na", "K", "Rb"), 1.5))
    request = REQUEST.updated(n=1, verify=1, confidence=0.9)
    sure, uncertain = with_probability(SALTS[0], 0.95), [with_probability(one, 0.6) for one in SALTS[1:5]]
    proposals = [*uncertain, sure]
    first = outcome_of(folder, fake, request, proposals)
    assert [one.name for one in first.candidates] == [sure.name]
    assert {one.name for one in RejectedFile(folder).read()} == {one.name for one in uncertain}
    again = outcome_of(folder, fake, request.updated(verify=3), proposals)
    assert len(again.candidates) == 3
    assert again.proposals == 5
    turned_away = [one.name for one in RejectedFile(folder).read()]
    assert len(turned_away) == 2
    assert not set(turned_away) & {one.name for one in again.candidates}


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("config", "options", "budget"),
    [
        ("verify = 5", (), 60),
        ("", ("--verify", "5"), 60),
        ("budget = 3.0", ("--verify", "5"), 3),
        ("budget = 3.0\nverify = 5", (), 3),
        ("verify = 5", ("--budget", "4"), 4),
        ("verify = 5", ("--verify", "0"), 10),
        ("", (), 10),
    ],
)
def test_a_search_that_verifies_gets_an_hour_unless_a_budget_is_named_anywhere(
    config: str, options: tuple[str, ...], budget: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def noted(request: Request, folder: Path, **_: Any) -> Outcome:
        asked.append(request)
        return Outcome(folder, request.wanted, (), 0, {}, "", 0.0)

    monkeypatch.setattr("matgen.workflows.design.run", noted)
    (tmp_path / "run.toml").write_text(config)
    assert called(monkeypatch, "design", "--bandgap", "1.5", "--config", str(tmp_path / "run.toml"), *options) == 1
    assert asked[0].search.budget == budget


def test_an_interrupt_prints_what_was_found_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Request, folder: Path, *, found: Any, **__: Any) -> Outcome:
        with CandidateWriter(folder, RunInfo("0", 0, {})) as writer:
            for one in PROPOSALS[:2]:
                found(writer.write(one))
        raise KeyboardInterrupt

    monkeypatch.setattr("matgen.workflows.design.run", interrupted)
    requested = ("--bandgap", "1.5", "--verify", "2", "--json", "--out", str(tmp_path / "run"))
    assert called(monkeypatch, "design", *requested) == 130
    assert [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()] == ["a", "b"]


def test_calculated_gaps_of_a_table_of_candidates_can_be_learned(tmp_path: Path) -> None:
    searched(tmp_path / "run", answering(tmp_path, {"Na": 5.0, "K": 1.6, "Mg": 1.4, "Ca": 1.5}))
    (tmp_path / "run" / "gpaw" / "b.txt").write_text("a log")
    table = tmp_path / "run" / "candidates.csv"
    assert [name for name in table.read_text().splitlines()[0].split(",") if name.startswith(GAP)] == [GAP]
    found = read_labels([table], LabelConfig(column=GAP))
    assert [label.gap for label in found.labels] == [1.6, 1.4, 5.0]
