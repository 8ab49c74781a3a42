"""Makers of jobs: what they give is held by stores, and later jobs refer to it."""

import json
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk
from pymatgen.core import Lattice, Molecule, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from pymatgen.io.ase import AseAtomsAdaptor
from test_design_stream import QUICK

from matgen.structures.record import from_record

jobflow = pytest.importorskip("jobflow")

from maggma.stores import JSONStore, MemoryStore  # noqa: E402 (of jobflow)

from matgen.jobflow import (  # noqa: E402
    DesignDocument,
    DesignMaker,
    EachMaker,
    RelaxDocument,
    RelaxMaker,
    ScreenDocument,
    ScreenMaker,
    VerifyDocument,
    VerifyMaker,
)

pytestmark = [  # of packages that jobflow brings
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:cd is deprecated:FutureWarning"),
]

EMT = "ase.calculators.emt:EMT"
"""A potential of metals that needs no weights."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs write into the current folder."""
    monkeypatch.chdir(tmp_path)


def memory() -> Any:
    return jobflow.JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})


def run(flow: Any, store: Any | None = None) -> tuple[dict[str, Any], Any]:
    """Outputs of all jobs by uuid, after they ran in this process."""
    store = store or memory()
    done = jobflow.run_locally(flow, store=store, ensure_success=True, log=False)
    return {uuid: store.get_output(uuid, load=True) for uuid in done}, store


def copper(a: float = 3.7) -> Structure:
    return Structure(Lattice.cubic(a), ["Cu"] * 4, [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])


def test_a_relaxation_gives_a_structure_and_an_entry() -> None:
    job = RelaxMaker(calculator=EMT).make(copper())
    outputs, store = run(job)
    found = RelaxDocument.model_validate(outputs[job.uuid])
    assert found.converged
    assert found.structure.volume / len(found.structure) == pytest.approx(3.59**3 / 4, rel=0.02)  # EMT's copper
    assert isinstance(found.entry, ComputedStructureEntry)
    assert found.entry.energy == pytest.approx(found.energy)
    assert found.energy == pytest.approx(found.energy_per_atom * len(found.structure))
    assert found.entry.parameters["potential"].startswith("EMT")
    document = store.query_one({"uuid": job.uuid})
    json.dumps(document["output"])  # what a store holds is plain


def test_a_structure_that_does_not_relax_fails_its_job_with_a_reason() -> None:
    job = RelaxMaker(calculator=EMT).make(Structure(Lattice.cubic(4.2), ["Sr", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    with pytest.raises(Exception, match="expected a structure that relaxes, got Sr1 O1"):
        jobflow.run_locally(job, store=memory(), log=False, raise_immediately=True)


def test_each_structure_of_a_list_gets_a_job() -> None:
    each = EachMaker(RelaxMaker(calculator=EMT)).make(
        [copper(3.5), copper(3.7), AseAtomsAdaptor.get_structure(bulk("Al"))]
    )
    _, store = run(each)
    found = store.get_output(each.uuid, load=True)
    assert len(found) == 3
    documents = [RelaxDocument.model_validate(one) for one in found]
    assert documents[0].structure.volume == pytest.approx(documents[1].structure.volume, rel=1e-2)
    assert documents[2].structure.composition.reduced_formula == "Al"


def test_a_design_is_screened_by_a_flow_with_a_store_on_disk(tmp_path: Path) -> None:
    options = {name: value for name, value in QUICK.items() if name not in {"n", "seed"}} | {"processes": 1}
    design = DesignMaker(n=2, seed=3, options=options).make()
    screen = ScreenMaker(options={"reference": "none", "known": "none"}).make(design.output.structures)
    store = jobflow.JobStore(JSONStore(str(tmp_path / "store.json"), read_only=False))
    outputs, _ = run(jobflow.Flow([design, screen]), store)
    designed = DesignDocument.model_validate(outputs[design.uuid])
    assert len(designed.structures) == len(designed.candidates) == len(designed.rows) == 2
    assert designed.entries == []  # it was not relaxed
    assert designed.reason.startswith("found all 2")
    assert designed.provenance["seed"] == 3
    assert [from_record(one).name for one in designed.candidates] == [row["name"] for row in designed.rows]
    screened = ScreenDocument.model_validate(outputs[screen.uuid])
    assert [row["formula"] for row in screened.rows] == [row["formula"] for row in designed.rows]
    assert len(screened.structures) == len(screened.passed) == sum(row["passed"] for row in screened.rows)
    again = jobflow.JobStore(JSONStore(str(tmp_path / "store.json"), read_only=True))
    again.connect()
    assert again.get_output(design.uuid, load=True)["reason"] == designed.reason


def test_molecules_are_relaxed_and_verified() -> None:
    water = Molecule(["O", "H", "H"], [[0, 0, 0], [1.0, 0, 0], [-0.3, 0.95, 0]])
    relax = RelaxMaker().make(water)
    verify = VerifyMaker(jobs=1).make([relax.output.structure])
    outputs, _ = run(jobflow.Flow([relax, verify]))
    relaxed = RelaxDocument.model_validate(outputs[relax.uuid])
    assert isinstance(relaxed.structure, Molecule)
    assert relaxed.entry is None
    verified = VerifyDocument.model_validate(outputs[verify.uuid])
    assert verified.converged == 1
    assert "GFN2-xTB" in verified.method
    assert verified.results[0]["xtb_converged"] is True


def test_crystals_need_gpaw_where_the_job_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATGEN_GPAW_PYTHON", "/no/such/python")
    job = VerifyMaker().make([copper()])  # building the flow needs none
    with pytest.raises(Exception, match="expected a Python interpreter with GPAW"):
        jobflow.run_locally(job, store=memory(), log=False, raise_immediately=True)


def test_makers_are_stored_and_read_back() -> None:
    for maker in (
        DesignMaker(options={"band_gap": 1.5}),
        EachMaker(RelaxMaker(calculator=EMT)),
        VerifyMaker(minutes=1.0),
    ):
        same = type(maker).from_dict(json.loads(json.dumps(maker.as_dict())))
        assert same == maker


def test_a_relaxation_of_ours_stands_in_a_flow_of_atomate2() -> None:
    theirs = pytest.importorskip("atomate2.ase.jobs").EmtRelaxMaker()
    ours = RelaxMaker(calculator=EMT).make(copper())
    job = theirs.make(ours.output.structure)
    outputs, _ = run(jobflow.Flow([ours, job]))
    relaxed = RelaxDocument.model_validate(outputs[ours.uuid])
    energy = outputs[job.uuid]["output"]["energy_per_atom"]
    assert energy == pytest.approx(relaxed.energy_per_atom, abs=1e-3)  # it begins at the minimum that ours found


def test_structures_enter_a_flow_for_vasp() -> None:
    """The flow is built, and not run."""
    core = pytest.importorskip("atomate2.vasp.jobs.core")
    design = DesignMaker(n=1).make()
    flow = jobflow.Flow([design, EachMaker(core.RelaxMaker()).make(design.output.structures)])
    first, second = flow.job_uuids
    assert list(flow.graph.edges) == [(first, second)]
