"""Molecules in a report: the nearest known one, and the map; what is said where there is neither."""

import json
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from report_folders import molecule_folder, with_report
from test_molecule_checks import built

from matgen.generation.kept_ends import write_ends
from matgen.generation.request import Request
from matgen.novelty.known_smiles import SHIPPED, KnownSmiles, KnownSmilesError, shipped_smiles
from matgen.novelty.molecules import KnownMolecules, connectivity_block, shipped_molecules
from matgen.report import map as report_map
from matgen.report.candidates import Setting, candidate_record
from matgen.report.data import report_data
from matgen.report.map import MapError, MapTable, map_record, place_of, shipped_map, within_training
from matgen.report.nearest_molecule import nearest_molecule
from matgen.templates.molecule import MoleculeTemplate
from matgen.workflows.design import identity

NONE = KnownMolecules.of(())
SOME = KnownSmiles("molecules of a test", ("CCO", "COC", "CCN", "c1ccccc1", "CC(=O)O", "C1CC1"))


def tanimoto(one: str, other: str) -> float:
    """Shared over all environments of atoms, counted as sets."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    a, b = (set(generator.GetFingerprint(Chem.MolFromSmiles(x)).GetOnBits()) for x in (one, other))
    return len(a & b) / len(a | b)


# ---------------------------------------------------------------- nearest


@pytest.mark.parametrize("smiles", ["OCCO", "Cc1ccccc1", "C[C@H](F)O", "FC1CC1"])
def test_the_nearest_is_that_of_all_pairs(smiles: str) -> None:
    expected = {one: tanimoto(smiles, one) for one in SOME.smiles}
    assert list(SOME.similarities(smiles)) == pytest.approx(list(expected.values()))
    found = nearest_molecule(smiles, SOME, NONE)
    assert found["similarity"] == pytest.approx(max(expected.values()), abs=5e-4)
    assert expected[found["name"]] == max(expected.values())


def test_it_is_told_of_how_many_and_of_which() -> None:
    found = nearest_molecule("OCCO", SOME, NONE)
    assert found["title"] == "Nearest of a sample of 6 known molecules"
    assert "are molecules of a test; another known molecule may be nearer" in found["measure"]
    assert found["formula"] == "C2H6O"
    assert "It is C₂H₆O, this molecule C₂H₆O₂." in found["text"]
    assert "itself" not in found


@pytest.mark.parametrize("smiles", ["CC(N)=O", "CC(=N)O", "C[C@H](F)O"])
def test_a_known_molecule_is_its_own_nearest(smiles: str) -> None:
    """Whatever the sample has: nothing like it, or itself, as another tautomer or without stereo."""
    known = KnownMolecules.of(map(MoleculeTemplate.of, ("CC(N)=O", "CC(F)O", "CCN")))
    for among in (("CCN", "c1ccccc1"), ("CC(N)=O", "CC(F)O", "CCN", "c1ccccc1")):
        found = nearest_molecule(smiles, KnownSmiles("", among), known)
        assert (found["name"], found["similarity"]) == (MoleculeTemplate.of(smiles).without_stereo.smiles, 1.0)
        assert found["itself"]
        assert found["text"].startswith("The molecule is itself known: one of the 3 in given molecules")
        blocks = {one: connectivity_block(MoleculeTemplate.of(one)) for one in (smiles, *among)}
        others = {one: tanimoto(smiles, one) for one in among if blocks[one] != blocks[smiles]}
        second = max(others, key=others.__getitem__)
        assert found["second"]["name"] == second
        assert found["second"]["similarity"] == pytest.approx(others[second], abs=5e-4)
        assert f"other one of the sample is {second}" in found["text"]


def test_equally_similar_ones_are_no_same_molecule() -> None:
    # Chains of nine and ten carbons have the same environments up to two bonds away.
    nine, ten = "CCCCCCCCC", "CCCCCCCCCC"
    assert tanimoto(nine, ten) == 1.0
    found = nearest_molecule(ten, KnownSmiles("", (nine,)), NONE)
    assert (found["name"], found["similarity"]) == (nine, 1.0)
    assert "It is C₉H₂₀, this molecule C₁₀H₂₂." in found["text"]
    assert "An isomer" in nearest_molecule("CC(C)(F)O", KnownSmiles("", ("CC(O)CF",)), NONE)["text"]


def test_whether_the_molecule_itself_is_known_is_told_by_the_whole_index() -> None:
    assert "itself known: one of the 126,942 in QM9" in nearest_molecule("c1ccccc1", SOME)["text"]
    assert "itself is none of the 126,942 in QM9" in nearest_molecule("CCCCCCCCCCCC", SOME)["text"]


# ---------------------------------------------------------------- what ships


def test_the_shipped_molecules_are_known_and_different() -> None:
    found, known = shipped_smiles(), shipped_molecules()
    assert SHIPPED.stat().st_size <= 300_000
    assert len(found) == len(set(found.smiles)) >= 5000
    assert not any("+" in smiles for smiles in found.smiles)
    for smiles in found.smiles[:: len(found) // 200]:
        template = MoleculeTemplate.of(smiles)
        assert known.knows(template)
        assert template.smiles == template.without_stereo.smiles == smiles


def test_each_connectivity_occurs_once() -> None:
    """Checked of some, since InChI takes its time."""
    templates = [MoleculeTemplate(one) for one in shipped_smiles().smiles]
    some = list(dict.fromkeys(templates[::7] + templates[-500:]))
    assert len({connectivity_block(one) for one in some}) == len(some)


@pytest.mark.parametrize(
    "smiles", ["C", "N", "O", "CO", "CCO", "C=O", "C#N", "FC(F)(F)F", "CC(C)=O", "CC(N)=O", "CN(C)C=O", "c1ccccc1"]
)
def test_common_small_molecules_are_in_the_sample(smiles: str) -> None:
    assert MoleculeTemplate.of(smiles).smiles in shipped_smiles().smiles


def test_what_is_shipped_is_called_no_more_than_it_is() -> None:
    source = shipped_smiles().source
    assert source.startswith("molecules that the package's own prior samples, and all of up to 6 heavy atoms")
    assert "whose connectivity is in its index of known ones (hashes of QM9" in source


def test_the_file_is_read_back(tmp_path: Path) -> None:
    SOME.save(tmp_path / "some.npz")
    found = KnownSmiles.load(tmp_path / "some.npz")
    assert (found.source, found.smiles) == (SOME.source, SOME.smiles)
    (tmp_path / "some.npz").write_bytes(b"no archive")
    with pytest.raises(KnownSmilesError, match=r"expected known molecules at .*some\.npz, got"):
        KnownSmiles.load(tmp_path / "some.npz")


def test_the_map_of_molecules_places_its_own_where_they_are() -> None:
    table = shipped_map("molecule")
    assert report_map.SHIPPED["molecule"].stat().st_size <= 150_000
    for i in range(0, len(table.names), 100):
        # Places are stored in float16, with 11 bits.
        assert place_of("molecule", table.names[i]) == pytest.approx(table.points[i], abs=0.02)


def test_the_map_is_refused_with_other_molecules_than_it_was_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has number and hash of its molecules alone, so that they are stored once."""
    with np.load(report_map.SHIPPED["molecule"], allow_pickle=False) as file:
        assert set(json.loads(file["header"].tobytes())) == {"weights", "source", "explained", "molecules", "sha256"}
    others = KnownSmiles("", shipped_smiles().smiles[1:])
    monkeypatch.setattr(report_map, "shipped_smiles", lambda: others)
    with pytest.raises(MapError, match=r"expected a map of the first 1,200 of .* --kind molecule"):
        MapTable.load("molecule")


def test_numbers_in_a_caption_are_written_alike() -> None:
    assert "of 1,200 known molecules" in map_record("molecule")["method"]


def test_places_of_alike_molecules_are_close() -> None:
    """Homologues lie nearer to each other than pairs of known molecules do."""
    points = shipped_map("molecule").points
    typical = np.median(np.linalg.norm(points[:500] - points[500:1000], axis=1))
    for one, other in (("CCCCO", "CCCCCO"), ("CC(=O)CC", "CC(=O)CCC"), ("Cc1ccccc1", "CCc1ccccc1")):
        apart = np.subtract(place_of("molecule", one), place_of("molecule", other))
        assert np.linalg.norm(apart) < 0.5 * typical


# ---------------------------------------------------------------- candidates


@pytest.mark.parametrize("smiles", ["CCCl", "[H][H]", "C" * 19])
def test_molecules_far_from_the_training_have_no_place(smiles: str, tmp_path: Path) -> None:
    assert not within_training(smiles)
    record = candidate_record(built(smiles), 1, Setting(tmp_path, "molecule"))
    assert "map" not in record
    assert "There is no place on the map" in record["missing"]["map"]
    assert 0 <= record["nearest"]["similarity"] <= 1


def test_the_report_of_molecules_has_a_map(tmp_path: Path) -> None:
    data = report_data(molecule_folder(tmp_path, ("CCO", "OC1CC1")))
    assert [one["missing"] for one in data["candidates"]] == [{}, {}]
    assert "map" not in data["missing"]
    assert "known molecules" in data["map"]["method"]
    assert [one["map"] for one in data["candidates"]] == [place_of("molecule", x) for x in ("CCO", "OC1CC1")]
    assert all(one["nearest"]["title"].startswith("Nearest of ") for one in data["candidates"])
    assert "path" not in data["map"]


def test_molecules_lie_between_two_requests(tmp_path: Path) -> None:
    (tmp_path / "some.smi").write_text("CCO alcohol\n", encoding="utf-8")
    like = f'kind = "molecule"\nlike = ["{tmp_path / "some.smi"}"]\n[targets]\ngap = 5\n'
    (tmp_path / "a.toml").write_text(like, encoding="utf-8")
    (tmp_path / "b.toml").write_text('kind = "molecule"\n[targets]\ngap = 7\n', encoding="utf-8")
    request = Request.of(kind="molecule", between=[str(tmp_path / f"{name}.toml") for name in "ab"])
    folder = molecule_folder(tmp_path / "run", ("CCO", "OC1CC1"))
    with_report(folder, configuration=identity(request).configuration)
    write_ends(request, folder)
    path = report_data(folder)["map"]["path"]
    (point,) = path["ends"][0]["points"]
    assert point[:2] == place_of("molecule", "CCO")
    assert len(path["line"]) == 2
    assert "b names no examples" in path["text"]
