"""Laws of soft logic, and of functions of graphs."""

import itertools
import math

import pytest
import torch
from rdkit import Chem
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy, TemplateEnergy
from matgen.energies.graph_function import SURE, GraphFunction, holds
from matgen.energies.logic import either, exactly_one, implies, negation
from matgen.energies.repulsion import ShortRangeRepulsion
from matgen.templates.batch import TemplateBatch
from matgen.templates.molecule import MoleculeError, MoleculeTemplate

BATCH = TemplateBatch.of([MoleculeTemplate.of(smiles) for smiles in ("CCO", "CCN", "CC(=O)O", "C")])


class Surely(TemplateEnergy):
    """Has a given probability for every template."""

    def __init__(self, name: str, probability: float) -> None:
        super().__init__()
        self.name, self.energy = name, -math.log(probability)

    def forward(self, templates: TemplateBatch) -> Tensor:
        return torch.full((templates.n_systems,), self.energy, dtype=torch.float64)


@pytest.mark.parametrize(("p", "q"), [*itertools.product((0.05, 0.5, 0.99), repeat=2)])
def test_statements_have_the_probabilities_of_independent_targets(p: float, q: float) -> None:
    a, b = Surely("a", p), Surely("b", q)
    expected = {
        negation(a): 1 - p,
        either(a, b): 1 - (1 - p) * (1 - q),
        implies(a, b): 1 - p * (1 - q),
        exactly_one(a, b): p * (1 - q) + q * (1 - p),
    }
    for statement, probability in expected.items():
        torch.testing.assert_close(
            (-statement(BATCH)).exp(), torch.full((4,), probability, dtype=torch.float64), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(("p", "q"), [*itertools.product((1.0, 1e-12), repeat=2)])
def test_certain_targets_give_two_valued_logic(p: float, q: float) -> None:
    a, b, one, other = Surely("a", p), Surely("b", q), p == 1, q == 1
    for statement, truth in (
        (negation(a), not one),
        (either(a, b), one or other),
        (implies(a, b), not one or other),
        (exactly_one(a, b), one != other),
    ):
        energy = statement(BATCH)
        assert energy.isfinite().all()
        assert bool((energy < 1e-4).all()) == truth
        assert bool((energy > 10).all()) == (not truth)


def test_statements_are_energies_and_add_up() -> None:
    statement = implies(holds("[OX2H]"), holds("C=O"))
    total = 2.0 * statement + Surely("a", 0.5)
    assert set(total.terms()) == {"holds [OX2H] implies holds C=O", "a"}
    values = statement(BATCH)
    assert (values < 1e-3).tolist() == [False, True, True, True]  # ethanol has a hydroxyl group and no carbonyl group


def test_states_and_templates_do_not_mix() -> None:
    with pytest.raises(TypeError, match="all read states"):
        implies(Surely("a", 0.5), ShortRangeRepulsion())


def test_statements_about_states_have_slopes() -> None:
    class Near(Energy):
        name = "near"

        def forward(self, state: State, sigma: Tensor) -> Tensor:
            return state.positions.square().sum().expand(len(sigma)) + 0.1

    positions = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    pbc = torch.zeros(1, 3, dtype=torch.bool)
    state = State.of(positions, torch.tensor([6, 1, 1]), torch.eye(3)[None], pbc, torch.zeros(3, dtype=torch.long))
    negation(Near())(state, torch.zeros(1, dtype=torch.float64)).sum().backward()
    assert positions.grad is not None
    assert (positions.grad * positions).sum() < 0  # the negation favours larger distances


def test_a_function_of_graphs_is_called_once_for_each_molecule() -> None:
    calls: list[str] = []

    def atoms(molecule: Chem.Mol) -> float:
        calls.append(Chem.MolToSmiles(molecule))
        return molecule.GetNumAtoms()

    energy = GraphFunction(atoms, name="atoms")
    assert energy(BATCH).tolist() == [3, 3, 4, 1]
    assert energy(BATCH).tolist() == [3, 3, 4, 1]
    assert len(calls) == 4
    assert holds("[NX3]")(BATCH).tolist() == [SURE, 0, SURE, SURE]
    for smarts in ("[", "", "[OX2H] [NX3]", "C\nO", "\udcff"):
        with pytest.raises(MoleculeError, match="SMARTS"):
            holds(smarts)
