"""Laws of templates: equal structures have equal templates, and a template gives its structure back."""

from itertools import product

import moyopy
import numpy as np
import pytest
import torch
from conftest import TextbookEntry
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from torch import Tensor

from matgen.batch.state import State
from matgen.chemistry.elements import SYMBOLS, atomic_volumes, known_elements
from matgen.templates.batch import Geometry, TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.expand import cartesian_rotations, conventional_cell, expand, unit_directions
from matgen.templates.lattice import (
    FAMILY_MASKS,
    basis,
    crystal_family,
    family_tables,
    lattice_to_parameters,
    parameters_to_lattice,
)
from matgen.templates.symmetry import Described, NoTemplateError, describe
from matgen.templates.wyckoff import LETTERS, alternatives, multiplicities, wyckoff_table

D = torch.float64
EXACT = 1e-9  # some hundred float64 operations on numbers of order one to ten
TABLED = 1e-6  # the same, compared with numbers that come from a file of eight decimals or an iterative search


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def site(group: int, letter: str, element: str) -> tuple[int, int]:
    return wyckoff_table().positions_of(group)[LETTERS.index(letter)], SYMBOLS.index(element)


def random_geometry(templates: TemplateBatch, seed: int = 0, shape: float = 0.15) -> Geometry:
    lattice = shape * torch.randn(templates.n_systems, 6, dtype=D, generator=generator(seed))
    coords = torch.rand(len(templates.site_system), 3, dtype=D, generator=generator(seed + 1))
    return Geometry(lattice * templates.free_lattice, coords * templates.free_coords)


def as_structure(state: State, system: int = 0) -> Structure:
    here = state.system_idx == system
    return Structure(
        Lattice(state.cell[system].numpy()),
        state.atomic_numbers[here].tolist(),
        state.positions[here].numpy(),
        coords_are_cartesian=True,
    )


def described(structure: Structure, symprec: float = 0.01) -> Described:
    return describe(
        structure.lattice.matrix, structure.frac_coords, np.array(structure.atomic_numbers), symprec=symprec
    )


def expanded(description: Described) -> Structure:
    geometry = Geometry(torch.from_numpy(description.lattice)[None], torch.from_numpy(description.coords))
    return as_structure(expand(TemplateBatch.of([description.template]), geometry))


def members(position: int) -> tuple[np.ndarray, np.ndarray]:
    table = wyckoff_table()
    rows = slice(int(table.member_offset[position]), int(table.member_offset[position + 1]))
    return table.matrix[rows].numpy(), table.shift[rows].numpy()


def apart(points: np.ndarray, others: np.ndarray, primitive: np.ndarray) -> np.ndarray:
    """Largest fractional component between points (..., n, 3) and others (..., m, 3), modulo the primitive lattice."""
    turns = (points[..., :, None, :] - others[..., None, :, :]) @ np.linalg.inv(primitive)
    return np.abs(turns - np.round(turns)).max(-1)


# ---------------------------------------------------------------- round trips


def test_textbook_structures_come_back(textbook: tuple[TextbookEntry, ...]) -> None:
    # Tolerances of the matcher a thousandth of its defaults: the same structure, not a similar one.
    matcher = StructureMatcher(ltol=2e-4, stol=3e-4, angle_tol=5e-3, primitive_cell=True, scale=False)
    for entry in textbook:
        description = described(entry.structure)
        assert description.template.space_group == entry.space_group, entry.file
        assert matcher.fit(expanded(description), entry.structure), entry.file


def test_expand_gives_the_primitive_cell(textbook: tuple[TextbookEntry, ...]) -> None:
    for entry in textbook:
        description = described(entry.structure)
        primitive = entry.structure.get_primitive_structure()
        again = expanded(description)
        assert len(again) == len(primitive) == description.template.n_atoms, entry.file
        assert again.volume == pytest.approx(primitive.volume, rel=1e-5), entry.file  # CIFs carry eight decimals
        assert again.composition == primitive.composition, entry.file


def test_skew_cells_without_symmetry_come_back() -> None:
    rng = np.random.default_rng(0)
    matcher = StructureMatcher(ltol=2e-4, stol=3e-4, angle_tol=5e-3, primitive_cell=False, scale=False)
    for _ in range(20):
        lattice = Lattice.from_parameters(*rng.uniform(4, 9, 3), *rng.uniform(55, 110, 3))
        structure = Structure(lattice, ["Na", "Cl", "O", "O"], rng.random((4, 3)))
        description = described(structure)
        assert description.template.space_group == 1
        assert matcher.fit(expanded(description), structure)


def turned_cells(structure: Structure) -> list[Structure]:
    """The same crystal, given in other ways."""
    rng = np.random.default_rng(len(structure))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    shifted = structure.copy()
    shifted.translate_sites(range(len(shifted)), rng.random(3))
    order = rng.permutation(len(structure))
    shuffled = Structure.from_sites([structure[int(i)] for i in order])
    other_axes = structure.copy()
    other_axes.make_supercell([[1, 1, 0], [0, 1, 0], [-1, 0, 1]], to_unit_cell=False)
    doubled = structure.copy()
    doubled.make_supercell([2, 1, 1])
    turned = Structure(structure.lattice.matrix @ rotation.T, structure.species, structure.frac_coords)
    return [shifted, shuffled, other_axes, doubled, turned, structure.get_primitive_structure()]


def test_a_description_does_not_depend_on_how_the_structure_was_given(textbook: tuple[TextbookEntry, ...]) -> None:
    # Every third structure, and all whose origin is arbitrary along an axis: there the choice is hardest.
    polar = wyckoff_table().free_axis.any(1)
    chosen = [e for i, e in enumerate(textbook) if i % 3 == 0 or polar[e.space_group - 1]]
    for entry in chosen:
        first = described(entry.structure)
        for i, cell in enumerate(turned_cells(entry.structure)):
            again = described(cell)
            assert again.template == first.template, f"{entry.file}, way {i}"
            np.testing.assert_allclose(again.lattice, first.lattice, atol=1e-4, err_msg=f"{entry.file}, way {i}")
            turn = again.coords - first.coords
            np.testing.assert_allclose(turn - np.round(turn), 0, atol=1e-4, err_msg=f"{entry.file}, way {i}")


def test_structures_without_a_template_say_why() -> None:
    lattice = np.diag([4.0, 4.0, 4.0])
    far, same = np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), np.array([[0, 0, 0], [0, 0, 1e-4]])
    sodium = np.array([11, 11])
    with pytest.raises(NoTemplateError):
        describe(lattice, same, sodium)
    with pytest.raises(NoTemplateError):
        describe(np.diag([4.0, 4.0, 0.0]), far, sodium)
    with pytest.raises(NoTemplateError):
        describe(lattice, np.full((2, 3), np.nan), sodium)
    with pytest.raises(NoTemplateError):
        describe(lattice, np.zeros((0, 3)), np.zeros(0, dtype=int))
    with pytest.raises(NoTemplateError, match="Cm"):
        describe(lattice, far, np.array([11, 96]))
    unknown = next(z for z in range(1, 95) if z not in known_elements())
    with pytest.raises(NoTemplateError, match=SYMBOLS[unknown]):
        describe(lattice, far, np.array([11, unknown]))


# ---------------------------------------------------------------- the lattice


def random_cells(n: int) -> Tensor:
    """Skew cells of 4 to 9 Å."""
    rng = np.random.default_rng(1)
    parameters = zip(rng.uniform(4, 9, (n, 3)), rng.uniform(55, 115, (n, 3)), strict=True)
    return torch.from_numpy(np.array([Lattice.from_parameters(*a, *angles).matrix for a, angles in parameters]))


def test_lattice_numbers_keep_the_metric_and_forget_the_rotation() -> None:
    cell = random_cells(50)
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=D, generator=generator()))
    parameters = lattice_to_parameters(cell)
    again = parameters_to_lattice(parameters)
    torch.testing.assert_close(again @ again.mT, cell @ cell.mT, rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(lattice_to_parameters(cell @ q), parameters, rtol=EXACT, atol=EXACT)


def test_lattice_numbers_invert() -> None:
    parameters = 0.5 * torch.randn(50, 6, dtype=D, generator=generator())
    cell = parameters_to_lattice(parameters)
    torch.testing.assert_close(lattice_to_parameters(cell), parameters, rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(torch.linalg.det(cell).log() / 3**0.5, parameters[:, 5], rtol=EXACT, atol=EXACT)


def test_the_basis_of_lattice_numbers_is_orthonormal() -> None:
    gram = torch.einsum("aij,bij->ab", basis(), basis())
    torch.testing.assert_close(gram, torch.eye(6, dtype=D), rtol=0, atol=EXACT)


def test_crystal_families_end_where_the_tables_say() -> None:
    systems = {1: "triclinic", 3: "monoclinic", 16: "orthorhombic", 75: "tetragonal", 143: "hexagonal", 195: "cubic"}
    for number, name in systems.items():
        assert crystal_family(number) == name
        assert number == 1 or crystal_family(number - 1) != name


@pytest.mark.parametrize("family", FAMILY_MASKS)
def test_every_free_lattice_number_respects_the_family(family: str) -> None:
    # Which parameters (a, b, c, α, β, γ) stay equal or special, International Tables A, table 3.1.2.1.
    mask, fixed = (t[[g for g in range(1, 231) if crystal_family(g) == family]][:1] for t in family_tables())
    parameters = torch.where(mask, 0.3 * torch.randn(40, 6, dtype=D, generator=generator()), fixed)
    a, b, c, alpha, beta, gamma = np.array([Lattice(m).parameters for m in parameters_to_lattice(parameters).numpy()]).T
    right_angles = {"monoclinic": (alpha, gamma), "triclinic": ()}.get(family, (alpha, beta, gamma))
    if family == "hexagonal":
        right_angles = (alpha, beta)
        np.testing.assert_allclose(gamma, 120, atol=1e-6)
    for angle in right_angles:
        np.testing.assert_allclose(angle, 90, atol=1e-6)
    equal = {"tetragonal": (b,), "hexagonal": (b,), "cubic": (b, c)}.get(family, ())
    for length in equal:
        np.testing.assert_allclose(length, a, rtol=EXACT)
    # And nothing else is: what is free differs from cell to cell.
    free = {"a": a, "b": b, "c": c, "alpha": alpha, "beta": beta, "gamma": gamma}
    distinct = {name: np.ptp(value / a if name in "bc" else value) > 1e-3 for name, value in free.items()}
    assert sum(distinct.values()) == int(mask.sum())


def test_the_free_volume_is_counted_from_the_composition(textbook: tuple[TextbookEntry, ...]) -> None:
    templates = TemplateBatch.of([described(entry.structure).template for entry in textbook[:20]])
    geometry = random_geometry(templates)
    geometry.lattice[:, 5] = 0.0
    state = expand(templates, geometry)
    suggested = torch.zeros(templates.n_systems, dtype=D)
    suggested = suggested.index_add(0, state.system_idx, atomic_volumes()[state.atomic_numbers])
    torch.testing.assert_close(state.volume, suggested, rtol=EXACT, atol=EXACT)


# ---------------------------------------------------------------- Wyckoff positions


def standard_operations(group: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and translations of the conventional cell, from moyo's tables, not from ours."""
    found = moyopy.operations_from_number(group, setting=moyopy.Setting.standard(), primitive=False)
    return np.array(found.rotations, dtype=float), np.array(found.translations)


def test_every_wyckoff_position_is_one_orbit_of_its_group() -> None:
    table, rng = wyckoff_table(), np.random.default_rng(0)
    for group in range(1, 231):
        rotations, translations = standard_operations(group)
        primitive = table.primitive[group].numpy()
        for position in table.positions_of(group):
            matrix, shift = members(position)
            points = matrix @ rng.random(3) + shift
            same = apart(rotations @ points[0] + translations, points, primitive) < TABLED
            name = f"{group} {table.label(position)}"
            assert same.any(1).all(), f"{name}: an operation leads out of the orbit"
            # As many operations lead to each member: the order of the site's symmetry.
            assert len(set(same.sum(0).tolist())) == 1, f"{name}: two members coincide, or one is never reached"
            assert len(points) == multiplicities()[position]


def test_member_rotations_belong_to_operations_that_lead_there() -> None:
    # An operation (R, t) with R x₁ + t = x_m: R alone would not do, where it belongs to another operation.
    table, rng = wyckoff_table(), np.random.default_rng(0)
    for group in range(1, 231):
        rotations, translations = standard_operations(group)
        primitive = table.primitive[group].numpy()
        for position in table.positions_of(group):
            matrix, shift = members(position)
            points = matrix @ rng.random(3) + shift
            first = int(table.member_offset[position])
            claimed = table.rotation[first : first + len(points)].numpy()
            same = apart(rotations @ points[0] + translations, points, primitive) < TABLED
            same &= (rotations[:, None] == claimed[None]).all((2, 3))
            assert same.any(0).all(), f"{group} {table.label(position)}"


def test_every_position_alone_has_at_least_the_symmetry_of_its_group() -> None:
    # A second, general orbit would hide a lack of symmetry in the first only by accident; with one alone the
    # structure may have more operations than its group, never fewer.
    table = wyckoff_table()
    chosen = [CrystalTemplate(int(table.space_group[p]), ((p, 29),)) for p in range(table.n_positions)]
    templates = TemplateBatch.of(chosen)
    state = expand(templates, random_geometry(templates, shape=0.1))
    cells, ends = state.cell.numpy(), state.n_atoms.cumsum(0).tolist()
    frac = torch.einsum("ni,nij->nj", state.positions, torch.linalg.inv(state.cell)[state.system_idx]).numpy()
    largest = [max(multiplicities()[p] for p in table.positions_of(g)) for g in range(1, 231)]
    for i, (template, end) in enumerate(zip(chosen, ends, strict=True)):
        atoms = frac[end - template.n_atoms : end]
        cell = moyopy.Cell(cells[i].tolist(), atoms.tolist(), [29] * len(atoms))
        found = moyopy.MoyoDataset(cell, symprec=1e-4)
        assert len(found.operations) % largest[template.space_group - 1] == 0, str(template)


def test_cartesian_rotations_are_rotations_whatever_the_cell() -> None:
    table = wyckoff_table()
    mask, fixed = family_tables()
    free = 0.3 * torch.randn(231, 6, dtype=D, generator=generator())
    cell = parameters_to_lattice(torch.where(mask, free, fixed))
    group = torch.repeat_interleave(table.space_group, table.multiplicity)
    here = cell[group].mT @ table.rotation @ torch.linalg.inv(cell[group].mT)
    torch.testing.assert_close(here, cartesian_rotations(), rtol=0, atol=EXACT)
    identity = torch.eye(3, dtype=D).expand_as(here)
    torch.testing.assert_close(here @ here.mT, identity, rtol=0, atol=EXACT)


def test_alternatives_are_symmetries_of_the_description() -> None:
    # x' = rotation x + shift carries every orbit of letter i to an orbit of letter letters[i].
    table, rng = wyckoff_table(), np.random.default_rng(0)
    cells = np.array(list(product(range(-1, 2), repeat=3)), dtype=float)
    for group in range(1, 231):
        primitive, positions = table.primitive[group].numpy(), table.positions_of(group)
        choices = alternatives(group)
        rotation = np.array([a.rotation for a in choices])
        shift = np.array([a.shift for a in choices])
        assert np.array_equal(rotation[0], np.eye(3))
        assert not shift[0].any()
        for position in positions:
            matrix, offset = members(position)
            points = (matrix @ rng.random(3) + offset) @ rotation.mT + shift[:, None]  # (alternatives, members, 3)
            target = [members(positions[a.letters[position - positions.start]]) for a in choices]
            target_matrix, target_shift = (np.array(part) for part in zip(*target, strict=True))
            wanted = (points @ np.linalg.inv(primitive) % 1.0)[:, :, None] + cells
            wanted = wanted.reshape(len(choices), -1, 3) @ primitive - target_shift[:, :1]  # (alternatives, images, 3)
            parameters = wanted @ np.linalg.pinv(target_matrix[:, 0]).mT
            miss = np.abs(parameters @ target_matrix[:, 0].mT - wanted).max(-1)
            best = parameters[np.arange(len(choices)), miss.argmin(1)]
            orbit = np.einsum("amij,aj->ami", target_matrix, best) + target_shift
            same = apart(points, orbit, primitive) < TABLED
            assert same.any(1).all(), f"{group} {table.label(position)}"
            assert same.any(2).all(), f"{group} {table.label(position)}"


# ---------------------------------------------------------------- expand

ONE_OF_EACH = (
    CrystalTemplate(2, (site(2, "a", "Na"), site(2, "i", "Cl"))),
    CrystalTemplate(15, (site(15, "e", "Ca"), site(15, "f", "O"))),
    CrystalTemplate(62, (site(62, "c", "O"), site(62, "c", "Fe"), site(62, "d", "O"))),
    CrystalTemplate(88, (site(88, "a", "Ca"), site(88, "f", "O"))),
    CrystalTemplate(161, (site(161, "a", "Nb"), site(161, "b", "O"))),
    CrystalTemplate(198, (site(198, "a", "Si"), site(198, "b", "O"))),
)


def test_expand_is_differentiable() -> None:
    templates = TemplateBatch.of(ONE_OF_EACH)
    geometry = random_geometry(templates)

    def atoms(lattice: Tensor, coords: Tensor) -> tuple[Tensor, Tensor]:
        state = expand(templates, Geometry(lattice, coords))
        return state.positions, state.cell

    lattice, coords = geometry.lattice.requires_grad_(), geometry.coords.requires_grad_()
    # gradcheck's defaults: central differences of step 1e-6 in float64.
    assert torch.autograd.gradcheck(atoms, (lattice, coords))


def test_numbers_that_are_not_free_move_nothing() -> None:
    templates = TemplateBatch.of(ONE_OF_EACH)
    geometry = random_geometry(templates)
    noise = Geometry(torch.ones_like(geometry.lattice), torch.ones_like(geometry.coords))
    changed = Geometry(
        geometry.lattice + noise.lattice * ~templates.free_lattice,
        geometry.coords + noise.coords * ~templates.free_coords,
    )
    before, after = expand(templates, geometry), expand(templates, changed)
    assert torch.equal(before.positions, after.positions)
    assert torch.equal(before.cell, after.cell)


def test_every_free_number_moves_something() -> None:
    # 1e-3 of every free parameter, one at a time.
    templates = TemplateBatch.of(ONE_OF_EACH)
    geometry = random_geometry(templates)
    state = expand(templates, geometry)
    for name, free in (("lattice", templates.free_lattice), ("coords", templates.free_coords)):
        for row, column in free.nonzero().tolist():
            parameters = {"lattice": geometry.lattice.clone(), "coords": geometry.coords.clone()}
            parameters[name][row, column] += 1e-3
            moved = expand(templates, Geometry(**parameters)).positions - state.positions
            assert moved.norm() > 1e-4, (name, row, column)


def test_a_coordinate_may_go_round_the_torus() -> None:
    templates = TemplateBatch.of(ONE_OF_EACH)
    geometry = random_geometry(templates)
    turns = torch.randint(-2, 3, geometry.coords.shape, generator=generator()) * templates.free_coords
    before = expand(templates, geometry)
    after = expand(templates, Geometry(geometry.lattice, geometry.coords + turns))
    shift = torch.einsum(
        "ni,nij->nj", after.positions - before.positions, torch.linalg.inv(before.cell)[before.system_idx]
    )
    torch.testing.assert_close(shift, shift.round(), rtol=0, atol=EXACT)


def test_orbits_lead_from_representatives_to_atoms() -> None:
    # R acts on the neighbourhood: differences between a representative and any atom, carried along, end on an atom of
    # the same element.
    templates = TemplateBatch.of(ONE_OF_EACH)
    state = expand(templates, random_geometry(templates))
    inverse = torch.linalg.inv(state.cell)
    for atom in range(len(state.positions)):
        system = state.system_idx[atom]
        here = state.system_idx == system
        first = state.orbits.representatives[state.orbits.site_idx[atom]]
        around = (state.positions[here] - state.positions[first]) @ state.orbits.rotations[atom].T
        frac = (around + state.positions[atom] - state.positions[here][:, None]) @ inverse[system]
        on_it = (frac - frac.round()).abs().amax(-1) < TABLED
        same_element = state.atomic_numbers[here][:, None] == state.atomic_numbers[here]
        assert (on_it & same_element).any(0).all(), atom


def test_orbits_count_atoms() -> None:
    templates = TemplateBatch.of(ONE_OF_EACH)
    state = expand(templates, random_geometry(templates))
    assert torch.equal(torch.bincount(state.orbits.site_idx), state.orbits.multiplicity)
    assert torch.equal(state.orbits.multiplicity, templates.site_multiplicity)
    assert torch.equal(state.n_atoms, templates.n_atoms)
    assert torch.equal(state.orbits.site_idx[state.orbits.representatives], torch.arange(len(templates.site_system)))
    assert torch.equal(state.site_system, templates.site_system)


def test_unit_directions_are_slopes_of_the_representatives() -> None:
    templates = TemplateBatch.of(ONE_OF_EACH)
    geometry = random_geometry(templates)
    directions, length = unit_directions(templates, geometry)
    for axis in range(3):
        step = torch.zeros_like(geometry.coords)
        step[:, axis] = 1e-3
        up, down = (expand(templates, Geometry(geometry.lattice, geometry.coords + s * step)) for s in (1, -1))
        slope = (up.positions - down.positions)[up.orbits.representatives] / 2e-3  # positions are linear in u
        free = templates.free_coords[:, axis]
        torch.testing.assert_close((directions * length[..., None])[free, axis], slope[free], rtol=0, atol=EXACT * 1e3)
    lengths = directions.norm(dim=-1)[templates.free_coords]
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=EXACT)


def test_systems_of_a_batch_do_not_see_each_other() -> None:
    templates = TemplateBatch.of(ONE_OF_EACH)
    geometry = random_geometry(templates)
    state = expand(templates, geometry)
    for i in range(templates.n_systems):
        rows = torch.tensor([i])
        alone = expand(templates.select(rows), geometry.select(templates, rows))
        torch.testing.assert_close(alone.positions, state.positions[state.system_idx == i], rtol=EXACT, atol=EXACT)
        torch.testing.assert_close(alone.cell[0], state.cell[i], rtol=EXACT, atol=EXACT)


def test_batches_come_apart_and_select_repeats() -> None:
    templates = TemplateBatch.of(ONE_OF_EACH)
    assert templates.unbatch() == list(ONE_OF_EACH)
    rows = torch.tensor([4, 0, 4, 2])
    geometry = random_geometry(templates)
    some, where = templates.select(rows), geometry.select(templates, rows)
    assert some.unbatch() == [ONE_OF_EACH[i] for i in rows]
    for new, old in enumerate(rows.tolist()):
        assert torch.equal(where.coords[some.site_system == new], geometry.coords[templates.site_system == old])
    torch.testing.assert_close(where.lattice, geometry.lattice[rows], rtol=0, atol=0)


def test_a_template_reads_as_its_formula() -> None:
    rock_salt = CrystalTemplate(225, (site(225, "a", "Na"), site(225, "b", "Cl")))
    assert rock_salt.formula == "Na1Cl1"
    assert str(rock_salt) == "225: 4a Na, 4b Cl"
    assert rock_salt.composition == {11: 1, 17: 1}


def test_the_conventional_cell_holds_whole_primitive_ones() -> None:
    table = wyckoff_table()
    templates = TemplateBatch.of(ONE_OF_EACH)
    geometry = random_geometry(templates)
    ratio = torch.linalg.det(conventional_cell(templates, geometry.lattice)) / expand(templates, geometry).volume
    centring = {2: 1.0, 15: 2.0, 62: 1.0, 88: 2.0, 161: 3.0, 198: 1.0}
    expected = torch.tensor([centring[t.space_group] for t in ONE_OF_EACH], dtype=D)
    torch.testing.assert_close(ratio, expected, rtol=EXACT, atol=EXACT)
    assert bool((torch.linalg.det(table.primitive) > 0).all())
