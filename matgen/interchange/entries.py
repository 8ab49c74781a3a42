"""Entries of pymatgen: structures with the energy of a potential, for phase diagrams."""

from typing import Any

from pymatgen.entries.computed_entries import ComputedStructureEntry, ManualEnergyAdjustment

from matgen import __version__
from matgen.interchange.item import Item


def entry_of(item: Item) -> ComputedStructureEntry:
    """Return a crystal as an entry.

    `energy`, eV, is that of the potential, without corrections: only entries of the same potential compare, such as
    those of `ReferenceHull.phases`. At a pressure, p V is added as an adjustment, so that `energy` is the enthalpy.

    Raises:
        ValueError: the item has no energy.
    """
    crystal = item.candidate.crystal
    if item.energy != item.energy:
        raise ValueError(f"expected an energy of {item.name} by a potential, got none; relax it, or screen with a hull")
    work = ManualEnergyAdjustment(item.work * len(crystal))
    return ComputedStructureEntry(
        crystal,
        item.total_energy,
        energy_adjustments=[work] if item.pressure else None,
        parameters=_parameters(item),
        data={"verdicts": {name: one.passed for name, one in item.candidate.verdicts.items()}, **item.columns},
        entry_id=item.name,
    )


def _parameters(item: Item) -> dict[str, Any]:
    """Say where the energy comes from."""
    added = f"p V at {item.pressure:g} GPa" if item.pressure else "none"
    return {
        "potential": item.potential,
        "geometry": item.geometry,
        "corrections": f"{added}; the energy is that of the potential",
        "pressure_GPa": item.pressure,
        "program": f"matgen {__version__}",
    }
