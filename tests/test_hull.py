"""Energies above the hull equal those of linear programming; potentials are never mixed; files are checked."""

import json
import math
import os
import pickle
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from conftest import TextbookEntry
from pymatgen.core import Composition, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.optimize import linprog

from matgen import cli
from matgen.hull.hull import (
    IMPLAUSIBLE,
    MARGIN,
    ON_HULL,
    REFUTED,
    PotentialMismatchError,
    ReferenceHull,
    UnknownChemistryError,
    by_elements,
    elements_of,
    hull_verdict,
    is_stable,
    near_hull,
    parts,
)
from matgen.hull.reference import Reference, ReferenceFileError
from matgen.relaxation.calculators import CalculatorError, calculator_maker, chgnet_calculator, potential_name
from matgen.relaxation.symmetric import relax
from matgen.structures.candidate import Candidate, Relaxation, SpaceGroup
from matgen.structures.files import Entry, found
from matgen.workflows.reference import ReferenceBuildError, build_reference, phase_energies, reference_facts

TOY = "Toy 1"


def reference(phases: dict[str, float]) -> Reference:
    """Phases by formula and energy, whose hull is not known yet."""
    n = len(phases)
    names = tuple(f"p{i}" for i in range(n))
    return Reference(
        TOY, names, tuple(phases), np.array(list(phases.values())), np.full(n, math.inf), np.zeros(n, dtype=bool)
    )


def hull_of(phases: dict[str, float]) -> ReferenceHull:
    return ReferenceHull(near_hull(reference(phases), margin=math.inf))


def random_phases(seed: int) -> dict[str, float]:
    """Thirty compounds of four elements, some stable and some not."""
    rng = np.random.default_rng(seed)
    phases = {"Li": -1.0, "Fe": -4.0, "P": -3.0, "O": -2.5}
    for _ in range(30):
        counts = rng.integers(0, 4, 4)
        if (counts > 0).sum() > 1:
            formula = Composition(dict(zip(("Li", "Fe", "P", "O"), counts.tolist(), strict=True))).reduced_formula
            mean = float(counts @ [-1.0, -4.0, -3.0, -2.5]) / counts.sum()
            phases[formula] = mean + float(rng.normal(-0.6, 0.5))
    return phases


def by_programming(phases: dict[str, float], composition: Composition) -> float:
    """Energy of the best mixture, eV/atom, by linear programming."""
    elements = sorted({element for formula in phases for element in elements_of(formula)})
    fractions = np.array([[Composition(f).get_atomic_fraction(e) for e in elements] for f in phases])
    wanted = np.array([composition.get_atomic_fraction(e) for e in elements])
    found = linprog(np.array(list(phases.values())), A_eq=fractions.T, b_eq=wanted)
    assert found.status == 0
    return float(found.fun)


BINARY = {"Na": -1.0, "Cl": -2.0, "NaCl": -3.5, "NaCl3": -2.6}
"""Formation energies of NaCl and NaCl3: −2 and −0.85 eV/atom; the line from NaCl to Cl passes −1 at NaCl3."""


# ---------------------------------------------------------------- geometry


def test_a_height_is_what_the_lever_rule_says() -> None:
    hull = hull_of(BINARY)
    found = hull.above_hull(Composition("NaCl3"), -2.6, TOY)
    assert found.above_hull == pytest.approx(0.15)
    assert found.formation_energy == pytest.approx(-2.6 + (1.0 + 3 * 2.0) / 4)
    assert found.decomposition == pytest.approx({"NaCl": 0.5, "Cl2": 0.5})
    assert found.n_phases == 3
    # Na3Cl at the elements' mean: 1 eV/atom above NaCl + Na.
    assert hull.above_hull(Composition("Na3Cl"), -1.25, TOY).above_hull == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(3))
def test_heights_are_those_of_linear_programming(seed: int) -> None:
    phases = random_phases(seed)
    hull = hull_of(phases)
    rng = np.random.default_rng(seed)
    asked = [Composition(dict(zip(("Li", "Fe", "P", "O"), rng.dirichlet(np.ones(4)), strict=True))) for _ in range(10)]
    for composition in [*map(Composition, phases), *asked]:
        found = hull.above_hull(composition, -7.0, TOY)
        assert -7.0 - found.above_hull == pytest.approx(by_programming(phases, composition), abs=1e-6)
        mixed = sum(share * phases[_as_given(phases, formula)] for formula, share in found.decomposition.items())
        assert mixed == pytest.approx(-7.0 - found.above_hull, abs=1e-6)
        assert sum(found.decomposition.values()) == pytest.approx(1.0)
        for element in composition.elements:
            share = sum(x * Composition(f).get_atomic_fraction(element) for f, x in found.decomposition.items())
            assert share == pytest.approx(composition.get_atomic_fraction(element), abs=1e-6)


def _as_given(phases: dict[str, float], formula: str) -> str:
    reduced = Composition(formula).reduced_composition
    return next(name for name in phases if Composition(name).reduced_composition == reduced)


def test_heights_do_not_depend_on_where_each_element_has_its_zero() -> None:
    phases = random_phases(5)
    zero = {"Li": 0.7, "Fe": -1.3, "P": 2.1, "O": -0.4}

    def shift(formula: str) -> float:
        composition = Composition(formula)
        return sum(zero[e.symbol] * composition.get_atomic_fraction(e) for e in composition.elements)

    plain, moved = hull_of(phases), hull_of({f: e + shift(f) for f, e in phases.items()})
    for formula in ("LiFePO4", "Fe3O4", "LiO", *phases):
        one = plain.above_hull(Composition(formula), -3.0, TOY)
        other = moved.above_hull(Composition(formula), -3.0 + shift(formula), TOY)
        assert one.above_hull == pytest.approx(other.above_hull, abs=1e-6)
        assert one.formation_energy == pytest.approx(other.formation_energy, abs=1e-6)


def test_a_multiple_of_a_formula_and_charged_ions_are_the_same_composition() -> None:
    hull = hull_of(BINARY)
    asked = (Composition("NaCl3"), Composition("Na4Cl12"), Composition({"Na+": 1, "Cl-": 3}))
    assert len({round(hull.above_hull(composition, -2.0, TOY).above_hull, 9) for composition in asked}) == 1


def test_a_more_stable_crystal_than_all_known_ones_lies_below_the_hull() -> None:
    assert hull_of(BINARY).above_hull(Composition("NaCl"), -3.6, TOY).above_hull == pytest.approx(-0.1)


def test_elements_lie_above_their_own_phases() -> None:
    found = hull_of({**BINARY, "Na2": -0.9}).above_hull(Composition("Na"), -0.9, TOY)
    assert (found.above_hull, found.formation_energy) == pytest.approx((0.1, 0.1))
    assert found.decomposition == {"Na": 1.0}


def test_noble_gases_make_no_noise() -> None:
    assert hull_of({"He": 0.0, "Xe": 0.0, "Na": -1.0}).above_hull(Composition("NaHe2"), 0.0, TOY).above_hull > 0


# ---------------------------------------------------------------- which phases are kept


def test_phases_near_the_hull_are_kept_with_their_heights() -> None:
    phases = random_phases(7)
    kept = near_hull(reference(phases))
    heights = {f: e - by_programming(phases, Composition(f)) for f, e in phases.items()}
    assert set(kept.formulas) == {formula for formula, height in heights.items() if height <= MARGIN}
    assert kept.above_hull == pytest.approx([heights[formula] for formula in kept.formulas], abs=1e-6)
    # What was dropped was on no hull, so nothing that is asked changes.
    whole = hull_of(phases)
    for formula in ("LiFePO4", "Fe2P2O7", *phases):
        one, other = (h.above_hull(Composition(formula), -3.0, TOY) for h in (whole, ReferenceHull(kept)))
        assert one.above_hull == pytest.approx(other.above_hull, abs=1e-9)


def test_what_holds_an_element_without_a_phase_is_left_out() -> None:
    kept = near_hull(reference({**BINARY, "NaK": -9.0}))
    assert "NaK" not in kept.formulas
    with pytest.raises(UnknownChemistryError, match="got K in KNa"):
        ReferenceHull(kept).above_hull(Composition("NaK"), -1.0, TOY)


def test_a_phase_refuted_by_first_principles_does_not_affect_others() -> None:
    phases = {"Na": -1.0, "Cl": -2.0, "NaCl": -3.5, "NaCl2": -9.0}  # far too low at NaCl2
    labels = np.array([0.0, math.nan, 0.0, REFUTED + 0.1])
    kept = near_hull(reference(phases), labels=labels)
    assert kept.formulas == ("Na", "Cl", "NaCl")
    assert kept.above_hull == pytest.approx(0.0)
    assert "NaCl" not in near_hull(reference(phases)).formulas
    # A label that agrees, or none, changes nothing.
    for label in (REFUTED - 0.1, math.nan):
        labels[3] = label
        assert "NaCl2" in near_hull(reference(phases), labels=labels).formulas


def test_leaving_a_phase_out_lowers_it_below_the_hull_of_the_others() -> None:
    phases = random_phases(11)
    hull = hull_of(phases)
    on_hull = 0
    for name, formula, energy in zip(
        hull.reference.names, hull.reference.formulas, hull.reference.energies, strict=True
    ):
        composition = Composition(formula)
        if len(composition) == 1:
            continue
        inside = hull.above_hull(composition, energy, TOY).above_hull
        outside = hull.above_hull(composition, energy, TOY, without=[name]).above_hull
        others = {f: e for f, e in phases.items() if f != formula}
        assert outside == pytest.approx(energy - by_programming(others, composition), abs=1e-6)
        # Clipped at zero, the two are the same: a phase on the hull goes below it, any other stays where it is.
        assert max(outside, 0.0) == pytest.approx(inside, abs=1e-6)
        on_hull += outside < -1e-6
    assert on_hull >= 3


# ---------------------------------------------------------------- refusals and verdicts


def test_energies_of_another_potential_are_refused() -> None:
    with pytest.raises(PotentialMismatchError, match=r"expected an energy by Toy 1.*got one by Toy 2"):
        hull_of(BINARY).above_hull(Composition("NaCl"), -3.5, "Toy 2")


def test_an_element_whose_phases_are_all_left_out_is_reported() -> None:
    hull = hull_of(BINARY)
    names = [name for name, f in zip(hull.reference.names, hull.reference.formulas, strict=True) if f == "Na"]
    with pytest.raises(UnknownChemistryError, match="none of Na without"):
        hull.above_hull(Composition("NaCl"), -3.5, TOY, without=names)


def test_a_hull_goes_to_another_process() -> None:
    hull = hull_of(BINARY)
    asked = (Composition("NaCl3"), -2.6, TOY)
    assert pickle.loads(pickle.dumps(hull)).above_hull(*asked) == hull.above_hull(*asked)  # noqa: S301


def relaxed(formula: str, energy: float, potential: str = TOY) -> Candidate:
    n = int(Composition(formula).num_atoms)
    structure = Structure(
        np.eye(3) * 9.0,
        [e for e, k in Composition(formula).items() for _ in range(int(k))],
        np.linspace(0, 0.9, n)[:, None] * np.ones(3),
    )
    report = Relaxation(True, "converged", 3, energy, energy, 0.0, 0.0, 0.1, potential)
    return Candidate("one", structure, structure, SpaceGroup(1, "P1"), relaxation=report)


@pytest.mark.parametrize(
    ("formula", "energy", "passed", "value", "pattern"),
    [
        ("NaCl", -3.45, True, 0.05, r"0\.050 eV/atom above NaCl \(Toy 1\), limit 0\.1"),
        ("NaCl3", -2.6, False, 0.15, r"unstable: 0\.150 eV/atom above .*NaCl"),
        ("NaCl", -3.55, True, -0.05, "below NaCl.*more stable than the known phases$"),
        ("NaCl", -3.6 - IMPLAUSIBLE, False, -0.1 - IMPLAUSIBLE, "implausible.*below NaCl"),
        ("KCl", -3.0, False, math.nan, "got K in KCl"),
        ("NaCl", math.nan, False, math.nan, "no relaxed energy"),
    ],
)
def test_a_verdict_says_how_far_above_what(
    formula: str,
    energy: float,
    passed: bool,  # noqa: FBT001
    value: float,
    pattern: str,
) -> None:
    hull = ReferenceHull(near_hull(reference(BINARY)))
    verdict = hull_verdict(relaxed(formula, energy), hull)
    assert (verdict.name, verdict.passed, verdict.unit) == ("hull", passed, "eV/atom")
    assert verdict.value == pytest.approx(value, nan_ok=True)
    assert re.search(pattern, verdict.reason), verdict.reason


@pytest.mark.parametrize("limit", [0.0, 0.1])
def test_stable_is_one_interval(limit: float) -> None:
    """From the floor to the limit, at the resolution of a reference; what is not known is not stable."""
    for height in (-IMPLAUSIBLE, -0.1, 0.0, limit, limit + 0.9 * ON_HULL):
        assert is_stable(height, limit)
    for height in (-2.0, -IMPLAUSIBLE - 1e-9, limit + 1.1 * ON_HULL, math.inf, -math.inf, math.nan):
        assert not is_stable(height, limit)


def test_a_verdict_wants_a_relaxation_by_the_same_potential() -> None:
    hull = hull_of(BINARY)
    assert not hull_verdict(replace(relaxed("NaCl", -3.5), relaxation=None), hull).passed
    with pytest.raises(PotentialMismatchError):
        hull_verdict(relaxed("NaCl", -3.5, "Toy 2"), hull)


# ---------------------------------------------------------------- files


def test_a_reference_comes_back_from_its_file(tmp_path: Path) -> None:
    one = replace(near_hull(reference(BINARY), margin=1.0), facts={"source": "made up", "margin": 1.0})
    one.save(tmp_path / "one.parquet")
    back = Reference.load(tmp_path / "one.parquet")
    assert (back.potential, back.names, back.formulas, back.facts) == (
        one.potential,
        one.names,
        one.formulas,
        one.facts,
    )
    np.testing.assert_allclose(back.energies, one.energies, atol=1e-6)
    np.testing.assert_allclose(back.above_hull, one.above_hull, atol=1e-6)
    np.testing.assert_array_equal(back.relaxed, one.relaxed)


def test_what_is_no_reference_is_refused(tmp_path: Path) -> None:
    text, table = tmp_path / "a.parquet", tmp_path / "b.parquet"
    text.write_text("no table", encoding="utf-8")
    pq.write_table(pa.table({"formula": ["NaCl"]}), table)
    for path, word in ((text, "cannot read"), (table, "expected a reference"), (tmp_path / "c.parquet", "cannot read")):
        with pytest.raises(ReferenceFileError, match=word):
            Reference.load(path)


# ---------------------------------------------------------------- the shipped reference


@pytest.fixture(scope="module")
def shipped() -> ReferenceHull:
    return ReferenceHull.load()


def test_what_ships_covers_the_elements_and_names_its_potential(shipped: ReferenceHull) -> None:
    facts = reference_facts()
    assert facts.potential == shipped.potential == potential_name(chgnet_calculator())
    assert facts.elements == len(shipped.elements) == 89
    assert facts.phases > 60_000
    assert facts.header["margin"] == MARGIN
    assert facts.header["source"]
    assert len(set(shipped.reference.names)) == facts.phases
    systems = {system for formula in shipped.reference.formulas for system in parts(elements_of(formula))}
    assert all((element,) in systems for element in shipped.elements)


def test_heights_that_ship_are_those_of_the_hull_that_ships(shipped: ReferenceHull) -> None:
    table = shipped.reference
    for row in np.random.default_rng(0).choice(len(table), 60, replace=False):
        found = shipped.above_hull(Composition(table.formulas[row]), table.energies[row], table.potential)
        # Energies are stored to 1 µeV/atom each; shares of some phases add up.
        assert found.above_hull == pytest.approx(table.above_hull[row], abs=1e-5), table.names[row]


def test_textbook_crystals_are_known_to_be_stable(textbook: tuple[TextbookEntry, ...], shipped: ReferenceHull) -> None:
    """Of the textbook formulas, each has a phase within 0.1 eV/atom of the hull."""
    rows = by_elements(shipped.reference.formulas)
    absent = []
    for entry in textbook:
        composition = Composition(entry.formula).reduced_composition
        known = [shipped.reference.formulas[row] for row in rows.get(elements_of(entry.formula), ())]
        if composition not in {Composition(formula).reduced_composition for formula in known}:
            absent.append(entry.formula)
    assert len(absent) <= 2, absent  # what the tables lack altogether


def test_a_chemical_system_is_made_in_a_moment_and_remembered(shipped: ReferenceHull) -> None:
    asked = (Composition("LiFePO4"), -6.9, shipped.potential)
    fresh = ReferenceHull(shipped.reference)
    fresh.above_hull(*asked)  # imports and first parse of the elements
    started = time.process_time()
    first = fresh.above_hull(Composition("LiMnCoO4"), -6.9, shipped.potential)
    made = time.process_time() - started
    started = time.process_time()
    again = [fresh.above_hull(Composition("LiMnCoO4"), -6.9, shipped.potential) for _ in range(20)]
    assert set(map(repr, again)) == {repr(first)}
    assert made < 0.3
    assert (time.process_time() - started) / 20 < 0.2  # s; 0.004 on an idle core


@pytest.mark.data
def test_heights_agree_with_labels_of_first_principles(data_dir: Path, shipped: ReferenceHull) -> None:
    """A sample of MP-20 test with labels of the MP2020 scheme; all of them: scripts/benchmarks/evaluate_hull.py."""
    table = pq.read_table(
        data_dir / "crystals" / "mp24_le20.parquet",
        columns=["material_id", "formula", "ehull"],
        filters=[("mp20_split", "==", "test"), ("ehull_src", "==", "mp20_2021")],
    ).to_pylist()[::40]
    energies = pq.read_table(data_dir / "crystals" / "chgnet_energies.parquet").to_pydict()
    energy = dict(zip(energies["material_id"], energies["chgnet_energy"], strict=True))
    errors = []
    for row in table:
        found = shipped.above_hull(Composition(row["formula"]), energy[row["material_id"]], shipped.potential)
        errors.append(abs(max(found.above_hull, 0.0) - row["ehull"]))
    assert len(errors) > 100
    assert np.mean(errors) <= 0.015


# ---------------------------------------------------------------- building a reference


def crystals() -> dict[str, Atoms]:
    """Copper, gold, ordered CuAu and Cu3Au, and gold far too dense: elements of EMT."""
    ordered = bulk("Cu", "fcc", a=3.95, cubic=True)
    cu3au, cuau = ordered.copy(), ordered.copy()
    cu3au.set_chemical_symbols(["Au", "Cu", "Cu", "Cu"])
    cuau.set_chemical_symbols(["Au", "Au", "Cu", "Cu"])
    return {"cu": bulk("Cu"), "au": bulk("Au"), "cu3au": cu3au, "cuau": cuau, "dense": bulk("Au", "fcc", a=3.6)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Crystals as files, and a broken one."""
    folder = tmp_path / "crystals"
    folder.mkdir()
    for name, atoms in crystals().items():
        write(folder / f"{name}.cif", atoms)
    (folder / "broken.cif").write_text("data_nothing\n_cell_length_a ?\n", encoding="utf-8")
    return folder


def entries(names: tuple[str, ...]) -> list[Entry]:
    return [Entry(name, "", 0, AseAtomsAdaptor.get_structure(crystals()[name]), "") for name in names]


class CalledOnce:
    """Make a calculator once, for its name; a second call, which would compute, fails."""

    def __init__(self, make: Callable[[], EMT]) -> None:
        self.make, self.calls = make, 0

    def __call__(self) -> EMT:
        self.calls += 1
        assert self.calls == 1, "nothing is left to compute"
        return self.make()


def test_a_reference_is_built_of_a_folder_and_any_calculator(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "emt.parquet"
    built = build_reference(list(found([folder])), out, EMT, margin=0.5)
    assert built.energies == 5
    assert sum(built.failures.values()) == 1
    hull = ReferenceHull.load(out)
    assert hull.elements == {"Cu", "Au"}
    assert hull.potential == potential_name(EMT())
    # Ordered alloys are stable in EMT, and gold relaxes to the same energy from both cells.
    assert hull.above_hull(Composition("CuAu"), 0.0, hull.potential).decomposition == {"CuAu": pytest.approx(1.0)}
    gold = [e for f, e in zip(built.reference.formulas, built.reference.energies, strict=True) if f == "Au"]
    assert max(gold) - min(gold) < 1e-3
    assert built.reference.relaxed.all()


def test_energies_may_be_taken_as_they_are(tmp_path: Path) -> None:
    given = entries(("cu", "au", "dense", "cuau"))
    built = build_reference(given, tmp_path / "r.parquet", EMT, relaxing=False, margin=9.0)
    for name, energy in zip(built.reference.names, built.reference.energies, strict=True):
        atoms = crystals()[name]
        atoms.calc = EMT()
        assert energy == pytest.approx(atoms.get_potential_energy() / len(atoms), abs=1e-6)
    assert not built.reference.relaxed.any()


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out, log = tmp_path / "r.parquet", tmp_path / "r.jsonl"
    given = entries(("cu", "au", "cuau"))
    whole = build_reference(given, out, EMT)
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) == 4  # what they are of, and three crystals
    # All there: nothing is computed.
    again = build_reference(given, out, CalledOnce(EMT))
    np.testing.assert_array_equal(again.reference.energies, whole.reference.energies)
    # The last line cut short: one crystal is computed anew, none twice.
    log.write_text("".join(lines[:-1]) + lines[-1][:20], encoding="utf-8")
    resumed = build_reference(given, out, EMT)
    np.testing.assert_allclose(resumed.reference.energies, whole.reference.energies, atol=1e-9)
    names = [json.loads(line)["name"] for line in log.read_text(encoding="utf-8").splitlines()[1:]]
    assert sorted(names) == sorted(["cu", "au", "cuau"])


def test_energies_of_two_kinds_are_not_joined(tmp_path: Path) -> None:
    build_reference(entries(("cu", "au")), tmp_path / "r.parquet", EMT)
    with pytest.raises(ReferenceBuildError, match="choose another name with --out"):
        build_reference(entries(("cu", "au")), tmp_path / "r.parquet", EMT, relaxing=False)


def test_what_did_not_reach_a_minimum_enters_no_hull(tmp_path: Path) -> None:
    """Gold at three times its volume contracts by more than a relaxation allows."""
    atoms = bulk("Au", "fcc", a=6.2)
    blown = Entry("blown", "", 0, AseAtomsAdaptor.get_structure(atoms), "")
    _, final = relax(blown.structure, EMT())
    assert not final.converged
    assert math.isfinite(final.energy)
    built = build_reference([*entries(("cu", "au", "cuau")), blown], tmp_path / "r.parquet", EMT, margin=9.0)
    assert "blown" not in built.reference.names
    assert built.energies == 3
    assert dict(built.failures) == {f"not relaxed to a minimum: {final.reason.partition(':')[0]}": 1}
    given = build_reference([*entries(("cu", "au")), blown], tmp_path / "s.parquet", EMT, relaxing=False, margin=9.0)
    assert "blown" in given.reference.names


def test_another_crystal_of_the_same_name_is_computed_anew(tmp_path: Path) -> None:
    build_reference(entries(("cu", "au")), tmp_path / "r.parquet", EMT, relaxing=False, margin=9.0)
    dense = replace(entries(("dense",))[0], name="au")
    built = build_reference([entries(("cu",))[0], dense], tmp_path / "r.parquet", EMT, relaxing=False, margin=9.0)
    atoms = crystals()["dense"]
    atoms.calc = EMT()
    assert built.reference.energies[built.reference.names.index("au")] == pytest.approx(atoms.get_potential_energy())


def test_a_damaged_file_of_energies_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "r.jsonl"
    build_reference(entries(("cu", "au")), tmp_path / "r.parquet", EMT, relaxing=False)
    sound = log.read_bytes()
    build_reference(entries(("cu", "au")), tmp_path / "r.parquet", EMT, relaxing=False)
    assert log.read_bytes() == sound
    lines = sound.splitlines(keepends=True)
    for damaged in (lines[0] + b"{,\n" + lines[2], lines[0] + b'{"name": "cu"}\n', b"[]\n", b"\xff\n"):
        log.write_bytes(damaged)
        with pytest.raises(ReferenceBuildError, match="or remove that file"):
            build_reference(entries(("cu", "au")), tmp_path / "r.parquet", EMT, relaxing=False)
        assert log.read_bytes() == damaged


class DeadlyEMT(EMT):
    """A calculator that ends its process for gold."""

    def calculate(self, atoms: Atoms, *rest: Any) -> None:
        """As EMT."""
        if "Au" in atoms.symbols:
            os._exit(1)
        super().calculate(atoms, *rest)


def test_a_crystal_that_kills_its_workers_ends_no_build(tmp_path: Path) -> None:
    given = entries(("cu", "au"))
    lines = phase_energies(given, tmp_path / "r.jsonl", DeadlyEMT, "EMT", relaxing=False, jobs=2)
    assert [line.stands for line in lines] == [True, False]
    assert "workers died over it" in lines[1].failure


def test_an_interrupted_build_says_how_to_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "impatient_potential.py").write_text(
        "from ase.calculators.emt import EMT\n\n\nclass Impatient(EMT):\n"
        "    def calculate(self, *arguments):\n        raise KeyboardInterrupt\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    command = ["matgen", "reference", "build", str(folder), "--calculator", "impatient_potential:Impatient"]
    monkeypatch.setattr(sys, "argv", [*command, "--as-they-are"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 130
    last = " ".join(capsys.readouterr().err.splitlines()[-1:])
    assert "to resume, run matgen reference build" in last
    assert last.endswith("--out reference.parquet")


def test_a_folder_without_pure_elements_makes_no_hull(tmp_path: Path) -> None:
    with pytest.raises(ReferenceBuildError, match="no crystal of pure Au, Cu"):
        build_reference(entries(("cuau",)), tmp_path / "r.parquet", EMT)
    built = build_reference(entries(("cuau", "cu")), tmp_path / "s.parquet", EMT)
    assert built.lacking == ("Au",)
    assert built.reference.formulas == ("Cu",)


def test_a_calculator_is_named_by_its_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(calculator_maker("ase.calculators.emt:EMT")(), EMT)
    (tmp_path / "my_potential_of_tests.py").write_text(
        "from ase.calculators.emt import EMT as mine\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert isinstance(calculator_maker("my_potential_of_tests:mine")(), EMT)
    for name, word in (
        ("emt", "module:function"),
        ("no_such_module_here:f", "cannot import"),
        ("ase.calculators.emt:nothing", "expected a function nothing"),
    ):
        with pytest.raises(CalculatorError, match=word):
            calculator_maker(name)
    with pytest.raises(CalculatorError, match="expected an ASE calculator"):
        calculator_maker("builtins:dict")()


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Return the exit code of `matgen ARGUMENTS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["matgen", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_the_command_builds_and_tells(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.parquet"
    emt = ("--calculator", "ase.calculators.emt:EMT", "--as-they-are", "--out", str(out))
    assert called(monkeypatch, "reference", "build", str(folder), *emt) == 0
    assert "energies" in capsys.readouterr().out
    assert called(monkeypatch, "reference", "info", str(out)) == 0
    assert "EMT" in capsys.readouterr().out
    assert called(monkeypatch, "reference", "info") == 0
    output = capsys.readouterr().out
    assert "CHGNet 0.3.0" in output
    assert re.search(r"elements +│ 89 ", output)
    assert called(monkeypatch, "reference", "build", str(tmp_path / "nowhere"), *emt) == 2
    assert called(monkeypatch, "reference", "info", str(folder / "cu.cif")) == 2
