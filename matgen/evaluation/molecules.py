"""Evaluation of a set of molecules: EDM's protocol, PoseBusters, GFN2-xTB and distances from a reference."""

from collections.abc import Iterable, Sequence

from pymatgen.core.structure import Molecule

from matgen.evaluation.comparison import bonded, molecules_to_compare
from matgen.evaluation.findings import Findings, Task
from matgen.evaluation.molecule_rows import MoleculeRow, relaxed_rows, rows_as_read
from matgen.evaluation.relaxations import molecule_relaxer, relaxations
from matgen.metrics import Bootstrap, Estimate, Profile, median, pooled_share, share
from matgen.metrics.molecule_distributions import molecule_distances, molecule_traits
from matgen.metrics.molecules import VALENCES, protocol_knows
from matgen.novelty.molecules import KnownMolecules, shipped_molecules
from matgen.runtime.failures import each
from matgen.structures.files import Entry

EDM = "bonds by distance, as EDM has them"


def evaluate_molecules(task: Task, known: KnownMolecules | None) -> Findings:
    """Compute rows and figures of a set of molecules.

    Args:
        task: entries, and what to compare them with.
        known: molecules that are not novel; those of QM9 if None.

    Raises:
        DataSetError: an unknown reference, or one that is not available.
        OutputError: the folder cannot be written.
    """
    known = shipped_molecules() if known is None else known
    entries, requested, bootstrap = task.entries, task.requested, task.bootstrap
    task.report("reference", 0, 1)
    reference = molecules_to_compare(task.config.reference, task.data)
    task.report("reference", 1, 1, structures=reference.n)
    rows, potential = rows_as_read(entries, known, task.report), ""
    if task.config.relax != "none":
        relaxer = molecule_relaxer()
        initial_geometries = {entry.name: entry.molecule for entry in entries if entry.molecule is not None}
        templates = {entry.name: entry.template for entry in entries}
        outcomes = relaxations(initial_geometries, relaxer, task.report, task.folder, task.config.jobs, templates)
        rows, potential = relaxed_rows(rows, entries, outcomes), relaxer.potential
    task.report("count", 0, 1)
    estimates = [
        *edm_figures(rows, requested, bootstrap, known),
        *geometry_figures(rows, requested, bootstrap, potential),
        *distance_figures(entries, reference, requested, bootstrap),
    ]
    task.report("count", 1, 1)
    return Findings(
        tuple(rows), tuple(estimates), tuple(_notes(rows, entries, potential)), reference, potential, known.source
    )


def edm_figures(
    rows: Sequence[MoleculeRow], requested: int, bootstrap: Bootstrap, known: KnownMolecules
) -> list[Estimate]:
    """Estimate shares of the number requested by EDM's protocol; that of stable atoms is of the atoms found."""

    def counted(name: str, passed: Iterable[bool], how: str) -> Estimate:
        return share(name, list(passed), requested, bootstrap, how)

    stable_atoms, n_atoms = [row.stable_atoms for row in rows], [row.n_atoms for row in rows]
    new = f"connectivity none of {len(known):,} of {known.source}"
    return [
        counted("readable", (not row.error for row in rows), "can be read as one molecule whose bonds explain it"),
        pooled_share("stable atoms", stable_atoms, n_atoms, bootstrap, f"of the atoms found; {EDM}"),
        counted("stable molecules", (row.stable for row in rows), f"all atoms stable; {EDM}"),
        counted("valid", (row.valid for row in rows), f"RDKit sanitises it; {EDM}"),
        counted("valid and connected", (row.connected for row in rows), f"and in one piece; {EDM}"),
        counted("valid and unique", (row.unique for row in rows), f"one of each SMILES, without stereo; {EDM}"),
        counted("valid and novel", (row.novel for row in rows), f"{new}; {EDM}"),
        counted("valid, unique and novel", (row.unique and row.novel for row in rows), f"all three; {EDM}"),
    ]


def geometry_figures(
    rows: Sequence[MoleculeRow], requested: int, bootstrap: Bootstrap, potential: str
) -> list[Estimate]:
    """Estimate the quality of the geometries by PoseBusters, and by the changes in a relaxation (medians)."""
    tests = "all tests of a molecule by itself but the ratio of energies"
    found = [share("PoseBusters", [row.posebusters for row in rows], requested, bootstrap, tests)]
    if not potential:
        return found
    over = f"of those that converge; {potential}"
    kept = f"the same atoms bonded after relaxation; {potential}"
    return [
        *found,
        share("relaxation converges", [row.converged for row in rows], requested, bootstrap, potential),
        share("graph kept", [row.graph_kept for row in rows], requested, bootstrap, kept),
        median("RMSD to relaxed, median", [r.rmsd for r in rows], requested, bootstrap, "Å", f"all atoms; {over}"),
        median("energy drop, median", [r.drop for r in rows], requested, bootstrap, "eV", f"per molecule; {over}"),
    ]


def distance_figures(
    entries: Sequence[Entry], reference: Profile, requested: int, bootstrap: Bootstrap
) -> list[Estimate]:
    """Estimate distances from the reference, of the molecules that are valid and in one piece, as read."""
    found = each(bonded, filter(None, map(_atoms, entries)), lambda _, __: None)
    every = each(molecule_traits, filter(None, found), lambda _, __: None)
    some = [traits for traits in every if traits is not None]
    return molecule_distances(some, reference, requested, bootstrap)


def _atoms(entry: Entry) -> Molecule | None:
    return entry.molecule or entry.atoms


def _notes(rows: Sequence[MoleculeRow], entries: Sequence[Entry], potential: str) -> Iterable[str]:
    bare = sum(entry.atoms is not None for entry in entries)
    if bare:
        yield f"{bare} are atoms that no molecule explains: only EDM's figures and the distances count them"
    made_up = sum(bool(row.made_up) for row in rows)
    if made_up:
        first = next(row.made_up for row in rows if row.made_up)
        yield f"of {made_up} something was generated that their file lacks, such as: {first}"
    strange = sum(not protocol_knows(atoms.atomic_numbers) for atoms in map(_atoms, entries) if atoms is not None)
    if strange:
        yield f"{strange} contain other elements than {', '.join(VALENCES)}: they fail EDM's protocol"
    if not potential:
        yield "how far geometries are from a minimum was not measured: relax with xtb"
