"""Large sets: what saves memory or time gives what the plain way gives, and no cost is by pairs."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import TextbookEntry
from pymatgen.core import Lattice, Molecule, Structure

from matgen.metrics import Bootstrap, Profile, Traits, average, distances, first_of_kind
from matgen.metrics import distributions as of_metrics
from matgen.metrics import estimate as estimates
from matgen.metrics.estimate import pooled_share
from matgen.novelty import duplicates
from matgen.novelty.duplicates import MATCHER, MATCHER_WINDOW, SeenStructures, reduced_for_matching
from matgen.novelty.fingerprint import Fingerprint, difference, fingerprint, similar_volume
from matgen.screening import ordered_rows
from matgen.screening.assess import assess
from matgen.screening.config import NONE, ScreenConfig, run_info
from matgen.screening.files import Journal
from matgen.screening.ordered_rows import OrderedRows
from matgen.screening.row import Row, row_record
from matgen.screening.stored_rows import RowFile
from matgen.structures.candidate import Material
from matgen.structures.cif import cif_text
from matgen.structures.files import Entry, given
from matgen.structures.packed import packed, packed_entries, unpacked
from matgen.structures.run_report import ResumeError
from matgen.workflows.screen import run

CHEAP = ScreenConfig(reference=NONE, known=NONE)


@pytest.fixture(scope="module")
def small(textbook: tuple[TextbookEntry, ...]) -> list[Structure]:
    """Textbook crystals of up to six atoms, each with a displaced copy in a doubled cell."""
    generator = np.random.default_rng(0)
    found = []
    for entry in textbook:
        if len(entry.structure) <= 6:
            copy = entry.structure * (2, 1, 1)
            moved = copy.cart_coords + generator.normal(scale=0.02, size=(len(copy), 3))
            found += [entry.structure, Structure(copy.lattice, copy.species, moved, coords_are_cartesian=True)]
    return found[:24]


def identical(one: Material, other: Material) -> bool:
    same = one.species == other.species and (one.cart_coords == other.cart_coords).all()
    if isinstance(one, Structure) and isinstance(other, Structure):
        return bool(same and (one.lattice.matrix == other.lattice.matrix).all() and one == other)
    return bool(same and one.charge == other.charge)


# ---------------------------------------------------------------- arrays in place of objects


def test_arrays_give_back_a_material_to_the_last_digit(small: list[Structure]) -> None:
    cell = Lattice([[3.1, 0.2, 0], [0, 4.7, 0.1], [0.3, 0, 5.3]])
    sheared = Structure(cell, ["Na", "Cl"], [[-0.3, 1.7, 0], [0, 0, 0.5]])
    charged = sheared.copy().add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    ion = Molecule(["O", "H"], [[0, 0, 0.1], [0, 0, 1.07]], charge=-1)
    for material in [*small, sheared, charged, ion]:
        assert identical(unpacked(packed(material)), material)


def test_packed_entries_are_the_entries(small: list[Structure]) -> None:
    water = Molecule(["O", "H", "H"], [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    entries = [
        Entry("a", "x", 0, small[0], ""),
        Entry("b", "x", 1, None, "broken"),
        Entry("c", "y", 0, water, "", "O", "a note"),
        Entry("d", "y", 1, None, "no bonds", atoms=water),
    ]
    kept = packed_entries(iter(entries))
    assert list(kept) == entries
    assert (len(kept), kept[-1], kept[1:3]) == (4, entries[3], entries[1:3])
    with pytest.raises(IndexError):
        kept[4]


# ---------------------------------------------------------------- duplicates


def plain_first(seen: list[tuple[int, Structure, Fingerprint]], index: int, structure: Structure) -> int | None:
    """Compare with all structures seen before, and keep a new one: the rule of `SeenStructures`, pair by pair."""
    mine = fingerprint(structure)
    near = [(difference(mine, other), k, kept) for k, kept, other in seen if similar_volume(mine, other)]
    for apart, k, kept in sorted(near, key=lambda one: one[0]):
        if apart <= MATCHER_WINDOW and MATCHER.fit(
            reduced_for_matching(structure), reduced_for_matching(kept), skip_structure_reduction=True
        ):
            return k
    seen.append((index, structure, mine))
    return None


def test_duplicates_are_those_of_a_comparison_with_all(small: list[Structure]) -> None:
    structures = small + [structure * (1, 1, 2) for structure in small[::3]]
    random.Random(1).shuffle(structures)
    seen, plain = SeenStructures(), []
    found = [seen.add(structure) for structure in structures]
    assert found == [plain_first(plain, index, structure) for index, structure in enumerate(structures)]
    assert 8 < sum(first is not None for first in found) < len(found)


def test_near_structures_are_sorted_by_difference_however_many_there_are() -> None:
    generator = np.random.default_rng(2)
    prints = [
        Fingerprint("A", float(v), s.astype(np.float32))
        for v, s in zip(np.exp(generator.normal(3, 0.2, 300)), 0.07 * generator.normal(size=(300, 30)), strict=True)
    ]
    kept, n_near = duplicates._OneFormula(), 0
    for index, one in enumerate(prints):
        alike = [k for k, other in enumerate(prints[:index]) if similar_volume(one, other)]
        apart = {k: difference(one, prints[k]) for k in alike}
        expected = sorted((k for k in alike if apart[k] <= MATCHER_WINDOW), key=apart.__getitem__)
        assert [other.index for other in kept.near(one)] == expected
        n_near += len(expected)
        kept.add(duplicates._Seen(index, packed(Structure(Lattice.cubic(3), ["Po"], [[0, 0, 0]]))), one)
    assert 1000 < n_near < 40_000  # of 44,850 pairs


def test_other_formulas_and_other_sizes_are_not_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    fit = MATCHER.fit
    monkeypatch.setattr(duplicates.MATCHER, "fit", lambda *args, **kw: asked.append(1) or fit(*args, **kw))
    seen = SeenStructures()
    for symbol in ("Li", "Na", "K", "Rb", "Cs"):
        for edge in (4.0, 6.0):  # of different volume: a copy, which the matcher confirms
            found = seen.add(Structure(Lattice.cubic(edge), [symbol], [[0, 0, 0]]))
            assert (found is None) == (edge == 4.0)
    assert len(asked) == 5  # once for each copy, and never for another element
    assert seen.add(Structure(Lattice.cubic(4.01), ["Na"], [[0, 0, 0]])) == 2
    assert len(asked) == 6


def test_each_structure_is_asked_for_at_most_twice(small: list[Structure]) -> None:
    counts = [0] * len(small)

    class Counted(list[Structure | None]):
        def __getitem__(self, index: int) -> Structure | None:  # type: ignore[override]
            counts[index] += 1
            return small[index]

    assert first_of_kind(Counted(small)) == first_of_kind(small)
    assert max(counts) == 2
    first_of_kind(Counted(small), [index == 0 for index in range(len(small))])
    assert counts[1] == 2  # one that takes no part is not asked for


# ---------------------------------------------------------------- intervals


def test_resampling_in_parts_is_resampling_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).normal(size=37).tolist()
    passed, counts = [k % 4 for k in range(37)], [4] * 37
    whole = average("x", values), pooled_share("y", passed, counts)
    monkeypatch.setattr(estimates, "AT_ONCE", 37 * 7)  # seven sets at a time, and six in the last part
    assert (average("x", values), pooled_share("y", passed, counts)) == whole


def test_equal_structures_are_resampled_together_with_the_same_spread() -> None:
    generator = np.random.default_rng(4)
    found = [
        Traits(float(d), 10.0, int(n), 225, ("O", "Ti") if n == 2 else ("O", "Sr", "Ti"))
        for d, n in zip(generator.choice([3.1, 4.2, 5.3], 60), generator.choice([2, 3], 60), strict=True)
    ]
    reference = of_metrics.profile("all", found[:20])
    bootstrap = Bootstrap(replicates=4000)
    by_name = {one.name: one for one in distances(found, reference, bootstrap=bootstrap)}
    for name, distance in (("Wasserstein: density", of_metrics.wasserstein), ("Jensen–Shannon: elements", None)):
        quantity, step = ("density", 0.01) if distance else ("elements", 1.0)
        table = of_metrics._table(found, reference, quantity, step)
        assert len(table.repeats) <= 3
        assert table.repeats.sum() == 60
        rows = np.array([_counts(one, quantity, table.support, reference) for one in found])
        weights = generator.multinomial(60, np.full(60, 1 / 60), size=4000)  # every structure by itself
        if distance is None:
            sampled = of_metrics.jensen_shannon(weights @ rows, table.reference)
        else:
            sampled = distance(table.support, weights @ rows, table.reference)
        # Of 4000 sets, a quantile of 2.5 % has a standard error of some 3 % of the width of the interval.
        expected = np.quantile(sampled, [0.025, 0.975])
        width = expected[1] - expected[0]
        assert by_name[name].low == pytest.approx(min(expected[0], by_name[name].value), abs=0.15 * width)
        assert by_name[name].high == pytest.approx(expected[1], abs=0.15 * width)


def _counts(one: Traits, quantity: str, support: np.ndarray, reference: Profile) -> np.ndarray:
    if quantity == "density":
        return (np.abs(support - one.density) < 1e-9).astype(float)
    every = sorted({"O", "Ti", "Sr"} | set(reference.counts["elements"]))
    return np.array([symbol in one.elements for symbol in every], dtype=float)


# ---------------------------------------------------------------- rows on disk


def test_rows_that_wait_on_disk_are_those_that_wait_in_memory(
    small: list[Structure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = list(given(small[:6]))
    rows = assess(entries, CHEAP)

    def ranked(folder: Path) -> tuple[list[str], list[str]]:
        released: list[Row] = []
        with Journal(folder, run_info(CHEAP, [])) as journal:
            ordered = OrderedRows(journal, lambda *_, **__: None, released.append)
            assert len(list(ordered.unknown(entries))) == 6
            for row in reversed(rows):
                journal.write([row])
                ordered.put([row])
            ordered.check_complete()
            return [json.dumps(row_record(row)) for row in released], [
                json.dumps(row_record(row)) for row in ordered.ranked()
            ]

    in_memory = ranked(tmp_path / "a")
    monkeypatch.setattr(ordered_rows, "IN_MEMORY", 0)
    assert ranked(tmp_path / "b") == in_memory
    assert len(in_memory[1]) == 6


def test_a_row_file_finds_the_last_row_of_a_key_and_refuses_damage(small: list[Structure], tmp_path: Path) -> None:
    rows = assess(list(given(small[:3])), CHEAP)
    path = tmp_path / "rows.jsonl"
    file = RowFile(path)
    file.append(rows)
    file.append([rows[0]])
    again = RowFile(path)
    again.find()
    assert len(again) == 3
    for row in rows:
        key = (row.name, row.digest)
        assert key in again
        assert json.dumps(row_record(again[key])) == json.dumps(row_record(row))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"name": "cut')
    RowFile(path).find()
    assert path.read_bytes() == whole
    path.write_bytes(b'{"name": 3}\n' + whole)
    with pytest.raises(ResumeError, match="damaged"):
        RowFile(path).find()
    path.unlink()
    with pytest.raises(ResumeError, match="expected the rows of this run"):
        again[(rows[0].name, rows[0].digest)]


def test_the_ranking_on_disk_is_that_of_all_rows_in_memory(small: list[Structure], tmp_path: Path) -> None:
    done = run_on(small, tmp_path)
    rows = list(done)
    candidates = [row.candidate for row in rows if row.candidate is not None]
    energies = [candidate.energies.get("graph", math.inf) for candidate in candidates]
    keys = list(zip([len(row.failed) for row in rows], energies, strict=True))  # no row is broken, and there is no hull
    assert keys == sorted(keys)
    assert [row.rank for row in rows] == list(range(1, len(small) + 1))
    assert [row.name for row in done[2:5]] == [row.name for row in rows][2:5]


def run_on(structures: list[Structure], folder: Path) -> Sequence[Row]:
    (folder / "set").mkdir()
    for index, structure in enumerate(structures):
        (folder / "set" / f"{index:03d}.cif").write_text(cif_text(structure), encoding="utf-8")
    return run([folder / "set"], CHEAP, folder / "out").rows
