"""Checks of contacts and density: how many known crystals they refuse, and how many damaged ones they find.

`python scripts/benchmarks/evaluate_contacts.py --document docs/screen.md`: held-out rows of the prepared table, which
the limits are not made from, against limits by covalent radii and one window of volumes for all.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from pymatgen.core import Structure

from matgen.checks.contacts import closest_contact, nearest_limit
from matgen.checks.crystals import VOLUME_WINDOW, density
from matgen.checks.pair_distances import OF_RADII, OF_SHORTEST, OF_SHORTEST_OF_FEW
from matgen.chemistry.elements import atomic_volumes
from matgen.datasets.crystals import SPLITS
from matgen.structures.candidate import Candidate
from shared.crystals import chunks, crystals, true_structures
from shared.measurement import Measurement, Task
from shared.options import parser
from shared.page import percent, table

NEAR_HULL = 0.1
"""eV/atom."""

ACTINIDES, OXYGEN = frozenset({92, 93, 94}), 8
SCALES = {"smaller": (0.85, 0.8, 0.75, 0.7), "larger": (1.2, 1.25, 1.3, 1.4)}
MOVES = (0.2, 0.3, 0.45, 0.6)

Verdicts = list[bool]
"""Whether a crystal is refused by contacts and by density, before and now."""

BEFORE_AND_NOW = ("by radii alone", "by pairs", "one window", "by packing")


def refused(structure: Structure) -> Verdicts:
    """Return whether a crystal is refused, by each of `BEFORE_AND_NOW`."""
    contact = nearest_limit(structure)
    volumes = dict(enumerate(atomic_volumes().tolist()))
    usual = sum(volumes.get(z, math.nan) for z in structure.atomic_numbers)
    return [
        closest_contact(structure).ratio < OF_RADII,
        contact.distance < contact.limit,
        not VOLUME_WINDOW[0] <= structure.volume / usual <= VOLUME_WINDOW[1],
        not density(Candidate("", structure, structure, None)).passed,
    ]


def damaged(structure: Structure, random: np.random.Generator) -> dict[str, Structure]:
    """Return a crystal with its cell scaled, its atoms moved, and at random places, by what was done."""
    cell, species, frac = structure.lattice.matrix, structure.species, structure.frac_coords
    found = {}
    for what, factors in SCALES.items():
        for factor in factors:
            found[f"cell {what}, edges × {factor:g}"] = Structure(cell * factor, species, frac)
    for sigma in MOVES:
        moved = structure.cart_coords + random.normal(0.0, sigma, (len(structure), 3))
        found[f"atoms moved by {sigma:g} Å"] = Structure(cell, species, moved, coords_are_cartesian=True)
    found["atoms at random places"] = Structure(cell, species, random.random((len(structure), 3)))
    return found


def work(task: Task) -> list[dict[str, Verdicts]]:
    """Return what is refused of each row, and of what is made of it."""
    random = np.random.default_rng(task.generator().initial_seed())
    found = []
    for structure in true_structures(crystals(task.table), task.rows):
        every = {"known": structure} | (damaged(structure, random) if task.how["damage"] else {})
        found.append({what: refused(one) for what, one in every.items()})
    return found


def _line(name: str, found: Sequence[Verdicts]) -> tuple[str, ...]:
    counts = np.array(found).sum(axis=0).tolist() if found else [0] * len(BEFORE_AND_NOW)
    return name, str(len(found)), *(percent(count, len(found)) if found else "-" for count in counts)


def known_table(rows: Iterable[int], found: Sequence[Verdicts], groups: dict[str, Callable[[int], bool]]) -> str:
    """Return the table of the known crystals that are refused, by group."""
    pairs = list(zip(rows, found, strict=True))
    lines = [_line(name, [verdicts for row, verdicts in pairs if belongs(row)]) for name, belongs in groups.items()]
    return table(("refused of known crystals", "crystals", *BEFORE_AND_NOW), lines)


def main() -> None:
    """Measure, print, record."""
    options = parser(__doc__, "contacts", n=1000).parse_args()
    known = crystals(options.table)
    held_out = (known.split != SPLITS.index("train")).nonzero().ravel()
    near = known.label("energy_above_hull") <= NEAR_HULL
    whole = near & (known.split == SPLITS.index("test"))
    order = torch.randperm(int(whole.sum()), generator=torch.Generator().manual_seed(options.seed))
    some = whole.nonzero().ravel()[order[: options.n].sort().values]
    tasks = [
        Task(f"{name} {i}", options.table, options.seed, rows, {"damage": name == "damage"})
        for name, which in (("known", held_out), ("damage", some))
        for i, rows in enumerate(chunks(which, 200))
    ]
    measurement = Measurement(options, {"of_shortest": [OF_SHORTEST, OF_SHORTEST_OF_FEW], "near_hull": NEAR_HULL})
    results = measurement.run(work, tasks)
    verdicts = [one["known"] for task in tasks if not task.how["damage"] for one in results[task.key]]
    made = [one for task in tasks if task.how["damage"] for one in results[task.key]]
    elements = [set(part.tolist()) for part in known.templates.site_element.split(known.n_sites.tolist())]
    test = (known.split == SPLITS.index("test")).tolist()
    oxide = [bool(ACTINIDES & one) and OXYGEN in one for one in elements]
    groups: dict[str, Callable[[int], bool]] = {
        "test split": lambda row: test[row],
        "test split, near the hull": lambda row: test[row] and bool(near[row]),
        "oxides of U, Np and Pu, validation and test": lambda row: oxide[row],
        "the same, near the hull": lambda row: oxide[row] and bool(near[row]),
    }
    rows = held_out.tolist()
    lines = [_line(name, [one[name] for one in made]) for name in made[0] if name != "known"]
    places = {
        "contacts-known": known_table(rows, verdicts, groups),
        "contacts-damaged": table(("found of damaged crystals", "crystals", *BEFORE_AND_NOW), lines),
    }
    found = {name: [v for v, row in zip(verdicts, rows, strict=True) if in_it(row)] for name, in_it in groups.items()}
    found |= {name: [one[name] for one in made] for name in made[0]}
    counts = {name: [len(one), *np.array(one).sum(axis=0).tolist()] for name, one in found.items() if one}
    measurement.finish(counts, places)


if __name__ == "__main__":
    main()
