"""Laws of skeletons of molecules and of their prior: round trips, counts, probabilities that sum to one, rules."""

import math
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest
import torch
from rdkit import Chem

from matgen.energies.graph_prior import LearnedGraphPrior
from matgen.energies.graph_sampling import MoleculeSampler
from matgen.nn.conditions import MOLECULE_GRIDS, Conditions
from matgen.nn.graph_prior import GraphPrior, GraphPriorConfig
from matgen.nn.skeleton_tokens import N_TOKENS, STOP, PaddedSkeletons, Reading, connected_orders, spelled
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal_rules import ContradictionError
from matgen.templates.molecule import MoleculeError, MoleculeTemplate
from matgen.templates.molecule_rules import MoleculeRules, composition_of
from matgen.templates.skeleton import MAX_HEAVY, N_TYPES, Skeleton, labelled
from matgen.training.graph_prior import GraphPriorObjective, SkeletonTable, dropped, unigram_nll
from matgen.weights.files import save
from matgen.weights.models import load

PLAIN = [
    "C",
    "N",
    "O",
    "CC",
    "C=O",
    "C#N",
    "C#C",
    "CCO",
    "C1CC1",
    "CC(C)(C)C",
    "FC(F)(F)C",
    "CC(=O)N",
    "O=C=O",
    "N#CC#N",
]
AROMATIC = ["c1ccccc1", "c1ccc[nH]1", "c1cnoc1", "Cc1ccccc1", "Oc1ccncc1", "c1nnn[nH]1", "O=c1cc[nH]cn1", "c1ccoc1C#N"]
IONS = ["[NH3+]CC([O-])=O", "[O-]C1=CC(=[NH2+])NC=C1F", "[NH3+][C-]1C=CC2=NON=C12", "NC=[NH+]CC1=N[N-]N=N1"]
CAGES = ["C1C2CC3CC1C23", "C12C3C4C1C5C2C3C45", "C1CC2CCC1C2", "C1C2C3CC1C23", "N1C2C3C1C23", "C1OC11CO1"]
STEREO = ["C[C@H](O)N", "F/C=C/F", "[H]/N=C/C", "C[C@@H]1CO1"]
MOLECULES = [*PLAIN, *AROMATIC, *IONS, *CAGES]


def template(smiles: str) -> MoleculeTemplate:
    return MoleculeTemplate.of(smiles)


def small_prior(seed: int = 0) -> GraphPrior:
    """Return an untrained prior that is far from uniform."""
    torch.manual_seed(seed)
    prior = GraphPrior(GraphPriorConfig(width=24, layers=1, heads=2, key=8)).eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.mul_(1.5)
    return prior


def samples(prior: GraphPrior, rules: MoleculeRules, n: int = 150, seed: int = 0) -> list[Skeleton]:
    sampler = MoleculeSampler(prior, rules)
    return sampler.skeletons(Conditions.none(n, MOLECULE_GRIDS), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("smiles", MOLECULES)
def test_a_skeleton_is_its_molecule_however_its_atoms_are_numbered(smiles: str) -> None:
    skeleton = Skeleton.of(template(smiles))
    n = len(skeleton.types)
    for seed in range(5):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
        assert skeleton.permuted(order).template() == template(smiles)


@pytest.mark.parametrize("smiles", STEREO)
def test_a_skeleton_has_no_stereo(smiles: str) -> None:
    assert Skeleton.of(template(smiles)).template() == template(smiles).without_stereo


@pytest.mark.parametrize("smiles", MOLECULES)
def test_every_kekule_form_is_the_molecule_and_has_its_hydrogens(smiles: str) -> None:
    forms = labelled(template(smiles)).skeletons
    assert len(set(forms)) == len(forms)
    for form in forms:
        assert form.template() == template(smiles)
        assert form.free_valence == forms[0].free_valence


@pytest.mark.parametrize(
    ("smiles", "automorphisms", "forms"),
    [
        ("C", 1, 1),
        ("CC(C)(C)C", 24, 1),
        ("c1ccccc1", 12, 2),
        ("Cc1ccccc1", 2, 2),
        ("c1ccc[nH]1", 2, 1),
        ("C12C3C4C1C5C2C3C45", 48, 1),
        ("C1CC1", 6, 1),
        ("O=C=O", 2, 1),
        ("[NH3+]CC([O-])=O", 1, 1),
    ],
)
def test_symmetries_and_kekule_forms_are_those_of_the_textbook(smiles: str, automorphisms: int, forms: int) -> None:
    found = labelled(template(smiles))
    assert (found.automorphisms, len(found.skeletons)) == (automorphisms, forms)


@pytest.mark.parametrize("smiles", ["Cc1ccccc1", "CC(C)=O", "C1OC11CO1", "NC=[NH+]C", "C1C2CC1C2", "c1cnoc1"])
def test_labellings_are_counted_as_by_enumeration(smiles: str) -> None:
    found = labelled(template(smiles))
    numbered = {form.permuted(order) for form in found.skeletons for order in permutations(range(len(form.types)))}
    assert math.exp(found.log_labellings) == pytest.approx(len(numbered))


@pytest.mark.parametrize("smiles", ["CCCCCCCCCC", "CS", "[NH4+].[Cl-]", "C[CH2]", "[H][H]", "C[NH2+][O]"])
def test_what_is_no_skeleton_is_refused(smiles: str) -> None:
    with pytest.raises(MoleculeError):
        Skeleton.of(template(smiles))


@pytest.mark.parametrize(
    "skeleton",
    [
        Skeleton((), ()),
        Skeleton((0, 0), ()),
        Skeleton((3, 0, 0), ((0, 1, 1), (0, 2, 1))),
        Skeleton((0,) * 10, tuple((i, i + 1, 1) for i in range(9))),
    ],
)
def test_empty_loose_overbonded_and_large_skeletons_are_no_molecules(skeleton: Skeleton) -> None:
    assert not skeleton.is_legal
    with pytest.raises(MoleculeError):
        skeleton.template()


def test_sequences_spell_the_skeletons_that_they_were_made_of() -> None:
    skeletons = [Skeleton.of(template(smiles)) for smiles in MOLECULES]
    uniforms = torch.rand(len(skeletons), MAX_HEAVY, generator=torch.Generator().manual_seed(1))
    padded = PaddedSkeletons.of(skeletons)
    order, _ = connected_orders(padded, uniforms)
    tokens = padded.permuted(order).tokens()
    assert spelled(tokens) == [
        skeleton.permuted(row[: len(skeleton.types)]) for skeleton, row in zip(skeletons, order.tolist(), strict=True)
    ]
    assert Reading.of(tokens[:, :-1]).legal().gather(2, tokens[..., None]).all()


def test_orders_have_their_stated_probabilities() -> None:
    padded = PaddedSkeletons.of([Skeleton.of(template("CC(N)O"))]).select(torch.zeros(20_000, dtype=torch.long))
    order, log_q = connected_orders(padded, torch.rand(20_000, MAX_HEAVY, generator=torch.Generator().manual_seed(0)))
    found, counts = torch.unique(order[:, :4], dim=0, return_counts=True)
    said = {tuple(row): p for row, p in zip(order[:, :4].tolist(), log_q.exp().tolist(), strict=True)}
    assert sum(said.values()) == pytest.approx(1, abs=1e-5)  # float32
    for row, count in zip(found.tolist(), counts.tolist(), strict=True):
        p = said[tuple(row)]
        assert count / 20_000 == pytest.approx(p, abs=5 * math.sqrt(p / 20_000))  # five standard deviations


def test_the_reading_knows_valences_and_distances() -> None:
    tokens = PaddedSkeletons.of([Skeleton.of(template("C=CO"))]).tokens()
    reading = Reading.of(tokens[:, :-1]).last()
    assert reading.free[0, 0, :3].tolist() == [2, 1, 1]
    assert reading.apart[0, 0, :4].tolist() == [2, 1, 0, MAX_HEAVY]


def leaves(prefix: list[int], most: int) -> Iterator[list[int]]:
    """All legal sequences that end in a stop or in one atom more than `most`."""
    reading = Reading.of(torch.tensor([prefix], dtype=torch.long).reshape(1, -1)).last()
    for token in reading.legal()[0, 0].nonzero().ravel().tolist():
        longer = [*prefix, token]
        if token == STOP or sum(t < N_TYPES for t in longer) > most:
            yield longer
        else:
            yield from leaves(longer, most)


def test_probabilities_of_all_sequences_sum_to_one() -> None:
    prior = small_prior()
    found = list(leaves([], 2))
    total = 0.0
    for length in {len(row) for row in found}:
        rows = torch.tensor([row for row in found if len(row) == length])
        total += prior(Conditions.none(len(rows), MOLECULE_GRIDS), rows).double().exp().sum().item()
    assert len(found) > 900
    assert total == pytest.approx(1, abs=1e-4)  # thousands of float32 terms


def test_what_breaks_a_valence_has_probability_zero() -> None:
    fluorine, double = 3, N_TYPES + 1
    tokens = torch.tensor([[fluorine, fluorine, double, STOP], [0, 0, double, STOP]])
    log_p = small_prior()(Conditions.none(2, MOLECULE_GRIDS), tokens)
    assert log_p[0] == -math.inf
    assert log_p[1].isfinite()


@pytest.mark.parametrize("smiles", ["CO", "C=CO", "C1CC1", "c1ccccc1", "CC(C)=O", "[NH3+]C[O-]"])
def test_the_energy_is_that_of_all_sequences_that_spell_a_molecule(smiles: str) -> None:
    prior, nothing = small_prior(), Conditions.none(1, MOLECULE_GRIDS)
    spellings = set()
    for form in labelled(template(smiles)).skeletons:
        n = len(form.types)
        for order in permutations(range(n)):
            again = form.permuted(order)
            if all(any(j == k and i < k for i, j, _ in again.bonds) for k in range(1, n)):
                spellings.add(again)
    tokens = PaddedSkeletons.of(sorted(spellings, key=str)).tokens()
    exact = prior(Conditions.none(len(tokens), MOLECULE_GRIDS), tokens).logsumexp(0)
    energy = LearnedGraphPrior(prior, nothing, orders=1000)(TemplateBatch.of([template(smiles)]))
    assert -energy.item() == pytest.approx(exact.item(), abs=0.15)  # 1,000 orders; a wrong count changes it by log 2


def test_the_energy_of_a_molecule_does_not_depend_on_its_neighbours_and_is_infinite_where_there_is_none() -> None:
    energy = LearnedGraphPrior(small_prior(), Conditions.none(1, MOLECULE_GRIDS))
    molecules = [template("CCO"), template("c1ccccc1"), template("CS"), template("CCCCCCCCCC")]
    together = energy(TemplateBatch.of(molecules))
    alone = torch.cat([energy(TemplateBatch.of([molecule])) for molecule in molecules])
    torch.testing.assert_close(together, alone)
    assert together.isfinite().tolist() == [True, True, False, False]


RULES = {
    "none": MoleculeRules(),
    "no oxygen": MoleculeRules(allowed_elements=frozenset({6, 7})),
    "fluorine and nitrogen": MoleculeRules(required_elements=frozenset({7, 9})),
    "five or six atoms": MoleculeRules(n_heavy=(5, 6)),
    "a cation": MoleculeRules(charge=1),
    "no ring": MoleculeRules(max_rings=0),
    "one ring": MoleculeRules(max_rings=1, n_heavy=(6, 9)),
    "C4H6O2": MoleculeRules(composition=((1, 6), (6, 4), (8, 2))),
}


@pytest.mark.parametrize("name", RULES)
def test_samples_keep_the_rules_and_valences(name: str) -> None:
    sampled = samples(small_prior(), RULES[name])
    assert sampled
    for skeleton in sampled:
        assert skeleton.is_legal
        assert RULES[name].why_not(skeleton.template()) == ""


def test_one_seed_gives_the_same_samples_and_patterns_are_kept() -> None:
    rules = MoleculeRules(required_smarts=("[OX2H]",), forbidden_smarts=("F", "[!+0]"))
    nothing, sampler = Conditions.none(100, MOLECULE_GRIDS), MoleculeSampler(small_prior(), rules)
    one, again = (sampler.sample(nothing, torch.Generator().manual_seed(3)) for _ in range(2))
    assert one == again
    assert one
    hydroxyl = Chem.MolFromSmarts("[OX2H]")
    assert all(m.molecule.HasSubstructMatch(hydroxyl) and 9 not in m.composition for m in one)


@pytest.mark.parametrize(
    ("rules", "smiles", "reason"),
    [
        (MoleculeRules(allowed_elements=frozenset({6})), "CO", "holds O, which is not allowed"),
        (MoleculeRules(required_elements=frozenset({7})), "CO", "holds no N, which is required"),
        (MoleculeRules(n_heavy=(3, 4)), "CO", "has 2 heavy atoms, outside 3 to 4"),
        (MoleculeRules(composition=((1, 4), (6, 1), (8, 1))), "C=O", "is CH2O, not CH4O"),
        (MoleculeRules(), "C[NH3+]", "has charge +1, not +0; give --charge 1"),
        (MoleculeRules(max_rings=0), "C1CC1", "has 1 rings, more than 0"),
        (MoleculeRules(required_smarts=("C=O",)), "CO", "lacks the required pattern C=O"),
        (MoleculeRules(forbidden_smarts=("[OH]",)), "CO", "shows the forbidden pattern [OH]"),
    ],
)
def test_a_broken_rule_is_named(rules: MoleculeRules, smiles: str, reason: str) -> None:
    assert rules.why_not(template(smiles)) == reason
    assert not rules.satisfied(template(smiles))


@pytest.mark.parametrize(
    "rules",
    [
        {"allowed_elements": frozenset({6, 16})},
        {"allowed_elements": frozenset()},
        {"required_elements": frozenset({9}), "allowed_elements": frozenset({6})},
        {"n_heavy": (3, 2)},
        {"n_heavy": (1, 10)},
        {"max_rings": -1},
        {"composition": ((1, 3), (6, 1))},
        {"composition": ((1, 8), (6, 1))},
        {"composition": ((1, 4), (14, 1))},
        {"required_smarts": ("C=O",), "forbidden_smarts": ("C=O",)},
    ],
)
def test_rules_that_nothing_satisfies_are_refused(rules: dict) -> None:
    with pytest.raises(ContradictionError):
        MoleculeRules(**rules)


@pytest.mark.parametrize("smarts", ["", "C(", "[C"])
def test_a_pattern_that_is_none_is_refused(smarts: str) -> None:
    with pytest.raises(MoleculeError, match="SMARTS"):
        MoleculeRules(required_smarts=(smarts,))


@pytest.mark.parametrize("smiles", [*MOLECULES, *STEREO])
def test_the_short_way_to_a_composition_leads_to_the_same(smiles: str) -> None:
    assert composition_of(template(smiles)) == template(smiles).composition


def table(smiles: list[str]) -> SkeletonTable:
    found = [labelled(template(s)) for s in smiles]
    count = torch.tensor([len(f.skeletons) for f in found])
    forms = PaddedSkeletons.of([skeleton for f in found for skeleton in f.skeletons])
    return SkeletonTable(forms, count.cumsum(0) - count, count, torch.rand(len(smiles), len(MOLECULE_GRIDS)), 0)


def test_training_lowers_the_loss_below_that_of_independent_tokens() -> None:
    data = table(MOLECULES)
    generator = torch.Generator().manual_seed(0)
    prior = small_prior()
    objective = GraphPriorObjective(data, data)
    batches = objective.batches(16, generator)
    optimizer = torch.optim.Adam(prior.parameters(), lr=5e-3)
    for _ in range(80):
        loss, _ = objective.loss(prior, next(batches), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    figures = objective.validate(prior.eval())
    assert figures["nll"] < unigram_nll(data, data, generator) - 2
    assert figures["nll_conditional"] < figures["nll"]


def test_conditions_are_kept_or_dropped_but_never_changed() -> None:
    data = table(MOLECULES)
    known = data.conditions(torch.arange(len(data)).repeat(50))
    kept = dropped(known, torch.Generator().manual_seed(0))
    assert ((kept.n_atoms == 0) | (kept.n_atoms == known.n_atoms)).all()
    assert (kept.elements <= known.elements).all()
    assert (kept.properties.isnan() | (kept.properties == known.properties)).all()
    nothing = (kept.n_atoms == 0) & ~kept.elements.any(1) & ~kept.complete & kept.properties.isnan().all(1)
    assert 0.3 < nothing.float().mean() < 0.5  # a third, and those that lose all conditions by chance
    assert (kept.elements.any(1) | ~kept.complete | (known.elements.sum(1) == 0)).all()


def test_the_prior_is_saved_and_loaded(tmp_path: Path) -> None:
    prior = small_prior()
    path = save(prior, tmp_path / "prior.safetensors", kind="graph_prior", trained_on="nothing", figures={})
    again = load("graph_prior", path)
    tokens = PaddedSkeletons.of([Skeleton.of(template("CCO"))]).tokens()
    nothing = Conditions.none(1, MOLECULE_GRIDS)
    assert again(nothing, tokens).item() == pytest.approx(prior(nothing, tokens).item(), abs=0.05)  # float16
    assert tokens.max() < N_TOKENS
