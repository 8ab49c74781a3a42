"""The examples of the two requests of an interpolation, kept in the folder of its run.

Their own files may move, and a page of the run reads nothing outside of its folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matgen.generation.like import Example
from matgen.generation.request import Request
from matgen.runtime.json_lines import write_json_lines
from matgen.runtime.output import writing
from matgen.structures.record import material_of, material_record
from matgen.structures.run_folder import ENDS
from matgen.templates.molecule import MoleculeTemplate


@dataclass(frozen=True)
class KeptExample:
    """An example of one of the two requests.

    Attributes:
        end: 0 of the first request, 1 of the second.
        name: of its file, and its place in it.
        material: `material_record` of a crystal, the canonical SMILES of a molecule.
    """

    end: int
    name: str
    material: Mapping[str, Any] | str


def write_ends(request: Request, folder: Path) -> None:
    """Write the examples of both ends into the folder of a run; without any, remove those of a replaced run.

    Raises:
        OutputError: the folder cannot be written.
    """
    path = folder / ENDS
    found = [_record(end, one) for end, (_, asked) in enumerate(request.ends) for one in asked.examples]
    if found:
        write_json_lines(path, found)
    else:
        with writing(path):
            path.unlink(missing_ok=True)


def kept_example(record: Mapping[str, Any]) -> KeptExample:
    """Return the example of a record.

    Raises:
        KeyError, TypeError, ValueError: the record is not valid.
    """
    end, name, material = record["end"], record["name"], record["material"]
    if end not in {0, 1}:
        raise ValueError(f"expected end 0 or 1, got {end!r}")
    if isinstance(material, str):
        return KeptExample(end, str(name), MoleculeTemplate.of(material).smiles)
    material_of(material)
    return KeptExample(end, str(name), material)


def _record(end: int, example: Example) -> dict[str, Any]:
    structure = example.structure
    material = str(example.template) if structure is None else material_record(structure)
    return {"end": end, "name": example.name, "material": material}
