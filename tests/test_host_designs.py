"""Designs from hosts, starts and fragments, from the request to the files."""

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from rdkit import Chem

from matgen import cli
from matgen.cli.candidate_tables import candidate_table
from matgen.energies.graph_sampling import MoleculeSampler
from matgen.generation.kinds import kind_of_request
from matgen.generation.kinds.held_crystals import HeldCrystals
from matgen.generation.propose import propose
from matgen.generation.request import Request
from matgen.hull.hull import ReferenceHull
from matgen.nn.conditions import MOLECULE_GRIDS, Conditions
from matgen.nn.graph_prior import GraphPrior, GraphPriorConfig
from matgen.runtime.progress import Silence
from matgen.search.host_energy import HOST_ENERGY
from matgen.search.units import most_units
from matgen.structures.run_report import ResumeError
from matgen.templates.batch import crystals_of
from matgen.templates.fragments import Fragment
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.molecule_rules import MoleculeRules
from matgen.templates.skeleton import MAX_HEAVY
from matgen.workflows.design import design

TEXTBOOK = Path(__file__).resolve().parents[1] / "data" / "textbook"
STO, MGO, LCO = (TEXTBOOK / f"{name}.cif" for name in ("SrTiO3_perovskite", "MgO_rock_salt", "LiCoO2_alpha_nafeo2"))

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "hosts.md").read_text(encoding="utf-8")

# ---------------------------------------------------------------- the page


def test_the_snippet_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(PAGE.split("```python\n")[1].split("```")[0], "hosts.md", "exec"), {})  # noqa: S102 (our own page)
    printed = capsys.readouterr().out
    assert "1 Ca at site 2 (4b Mg)" in printed
    assert "1 Zn at site 2 (4b Mg)" in printed


def test_the_commands_of_the_page_make_requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, path in (("LiCoO2", LCO), ("SrTiO3", STO), ("MgO", MGO)):
        (tmp_path / f"{name}.cif").write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    shown = [shlex.split(line)[1:] for line in PAGE.splitlines() if line.startswith("    matgen ")]
    assert len(shown) == 7
    for words in shown:
        command = typer.main.get_command(cli.app).commands[words[0]]  # type: ignore[attr-defined]
        given = command.make_context("matgen", words[1:]).params
        names = ("host", "replace", "vacancy", "insert", "start", "keep", "fragment", "gap", "allow_known")
        options = {name: given[name] for name in names if given[name]}
        options |= {name: options[name].split(",") for name in ("vacancy", "insert") if name in options}
        options |= {"kind": "molecule"} if "fragment" in options else {}
        request = Request.of(**options)
        assert request.host.given or request.host.held_fragment is not None


# ---------------------------------------------------------------- point defects


@pytest.fixture(scope="module")
def defects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with three defects of MgO in small cells."""
    folder = tmp_path_factory.mktemp("defects") / "run"
    options = {"vacancy": ["O"], "insert": ["Li"], "replace": ["Mg -> Ca x1"], "supercell": 5.0}
    design(host=MGO, out=folder, processes=1, **options)
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "candidates.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_defects_are_listed_once_and_ranked_by_their_energy(defects: Path) -> None:
    found = rows(defects)
    assert [row["formula"] for row in found] == ["CaMg7O8", "LiMg8O8", "Mg8O7"]
    energies = [float(row[HOST_ENERGY]) for row in found]
    assert energies == sorted(energies)
    assert energies[-1] == pytest.approx(8.4, abs=0.3)  # the vacancy, as in larger cells
    assert [row["passed"] for row in found] == ["True", "False", "False"]  # the others are above the hull
    assert json.loads((defects / "run.json").read_text(encoding="utf-8"))["status"] == "finished"


def test_a_defect_tells_what_was_done(defects: Path) -> None:
    records = [json.loads(line) for line in (defects / "candidates.jsonl").read_text(encoding="utf-8").splitlines()]
    told = {record["formula"]: record["verdicts"]["host"]["reason"] for record in records}
    assert told["Mg8O7"].startswith("O missing at site 1 (4a O), in a supercell of 8 primitive cells, one of 8")
    assert "listed by symmetry, all atoms relaxed in the cell of the host" in told["Mg8O7"]
    assert "elements O -4.93 eV" in told["Mg8O7"]
    assert "elements Ca" in told["CaMg7O8"]
    for record in records:  # the cell is that of the host: all cells are equal
        assert np.linalg.det(record["structure"]["lattice"]) == pytest.approx(
            np.linalg.det(records[0]["structure"]["lattice"]), rel=1e-4
        )


def test_the_same_run_is_resumed_and_another_host_is_not(defects: Path, tmp_path: Path) -> None:
    options = {"vacancy": ["O"], "insert": ["Li"], "replace": ["Mg -> Ca x1"], "supercell": 5.0}
    again = design(host=MGO, out=defects, processes=1, **options)
    assert [one.name for one in again] == [row["name"] for row in rows(defects)]
    changed = tmp_path / MGO.name
    changed.write_text(MGO.read_text(encoding="utf-8") + "\n# another file\n", encoding="utf-8")
    with pytest.raises(ResumeError, match=r"host\.content was"):
        design(host=changed, out=defects, processes=1, **options)


def test_a_table_of_defects_shows_no_empty_predictions(defects: Path) -> None:
    options = {"vacancy": ["O"], "insert": ["Li"], "replace": ["Mg -> Ca x1"], "supercell": 5.0}
    table = candidate_table(design(host=MGO, out=defects, processes=1, **options), ())
    headings = [str(column.header) for column in table.columns]
    assert headings == ["name", "space group", "atoms", "against host", "above hull", "verdicts"]


# ---------------------------------------------------------------- whole sites


def held(**options: object) -> HeldCrystals:
    found = kind_of_request(Request.of(n=5, **options))
    assert isinstance(found, HeldCrystals)
    return found


def test_replaced_sites_make_known_perovskites_with_their_energy_against_the_host(tmp_path: Path) -> None:
    found = design(
        host=STO, replace=["Ti -> Zr,Hf"], allow_known=True, n=2, fast=True, out=tmp_path / "run", processes=1
    )
    assert sorted(one.crystal.composition.reduced_formula for one in found) == ["SrHfO3", "SrZrO3"]
    hull = ReferenceHull.load()
    reasons = {one.verdicts["host"].reason for one in found}
    assert all("one of 2 templates, all of which were ranked" in reason for reason in reasons)
    for one in found:
        assert one.space_group is not None
        assert one.space_group.number == 221
        assert StructureMatcher().fit_anonymous(one.crystal, Structure.from_file(STO))
        assert one.relaxation is not None
        # Against the host: the difference of the formation energies of five atoms, for one replaced atom.
        formation = hull.above_hull(one.crystal.composition, one.relaxation.energy, hull.potential).formation_energy
        host_formation = formation - one.properties[HOST_ENERGY].value / 5
        assert -3.9 < host_formation < -3.3  # SrTiO3, the same for both
    assert Request.of(host=STO, replace=["Ti -> any"], n=10).possible > 80


def test_all_listed_templates_are_due_once() -> None:
    kind = held(host=STO, replace=["Ti -> any"])
    request, generator = kind.request, torch.Generator().manual_seed(0)
    units = most_units(request)
    found = [one for unit in range(units + 1) for one in propose(request, kind, generator, Silence(), unit)]
    assert len(found) == len(set(found)) == request.possible
    assert not propose(request, kind, generator, Silence(), units)


def test_the_sampler_draws_elements_of_open_sites_only() -> None:
    kind = held(host=LCO, replace=["Li -> any", "Co -> any", "O -> S,Se"], exclude=["Li", "Co", "O"])
    assert not kind.listed()
    generator = torch.Generator().manual_seed(0)
    templates = crystals_of([*kind.sample(40, generator), *propose(kind.request, kind, generator, Silence())])
    assert len(set(templates)) > 20
    for template in templates:
        assert kind.plan.held.same_positions(template)
        assert {z for p, z in template.sites if kind.plan.host.template.sites[2][0] == p} <= {16, 34}
        assert not {3, 27, 8} & {z for _, z in template.sites}


def test_geometry_begins_at_that_of_the_host() -> None:
    kind = held(host=TEXTBOOK / "ZrO2_baddeleyite.cif", replace=["site 1 -> N,P", "site 2 -> F,Cl"])
    templates = list(kind.plan.listed)
    begun = kind.initial_geometries(templates, torch.Generator().manual_seed(0))
    host = kind.plan.host.geometry
    assert begun.owner.tolist() == sorted(begun.owner.tolist())
    assert set(begun.owner.tolist()) == set(range(len(templates)))
    # The shape is that of the host; the volume follows the elements.
    assert torch.allclose(begun.geometry.lattice, host.lattice.float().expand_as(begun.geometry.lattice))
    for row in range(begun.templates.n_systems):
        coords = begun.geometry.select(begun.templates, torch.tensor([row])).coords
        assert torch.equal(coords.sort(0).values, host.coords.float().sort(0).values)  # a permutation of its sites
        zirconium = begun.templates.select(torch.tensor([row])).site_element == 40
        assert torch.equal(coords[zirconium], host.coords.float()[2:])


def test_a_start_keeps_its_sites_and_its_space_group() -> None:
    kind = held(start=LCO, keep="O", sampler={"move_steps": 12, "burn_in": 2})
    generator = torch.Generator().manual_seed(0)
    start = kind.plan.host.template
    assert kind.sample(5, generator) == [start]
    found = crystals_of(propose(kind.request, kind, generator, Silence()))
    assert len(found) > 5
    assert any(not kind.plan.held.same_positions(one) for one in found)
    for one in found:
        assert one.space_group == start.space_group
        assert start.sites[2] in one.sites
    begun = kind.initial_geometries(found, generator)
    assert set(begun.owner.tolist()) == set(range(len(found)))


# ---------------------------------------------------------------- fragments


@pytest.mark.parametrize(
    ("smiles", "opened", "hydrogens"),
    [
        ("c1ccccc1[*]", 1, 5),
        ("[*]n1cccc1", 1, 4),
        ("[*]CC(=O)[*]", 2, 2),
        ("C([*])([*])C", 2, 4),
        ("[*]C#N", 1, 0),
        ("*c1ccc(*)cc1", 2, 4),
        ("OC(=O)[*]", 1, 1),
    ],
)
def test_sampled_molecules_hold_the_fragment_whatever_the_weights(smiles: str, opened: int, hydrogens: int) -> None:
    fragment = Fragment.of(smiles)
    assert sum(fragment.opened) == opened
    torch.manual_seed(1)
    prior = GraphPrior(GraphPriorConfig(width=16, layers=1, heads=2)).eval()
    rules = MoleculeRules(required_smarts=(fragment.pattern,))
    sampler = MoleculeSampler(prior, MoleculeRules(), fragment=fragment)
    found = sampler.sample(Conditions.none(60, MOLECULE_GRIDS), torch.Generator().manual_seed(0))
    assert len(set(found)) > 10
    query = Chem.MolFromSmarts(fragment.pattern)
    for template in found:
        assert rules.satisfied(template)
        molecule = Chem.MolFromSmiles(template.smiles)
        assert fragment.n_heavy < molecule.GetNumAtoms() <= MAX_HEAVY
        match = molecule.GetSubstructMatch(query)
        own = [molecule.GetAtomWithIdx(match[a.GetIdx()]) for a in query.GetAtoms() if "!" not in a.GetSmarts()]
        assert sum(atom.GetTotalNumHs() for atom in own) == hydrogens


def test_a_closed_position_does_not_match() -> None:
    rules = MoleculeRules(required_smarts=(Fragment.of("c1ccccc1[*]").pattern,))
    kinds = {"Cc1ccccc1": True, "Nc1ccccc1": True, "c1ccccc1": False, "Cc1ccccc1C": False, "CC1CCCCC1": False}
    for smiles, holds in kinds.items():
        assert rules.satisfied(MoleculeTemplate.of(smiles)) is holds


def test_moves_keep_the_fragment() -> None:
    request = Request.of(
        kind="molecule",
        fragment="[*]C(=O)N",
        n=5,
        allow_known=True,
        sampler={"move_steps": 30, "burn_in": 8, "pool": 1},
    )
    kind = kind_of_request(request)
    found = propose(request, kind, torch.Generator().manual_seed(0), Silence())
    assert len(found) > 5
    assert all(request.molecule_rules.satisfied(one) for one in found)  # type: ignore[arg-type]
