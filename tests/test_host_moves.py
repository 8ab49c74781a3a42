"""Moves around a start: whatever is kept stays, site by site, from hosts of many space groups and from P1."""

from collections import Counter
from itertools import cycle, islice
from pathlib import Path

import pytest
import torch
from pymatgen.core import Lattice, Structure

from matgen.chemistry.elements import ATOMIC_NUMBERS
from matgen.generation.kinds import kind_of_request
from matgen.generation.kinds.held_crystals import HeldCrystals
from matgen.generation.propose import propose
from matgen.generation.request import Request
from matgen.runtime.progress import Silence
from matgen.structures.hosts import read_host
from matgen.structures.point_defects import Exchange, Vacancy, point_defects
from matgen.templates.batch import crystals_of
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import MAX_ATOMS
from matgen.templates.wyckoff import wyckoff_table
from matgen.weights.files import WEIGHTS
from matgen.weights.kinds import KINDS

TEXTBOOK = Path(__file__).resolve().parents[1] / "data" / "textbook"

pytestmark = pytest.mark.skipif(
    not all((WEIGHTS / f"{kind}.safetensors").exists() for kind in KINDS), reason="needs the shipped weights"
)

STARTS = {
    "LiCoO2_alpha_nafeo2": "sites 1-2",
    "SrTiO3_perovskite": "O",
    "ZrO2_baddeleyite": "sites 1-2",  # two of three sites on one Wyckoff position
    "CaTiO3_orthorhombic_perovskite": "Ti,O",
    "GaN_wurtzite": "site 1",
    "FeTiO3_ilmenite": "sites 1,3",
    "MgO_rock_salt": "O",
    "CaWO4_scheelite": "",
    "in_p1": "sites 1-2,4",
    "equal_in_p1": "site 1",
}
"""What is kept of each host."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hosts in P1: one of four elements, and one with three atoms of one element, which are one site as a template."""
    found = tmp_path_factory.mktemp("hosts")
    cell = Lattice.from_parameters(4.1, 4.5, 4.9, 84, 97, 101)
    places = [[0.02, 0.05, 0.01], [0.47, 0.53, 0.11], [0.11, 0.48, 0.56], [0.56, 0.08, 0.47]]
    for name, elements in (("in_p1", ["Li", "Ti", "O", "F"]), ("equal_in_p1", ["O", "O", "O", "Ti"])):
        Structure(cell, elements, places).to(filename=str(found / f"{name}.cif"))
    return found


def around(name: str, folder: Path, **options: object) -> HeldCrystals:
    """What is proposed around a start."""
    file = (folder if name.endswith("p1") else TEXTBOOK) / f"{name}.cif"
    few = {"max_atoms": 8} if name.endswith("p1") else {}  # else the prior fills the cell, site by site
    kind = kind_of_request(Request.of(start=file, keep=STARTS[name], n=4, **few, **options))
    assert isinstance(kind, HeldCrystals)
    return kind


def described(template: CrystalTemplate) -> list[tuple[str, int, int]]:
    """Wyckoff letter, row of its position and element of each site."""
    return [(wyckoff_table().label(position), position, z) for position, z in template.sites]


def check_held(kind: HeldCrystals, template: CrystalTemplate) -> None:
    """Check that each kept site is there, and at least one that is not kept."""
    left = described(template)
    for index, site in enumerate(described(kind.plan.host.template)):
        if all(index not in group.sites for group in kind.plan.held.groups):
            left.remove(site)  # raises if it is gone
    assert left
    assert template.space_group == kind.plan.host.template.space_group
    assert kind.plan.rules.satisfied(template)
    kind.plan.held.parts(template)  # raises if a site belongs to no group


@pytest.mark.parametrize("name", STARTS)
def test_every_move_keeps_what_is_kept(name: str, folder: Path) -> None:
    kind = around(name, folder)
    generator = torch.Generator().manual_seed(1)
    templates = [kind.plan.host.template] * 24
    moves, changed, lengths = kind.moves(), dict.fromkeys(kind.moves(), 0), set()
    assert set(moves) == {"elements_0", "regrow_site", "regrow_tail"}
    for title in islice(cycle(moves), 24):
        found, log_q = moves[title](templates, generator)
        new = crystals_of(found)
        assert log_q.isfinite().all()
        for one, other in zip(templates, new, strict=True):
            check_held(kind, other)
            changed[title] += one != other
            lengths.add(len(other.sites))
        templates = new  # every proposal accepted: the chains reach what no energy holds them back from
    assert all(changed.values()), changed
    assert len(set(templates)) > 8
    full = kind.plan.host.template.n_atoms == MAX_ATOMS  # with one open site there is room for no other
    assert (len(lengths) > 1) is not full  # the number of open sites changes, too


@pytest.mark.parametrize("name", ["LiCoO2_alpha_nafeo2", "in_p1"])
def test_proposals_around_a_start_keep_what_is_kept(name: str, folder: Path) -> None:
    kind = around(name, folder, sampler={"move_steps": 16, "burn_in": 4, "pool": 1})
    found = crystals_of(propose(kind.request, kind, torch.Generator().manual_seed(0), Silence()))
    assert len(set(found)) > 4
    for one in found:
        check_held(kind, one)
    begun = kind.initial_geometries(found, torch.Generator().manual_seed(0))
    assert set(begun.owner.tolist()) == set(range(len(found)))


def test_whole_sites_of_a_host_in_p1_are_replaced_one_by_one(folder: Path) -> None:
    request = Request.of(host=folder / "in_p1.cif", replace=["Ti -> Zr,Hf", "F -> Cl"], n=5)
    kind = kind_of_request(request)
    assert isinstance(kind, HeldCrystals)
    li, ox, zr, hf, cl = (ATOMIC_NUMBERS[s] for s in ("Li", "O", "Zr", "Hf", "Cl"))
    assert request.possible == 2
    listed = crystals_of(kind.listed())
    assert [one.space_group for one in listed] == [1, 1]
    assert [{z for _, z in one.sites} for one in listed] == [{li, ox, zr, cl}, {li, ox, hf, cl}]
    begun = kind.initial_geometries(listed, torch.Generator().manual_seed(0))
    host = kind.plan.host.structure
    for row in range(begun.templates.n_systems):
        coords = begun.geometry.select(begun.templates, torch.tensor([row])).coords
        assert torch.equal(coords.sort(0).values, kind.plan.host.geometry.coords.float().sort(0).values)
    assert len(host) == 4


def test_without_symmetry_each_atom_is_a_defect_of_its_own(folder: Path) -> None:
    host = read_host(folder / "equal_in_p1.cif")
    assert host.template.space_group == 1
    found = point_defects(host, [Vacancy(8), Exchange(host.sites_of(8), 16, 2)], 0.0)
    assert [one.places for one in found] == [1] * 6  # three atoms, and three pairs of them
    assert Counter(str(one.structure.composition.reduced_formula) for one in found) == {"TiO2": 3, "TiS2O": 3}
