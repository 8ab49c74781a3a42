"""Entries of pymatgen: structures with the energy of a potential, for phase diagrams."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pymatgen.entries.computed_entries import ComputedStructureEntry, ConstantEnergyAdjustment, ManualEnergyAdjustment

from matgen import __version__
from matgen.hull.corrections import correction
from matgen.hull.hull import CORRECTIONS
from matgen.hull.reference import Reference
from matgen.interchange.item import Item
from matgen.relaxation.calculators import CHGNET, corrections_of_title, with_own_hull
from matgen.screening.config import NONE, SHIPPED


def entry_of(item: Item, scheme: str | None = None) -> ComputedStructureEntry:
    """Return a crystal as an entry.

    `energy`, eV, is that of the potential and, as an adjustment, the corrections of its hull: only entries of the same
    potential compare, such as those of `ReferenceHull.phases`. At a pressure, p V is added as another adjustment, so
    that `energy` is the enthalpy.

    Args:
        item: with an energy.
        scheme: corrections of the hull that the run compares with (`scheme_of`); those that the energies of the named
            potential need if None.

    Raises:
        ValueError: the item has no energy.
    """
    crystal = item.candidate.crystal
    if item.energy != item.energy:
        raise ValueError(f"expected an energy of {item.name} by a potential, got none; relax it, or screen with a hull")
    scheme = corrections_of_title(item.potential) if scheme is None else scheme
    adjustments = []
    if scheme:
        adjustments.append(ConstantEnergyAdjustment(correction(crystal, scheme) * len(crystal), name=scheme))
    if item.pressure:
        adjustments.append(ManualEnergyAdjustment(item.work * len(crystal)))
    return ComputedStructureEntry(
        crystal,
        item.total_energy,
        energy_adjustments=adjustments,
        parameters=_parameters(item, scheme),
        data={"verdicts": {name: one.passed for name, one in item.candidate.verdicts.items()}, **item.columns},
        entry_id=item.name,
    )


def scheme_of(settings: Mapping[str, Any]) -> str | None:
    """Return the corrections of the hull that a run named; None if it named none of its own.

    Args:
        settings: of the run, with `calculator` and `reference` where they are not the usual ones.

    Raises:
        ReferenceFileError: the hull is not there any more, or damaged.
    """
    reference = settings.get("reference", SHIPPED)
    own = with_own_hull(settings.get("calculator", CHGNET))[1]
    file = own if reference in {SHIPPED, NONE} else reference
    return str(Reference.load(Path(file)).facts.get(CORRECTIONS, "")) if file else None


def _parameters(item: Item, scheme: str) -> dict[str, Any]:
    """Say where the energy comes from."""
    work = f"p V at {item.pressure:g} GPa" if item.pressure else ""
    added = " and ".join(filter(None, (scheme, work))) or "none"
    return {
        "potential": item.potential,
        "geometry": item.geometry,
        "corrections": f"{added}; the uncorrected energy is that of the potential",
        "pressure_GPa": item.pressure,
        "program": f"matgen {__version__}",
    }
