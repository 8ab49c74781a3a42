"""A design of molecules from the request to the files, with the weights that ship."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from finished_units import passing
from pymatgen.core import Molecule
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from matgen.checks.molecular_graph import shows_template, stereo_of_geometry
from matgen.energies.base import TemplateEnergy
from matgen.generation.errors import RequestError
from matgen.generation.generate import generate
from matgen.generation.kinds import kind_of_request
from matgen.generation.kinds.molecules import Molecules
from matgen.generation.presets import preset_of
from matgen.generation.propose import propose
from matgen.generation.request import Request
from matgen.runtime.config import ConfigError
from matgen.runtime.progress import Silence
from matgen.search.variety import Variety
from matgen.structures.candidate import Candidate
from matgen.templates.batch import Geometry, TemplateBatch, molecules_of
from matgen.templates.molecule import MoleculeTemplate
from matgen.weights import models
from matgen.weights.files import WEIGHTS
from matgen.weights.kinds import USED_BY
from matgen.weights.models import load_molecule_models
from matgen.workflows.design import default_folder, run

needs_weights = pytest.mark.skipif(
    not all((WEIGHTS / f"{kind}.safetensors").exists() for kind in USED_BY["molecule"]),
    reason="weights of molecules are not there",
)


def asking(**fields: object) -> Request:
    """A small request."""
    small = {"move_steps": 6, "burn_in": 2, "initial_levels": 12, "settle_levels": 6, "pool": 2}
    preset = preset_of("molecule")
    raw = {"kind": "molecule", "n": 2, **preset, "sampler": preset["sampler"] | small} | fields
    return Request.of(**raw)


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"kind": "polymer"}, "molecule"),
        ({"space_groups": [225]}, "space_groups"),
        ({"max_ehull": 0.2}, "max_ehull"),
        ({"relax": "chgnet"}, "xtb or none"),
        ({"elements": ["Cl"]}, "H, C, N, O, F"),
        ({"exclude": ["H"]}, "hydrogens fill"),
        ({"formula": "C10H22"}, "heavy atoms"),
        ({"formula": "C2H7"}, "closed-shell"),
        ({"smarts": ["[OX2H"]}, "SMARTS"),
        ({"smiles": "C1CC"}, "SMILES"),
        ({"smiles": "CCO", "smarts": ["[NX3]"]}, "lacks the required pattern"),
        ({"max_atoms": 10}, "1 to 9"),
        ({"include": ["H"]}, "hydrogens fill"),
        ({"charge": 10}, "charge"),
        ({"charge": 1, "elements": ["C", "O"]}, "charge"),
        ({"smiles": "[CH3]"}, "expected"),
        ({"relaxation": {"settings": {"keep_symmetry": False}}}, "relaxation"),
        ({"targets": {"formation_energy": 1.0}}, "gap, homo, lumo"),
        ({"targets": {"gap": -1.0}}, "gap of 0 to 20"),
    ],
)
def test_what_molecules_cannot_be_is_refused_in_a_sentence(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        asking(**fields)


def test_what_only_molecules_have_is_refused_for_crystals() -> None:
    for fields in ({"smiles": "CCO"}, {"smarts": ("C",)}, {"charge": 1}, {"relax": "xtb"}):
        with pytest.raises(RequestError, match="crystal"):
            Request.of(**fields)


def test_the_same_words_mean_the_property_of_the_kind() -> None:
    assert asking(targets={"bandgap": "5:6"}).property_targets[0].name == "gap"
    assert Request.of(targets={"gap": "1:2"}).property_targets[0].name == "band_gap"
    assert default_folder(asking(targets={"gap": 5.0})) != default_folder(asking(targets={"gap": 6.0}))


# ---------------------------------------------------------------- proposals


@pytest.fixture(scope="module")
def shipped() -> models.MoleculeModels:
    return load_molecule_models()


class Many(TemplateEnergy):
    """Speaks for oxygen."""

    name = "oxygen"

    def forward(self, templates: TemplateBatch) -> torch.Tensor:
        counts = torch.zeros(templates.n_systems)
        return -counts.index_add(0, templates.site_system, (templates.site_element == 8).float())


@needs_weights
def test_rules_are_never_broken(shipped: models.MoleculeModels) -> None:
    request = asking(
        elements=["C", "N", "O"],
        include=["N"],
        smarts=["[OX2H]"],
        avoid=["C#C"],
        max_atoms=7,
        targets={"gap": "5:8"},
    )
    found = propose(request, Molecules(request, shipped), torch.Generator().manual_seed(0), Silence())
    assert found
    for template in molecules_of(found):
        molecule = Chem.MolFromSmiles(template.smiles)
        symbols = {atom.GetSymbol() for atom in molecule.GetAtoms()}
        assert "N" in symbols <= {"C", "N", "O"}
        assert molecule.GetNumAtoms() <= 7
        assert molecule.HasSubstructMatch(Chem.MolFromSmarts("[OX2H]"))
        assert not molecule.HasSubstructMatch(Chem.MolFromSmarts("C#C"))


@needs_weights
def test_an_energy_of_the_user_steers_templates(shipped: models.MoleculeModels) -> None:
    plain = asking(n=6)
    steered = replace(plain, energies=(4.0 * Many(),))
    oxygens = []
    for request in (plain, steered):
        found = propose(request, Molecules(request, shipped), torch.Generator().manual_seed(0), Silence())
        counts = [template.composition.get(8, 0) for template in molecules_of(found)]
        oxygens.append(sum(counts) / len(counts))
    assert oxygens[1] > oxygens[0] + 0.5


@needs_weights
def test_mirror_images_have_the_same_prior(shipped: models.MoleculeModels) -> None:
    pairs = [("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"), ("C/C=C/CO", "C/C=C\\CO")]
    prior = Molecules(asking(), shipped).prior()
    for pair in pairs:
        energies = prior(TemplateBatch.of([MoleculeTemplate.of(smiles) for smiles in pair]))
        assert energies[0] == energies[1]


def test_a_named_graph_is_wanted_as_often_as_it_has_isomers() -> None:
    assert asking(smiles="C[C@H](N)C(=O)O", n=10).wanted == 1
    assert asking(smiles="CC(N)C(=O)O", n=10).wanted == 2
    assert asking(smiles="O=C1CC2CCC1C2", n=10).wanted == 2  # of four on paper
    assert asking(smiles="C[NH2+]CC(=O)[O-]", n=1).molecule_rules.charge == 0
    assert asking(smiles="C[NH3+]", n=1).molecule_rules.charge == 1


@needs_weights
def test_a_named_graph_comes_with_the_stereo_it_states(shipped: models.MoleculeModels) -> None:
    request = asking(smiles="C[C@H](N)C(=O)O", n=1)
    kind = Molecules(request, shipped)
    assert kind.moves() == {}
    found = generate(request, kind, torch.Generator().manual_seed(0), Silence())
    assert [proposal.template for proposal in found] == [MoleculeTemplate.of("C[C@H](N)C(=O)O")]
    template = found[0].template
    assert isinstance(template, MoleculeTemplate)
    assert found[0].structure.charge == 0
    shown = stereo_of_geometry(template, found[0].structure.cart_coords)
    assert (shown == template.graph.stereo[:, -1]).all()


@needs_weights
def test_crowded_centres_start_with_their_stereo(shipped: models.MoleculeModels) -> None:
    crowded = [MoleculeTemplate.of("OC[C@@]1(O)C[C@H]1N1CC1"), MoleculeTemplate.of("C#C[C@@]1(C)CC[C@@H]1CC")]
    preset = preset_of("molecule")
    request = Request.of(kind="molecule", sampler=preset["sampler"] | {"geometries": 4})
    begun = Molecules(request, shipped).initial_geometries(crowded, torch.Generator().manual_seed(0))
    assert begun.owner.tolist() == [0] * 4 + [1] * 4
    places = begun.geometry.coords.double().numpy()
    for i, name in enumerate(begun.templates.smiles):
        template = MoleculeTemplate(name)
        assert template == crowded[i // 4]
        assert shows_template(template, places[begun.templates.site_system.numpy() == i])


@pytest.mark.parametrize("bad", [{"initial_noise": 0.5}, {"settle_noise": 0.005}, {"sampled_noise": 0.01}])
def test_levels_that_would_rise_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="above"):
        asking(sampler=preset_of("molecule")["sampler"] | bad)


@needs_weights
def test_only_geometries_that_miss_their_graph_are_sampled_again(
    shipped: models.MoleculeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Geometries by RDKit, of which the second is torn the first time, and the third whenever it is sampled."""
    kind = Molecules(asking(sampler=preset_of("molecule")["sampler"] | {"geometries": 1}), shipped)
    asked = [MoleculeTemplate.of(smiles) for smiles in ("C[C@H](N)O", "CCO", "CC(N)F")]
    calls: list[list[str]] = []

    def sampled(_: Molecules, batch: TemplateBatch, __: torch.Generator) -> Geometry:
        calls.append([MoleculeTemplate(one).without_stereo.smiles for one in batch.smiles])
        places = []
        for name in batch.smiles:
            molecule = MoleculeTemplate(name).molecule
            assert rdDistGeom.EmbedMolecule(molecule, randomSeed=len(calls)) == 0
            torn = (name == "CCO" and len(calls) == 1) or "F" in name
            places.append(torch.tensor(molecule.GetConformer().GetPositions()).float() * (5 if torn else 1))
        return Geometry(torch.zeros(batch.n_systems, 6), torch.cat(places))

    monkeypatch.setattr(Molecules, "_sampled", sampled)
    begun = kind.initial_geometries(asked, torch.Generator().manual_seed(0))
    assert calls == [["CC(N)O", "CCO", "CC(N)F"], ["CCO", "CC(N)F"], ["CC(N)F"]]
    assert [MoleculeTemplate(one).without_stereo for one in begun.templates.smiles] == [t.without_stereo for t in asked]
    owner = begun.templates.site_system
    whole = [
        shows_template(MoleculeTemplate(name), begun.geometry.coords[owner == i].double().numpy())
        for i, name in enumerate(begun.templates.smiles)
    ]
    assert whole == [True, True, False]
    assert kind.initial_geometries([], torch.Generator()).templates.n_systems == 0
    named = Molecules(asking(smiles="CCO", n=1), shipped)
    assert named.geometries == 2 * 3


@needs_weights
def test_what_was_found_is_repeated_by_the_same_rings_or_formula(shipped: models.MoleculeModels) -> None:
    kind, variety = Molecules(asking(), shipped), Variety.of(asking())
    somewhere = Molecule(["C"], [[0, 0, 0]])
    for smiles in ("CC1CC1", "NC1CC1", "CCO"):
        molecule = Candidate(smiles, somewhere, somewhere, None, str(MoleculeTemplate.of(smiles)))
        variety.counts[passing(molecule).likeness] += 1
    repeated = {"OC1CC1": 2, "C1CO1": 2, "C1CCC1": 0, "COC": 1, "CCN": 0}
    assert {one: variety.counts[kind.likeness(MoleculeTemplate.of(one))] for one in repeated} == repeated
    assert not variety.verdicts(passing(molecule))


# ---------------------------------------------------------------- whole runs


@needs_weights
def test_a_design_of_molecules_writes_what_it_found(tmp_path: Path) -> None:
    request = asking(targets={"gap": "4:9"}, n=1, rounds=3, processes=1, stages={"moves": False, "mala": False})
    outcome = run(request, tmp_path)
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["status"] == "finished"
    assert set(USED_BY["molecule"]) < set(report["weights"])
    assert report["configuration"]["kind"] == "molecule"
    assert len(outcome.candidates) == 1
    for found in outcome.candidates:
        assert found.kind == "molecule"
        assert all(found.verdicts[name].passed for name in ("graph_kept", "stereo", "posebusters", "novel", "unique"))
        assert {"gap", "evaluator_gap", "xtb_gap"} <= found.properties.keys()
        assert 4 <= found.properties["gap"].value <= 9
        back = Chem.MolFromMolFile(str(tmp_path / "sdf" / f"{found.name}.sdf"), removeHs=False)
        assert MoleculeTemplate.of(back) == MoleculeTemplate(found.template)
    assert run(request, tmp_path).candidates == outcome.candidates  # and finds it finished


@needs_weights
def test_kinds_are_made_for_what_is_asked(shipped: models.MoleculeModels) -> None:
    assert isinstance(kind_of_request(asking()), Molecules)
    assert shipped.device == torch.device("cpu")
