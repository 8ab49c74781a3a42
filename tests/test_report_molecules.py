"""Molecules in a report: the nearest of representative known ones, and the map; what is said where there is neither."""

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
from matgen.novelty.molecules import shipped_molecules
from matgen.report import map as report_map
from matgen.report.candidates import Setting, candidate_record
from matgen.report.data import report_data
from matgen.report.map import place_of, shipped_map, within_training
from matgen.report.nearest_molecule import nearest_molecule
from matgen.templates.molecule import MoleculeTemplate
from matgen.workflows.design import identity

SOME = KnownSmiles("molecules of a test", ("CCO", "COC", "CCN", "c1ccccc1", "CC(=O)O", "C1CC1"))


def tanimoto(one: str, other: str) -> float:
    """Shared over all environments of atoms, counted as sets."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    a, b = (set(generator.GetFingerprint(Chem.MolFromSmiles(x)).GetOnBits()) for x in (one, other))
    return len(a & b) / len(a | b)


# ---------------------------------------------------------------- nearest


@pytest.mark.parametrize("smiles", ["CCO", "OCCO", "Cc1ccccc1", "C[C@H](F)O", "FC1CC1"])
def test_the_nearest_is_that_of_all_pairs(smiles: str) -> None:
    expected = {one: tanimoto(smiles, one) for one in SOME.smiles}
    assert list(SOME.similarities(smiles)) == pytest.approx(list(expected.values()))
    found = nearest_molecule(smiles, SOME)
    assert found["similarity"] == pytest.approx(max(expected.values()), abs=5e-4)
    assert expected[found["name"]] == max(expected.values())


def test_it_is_told_of_how_many_and_of_which() -> None:
    found = nearest_molecule("OCCO", SOME)
    assert found["title"] == "Nearest of 6 representative known molecules"
    assert "are molecules of a test; another known molecule may be nearer" in found["measure"]
    assert found["formula"] == "C2H6O"
    assert "It is C2H6O, this molecule C2H6O2." in found["text"]


def test_a_molecule_is_its_own_nearest_whatever_its_stereo() -> None:
    among = KnownSmiles("", ("CC(F)CO", "CC(O)CF", "CC(O)F"))
    found = nearest_molecule("C[C@H](F)O", among)
    assert (found["name"], found["similarity"]) == ("CC(O)F", 1.0)
    assert found["text"].startswith("The same molecule, but perhaps for stereo.")
    assert "An isomer" in nearest_molecule("CC(C)(F)O", KnownSmiles("", ("CC(O)CF",)))["text"]


def test_of_equals_the_molecule_itself_is_named() -> None:
    # Chains of nine and ten carbons have the same environments up to two bonds away.
    nine, ten = "CCCCCCCCC", "CCCCCCCCCC"
    assert tanimoto(nine, ten) == 1.0
    assert nearest_molecule(ten, KnownSmiles("", (nine, ten)))["name"] == ten
    found = nearest_molecule(ten, KnownSmiles("", (nine,)))
    assert (found["name"], found["similarity"]) == (nine, 1.0)
    assert "It is C9H20, this molecule C10H22." in found["text"]


def test_whether_the_molecule_itself_is_known_is_told_by_the_whole_index() -> None:
    assert "itself is one of the 126,942 in QM9" in nearest_molecule("c1ccccc1", SOME)["text"]
    assert "itself is none of the 126,942 in QM9" in nearest_molecule("CCCCCCCCCCCC", SOME)["text"]


# ---------------------------------------------------------------- what ships


def test_the_shipped_molecules_are_known_and_different() -> None:
    found, known = shipped_smiles(), shipped_molecules()
    assert SHIPPED.stat().st_size <= 300_000
    assert len(found) == len(set(found.smiles)) >= 5000
    for smiles in found.smiles[:: len(found) // 200]:
        template = MoleculeTemplate.of(smiles)
        assert known.knows(template)
        assert template.smiles == template.without_stereo.smiles == smiles
    assert nearest_molecule(found.smiles[7])["name"] == found.smiles[7]


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
