"""Laws of the energies that read compositions: charge balance and closed shells."""

from dataclasses import replace

import pytest
import torch
from conftest import TextbookEntry
from pymatgen.core import Composition

from matgen.chemistry.charges import is_valid
from matgen.energies.charge import ChargeBalance, StateChargeBalance
from matgen.energies.closed_shell import ClosedShell
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand

COMPOSITIONS = {"Na1Cl1": True, "Na1Cl2": False, "Ca1Ti1O3": True, "Al2O3": True, "Al1O1": False, "Cu1Au3": True}


def composed(formula: str) -> CrystalTemplate:
    counts = {e.Z: int(n) for e, n in Composition(formula).items()}
    return CrystalTemplate(1, tuple((0, z) for z, n in counts.items() for _ in range(n)))


@pytest.mark.parametrize(("formula", "balanced"), COMPOSITIONS.items())
@pytest.mark.parametrize("cells", [1, 2])
def test_only_what_cannot_be_neutral_is_penalised(formula: str, balanced: bool, cells: int) -> None:  # noqa: FBT001
    template = composed(formula)
    template = replace(template, sites=template.sites * cells)
    batch = TemplateBatch.of([template])
    state = expand(batch, Geometry(torch.zeros(1, 6), torch.rand(len(template.sites), 3)))
    expected = [0.0 if balanced else 7.0]
    assert ChargeBalance(penalty=7.0)(batch).tolist() == expected
    assert StateChargeBalance(penalty=7.0)(state, torch.ones(1)).tolist() == expected


def test_charge_balance_agrees_with_the_check_of_candidates(textbook: tuple[TextbookEntry, ...]) -> None:
    compositions = [entry.structure.composition.reduced_composition for entry in textbook]
    batch = TemplateBatch.of([composed(c.formula.replace(" ", "")) for c in compositions])
    assert (ChargeBalance()(batch) == 0).tolist() == [is_valid(c) for c in compositions]


SHELLS = {
    "Ga1As1": 0.0,
    "Na1Cl1": 0.0,
    "Cs2Sn1I6": 0.0,  # Sn(IV)
    "Cs2Sb1I6": 2.0,  # Sb(IV), and an odd number of electrons
    "Cs4Sb2I12": 1.0,  # the same in two formula units: an even number
    "Na3Te1": 2.0,
    "Rb2Bi1As1Br6": 1.0,  # Bi(I) or As(I)
    "Ti2O3": 1.0,  # Ti(III) is rare
    "Cu1Au3": 1.0,  # an alloy: 29 + 3 * 79 electrons, even
    "Cu1Cl2": 1.0,  # Cu(II) is common, its electron unpaired
}


@pytest.mark.parametrize(("formula", "cost"), SHELLS.items())
def test_shells_close_where_common_charges_cancel_and_electrons_pair(formula: str, cost: float) -> None:
    assert ClosedShell()(TemplateBatch.of([composed(formula)])).tolist() == [cost]
