"""Figures of a set of crystals: validity, uniqueness, novelty, stability, distances from a reference."""

from collections.abc import Iterable, Sequence

from pymatgen.core.structure import Structure

from matgen.checks.pair_distances import OF_RADII
from matgen.evaluation.comparison import CrystalSet
from matgen.evaluation.crystal_rows import NEAR_HULL, NOT_ABOVE, CrystalRow
from matgen.hull.hull import IMPLAUSIBLE, is_stable
from matgen.metrics import (
    Bootstrap,
    Estimate,
    Features,
    Traits,
    average,
    coverage,
    distances,
    features,
    share,
    traits,
)
from matgen.novelty.crystals import KnownIndex
from matgen.runtime.failures import each


def low_energy_note(rows: Sequence[CrystalRow]) -> str:
    """Say how many energies are too far below the hull to be correct; empty if none is."""
    n = sum(row.above_hull < -IMPLAUSIBLE for row in rows)
    note = f"{n} lie more than {IMPLAUSIBLE:g} eV/atom below the hull, counted as not stable: the potential fails there"
    return note if n else ""


def validity_figures(rows: Sequence[CrystalRow], requested: int, bootstrap: Bootstrap) -> list[Estimate]:
    """Estimate the shares of the number requested that can be read, and that are valid as read."""

    def counted(name: str, passed: Iterable[bool], how: str) -> Estimate:
        return share(name, list(passed), requested, bootstrap, how)

    return [
        counted("readable", (not row.error for row in rows), "can be read as a crystal"),
        counted("structure valid, CDVAE", (r.separated for r in rows), "distances ≥ 0.5 Å, volume ≥ 0.1 Å³; as read"),
        counted("structure valid, ours", (r.spaced for r in rows), f"contacts ≥ {OF_RADII:g} covalent radii; as read"),
        counted("composition valid, CDVAE", (r.smact14 for r in rows), "SMACT, oxidation states of 2014, alloys pass"),
        counted("composition valid, SMACT", (r.smact for r in rows), "smact_validity today: ICSD 2024, alloys pass"),
        counted("valid, CDVAE", (r.separated and r.smact14 for r in rows), "both of CDVAE's"),
    ]


def kind_figures(
    rows: Sequence[CrystalRow], requested: int, bootstrap: Bootstrap, potential: str, known: KnownIndex
) -> list[Estimate]:
    """Estimate the shares of the number requested that are unique, and that are novel."""
    state = f"relaxed by {potential}" if potential else "as read"
    alike, new = "one of each kind, pymatgen's tolerances", f"none of {len(known):,} of {known.source}"
    return [
        share("unique", [r.unique for r in rows], requested, bootstrap, f"{alike}; {state}"),
        share("novel", [r.novel for r in rows], requested, bootstrap, f"{new}; {state}"),
    ]


def stability_figures(
    rows: Sequence[CrystalRow], requested: int, bootstrap: Bootstrap, potential: str
) -> list[Estimate]:
    """Estimate the shares of the number requested that converge and are stable, and mean energies and RMSD."""
    hull = f"hull and relaxation by {potential}; unconverged ones fail"
    sun = "unique and novel among the stable"
    found = [share("relaxation converges", [r.converged for r in rows], requested, bootstrap, potential)]
    for limit, together in ((NOT_ABOVE, [r.sun_on_hull for r in rows]), (NEAR_HULL, [r.sun for r in rows])):
        stable = [is_stable(row.above_hull, limit) for row in rows]
        found += [
            share(f"stable ≤ {limit:g} eV/atom", stable, requested, bootstrap, hull),
            share(f"S.U.N. ≤ {limit:g} eV/atom", together, requested, bootstrap, f"{sun}; {hull}"),
        ]
    over = "mean over those that converge"
    match = f"{over} and match; {potential}"
    values = [("energy above hull", "above_hull", "eV/atom", f"{over}; {potential}")]
    values += [
        ("RMSD to relaxed", "rmsd", "Å", match),
        ("RMSD to relaxed, normalised", "rmsd_normalised", "(V/N)^(1/3)", match),
    ]
    found += [
        average(name, [getattr(row, field) for row in rows], requested, bootstrap, unit, how)
        for name, field, unit, how in values
    ]
    return found


def set_figures(
    structures: Iterable[Structure], reference: CrystalSet, requested: int, bootstrap: Bootstrap
) -> tuple[list[Estimate], str]:
    """Estimate coverage and distances from the reference, of the structures valid by CDVAE's criterion, as read.

    Returns:
        The figures, and how many structures are left out and why; empty if none is.
    """

    def measured(structure: Structure) -> tuple[Traits, Features | None] | str:
        return traits(structure), features(structure) if reference.features else None

    every = each(measured, structures, lambda _, reason: reason)
    left_out = [one for one in every if isinstance(one, str)]
    found = [one[0] for one in every if not isinstance(one, str)]
    some = [one[1] for one in every if not isinstance(one, str) and one[1] is not None]
    covered = coverage(some, reference.features, requested, None, bootstrap) if reference.features else ()
    note = f"{len(left_out)} are left out of coverage and distances: {left_out[0]}" if left_out else ""
    return [*covered, *distances(found, reference.profile, requested, bootstrap)], note
