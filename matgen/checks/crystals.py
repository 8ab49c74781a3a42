"""Checks of a crystal, each a function that returns a `Verdict`."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial

from pymatgen.core.structure import Structure

from matgen.checks.contacts import nearest_limit
from matgen.checks.packing import packing
from matgen.checks.pair_distances import pair_distances
from matgen.checks.targets import Interval, target_checks
from matgen.checks.verdicts import Check, converged
from matgen.chemistry.charges import is_valid, smallest_net_charge
from matgen.chemistry.elements import atomic_volumes
from matgen.structures.candidate import Candidate, Verdict, as_crystal
from matgen.structures.cif import cif_text, displacement, read_cif
from matgen.structures.symmetry import contains, space_group

VOLUME_WINDOW = (0.6, 1.8)
"""Volume allowed, in sums of the volumes of its atoms in known crystals. 99.6 % of 14,686 MP-20 validation and test
structures lie inside; the smallest is at 0.67."""

AS_METALS = 1.4
"""Volume allowed of metals alone, in volumes of the same metals as elements: alkali metals take half of the space in
compounds."""

LOOSEST = 12.0
"""Volume allowed where atoms are at usual distances nevertheless (`packing`), as in molecular crystals and porous
frameworks. Those near the hull in the training table reach 4.6; the most open frameworks made are larger."""


def parses(candidate: Candidate) -> Verdict:
    """The structure is unchanged after it is written as CIF and read back by pymatgen."""
    back = read_cif(cif_text(candidate.crystal))
    moved = math.nan if back is None else displacement(candidate.crystal, back)
    passed = not math.isnan(moved)
    reason = "reads back to the same structure" if passed else "its CIF does not read back to the same structure"
    return Verdict("parses", passed, moved, "", reason)


def min_distance(candidate: Candidate, *, pressed: bool = False) -> Verdict:
    """No two atoms closer than known crystals allow for their elements; the value is in sums of covalent radii.

    Args:
        candidate: a crystal.
        pressed: whether it is under a pressure, if its relaxation does not tell.
    """
    pressed = pressed or bool(candidate.relaxation is not None and candidate.relaxation.pressure)
    contact = nearest_limit(candidate.crystal, pressed=pressed)
    passed = contact.distance >= contact.limit
    pair = "–".join(contact.symbols)
    reason = f"closest contact {pair} {contact.distance:.2f} Å is {contact.ratio:.2f} of the covalent radii"
    limit = f"least {contact.limit:.2f} Å" if passed else f"limit {contact.limit:.2f} Å"
    return Verdict("min_distance", passed, contact.ratio, "", f"{'' if passed else 'overlap: '}{reason}, {limit}")


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


def density(candidate: Candidate) -> Verdict:
    """The volume lies in a window around that of its atoms in known crystals.

    For metals alone it may also be that of the elements. Of others, a larger volume passes where atoms are at usual
    distances of their neighbours, as in molecular crystals and porous frameworks.
    """
    structure = candidate.crystal
    usual = usual_volumes(Counter(structure.atomic_numbers))
    passed, reason = False, "no training crystal shows the volume of one of its elements"
    if usual:
        passed, reason = _dense_and_dilute(structure, [structure.volume / volume for volume in usual])
    return Verdict("density", passed, float(structure.density), "g/cm³", reason)


def _dense_and_dilute(structure: Structure, ratios: list[float]) -> tuple[bool, str]:
    """Return whether a volume over each usual one is allowed, and the reason."""
    low, high = VOLUME_WINDOW
    where = f"{ratios[0]:.2f} of the usual volume of its elements"
    if max(ratios) < low:
        return False, f"too dense: {where}, allowed {low:g} to {high:g}"
    if ratios[0] <= high:
        return True, f"{where}, allowed {low:g} to {high:g}"
    if len(ratios) > 1:
        where += f" and {ratios[1]:.2f} of that of these metals as elements"
        passed = ratios[1] <= AS_METALS
        return passed, f"{'' if passed else 'too dilute: '}{where}, allowed up to {high:g} or {AS_METALS:g}"
    return _loose(structure, ratios[0], where)


def _loose(structure: Structure, ratio: float, where: str) -> tuple[bool, str]:
    """Return whether a crystal above the usual window holds together nevertheless, and the reason."""
    low, high = VOLUME_WINDOW
    if all(site.specie.is_metal for site in structure):
        return False, f"too dilute: {where}, allowed {low:g} to {high:g}"
    if ratio > LOOSEST:
        return False, f"too dilute: {where}, allowed up to {LOOSEST:g} even for porous and molecular crystals"
    found = packing(structure)
    if found.fault:
        return False, f"too dilute: {where}, allowed up to {high:g}, and {found.fault}"
    return True, f"{where}, above {high:g}, but atoms are at usual distances: {found.groups}"


def usual_volumes(counts: Mapping[int, float]) -> list[float]:
    """Return the sum of the volumes of atoms in known crystals, Å³, and of metals alone that of them as elements.

    Args:
        counts: atoms by atomic number.

    Returns:
        One or two volumes; none if an element is in no training crystal.
    """
    volumes, of_metals = atomic_volumes().tolist(), pair_distances().metal_volumes
    known = [sum(n * volumes[z] if z < len(volumes) else math.nan for z, n in counts.items())]
    known.append(sum(n * float(of_metals[z]) for z, n in counts.items()))  # NaN unless all are metals
    return [] if math.isnan(known[0]) else [volume for volume in known if not math.isnan(volume)]


def volume_range(counts: Mapping[int, float]) -> tuple[float, float]:
    """Return the least and the greatest volume of atoms, by atomic number, that `density` allows, Å³."""
    usual = usual_volumes(counts)
    loosest = max(VOLUME_WINDOW[1] * usual[0], AS_METALS * usual[1]) if len(usual) > 1 else LOOSEST * usual[0]
    return VOLUME_WINDOW[0] * min(usual), loosest


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
