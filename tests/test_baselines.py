"""Ways of making crystals to be compared with: sound proposals, one seed one round, and honest counts."""

import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Species, Structure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "benchmarks"))

from baselines.compositions import balanced_compositions
from baselines.figures import Rate, advantage, counted, found, rate, spread_costs
from baselines.prior_alone import PriorAlone
from baselines.proposals import Proposals, Setting
from baselines.race import Race, Tools, cpu_seconds, within
from baselines.random_symmetric import RandomSymmetric, random_crystal
from baselines.substitution import Prototype, Substituted, Substitution, charged, substitutions
from compare_baselines import report
from matgen.chemistry.charges import is_valid
from matgen.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS, atomic_volumes
from matgen.generation.predictors import Predictor, by_structure
from matgen.hull.hull import ReferenceHull
from matgen.novelty.crystals import KnownIndex
from matgen.relaxation.calculators import chgnet_calculator
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.structures.symmetry import space_group
from matgen.weights.models import load
from shared.crystals import shipped
from shared.measurement import read_lines

SOURCES = {"random": RandomSymmetric, "substitution": Substitution, "prior": PriorAlone}

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def begun(name: str, setting: Setting, number: int = 0) -> list[Structure]:
    return list(islice(SOURCES[name](setting).round(number), 6))


def usual_volume(structure: Structure) -> float:
    volumes = atomic_volumes().tolist()
    return sum(volumes[z] for z in structure.atomic_numbers)


def rock_salt() -> Prototype:
    prototype = charged(ROCK_SALT.get_primitive_structure(), 225)
    assert prototype is not None
    return prototype


@pytest.fixture(scope="module")
def rounds(prepared_table: Path) -> dict[str, list[Structure]]:
    """The beginning of every baseline's first round."""
    return {name: begun(name, Setting(prepared_table)) for name in SOURCES}


@pytest.mark.parametrize("name", SOURCES)
def test_baselines_propose_small_finite_crystals(rounds: dict[str, list[Structure]], name: str) -> None:
    assert len(rounds[name]) == 6
    for structure in rounds[name]:
        assert len(structure) <= 20
        assert np.isfinite(structure.frac_coords).all()
        if name != "prior":  # whose network has only learned that charges balance
            assert is_valid(structure.composition)
        if name != "substitution":  # which keeps the volume ratio of what it substitutes into
            assert structure.volume == pytest.approx(usual_volume(structure), rel=1e-6)


@pytest.mark.parametrize("name", SOURCES)
def test_one_seed_one_round(rounds: dict[str, list[Structure]], prepared_table: Path, name: str) -> None:
    assert begun(name, Setting(prepared_table)) == rounds[name]
    assert begun(name, Setting(prepared_table), number=1) != rounds[name]
    assert begun(name, Setting(prepared_table, seed=1)) != rounds[name]


def test_compositions_balance_and_follow_the_table(prepared_table: Path) -> None:
    samples = balanced_compositions(prepared_table, np.random.default_rng(0), alloys=False)
    for counts in (next(samples) for _ in range(50)):
        assert 2 <= len(counts) <= 4
        assert sum(counts.values()) <= 20
        composition = Composition({SYMBOLS[z]: n for z, n in counts.items()})
        assert is_valid(composition)
        assert not all(element.is_metal for element in composition)


def test_a_random_crystal_has_the_atoms_asked_for_and_symmetry() -> None:
    counts = {ATOMIC_NUMBERS["Mg"]: 1, ATOMIC_NUMBERS["Ti"]: 1, ATOMIC_NUMBERS["O"]: 3}
    for seed in range(3):
        structure = random_crystal(counts, np.random.default_rng(seed))
        assert {z: list(structure.atomic_numbers).count(z) for z in counts} == counts
        assert space_group(structure, 0.01).number > 1


def test_substitutions_are_neutral_distinct_and_keep_the_structure() -> None:
    made = substitutions(rock_salt(), 400, np.random.default_rng(0))
    assert len(made) > 20
    assert len({one.replaced for one in made}) == len(made)
    for one in made:
        assert sum(new.oxi_state for _, new in one.replaced) == 0
        assert len(one.atoms) == 2
        structure = one.structure()
        assert space_group(structure).number == 225
        ratio = structure.volume / usual_volume(structure)
        assert ratio == pytest.approx(ROCK_SALT.volume / usual_volume(ROCK_SALT))


def test_likelier_substitutions_are_drawn_more_often() -> None:
    first: dict[str, int] = {"KCl": 0, "AgBr": 0}
    log_p: dict[str, float] = {}
    prototype = rock_salt()
    for seed in range(100):
        for one in substitutions(prototype, 16, np.random.default_rng(seed)):
            formula = Composition(one.atoms).reduced_formula
            if formula in first:
                first[formula] += 1
                log_p[formula] = one.log_p
    assert first["KCl"] > 2 * first["AgBr"]
    assert log_p["KCl"] > log_p.get("AgBr", -np.inf)


def test_crystals_without_oxidation_states_take_neighbours_of_the_scale() -> None:
    brass = Structure(Lattice.cubic(2.95), ["Cu", "Zn"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    prototype = charged(brass, 221)
    assert prototype is not None
    assert set(prototype.sites) == {Species("Cu", 0), Species("Zn", 0)}
    made = substitutions(prototype, 100, np.random.default_rng(0))
    nearest = max(made, key=lambda one: one.log_p)
    assert len(nearest.atoms) == 2
    assert {one.space_group for one in (made[0].prototype, nearest.prototype)} == {221}
    assert nearest.log_p == pytest.approx(-0.5)  # one step along the scale, of width 2


def test_the_likeliest_products_come_first(prepared_table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled: list[Substituted] = []
    whole = Substituted.structure

    def noted(one: Substituted) -> Structure:
        sampled.append(one)
        return whole(one)

    monkeypatch.setattr(Substituted, "structure", noted)
    list(Substitution(Setting(prepared_table)).round(0))
    assert len({one.key for one in sampled}) == len(sampled)
    for kernel in {id(one.prototype.kernel) for one in sampled}:
        heights = [one.log_p for one in sampled if id(one.prototype.kernel) == kernel]
        assert heights == sorted(heights, reverse=True)


class Slow:
    """Two crystals a round, each of which takes a while; every other round has none."""

    def round(self, number: int) -> Iterator[Structure]:
        for _ in range(0 if number % 2 else 2):
            end = time.process_time() + 0.02
            while time.process_time() < end:
                pass
            yield ROCK_SALT


def test_time_is_counted_while_making_and_not_while_reading() -> None:
    proposals = Proposals(Slow())
    for place in ((0, 0), (0, 1), (2, 0)):
        proposal = next(proposals)
        assert (proposal.round, proposal.index) == place
        assert 0.02 <= proposal.cpu_seconds < 0.04
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass


class RockSalts:
    """In every round a known crystal, a new one, and the new one again."""

    def __init__(self) -> None:
        self.new = [one.structure() for one in substitutions(rock_salt(), 100, np.random.default_rng(0))]

    def round(self, number: int) -> Iterator[Structure]:
        yield ROCK_SALT
        yield from [self.new[number], self.new[number].copy()]


def places(records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(one["round"], one["index"], one["formula"], one["objection"]) for one in records]


def test_a_race_that_was_cut_short_goes_on_where_it_was(tmp_path: Path, prepared_table: Path) -> None:
    models = shipped()
    known = KnownIndex.from_structures({"halite": ROCK_SALT})
    predictor = Predictor(models.graph, by_structure(models.structures))
    tools = Tools(CHGNetSurface(), chgnet_calculator(), ReferenceHull.load(), known, predictor, load("evaluator"))
    setting, file = Setting(prepared_table), tmp_path / "records.jsonl"
    source = RockSalts()
    first = Race(setting, tools, file)
    while len(first.records) < 4:
        first.run(source, first.spent + 1e-6)  # spent by whatever comes next
    assert {objection for *_, objection in places(first.records)} == {"known", "duplicate", ""}
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:2]) + lines[2][:40], encoding="utf-8")  # the interrupt
    again = Race(setting, tools, file)
    assert places(again.records) == places(first.records)[:2]
    while len(again.records) < 4:
        again.run(source, again.spent + 1e-6)
    assert places(again.records)[:4] == places(first.records)[:4]
    assert places(read_lines(file)) == places(again.records)


def record(number: int, *, sun: bool = False, gap: float = 0.0, generating: float = 0.0, **more: Any) -> dict[str, Any]:
    verdicts = {"converged": True, "stable": sun, "sun": sun, "novel": sun, "new_formula": sun, "gap": gap}
    costs = {"generating": generating, "screening": 1.0, "relaxing": 7.0, "evaluating": 2.0}
    return {"round": number, "index": 0, "objection": "", "above_hull": 0.05, **verdicts, **costs, **more}


def test_rates_are_hits_over_hours_and_their_intervals_hold_them() -> None:
    records = [record(0, generating=20.0), record(0, sun=True, gap=1.6), record(1, sun=True, gap=0.2)]
    assert [cpu_seconds(one) for one in records] == [30.0, 10.0, 10.0]
    assert spread_costs(records).tolist() == [20.0, 20.0, 10.0]  # a round shares what it took to generate
    figures = counted(records, 1.5)
    assert (figures["proposed"], figures["sun"], figures["on_target"]) == (3, 2, 1)
    assert figures["sun_per_hour"]["value"] == pytest.approx(2 / (50 / 3600))
    assert sum(figures["shares"].values()) == pytest.approx(1)
    for rates in (figures["sun_per_proposed"], figures["sun_per_hour"], figures["on_target_per_hour"]):
        assert rates["low"] <= rates["value"] <= rates["high"]
    assert not found(record(0, gap=1.5), 1.5)  # on target, but not stable


def test_the_bootstrap_interval_of_a_share_is_as_wide_as_the_binomial_one() -> None:
    hits = np.arange(400) % 4 == 0
    interval = rate(hits.astype(float), np.ones(400))
    spread = 1.96 * (0.25 * 0.75 / 400) ** 0.5
    # 2,000 resamples know the ends to a few per cent of the width
    assert interval.low == pytest.approx(0.25 - spread, abs=0.2 * spread)
    assert interval.high == pytest.approx(0.25 + spread, abs=0.2 * spread)
    nothing = rate(np.zeros(30), np.ones(30))
    assert (nothing.value, nothing.low, nothing.high) == (0.0, 0.0, 0.1)


def test_an_advantage_over_a_method_that_found_nothing_is_a_lower_bound() -> None:
    many = [record(i, sun=i % 2 == 0) for i in range(40)]
    few = [record(i, sun=i % 8 == 0) for i in range(40)]
    none = [record(i) for i in range(40)]
    times = advantage(many, few, None)
    assert times.value == pytest.approx(4)
    assert times.low < 4 < times.high
    assert advantage(many, none, None).value == pytest.approx(20 / 3)


def test_a_budget_ends_with_the_proposal_that_spends_it() -> None:
    records = [record(i) for i in range(5)]  # 10 s each
    assert len(list(within(records, 20.0))) == 2
    assert len(list(within(records, 20.1))) == 3


def test_a_report_names_the_best_baseline(tmp_path: Path) -> None:
    ours = [record(i, sun=i % 2 == 0, gap=1.5) for i in range(20)]
    weak = [record(i, sun=i % 10 == 0, gap=1.5) for i in range(20)]
    turned_away = [record(0, objection="known", relaxing=0.0)]
    weaker = turned_away + [record(i, gap=1.5) for i in range(20)]
    figures, places = report({"gap": {"random": weaker, "prior": weak, "ours": ours}}, tmp_path / "bars.png")
    assert figures["gap"]["ours"]["advantage"]["over"] == "prior"
    assert figures["gap"]["random"]["objections"] == {"known": 1}
    assert "5.0 (" in places["bar baselines"]
    assert (tmp_path / "bars.png").stat().st_size > 0
    assert Rate(0.5, 0.25, 0.75).shown(100) == "50 (25 to 75)"
