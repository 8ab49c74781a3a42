"""QM9 as it is published → a table: bonds that explain the coordinates, units of ours, every failure counted."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from matgen.datasets.molecules import MoleculeTable
from matgen.datasets.named import DataSetError, named_molecules
from matgen.datasets.qm9 import PARTS, MoleculePreparation, QM9Error, Row, prepare_qm9, published_molecules, understood
from matgen.templates.molecular_geometry import embedded
from matgen.templates.molecule import MoleculeTemplate
from matgen.training.tables import DataError
from matgen.workflows.data import MoleculeFacts, prepare_molecules, table_facts

METHANE = [
    [-0.0126981359, 1.0858041578, 0.0080009958],
    [0.002150416, -0.0060313176, 0.0019761204],
    [1.0117308433, 1.4637511618, 0.0002765748],
    [-0.540815069, 1.4475266138, -0.8766437152],
    [-0.5238136345, 1.4379326443, 0.9063972942],
]
"""Row 1 of QM9, Å; carbon first."""

ACETYLENE = "[[0.,0.,0.5995],[0.,0.,-0.5995],[0.,0.,1.6616],[0.,0.,-1.6616]]"
"""As some rows are written, which is no JSON."""

LABELS = {
    "HOMO_LUMO_gap_au": 0.5048,
    "HOMO_au": -0.3877,
    "LUMO_au": 0.1171,
    "Dipole_debye": "0.",
    "Polarizability_bohr3": 13.21,
    "InternalEnergy_0K_au": -40.47893,
    "Heatcapacity_Cv_cal_mol_K": 6.469,
}
"""Of methane."""


def row(index: int, smiles: str, inchi: str, elements: list[str], xyz: str) -> dict[str, object]:
    symbols = ",".join(f"'{one}'" for one in elements)
    return {"Index": index, "SMILES": smiles, "InChi": inchi, "Elements": f"[{symbols}]", "XYZ_Ang": xyz} | LABELS


def ethanol(seed: int) -> dict[str, object]:
    """Heavy atoms first, as QM9 has them, hydrogens in any order."""
    positions = embedded(MoleculeTemplate.of("CCO")).positions
    order = [0, 1, 2, *(3 + np.random.default_rng(seed).permutation(6))]
    inchi = "InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3"
    return row(3, "CCO", inchi, ["C", "C", "O", *"HHHHHH"], str(positions[order].tolist()))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder of training tables and, below it, QM9: methane, acetylene, ethanol, a radical, a cloud of atoms."""
    methyl = row(4, "[CH3]", "InChI=1S/CH3/h1H3", ["C", "H", "H", "H"], str(METHANE[:4]))
    cloud = row(5, "CO", "InChI=1S/CH4O/c1-2/h2H,1H3", ["C", "O", *"HHHH"], str((9.0 * np.eye(6, 3)).tolist()))
    rows = [
        [row(1, "C", "InChI=1S/CH4/h1H4", ["C", *"HHHH"], str(METHANE))],
        [ethanol(0), row(2, "C#C", "InChI=1S/C2H2/c1-2/h1-2H", ["C", "C", "H", "H"], ACETYLENE)],
        [methyl, cloud],
    ]
    tables = tmp_path / "data"
    tables.mkdir()
    for name, some in zip(PARTS, rows, strict=True):
        with (tables / name).open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(some[0]))
            table.writeheader()
            table.writerows(some)
    (tmp_path / "molecules").mkdir()
    split = {"train": [1, 4, 5], "valid": [2], "test": [3]}
    np.savez(tmp_path / "molecules" / "qm9_edm_split.npz", **{name: np.array(i) for name, i in split.items()})
    return tmp_path


def prepared(published: Path) -> MoleculePreparation:
    return prepare_qm9(published / "data", published / "molecules" / "qm9_edm_split.npz")


def test_every_row_is_in_the_table_or_among_the_failures(published: Path) -> None:
    found = prepared(published)
    assert found.table.index.tolist() == [1, 2, 3, 4]  # in the order of their numbers
    assert found.table.split.tolist() == [0, 1, 2, 0]
    assert found.failures == {"neither the SMILES nor distances explain the coordinates": 1}
    assert sum(found.ways.values()) == 4


def test_zeros_written_with_a_dot_alone_are_zeros(published: Path) -> None:
    table = prepared(published).table.select(torch.tensor([1]))
    assert table.templates.smiles == ("C#C",)
    # Carbon–carbon, twice carbon–hydrogen, and across: on a line, as written.
    apart = torch.pdist(table.geometry.coords.double()).sort().values
    torch.testing.assert_close(apart[:3], torch.tensor([1.0621, 1.0621, 1.199], dtype=torch.float64), atol=1e-4, rtol=0)


def test_geometries_are_centred_and_else_as_published(published: Path) -> None:
    table = prepared(published).table.select(torch.tensor([0]))
    positions = table.geometry.coords.double()
    assert positions.mean(0).abs().max() < 1e-6
    wanted = torch.pdist(torch.tensor(METHANE, dtype=torch.float64)).sort().values
    torch.testing.assert_close(torch.pdist(positions).sort().values, wanted, atol=1e-6, rtol=0)  # single precision


def test_labels_are_in_units_of_ours(published: Path) -> None:
    table = prepared(published).table
    # Atomisation energy of methane at 0 K as everybody prints it: -395.9996 kcal/mol, by the published free atoms.
    assert float(table.label("atomization_energy")[0]) == pytest.approx(-395.9996 * 0.0433641, abs=1e-3)
    gap, homo, lumo = (table.label(name)[0] for name in ("gap", "homo", "lumo"))
    assert float(gap) == pytest.approx(float(lumo - homo), abs=1e-5)
    assert float(gap) == pytest.approx(13.736, abs=1e-3)  # eV
    assert float(table.label("dipole")[0]) == 0.0


def test_the_order_of_hydrogens_does_not_matter() -> None:
    one, other = (understood({name: str(value) for name, value in ethanol(seed).items()}) for seed in (0, 1))
    assert isinstance(one, Row)
    assert isinstance(other, Row)
    assert one.template == other.template == MoleculeTemplate("CCO")
    assert one.how == other.how == "SMILES"
    # Which of two equal hydrogens comes first is left open; each must be at home on its own heavy atom.
    bonds = np.argwhere(np.triu((one.template.graph.relations >= 1) & (one.template.graph.relations <= 4)))
    lengths = [np.linalg.norm(np.diff(row.positions[bonds], axis=1), axis=2).ravel() for row in (one, other)]
    np.testing.assert_allclose(np.sort(lengths[0]), np.sort(lengths[1]), atol=1e-9)
    assert lengths[0].max() < 1.6


def test_a_prepared_table_comes_back_from_disk_and_says_what_it_holds(published: Path) -> None:
    out = published / "cache" / "molecules.npz"
    found = prepare_molecules(published, out, tables=published / "data")
    assert (found.rows, sum(found.ways.values()), sum(found.failures.values())) == (4, 4, 1)
    again, made = MoleculeTable.load(out), prepared(published).table
    assert again.templates.smiles == made.templates.smiles
    assert torch.equal(again.labels, made.labels)
    facts = table_facts(out)
    assert isinstance(facts, MoleculeFacts)
    assert (facts.rows, facts.graphs, facts.elements, facts.largest) == (4, 4, 3, 9)
    assert facts.splits == {"train": 2, "val": 1, "test": 1, "none": 0}
    assert facts.labels["gap"] == 4


def test_the_molecules_of_a_split_are_as_published(published: Path) -> None:
    splits = published / "molecules" / "qm9_edm_split.npz"
    (acetylene,) = published_molecules(published / "data", splits, "valid")
    assert list(acetylene.atomic_numbers) == [6, 6, 1, 1]
    assert acetylene.get_distance(0, 1) == pytest.approx(1.199)


def test_what_is_missing_is_named(published: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="MATGEN_DATA"):
        prepare_molecules(None, tmp_path / "a.npz")
    with pytest.raises(QM9Error, match="README"):
        prepare_molecules(tmp_path / "data", tmp_path / "a.npz", tables=published / "data")  # it holds no split
    with pytest.raises(DataError, match=r"ends in \.npz"):
        prepare_molecules(published, tmp_path / "a.txt", tables=published / "data")
    with pytest.raises(DataSetError, match="README"):
        named_molecules("qm9", tmp_path / "data")
