"""Limits on Wyckoff layouts in a run, families of similar candidates, and shares of elements and layouts in a set."""

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from finished_units import passing, unit_of
from pymatgen.core import Lattice, Molecule, Structure

from matgen.chemistry.elements import ATOMIC_NUMBERS, known_elements
from matgen.cli.candidate_tables import by_family, candidate_table
from matgen.datasets.crystals import CrystalTable
from matgen.generation.errors import RequestError
from matgen.generation.repetition import repeats
from matgen.generation.request import FEW, Request
from matgen.metrics.shares import KINDS, shares, shares_of_structures, training_shares
from matgen.runtime.progress import Silence
from matgen.search.rejected import RejectedFile
from matgen.search.search import Search
from matgen.search.variety import PATIENCE, VARIETY, Families, Variety
from matgen.structures.candidate import Candidate
from matgen.structures.conversion import described, structures
from matgen.structures.export import CandidateWriter
from matgen.structures.run_report import RunInfo
from matgen.structures.symmetry import space_group
from matgen.templates.batch import crystals_of
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand
from matgen.templates.families import chemical_group, family
from matgen.templates.prototypes import layout
from matgen.templates.wyckoff import wyckoff_table


def face_centred(a: float, species: list[str], *places: float) -> Structure:
    """Atoms on the body diagonal of a face-centred cubic cell."""
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, species, [[place] * 3 for place in places])


def rock_salt(cation: str, anion: str) -> Structure:
    return face_centred(5.6, [cation, anion], 0.0, 0.5)


def zinc_blende(cation: str, anion: str) -> Structure:
    return face_centred(5.6, [cation, anion], 0.0, 0.25)


def fluorite(cation: str, anion: str) -> Structure:
    return face_centred(5.6, [cation, anion, anion], 0.0, 0.25, 0.75)


def caesium_chloride(cation: str, anion: str) -> Structure:
    return Structure(Lattice.cubic(4.1), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


ALKALI = [(cation, anion) for cation in ("Na", "K", "Rb", "Cs") for anion in ("Cl", "Br", "I")]


def offered(name: str, structure: Structure, energy: float = 0.0) -> Candidate:
    return Candidate(name, structure, structure, space_group(structure), energies={"prior": energy})


def many_halides() -> list[Candidate]:
    """Twelve of rock salt, three of zinc blende, two of caesium chloride, one of fluorite."""
    structures = [rock_salt(*pair) for pair in ALKALI]
    structures += [zinc_blende(cation, "S") for cation in ("Zn", "Cd", "Hg")]
    structures += [caesium_chloride("Cs", "Br"), caesium_chloride("Tl", "Cl"), fluorite("Ca", "F")]
    return [offered(f"{i:02d}", one, float(i)) for i, one in enumerate(structures)]


def searched(request: Request, folder: Path, proposals: Sequence[Candidate], *, stop_after: int = 0) -> Search:
    """Search through proposals; interrupt after some candidates, and resume."""

    def found(_: Candidate) -> None:
        seen.append(1)
        if len(seen) == stop_after:
            raise KeyboardInterrupt

    seen: list[int] = []
    while True:
        try:
            with CandidateWriter(folder, RunInfo("0", 0, {})) as writer:
                search = Search.resumed(request, writer, found)
                search.take(unit_of(proposals), Silence())
                search.fill_up()
                search.dismiss()
                return search
        except KeyboardInterrupt:
            continue


# ---------------------------------------------------------------- the limit on each Wyckoff layout


@pytest.mark.parametrize("seed", range(6))
def test_the_limit_holds_for_any_order_of_proposals(seed: int, tmp_path: Path) -> None:
    """Ten of eighteen requested, at most three per Wyckoff layout: nine fit, and one deferred halide is added."""
    proposals = many_halides()
    Random(seed).shuffle(proposals)
    search = searched(Request.of(n=10), tmp_path, proposals)
    assert search.complete
    within = [one for one in search.writer.candidates if one.verdicts[VARIETY].passed]
    assert len(within) == 3 + 3 + 2 + 1
    assert max(search.variety.counts.values()) == 3 + 1
    (beyond,) = [one for one in search.writer.candidates if not one.verdicts[VARIETY].passed]
    assert "1 are beyond the 3 of one Wyckoff layout" in search.outcome(tmp_path, 0.0).reason
    turned_away = search.rejects.read()
    assert beyond.name not in {one.name for one in turned_away}
    assert len(turned_away) == sum(search.tally.values()) == len(proposals) - 10
    waited = [one for one in turned_away if "unique" in one.verdicts]  # the best deferred one was taken
    assert all(sum(beyond.energies.values()) < sum(one.energies.values()) for one in waited)


def test_a_layout_that_can_be_avoided_is_not_exceeded(tmp_path: Path) -> None:
    search = searched(Request.of(n=8), tmp_path, many_halides())
    assert sorted(search.variety.counts.values()) == [2, 3, 3]
    assert search.outcome(tmp_path, 0.0).reason == "found all 8"


@pytest.mark.parametrize("n", [1, 2, 5, 10, 12, 18, 20])
def test_never_fewer_than_without_a_limit(n: int, tmp_path: Path) -> None:
    limited = searched(Request.of(n=n), tmp_path / "limited", many_halides())
    free = searched(Request.of(n=n, variety=0.0), tmp_path / "free", many_halides())
    assert len(limited.writer.candidates) == len(free.writer.candidates) == min(n, 18)


def test_without_variety_the_first_ones_are_taken(tmp_path: Path) -> None:
    search = searched(Request.of(n=10, variety=0.0), tmp_path, many_halides())
    assert [one.name for one in search.writer.candidates] == [f"{i:02d}" for i in range(10)]
    assert all(VARIETY not in one.verdicts for one in search.writer.candidates)


@pytest.mark.parametrize("stop_after", [1, 4, 9])
def test_an_interrupt_changes_nothing(stop_after: int, tmp_path: Path) -> None:
    whole = searched(Request.of(n=10), tmp_path / "whole", many_halides())
    cut = searched(Request.of(n=10), tmp_path / "cut", many_halides(), stop_after=stop_after)
    for one in (whole, cut):
        one.writer.revise([replace(c, family=one.families.best(c.name)) for c in one.writer.candidates])
    assert cut.writer.candidates == whole.writer.candidates
    assert RejectedFile(tmp_path / "cut").read() == RejectedFile(tmp_path / "whole").read()
    assert cut.tally == whole.tally


def test_patience_ends_the_search_once_enough_are_found_or_wait() -> None:
    salts = [passing(one) for one in many_halides()[:4]]
    variety = Variety(wanted=2, most=1)
    assert variety.verdicts(salts[0])[VARIETY].passed
    variety.counts[salts[0].likeness] += 1
    assert not variety.verdicts(salts[1])[VARIETY].passed
    assert not variety.enough
    variety.turned_away = 2 * PATIENCE
    assert not variety.exhausted  # too few wait
    variety.rejected(salts[1])
    assert variety.enough
    assert variety.exhausted
    variety.turned_away = 2 * PATIENCE - 1
    assert not variety.exhausted
    variety.rejected(salts[2])
    assert variety.exhausted
    variety.refuted = 2  # by first principles: they count no more
    assert not variety.exhausted


def test_the_limit_is_three_tenths_unless_the_request_leaves_few_layouts() -> None:
    assert [Request.of(n=n).most_alike for n in (1, 2, 3, 4, 10, 11, 40)] == [1, 1, 1, 2, 3, 4, 12]
    few, more = ("Ga", "N", "O"), ("Ga", "N", "O", "Al")
    assert len(few) == FEW
    unlimited = [{"formula": "GaN"}, {"elements": few}, {"space_groups": (225,)}, {"variety": 0.0}]
    for asked in (*unlimited, {"kind": "molecule"}):
        assert Request.of(n=40, **asked).most_alike == 40
    for asked in unlimited:  # nor where more are to be verified than found
        both = Request.of(n=2, verify=5, targets={"band_gap": 1.5}, **asked)
        assert both.most_alike == both.wanted == 5
    for asked in ({"elements": more}, {"include": few}, {"space_groups": tuple(range(221, 231))}, {"variety": 2.0}):
        assert Request.of(n=40, **asked).most_alike == 12
    with pytest.raises(RequestError, match="variety"):
        Request.of(variety=-1)


def test_repetitions_cost_in_the_order_of_energy_and_nothing_without_variety() -> None:
    total = torch.tensor([3.0, 1.0, 2.0, 0.0])
    assert repeats(["a", "a", "b", "a"], total, 0.5).tolist() == [1.0, 0.5, 0.0, 0.0]
    assert repeats(["a", "a", "b", "a"], total, 0.0).tolist() == [0.0] * 4


# ---------------------------------------------------------------- families


def template(structure: Structure) -> CrystalTemplate:
    return described(structure)[0]


def test_chemical_groups_are_those_of_the_table() -> None:
    together = [("K", "Rb"), ("Cl", "Br"), ("Ce", "Lu"), ("Sc", "Gd"), ("U", "Pu"), ("Ti", "Hf"), ("He", "Xe")]
    apart = [("H", "Li"), ("K", "Ca"), ("La", "Ac"), ("O", "F"), ("Zn", "Mg"), ("Th", "Y")]
    group = {symbol: chemical_group(z) for symbol, z in ATOMIC_NUMBERS.items() if z in known_elements()}
    assert all(group[one] == group[other] for one, other in together)
    assert all(group[one] != group[other] for one, other in apart)


def test_a_family_is_an_equivalence_and_finer_than_a_layout() -> None:
    """Equality of a key is reflexive, symmetric and transitive; here over sites and elements at random."""
    random, table = Random(0), wyckoff_table()
    templates = []
    for _ in range(300):
        group = random.choice([2, 62, 129, 194, 225])
        positions = random.sample(list(table.positions_of(group))[:3], 2)
        elements = [random.choice([11, 19, 37, 17, 35, 57, 64]) for _ in positions]
        templates.append(CrystalTemplate(group, tuple(sorted(zip(positions, elements, strict=True)))))
    for one, other in itertools.combinations(templates, 2):
        if family(one) == family(other):
            assert layout(one) == layout(other)
        groups = [sorted(chemical_group(z) for _, z in each.sites) for each in (one, other)]
        assert family(one) != family(other) or groups[0] == groups[1]
    for one in templates:  # exchanging every element for one of its group leaves the family
        kin = {11: 19, 19: 37, 37: 11, 17: 35, 35: 17, 57: 64, 64: 57}
        assert family(CrystalTemplate(one.space_group, tuple((p, kin[z]) for p, z in one.sites))) == family(one)


def test_near_repeats_are_one_family_whichever_position_is_named_first() -> None:
    """NaCl has its cation on 4a and KCl its anion; zinc blende and other groups are other families."""
    salts = [template(rock_salt(*pair)) for pair in ALKALI]
    assert len({family(one) for one in salts}) == 1
    assert salts[0].sites[0][1] != 17
    assert {one.sites[0][1] for one in salts} & {17}
    others = [zinc_blende("Na", "Cl"), rock_salt("Mg", "O"), rock_salt("Na", "H"), caesium_chloride("Na", "Cl")]
    assert len({family(template(one)) for one in others} | {family(salts[0])}) == 5
    assert family(template(fluorite("Ca", "F"))) != family(template(fluorite("Na", "O")))  # fluorite, antifluorite


def test_each_names_the_best_of_its_family(tmp_path: Path) -> None:
    found = [
        offered("first", rock_salt("K", "Cl"), 2.0),
        offered("other", zinc_blende("Zn", "S"), 1.0),
        offered("best", rock_salt("Rb", "Br"), 0.0),
        offered("last", rock_salt("Na", "I"), 3.0),
    ]
    families = Families()
    assert [families.add(one, passing(one).family) for one in found] == ["first", "other", "best", "best"]
    named = [replace(one, family=families.best(one.name)) for one in found]
    assert [one.family for one in named] == ["best", "other", "best", "best"]
    assert [one.name for one in by_family(named)] == ["other", "best", "first", "last"]
    names = list(candidate_table(named, ()).columns[0].cells)
    assert names == ["other", "best", "  first", "  last"]
    helium = Molecule(["He"], [[0, 0, 0]])
    molecule = Candidate("m", helium, helium, None, template="[He]")
    assert families.add(molecule, passing(molecule).family) == ""
    with CandidateWriter(tmp_path, RunInfo("0", 0, {})) as writer:
        for one in found:
            writer.write(one)
        written = [replace(one, family=families.best(one.name)) for one in writer.candidates]
        writer.revise(written)
        with pytest.raises(ValueError, match="order"):
            writer.revise(written[:2])
    with CandidateWriter(tmp_path, RunInfo("0", 0, {})) as writer:
        assert [one.family for one in writer.candidates] == ["best", "other", "best", "best"]
    with (tmp_path / "candidates.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["family"] for row in csv.DictReader(stream)] == ["best", "other", "best", "best"]


# ---------------------------------------------------------------- shares


def known_set() -> Iterator[Structure]:
    yield from (rock_salt("Na", "Cl"), rock_salt("Ce", "S"), rock_salt("Tc", "N"), zinc_blende("Po", "Zn"))
    yield face_centred(6.2, ["Xe"], 0.0)
    yield Structure(Lattice.cubic(6), ["Ac", "Ac"], [[0, 0, 0], [0, 0, 0]])  # no symmetry can be found in this


def test_shares_of_a_known_list_are_right_in_any_order() -> None:
    found = shares_of_structures(known_set(), "six")
    counts = {name: one.count for name, one in found.shares.items()}
    assert found.n == 6
    assert counts == {
        "f_block": 2,
        "radioactive": 3,
        "noble_gas": 1,
        "single_element": 2,
        "commonest_layout": 3,
        "commonest_space_group": 4,
    }
    assert found.shares["commonest_layout"].what == "225: 4a, 4b"
    assert found.shares["commonest_space_group"].what == "225"
    assert found.shares["radioactive"].share == pytest.approx(0.5)
    assert shares_of_structures(reversed(list(known_set())), "six") == found
    assert all(one.count == one.share == 0 for one in shares((), "nothing").shares.values())


def test_bismuth_is_stable_and_lanthanum_of_the_f_block() -> None:
    for symbols, expected in (
        ("Bi", {"single_element"}),
        ("La Lu", {"f_block"}),
        ("Pm O", {"f_block", "radioactive"}),
        ("Hf O", set()),
    ):
        elements = frozenset(ATOMIC_NUMBERS[symbol] for symbol in symbols.split())
        assert {name for name, asked in KINDS.items() if asked(elements)} == expected


def test_the_shares_of_the_training_data_ship() -> None:
    found = training_shares()
    assert set(found.shares) == {*KINDS, "commonest_layout", "commonest_space_group"}
    for one in found.shares.values():
        assert 0 < one.count <= found.n
        assert one.share == pytest.approx(one.count / found.n, abs=1e-6)  # rounded to so many digits


def test_a_table_and_its_structures_have_the_same_shares(prepared_table: Path) -> None:
    table = CrystalTable.load(prepared_table)
    templates = crystals_of(table.templates.unbatch())
    found = shares(((frozenset(one.composition), one) for one in templates), "table")
    assert found.n == len(table)
    assert found == shares_of_structures(structures(expand(table.templates, table.geometry)), "table")
