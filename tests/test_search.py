"""A search keeps what is stable, new and distinct, and reports why it ended."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
from finished_units import Offering, unit_of
from pymatgen.core import Lattice, Structure

from matgen.energies.novelty import Novelty
from matgen.generation.acceptance import confidence_of_round, least_confidence
from matgen.generation.errors import RequestError
from matgen.generation.presets import FAST
from matgen.generation.propose import STEPS_BETWEEN_LOOKS
from matgen.generation.request import Request
from matgen.generation.sampler_settings import SamplerConfig
from matgen.novelty.crystals import KnownIndex
from matgen.relaxation.pool import RelaxingPotential, relax_many
from matgen.relaxation.stability import is_minimum
from matgen.runtime.progress import Silence
from matgen.runtime.workers import Here
from matgen.search.assessment import assessment_of
from matgen.search.search import Search
from matgen.search.units import MOST_AT_ONCE, size_of_unit, units_per_round
from matgen.structures.candidate import Candidate, Prediction
from matgen.structures.export import CandidateWriter
from matgen.structures.run_report import RunInfo
from matgen.structures.symmetry import space_group
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.wyckoff import wyckoff_table
from matgen.workflows.design_steps import steps, to_the_end


def rock_salt(a: float, cation: str, anion: str) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def zinc_blende(a: float, cation: str, anion: str) -> Structure:
    return Structure.from_spacegroup("F-43m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.25, 0.25, 0.25]])


def offered(name: str, structure: Structure) -> Candidate:
    return Candidate(name, structure, structure, space_group(structure))


PROPOSALS = [
    offered("known", rock_salt(5.7, "Na", "Cl")),
    offered("high", zinc_blende(5.3, "Sr", "O")),
    offered("once", zinc_blende(5.2, "Ca", "S")),
    offered("twice", zinc_blende(5.3, "Ca", "S")),
]


def searched(request: Request, folder: Path) -> Search:
    with CandidateWriter(folder, RunInfo("0", 0, {})) as writer:
        search = Search.resumed(request, writer, lambda _: None)
        search.take(Offering(request, [PROPOSALS]).made(0), Silence())
        return search


def test_known_unstable_and_repeated_proposals_are_rejected(tmp_path: Path) -> None:
    """Zinc-blende SrO lies some 0.15 eV/atom above the hull, zinc-blende CaS some 0.25."""
    request = Request.of(n=4, max_ehull=0.2, processes=1)
    search = searched(request, tmp_path)
    verdicts = {c.name: c.verdicts for c in search.rejects.read()}
    lines = [json.loads(line) for line in search.rejects.path.read_text(encoding="utf-8").splitlines()]
    rejected_by = {line["name"]: line["rejected_by"] for line in lines}
    assert rejected_by.pop("once") in {"hull", "relaxed"}  # too high, or given up as hopeless on the way
    assert rejected_by == {"known": "novel", "twice": "unique"}
    checks = assessment_of(request).candidate_checks
    deciding = {name: checks.deciding_failure(found) for name, found in verdicts.items()}
    assert deciding == {line["name"]: line["rejected_by"] for line in lines}
    assert "NaCl" in verdicts["known"]["novel"].reason
    (survivor,) = search.writer.candidates
    assert survivor.name == "high"
    assert 0.1 < survivor.verdicts["hull"].value <= 0.2
    assert 1 + sum(search.tally.values()) == len(PROPOSALS)


def test_a_stricter_limit_keeps_less(tmp_path: Path) -> None:
    loose = searched(Request.of(n=4, max_ehull=1.0, processes=1), tmp_path / "loose")
    strict = searched(Request.of(n=4, max_ehull=-1.0, processes=1), tmp_path / "strict")
    assert loose.writer.candidates
    assert not strict.writer.candidates
    assert "found 0 of 4" in strict.outcome(tmp_path, 0.0).reason


def test_known_crystals_are_kept_where_they_are_wanted(tmp_path: Path) -> None:
    search = searched(Request.of(n=1, allow_known=True, processes=1), tmp_path)
    assert [c.name for c in search.writer.candidates] == ["known"]
    assert not search.writer.candidates[0].verdicts["novel"].passed
    assert search.writer.candidates[0].verdicts["is_minimum"].passed
    assert search.outcome(tmp_path, 0.0).reason == "found all 1"


def test_a_spent_budget_ends_the_search_and_is_named(tmp_path: Path) -> None:
    request = Request.of(n=4, budget=1e-9, processes=1, relax="none")
    with CandidateWriter(tmp_path, RunInfo("0", 0, {})) as writer:
        units = Here(Offering(request, [PROPOSALS]))
        outcome = to_the_end(steps(request, writer, units, None, Silence(), lambda _: None, time.perf_counter()))
    assert "found 0 of 4: the budget of 1e-09 minutes is spent (0 assessed" in outcome.reason


@pytest.mark.parametrize(("n", "size", "per_round"), [(1, 1, 1), (4, 4, 1), (5, 5, 1), (10, 5, 2), (12, 5, 3)])
def test_a_round_is_the_units_that_propose_for_all_that_are_wanted(n: int, size: int, per_round: int) -> None:
    request = Request.of(n=n, band_gap=1.5)
    assert MOST_AT_ONCE == 5
    assert (size_of_unit(request), units_per_round(request)) == (size, per_round)
    verified = request.updated(verify=3 * n)  # which may change when a run is resumed
    assert (size_of_unit(verified), units_per_round(verified)) == (size, per_round)


def candidate_of(name: str, structure: Structure, probability: float) -> Candidate:
    """A candidate that passes every check, with the probability that its target is met."""
    predicted = Prediction(1.5, 0.3, "eV", 0.1, probability)
    evaluated = Prediction(1.5, 0.3, "eV", 0.1, 0.01)  # which decides nothing
    return replace(offered(name, structure), properties={"band_gap": predicted, "evaluator_band_gap": evaluated})


def test_less_probable_candidates_wait_for_later_rounds(tmp_path: Path) -> None:
    request = Request.of(n=3, targets={"band_gap": 1.5}, relax="none", confidence=0.55)
    asked = [confidence_of_round(request, number) for number in range(20)]
    assert asked == sorted(asked, reverse=True)
    assert (asked[0], asked[-1]) == (0.55, least_confidence(request))
    deferred = [
        candidate_of("least", rock_salt(5.0, "Mg", "S"), 0.3),
        candidate_of("never", rock_salt(5.5, "Ca", "Se"), 0.26),
        candidate_of("middle", rock_salt(5.2, "Ca", "S"), 0.46),
        candidate_of("most", rock_salt(4.8, "Ca", "O"), 0.52),
    ]
    taken = []
    with CandidateWriter(tmp_path, RunInfo("0", 0, {})) as writer:
        search = Search.resumed(request, writer, lambda one: taken.append(one.name))
        search.variety.most = 3
        search.take(unit_of(deferred), Silence())
        assert taken == []
        search.begin(2)
        assert taken == ["most", "middle"]  # the most probable first
        search.fill_up()  # no more rounds: as many deferred candidates as are missing are kept
        search.dismiss()
    assert taken == ["most", "middle", "least"]
    (rejected,) = search.rejects.read()
    assert rejected.name == "never"
    assert not rejected.verdicts["not_needed"].passed


def test_bad_limits_are_refused() -> None:
    with pytest.raises(RequestError, match="budget"):
        Request.of(budget=0)
    with pytest.raises(RequestError, match="confidence from 0 to below 1"):
        Request.of(confidence=1.0)
    with pytest.raises(RequestError, match="max_ehull"):
        Request.of(max_ehull=math.nan)


def test_the_novelty_term_penalises_known_formulas_only() -> None:
    salt, other = (
        CrystalTemplate(225, tuple((wyckoff_table().positions_of(225)[i], z) for i, z in enumerate(pair)))
        for pair in ((11, 17), (11, 54))
    )
    formulas = KnownIndex.load().formulas
    assert "NaCl" in formulas
    energies = Novelty(formulas)(TemplateBatch.of([salt, other]))
    assert energies.tolist() == [1.0, 0.0]


def test_a_saddle_does_not_fall_back_and_a_minimum_does() -> None:
    """Body-centred copper shears towards the face-centred one; rock-salt magnesia stays what it is."""
    potential = RelaxingPotential()
    magnesia = rock_salt(4.2, "Mg", "O")
    copper = Structure(Lattice.cubic(2.87), ["Cu", "Cu"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    verdicts = []
    for structure in (magnesia, copper):
        (outcome,) = relax_many([structure])
        candidate = Candidate("a", outcome.structure, structure, space_group(structure), relaxation=outcome.report)
        verdicts.append(is_minimum(candidate, potential))
    assert verdicts[0].passed
    assert verdicts[0].value < 0.003
    assert not verdicts[1].passed
    unrelaxed = is_minimum(offered("b", magnesia), potential)
    assert not unrelaxed.passed
    assert math.isnan(unrelaxed.value)


def test_the_fast_preset_leaves_the_geometry_to_the_relaxation() -> None:
    request = Request.of(**FAST)
    assert (request.stages.diffusion, request.stages.mala) == (False, False)
    assert request.sampler.shaped > SamplerConfig().shaped
    looks = (request.sampler.move_steps - request.sampler.burn_in) // STEPS_BETWEEN_LOOKS + 1
    assert request.search.over_generation * looks > 2 * request.sampler.started  # there is a choice of what to start
