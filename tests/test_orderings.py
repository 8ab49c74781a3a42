"""Orderings of partially occupied crystals: their number against the literature and brute force, energies, and rows."""

import itertools
import json
import math
import os
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, DummySpecies, Lattice, Structure
from pymatgen.io.cif import CifWriter

import matgen
from matgen.cli import main
from matgen.runtime.config import ConfigError
from matgen.runtime.processes import DIED
from matgen.screening.config import ScreenConfig, ScreenError, run_info
from matgen.screening.ordered_input import with_orderings
from matgen.structures.broken import BrokenStructureError
from matgen.structures.disorder import Disorder
from matgen.structures.files import digest, found
from matgen.structures.orderings import MOST_ATOMS, orderings
from matgen.structures.superlattices import n_superlattices, normal_form, superlattices

ALL = 10_000
GARNET = [[1 / 8, 0, 1 / 4], [0, 0, 0], [0.97, 0.05, 0.15]]
FIVE = {"Fe": 0.2, "Mn": 0.2, "Cr": 0.2, "Co": 0.2, "Ni": 0.2}
FCC = Lattice.from_parameters(2.9, 2.9, 2.9, 60, 60, 60)
SIMPLE = Lattice.cubic(3.0)
SAME = StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.1, scale=False, primitive_cell=True)

QUICK = {"reference": "none", "known": "none"}


def rock_salt(first: str, second: str, share: float = 0.5) -> Structure:
    """An oxide of rock-salt type, whose metals share their sites."""
    return Structure(FCC, [{first: share, second: 1 - share}, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def layered(sodium: float) -> Structure:
    """P2-type NaxCoO2 with one site of sodium."""
    coords = [[1 / 3, 2 / 3, 0.75], [0, 0, 0], [1 / 3, 2 / 3, 0.0917]]
    return Structure.from_spacegroup("P6_3/mmc", Lattice.hexagonal(2.84, 10.8), [{"Na": sodium}, "Co", "O"], coords)


def split() -> Structure:
    """The same with sodium at one of three places, 0.29 Å apart."""
    coords = [[0.31, 0.62, 0.75], [0, 0, 0], [1 / 3, 2 / 3, 0.0917]]
    return Structure.from_spacegroup("P6_3/mmc", Lattice.hexagonal(2.84, 10.8), [{"Na": 1 / 3}, "Co", "O"], coords)


def spinel(share: float) -> Structure:
    """Inverse spinel, Fd-3m: titanium shares the octahedra."""
    species = ["Mg", {"Mg": 1 - share, "Ti": share}, "O"]
    return Structure.from_spacegroup("Fd-3m:2", Lattice.cubic(8.44), species, [[1 / 8] * 3, [1 / 2] * 3, [0.26] * 3])


def two_sublattices() -> Structure:
    """A perovskite with mixed metals and a partially occupied oxygen site."""
    coords = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    species = [{"La": 0.5, "Sr": 0.5}, {"Fe": 0.5, "Co": 0.5}, {"O": 5 / 6}]
    return Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.9), species, coords)


CRYSTALS = [rock_salt("Li", "Fe"), layered(0.5), split(), spinel(0.5), two_sublattices()]


# ---------------------------------------------------------------- numbers of them


@pytest.mark.parametrize(
    ("lattice", "numbers"),
    [
        # Hart & Forcade, Phys. Rev. B 77, 224115 (2008): superlattices of each size that symmetry does not make equal.
        (FCC, [1, 2, 3, 7, 5, 10, 7, 20]),
        (SIMPLE, [1, 3, 3, 9, 5, 13, 7, 24]),
    ],
    ids=["fcc", "simple cubic"],
)
def test_superlattices_are_as_many_as_in_the_literature(lattice: Lattice, numbers: list[int]) -> None:
    point_group = Disorder.of(Structure(lattice, ["Cu"], [[0, 0, 0]])).rotations
    found = [list(superlattices(index, point_group)) for index in range(1, len(numbers) + 1)]
    assert len(point_group) == 48
    assert [len(some) for some in found] == numbers
    for index, some in enumerate(found, start=1):
        assert sum(one.n_equal for one in some) == n_superlattices(index)
        assert all(len(point_group) == len(one.kept) * one.n_equal for one in some)  # orbit and stabiliser


def test_the_normal_form_is_that_of_the_lattice_and_not_of_its_basis() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        basis = generator.integers(-4, 5, (3, 3))
        if (volume := abs(round(np.linalg.det(basis)))) == 0:
            continue
        other = np.array([[1, 2, 0], [0, 1, 0], [3, 0, -1]]) @ basis  # unimodular
        form = np.array(normal_form(basis))
        assert normal_form(other) == normal_form(basis)
        assert np.prod(np.diag(form)) == volume
        assert np.allclose(basis @ np.linalg.inv(form), np.rint(basis @ np.linalg.inv(form)))


def kernels(n: int) -> list[np.ndarray]:
    """All superlattices of a prime index: the vectors v with h·v = 0 (mod n), each by a basis of short ones."""
    found = {}
    short = sorted(itertools.product(range(-n, n + 1), repeat=3), key=lambda v: sum(x * x for x in v))
    for h in itertools.product(range(n), repeat=3):
        inside = [v for v in short if any(v) and np.dot(h, v) % n == 0][:60]
        line = frozenset(tuple(k * x % n for x in h) for k in range(n))
        if any(h) and line not in found:
            bases = itertools.combinations(inside, 3)
            found[line] = np.array(next(b for b in bases if abs(round(np.linalg.det(np.array(b)))) == n))
    return list(found.values())


def by_brute_force(structure: Structure, n: int) -> tuple[int, int]:
    """Count arrangements in n primitive cells, n prime or 1: the distinct ones by StructureMatcher, and all."""
    primitive = structure.get_primitive_structure()
    distinct: list[Structure] = []
    total = 0
    for basis in kernels(n) if n > 1 else [np.eye(3, dtype=int)]:
        cell = primitive.copy()
        cell.make_supercell(basis, to_unit_cell=True)
        kinds = [one.species_string for one in cell]
        choices = [_fillings(cell, [i for i, one in enumerate(kinds) if one == kind]) for kind in dict.fromkeys(kinds)]
        for parts in itertools.product(*choices):
            chosen = {i: symbol for part in parts for i, symbol in part}
            sites = [i for i, symbol in chosen.items() if symbol]
            one = Structure(cell.lattice, [chosen[i] for i in sites], cell.frac_coords[sites])
            away = one.distance_matrix + np.diag(np.full(len(one), 9.0))
            if away.min() > 1.0:
                total += 1
                if not any(SAME.fit(one, other) for other in distinct):
                    distinct.append(one)
    return len(distinct), total


def _fillings(cell: Structure, sites: list[int]) -> list[list[tuple[int, str]]]:
    amounts = {s.symbol: round(x * len(sites)) for s, x in cell[sites[0]].species.items()}
    atoms = [s for s, n in amounts.items() for _ in range(n)]
    filled = [*atoms, *[""] * (len(sites) - len(atoms))]
    return [list(zip(sites, one, strict=True)) for one in sorted(set(itertools.permutations(filled)))]


@pytest.mark.parametrize(
    ("structure", "n"),
    [
        (Structure(FCC, [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]]), 2),
        (Structure(FCC, [{"Cu": 2 / 3, "Au": 1 / 3}], [[0, 0, 0]]), 3),
        (Structure(SIMPLE, [{"Cu": 1 / 3, "Au": 1 / 3, "Ag": 1 / 3}], [[0, 0, 0]]), 3),
        (rock_salt("Li", "Fe"), 2),
        (layered(0.5), 1),
        (split(), 1),
        (spinel(0.5), 1),
        (spinel(0.25), 1),
        (two_sublattices(), 2),
    ],
    ids=["fcc 1/2", "fcc 1/3", "ternary", "rock salt", "layered", "split", "spinel", "spinel 1/4", "two sublattices"],
)
def test_distinct_orderings_are_those_of_brute_force(structure: Structure, n: int) -> None:
    found = orderings(structure, ALL)
    assert found.n_cells == n
    assert (found.n_distinct, found.n_all) == by_brute_force(structure, n)
    assert len(found.best) == found.n_distinct
    assert sum(one.n_equal for one in found.best) == found.n_all
    assert not any(SAME.fit(a.structure, b.structure) for a, b in itertools.combinations(found.best, 2))


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_fcc_of_one_quarter_has_the_seven_orderings_of_the_literature(share: float) -> None:
    found = orderings(Structure(FCC, [{"Cu": share, "Au": 1 - share}], [[0, 0, 0]]), ALL)
    groups = Counter(one.structure.get_space_group_info()[1] for one in found.best)
    assert (found.n_cells, found.n_distinct, found.n_all) == (4, 7, 35 * 4)
    assert found.best[0].structure.get_space_group_info()[0] == "Pm-3m"  # L1_2, the highest symmetry
    assert groups == {221: 1, 123: 1, 139: 1, 166: 1, 47: 1, 65: 1, 12: 1}


# ---------------------------------------------------------------- energies


def energy_by_pymatgen(structure: Structure, charges: dict[str, float]) -> float:
    charged = structure.copy()
    charged.add_oxidation_state_by_element(charges)
    return EwaldSummation(charged).total_energy / len(structure)


@pytest.mark.parametrize("structure", [*CRYSTALS[:4], layered(0.9)], ids=lambda s: s.composition.formula)
def test_energies_are_those_of_the_ordered_crystals_and_ascend(structure: Structure) -> None:
    found = orderings(structure, 8)
    energies = [energy_by_pymatgen(one.structure, dict(found.charges)) for one in found.best]
    for one, energy in zip(found.best, energies, strict=True):
        assert one.energy == pytest.approx(energy - min(energies), abs=2e-5)  # ties are put in order of symmetry
    assert [one.energy for one in found.best] == sorted(one.energy for one in found.best) or found.same_energy
    assert found.best[0].energy == pytest.approx(0, abs=1e-5)


def test_opposite_charges_alternate() -> None:
    cscl = orderings(Structure(SIMPLE, [{"Cs": 0.5, "Cl": 0.5}], [[0, 0, 0]]), 1).best[0].structure
    assert cscl.get_space_group_info()[1] == 225  # each has six neighbours of the other kind
    assert all(site.specie.symbol != cscl[0].specie.symbol for site in cscl.get_neighbors(cscl[0], 3.1))
    oxide = orderings(rock_salt("Li", "Fe"), ALL)
    assert oxide.charges == {"Li": 1, "Fe": 3, "O": -2}
    assert [one.structure.get_space_group_info()[1] for one in oxide.best] == [123, 166]


def test_charges_that_are_no_whole_numbers_are_means() -> None:
    assert orderings(layered(0.5), 1).charges == {"Na": 1, "Co": 3.5, "O": -2}


@pytest.mark.parametrize("species", [{"Cu": 0.5, "Au": 0.5}, {"Fe": 0.5, "Al": 0.5}])
def test_alloys_have_no_energy(species: dict[str, float]) -> None:
    found = orderings(Structure(FCC, [species], [[0, 0, 0]]), ALL)
    assert not found.charges
    assert all(math.isnan(one.energy) for one in found.best)


def test_equal_charges_have_equal_energies() -> None:
    found = orderings(rock_salt("Mg", "Ni"), ALL)
    assert found.same_energy
    assert all(one.energy == pytest.approx(0, abs=1e-6) for one in found.best)


# ---------------------------------------------------------------- laws


@pytest.mark.parametrize("structure", CRYSTALS, ids=lambda s: s.composition.formula)
def test_composition_and_volume_are_kept_and_no_split_position_is_filled_twice(structure: Structure) -> None:
    found = orderings(structure, 20)
    for one in found.best:
        exact = Composition({symbol: round(n) for symbol, n in found.as_given.items()})
        assert not found.rounded
        assert one.structure.composition == exact
        assert one.structure.is_ordered
        density = structure.volume / structure.composition.num_atoms
        assert one.structure.volume / len(one.structure) == pytest.approx(density, rel=1e-6)
        assert (one.structure.distance_matrix + 9 * np.eye(len(one.structure))).min() > 1.0


@pytest.mark.parametrize("structure", [rock_salt("Li", "Fe"), layered(0.5), split()], ids=lambda s: s.formula)
def test_another_cell_order_of_sites_and_origin_change_nothing(structure: Structure) -> None:
    found = orderings(structure, ALL)
    doubled = structure.copy()
    doubled.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    shuffled = np.random.default_rng(1).permutation(len(doubled))
    other = Structure(doubled.lattice, [doubled[i].species for i in shuffled], doubled.frac_coords[shuffled] + 0.137)
    again = orderings(other, ALL)
    assert (again.n_distinct, again.n_all, again.n_cells) == (found.n_distinct, found.n_all, found.n_cells)
    for one, same in zip(found.best, again.best, strict=True):
        assert one.energy == pytest.approx(same.energy, abs=2e-5)
    for one in found.best:
        assert any(SAME.fit(one.structure, same.structure) for same in again.best)


def test_occupancies_are_rounded_within_the_tolerance_and_it_is_told() -> None:
    found = orderings(layered(0.51), 1)
    assert found.rounded
    assert found.n_cells == 1
    assert found.as_ordered == {"Na": 1, "Co": 2, "O": 4}
    assert found.as_given["Na"] == pytest.approx(1.02)
    assert not orderings(layered(0.4995), 1).rounded


def test_a_supercell_is_the_smallest_one() -> None:
    assert [orderings(layered(x), 1).n_cells for x in (0.5, 0.75, 1 / 3, 0.9)] == [1, 2, 3, 5]


@pytest.mark.parametrize(
    ("structure", "reason"),
    [
        (Structure(SIMPLE, [{"Fe": 0.999, "Mn": 0.001}], [[0, 0, 0]]), f"more than {MOST_ATOMS} atoms"),
        (Structure(SIMPLE, [FIVE] * 2, [[0] * 3, [0.4] * 3]), "arrangements.* in supercells of 10 atoms"),
        (
            Structure(SIMPLE, [{"Na": 0.8}, {"Na": 0.8}, "Cl"], [[0, 0, 0], [0, 0, 0.1], [0.5, 0.5, 0.5]]),
            "2 sites within 1 Å",
        ),
        (
            Structure.from_spacegroup("Ia-3d", Lattice.cubic(12), [{"Y": 0.9}, "Al", "O"], GARNET),
            "supercells of 67 atoms",
        ),
        (Structure(Lattice.cubic(9), [{"Na": 0.5}] * 3, [[0] * 3, [0.07, 0, 0], [0, 0.07, 0]]), "3 sites"),
        (Structure(SIMPLE, [DummySpecies("X", 0), {"Na": 0.5}], [[0, 0, 0], [0.5] * 3]), "no element"),
    ],
    ids=["traces", "many", "large", "two positions too full", "three positions too full", "dummies"],
)
def test_what_cannot_be_ordered_has_a_reason(structure: Structure, reason: str) -> None:
    with pytest.raises(BrokenStructureError, match=reason):
        orderings(structure, 3)


def test_large_numbers_are_refused_before_they_are_enumerated() -> None:
    coords = [[x / 4, y / 4, z / 2 + 0.01 * x * y] for x in range(4) for y in range(4) for z in range(2)]
    with pytest.raises(BrokenStructureError, match="arrangements"):
        orderings(Structure(Lattice.orthorhombic(11, 12, 13), [{"Na": 0.5, "K": 0.5}] * 32, coords), 3)


# ---------------------------------------------------------------- rows


def cif(structure: Structure) -> str:
    """A CIF with all sites."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(CifWriter(structure))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a partially occupied crystal, an alloy, a rounded one, one that is refused, and an ordered one."""
    folder = tmp_path / "cifs"
    folder.mkdir()
    (folder / "a.cif").write_text(cif(rock_salt("Li", "Fe")))
    (folder / "b.cif").write_text(cif(Structure(FCC, [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])))
    (folder / "c.cif").write_text(cif(layered(0.51)))
    (folder / "d.cif").write_text(cif(Structure(SIMPLE, [{"Fe": 0.999, "Mn": 0.001}], [[0, 0, 0]])))
    (folder / "e.cif").write_text(cif(Structure(FCC, ["Mg", "O"], [[0, 0, 0], [0.5] * 3])))
    (folder / "f.json").write_text(json.dumps({"material_id": "x-7", "structure": spinel(0.5).as_dict()}))
    return folder


def test_each_ordering_is_a_row_with_its_rank_energy_and_number(files: Path) -> None:
    rows = {row.name: row for row in matgen.screen(files, order=2, **QUICK)}
    names = ["a.cif#order1", "a.cif#order2", "b.cif#order1", "b.cif#order2", "c.cif#order1", "d.cif", "e.cif"]
    assert list(rows) == [f"cifs/{name}" for name in [*names, "f.json#order1"]]
    first, second = (rows[f"cifs/a.cif#order{rank}"] for rank in (1, 2))
    assert first.verdicts["faithful"].passed
    assert "ordering 1 of 2 distinct ones (14 arrangements, 6 like this) in supercells of 2" in first.remarks["file"]
    assert "Ewald energy of Fe +3, Li +1, O -2: the lowest" in first.remarks["file"]
    assert "eV/atom above the lowest" in second.remarks["file"]
    assert "not ranked by Ewald energy" in rows["cifs/b.cif#order1"].remarks["file"]
    assert "rounded from Co2 Na1.02 O4 to Co2 Na1 O4" in rows["cifs/c.cif#order1"].remarks["file"]
    assert rows["cifs/d.cif"].error.startswith("disordered: occupancies Fe:0.999")
    assert "file" not in rows["cifs/e.cif"].remarks
    assert {row.formula for name, row in rows.items() if "a.cif" in name} == {"LiFeO2"}


def test_without_the_option_they_are_refused_and_the_option_is_named(files: Path) -> None:
    rows = matgen.screen(files / "a.cif", **QUICK)
    assert [row.name for row in rows] == ["a.cif"]
    assert "--order" in rows[0].error


def test_two_processes_give_the_same_entries_in_the_same_order(files: Path) -> None:
    (files / "g.cif").write_text("no cif")
    alone, shared = (list(with_orderings(found([files]), 2, jobs)) for jobs in (1, 2))
    assert [(one.name, digest(one)) for one in alone] == [(one.name, digest(one)) for one in shared]
    assert alone[-1] == list(found([files]))[-1]  # what cannot be read is left to the screening
    assert {one.name.partition("#")[0] for one in alone} == {one.name for one in found([files])}


DEADLY = """
import os
import matgen.structures.ordered_pieces as pieces

plain = pieces.orderings
pieces.orderings = lambda structure, most: os._exit(9) if "Cu" in structure.formula else plain(structure, most)
"""
"""An enumeration that ends the process on some crystals."""


def test_an_ordering_over_which_the_process_dies_is_a_row(files: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEADLY, encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), str(Path(matgen.__file__).parents[1])])
    command = [sys.executable, "-m", "matgen", "screen", str(files), "--order", "1", "--out", str(tmp_path / "out")]
    command += ["--reference", "none", "--known", "none", "--jobs", "1"]
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    names = ["a.cif#order1", "b.cif", "c.cif#order1", "d.cif", "e.cif", "f.json#order1"]
    assert [row["name"] for row in rows] == [f"cifs/{name}" for name in names]
    assert rows[1]["error"] == f"not ordered: {DIED}"


def test_structures_in_memory_are_ordered() -> None:
    rows = matgen.screen([rock_salt("Li", "Fe"), Structure(FCC, ["Cu"], [[0, 0, 0]])], order=5, **QUICK)
    assert [row.name for row in rows] == ["structure#0#order1", "structure#0#order2", "structure#1"]


def test_a_composition_far_from_the_file_is_not_faithful() -> None:
    rows = matgen.screen(Structure(FCC, [{"Cu": 0.515, "Au": 0.485}], [[0, 0, 0]]), order=1, **QUICK)
    assert not rows[0].verdicts["faithful"].passed
    assert "Au1 Cu1" in rows[0].verdicts["faithful"].reason


def test_alternatives_of_several_atoms_are_refused(tmp_path: Path) -> None:
    sites = "\n".join(
        f"{name} {name[0]} {coords} 0.5 {group}"
        for name, coords, group in [
            ("N1", "0.1 0.1 0.1", 1),
            ("O1", "0.3 0.1 0.1", 1),
            ("N2", "0.1 0.4 0.1", 2),
            ("O2", "0.1 0.6 0.1", 2),
        ]
    )
    columns = ["label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy", "disorder_group"]
    cell = [f"_cell_length_{axis} 6" for axis in "abc"] + [
        f"_cell_angle_{angle} 90" for angle in ("alpha", "beta", "gamma")
    ]
    lines = [
        "data_x",
        "_space_group_name_H-M_alt 'P 1'",
        *cell,
        "loop_",
        *[f"_atom_site_{one}" for one in columns],
        sites,
    ]
    (tmp_path / "a.cif").write_text("\n".join([*lines, ""]))
    rows = matgen.screen(tmp_path / "a.cif", order=2, **QUICK)
    assert len(rows) == 1
    assert "belong together" in rows[0].error


def test_a_resumed_run_computes_nothing_again_and_other_numbers_are_another_run(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = matgen.screen(files, order=2, out=out, **QUICK)
    n_lines = len((out / "rows.jsonl").read_text().splitlines())
    again = matgen.screen(files, order=2, out=out, **QUICK)
    assert [row.name for row in again] == [row.name for row in first]
    assert len((out / "rows.jsonl").read_text().splitlines()) == n_lines == len(first)
    plain, some, more = (run_info(ScreenConfig(order=n, **QUICK), ["x"]) for n in (0, 2, 3))
    assert "order" not in plain.configuration
    assert some.configuration["order"] != more.configuration["order"]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="order of at least 0"):
        ScreenConfig(order=-1)
    with pytest.raises(ScreenError, match="no order for a molecule"):
        ScreenConfig(order=1, kind="molecule")


@pytest.mark.parametrize(("words", "n_rows"), [(["--order"], 2), (["--order", "1"], 1), (["--order=1"], 1), ([], 1)])
def test_the_option_may_stand_without_a_number(
    words: list[str], n_rows: int, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    given = [*words, str(files / "a.cif"), "--reference", "none", "--known", "none", "--jobs", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["matgen", "screen", *given])
    with pytest.raises(SystemExit):
        main()
    assert len((out / "rows.jsonl").read_text().splitlines()) == n_rows
