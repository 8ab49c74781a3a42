"""The result of screening one structure, as a JSON object and as a row of a table."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from matgen.checks.molecules import n_heavy
from matgen.generation.predictors import EVALUATOR
from matgen.structures.candidate import Candidate, KindName, SpaceGroup, Verdict
from matgen.structures.candidate_table import (
    BULK,
    OF_LATTICE,
    SHEAR,
    XTB_GAP,
    computed_columns,
    prediction_columns,
    verdict_value,
)
from matgen.structures.record import Record, formula, from_record, to_record
from matgen.structures.symmetry import TOLERANCES
from matgen.targets.properties import BY_NETWORK, COMPUTED_OF
from matgen.templates.molecule import inchi_key

DENSITY_ENERGY = "graph"
"""Name of the graph energy per atom among a row's energies."""

CHECKS: dict[KindName, tuple[str, ...]] = {
    "crystal": (
        *("reads", "faithful", "min_distance", "density", "charge_balance", "in_domain"),
        *("relaxed", "hull", "second_opinion", "phonons", "elasticity", "novel", "unique"),
    ),
    "molecule": (
        *("reads", "sanitised", "graph_kept", "stereo", "posebusters", "in_domain"),
        *("relaxed", "strain", "xtb", "novel", "unique"),
    ),
}
"""The verdicts of a row besides those on targets, in ascending cost, by kind."""

NOTHING_SAID = ("faithful", True, 0.0)
"""Name, outcome and value of the verdict where there was nothing to compare with."""

GIVEN, RELAXED = "as given", "relaxed"


def decides_against(name: str, *, passed: bool) -> bool:
    """Return whether the outcome of a check makes a row fail; one on a target by the evaluator decides nothing."""
    return not passed and not name.startswith(f"target_{EVALUATOR}")


@dataclass(frozen=True)
class Row:
    """One structure with all verdicts, or the reason why there is none.

    Attributes:
        name: unique among the rows, as `matgen.structures.files` gives it.
        path: of the file.
        index: place in the file.
        digest: of the content of the file on the structure, which identifies rows that are known already.
        error: why there is no structure; empty if there is one.
        n_atoms: of the cell, or molecule, as given.
        candidate: the primitive cell, or molecule, relaxed if requested; None if there is none.
        energy: by the potential, eV/atom; NaN if it was not computed.
        potential: name and version; empty if it was not used.
        geometry: of the energy: "as given" or "relaxed".
        rank: from 1, best first; 0 until all rows are known.
        remarks: what else is to be known of it, by what they are about.
        tight_space_group: of a crystal, found within `matgen.structures.symmetry.TIGHT`.
        id: identifier that the file carries for it; empty if there is none.
        given: other labels that the file carries for it, numbers and short texts by name.
    """

    name: str
    path: str
    index: int
    digest: str
    error: str = ""
    n_atoms: int = 0
    candidate: Candidate | None = None
    energy: float = math.nan
    potential: str = ""
    geometry: str = ""
    rank: int = 0
    remarks: Mapping[str, str] = field(default_factory=dict)
    tight_space_group: SpaceGroup | None = None
    id: str = ""
    given: Mapping[str, float | int | str] = field(default_factory=dict)

    @property
    def formula(self) -> str:
        """Reduced formula of a crystal, all atoms of a molecule; empty for a broken file."""
        return "" if self.candidate is None else formula(self.candidate)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Outcome of every check by name."""
        if self.candidate is None:
            return {"reads": Verdict("reads", passed=False, value=math.nan, unit="", reason=self.error)}
        return self.candidate.verdicts

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the failed checks that decide; those on targets by the evaluator decide nothing."""
        return tuple(name for name, verdict in self.verdicts.items() if decides_against(name, passed=verdict.passed))

    @property
    def passed(self) -> bool:
        """Whether no deciding check fails."""
        return not self.failed

    def with_verdicts(self, *verdicts: Verdict) -> "Row":
        """Add verdicts; return the row of a broken file unchanged."""
        if self.candidate is None:
            return self
        more = {verdict.name: verdict for verdict in verdicts}
        return replace(self, candidate=replace(self.candidate, verdicts={**self.candidate.verdicts, **more}))

    def with_remarks(self, **remarks: str) -> "Row":
        """Replace remarks by what they are about; an empty text removes one."""
        found = {**self.remarks, **remarks}
        return replace(self, remarks={name: text for name, text in found.items() if text})


def row_record(row: Row) -> Record:
    """Return a row as JSON types; numbers that are not finite become null."""
    names = ("name", "path", "index", "digest", "id", "error", "n_atoms", "rank")
    plain = {name: getattr(row, name) for name in names} | {"given": dict(row.given), "remarks": dict(row.remarks)}
    potential = {"energy": _finite(row.energy), "potential": row.potential, "geometry": row.geometry}
    candidate = None if row.candidate is None else to_record(row.candidate)
    tight = None if row.tight_space_group is None else asdict(row.tight_space_group)
    symmetry = {"tight_space_group": tight, "symmetry_tolerance": TOLERANCES}
    return plain | potential | symmetry | {"candidate": candidate}


def row_of(record: Record) -> Row:
    """Read a row that `row_record` wrote.

    Raises:
        KeyError, TypeError, ValueError: the record has another format.
    """
    candidate, energy, tight = record["candidate"], record["energy"], record.get("tight_space_group")
    read = {
        "tight_space_group": None if tight is None else SpaceGroup(**tight),
        "candidate": None if candidate is None else from_record(candidate),
        "energy": math.nan if energy is None else float(energy),
    }
    return Row(**{name: value for name, value in record.items() if name != "symmetry_tolerance"} | read)


def cells(row: Row, kind: KindName = "crystal", more: Sequence[str] = ()) -> dict[str, Any]:
    """Return a row of the tables of one kind, with the same columns for every structure; None where unknown.

    Args:
        row: of one structure.
        kind: of the structures.
        more: properties of property files, which the evaluator does not predict.
    """
    candidate, verdicts = row.candidate, row.verdicts
    columns: dict[str, Any] = {
        "rank": row.rank or None,
        "name": row.name,
        "id": row.id or None,
        "passed": row.passed,
        "failed": ", ".join(row.failed),
        "reason": "; ".join(verdicts[name].reason for name in row.failed),
        "remarks": "; ".join(row.remarks.values()),
        "formula": row.formula or None,
        **_IDENTITY[kind](row, candidate),
        "density_energy": candidate and _finite(candidate.energies.get(DENSITY_ENERGY, math.nan)),
    }
    names = [f"{prefix}{name}" for prefix in ("", EVALUATOR) for name in BY_NETWORK[kind]] + list(more)
    for name in names + [XTB_GAP] * (kind == "molecule"):
        columns |= prediction_columns(name, candidate.properties.get(name) if candidate else None)
    columns |= computed_columns(kind, candidate)
    columns |= {
        "eV_per_atom": _finite(row.energy),
        "potential": row.potential or None,
        "geometry": row.geometry or None,
        **(_enthalpy(candidate) if kind == "crystal" else {}),
        "relaxation_steps": candidate and candidate.relaxation and candidate.relaxation.steps,
        **{column: verdict_value(verdicts.get(check)) for column, check in _STABILITY[kind].items()},
        **(_moduli(candidate) if kind == "crystal" else {}),
    }
    targets = [f"target_{prefix}{name}" for name in BY_NETWORK[kind] for prefix in ("", EVALUATOR)]
    targets += [f"target_{name}" for name in (*COMPUTED_OF[kind], *more)]
    passed = {name: _outcome(verdicts.get(name)) for name in (*CHECKS[kind], *targets)}
    columns |= {f"check_{name}": found for name, found in passed.items()}
    return columns | {"path": row.path, "index": row.index}


_STABILITY: dict[KindName, dict[str, str]] = {
    "crystal": {
        "e_above_hull": "hull",
        "second_e_above_hull": "second_opinion",
        **{column: of.check for column, of in OF_LATTICE.items()},
    },
    "molecule": {"strain": "strain"},
}
"""Columns on the stability of the structure, and the checks whose values they contain."""


def _moduli(candidate: Candidate | None) -> dict[str, float | None]:
    """Return bulk and shear modulus of the elastic tensor, GPa."""
    known = candidate.properties if candidate else {}
    return {name: _finite(known[name].value) if name in known else None for name in (BULK, SHEAR)}


def _enthalpy(candidate: Candidate | None) -> dict[str, float | None]:
    """Return pressure, GPa, and enthalpy, eV/atom, of a crystal that was relaxed at a pressure."""
    report = candidate and candidate.relaxation
    if not report or not report.pressure:
        return {"pressure": None, "enthalpy": None}
    return {"pressure": report.pressure, "enthalpy": _finite(report.enthalpy)}


def _crystal_cells(row: Row, candidate: Candidate | None) -> dict[str, Any]:
    """Return the columns that identify a crystal."""
    group = candidate and candidate.space_group
    return {
        "n_atoms": row.n_atoms or None,
        "n_atoms_primitive": candidate and len(candidate.structure),
        "space_group": group and group.number,
        "space_group_symbol": group and group.symbol,
        "tight_space_group": row.tight_space_group and row.tight_space_group.number,
        "g_per_cm3": verdict_value(row.verdicts.get("density")),
        "closest_contact": verdict_value(row.verdicts.get("min_distance")),
        "net_charge": verdict_value(row.verdicts.get("charge_balance")),
    }


def _molecule_cells(row: Row, candidate: Candidate | None) -> dict[str, Any]:
    """Return the columns that identify a molecule."""
    return {
        "smiles": candidate and candidate.template,
        "inchikey": candidate and (inchi_key(candidate.template) or None),
        "n_atoms": row.n_atoms or None,
        "n_heavy": candidate and n_heavy(candidate),
        "charge": candidate and int(candidate.molecule.charge),
    }


_IDENTITY: dict[KindName, Callable[[Row, Candidate | None], dict[str, Any]]] = {
    "crystal": _crystal_cells,
    "molecule": _molecule_cells,
}


def _outcome(verdict: Verdict | None) -> bool | None:
    """Return whether a check passed; None if it was not made, or if the file gives nothing to compare with."""
    return None if verdict is None or (verdict.name, verdict.passed, verdict.value) == NOTHING_SAID else verdict.passed


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
