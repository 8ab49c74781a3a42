"""Checks of a crystal, each a function that returns a `Verdict`."""

import math
from collections.abc import Iterable, Mapping
from functools import partial

from pymatgen.core.structure import Structure

from matgen.checks.contacts import closest_contact
from matgen.checks.targets import Interval, target_checks
from matgen.checks.verdicts import Check, converged
from matgen.chemistry.charges import is_valid, smallest_net_charge
from matgen.chemistry.elements import atomic_volumes
from matgen.structures.candidate import Candidate, Verdict, as_crystal
from matgen.structures.cif import cif_text, displacement, read_cif
from matgen.structures.symmetry import contains, space_group

MIN_CONTACT = 0.7
"""Closest contact allowed, in sums of covalent radii."""

VOLUME_WINDOW = (0.6, 1.8)
"""Volume allowed, in sums of the volumes of its atoms in known crystals. 99.6 % of 14,686 MP-20 validation and test
structures lie inside; the smallest is at 0.67."""


def parses(candidate: Candidate) -> Verdict:
    """The structure is unchanged after it is written as CIF and read back by pymatgen."""
    back = read_cif(cif_text(candidate.crystal))
    moved = math.nan if back is None else displacement(candidate.crystal, back)
    passed = not math.isnan(moved)
    reason = "reads back to the same structure" if passed else "its CIF does not read back to the same structure"
    return Verdict("parses", passed, moved, "", reason)


def min_distance(candidate: Candidate, limit: float = MIN_CONTACT) -> Verdict:
    """No two atoms closer than `limit` times the sum of their covalent radii."""
    contact = closest_contact(candidate.crystal)
    passed = contact.ratio >= limit
    pair = "–".join(contact.symbols)
    reason = f"closest contact {pair} {contact.distance:.2f} Å is {contact.ratio:.2f} of the covalent radii"
    return Verdict(
        "min_distance", passed, contact.ratio, "", reason if passed else f"overlap: {reason}, limit {limit:g}"
    )


def charge_balance(candidate: Candidate) -> Verdict:
    """The composition is valid by SMACT with its defaults."""
    composition = candidate.crystal.composition
    charge = smallest_net_charge(composition)
    passed = is_valid(composition)
    if passed and len(composition) == 1:
        charge, reason = 0.0, "an element, valid by SMACT's rule"
    elif passed and charge == 0:
        reason = "oxidation states balance, or all elements are metals (SMACT)"
    elif passed:
        charge, reason = 0.0, "all elements are metals, valid by SMACT's rule"
    elif math.isnan(charge):
        reason = "SMACT has no oxidation state of one of its elements"
    elif charge == 0:
        reason = "only with an anion less electronegative than a cation would it be neutral (SMACT)"
    else:
        reason = f"unbalanced: no oxidation states give less than {charge:+g} e per formula unit (SMACT)"
    return Verdict("charge_balance", passed, charge, "e", reason)


def density(candidate: Candidate, window: tuple[float, float] = VOLUME_WINDOW) -> Verdict:
    """The volume lies in a window around the sum of the volumes of its atoms in known crystals."""
    structure = candidate.crystal
    grams = float(structure.density)
    ratio = structure.volume / _usual_volume(structure)
    low, high = window
    passed = low <= ratio <= high
    verdict = "" if passed else ("too dense: " if ratio < low else "too dilute: ")
    reason = f"{verdict}{ratio:.2f} of the usual volume of its elements, allowed {low:g} to {high:g}"
    if math.isnan(ratio):
        reason = "no training crystal shows the volume of one of its elements"
    return Verdict("density", passed, grams, "g/cm³", reason)


def _usual_volume(structure: Structure) -> float:
    """Sum of the volumes of the atoms in known crystals, Å³; NaN if one is unknown."""
    volumes = dict(enumerate(atomic_volumes().tolist()))
    return sum(volumes.get(z, math.nan) for z in structure.atomic_numbers)


def symmetry(candidate: Candidate, wanted: frozenset[int] = frozenset(), *, p1: bool = False) -> Verdict:
    """The final space group is a requested one; without a request, that of the proposal or a supergroup, but not P1.

    Args:
        candidate: before and after relaxation.
        wanted: requested space groups.
        p1: whether P1 will do, such as that of a host.
    """
    before = space_group(as_crystal(candidate.unrelaxed)).number
    after = space_group(candidate.crystal)
    name = f"{after.symbol} ({after.number})"
    if wanted:
        passed = after.number in wanted
        numbers = ", ".join(map(str, sorted(wanted)))
        reason = f"{name}, as requested: {numbers}" if passed else f"symmetry missed: {name}, requested: {numbers}"
    elif not contains(after.number, before):
        passed = False
        reason = f"symmetry lost: {name} is neither space group {before} nor above it with the same lattice"
    elif after.number == 1 and not p1:
        passed, reason = False, "P1: no symmetry at all"
    else:
        passed = True
        reason = f"{name} before and after" if after.number == before else f"{name} contains space group {before}"
    return Verdict("symmetry", passed, float(after.number), "", reason)


def standard_checks(
    targets: Mapping[str, Interval] | None = None,
    *,
    confidence: float = 0.0,
    space_groups: Iterable[int] = (),
    p1: bool = False,
    relaxed: bool = True,
) -> dict[str, Check]:
    """Return the usual checks of crystals, cheap ones first.

    Args:
        targets: target interval of each property.
        confidence: least probability of each target, where predictions have one.
        space_groups: requested space groups; if empty, that of the proposal is to be kept.
        p1: whether that may be P1.
        relaxed: whether candidates were relaxed, so that convergence is checked.
    """
    checks = target_checks(targets or {}, confidence)
    checks |= {"charge_balance": charge_balance, "density": density, "min_distance": min_distance}
    if relaxed:
        checks["relaxed"] = converged
    return checks | {"symmetry": partial(symmetry, wanted=frozenset(space_groups), p1=p1), "parses": parses}
