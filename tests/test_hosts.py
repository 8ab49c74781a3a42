"""Laws of hosts and their point defects: one of each kind, none forgotten, and energies that add up."""

import math
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from matgen.errors import UserError
from matgen.generation.request import Request
from matgen.hull.hull import ReferenceHull
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.free_parameters import relax_batch
from matgen.relaxation.pool import RelaxingPotential
from matgen.search.distinct import Distinct
from matgen.search.host_energy import RelaxedHost, exchanged
from matgen.structures.candidate import Candidate, Relaxation
from matgen.structures.hosts import Host, HostError, read_host, supercell
from matgen.structures.point_defects import Exchange, Insertion, Vacancy, distinct_choices, point_defects
from matgen.structures.voids import voids

TEXTBOOK = Path(__file__).resolve().parents[1] / "data" / "textbook"
SAME = StructureMatcher(ltol=0.01, stol=0.05, angle_tol=0.5, primitive_cell=False, scale=False)
"""Strict enough to tell supercells apart in which one atom sits elsewhere."""

OX, MG, AL, LI = 8, 12, 13, 3


def host(name: str) -> Host:
    return read_host(TEXTBOOK / f"{name}.cif")


@pytest.mark.parametrize("name", ["MgO_rock_salt", "LiCoO2_alpha_nafeo2", "TiO2_rutile", "ZrO2_baddeleyite", "Mg_hcp"])
def test_a_host_is_its_file_in_the_primitive_cell(name: str) -> None:
    one, whole = host(name), Structure.from_file(TEXTBOOK / f"{name}.cif")
    assert StructureMatcher(scale=False).get_rms_dist(one.structure, whole)[0] < 1e-4
    assert len(one.structure) == len(whole.get_primitive_structure())
    for atom, site in zip(one.structure, one.site_of_atom, strict=True):
        assert one.template.sites[site][1] == atom.specie.Z


@pytest.mark.parametrize("name", ["MgO_rock_salt", "LiCoO2_alpha_nafeo2", "TiO2_rutile", "Mg_hcp"])
@pytest.mark.parametrize("least", [0.0, 5.0, 7.5])
def test_a_supercell_keeps_images_apart_and_repeats_the_crystal(name: str, least: float) -> None:
    one = host(name)
    whole = supercell(one.structure, one.template.space_group, least)
    corners = np.array([s for s in np.ndindex(5, 5, 5) if s != (2, 2, 2)]) - 2
    assert np.linalg.norm(corners @ whole.lattice.matrix, axis=1).min() >= least
    n = len(whole) / len(one.structure)
    assert n == round(whole.volume / one.structure.volume)
    assert Counter(whole.site_properties["atom"]) == dict.fromkeys(range(len(one.structure)), n)
    assert whole.composition == one.structure.composition * n


@pytest.mark.parametrize(("name", "element"), [("MgO_rock_salt", OX), ("LiCoO2_alpha_nafeo2", OX), ("Mg_hcp", MG)])
def test_a_vacancy_at_any_equivalent_atom_is_the_one_that_is_listed(name: str, element: int) -> None:
    one = host(name)
    (listed,) = point_defects(one, [Vacancy(element)], 5.0)
    whole = supercell(one.structure, one.template.space_group, 5.0)
    atoms = [i for i, atom in enumerate(whole) if element == atom.specie.Z]
    assert listed.places == len(atoms)
    for atom in atoms[:: max(1, len(atoms) // 4)]:
        other = whole.copy()
        other.remove_sites([atom])
        assert SAME.fit(other, listed.structure)


def test_sites_that_no_symmetry_relates_have_a_vacancy_each() -> None:
    found = point_defects(host("ZrO2_baddeleyite"), [Vacancy(OX)], 5.0)
    assert [one.label for one in found] == ["O missing at site 1 (4e O)", "O missing at site 2 (4e O)"]
    assert not SAME.fit(found[0].structure, found[1].structure)


@pytest.mark.parametrize("name", ["MgO_rock_salt", "TiO2_rutile"])
def test_pairs_of_replaced_atoms_are_the_kinds_that_a_matcher_finds(name: str) -> None:
    one = host(name)
    element = 12 if name.startswith("MgO") else 22
    sites = one.sites_of(element)
    found = point_defects(one, [Exchange(sites, AL, 2)], 5.0)
    whole = supercell(one.structure, one.template.space_group, 5.0)
    whole.remove_site_property("atom")
    atoms = [i for i, atom in enumerate(whole) if element == atom.specie.Z]
    assert sum(defect.places for defect in found) == math.comb(len(atoms), 2)
    kinds: Counter[int] = Counter()
    pairs = list(combinations(atoms, 2))
    for pair in pairs[:: max(1, len(pairs) // 30)]:  # every pair is of exactly one of the listed kinds
        trial = whole.copy()
        for atom in pair:
            trial.replace(atom, "Al")
        matched = [i for i, defect in enumerate(found) if SAME.fit(trial, defect.structure)]
        assert len(matched) == 1
        kinds[matched[0]] += 1
    assert all(kinds[i] <= defect.places for i, defect in enumerate(found))


def test_lithium_returns_to_the_octahedra_that_it_left(tmp_path: Path) -> None:
    full = Structure.from_file(TEXTBOOK / "LiCoO2_alpha_nafeo2.cif")
    empty = full.copy()
    empty.remove_species(["Li"])
    empty.to(filename=str(tmp_path / "empty.json"))
    found = point_defects(read_host(tmp_path / "empty.json"), [Insertion(LI)], 0.0)
    assert any(StructureMatcher().fit(defect.structure, full) for defect in found)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Cu_fcc", [(1, 1.81), (2, 1.57)]),  # octahedra, a/2 wide, and tetrahedra, √3 a/4, of each atom
        ("Fe_bcc", [(6, 1.60)]),  # tetrahedra, √5 a/4; octahedra are no nodes
        ("Mg_hcp", [(2, 2.27), (4, 1.96)]),  # octahedra and tetrahedra of two atoms
        ("MgO_rock_salt", [(2, 1.82)]),  # tetrahedra
    ],
)
def test_voids_of_simple_packings_are_the_known_ones(name: str, expected: list[tuple[int, float]]) -> None:
    found = voids(host(name).structure, 0.01)
    assert [(one.places, round(one.radius, 2)) for one in found] == expected


@pytest.mark.parametrize("name", ["TiO2_rutile", "LiCoO2_alpha_nafeo2", "SrTiO3_perovskite"])
def test_an_atom_in_any_equivalent_void_is_the_one_that_is_listed(name: str) -> None:
    cell = host(name).structure
    operations = SpacegroupAnalyzer(cell, symprec=0.01).get_symmetry_operations()
    listed = []
    for void in voids(cell, 0.01):
        images = np.array([operation.operate(void.place) for operation in operations]) % 1.0
        filled = [cell.copy().append("He", image) for image in images[:: max(1, len(images) // 3)]]
        assert all(SAME.fit(filled[0], other) for other in filled[1:])
        assert not any(SAME.fit(filled[0], other) for other in listed)
        listed.append(filled[0])


def test_a_list_of_defects_does_not_depend_on_the_relaxation_of_the_host() -> None:
    one = host("LiCoO2_alpha_nafeo2")
    relaxed = one.structure.copy()
    relaxed.apply_strain([0.03, 0.03, -0.04])
    changes = [Vacancy(OX), Exchange(one.sites_of(27), AL, 1), Insertion(LI)]
    for read, used in zip(point_defects(one, changes, 5.0), point_defects(one, changes, 5.0, relaxed), strict=True):
        assert read.label == used.label
        assert read.structure.species == used.structure.species
        apart = read.structure.frac_coords - used.structure.frac_coords
        assert abs(apart - np.rint(apart)).max() < 1e-9
        assert used.structure.volume / used.cells == pytest.approx(relaxed.volume)


def test_defects_that_relax_to_the_same_place_are_one() -> None:
    whole = supercell(host("MgO_rock_salt").structure, 225, 5.0)
    whole.remove_site_property("atom")
    atoms = [i for i, atom in enumerate(whole) if atom.specie.Z == MG]
    unique = Distinct()
    made = []
    for atom in (atoms[0], atoms[3]):
        one = whole.copy()
        one.replace(atom, "Ca")
        made.append(of_energy(one, -6.0))
    off = made[0].crystal.copy()
    off.translate_sites([atoms[0]], [0.0, 0.0, 0.6], frac_coords=False)
    assert unique.verdict(made[0]).passed
    assert unique.verdict(of_energy(made[0].crystal, -5.9)).passed  # another energy: another minimum
    assert unique.verdict(of_energy(off, -6.0)).passed  # one atom elsewhere, however large the cell
    assert not unique.verdict(made[1]).passed  # the same defect at another place


def test_choices_of_too_many_atoms_are_refused() -> None:
    whole = supercell(host("MgO_rock_salt").structure, 225, 7.5)
    atoms = [i for i, atom in enumerate(whole) if atom.specie.Z == MG]
    with pytest.raises(HostError, match="expected at most 27 atoms to replace in a supercell of 54, got 28"):
        distinct_choices(whole, atoms, 28, [0] * len(whole))
    with pytest.raises(HostError, match="expected at most 20000 choices of 10 atoms, got 8436285"):
        distinct_choices(whole, atoms, 10, [0] * len(whole))
    with pytest.raises(HostError, match="expected a supercell of at most 300 atoms, got"):
        supercell(host("MgO_rock_salt").structure, 225, 30.0)


# ---------------------------------------------------------------- energies


@pytest.fixture(scope="module")
def surface() -> CHGNetSurface:
    return CHGNetSurface()


@pytest.fixture(scope="module")
def hull() -> ReferenceHull:
    return ReferenceHull.load()


@pytest.fixture(scope="module")
def magnesia(hull: ReferenceHull) -> RelaxedHost:
    return RelaxedHost.of(host("MgO_rock_salt"), RelaxingPotential(), RelaxConfig(), hull)


def of_energy(structure: Structure, energy: float) -> Candidate:
    """A candidate with an energy in eV/atom."""
    report = Relaxation(True, "converged", 1, energy, energy, 0.0, 0.0, 0.0, "CHGNet 0.3.0")
    return Candidate("one", structure, structure, None, relaxation=report)


@pytest.mark.parametrize("cells", [1, 8])
def test_the_host_itself_costs_nothing_in_any_cell(magnesia: RelaxedHost, cells: int) -> None:
    whole = magnesia.structure * (1, 1, cells)
    found = magnesia.formation_energy(of_energy(whole, magnesia.energy / 2), cells, 1)
    assert found.value == pytest.approx(0.0, abs=1e-9)


def test_replacing_all_atoms_costs_the_difference_of_the_formation_energies(
    magnesia: RelaxedHost, hull: ReferenceHull
) -> None:
    lime = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.8), ["Ca", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    lime = lime.get_primitive_structure()
    energy = -6.4
    found = magnesia.formation_energy(of_energy(lime, energy), 1, 1)
    of = [
        2 * hull.above_hull(Composition(formula), e, hull.potential).formation_energy
        for formula, e in (("CaO", energy), ("MgO", magnesia.energy / 2))
    ]
    assert found.value == pytest.approx(of[0] - of[1], abs=1e-6)


def test_an_atom_taken_out_and_put_back_costs_nothing(magnesia: RelaxedHost) -> None:
    # The energy of a cell with an atom more or less by exactly its chemical potential.
    potential = magnesia.potentials(Composition("O"))["O"]
    whole = magnesia.structure * (2, 2, 2)
    for structure, sign in ((whole.copy(), -1), (whole.copy(), 1)):
        if sign < 0:
            structure.remove_sites([next(i for i, atom in enumerate(structure) if atom.specie.Z == OX)])
        else:
            structure.append("O", [0.13, 0.17, 0.19])
        energy = (8 * magnesia.energy + sign * potential) / len(structure)
        assert magnesia.formation_energy(of_energy(structure, energy), 8, 1).value == pytest.approx(0.0, abs=1e-9)


def test_exchanged_atoms_are_counted_with_their_sign() -> None:
    assert exchanged(Composition("Mg26AlO26"), Composition("Mg27O27")) == {"Al": 1.0, "Mg": -1.0, "O": -1.0}


def test_oxygen_vacancies_of_magnesia_cost_what_this_potential_says(
    magnesia: RelaxedHost, surface: CHGNetSurface
) -> None:
    # PBE gives about 7 eV for the neutral vacancy against O2; CHGNet, trained on corrected energies of oxides, 8.4 eV.
    (defect,) = point_defects(magnesia.host, [Vacancy(OX)], 7.5, magnesia.structure)
    ((_, structure, report),) = relax_batch([(0, defect.structure, math.inf)], surface, fixed_cell=True)
    assert report.converged
    candidate = Candidate("one", structure, structure, None, relaxation=report)
    assert magnesia.formation_energy(candidate, defect.cells, 1).value == pytest.approx(8.48, abs=0.1)


@pytest.mark.parametrize("keep_symmetry", [True, False])
def test_a_fixed_cell_stays_and_its_atoms_relax(surface: CHGNetSurface, keep_symmetry: bool) -> None:  # noqa: FBT001
    # Strained rutile has a stress, and its oxygen is off its place.
    rutile = Structure.from_file(TEXTBOOK / "TiO2_rutile.cif").scale_lattice(60.0)
    config = RelaxConfig(keep_symmetry=keep_symmetry)
    ((_, free, _),) = relax_batch([(0, rutile, math.inf)], surface, config)
    ((_, found, report),) = relax_batch([(0, rutile, math.inf)], surface, config, fixed_cell=True)
    assert report.converged
    assert report.energy < report.energy_before
    assert found.lattice.abc == pytest.approx(rutile.lattice.abc, rel=1e-6)
    assert found.lattice.angles == pytest.approx(rutile.lattice.angles, abs=1e-4)
    assert abs(free.volume / rutile.volume - 1) > 0.01


# ---------------------------------------------------------------- bad input

STO, MGO, LCO = (str(TEXTBOOK / f"{n}.cif") for n in ("SrTiO3_perovskite", "MgO_rock_salt", "LiCoO2_alpha_nafeo2"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": STO}, "expected what to change in the host"),
        ({"replace": ["Ti -> Zr"]}, "expected a host for --replace"),
        ({"vacancy": ["O"]}, "expected a host for --replace, --insert and --vacancy"),
        ({"keep": "Sr"}, "expected a host or a start for --keep"),
        ({"host": STO, "start": MGO, "replace": ["Ti -> Zr"]}, "expected a host or a start, got both"),
        ({"host": STO, "replace": ["Fe -> Zr"]}, r"expected an element of SrTiO3.*got Fe; it has the sites 1: 1a Ti"),
        ({"host": STO, "replace": ["Ti = Zr"]}, "expected a replacement such as"),
        ({"host": STO, "replace": ["Ti -> Zr x0"]}, "expected at least one atom"),
        ({"host": STO, "replace": ["Ti -> Zr x9"]}, "expected at most 8 atoms to replace in a supercell of 40"),
        ({"host": STO, "replace": ["Ti -> Ti,Zr"]}, "expected other elements than Ti itself"),
        ({"host": STO, "replace": ["Ti -> Qq"]}, "expected a chemical symbol"),
        ({"host": STO, "replace": ["Ti -> Rn"]}, "Rn"),
        ({"host": STO, "replace": ["site 4 -> Zr"]}, "expected a site from 1 to 3 of SrTiO3.*got 4; they are 1: 1a Ti"),
        ({"host": STO, "replace": ["Ti -> Zr", "Sr -> Ba x1"]}, "expected replacements of single atoms"),
        ({"host": STO, "replace": ["Ti -> Zr"], "exclude": ["Zr"]}, "expected elements that may replace others"),
        ({"host": STO, "replace": ["Ti -> Zr"], "exclude": ["Sr"]}, "Sr of SrTiO3.* is held, but not allowed"),
        ({"host": STO, "replace": ["Ti -> Zr"], "include": ["Hf"]}, "no crystal that the replacements make"),
        ({"host": STO, "replace": ["Ti -> Zr"], "formula": "SrZrO3"}, "expected no --formula with a host"),
        ({"host": STO, "replace": ["Ti -> Zr"], "space_groups": [225]}, "expected a host of space group 225, got 221"),
        (
            {"host": STO, "replace": ["Ti -> Zr"], "keep": "Ti"},
            "expected sites to replace, got only kept ones",
        ),
        ({"host": STO, "vacancy": ["Fe"]}, "expected an element of SrTiO3.*got Fe"),
        ({"host": STO, "vacancy": ["O"], "keep": "Sr"}, "expected no --keep for point defects"),
        ({"host": STO, "vacancy": ["O"], "band_gap": 1.5}, "expected no targets with point defects"),
        ({"host": STO, "vacancy": ["O"], "relax": "none"}, "expected relax of chgnet for point defects"),
        ({"host": STO, "vacancy": ["O"], "second_opinion": "chgnet-r2scan"}, "expected no second opinion with point"),
        ({"host": STO, "vacancy": ["O"], "supercell": -1.0}, "expected a supercell of at least 0"),
        ({"host": STO, "vacancy": ["O"], "supercell": 50.0}, "expected a supercell of at most 300 atoms"),
        ({"host": str(TEXTBOOK / "Sr.cif"), "vacancy": ["O"]}, "which is not there"),
        ({"host": str(TEXTBOOK), "vacancy": ["O"]}, "expected one crystal in"),
        ({"start": STO, "keep": "sites 1-3"}, "expected a site of SrTiO3.* that may change, got all of them kept"),
        ({"start": STO, "keep": "sites 2-9"}, "expected a site from 1 to 3"),
        ({"start": STO, "keep": "sites 3-1"}, "expected sites such as"),
        ({"start": STO, "keep": "the rest"}, "expected sites to keep, such as"),
        ({"start": STO, "exclude": ["Ti"]}, "Ti of SrTiO3.* is held, but not allowed"),
        ({"start": STO, "stages": {"moves": False}}, "expected moves on templates with --start"),
        ({"start": STO, "max_atoms": 4}, "expected a primitive cell of at most 4 atoms, got 5"),
        ({"fragment": "c1ccccc1[*]"}, "expected no fragment for a crystal"),
        ({"kind": "molecule", "host": STO, "vacancy": ["O"]}, "expected no host for a molecule"),
        ({"kind": "molecule", "fragment": "c1ccccc1"}, r"expected a fragment with \[\*\] where the rest is bonded"),
        ({"kind": "molecule", "fragment": "c1ccc[*]"}, "expected a fragment as SMILES"),
        ({"kind": "molecule", "fragment": "C=[*]"}, r"expected each \[\*\] at one atom by a single bond"),
        ({"kind": "molecule", "fragment": "CCCCCCCCC[*]"}, "expected a fragment of at most 8 heavy atoms, got 9"),
        ({"kind": "molecule", "fragment": "C[Si]([*])C"}, "got Si"),
        ({"kind": "molecule", "fragment": "CO[*]", "exclude": ["O"]}, "O is required, but not allowed"),
        ({"kind": "molecule", "fragment": "CO[*]", "max_atoms": 2}, "expected a fragment that fits into 2 heavy atoms"),
        ({"kind": "molecule", "fragment": "[H][*]"}, "expected a fragment of heavy atoms"),
        ({"kind": "molecule", "fragment": "CO[*]", "avoid": ["CO"]}, "holds CO, which is to be avoided"),
        ({"kind": "molecule", "fragment": "CO[*]", "formula": "C4H10"}, "has 1 O, the formula 0"),
        ({"kind": "molecule", "fragment": "CCC[*]", "formula": "C2H6O"}, "has 3 C, the formula 2"),
        ({"kind": "molecule", "fragment": "[*]CC([*])([*])CCC([*])[*]"}, "fits into 9 heavy atoms, got .* needs 10"),
        ({"host": MGO, "insert": ["Li"], "exclude": ["Li"]}, "Li is to be inserted, but not allowed"),
        ({"host": MGO, "vacancy": ["O"], "exclude": ["Mg"]}, "Mg of MgO.* is held, but not allowed"),
        ({"host": MGO, "vacancy": ["O", "O"]}, "got one twice"),
        ({"host": MGO, "vacancy": ["O"], "include": ["Li"]}, "expected no include with point defects"),
        ({"host": MGO, "vacancy": ["O"], "like": [STO]}, "expected no --like with point defects, got .*SrTiO3"),
        ({"host": MGO, "replace": ["Mg -> Ca x1"], "like": [STO]}, "expected no --like with point defects"),
        ({"host": MGO, "vacancy": ["O"], "rules": ["Li implies O"]}, "expected no rules with point defects"),
        ({"host": str(TEXTBOOK / "Cu_fcc.cif"), "vacancy": ["Cu"], "supercell": 0.0}, "expected an atom beside the Cu"),
        ({"kind": "molecule", "fragment": "CO[*]", "smiles": "COC"}, "expected a fragment or a graph to keep"),
    ],
)
def test_what_cannot_be_made_of_a_host_is_told_in_one_line(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as told:
        Request.of(**options)
    assert "\n" not in str(told.value)


def test_broken_hosts_are_told_in_one_line(tmp_path: Path) -> None:
    structure = Structure.from_file(MGO)
    structure.replace_species({"Mg": {"Mg": 0.5, "Ca": 0.5}})
    structure.to(filename=str(tmp_path / "mixed.json"))
    (tmp_path / "text.cif").write_text("data_x\nloop_\nnonsense", encoding="utf-8")
    (tmp_path / "molecule.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n", encoding="utf-8")
    large = Structure.from_file(MGO) * (4, 4, 4)
    large.perturb(0.2)
    large.to(filename=str(tmp_path / "large.json"))
    for name, why in (
        ("mixed.json", "disordered"),
        ("text.cif", "expected a crystal in"),
        ("molecule.xyz", "no crystal"),
        ("large.json", "expected a host of at most 300 atoms, got 512"),
    ):
        with pytest.raises(UserError, match=why) as told:
            Request.of(host=tmp_path / name, vacancy=["O"])
        assert "\n" not in str(told.value)


def test_the_request_survives_a_file_and_counts_what_is_possible() -> None:
    request = Request.of(host=STO, replace=["Ti -> Zr,Hf,Sn", "site 2 -> Ba"], n=10)
    assert request.possible == request.wanted == 3
    assert request.most_alike == 3
    assert Request.of(host=LCO, vacancy=["O", "Li"], insert=["Li"]).possible == 2 + 3
    assert Request.of(host=STO, replace=["O -> any"]).possible > 80
    assert Request.of(n=10).possible == 0
    assert Request.of(start=STO).wanted == 10
