"""`matgen evaluate` of molecules: failures stay in denominators, poses do not matter, relaxations are kept."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Molecule
from rdkit import Chem
from scipy.spatial.transform import Rotation

from matgen.cli import main
from matgen.evaluation.findings import EvaluationConfig, EvaluationError
from matgen.evaluation.molecule_rows import MoleculeRow
from matgen.metrics import Bootstrap, Estimate, Profile, average, median, pooled_share
from matgen.metrics.distributions import SHIPPED
from matgen.metrics.molecule_distributions import QUANTITIES
from matgen.novelty.molecules import KnownMolecules
from matgen.relaxation.xtb import relax_molecule
from matgen.runtime.progress import Silence
from matgen.structures.files import MixedKindsError, read_structures
from matgen.templates.molecular_geometry import embedded
from matgen.templates.molecule import MoleculeTemplate, with_positions
from matgen.workflows.evaluate import evaluate

QUICK = EvaluationConfig(relax="none", bootstrap=50)

GOOD = ("CCO", "CC(=O)NC1CC1", "CC#N", "NCC=O")

EDM = ("stable atoms", "stable molecules", "valid", "valid and connected", "valid and unique", "valid and novel")


@pytest.fixture(scope="module")
def known() -> KnownMolecules:
    """An index of two of the good molecules."""
    return KnownMolecules.of(map(MoleculeTemplate.of, GOOD[:2]), "two molecules")


def geometry(smiles: str) -> tuple[list[str], np.ndarray]:
    """Elements, and positions in Å."""
    made = embedded(MoleculeTemplate.of(smiles))
    return [atom.GetSymbol() for atom in made.template.molecule.GetAtoms()], made.positions


def xyz(elements: list[str], positions: np.ndarray) -> str:
    lines = [f"{e} {x:.6f} {y:.6f} {z:.6f}" for e, (x, y, z) in zip(elements, positions, strict=True)]
    return "\n".join([str(len(elements)), "", *lines, ""])


def methyl() -> str:
    """Methane that has lost a hydrogen: atoms that no neutral molecule explains, three of them stable."""
    elements, positions = geometry("C")
    return xyz(elements[:-1], positions[:-1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four good molecules, one twice, atoms that are none, and a file of nothing."""
    made = tmp_path / "made"
    made.mkdir()
    for i, smiles in enumerate((*GOOD, GOOD[0])):
        (made / f"{i}.xyz").write_text(xyz(*geometry(smiles)), encoding="utf-8")
    (made / "methyl.xyz").write_text(methyl(), encoding="utf-8")
    (made / "nothing.sdf").write_text("nothing\n", encoding="utf-8")
    return made


def named(estimates: tuple[Estimate, ...]) -> dict[str, Estimate]:
    return {one.name: one for one in estimates}


def values(estimates: tuple[Estimate, ...]) -> dict[str, float]:
    return {one.name: one.value for one in estimates}


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["matgen", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


# ---------------------------------------------------------------- the whole command


def test_atoms_that_are_no_molecule_fail_but_are_counted(folder: Path, known: KnownMolecules) -> None:
    found = evaluate([folder], QUICK, known_molecules=known)
    figures = named(found.estimates)
    assert figures["readable"].numerator == figures["PoseBusters"].numerator == 5
    assert figures["stable molecules"].numerator == 5
    # EDM's validity fills in what lacks: a methyl is valid, though not stable; a file of nothing is neither.
    assert figures["valid"].numerator == 6
    assert figures["valid and unique"].numerator == 5
    assert figures["valid and novel"].numerator == 3
    assert figures["stable atoms"].denominator - figures["stable atoms"].numerator == 1  # the carbon of methyl
    assert all(one.denominator == 7 for name, one in figures.items() if name != "stable atoms")
    assert [row.name for row in found.structures if row.error] == ["made/methyl.xyz#0", "made/nothing.sdf"]
    assert any("1 are atoms that no molecule explains" in note for note in found.notes)


def test_the_number_requested_is_the_denominator(folder: Path, known: KnownMolecules) -> None:
    came, asked = (evaluate([folder], replace(QUICK, requested=n), known_molecules=known) for n in (0, 14))
    for one, other in zip(came.estimates, asked.estimates, strict=True):
        if one.name == "stable atoms":
            assert other == one
            continue
        assert other.denominator == 14
        assert other.value == pytest.approx(one.value / 2 if one.share else one.value)
    with pytest.raises(EvaluationError, match="at least the 7 entries"):
        evaluate([folder], replace(QUICK, requested=6))


def test_a_rotated_renumbered_translated_molecule_is_the_same(
    folder: Path, tmp_path: Path, known: KnownMolecules
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    random = np.random.default_rng(0)
    for name, smiles in zip("dcba", GOOD, strict=True):  # in another order, too
        elements, positions = geometry(smiles)
        order = random.permutation(len(elements))
        moved = Rotation.random(random_state=1).apply(positions)[order] + 5.0
        (other / f"{name}.xyz").write_text(xyz([elements[i] for i in order], moved), encoding="utf-8")
    good = [folder / f"{i}.xyz" for i in range(4)]
    one, two = (values(evaluate(paths, QUICK, known_molecules=known).estimates) for paths in (good, [other]))
    assert one == pytest.approx(two)


def test_a_set_compared_with_itself_is_no_distance_away(folder: Path, known: KnownMolecules) -> None:
    found = values(evaluate([folder], replace(QUICK, reference=str(folder)), known_molecules=known).estimates)
    apart = {name: value for name, value in found.items() if "Jensen" in name}
    assert len(apart) == len(QUANTITIES)
    assert all(value < 1e-6 for name, value in apart.items())


def test_bonds_of_a_file_do_not_matter_to_edm(tmp_path: Path, known: KnownMolecules) -> None:
    wholes = [with_positions(made.template, made.positions) for made in map(embedded, map(MoleculeTemplate.of, GOOD))]
    (tmp_path / "a.sdf").write_text("".join(f"{Chem.MolToMolBlock(one)}$$$$\n" for one in wholes), encoding="utf-8")
    (tmp_path / "a.xyz").write_text("".join(xyz(*geometry(smiles)) for smiles in GOOD), encoding="utf-8")
    sdf, bare = (
        values(evaluate([tmp_path / name], QUICK, known_molecules=known).estimates) for name in ("a.sdf", "a.xyz")
    )
    for name in (*EDM, "Jensen–Shannon: elements"):  # lengths differ in the fourth digit, which an SDF ends at
        assert sdf[name] == pytest.approx(bare[name])


def test_elements_that_edm_does_not_know_fail_its_figures_only(tmp_path: Path, known: KnownMolecules) -> None:
    (tmp_path / "a.smi").write_text("CCl\n", encoding="utf-8")
    found = evaluate([tmp_path], QUICK, known_molecules=known)
    figures = values(found.estimates)
    assert all(figures[name] == 0.0 for name in EDM)
    assert figures["readable"] == figures["PoseBusters"] == 1.0
    assert any("other elements" in note for note in found.notes)
    assert any("geometry by ETKDG" in note for note in found.notes)


def test_relaxations_are_kept_and_not_done_again(tmp_path: Path, known: KnownMolecules) -> None:
    made, out = tmp_path / "made", tmp_path / "out"
    made.mkdir()
    elements, positions = geometry("CO")
    minimum, _ = relax_molecule(Molecule(elements, positions))
    (made / "a.xyz").write_text(xyz(elements, np.array(minimum.cart_coords)), encoding="utf-8")
    (made / "b.xyz").write_text(xyz(elements, 1.05 * positions), encoding="utf-8")
    config = replace(QUICK, relax="")
    first = evaluate([made], config, folder=out, known_molecules=known)
    assert first.about["settings"]["relax"] == "xtb"
    (kept,) = out.glob("relaxed_*.jsonl")
    lines = kept.read_text(encoding="utf-8")
    figures = values(first.estimates)
    assert figures["relaxation converges"] == figures["graph kept"] == 1.0
    at_rest, stretched = first.structures
    assert isinstance(at_rest, MoleculeRow)
    assert isinstance(stretched, MoleculeRow)
    assert at_rest.rmsd < 0.01 < stretched.rmsd  # forces below 0.02 eV/Å leave some thousandths
    assert abs(at_rest.drop) < 1e-3 < stretched.drop
    assert figures["energy drop, median"] == pytest.approx((at_rest.drop + stretched.drop) / 2)
    again = evaluate([made], config, folder=out, known_molecules=known, report=Silence())
    assert kept.read_text(encoding="utf-8") == lines
    assert again.estimates == first.estimates
    (made / "a.xyz").write_text((made / "b.xyz").read_text(encoding="utf-8"), encoding="utf-8")
    evaluate([made], config, folder=out, known_molecules=known)
    assert len(kept.read_text(encoding="utf-8").splitlines()) == 3  # a changed molecule is relaxed again


def test_the_command_writes_what_it_prints(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--relax", "none", "--bootstrap", "50", "--out", str(out), "--json"]
    assert called(monkeypatch, "evaluate", str(folder), *options) == 0
    printed = json.loads(capsys.readouterr().out)
    assert Path(printed.pop("report")).is_file()
    assert printed == json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert (printed["kind"], printed["reference"]["name"]) == ("molecule", "QM9 test")
    novel = next(figure for figure in printed["figures"] if figure["name"] == "valid and novel")
    assert "QM9" in novel["how"]
    assert len((out / "structures.csv").read_text(encoding="utf-8").splitlines()) == 8


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--reference", "mp20"], "a data set (qm9, qm9_val)"),
        (["--reference", "qm9_val"], "MATGEN_DATA"),
        (["--relax", "chgnet"], "xtb or none for a molecule"),
        (["--csp", "."], "leave out csp"),
    ],
)
def test_options_of_crystals_are_refused_in_one_line(
    folder: Path,
    options: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MATGEN_DATA", raising=False)
    assert called(monkeypatch, "evaluate", str(folder), "--out", str(folder.parent / "out"), *options) == 2
    assert complaint in capsys.readouterr().err


def test_crystals_and_molecules_are_not_evaluated_together(folder: Path) -> None:
    salt = "2\nLattice='3 0 0 0 3 0 0 0 3' Properties=species:S:1:pos:R:3\nCs 0 0 0\nCl 1.5 1.5 1.5\n"
    (folder / "salt.xyz").write_text(salt.replace("'", '"'), encoding="utf-8")
    with pytest.raises(MixedKindsError, match="two folders"):
        evaluate([folder], QUICK)


def test_atoms_that_no_bonds_explain_are_kept(folder: Path) -> None:
    (broken,) = read_structures([folder / "methyl.xyz"], "molecule")
    assert broken.structure is None
    assert broken.error
    assert broken.atoms is not None
    assert sorted(broken.atoms.atomic_numbers) == [1, 1, 1, 6]


# ---------------------------------------------------------------- figures and reference


def test_the_shipped_profile_is_that_of_qm9() -> None:
    shipped = Profile.load(SHIPPED["qm9"])
    assert SHIPPED["qm9"].stat().st_size < 50_000
    assert set(shipped.counts) == set(QUANTITIES)
    # 13,083 molecules are in that split; EDM's rules make sense of 97.7 % of them, the published figure for QM9.
    assert sum(shipped.counts["atoms per molecule"].values()) == shipped.n == 12787
    atoms = sum(n * count for n, count in shipped.counts["atoms per molecule"].items() if isinstance(n, int))
    assert atoms == sum(shipped.counts["elements"].values())
    assert set(shipped.counts["elements"]) == {1, 6, 7, 8, 9}


def test_pooled_shares_weigh_structures_by_their_parts() -> None:
    found = pooled_share("parts", [1, 0, 6], [2, 2, 6], Bootstrap(200))
    assert (found.numerator, found.denominator) == (7, 10)
    assert found.low < found.value == 0.7 < found.high
    same = pooled_share("parts", [1, 2, 3], [2, 4, 6], Bootstrap(200))
    assert same.low == same.value == same.high == 0.5  # whatever is sampled


@pytest.mark.parametrize("middle", [average, median])
def test_middles_move_with_their_values(middle: Callable[..., Estimate]) -> None:
    some = [0.1, 0.4, 0.2, float("nan"), 0.3]
    one, other = (middle("m", [2.0 * v + shift for v in some], 10, Bootstrap(100)) for shift in (0.0, 1.0))
    assert other.value == pytest.approx(one.value + 1.0)
    assert other.low == pytest.approx(one.low + 1.0)
    assert (one.numerator, one.denominator) == (4, 10)


def test_one_wild_value_moves_the_mean_and_not_the_median() -> None:
    calm, wild = [0.1, 0.2, 0.3], [0.1, 0.2, 1e6]
    assert median("m", calm).value == median("m", wild).value
    assert average("m", calm).value < average("m", wild).value
