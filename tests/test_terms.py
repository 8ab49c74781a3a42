"""Energies that a user adds: sorted by kind and use, named, checked, and sampled exactly."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.base import Energy, TemplateEnergy, gradients
from matgen.energies.blackbox import BlackBox
from matgen.energies.ranking import ForRanking
from matgen.energies.terms import TermError, Terms
from matgen.generation.request import Request
from matgen.samplers.langevin import mala
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import expand
from matgen.templates.wyckoff import wyckoff_table
from matgen.testing import check_energy
from matgen.workflows.design import design

CAESIUM_CHLORIDE = CrystalTemplate(
    221, ((wyckoff_table().positions_of(221)[0], 55), (wyckoff_table().positions_of(221)[1], 17))
)


class RoomyCell(Energy):
    """½(v_min − v)² below a volume per atom of v_min Å³."""

    name = "roomy_cell"

    def __init__(self, v_min: float) -> None:
        super().__init__()
        self.v_min = v_min

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        return 0.5 * torch.relu(self.v_min - state.volume / state.n_atoms).square() + 0 * sigma


class Well(Energy):
    """½(k − centre)²/width² in the last lattice parameter, from the volume relative to a reference, Å³."""

    def __init__(self, centre: float, width: float, reference: float, name: str = "well") -> None:
        super().__init__()
        self.centre, self.width, self.reference, self.name = centre, width, reference, name

    def forward(self, state: State, sigma: Tensor) -> Tensor:
        k = (state.volume / self.reference).log() / math.sqrt(3)
        return 0.5 * ((k - self.centre) / self.width).square() + 0 * sigma


class BlindWell(Well):
    """The same, with values only."""

    use = "values"


class Symmetric(TemplateEnergy):
    """Low for high space groups."""

    name = "symmetric"

    def forward(self, templates: TemplateBatch) -> Tensor:
        return -templates.space_group.double() / 230  # not the dtype of the program


# ---------------------------------------------------------------- sorting and naming


def test_a_list_of_energies_is_their_sum() -> None:
    listed = Terms.of([2.0 * RoomyCell(15.0), 3.0 * Symmetric(), RoomyCell(20.0)])
    summed = Terms.of([3.0 * Symmetric(), 2.0 * RoomyCell(15.0) + RoomyCell(20.0)])
    assert listed.weights == summed.weights == {"roomy_cell": 2.0, "roomy_cell_2": 1.0, "symmetric": 3.0}


class Mistyped(RoomyCell):
    use = "value"  # type: ignore[assignment]


def test_terms_go_where_they_may_be_used() -> None:
    terms = Terms.of([RoomyCell(15.0), BlackBox(len, name="atoms"), ForRanking(Well(0.0, 1.0, 1.0))])
    assert list(terms.used("slopes").terms()) == ["roomy_cell"]
    assert list(terms.used("slopes", "values").terms()) == ["roomy_cell", "atoms"]
    assert list(terms.used("ranking").terms()) == ["well"]


@pytest.mark.parametrize(
    ("energies", "complaint"),
    [
        ([len], r"wrap a function Structure -> float: BlackBox\(function, name=\.\.\.\)"),
        ([RoomyCell], r"got the class RoomyCell; create an instance: RoomyCell\(\.\.\.\)"),
        (len, r"wrap a function Structure -> float: BlackBox"),
        ([Mistyped(15.0)], "expected the use of `roomy_cell` to be one of slopes, values, ranking, got 'value'"),
        (["band_gap"], "expected an Energy or a TemplateEnergy .* got 'band_gap'"),
        ([BlackBox(len, name="graph")], "names that no term of the program has, got 'graph'"),
        ([2.0 * BlackBox(len, name="band_gap_template")], "got 'band_gap_template'"),
        ([BlackBox(len, name="symmetric"), Symmetric()], "got 'symmetric' twice; set energy.name of one"),
    ],
)
def test_what_cannot_be_added_is_refused(energies: list, complaint: str) -> None:
    with pytest.raises(TermError, match=complaint):
        Request.of(energies=energies)
    with pytest.raises(ValueError, match=complaint):
        design(energies=energies)


def test_a_sum_is_not_for_ranking_but_its_terms_are() -> None:
    with pytest.raises(TypeError, match=r"write 2\.0 \* ForRanking\(energy\)"):
        ForRanking(2.0 * RoomyCell(15.0))
    assert Terms.of([2.0 * ForRanking(RoomyCell(15.0))]).weights == {"roomy_cell": 2.0}


def test_an_energy_that_is_not_one_number_each_is_named() -> None:
    class Whole(RoomyCell):
        def forward(self, state: State, sigma: Tensor) -> Tensor:
            return super().forward(state, sigma).sum()

    batch = TemplateBatch.of([CAESIUM_CHLORIDE] * 2)
    state = expand(batch, Geometry(torch.zeros(2, 6), torch.zeros(4, 3)))
    with pytest.raises(TermError, match=r"expected energies \(2,\) from `roomy_cell`.* got shape \(\)"):
        Terms.of([Whole(15.0)]).states(state, torch.ones(2))


# ---------------------------------------------------------------- values without slopes


def test_a_black_box_keeps_the_contract() -> None:
    batch = TemplateBatch.of([CAESIUM_CHLORIDE, CAESIUM_CHLORIDE])
    lattice = torch.tensor([[0.0] * 6, [0.0] * 5 + [0.1]], dtype=torch.float64)
    state = expand(batch, Geometry(lattice, torch.zeros(4, 3, dtype=torch.float64)))
    sigma = torch.ones(2, dtype=torch.float64)
    box = BlackBox(lambda structure: structure.volume, name="volume")
    check_energy(box, state, sigma, extensive=True)
    torch.testing.assert_close(box(state, sigma), state.volume)
    assert not gradients(box, batch, Geometry(lattice, torch.zeros(4, 3, dtype=torch.float64)), sigma)[1].lattice.any()
    with pytest.raises(TypeError, match="expected a number from the function of `nothing`, got None"):
        BlackBox(lambda _: None, name="nothing")(state, sigma)  # type: ignore[arg-type,return-value]


def test_a_term_without_slopes_is_sampled_exactly() -> None:
    # Two wells of width w, of which the one at 0 drives moves: the product has its mean at w and spread w/√2. Moments
    # of 3000 independent chains; 4.5 standard errors are missed once in 150,000 times.
    n, width = 3000, 0.05
    templates = TemplateBatch.of([CAESIUM_CHLORIDE] * n)
    start = Geometry(torch.zeros(n, 6, dtype=torch.float64), torch.zeros(2 * n, 3, dtype=torch.float64))
    sigma = torch.zeros(n, dtype=torch.float64)
    reference = float(expand(templates, start).volume[0])
    energy = Terms.of([Well(0.0, width, reference), BlindWell(2 * width, width, reference, name="blind")]).states

    def landscape(geometry: Geometry) -> tuple[Tensor, Geometry]:
        return gradients(energy, templates, geometry, sigma)

    _, slope = landscape(replace(start, lattice=start.lattice + 0.01))
    torch.testing.assert_close(slope.lattice[:, 5], torch.full((n,), 0.01 / width**2, dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    end, report = mala(landscape, templates, start, steps=60, step_size=0.4, generator=generator)
    assert 0.2 < float(report.acceptance.mean()) < 0.95  # so that Metropolis has something to correct
    k, spread = end.lattice[:, 5], width / math.sqrt(2)
    assert abs(float(k.mean()) - width) < 4.5 * spread / math.sqrt(n)
    assert abs(float(k.var()) - spread**2) < 4.5 * spread**2 * math.sqrt(2 / n)


# ---------------------------------------------------------------- in a design


# ---------------------------------------------------------------- a potential as a term


# ---------------------------------------------------------------- which run it is
