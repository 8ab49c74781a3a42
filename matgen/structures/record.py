"""Conversion between candidates and JSON records."""

import math
from dataclasses import asdict
from typing import Any

from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Molecule, Structure

from matgen.structures.candidate import Candidate, Material, NearestExample, Prediction, Relaxation, SpaceGroup, Verdict
from matgen.structures.renamed import current_name, current_names
from matgen.templates.molecule import MoleculeTemplate

Record = dict[str, Any]


def to_record(candidate: Candidate) -> Record:
    """Return a candidate as JSON types; numbers that are not finite become null."""
    nearest = candidate.nearest_example
    record = {
        "name": candidate.name,
        "formula": formula(candidate),
        "n_atoms": len(candidate.structure),
        "space_group": None if candidate.space_group is None else asdict(candidate.space_group),
        "template": candidate.template,
        "family": candidate.family,
        "seed": candidate.seed,
        "energies": {name: _nullable(energy) for name, energy in candidate.energies.items()},
        "properties": {name: _fields(prediction) for name, prediction in candidate.properties.items()},
        "verdicts": {name: _fields(verdict) for name, verdict in candidate.verdicts.items()},
        "relaxation": None if candidate.relaxation is None else _relaxation(candidate.relaxation),
        "structure": material_record(candidate.structure),
        "unrelaxed": material_record(candidate.unrelaxed),
    }
    record |= {"files": dict(candidate.files)} if candidate.files else {}
    return record if nearest is None else record | {"nearest_example": asdict(nearest)}


def from_record(record: Record) -> Candidate:
    """Return the candidate of a record of `to_record`, also of one that an earlier version wrote.

    Raises:
        KeyError, TypeError, ValueError: the record is not valid.
    """
    relaxation, group = record["relaxation"], record["space_group"]
    energies, properties, verdicts = (current_names(record[key]) for key in ("energies", "properties", "verdicts"))
    return Candidate(
        name=record["name"],
        structure=material_of(record["structure"]),
        unrelaxed=material_of(record["unrelaxed"]),
        space_group=None if group is None else SpaceGroup(**group),
        template=record["template"],
        seed=record["seed"],
        energies={name: _number(energy) for name, energy in energies.items()},
        properties={name: Prediction(**_numbers(fields)) for name, fields in properties.items()},
        verdicts={name: _verdict(fields) for name, fields in verdicts.items()},
        relaxation=None if relaxation is None else Relaxation(**_numbers(relaxation)),
        family=record.get("family", ""),
        nearest_example=NearestExample(**nearest) if (nearest := record.get("nearest_example")) else None,
        files=dict(record.get("files", {})),
    )


def formula(candidate: Candidate) -> str:
    """Return the reduced formula of a crystal, or Hill's formula of a molecule with its charge, such as `C2H6O`."""
    if candidate.kind == "molecule":
        return MoleculeTemplate(candidate.template).hill_formula
    return candidate.structure.composition.reduced_formula


def _nullable(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> Any:
    return math.nan if value is None else value


def _verdict(fields: Record) -> Verdict:
    return Verdict(**_numbers(fields | {"name": current_name(fields["name"])}))


def _fields(plain: Prediction | Verdict | Relaxation) -> Record:
    return {name: _nullable(value) for name, value in asdict(plain).items()}


def _relaxation(report: Relaxation) -> Record:
    """Return the fields of a report, those on the pressure only where there was one."""
    return {name: x for name, x in _fields(report).items() if report.pressure or name not in {"pressure", "work"}}


def _numbers(fields: Record) -> Record:
    return {name: _number(value) for name, value in fields.items()}


def material_record(material: Material) -> Record:
    """Return a material as JSON types.

    A crystal has row vectors in Å and fractional coordinates, a molecule a charge in e and Cartesian coordinates in Å.
    """
    species = [site.specie.symbol for site in material]
    if isinstance(material, Molecule):
        return {"charge": int(material.charge), "species": species, "cart_coords": material.cart_coords.tolist()}
    return {
        "lattice": material.lattice.matrix.tolist(),
        "species": species,
        "frac_coords": material.frac_coords.tolist(),
    }


def material_of(record: Record) -> Material:
    """Return the crystal or molecule of a record of `material_record`.

    Raises:
        KeyError, TypeError, ValueError: the record is not valid.
    """
    if "lattice" in record:
        return Structure(Lattice(record["lattice"]), record["species"], record["frac_coords"])
    return Molecule(record["species"], record["cart_coords"], charge=record["charge"])
