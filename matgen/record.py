"""A candidate as a JSON object, and back."""

import math
from dataclasses import asdict
from typing import Any

from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from matgen.candidate import Candidate, Prediction, Relaxation, SpaceGroup, Verdict

Record = dict[str, Any]


def to_record(candidate: Candidate) -> Record:
    """Everything a candidate holds, as JSON types; numbers that are not finite become null."""
    return {
        "name": candidate.name,
        "formula": candidate.structure.composition.reduced_formula,
        "n_atoms": len(candidate.structure),
        "space_group": asdict(candidate.space_group),
        "template": candidate.template,
        "seed": candidate.seed,
        "energies": {name: _nullable(energy) for name, energy in candidate.energies.items()},
        "properties": {name: _fields(prediction) for name, prediction in candidate.properties.items()},
        "verdicts": {name: _fields(verdict) for name, verdict in candidate.verdicts.items()},
        "relaxation": None if candidate.relaxation is None else _fields(candidate.relaxation),
        "structure": _structure_record(candidate.structure),
        "unrelaxed": _structure_record(candidate.unrelaxed),
    }


def from_record(record: Record) -> Candidate:
    """The candidate that `to_record` wrote.

    Raises:
        KeyError, TypeError, ValueError: the record is not one of ours.
    """
    relaxation = record["relaxation"]
    return Candidate(
        name=record["name"],
        structure=_structure(record["structure"]),
        unrelaxed=_structure(record["unrelaxed"]),
        space_group=SpaceGroup(**record["space_group"]),
        template=record["template"],
        seed=record["seed"],
        energies={name: _number(energy) for name, energy in record["energies"].items()},
        properties={name: Prediction(**_numbers(fields)) for name, fields in record["properties"].items()},
        verdicts={name: Verdict(**_numbers(fields)) for name, fields in record["verdicts"].items()},
        relaxation=None if relaxation is None else Relaxation(**_numbers(relaxation)),
    )


def _nullable(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> Any:
    return math.nan if value is None else value


def _fields(plain: Prediction | Verdict | Relaxation) -> Record:
    return {name: _nullable(value) for name, value in asdict(plain).items()}


def _numbers(fields: Record) -> Record:
    return {name: _number(value) for name, value in fields.items()}


def _structure_record(structure: Structure) -> Record:
    """Row vectors in Å, symbols, fractional coordinates."""
    return {
        "lattice": structure.lattice.matrix.tolist(),
        "species": [site.specie.symbol for site in structure],
        "frac_coords": structure.frac_coords.tolist(),
    }


def _structure(record: Record) -> Structure:
    return Structure(Lattice(record["lattice"]), record["species"], record["frac_coords"])
