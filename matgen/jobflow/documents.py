"""What jobs give: documents that a store holds, and whose fields later jobs refer to, as `job.output.structures`."""

from typing import Any

from pydantic import BaseModel, Field
from pymatgen.core.structure import Molecule, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry

Material = Structure | Molecule


class DesignDocument(BaseModel):
    """Candidates of a design, best first."""

    structures: list[Material] = Field(description="final structures")
    entries: list[ComputedStructureEntry] = Field(description="crystals with the energy of the potential, if relaxed")
    rows: list[dict[str, Any]] = Field(description="rows of candidates.csv")
    candidates: list[dict[str, Any]] = Field(description="records of candidates.jsonl: predictions, verdicts, reasons")
    reason: str = Field(description="why the run ended")
    provenance: dict[str, Any] = Field(description="version, seed, settings, hashes of weights")


class RelaxDocument(BaseModel):
    """A relaxed crystal or molecule."""

    structure: Material = Field(description="final primitive cell, or molecule")
    entry: ComputedStructureEntry | None = Field(description="crystal with the energy of the potential")
    energy: float = Field(description="of all atoms, eV")
    energy_per_atom: float = Field(description="eV")
    converged: bool = Field(description="whether forces and stress fell below their thresholds")
    relaxation: dict[str, Any] = Field(description="the report: steps, largest force and stress, potential, reason")


class ScreenDocument(BaseModel):
    """The verdicts on structures."""

    structures: list[Material] = Field(description="primitive cells, or molecules, of those that pass, best first")
    entries: list[ComputedStructureEntry] = Field(description="of those that pass and have an energy, best first")
    passed: list[str] = Field(description="names of those that pass, best first")
    rows: list[dict[str, Any]] = Field(description="rows of results.csv, in the order of the input")


class VerifyDocument(BaseModel):
    """Structures with what first principles, or GFN2-xTB for molecules, say of them."""

    structures: list[Material] = Field(description="as given")
    results: list[dict[str, Any]] = Field(description="columns of verified.csv, in the same order")
    converged: int = Field(description="number of structures with a result")
    method: str = Field(description="program and version")
