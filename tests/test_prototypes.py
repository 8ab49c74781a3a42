"""Laws of the prototype library: what is in it comes out of it, and averages stay among their members."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TextbookEntry
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from matgen.chemistry.elements import SYMBOLS, descriptors
from matgen.energies.chemical_distance import ChemicalDistance
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.prototypes import (
    RESOLUTION,
    SAME_COORDINATE,
    SAME_SHAPE,
    PrototypeLibrary,
    _cheapest_pairing,
    layout,
)
from matgen.templates.symmetry import describe
from matgen.templates.wyckoff import LETTERS, wyckoff_table
from matgen.testing import check_template_energy

HALF = 1e-3  # float16 holds numbers below 2 to 2^-10


def site(group: int, letter: str, element: str) -> tuple[int, int]:
    return wyckoff_table().positions_of(group)[LETTERS.index(letter)], SYMBOLS.index(element)


@pytest.fixture(scope="module")
def crystals(textbook: tuple[TextbookEntry, ...]) -> tuple[TemplateBatch, Geometry]:
    found = [
        describe(e.structure.lattice.matrix, e.structure.frac_coords, np.array(e.structure.atomic_numbers))
        for e in textbook
    ]
    geometry = Geometry(
        torch.from_numpy(np.array([d.lattice for d in found])).float(),
        torch.from_numpy(np.concatenate([d.coords for d in found])).float(),
    )
    return TemplateBatch.of([d.template for d in found]), geometry


@pytest.fixture(scope="module")
def library(crystals: tuple[TemplateBatch, Geometry]) -> PrototypeLibrary:
    return PrototypeLibrary.of_crystals(*crystals)


def same_turns(one: Tensor, other: Tensor, tolerance: float) -> bool:
    turn = one - other
    return bool(((turn - turn.round()).abs() < tolerance).all())


def test_what_is_in_the_library_is_nearest_to_itself(
    crystals: tuple[TemplateBatch, Geometry], library: PrototypeLibrary
) -> None:
    templates, geometry = crystals
    for i, template in enumerate(templates.unbatch()):
        match = library.nearest(template)[0]
        rows = torch.tensor([i])
        assert template in library
        assert match.distance == 0.0, str(template)
        assert torch.equal(match.geometry.lattice, geometry.lattice[rows]), str(template)
        own = geometry.select(templates, rows).coords
        # Sites of equal position and element may be exchanged: the crystal is the same.
        assert torch.equal(match.geometry.coords, own) or len(set(template.sites)) < len(template.sites)


def test_the_nearest_come_first_and_new_layouts_have_none(library: PrototypeLibrary) -> None:
    silver_chloride = CrystalTemplate(225, (site(225, "a", "Ag"), site(225, "b", "Cl")))
    matches = library.nearest(silver_chloride, n=20)
    assert 2 < len(matches) < 20
    assert [m.distance for m in matches] == sorted(m.distance for m in matches)
    assert len(library.nearest(silver_chloride, n=2)) == 2
    new = CrystalTemplate(1, (site(1, "a", "Na"),) * 17)
    assert new not in library
    assert library.nearest(new) == []


def test_the_distance_is_that_of_the_elements_averaged_over_atoms() -> None:
    fluorite = [CrystalTemplate(225, (site(225, "a", z), site(225, "c", "F"))) for z in ("Ca", "Sr")]
    known = TemplateBatch.of(fluorite[:1])
    library = PrototypeLibrary.of_crystals(known, Geometry(torch.zeros(1, 6), torch.zeros(2, 3)))
    table = descriptors()
    apart = (table[SYMBOLS.index("Ca")] - table[SYMBOLS.index("Sr")]).square().mean().sqrt()
    # One of three atoms differs. Float32 descriptors of order one.
    assert library.nearest(fluorite[1])[0].distance == pytest.approx(float(apart) / 3, rel=1e-5)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 6])
def test_the_cheapest_pairing_is_the_optimal_assignment(m: int) -> None:
    cost = np.random.default_rng(m).random((20, m, m))
    expected = [one[linear_sum_assignment(one)].sum() for one in cost]
    np.testing.assert_allclose(_cheapest_pairing(cost), expected, rtol=1e-12)


def test_the_quick_distance_is_that_of_the_nearest_match(
    crystals: tuple[TemplateBatch, Geometry], library: PrototypeLibrary
) -> None:
    # Every crystal with one element exchanged, so that distances are not zero.
    for template in crystals[0].unbatch():
        changed = replace(template, sites=tuple((p, 55 if z == template.sites[0][1] else z) for p, z in template.sites))
        assert library.distance(changed) == pytest.approx(library.nearest(changed)[0].distance, rel=1e-6)
        assert library.distance(changed) >= library.distance(template) == 0.0
    assert library.distance(CrystalTemplate(2, (site(2, "i", "Na"),) * 5)) == np.inf


def test_familiar_chemistry_costs_nothing_and_unknown_layouts_no_more_than_the_farthest(
    crystals: tuple[TemplateBatch, Geometry], library: PrototypeLibrary
) -> None:
    energy = ChemicalDistance(library, width=0.2, farthest=0.8)
    check_template_energy(energy, crystals[0].unbatch()[:6])
    assert not energy(crystals[0]).any()
    unknown = CrystalTemplate(2, (site(2, "i", "Na"),) * 5)
    exchanged = CrystalTemplate(225, (site(225, "a", "Na"), site(225, "b", "Br")))
    far, near = energy(TemplateBatch.of([unknown, exchanged])).tolist()
    assert far == pytest.approx(0.5 * (0.8 / 0.2) ** 2)
    assert near == pytest.approx(0.5 * (library.distance(exchanged) / 0.2) ** 2)
    assert 0 <= near < far
    with pytest.raises(ValueError, match="width < farthest"):
        ChemicalDistance(library, width=1.0, farthest=0.5)


def test_sites_are_paired_by_chemistry() -> None:
    # One kind of position twice: each element finds the coordinates of its like, whichever was listed first.
    known = CrystalTemplate(186, (site(186, "b", "O"), site(186, "b", "Zn")))
    coords = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.38]])
    library = PrototypeLibrary.of_crystals(TemplateBatch.of([known]), Geometry(torch.zeros(1, 6), coords))
    like = CrystalTemplate(186, (site(186, "b", "S"), site(186, "b", "Cd")))
    turned_round = CrystalTemplate(186, (site(186, "b", "Cd"), site(186, "b", "S")))
    assert torch.equal(library.nearest(like)[0].geometry.coords, coords)
    assert torch.equal(library.nearest(turned_round)[0].geometry.coords, coords.flip(0))


def family(n: int, spread: float, seed: int = 0) -> tuple[TemplateBatch, Geometry]:
    """Rutile-like crystals, coordinates around the border of the cell at zero."""
    generator = torch.Generator().manual_seed(seed)
    metals = torch.randint(21, 31, (n,), generator=generator).tolist()
    templates = TemplateBatch.of(
        [CrystalTemplate(136, (site(136, "a", SYMBOLS[z]), site(136, "f", "O"))) for z in metals]
    )
    lattice = spread * torch.rand(n, 6, generator=generator) * templates.free_lattice
    coords = (spread * (torch.rand(2 * n, 3, generator=generator) - 0.5)) % 1.0 * templates.free_coords
    return templates, Geometry(lattice, coords)


def test_averages_lie_within_their_members() -> None:
    templates, geometry = family(40, spread=0.04)
    averages = PrototypeLibrary.of_crystals(templates, geometry).averaged(smallest=5)
    template = templates.unbatch()[0]
    matches = averages.nearest(template, n=100)
    assert len(matches) == len(averages) > 1
    assert sum(m.count for m in matches) == 40
    low, high = geometry.lattice.amin(0), geometry.lattice.amax(0)
    for match in matches:
        assert match.count >= 5
        assert bool((match.geometry.lattice >= low).all())
        assert bool((match.geometry.lattice <= high).all())
        # Within 0.02 of zero, on either side of the border: not at one half, where a plain mean would lie.
        assert same_turns(match.geometry.coords.float(), torch.zeros(2, 3), 0.02)


def test_an_average_of_equals_is_what_they_are() -> None:
    templates, geometry = family(1, spread=0.04)
    rows = torch.zeros(6, dtype=torch.long)
    library = PrototypeLibrary.of_crystals(templates.select(rows), geometry.select(templates, rows)).averaged(
        smallest=6
    )
    (match,) = library.nearest(templates.unbatch()[0], n=2)
    assert match.count == 6
    assert match.distance < 1e-6  # a float32 mean of equal numbers
    torch.testing.assert_close(match.geometry.lattice.float(), geometry.lattice)
    assert same_turns(match.geometry.coords.float(), geometry.coords, 1e-6)


def test_geometries_that_differ_are_not_averaged() -> None:
    templates, geometry = family(12, spread=0.0)
    further_on = torch.arange(12) >= 6
    coords = geometry.coords + (3 * SAME_COORDINATE) * further_on[templates.site_system, None] * templates.free_coords
    averages = PrototypeLibrary.of_crystals(templates, Geometry(geometry.lattice, coords)).averaged(smallest=6)
    matches = averages.nearest(templates.unbatch()[0], n=9)
    found = sorted(float(m.geometry.coords.max()) for m in matches)
    assert found == pytest.approx([0.0, 3 * SAME_COORDINATE], abs=1e-6)
    lattice = geometry.lattice + (3 * SAME_SHAPE) * further_on[:, None] * templates.free_lattice
    averages = PrototypeLibrary.of_crystals(templates, Geometry(lattice, geometry.coords)).averaged(smallest=6)
    found = sorted(float(m.geometry.lattice[0, 4]) for m in averages.nearest(templates.unbatch()[0], n=9))
    assert found == pytest.approx([0.0, 3 * SAME_SHAPE], abs=1e-6)


def test_too_few_are_not_averaged() -> None:
    library = PrototypeLibrary.of_crystals(*family(4, spread=0.01))
    assert len(library.averaged(smallest=5)) == 0
    assert templates_of(library.averaged(smallest=4)) == templates_of(library)


def templates_of(library: PrototypeLibrary) -> set[int]:
    return set(library.tensors()["space_group"].tolist())


def test_tensors_give_the_library_back(crystals: tuple[TemplateBatch, Geometry], library: PrototypeLibrary) -> None:
    again = PrototypeLibrary.from_tensors(library.tensors())
    assert len(again) == len(library)
    for template in crystals[0].unbatch():
        before, after = library.nearest(template)[0], again.nearest(template)[0]
        assert after.distance == pytest.approx(before.distance, abs=RESOLUTION / 2)
        assert after.count == before.count
        torch.testing.assert_close(after.geometry.lattice, before.geometry.lattice, rtol=HALF, atol=HALF)
        exchanged = len(set(template.sites)) < len(template.sites)
        assert exchanged or same_turns(after.geometry.coords, before.geometry.coords, HALF)


def test_layouts_are_what_is_left_without_the_elements() -> None:
    one = CrystalTemplate(225, (site(225, "a", "Na"), site(225, "b", "Cl")))
    other = CrystalTemplate(225, (site(225, "a", "Mg"), site(225, "b", "O")))
    fluorite = CrystalTemplate(225, (site(225, "a", "Ca"), site(225, "c", "F")))
    assert layout(one) == layout(other) != layout(fluorite)
