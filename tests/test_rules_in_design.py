"""Rules in a design: masks of the sampler, energies of coordination, verdicts, contradictions, molecules."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
from conftest import TextbookEntry
from pymatgen.core import Lattice, Structure
from test_template_regrowth import tiny_prior
from test_terms_in_design import EFFORT, needs_weights, proposals, shipped  # noqa: F401 (a fixture)

from matgen import cli
from matgen.batch.state import State
from matgen.checks.rules import coordination_kept, coordination_numbers, rules_kept
from matgen.chemistry.charges import likely_states
from matgen.chemistry.elements import ATOMIC_NUMBERS, reduced
from matgen.energies.rules import Coordination, Preferences, effective_coordination
from matgen.energies.template_sampling import TemplateSampler
from matgen.generation.errors import RequestError
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.propose import propose
from matgen.generation.request import Request
from matgen.nn.conditions import CRYSTAL_GRIDS, Conditions
from matgen.rules.composition import Facts, composition_distance, distance
from matgen.rules.parser import parse_rule
from matgen.runtime.config import from_mapping, to_mapping
from matgen.runtime.progress import Silence
from matgen.search.selection import CandidateChecks
from matgen.structures.candidate import Candidate
from matgen.structures.conversion import state_of
from matgen.structures.symmetry import space_group
from matgen.templates.batch import TemplateBatch, crystals_of
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import ContradictionError, TemplateRules
from matgen.templates.molecule import MoleculeTemplate
from matgen.testing import (
    check_batching,
    check_determinism,
    check_lattice_shifts,
    check_orbits,
    check_output,
    check_permutation,
    check_reflection,
    check_rotation,
)
from matgen.weights.models import Models

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "rules.md").read_text(encoding="utf-8")

# ---------------------------------------------------------------- masks


def sampled(*rules: str, n: int = 150) -> list[CrystalTemplate]:
    """What an untrained prior samples under rules."""
    allowed = frozenset(ATOMIC_NUMBERS[x] for x in ("Li", "Mg", "Fe", "O", "F", "Cl"))
    constraints = TemplateRules(allowed_elements=allowed, max_atoms=8, statements=tuple(map(parse_rule, rules)))
    conditions = Conditions.none(n, CRYSTAL_GRIDS)
    return TemplateSampler(tiny_prior().float(), constraints).sample(conditions, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("rule", "least"),
    [
        ("F xor Cl", 0.95),
        ("Li implies O", 0.9),
        ("count(Fe) == 2", 0.7),  # some groups cannot hold two atoms of iron, and end short
        ("anions >= 2", 0.8),
        ("share(O) >= 0.5", 0.9),
        ("oxidation(Fe) == 3", 0.0),  # no mask, but rejection
    ],
)
def test_all_sampled_templates_keep_a_rule_and_masks_leave_most_of_them(rule: str, least: float) -> None:
    free, found = sampled(), sampled(rule)
    of = [tuple(template.composition.items()) for template in free]
    usual = sum(not composition_distance(parse_rule(rule), atoms) for atoms in of) / 150
    assert found
    for template in found:
        assert composition_distance(parse_rule(rule), tuple(template.composition.items())) == 0
    assert len(found) / 150 >= max(least, usual)
    assert not least or len(found) / 150 > usual + 0.1  # the masks make the difference


@pytest.mark.parametrize("rule", ["count(Fe) <= 1", "count(O) >= 4", "share(Fe) == 2/5"])
def test_rules_choose_the_number_of_formula_units(rule: str) -> None:
    request = Request.of(formula="Fe2O3" if "/" in rule else "FeO", rules=[rule])
    expected = {"count(Fe) <= 1": [1], "count(O) >= 4": [*range(4, 11)], "share(Fe) == 2/5": [1, 2, 3, 4]}
    assert request.crystal_rules.possible_units == expected[rule]


# ---------------------------------------------------------------- coordination


def small(textbook: tuple[TextbookEntry, ...]) -> list[Structure]:
    """Primitive cells of compounds with known oxidation states."""
    cells = [entry.structure.get_primitive_structure() for entry in textbook]
    return [cell for cell in cells if len(cell) <= 12 and likely_states(formula(cell))]


def formula(structure: Structure) -> tuple[tuple[int, int], ...]:
    return reduced({z: structure.atomic_numbers.count(z) for z in structure.atomic_numbers})


def test_effective_coordination_is_that_of_crystalnn_for_most_cations(textbook: tuple[TextbookEntry, ...]) -> None:
    same = []
    for cell in small(textbook):
        states = likely_states(formula(cell))
        state = state_of([cell])
        charges = torch.tensor([states[z] for z in cell.atomic_numbers])
        found = effective_coordination(state.without_symmetry(), charges).round().tolist()
        theirs = coordination_numbers(cell, set(cell.atomic_numbers))
        for z, number in zip(cell.atomic_numbers, found, strict=True):
            if states[z] > 0:
                same.append(number == theirs[z].pop(0))
    assert len(same) >= 40
    assert sum(same) / len(same) > 0.85


def ti_cells() -> State:
    """Two titanium oxides, one off its site: octahedra, and a chain of linear coordination."""
    octahedra = Structure.from_spacegroup(
        221, Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]
    )
    octahedra.translate_sites([1], [0.01, 0.01, 0.005])
    chain = Structure(
        Lattice.orthorhombic(5.5, 5.4, 4.0), ["Ti", "O", "O"], [[0, 0, 0], [0, 0.07, 0.5], [0.4, 0.5, 0.2]]
    )
    return state_of([octahedra, chain], dtype=torch.float64)


@pytest.mark.parametrize("rule", ["coordination(Ti) == 4", "coordination(Ti) >= 9 or coordination(O) == 5"])
def test_the_energy_of_coordination_keeps_the_symmetries(rule: str) -> None:
    energy, state, sigma = Coordination([parse_rule(rule)]), ti_cells(), torch.zeros(2, dtype=torch.float64)
    checks: list[Callable[..., None]] = [check_output, check_determinism, check_rotation, check_reflection]
    for check in (*checks, check_lattice_shifts, check_permutation, check_orbits, check_batching):
        check(energy, state, sigma)
    assert (energy(state, sigma) > 0).any()


def test_the_energy_of_coordination_is_zero_where_the_rule_holds_and_grows_with_the_distance() -> None:
    state, sigma = ti_cells(), torch.zeros(2)

    def first(rule: str) -> float:
        return float(Coordination([parse_rule(rule)])(state, sigma)[0])

    assert first("coordination(Ti) == 6") == 0
    assert 0 < first("coordination(Ti) == 5") < first("coordination(Ti) == 4") < first("coordination(Ti) == 3")
    assert first("Na implies coordination(Na) == 6") == 0  # there is none
    both = Coordination([parse_rule("coordination(Ti) == 4"), parse_rule("coordination(Sr) == 8")])
    assert float(both(state, sigma)[0]) == pytest.approx(
        first("coordination(Ti) == 4") + first("coordination(Sr) == 8")
    )


def test_what_the_composition_breaks_is_counted_once() -> None:
    # A preference that fails for its composition costs the same with the structure as without it.
    rule = parse_rule("coordination(Na) == 6 and count(Ti) == 3")
    cell = Structure.from_spacegroup(221, Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]])
    atoms = tuple(sorted({38: 1, 22: 1, 8: 3}.items()))
    whole = distance(rule, Facts(dict(atoms), {z: [6.0] for z, _ in atoms}))
    of_state = float(Coordination([rule])(state_of([cell]), torch.zeros(1)))
    assert composition_distance(rule, atoms) + of_state == whole


# ---------------------------------------------------------------- verdicts


def candidate(textbook: tuple[TextbookEntry, ...], formula: str) -> Candidate:
    """A textbook crystal as a candidate."""
    structure = next(entry.structure for entry in textbook if entry.formula == formula).get_primitive_structure()
    return Candidate("one", structure, structure, space_group(structure))


@pytest.mark.parametrize(
    ("formula", "rule", "kept"),
    [
        ("NaCl", "coordination(Na) == 6", True),
        ("NaCl", "coordination(Na) == 8", False),
        ("ZnO", "coordination(Zn) == 4 and coordination(O) == 4", True),
        ("CsCl", "coordination(Cs) >= 8", True),
        ("NaCl", "coordination(Fe) == 6", False),
        ("NaCl", "Fe implies coordination(Fe) == 4", True),
    ],
)
def test_verdicts_on_coordination_of_textbook_structures(
    textbook: tuple[TextbookEntry, ...], formula: str, rule: str, *, kept: bool
) -> None:
    verdict = coordination_kept(candidate(textbook, formula), [parse_rule(rule)])
    assert verdict.passed is kept
    assert (verdict.value == 0) is kept
    assert repr(rule) in verdict.reason


def test_a_verdict_names_the_broken_rules_only(textbook: tuple[TextbookEntry, ...]) -> None:
    rules = [parse_rule(text) for text in ("Na", "anions >= 2", "not Cl")]
    verdict = rules_kept(candidate(textbook, "NaCl"), rules)
    assert (verdict.passed, verdict.value) == (False, 2.0)
    assert verdict.reason == "breaks 'anions >= 2', 'not Cl'"


def test_checks_are_made_for_rules_alone_and_preferences_do_not_decide() -> None:
    def names(**options: object) -> set[str]:
        return set(CandidateChecks.of(Request.of(**options)).checks) & {"rules", "coordination", "preferences"}

    assert names() == set()
    assert names(rules=["Li"]) == {"rules"}
    assert names(rules=["coordination(Li) == 4"]) == {"rules", "coordination"}
    asked = CandidateChecks.of(Request.of(prefer=["Li"], rules=["O or coordination(Li) == 4"]))
    assert asked.advisory & set(asked.checks) == {"preferences", "hull"}  # there is no hull here
    assert "rules" in asked.before_relaxing()
    assert "coordination" not in asked.before_relaxing()


# ---------------------------------------------------------------- requests


def test_a_request_without_rules_has_no_term_of_them() -> None:
    assert not Request().terms.weights
    assert Request.of(rules=["Li implies O"]).terms.weights == {}
    assert Request.of(rules=["coordination(Ti) == 6"]).terms.weights == {"coordination": 4.0}
    weighty = Request.of(prefer=["Li", "coordination(Ti) == 6"], sampler={"rules": 2.0})
    assert weighty.terms.weights == {"preferences": 2.0, "coordination": 2.0}


def test_rules_survive_a_file() -> None:
    request = Request.of(rules=["Li implies O", "count(Fe) <= 2"], prefer=["F xor Cl"])
    again = from_mapping(Request, to_mapping(request))
    assert again == request
    assert again.crystal_rules.statements == request.crystal_rules.statements
    assert len(again.crystal_rules.statements) == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"rules": ["F xor Cl", "share(O) >= 0.5", "Cl"], "include": ["F"]}, ["--include F", "'F xor Cl'", "'Cl'"]),
        ({"rules": ["Li implies O", "Li"], "exclude": ["O"]}, ["--exclude O", "'Li implies O'", "'Li'"]),
        ({"rules": ["count(O) > 4", "Li"], "max_atoms": 5}, ["--max-atoms 5", "'count(O) > 4'", "'Li'"]),
        ({"rules": ["halogen", "Li"], "elements": ["Li", "O"]}, ["--elements Li,O", "'halogen'"]),
        ({"rules": ["count(Fe) == 3", "O"], "formula": "Fe2O3"}, ["--formula Fe2O3", "'count(Fe) == 3'"]),
        ({"rules": ["oxidation(Fe) == 2"], "formula": "Fe2O3"}, ["--formula Fe2O3", "'oxidation(Fe) == 2'"]),
        ({"rules": ["elements == 1", "oxidation(Fe) == 2"]}, ["'elements == 1'", "'oxidation(Fe) == 2'"]),
        ({"rules": ["not alkali"], "prefer": ["O", "Li or Na"]}, ["'not alkali'", "'Li or Na'"]),
        (
            {"kind": "molecule", "rules": ["count(H) >= 8", "count(C, N, O, F) <= 2"]},
            ["'count(H) >= 8'", "'count(C, N, O"],
        ),
        ({"kind": "molecule", "rules": ["count(H) >= 8"], "max_atoms": 2}, ["--max-atoms 2", "'count(H) >= 8'"]),
        ({"kind": "molecule", "rules": ["Cl"]}, ["'Cl', which none does"]),
        ({"kind": "molecule", "rules": ["count(C) == 3", "N"], "formula": "C2H6O"}, ["--formula C2H6O", "'"]),
        ({"rules": ["elements >= 4", "O"], "n_elements": "<4"}, ["'n_elements <= 3'", "'elements >= 4'"]),
        ({"rules": ["elements <= 2", "O"], "n_elements": ">2"}, ["'n_elements >= 3'", "'elements <= 2'"]),
        (
            {"rules": ["anions >= 2", "Li", "alkaline_earth"], "n_elements": "<=3"},
            ["'n_elements <= 3'", "'anions >= 2'", "'Li'", "'alkaline_earth'"],
        ),
        ({"prefer": ["O", "elements == 5"], "n_elements": "2:3"}, ["'n_elements <= 3'", "'elements == 5'"]),
        ({"kind": "molecule", "fragment": "CO[*]", "rules": ["not O"]}, ["--fragment CO[*]", "'not O'"]),
        (
            {"kind": "molecule", "fragment": "CC(=O)[*]", "rules": ["O implies N", "not N"]},
            ["--fragment CC(=O)[*]", "'O implies N'", "'not N'"],
        ),
        (
            {"kind": "molecule", "fragment": "CCC[*]", "rules": ["count(C) <= 2"]},
            ["--fragment CCC[*]", "'count(C) <= 2'"],
        ),
        (  # its hydrogens are held, too
            {"kind": "molecule", "fragment": "CO[*]", "rules": ["count(H) <= 2"]},
            ["--fragment CO[*]", "'count(H) <= 2'"],
        ),
        (  # and there is an atom at each open position
            {"kind": "molecule", "fragment": "[*]CO[*]", "prefer": ["count(C, N, O, F) <= 3"]},
            ["--fragment [*]CO[*]", "'count(C, N, O, F) <= 3'"],
        ),
    ],
)
def test_contradictions_are_told_before_the_search_and_the_fewest_are_named(options: dict, named: list[str]) -> None:
    with pytest.raises(ContradictionError) as error:
        Request.of(**options)
    said = str(error.value).split("got ", 1)[1]
    assert all(one in said for one in named)
    assert said.count(" and ") == len(named) - 1 if "which contradict" in said else len(named) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"rules": ["F xor Cl", "share(O) >= 0.5"], "include": ["F"]},
        {"rules": ["oxidation(Fe) == 3"], "formula": "Fe2O3"},
        {"rules": ["count(Fe) == 4"], "formula": "Fe2O3", "formula_units": 2},
        {"kind": "molecule", "rules": ["N implies O", "count(H) <= 6"], "elements": ["C", "N", "O"]},
        {"kind": "molecule", "rules": ["count(H) == 6"], "formula": "C2H6O"},
        {"rules": ["elements == 3"], "n_elements": "2:3"},
        {"kind": "molecule", "fragment": "CO[*]", "rules": ["count(C, N, O, F) <= 3", "count(O) <= 1"]},
        {"kind": "molecule", "fragment": "CO[*]", "rules": ["count(H) <= 3"]},
    ],
)
def test_rules_that_can_hold_are_accepted(options: dict) -> None:
    assert Request.of(**options).rules.statements


@pytest.mark.parametrize("rule", ["oxidation(N) == 3", "C implies coordination(C) == 4"])
def test_molecules_have_no_oxidation_states_and_coordination_numbers(rule: str) -> None:
    for name in ("rules", "prefer"):
        with pytest.raises(RequestError, match="for a molecule"):
            Request.of(kind="molecule", **{name: [rule]})


def test_rules_on_molecules_count_hydrogens() -> None:
    rules = Request.of(kind="molecule", rules=["count(H) <= 4", "N implies O"]).molecule_rules
    assert rules.satisfied(MoleculeTemplate.of("C=C"))
    assert "which breaks the rule 'count(H) <= 4'" in rules.why_not(MoleculeTemplate.of("CC"))
    assert "is CHN, which breaks the rule 'N implies O'" in rules.why_not(MoleculeTemplate.of("C#N"))
    with pytest.raises(RequestError, match="breaks the rule 'not O'"):
        Request.of(kind="molecule", smiles="CCO", rules=["not O"])


def test_preferences_count_hydrogens_of_molecules_and_atoms_of_crystals() -> None:
    energy = Preferences([parse_rule("count(H) <= 4"), parse_rule("not O")])
    molecules = TemplateBatch.of([MoleculeTemplate.of("C=C"), MoleculeTemplate.of("CCO")])
    assert energy(molecules).tolist() == [0.0, 3.0]
    crystals = Request.of(formula="MgO", max_atoms=2).crystal_rules
    salt = CrystalTemplate(225, tuple(sorted(zip(_fixed(225), (12, 8), strict=True))))
    assert crystals.satisfied(salt)
    assert energy(TemplateBatch.of([salt])).tolist() == [1.0]


def _fixed(group: int) -> tuple[int, int]:
    from matgen.templates.wyckoff import wyckoff_table

    first = wyckoff_table().positions_of(group).start
    return first, first + 1


# ---------------------------------------------------------------- designs


@needs_weights
def test_proposals_keep_rules_and_preferences_lead(shipped: Models) -> None:  # noqa: F811
    def share(rule: str, **options: object) -> float:
        request = Request.of(n=4, over_generation=6, sampler=EFFORT, **options)
        found = propose(request, Crystals(request, shipped), torch.Generator().manual_seed(0), Silence())
        atoms = [tuple(template.composition.items()) for template in crystals_of(found)]
        return sum(not composition_distance(parse_rule(rule), one) for one in atoms) / len(atoms)

    mixed = "anions >= 2"
    assert share(mixed, rules=[mixed]) == 1.0
    assert share(mixed, prefer=[mixed]) > share(mixed) + 0.3


@needs_weights
def test_coordination_is_a_term_of_the_ranking_alone(shipped: Models) -> None:  # noqa: F811
    plain = Request.of(formula="NaCl", max_atoms=2, n=1, relax="none", over_generation=5, sampler=EFFORT, processes=1)
    asked = replace(plain, composition=replace(plain.composition, rules=("coordination(Na) == 4",)))
    found = proposals(asked, shipped)
    term = Coordination(asked.composition.statements)
    for one in found:
        expected = 4.0 * float(term(state_of([one.structure]), torch.zeros(1)))
        assert one.energies["coordination"] == pytest.approx(expected, abs=1e-3)
    assert any(one.energies["coordination"] > 0 for one in found)


# ---------------------------------------------------------------- the page


def test_the_snippet_of_the_page_runs() -> None:
    exec(compile(PAGE.split("```python\n")[1].split("```")[0], "rules.md", "exec"), {})  # noqa: S102 (our own page)


def test_the_commands_of_the_page_are_understood_and_the_refused_one_is_refused() -> None:
    shown = [shlex.split(line)[1:] for line in PAGE.splitlines() if line.startswith("    matgen ")]
    assert len(shown) == 3
    rules = []
    for words in shown:
        command = typer.main.get_command(cli.app).commands[words[0]]  # type: ignore[attr-defined]
        given = command.make_context("matgen", words[1:]).params
        rules.append((given["rule"], given["prefer"]))
    for must, may in rules[:2]:
        Request.of(rules=must, prefer=may or [])
    with pytest.raises(ContradictionError, match="--include F and 'F xor Cl' and 'Cl'"):
        Request.of(rules=rules[2][0], include=["F"])
