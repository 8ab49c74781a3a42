"""Energies of a user in a design: they act on templates and geometries, are reported by name, and identify a run."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pymatgen.core import Structure
from test_terms import RoomyCell, Symmetric
from torch import Tensor

from matgen.energies.base import TemplateEnergy
from matgen.energies.blackbox import BlackBox
from matgen.energies.potential import Potential
from matgen.energies.ranking import ForRanking
from matgen.energies.terms import TermError
from matgen.generation.errors import RequestError
from matgen.generation.generate import generate
from matgen.generation.kinds.crystals import Crystals
from matgen.generation.propose import propose
from matgen.generation.rank import Proposed
from matgen.generation.request import Request
from matgen.generation.sampler_settings import SamplerConfig, Stages
from matgen.relaxation.calculators import chgnet_calculator
from matgen.runtime.progress import Silence
from matgen.structures.conversion import state_of
from matgen.structures.export import CandidateWriter
from matgen.structures.run_report import ResumeError
from matgen.templates.crystal import CrystalTemplate
from matgen.weights.files import WEIGHTS
from matgen.weights.kinds import KINDS
from matgen.weights.models import Models, load_models
from matgen.workflows.design import default_folder, identity, run

SHIPPED = all((WEIGHTS / f"{kind}.safetensors").exists() for kind in KINDS)


needs_weights = pytest.mark.skipif(not SHIPPED, reason="not all weights ship yet")


def volume_per_atom(structure: Structure) -> float:
    return structure.volume / len(structure)


EFFORT = SamplerConfig(pool=2, move_steps=4, geometries=1, levels=4, refine_rounds=1, refine_steps=6)


TINY = Request.of(formula="NaCl", max_atoms=4, n=1, relax="none", over_generation=5, sampler=EFFORT, processes=1)


@pytest.fixture(scope="module")
def shipped() -> Models:
    return load_models()


def proposals(request: Request, shipped: Models) -> list[Proposed]:
    return generate(request, Crystals(request, shipped), torch.Generator().manual_seed(0), Silence())


@pytest.fixture(scope="module")
def plain(shipped: Models) -> list[Proposed]:
    """Proposals without any added term."""
    return proposals(TINY, shipped)


@needs_weights
def test_a_weight_of_zero_changes_nothing(plain: list[Proposed], shipped: Models) -> None:
    weightless = (0.0 * RoomyCell(99.0), 0.0 * Symmetric(), 0.0 * BlackBox(lambda s: s.volume, name="volume"))
    found = proposals(replace(TINY, energies=weightless), shipped)
    assert [p.structure for p in found] == [p.structure for p in plain]
    for own, other in zip(found, plain, strict=True):
        assert own.energies == other.energies | {"roomy_cell": 0.0, "symmetric": 0.0, "volume": 0.0}


@needs_weights
def test_a_strong_term_moves_the_geometry_and_is_reported_by_name(plain: list[Proposed], shipped: Models) -> None:
    wanted = 1.25 * max(volume_per_atom(p.structure) for p in plain)
    term = 3.0 * RoomyCell(wanted)
    found = proposals(replace(TINY, energies=(term,)), shipped)
    assert min(volume_per_atom(p.structure) for p in found) > max(volume_per_atom(p.structure) for p in plain)
    for p in found:  # coordinates are stored in float32
        expected = float(term(state_of([p.structure]), torch.zeros(1)))
        assert p.energies["roomy_cell"] == pytest.approx(expected, rel=1e-3, abs=1e-3)
        assert p.total == pytest.approx(sum(p.energies.values()), abs=1e-4)


@needs_weights
def test_a_term_of_templates_acts_on_what_is_proposed(shipped: Models) -> None:
    def groups(*energies: TemplateEnergy) -> Tensor:
        request = Request.of(n=2, over_generation=8, sampler=EFFORT, energies=energies)
        found = propose(request, Crystals(request, shipped), torch.Generator().manual_seed(0), Silence())
        return torch.tensor([template.space_group for template in found], dtype=torch.float32)

    # One step in the weight is e^20 between the lowest group and the highest, far more than any other term has.
    assert groups(20.0 * Symmetric()).mean() > groups().mean() + 20
    assert groups(-20.0 * Symmetric()).mean() < groups().mean() - 20


@needs_weights
def test_templates_are_taken_from_chains_repeatedly_and_the_best_are_kept(shipped: Models) -> None:
    def proposed(**effort: int) -> list[CrystalTemplate]:
        sampler = replace(EFFORT, move_steps=12, **effort)
        request = Request.of(n=2, over_generation=8, sampler=sampler, energies=(1e5 * Symmetric(),))
        return propose(request, Crystals(request, shipped), torch.Generator().manual_seed(0), Silence())

    last, every, best = proposed(burn_in=12), proposed(burn_in=4, started=99), proposed(burn_in=4, started=3)
    assert len(last) <= 16 < len(every)
    assert set(last) < set(every)  # the same chains
    assert len(best) == 6
    assert set(best) < set(every)
    highest = sorted(template.space_group for template in every)[-6:]  # the term outweighs all others by far
    assert sorted(template.space_group for template in best) == highest


@needs_weights
@pytest.mark.parametrize("formula", ["", "NaCl"])
def test_regrowth_happens_where_it_is_requested(formula: str, shipped: Models) -> None:
    def regrown(regrowth: str) -> bool:
        moves = Crystals(Request.of(formula=formula, stages=Stages(regrowth=regrowth)), shipped).moves()
        return any(name.startswith("regrow") for name in moves)

    assert (regrown("never"), regrown("formula"), regrown("always")) == (False, bool(formula), True)


@needs_weights
def test_a_term_of_templates_is_reported_by_its_own_name(shipped: Models) -> None:
    for p in proposals(replace(TINY, energies=(2.0 * Symmetric(),)), shipped):
        assert p.energies["symmetric"] == pytest.approx(-2.0 * p.template.space_group / 230)
        assert "symmetric_template" not in p.energies


@needs_weights
def test_a_black_box_ranks(shipped: Models) -> None:
    box = 1000.0 * BlackBox(lambda structure: structure.volume / len(structure), name="tight")
    volumes = [volume_per_atom(p.structure) for p in proposals(replace(TINY, energies=(box,)), shipped)]
    assert volumes == sorted(volumes)
    assert len(volumes) > 2


@needs_weights
def test_what_is_for_ranking_orders_geometries_and_shapes_none(plain: list[Proposed], shipped: Models) -> None:
    calls: list[Structure] = []

    def loose(structure: Structure) -> float:
        calls.append(structure)
        return -volume_per_atom(structure)

    term = 1e5 * ForRanking(BlackBox(loose, name="loose"))
    found = proposals(replace(TINY, energies=(term,)), shipped)
    assert len(calls) == 3 * len(plain)  # as initial geometries, as the best of each template, and in the ranking
    volumes = [volume_per_atom(p.structure) for p in found]
    # The same crystals up to the rounding of batches in another order.
    assert volumes == sorted(volumes, reverse=True)
    assert volumes == pytest.approx(sorted((volume_per_atom(p.structure) for p in plain), reverse=True), rel=1e-4)


@needs_weights
def test_an_energy_that_is_not_finite_is_named(shipped: Models) -> None:
    with pytest.raises(TermError, match="expected finite energies from `broken`, got none"):
        proposals(replace(TINY, energies=(BlackBox(lambda _: math.nan, name="broken"),)), shipped)


@needs_weights
def test_a_potential_ranks_by_its_energy_per_atom(shipped: Models) -> None:
    request = TINY.updated(potential="chgnet", potential_weight=1000.0)
    found = proposals(request, shipped)
    energy = Potential(lambda: chgnet_calculator("ignore"), kT=0.1, per_atom=True)
    reported = [p.energies["chgnet"] for p in found]
    again = [1000.0 * float(energy(state_of([p.structure]), torch.zeros(1))) for p in found]
    assert reported == pytest.approx(
        again, rel=1e-4
    )  # CHGNet computes in float32, and crystals are wrapped into the cell
    assert reported == sorted(reported)


def test_a_potential_wants_one_formula() -> None:
    with pytest.raises(RequestError, match=r"different compositions cannot be compared; give --formula"):
        Request.of(potential="chgnet")
    with pytest.raises(RequestError, match=r"any ASE calculator is energies=\[Potential\("):
        Request.of(formula="NaCl", potential="emt")
    with pytest.raises(TermError, match="got 'chgnet'"):
        Request.of(formula="NaCl", potential="chgnet", energies=(BlackBox(len, name="chgnet"),))
    assert list(Request.of(energies=(BlackBox(len, name="chgnet"),)).terms.weights) == ["chgnet"]


@needs_weights
def test_a_folder_is_resumed_with_the_same_energies_only(tmp_path: Path) -> None:
    own = replace(TINY, energies=(2.0 * RoomyCell(15.0), Symmetric()))
    assert identity(own).configuration["energies"] == {"roomy_cell": 2.0, "symmetric": 1.0}
    assert "energies" not in identity(TINY).configuration
    assert default_folder(own) != default_folder(TINY)
    with CandidateWriter(tmp_path, identity(own)):
        pass
    with CandidateWriter(tmp_path, identity(replace(own, energies=(Symmetric(), 2.0 * RoomyCell(15.0))))):
        pass  # the order does not matter
    for other in (TINY, replace(own, energies=(3.0 * RoomyCell(15.0), Symmetric()))):
        with pytest.raises(ResumeError, match="holds another run: energies"):
            CandidateWriter(tmp_path, identity(other)).__enter__()


@needs_weights
def test_terms_are_in_every_file(tmp_path: Path) -> None:
    energies = (RoomyCell(30.0), 2.0 * Symmetric(), BlackBox(len, name="atoms"))
    found = run(replace(TINY, energies=energies), tmp_path).candidates
    header = (tmp_path / "candidates.csv").read_text().splitlines()[0].split(",")
    assert {"energy_roomy_cell", "energy_symmetric", "energy_atoms"} <= set(header)
    assert '"energies": {\n' in (tmp_path / "run.json").read_text()
    assert found
    for candidate in found:
        assert candidate.energies["atoms"] == len(candidate.structure)
