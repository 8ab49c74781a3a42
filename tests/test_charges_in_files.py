"""The charge that the comment of an XYZ tells decides its bonds; one that may be told is asked for."""

from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from matgen.structures.broken import BrokenStructureError
from matgen.structures.files import Entry, read_structures
from matgen.structures.told_charge import told_charge

ONE_LESS = [
    "charge=-1",
    "charge = -1",
    "charge: -1",
    "Charge -1 multiplicity 1",
    "charge=-1.0",
    'charge="-1"',
    "total_charge=-1 spin=0",
    "net_charge: -1",
    "q=-1",
    "q = -1 | S = 0 | E = -76.2",
    '{"charge": -1, "uhf": 0}',
    "{'name': 'x', 'charge': -1.0}",
    "energy=-3.5 charge=-1 Properties=species:S:1:pos:R:3",
]


def xyz(smiles: str, comment: str) -> str:
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(molecule, randomSeed=2) == 0
    lines = Chem.MolToXYZBlock(molecule).splitlines()
    return "\n".join([lines[0], comment, *lines[2:]]) + "\n"


def one(tmp_path: Path, text: str) -> Entry:
    (tmp_path / "a.xyz").write_text(text)
    (entry,) = read_structures([tmp_path / "a.xyz"], None)
    return entry


@pytest.mark.parametrize("comment", ONE_LESS)
@pytest.mark.parametrize("smiles", ["CC(=O)[O-]", "[O-]c1ccccc1"])
def test_an_anion_is_read_however_its_charge_is_told(tmp_path: Path, comment: str, smiles: str) -> None:
    entry = one(tmp_path, xyz(smiles, comment))
    assert entry.template == Chem.CanonSmiles(smiles), entry.error
    assert entry.molecule is not None
    assert entry.molecule.charge == -1


@pytest.mark.parametrize("comment", ["", "acetate", "frame 7 energy=-228.1", "discharge=-1", "charges=-1", "freq=-1"])
def test_an_anion_whose_charge_is_not_told_asks_for_it(tmp_path: Path, comment: str) -> None:
    assert "charge=-1 in the comment line" in one(tmp_path, xyz("CC(=O)[O-]", comment)).error


@pytest.mark.parametrize(
    ("comment", "reason"),
    [
        ("-1 1", "if so, write charge=-1"),
        ("charge=0.5", "whole number"),
        ("charge=300", "whole number"),
        ("charge=-1 total_charge=0", "tells the charges -1 and 0"),
    ],
)
def test_a_charge_that_is_not_clear_is_refused(tmp_path: Path, comment: str, reason: str) -> None:
    assert reason in one(tmp_path, xyz("CC(=O)[O-]", comment)).error
    with pytest.raises(BrokenStructureError, match="charge"):
        told_charge(comment)


@pytest.mark.parametrize("comment", ["0 1", "charge=0", "q=0.31 r=2", "gdb 1\t157.7", "", "charge=none"])
def test_a_neutral_molecule_is_neutral(tmp_path: Path, comment: str) -> None:
    assert one(tmp_path, xyz("CCO", comment)).template == "CCO"


def test_initial_charges_of_atoms_add_up(tmp_path: Path) -> None:
    count, _, *atoms = xyz("CC(=O)[O-]", "").splitlines()
    first_oxygen = next(i for i, line in enumerate(atoms) if line.startswith("O"))
    rows = [f"{line} {-1.0 if i == first_oxygen else 0.0}" for i, line in enumerate(atoms)]
    comment = "Properties=species:S:1:pos:R:3:initial_charges:R:1"
    assert one(tmp_path, "\n".join([count, comment, *rows]) + "\n").template == "CC(=O)[O-]"
