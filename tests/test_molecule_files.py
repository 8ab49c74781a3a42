"""Molecules on disk: files read back as the same graph, stereo and positions; broken ones have a reason."""

import csv
import gzip
import json
import math
import random
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Molecule, Structure
from rdkit import Chem
from rdkit.Chem import rdDepictor

from matgen.structures.candidate import Candidate, KindError, Prediction, Relaxation, SpaceGroup, Verdict, kind_of
from matgen.structures.cif import cif_text
from matgen.structures.conversion import state_of, structures
from matgen.structures.export import CandidateWriter
from matgen.structures.files import Entry, MixedKindsError, found, one_kind, read, read_structures
from matgen.structures.formats import likely_kind
from matgen.structures.record import from_record, to_record
from matgen.structures.run_report import ResumeError, RunInfo
from matgen.structures.sdf import ROUNDING, faithful_sdf, read_sdf
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.expand import expand
from matgen.templates.molecular_geometry import embedded, shows
from matgen.templates.molecule import MoleculeTemplate, inchi_key, template_in_space, with_positions

RUN = RunInfo(version="0.1.0", seed=7, configuration={"gap": 5.0}, weights={"prior": "ab12"})

SMILES = (
    "C",
    "O",
    "CCO",
    "C#N",
    "[H][H]",
    "[C-]#[O+]",
    "c1ccccc1",
    "c1ccc2[nH]ccc2c1",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "C[C@H](N)C(=O)O",
    "[NH3+][C@@H](C)C(=O)[O-]",
    "O=C(O)[C@H](O)[C@@H](O)C(=O)O",
    "O=C(O)[C@H](O)[C@H](O)C(=O)O",
    "F/C=C/F",
    "F/C=C\\F",
    "C/C=C/C=C\\C",
    "C[N+](C)(C)C",
    "CC(=O)[O-]",
    "C[N+](=O)[O-]",
    "C1CC[C@@H]2O[C@@H]2C1",
    "CS(=O)(=O)Nc1ccc(Cl)cc1",
    "FC(Br)(I)C#C",
)
"""Small and charged, aromatic, chiral, meso, E and Z, zwitterions, a centre without specified chirality."""


def template(smiles: str) -> MoleculeTemplate:
    return MoleculeTemplate.of(smiles)


def molecule(smiles: str) -> Molecule:
    found = template(smiles)
    graph = found.graph
    return Molecule(graph.elements.tolist(), embedded(found).positions, charge=int(graph.charges.sum()))


def candidate(name: str, smiles: str) -> Candidate:
    shape = molecule(smiles)
    return Candidate(
        name=name,
        structure=shape,
        unrelaxed=shape,
        space_group=None,
        template=str(template(smiles)),
        seed=3,
        energies={"prior": 4.25, "gap": 0.5},
        properties={"gap": Prediction(5.1, 0.2, "eV")},
        verdicts={"strain": Verdict("strain", passed=True, value=0.1, unit="eV", reason="hardly any")},
        relaxation=Relaxation(True, "converged", 5, -3.66, -3.60, 0.01, 0.0, 0.5, "MMFF94"),
    )


def crystal() -> Candidate:
    salt = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return Candidate("salt", salt, salt, SpaceGroup(221, "Pm-3m"))


# ---------------------------------------------------------------- candidates and records


def test_a_candidate_says_what_kind_it_is() -> None:
    assert (candidate("a", "CCO").kind, crystal().kind) == ("molecule", "crystal")
    assert crystal().crystal == crystal().structure
    with pytest.raises(KindError, match="expected a crystal, got the molecule CCO"):
        _ = candidate("a", "CCO").crystal


@pytest.mark.parametrize("smiles", SMILES)
def test_a_molecule_survives_json(smiles: str) -> None:
    before = candidate("one", smiles)
    after = from_record(json.loads(json.dumps(to_record(before), allow_nan=False)))
    assert after == before
    assert np.array_equal(after.structure.cart_coords, before.structure.cart_coords)  # in the same order, too


def test_formulas_are_those_of_chemists() -> None:
    formulas = [to_record(candidate("a", smiles))["formula"] for smiles in ("CCO", "C[N+](C)(C)C", "OO")]
    assert formulas == ["C2H6O", "C4H12N+", "H2O2"]


# ---------------------------------------------------------------- folders of candidates


@pytest.mark.parametrize("smiles", SMILES)
def test_an_sdf_reads_back_to_the_same_molecule_where_it_was(smiles: str) -> None:
    one = candidate("one", smiles)
    text, verdict = faithful_sdf(one)
    assert verdict.passed, verdict.reason
    back = read_sdf(text)
    assert back is not None
    assert shows(back, template(smiles))
    assert np.abs(back.GetConformer().GetPositions() - one.structure.cart_coords).max() <= ROUNDING
    assert "V2000" in text
    assert (back.GetProp("_Name"), back.GetProp("SMILES")) == ("one", one.template)
    assert back.GetProp("InChIKey") == inchi_key(one.template)
    assert back.GetProp("passed") == "yes"


@pytest.mark.parametrize(
    ("meant", "sampled"), [("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"), ("F/C=C/F", "F/C=C\\F"), (SMILES[11], SMILES[12])]
)
def test_coordinates_with_other_hands_are_flagged(meant: str, sampled: str) -> None:
    other, asked = embedded(template(sampled)), template(meant)
    assert other.template.graph.relations.tolist() == asked.graph.relations.tolist()
    shape = Molecule(asked.graph.elements.tolist(), other.positions)
    _, verdict = faithful_sdf(replace(candidate("one", meant), structure=shape))
    assert not verdict.passed
    assert "does not read back" in verdict.reason
    assert math.isnan(verdict.value)


def test_a_hand_that_nobody_asked_for_is_no_objection() -> None:
    found = embedded(template("C[C@H](N)C(=O)O"))
    bare = found.template.without_stereo
    assert bare.graph.elements.tolist() == found.template.graph.elements.tolist()
    assert bare.graph.relations.tolist() == found.template.graph.relations.tolist()
    shape = Molecule(bare.graph.elements.tolist(), found.positions)
    assert faithful_sdf(replace(candidate("one", str(bare)), structure=shape))[1].passed


def test_all_files_of_a_folder_hold_the_same_molecules(tmp_path: Path) -> None:
    some = [candidate(f"m{i}", smiles) for i, smiles in enumerate(SMILES)]
    some[3] = replace(some[3], verdicts={"strain": Verdict("strain", passed=False, value=9.0, unit="eV", reason="far")})
    with CandidateWriter(tmp_path, RUN, kind="molecule") as writer:
        written = [writer.write(one) for one in some]
    assert all(one.verdicts["sdf"].passed for one in written)
    with (tmp_path / "candidates.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    lines = (tmp_path / "candidates.jsonl").read_text(encoding="utf-8").splitlines()
    frames = ase.io.read(tmp_path / "candidates.extxyz", index=":")
    assert list(rows[0])[:7] == ["name", "formula", "smiles", "inchikey", "n_atoms", "passed", "energy"]
    assert not any("space_group" in column for column in rows[0])
    assert rows[2]["check_sdf"] == "pass"
    assert [row["passed"] for row in rows[2:4]] == ["True", "False"]
    for one, row, line, frame in zip(written, rows, lines, frames, strict=True):
        assert row["name"] == json.loads(line)["name"] == frame.info["name"] == one.name
        assert row["smiles"] == frame.info["smiles"] == one.template
        assert not frame.pbc.any()
        assert frame.info["charge"] == one.structure.charge
        assert np.allclose(frame.positions, one.structure.cart_coords, atol=1e-7)
        back = Chem.MolFromMolFile(str(tmp_path / "sdf" / f"{one.name}.sdf"), removeHs=False)
        assert shows(back, MoleculeTemplate(one.template))
    assert not (tmp_path / "cif").exists()
    failed = read_sdf((tmp_path / "sdf" / "m3.sdf").read_text(encoding="utf-8"))
    assert failed is not None
    assert (failed.GetProp("passed"), failed.GetProp("failed")) == ("no", "strain")


def interrupt(folder: Path) -> None:
    with CandidateWriter(folder, RUN, kind="molecule") as writer:
        writer.write(candidate("one", "CCO"))
        raise KeyboardInterrupt


def test_an_interrupted_folder_of_molecules_is_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path)
    with CandidateWriter(tmp_path, RUN, kind="molecule") as writer:
        assert writer.finished == {"one"}
        assert writer.candidates[0].structure == molecule("CCO")
        writer.write(candidate("two", "F/C=C\\F"))
    assert len((tmp_path / "candidates.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert len(ase.io.read(tmp_path / "candidates.extxyz", index=":")) == 2


def test_a_folder_holds_one_kind(tmp_path: Path) -> None:
    with (
        CandidateWriter(tmp_path, RUN, kind="molecule") as writer,
        pytest.raises(ValueError, match="expected a molecule, got the crystal salt"),
    ):
        writer.write(crystal())
    with CandidateWriter(tmp_path, RUN, kind="molecule") as writer:
        writer.write(candidate("one", "CCO"))
    with pytest.raises(ResumeError, match="holds molecules where crystals"), CandidateWriter(tmp_path, RUN):
        pass
    with CandidateWriter(tmp_path, RUN, overwrite=True) as writer:
        writer.write(crystal())
    assert not list(tmp_path.glob("sdf/*"))
    assert (tmp_path / "cif" / "salt.cif").exists()


# ---------------------------------------------------------------- states


def test_molecules_become_states_and_come_back() -> None:
    """Among crystals, with the same graphs as expanding their templates gives."""
    smiles = [str(template(s)) for s in SMILES[:16]]
    materials: list[Structure | Molecule] = [*map(molecule, smiles[:8]), crystal().crystal, *map(molecule, smiles[8:])]
    names = [*smiles[:8], "", *smiles[8:]]
    state = state_of(materials, torch.float64, templates=names)
    assert state.pbc.all(1).tolist() == [name == "" for name in names]
    back = structures(state)
    assert [kind_of(one) for one in back] == [kind_of(one) for one in materials]
    for one, other in zip(back, materials, strict=True):
        assert np.allclose(one.cart_coords, other.cart_coords, atol=1e-12)
        assert one.atomic_numbers == other.atomic_numbers
        assert one.charge == other.charge
    only = [i for i, name in enumerate(names) if name]
    batch = TemplateBatch.of([MoleculeTemplate(names[i]) for i in only])
    coords = torch.cat([torch.tensor(materials[i].cart_coords) for i in only])
    expanded = expand(batch, Geometry(torch.zeros(len(only), 6, dtype=torch.float64), coords))
    mine = state_of([materials[i] for i in only], torch.float64, templates=[names[i] for i in only])
    for field in ("positions", "atomic_numbers", "cell", "pbc", "system_idx"):
        torch.testing.assert_close(getattr(mine, field), getattr(expanded, field))
    for name, column in vars(expanded.graphs).items():
        assert torch.equal(getattr(mine.graphs, name), column), name


def test_atoms_in_another_order_than_the_graph_are_refused() -> None:
    with pytest.raises(ValueError, match="in the order of its graph"):
        state_of([molecule("CCO")], templates=["COC"])


def test_crystals_are_as_they_were() -> None:
    salt = crystal().crystal
    state = state_of([salt])
    assert state.graphs is None
    assert state.pbc.all()
    assert np.allclose(structures(state)[0].cart_coords, salt.cart_coords)


# ---------------------------------------------------------------- files of any origin


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def entries(*paths: Path) -> list[Entry]:
    return list(read_structures(paths, kind=None))


def one(path: Path) -> Entry:
    (found,) = entries(path)
    assert found.error == "", found.error
    assert found.kind == "molecule"
    return found


def xyz(shape: Molecule, comment: str = "") -> str:
    atoms = "".join(f"{site.specie.symbol} {site.x:.8f} {site.y:.8f} {site.z:.8f}\n" for site in shape)
    return f"{len(shape)}\n{comment}\n{atoms}"


def sdf(smiles: str) -> str:
    return faithful_sdf(candidate("one", smiles))[0]


def texts(smiles: str) -> dict[str, str]:
    """The same molecule in every format that holds a geometry."""
    shape = molecule(smiles)
    record = to_record(candidate("a", smiles))
    return {
        "a.sdf": sdf(smiles),
        "a.mol": sdf(smiles).partition(">  <")[0],
        "a.xyz": xyz(shape, f"charge={int(shape.charge)} made by hand (100 %)"),
        "a.extxyz": xyz(shape, f'Properties=species:S:1:pos:R:3 charge={int(shape.charge)} pbc="F F F"'),
        "boxed.xyz": xyz(
            shape, f'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3 charge={int(shape.charge)} pbc="F F F"'
        ),
        "record.json": json.dumps(record),
        "records.jsonl": json.dumps(record) + "\n",
        "dict.json": json.dumps(shape.as_dict()),
        "named.json": json.dumps({"mine": shape.as_dict()}),
    }


@pytest.mark.parametrize("smiles", SMILES)
def test_every_format_gives_back_the_molecule(tmp_path: Path, smiles: str) -> None:
    found, shape = template(smiles), molecule(smiles)
    seen = template_in_space(with_positions(found, shape.cart_coords))[0]  # with an unspecified chirality
    for name, text in texts(smiles).items():
        entry = one(written(tmp_path / name, text))
        assert entry.template == str(found if "record" in name else seen), name
        assert entry.note == "", name
        assert np.allclose(entry.structure.cart_coords, shape.cart_coords, atol=ROUNDING), name
        assert entry.structure.charge == shape.charge, name
        packed = one(written(tmp_path / f"{name}.gz", gzip.compress(text.encode())))
        assert packed.structure == entry.structure, name


@pytest.mark.parametrize("smiles", SMILES[3::2])
def test_atoms_in_another_order_are_the_same_molecule(tmp_path: Path, smiles: str) -> None:
    """Files list atoms as they like; the entry lists them as its graph does, with its stereo."""
    shape = molecule(smiles)
    order = np.random.default_rng(1).permutation(len(shape)).tolist()
    shuffled = Chem.RenumberAtoms(with_positions(template(smiles), shape.cart_coords), order)
    mixed = Molecule.from_sites([shape[i] for i in order], charge=shape.charge)
    seen = template_in_space(shuffled)[0]
    for name, text in (("a.sdf", Chem.MolToMolBlock(shuffled)), ("a.xyz", xyz(mixed, f"charge={int(shape.charge)}"))):
        entry = one(written(tmp_path / name, text))
        assert entry.template == str(seen)
        assert shows(with_positions(seen, entry.structure.cart_coords), seen)
        apart = np.linalg.norm(entry.structure.cart_coords[:, None] - mixed.cart_coords, axis=2)
        assert sorted(apart.argmin(1)) == list(range(len(shape)))
        assert apart.min(1).max() < 2 * ROUNDING


def test_a_smiles_gets_a_geometry_and_says_so(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.smi", "smiles name\nOCC ethanol\n# a comment\n\nF/C=C\\F\nC[C@H](N)C(=O)O\tL alanine\nC1CC\n"
    )
    *good, broken = entries(path)
    assert [entry.name for entry in good] == ["a.smi#ethanol", "a.smi#1", "a.smi#L alanine"]
    assert [entry.template for entry in good] == ["CCO", "F/C=C\\F", "C[C@H](N)C(=O)O"]
    assert all(entry.note == "geometry by ETKDGv3 (seed 0) and MMFF94" for entry in good)
    for entry in good:
        found = MoleculeTemplate(entry.template)
        assert shows(with_positions(found, entry.structure.cart_coords), found)
    assert entries(path)[:3] == good  # seeded
    assert "expected a SMILES such as CCO" in broken.error
    table = written(tmp_path / "a.csv", "id,smiles\n1,OCC\n2,\n")
    first, hole = entries(table)
    assert (first.template, first.structure) == ("CCO", good[0].structure)
    assert "nothing in column" in hole.error


def test_what_a_file_leaves_out_is_made_and_noted(tmp_path: Path) -> None:
    bare = Chem.RemoveHs(with_positions(template("CCO"), molecule("CCO").cart_coords))
    entry = one(written(tmp_path / "heavy.sdf", Chem.MolToMolBlock(bare)))
    assert (entry.template, entry.note) == ("CCO", "hydrogens added where valences are free")
    assert np.allclose(entry.structure.cart_coords[:3], bare.GetConformer().GetPositions(), atol=ROUNDING)
    flat = Chem.MolFromSmiles("C[C@H](N)C(=O)O")
    rdDepictor.Compute2DCoords(flat)
    entry = one(written(tmp_path / "flat.mol", Chem.MolToMolBlock(flat)))
    assert (entry.template, entry.note) == ("C[C@H](N)C(=O)O", "geometry by ETKDGv3 (seed 0) and MMFF94")


def test_of_several_records_only_the_broken_one_is_lost(tmp_path: Path) -> None:
    whole = [sdf("CCO"), sdf("F/C=C/F")]
    cut = sdf("c1ccccc1").replace("M  END", "M  CUT")
    pentavalent = Chem.SDWriter.GetText(Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False))
    for bad, reason in ((cut, "sdf"), (pentavalent, "valence"), ("nothing\n$$$$\n", "expected a table of atoms")):
        path = written(tmp_path / "three.sdf", whole[0] + bad + whole[1])
        first, broken, last = entries(path)
        assert [entry.name for entry in (first, broken, last)] == ["three.sdf#0", "three.sdf#1", "three.sdf#2"]
        assert [first.template, last.template] == ["CCO", "F/C=C/F"]
        assert broken.structure is None
        assert reason in broken.error, broken.error
    apart = Molecule(["He", "He"], [[0, 0, 0], [0, 0, 9]])
    frames = xyz(molecule("CCO"), "gas") + xyz(apart) + xyz(molecule("O"))
    first, broken, last = entries(written(tmp_path / "three.xyz", frames))
    assert [first.template, last.template] == ["CCO", "O"]
    assert "2 parts are too far apart" in broken.error


def test_bonds_of_cages_are_found(tmp_path: Path) -> None:
    """Atoms across a small ring are as near as long bonds; taken for bonded, they would have one too many."""
    for smiles in ("C1[C@H]2C[C@@H]1C2", "C1C2CC1O2", "C12C3C4C1C5C2C3C45", "C1C2C1C2"):
        entry = one(written(tmp_path / "a.xyz", xyz(molecule(smiles))))
        assert MoleculeTemplate(entry.template).without_stereo == template(smiles).without_stereo


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.sdf", "", "empty"),
        ("empty.smi", "", "empty"),
        ("prose.sdf", "This is a poem about atoms.\n", "expected a table of atoms and bonds"),
        ("prose.mol", "\n\n\nroses\n", "expected a table of atoms and bonds"),
        ("none.smi", "*CC\n", "no element"),
        ("salt.smi", "[Na+].[Cl-]\n", "expected one molecule, got several"),
        ("cage.smi", "C1[C@H]2C[C@@H]3O[C@@H]3[C@H]12\n", "fits into space"),
        ("huge.smi", "C" * 300 + "\n", "more than 250 atoms"),
        ("lone.xyz", "1\n\nO 0 0 0\n", "give its charge"),
        ("radical.xyz", "2\n\nO 0 0 0\nH 0 0 1\n", "give its charge"),
        ("nan.xyz", "1\n\nHe nan 0 0\n", "not finite"),
        ("dummy.xyz", "1\n\nX 0 0 0\n", "X is no element"),
        ("short.xyz", "2\n\nHe 0 0\nHe 0 0 1\n", "not readable as extxyz"),
        ("atoms.json", '{"charge": 0, "species": ["C"], "cart_coords": [[0, 0, 0]], "template": "O"}', "in the order"),
    ],
)
def test_what_is_broken_is_an_entry_with_a_reason(tmp_path: Path, name: str, content: str, reason: str) -> None:
    (entry,) = entries(written(tmp_path / name, content))
    assert entry.structure is None
    assert entry.kind is None
    assert reason in entry.error, entry.error
    assert "\n" not in entry.error


def test_whatever_bytes_change_nothing_is_raised(tmp_path: Path) -> None:
    generator = random.Random(0)
    for name, text in texts("C[C@H](N)C(=O)O").items() | {("a.smi", "CCO x\nC[C@H](F)Cl y\n")}:
        for _ in range(8):
            data = bytearray(text.encode())
            for _ in range(4):
                data[generator.randrange(len(data))] = generator.randrange(256)
            several = entries(written(tmp_path / name, bytes(data)), written(tmp_path / f"cut-{name}", data[:-40]))
            assert all((entry.structure is None) == bool(entry.error) for entry in several), name


def test_a_folder_of_ours_is_read_again(tmp_path: Path) -> None:
    """By its own SDF, records and frames alike."""
    with CandidateWriter(tmp_path, RUN, kind="molecule") as writer:
        some = [writer.write(candidate(f"m{i:02}", smiles)) for i, smiles in enumerate(SMILES[:-1])]
    for part in ("sdf", "candidates.jsonl", "candidates.extxyz"):
        found = entries(tmp_path / part)
        assert [entry.template for entry in found] == [one.template for one in some], part


# ---------------------------------------------------------------- two kinds


def test_kinds_are_told_apart_before_reading_as_after(tmp_path: Path) -> None:
    for name, text in texts("CCO").items():
        written(tmp_path / "molecules" / name, text)
    written(tmp_path / "molecules" / "a.smi", "CCO\n")
    for name, text in {"a.cif": cif_text(crystal().crystal), "b.json": json.dumps(to_record(crystal()))}.items():
        written(tmp_path / "crystals" / name, text)
    written(tmp_path / "crystals" / "c.xyz", '1\nLattice="3 0 0 0 3 0 0 0 3"\nPo 0 0 0\n')
    written(tmp_path / "crystals" / "broken.json", "{")
    assert one_kind(found([tmp_path / "molecules"])) == "molecule"
    assert one_kind(found([tmp_path / "crystals"])) == "crystal"
    for one_found in found([tmp_path]):
        entry = read(one_found, None)
        assert entry.kind in {None, likely_kind(one_found.piece)}, entry.name
    with pytest.raises(
        MixedKindsError, match=r"c\.xyz is a crystal|a\.cif is a crystal and .*molecules/.* is a molecule"
    ):
        one_kind(found([tmp_path]))


def test_what_works_on_one_kind_is_given_no_other(tmp_path: Path) -> None:
    """Crystals are read by default."""
    written(tmp_path / "a.cif", cif_text(crystal().crystal))
    written(tmp_path / "b.sdf", sdf("CCO"))
    for kind, other in (("crystal", "no crystal"), ("molecule", "no molecule")):
        first, second = read_structures([tmp_path], kind=kind)
        good, refused = (first, second) if kind == "crystal" else (second, first)
        assert good.kind == kind
        assert other in refused.error
    assert list(read_structures([tmp_path])) == list(read_structures([tmp_path], kind="crystal"))
