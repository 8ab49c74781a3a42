"""Each known-bad molecule fails for the named reason, and none of the good ones fails."""

import math
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core.structure import Molecule
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from scipy.spatial.transform import Rotation

from matgen.batch.graphs import TETRAHEDRAL
from matgen.checks.molecular_graph import shows_template
from matgen.checks.molecules import graph_kept, molecule_checks, posebusters, sanitised, stereo, strain
from matgen.checks.targets import Interval
from matgen.checks.verdicts import survives, validate
from matgen.relaxation.xtb import relax_molecule
from matgen.structures.candidate import Candidate, Prediction
from matgen.structures.rmsd import best_rmsd, rmsd
from matgen.templates.molecule import MoleculeTemplate, template_in_space

CHECKS = molecule_checks({"gap": Interval(5.0, 5.0, 0.3)}, relaxed=False)
GOOD = (
    "C[C@H](N)C(=O)O",
    "C[C@@H](N)C(=O)O",
    "C/C=C/O",
    "C/C=C\\O",
    "c1ccccc1",
    "C[C@@H]1CN1",
    "C#CC#N",
    "CC[S@](C)=O",
    "[NH3+]C",
    "CC(=O)[O-]",
)


def built(smiles: str) -> Candidate:
    """A molecule at a minimum of MMFF."""
    template = MoleculeTemplate.of(smiles)
    shown = template.molecule
    rdDistGeom.EmbedMolecule(shown, randomSeed=1)
    rdForceFieldHelpers.MMFFOptimizeMolecule(shown)
    graph = template.graph
    molecule = Molecule(graph.elements.tolist(), shown.GetConformer().GetPositions(), charge=int(graph.charges.sum()))
    return Candidate("one", molecule, molecule, None, template.smiles, properties={"gap": Prediction(5.1, 0.2, "eV")})


def placed(candidate: Candidate, positions: np.ndarray) -> Candidate:
    molecule = Molecule(candidate.structure.species, positions, charge=candidate.structure.charge)
    return replace(candidate, structure=molecule, unrelaxed=molecule)


def mirrored(candidate: Candidate) -> Candidate:
    return placed(candidate, candidate.structure.cart_coords * [1.0, 1.0, -1.0])


def moved(candidate: Candidate, atoms: list[int], shift: list[float]) -> Candidate:
    positions = candidate.structure.cart_coords.copy()
    positions[atoms] += shift
    return placed(candidate, positions)


@pytest.mark.parametrize("smiles", GOOD)
def test_good_molecules_pass_everything(smiles: str) -> None:
    verdicts = validate(built(smiles), CHECKS)
    assert survives(verdicts), verdicts
    assert list(verdicts) == list(CHECKS)
    assert all(verdict.name == name and verdict.reason for name, verdict in verdicts.items())


@pytest.mark.parametrize("smiles", ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"])
def test_a_mirrored_alanine_has_the_wrong_stereo(smiles: str) -> None:
    right = built(smiles)
    wrong = stereo(mirrored(right))
    assert stereo(right).passed
    assert not wrong.passed
    assert wrong.value == 1
    assert "stereo missed" in wrong.reason
    assert survives(validate(mirrored(replace(right, template="CC(N)C(=O)O")), CHECKS))  # no stereo is specified


def test_a_mirror_does_not_turn_a_double_bond_but_another_template_does() -> None:
    one = built("C/C=C/O")
    assert stereo(mirrored(one)).passed
    assert not stereo(replace(one, template=MoleculeTemplate.of("C/C=C\\O").smiles)).passed


@pytest.mark.parametrize("smiles", GOOD)
def test_a_geometry_shows_its_template_unless_bonds_or_stereo_differ(smiles: str) -> None:
    candidate = built(smiles)
    template, positions = MoleculeTemplate(candidate.template), candidate.structure.cart_coords
    assert shows_template(template, positions)
    assert shows_template(template, -positions) == (not (template.graph.stereo[:, 0] == TETRAHEDRAL).any())
    assert not shows_template(template, 2 * positions)
    assert not shows_template(template, np.full_like(positions, np.nan))


def test_a_flattened_centre_has_no_stereo() -> None:
    one = built("C[C@H](N)C(=O)O")
    verdict = stereo(placed(one, one.structure.cart_coords * [1.0, 1.0, 0.0]))
    assert not verdict.passed
    assert "flat" in verdict.reason


def test_a_bridgehead_with_all_bonds_on_one_side_keeps_its_chirality() -> None:
    """Its neighbours, seen from the last, have the opposite order to its bonds, which define its chirality."""
    shown = MoleculeTemplate.of("O=C1OCC23COC12C3").molecule
    rdDistGeom.EmbedMolecule(shown, randomSeed=1)
    template, positions = template_in_space(shown)
    a, b, c, d = (positions[atoms] for atoms in template.graph.stereo[:, 1:5].T)
    volume = (np.cross(b - d, c - d) * (a - d)).sum(1)
    assert (np.sign(volume) != template.graph.stereo[:, -1]).any()  # so that the molecule is such a case
    molecule = Molecule(template.graph.elements.tolist(), positions)
    assert stereo(Candidate("one", molecule, molecule, None, template.smiles)).passed


def test_a_stretched_bond_and_a_new_one_are_named() -> None:
    one = built("CCO")
    oxygen, hydrogen = (one.structure.atomic_numbers.index(z) for z in (8, 1))  # of the methyl group
    away = graph_kept(moved(one, [oxygen], [0.0, 0.0, 9.0]))
    assert not away.passed
    assert away.value == 2
    assert "broken" in away.reason
    assert "formed" not in away.reason
    positions = one.structure.cart_coords.copy()
    outward = positions[oxygen] - positions.mean(0)
    positions[hydrogen] = positions[oxygen] + 0.97 * outward / np.linalg.norm(outward)
    wandered = graph_kept(placed(one, positions))
    assert "broken" in wandered.reason
    assert "formed" in wandered.reason


@pytest.mark.parametrize("shift", [0.0, 1e-6, 0.3])
def test_overlapping_atoms_lead_to_verdicts(shift: float) -> None:
    one = built("CCO")
    positions = one.structure.cart_coords.copy()
    positions[1] = positions[0] + [shift, 0.0, 0.0]
    bad = placed(one, positions)
    end, report = relax_molecule(bad.structure)
    verdicts = validate(replace(bad, structure=end, relaxation=report), molecule_checks())
    assert set(verdicts) >= {"graph_kept", "relaxed", "strain", "posebusters"}
    assert not survives(validate(bad, CHECKS))


@pytest.mark.parametrize(
    ("template", "reason"),
    [("C(C)(C)(C)(C)C", "no molecule"), ("", "no molecule"), ("CO", "other atoms"), ("C.C", "no molecule")],
)
def test_a_template_that_does_not_fit_fails_and_raises_nothing(template: str, reason: str) -> None:
    verdicts = validate(replace(built("CCO"), template=template), CHECKS)
    assert reason in verdicts["sanitised"].reason
    assert not any(verdicts[name].passed for name in ("sanitised", "graph_kept", "stereo", "posebusters"))


def test_coordinates_that_are_no_numbers_fail() -> None:
    one = built("CCO")
    verdicts = validate(placed(one, one.structure.cart_coords * math.nan), CHECKS)
    assert "not finite" in verdicts["sanitised"].reason


def test_a_twisted_double_bond_fails_posebusters_by_name() -> None:
    one = built("CC(C)=C(C)C")
    shown = MoleculeTemplate(one.template).molecule
    conformer = one.structure.cart_coords
    bond = next(bond for bond in shown.GetBonds() if bond.GetBondTypeAsDouble() == 2)
    begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    side = _side_of(shown, end, begin)
    axis = conformer[end] - conformer[begin]
    rotation = Rotation.from_rotvec(1.2 * axis / np.linalg.norm(axis)).as_matrix()
    positions = conformer.copy()
    positions[side] = (conformer[side] - conformer[begin]) @ rotation.T + conformer[begin]
    verdict = posebusters(placed(one, positions))
    assert not verdict.passed
    assert "double_bond_flatness" in verdict.reason


def _side_of(shown: Chem.Mol, start: int, without: int) -> list[int]:
    """Atoms on this side of a bond."""
    seen, waiting = {start}, [start]
    while waiting:
        for neighbour in shown.GetAtomWithIdx(waiting.pop()).GetNeighbors():
            if neighbour.GetIdx() not in seen and neighbour.GetIdx() != without:
                seen.add(neighbour.GetIdx())
                waiting.append(neighbour.GetIdx())
    return sorted(seen)


def test_the_energy_ratio_is_one_more_test() -> None:
    one = built("CCO")
    few, many = posebusters(one), posebusters(one, energy_ratio=True)
    assert few.passed
    assert many.passed
    assert "11 tests" in few.reason
    assert "12 tests" in many.reason


def test_strain_is_the_drop_and_only_informs_unless_limited() -> None:
    one = built("CCO")
    end, report = relax_molecule(one.structure)
    relaxed = replace(one, structure=end, relaxation=report)
    verdict = strain(relaxed)
    assert verdict.passed
    assert verdict.value == pytest.approx((report.energy_before - report.energy) * len(end))
    assert f"{rmsd(one.structure, end):.2f} Å" in verdict.reason
    assert not strain(relaxed, limit=verdict.value / 2).passed
    assert strain(one).passed
    assert not strain(one, limit=1.0).passed
    assert survives(validate(relaxed, molecule_checks()))


def test_rmsd_ignores_orientation_but_not_chirality() -> None:
    one = built("C[C@H](N)C(=O)O").structure
    rotation = Rotation.from_euler("xyz", [0.3, 1.1, -2.0]).as_matrix()
    turned = Molecule(one.species, one.cart_coords @ rotation + [1.0, 2.0, 3.0])
    assert rmsd(one, turned) == pytest.approx(0.0, abs=1e-6)
    mirror = Molecule(one.species, one.cart_coords * [1.0, 1.0, -1.0])
    assert rmsd(one, mirror) > 0.3
    assert rmsd(one, mirror) == pytest.approx(rmsd(mirror, one))
    assert rmsd(Molecule(["H", "H"], [[0, 0, 0], [0, 0, 1]]), Molecule(["H", "H"], [[0, 0, 0], [0, 2, 0]])) == 0.5


def test_best_rmsd_ignores_the_order_of_equivalent_atoms() -> None:
    one = built("CCO")
    template = MoleculeTemplate(one.template)
    shown = template.molecule
    methyl = next(a for a in shown.GetAtoms() if sum(n.GetAtomicNum() == 1 for n in a.GetNeighbors()) == 3)
    first, second, third = (n.GetIdx() for n in methyl.GetNeighbors() if n.GetAtomicNum() == 1)
    order = np.arange(len(one.structure))
    order[[first, second, third]] = [second, third, first]
    other = Molecule(one.structure.species, one.structure.cart_coords[order])
    assert rmsd(one.structure, other) > 0.3
    assert best_rmsd(template, one.structure, other) == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_array_equal(one.structure.cart_coords, built("CCO").structure.cart_coords)


def test_cheap_checks_run_first() -> None:
    assert list(molecule_checks()) == ["sanitised", "graph_kept", "stereo", "relaxed", "strain", "posebusters"]
    assert next(iter(CHECKS)) == "target_gap"
    assert sanitised(built("CCO")).value == 9
