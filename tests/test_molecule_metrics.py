"""Metrics of molecules: blind to how a molecule is turned and numbered, as published on published data."""

import math
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from scipy.spatial.transform import Rotation

from matgen.metrics import MetricError
from matgen.metrics.molecule_distributions import (
    Histogram,
    distribution_distances,
    histogram_distance,
    histograms,
)
from matgen.metrics.molecules import (
    LENGTHS,
    LIMITS,
    MARGINS,
    AtomSets,
    assess_molecule,
    assess_molecules,
    bond_orders,
    known_smiles,
    molecule_metrics,
    perceived_molecules,
)
from matgen.novelty.molecules import (
    SHIPPED,
    KnownMolecules,
    KnownMoleculesError,
    connectivity_block,
    novel_molecule,
    shipped_molecules,
)
from matgen.templates.molecule import MoleculeTemplate
from matgen.weights.shipped import REFERENCES

SMILES = ("C", "O", "C#N", "C=O", "CC(=O)NC1CC1", "CC1OC1C(F)C#N", "OCC1CC=CC1", "NC(=O)C(N)CO")

METHANE = 1.09 / math.sqrt(3) * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
"""Å; carbon first."""


def relaxed(smiles: str) -> Chem.Mol:
    """A molecule with a conformer at a minimum of its force field."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(molecule, randomSeed=1) == 0
    assert rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=2000) == 0
    return molecule


@pytest.fixture(scope="module")
def molecules() -> list[Chem.Mol]:
    return [relaxed(smiles) for smiles in SMILES]


@pytest.fixture(scope="module")
def atoms(molecules: list[Chem.Mol]) -> AtomSets:
    """The molecules, and each once more with its atoms displaced, so that some are broken."""
    good = AtomSets.of(molecules)
    noise = np.random.default_rng(0).normal(scale=0.08, size=good.positions.shape)
    return AtomSets(
        np.tile(good.elements, 2), np.concatenate([good.positions, good.positions + noise]), np.tile(good.sizes, 2)
    )


# ---------------------------------------------------------------- stability and validity


def test_methane_is_stable_and_valid() -> None:
    found = assess_molecule(np.array([6, 1, 1, 1, 1]), METHANE)
    assert found.stable
    assert (found.stable_atoms, found.fragments) == (5, 1)
    assert found.smiles is not None
    assert MoleculeTemplate.of(found.smiles) == MoleculeTemplate.of("C")


def test_methane_whose_hydrogen_has_left_is_not_stable_but_valid_by_its_largest_piece() -> None:
    broken = METHANE.copy()
    broken[4] *= 3
    found = assess_molecule(np.array([6, 1, 1, 1, 1]), broken)
    assert not found.stable
    assert (found.stable_atoms, found.fragments) == (3, 2)  # neither the carbon nor the lone hydrogen
    assert found.smiles is not None
    counts = molecule_metrics([found])
    assert (counts.valid, counts.connected, counts.stable_molecules) == (1, 0, 0)


def test_carbon_with_five_hydrogens_is_neither_stable_nor_valid() -> None:
    crowded = np.concatenate([METHANE, [[0.0, 0.0, 1.09]]])
    found = assess_molecule(np.array([6, 1, 1, 1, 1, 1]), crowded)
    assert not found.stable
    assert found.smiles is None


def test_bonds_come_from_tabulated_lengths_and_margins() -> None:
    # Just inside and just outside each limit, in pm.
    for order, (lengths, margin) in enumerate(zip(LENGTHS, MARGINS, strict=True), start=1):
        for pair, length in lengths.items():
            elements = np.array([Chem.GetPeriodicTable().GetAtomicNumber(symbol) for symbol in pair])
            inside, outside = (
                bond_orders(elements, np.array([[0.0, 0.0, 0.0], [0.0, 0.0, (length + margin + step) / 100]]))
                for step in (-0.1, 0.1)
            )
            assert inside[0, 1] == order
            assert outside[0, 1] == order - 1
            assert (inside == inside.T).all()
            assert inside.trace() == 0


def test_limits_fall_with_the_order_of_the_bond() -> None:
    # So that orders may be counted as limits passed.
    assert (LIMITS[:-1] >= LIMITS[1:]).all()


def test_relaxed_geometries_are_stable_and_come_back_as_what_they_are(molecules: list[Chem.Mol]) -> None:
    for molecule, found in zip(molecules, assess_molecules(AtomSets.of(molecules)), strict=True):
        assert found.stable
        assert found.smiles == Chem.MolToSmiles(molecule)


@pytest.mark.parametrize("seed", range(3))
def test_the_counts_do_not_depend_on_place_turn_or_numbering(atoms: AtomSets, seed: int) -> None:
    random = np.random.default_rng(seed)
    elements, positions = [], []
    for numbers, places in atoms:
        order = random.permutation(len(numbers))
        turned = Rotation.random(random_state=seed).apply(places) + random.normal(scale=10.0, size=3)
        elements.append(numbers[order])
        positions.append(turned[order])
    moved = assess_molecules(AtomSets(np.concatenate(elements), np.concatenate(positions), atoms.sizes))
    assert moved == assess_molecules(atoms)
    assert len({one.stable for one in moved}) == 2  # both kinds were tried


def test_order_of_molecules_and_repeats_change_what_they_must(atoms: AtomSets) -> None:
    found = assess_molecules(atoms)
    once, twice = molecule_metrics(found), molecule_metrics(found[::-1] + found)
    assert molecule_metrics(found[::-1]) == once
    assert twice.unique == once.unique
    assert (twice.valid, twice.n_atoms) == (2 * once.valid, 2 * once.n_atoms)


def test_what_did_not_come_counts_as_failed(atoms: AtomSets) -> None:
    found = assess_molecules(atoms)
    all_came, half_came = molecule_metrics(found), molecule_metrics(found, requested=2 * len(found))
    assert half_came.validity == all_came.validity / 2
    assert half_came.valid_and_unique == all_came.valid_and_unique / 2
    with pytest.raises(MetricError, match="requested"):
        molecule_metrics(found, requested=1)


def test_shares_multiply_and_nothing_of_a_set_is_new_to_itself(atoms: AtomSets) -> None:
    found = assess_molecules(atoms)
    counts = molecule_metrics(found, known_smiles(found))
    assert counts.valid_and_unique == pytest.approx(counts.validity * counts.uniqueness, rel=1e-12)
    assert counts.novel == 0
    assert molecule_metrics(found, frozenset()).novelty == 1.0
    assert math.isnan(molecule_metrics(found).novelty)
    assert math.isnan(molecule_metrics([]).validity)


def test_an_element_without_tabulated_bonds_is_refused() -> None:
    with pytest.raises(MetricError, match=r"\[17\]"):
        AtomSets(np.array([17, 1]), np.zeros((2, 3)), np.array([2]))
    with pytest.raises(MetricError, match="sizes"):
        AtomSets(np.array([6, 1]), np.zeros((2, 3)), np.array([3]))


def test_selection_takes_whole_molecules(atoms: AtomSets) -> None:
    rows = [4, 0, 4]
    assert assess_molecules(atoms.select(rows)) == [assess_molecules(atoms)[row] for row in rows]
    assert len(atoms.select([])) == 0


@pytest.mark.data
def test_the_figures_published_of_a_peer_come_out(data_dir: Path) -> None:
    path = data_dir / "molecules" / "gschnet_samples.npz"
    if not path.is_file():
        pytest.skip(f"needs {path}, which is absent")
    with np.load(path) as raw:
        atoms = AtomSets(raw["Z"].astype(np.int64), raw["R"].astype(float), raw["n_atoms"].astype(np.int64))
    counts = molecule_metrics(assess_molecules(atoms))
    assert (counts.n_molecules, counts.n_atoms) == (10_000, 186_026)
    # EDM prints 95.7, 68.1, 85.5 and 80.3 %, rounded to a tenth: two of them end in an exact half here.
    shares = (counts.atom_stability, counts.molecule_stability, counts.validity, counts.valid_and_unique)
    np.testing.assert_allclose(shares, (0.957, 0.681, 0.855, 0.803), rtol=0, atol=0.0005 + 1e-12)


# ---------------------------------------------------------------- distributions


def test_a_set_has_no_distance_to_itself(molecules: list[Chem.Mol]) -> None:
    own = histograms(molecules)
    assert {"bond C-H", "bond C-C", "bond C=O", "bond C#N", "angle H-C-H", "dihedral C-C", "elements"} <= set(own)
    assert all(one.value == 0.0 for one in distribution_distances(own, own))
    assert all(one.n == one.n_other > 0 for one in distribution_distances(own, own))


def test_distances_are_symmetric_and_lie_between_0_and_1(molecules: list[Chem.Mol]) -> None:
    some, others = histograms(molecules[:5]), histograms(molecules[3:])
    forth, back = distribution_distances(some, others), distribution_distances(others, some)
    assert [one.name for one in forth] == [one.name for one in back]
    for one, other in zip(forth, back, strict=True):
        assert (one.n, one.n_other) == (other.n_other, other.n)
        if one.n and one.n_other:
            assert one.value == other.value
            assert 0.0 <= one.value <= 1.0
        else:
            assert math.isnan(one.value)
            assert math.isnan(other.value)


def test_disjoint_histograms_are_1_apart_and_a_half_shared_one_is_as_computed() -> None:
    left, right, both = (Histogram("Å", 0.01, counts) for counts in ({1: 3}, {2: 5}, {1: 1, 2: 1}))
    assert histogram_distance(left, right) == 1.0
    # Against (1, 0) the middle of (½, ½) is (¾, ¼): ½·log₂(4/3) + ½·(½·log₂(2/3) + ½·log₂2) bits.
    bits = 0.5 * math.log2(4 / 3) + 0.5 * (0.5 * math.log2(2 / 3) + 0.5)
    assert histogram_distance(left, both) == pytest.approx(math.sqrt(bits), rel=1e-12)


def test_histograms_do_not_depend_on_place_turn_or_numbering(molecules: list[Chem.Mol]) -> None:
    random = np.random.default_rng(0)
    moved = []
    for molecule in molecules:
        order = random.permutation(molecule.GetNumAtoms()).tolist()
        other = Chem.RenumberAtoms(molecule, order)
        places = Rotation.random(random_state=1).apply(other.GetConformer().GetPositions()) + 5.0
        other.GetConformer().SetPositions(np.ascontiguousarray(places))
        moved.append(other)
    # A value may stand on the edge of a bin (planar dihedrals do) and cross it by rounding: few do, none is lost.
    own, others = histograms(molecules), histograms(moved)
    assert {name: one.total for name, one in own.items()} == {name: one.total for name, one in others.items()}
    for name in ("elements", "ring sizes"):
        assert own[name] == others[name]
    for name in own:
        if name.startswith("bond"):
            assert own[name] == others[name]


def test_methane_has_four_bonds_of_109_pm_and_six_tetrahedral_angles() -> None:
    shown = perceived_molecules(AtomSets(np.array([6, 1, 1, 1, 1]), METHANE * 1.001, np.array([5])))
    assert histograms(shown) == {
        "angle H-C-H": Histogram("°", 2.0, {54: 6}),  # 109.47°
        "bond C-H": Histogram("Å", 0.01, {109: 4}),
        "elements": Histogram("", 1.0, {1: 4, 6: 1}),
    }


def test_a_chain_across_and_along_has_dihedrals_of_180_and_0_degrees() -> None:
    # Butane's carbons as a zigzag and as a cup, without hydrogens: RDKit must not add any.
    chain = Chem.MolFromSmiles("[C][C][C][C]")
    for y, expected in ((-1.4, 35), (1.4, 0)):
        molecule = Chem.Mol(chain)
        conformer = Chem.Conformer(4)
        conformer.SetPositions(np.array([[0.0, 1.4, 0.0], [0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [1.5, y, 0.0]]))
        molecule.AddConformer(conformer)
        (found,) = (one.counts for name, one in histograms([molecule]).items() if name == "dihedral C-C")
        assert found == {expected: 1}


# ---------------------------------------------------------------- what is known


def test_hands_do_not_make_a_molecule_new() -> None:
    known = KnownMolecules.of([MoleculeTemplate.of("C[C@H](O)F")])
    assert len(known) == 1
    for smiles in ("C[C@H](O)F", "C[C@@H](O)F", "CC(O)F"):
        assert known.knows(MoleculeTemplate.of(smiles))
    assert not known.knows(MoleculeTemplate.of("OCCF"))


def test_the_verdict_says_whether_and_among_how_many() -> None:
    known = KnownMolecules.of(map(MoleculeTemplate.of, ("O", "C")), "two molecules")
    old, new = (novel_molecule(MoleculeTemplate.of(smiles), known) for smiles in ("O", "N"))
    assert (old.name, old.passed, old.value) == ("novel", False, 0.0)
    assert (new.name, new.passed, new.value) == ("novel", True, 1.0)
    assert "2 in two molecules" in old.reason
    assert "2 in two molecules" in new.reason


def test_an_index_comes_back_from_its_file(tmp_path: Path) -> None:
    known = KnownMolecules.of(map(MoleculeTemplate.of, SMILES), "a few")
    known.save(tmp_path / "keys.npz")
    again = KnownMolecules.load(tmp_path / "keys.npz")
    assert again.source == "a few"
    assert (again.hashes == known.hashes).all()
    assert len(KnownMolecules.of([])) == 0
    assert not KnownMolecules.of([]).knows(MoleculeTemplate.of("C"))


def test_a_file_that_is_no_index_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no index")
    np.savez(tmp_path / "other.npz", hashes=np.zeros(1))
    for name in ("absent.npz", "text.npz", "other.npz"):
        with pytest.raises(KnownMoleculesError, match="build_known_molecules"):
            KnownMolecules.load(tmp_path / name)


def test_the_index_that_ships_is_that_of_qm9() -> None:
    known = shipped_molecules()
    assert SHIPPED.parent == REFERENCES
    assert SHIPPED.stat().st_size < 1_200_000
    assert len(known) > 125_000
    assert (np.diff(known.hashes.astype(object)) > 0).all()
    for smiles in ("O", "C", "c1ccccc1", "CCO", "CC#N", "Cc1ccccc1", "C[C@@H]1CO1", "C[C@H]1CO1", "CC1CO1"):
        assert known.knows(MoleculeTemplate.of(smiles)), smiles
    # Chlorine, more than nine atoms that are not hydrogen, and acetic acid are not in QM9.
    for smiles in ("CC(=O)O", "CCl", "c1ccccc1Cl", "CC(=O)Oc1ccccc1C(=O)O", "CCCCCCCCCC"):
        assert not known.knows(MoleculeTemplate.of(smiles)), smiles


def test_a_connectivity_block_is_the_first_of_the_key() -> None:
    assert connectivity_block(MoleculeTemplate.of("O")) == "XLYOFNOQVPJJNP"
