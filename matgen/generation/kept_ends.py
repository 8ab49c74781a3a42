"""Examples of the two requests of an interpolation, kept in the folder of its run.

Their own files may move, and a page of the run reads nothing outside of its folder. Of many examples an evenly spaced
sample is kept, with their number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from matgen.generation.like import Example
from matgen.generation.request import Request
from matgen.runtime.json_lines import write_json_lines
from matgen.runtime.output import writing
from matgen.structures.record import material_of, material_record
from matgen.structures.run_folder import ENDS
from matgen.templates.molecule import MoleculeTemplate

MOST = 100
"""Examples of each request that are kept."""

T = TypeVar("T")


@dataclass(frozen=True)
class KeptExample:
    """An example of one of the two requests.

    Attributes:
        end: 0 of the first request, 1 of the second.
        name: of its file, and its place in it.
        material: `material_record` of a crystal, the canonical SMILES of a molecule.
        of: number of examples of its request; 0 where that is not recorded.
    """

    end: int
    name: str
    material: Mapping[str, Any] | str
    of: int = 0


def write_ends(request: Request, folder: Path) -> None:
    """Write examples of both ends into the folder of a run; without any, remove those of a replaced run.

    Raises:
        OutputError: the folder cannot be written.
    """
    path = folder / ENDS
    found = [
        _record(end, one, len(asked.examples))
        for end, (_, asked) in enumerate(request.ends)
        for one in evenly(asked.examples)
    ]
    if found:
        write_json_lines(path, found)
    else:
        with writing(path):
            path.unlink(missing_ok=True)


def evenly(examples: Sequence[T]) -> list[T]:
    """Return at most `MOST` examples, evenly spaced."""
    n = min(len(examples), MOST)
    return [examples[i * len(examples) // n] for i in range(n)]


def kept_example(record: Mapping[str, Any]) -> KeptExample:
    """Return the example of a record.

    Raises:
        KeyError, TypeError, ValueError: the record is not valid.
    """
    end, name, material, of = record["end"], record["name"], record["material"], record.get("of", 0)
    if type(end) is not int or end not in {0, 1}:
        raise ValueError(f"expected end 0 or 1, got {end!r}")
    if not isinstance(name, str):
        raise TypeError(f"expected the name of an example, got {name!r}")
    if type(of) is not int or of < 0:
        raise ValueError(f"expected a number of examples, got {of!r}")
    if isinstance(material, str):
        return KeptExample(end, name, MoleculeTemplate.of(material).smiles, of)
    material_of(material)
    return KeptExample(end, name, material, of)


def _record(end: int, example: Example, of: int) -> dict[str, Any]:
    structure = example.structure
    material = str(example.template) if structure is None else material_record(structure)
    return {"end": end, "name": example.name, "material": material, "of": of}
