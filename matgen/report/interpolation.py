"""The way between the two requests of an interpolation, on the map: their examples, the candidates, and a line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from matgen.generation.kept_ends import KeptExample, evenly, kept_example
from matgen.report.folders import RunFolder
from matgen.report.lines import read_lines
from matgen.report.map import place_of_vector, vector_of
from matgen.report.remembered import key_of
from matgen.report.two_requests import AskedEnd, two_requests
from matgen.runtime.failures import guarded
from matgen.structures.candidate import Candidate, KindName
from matgen.structures.run_folder import ENDS

APART = 1e-6
"""Distance of the ends, in standard deviations, below which no candidate has a position between them."""


@dataclass(frozen=True)
class End:
    """One of the two requests on the map.

    Attributes:
        kind: of the materials.
        name: of its file.
        examples: that are drawn, each with its standardised embedding (width,).
        lacking: why it has no point, or which could not be placed; empty if all of the sample have one.
        total: number of its examples, of which those drawn are an evenly spaced sample.
    """

    kind: KindName
    name: str
    examples: tuple[tuple[KeptExample, np.ndarray], ...]
    lacking: str = ""
    total: int = 0

    @property
    def counted(self) -> str:
        """The examples that are drawn, in words, as in `the mean of ...`."""
        n = len(self.examples)
        return (
            f"{n} of {self.total:,} examples of {self.name}" if n < self.total else f"the {n} examples of {self.name}"
        )

    @property
    def middle(self) -> np.ndarray | None:
        """Mean of the embeddings of the examples (width,); None without any."""
        return np.mean([vector for _, vector in self.examples], axis=0) if self.examples else None

    def record(self) -> dict[str, Any]:
        """Return the end as plain data."""
        points = [[*place_of_vector(self.kind, vector), one.name] for one, vector in self.examples]
        middle = self.middle
        return {
            "name": self.name,
            "points": points,
            "middle": None if middle is None else place_of_vector(self.kind, middle),
        }


def add_path(data: dict[str, Any], run: RunFolder, candidates: Sequence[Candidate]) -> None:
    """Add the way between two requests to the map of a run that lies between two; leave all other runs as they are.

    Args:
        data: of the report, with its map.
        run: the folder.
        candidates: of the run.
    """
    asked, alpha = two_requests(run, data["kind"], {}), run.table("between").get("alpha")
    if "map" not in data or not (asked and isinstance(alpha, int | float)):
        return
    drawn = {one["id"] for one in data["candidates"] if "map" in one}
    vectors = {one.name: _embedded(one) for one in candidates if one.name in drawn}
    kept = read_lines(run.path / ENDS, kept_example)
    data["run"]["notes"] += kept.notes
    ends = [_end(data["kind"], one, [each for each in kept.values if each.end == i]) for i, one in enumerate(asked)]
    data["map"]["path"] = path_record(ends, vectors, float(alpha))


def path_record(ends: Sequence[End], vectors: Mapping[str, np.ndarray], alpha: float) -> dict[str, Any]:
    """Return the way as plain data: ends, line, where each candidate lies, and all of it in words.

    Args:
        ends: of both requests.
        vectors: standardised embedding (width,) of each candidate on the map, by name; at least one.
        alpha: weight of the first request.
    """
    kind = ends[0].kind
    middle = np.mean(list(vectors.values()), axis=0)
    stations = [ends[0].middle, middle, ends[1].middle]
    line = [place_of_vector(kind, one) for one in stations if one is not None]
    drawn, found = _drawn(ends, len(vectors)), _found(ends, alpha)
    lacking = [end.lacking for end in ends if end.lacking]
    record: dict[str, Any] = {
        "alpha": alpha,
        "candidates": len(vectors),
        "ends": [end.record() for end in ends],
        "middle": place_of_vector(kind, middle),
        "line": line if len(line) > 1 else [],
        "drawn": drawn,
        "text": " ".join(filter(None, [drawn, found, _measured(ends, middle, len(vectors)), *lacking])),
    }
    along = positions(ends, vectors)
    return record | ({"along": along, "middle_along": positions(ends, {"": middle})[""]} if along else {})


def positions(ends: Sequence[End], vectors: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Return where each candidate lies between the ends; nothing where these are not two different points.

    Of an embedding x the position along the straight line from a to b is t = (x - a)·(b - a) / |b - a|², which is 0 at
    a and 1 at b, and the distance from it |x - a - t (b - a)| / |b - a|, both in all directions of the standardised
    embeddings rather than on the drawn map.

    Args:
        ends: of both requests.
        vectors: by name (width,).
    """
    a, b = ends[0].middle, ends[1].middle
    if a is None or b is None or (length := float(np.linalg.norm(b - a))) < APART:
        return {}
    found = {}
    for name, x in vectors.items():
        t = float((x - a) @ (b - a)) / length**2
        found[name] = [round(t, 3), round(float(np.linalg.norm(x - a - t * (b - a))) / length, 3)]
    return dict(sorted(found.items(), key=lambda item: item[1][0]))


def _end(kind: KindName, asked: AskedEnd, kept: Sequence[KeptExample]) -> End:
    name = asked.name
    shown, whys = [], []
    total = max([len(kept), *(one.of for one in kept)])
    for one in evenly(kept):
        vector, why = guarded(lambda example: (_vector(kind, example), ""), one, lambda _, why: (None, why))
        if vector is None:
            whys.append(why)
        else:
            shown.append((one, vector))
    if shown:
        several = "1 example" if len(whys) == 1 else f"{len(whys)} examples"
        lacking = f"{several} of {name} cannot be placed on the map ({whys[0]})." if whys else ""
        return End(kind, name, tuple(shown), lacking, total)
    if whys:
        return End(kind, name, (), f"No example of {name} can be placed on the map ({whys[0]}).", total)
    if asked.without_examples:
        return End(kind, name, (), f"{name} names no examples, only targets or rules, and so has no point on the map.")
    return End(kind, name, (), f"{name} has no point on the map: its examples are not in this folder ({ENDS}).")


def _vector(kind: KindName, example: KeptExample) -> np.ndarray:
    """Return the standardised embedding (width,) of an example.

    Raises:
        ValueError: it is of the other kind.
    """
    material = example.material
    found: KindName = "crystal" if not isinstance(material, str) and "lattice" in material else "molecule"
    if found != kind:
        raise ValueError(f"expected a {kind}, got a {found} in {example.name}")
    return vector_of(kind, material if isinstance(material, str) else json.dumps(material))


def _embedded(candidate: Candidate) -> np.ndarray:
    if candidate.kind == "molecule":
        return vector_of("molecule", candidate.template)
    return vector_of("crystal", key_of(candidate.crystal))


def _drawn(ends: Sequence[End], n: int) -> str:
    """Return what is drawn, in words."""
    shown = [end for end in ends if end.examples]
    if not shown:
        return "Neither request has a point, so that no line can be drawn."
    examples = " and ".join(f"the example of {end.name}" if end.total == 1 else end.counted for end in shown)
    mean = f"the mean of the {n} candidates on the map (a cross)" if n > 1 else "the candidate (a cross)"
    stops = [end.name if end.total == 1 else f"the mean of {end.counted}" for end in shown]
    course = f"from {stops[0]} over {mean} to {stops[1]}" if len(stops) == 2 else f"between {stops[0]} and {mean}"
    return f"Diamonds: {examples}. The dashed line goes {course}."


def _found(ends: Sequence[End], alpha: float) -> str:
    shares = " and ".join(
        f"{100 * weight:.0f} % of that of {end.name}" for weight, end in zip((alpha, 1 - alpha), ends, strict=True)
    )
    return f"The energy of this run, at α = {alpha:g}, is {shares}."


def _measured(ends: Sequence[End], middle: np.ndarray, n: int) -> str:
    """Return how far along the way the mean of n candidates lies, in words; empty where there are no two ends."""
    if any(end.middle is None for end in ends):
        return ""
    a, b = ends
    found = positions(ends, {"": middle})
    if not found:
        return f"Both ends, {a.name} and {b.name}, are at the same place, so that nothing has a position between them."
    along, aside = found[""]
    what = "this mean" if n > 1 else "it"
    return (
        f"In all {len(middle)} directions of the standardised embeddings, of which the map shows two, {what} lies "
        f"at {100 * along:.0f} % of the straight way from {a.name} to {b.name}, and {100 * aside:.0f} % of its length "
        "aside; the table tells this of each candidate. α weighs energies, not places: neither has to follow from it."
    )
