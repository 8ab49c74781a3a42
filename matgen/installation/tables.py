"""Weights and tables of references that the package ships, read as a run reads them."""

from matgen.hull.reference import SHIPPED as HULL
from matgen.hull.reference import Reference
from matgen.installation.finding import Finding
from matgen.installation.shipped import AGAIN
from matgen.novelty.crystals import shipped_index
from matgen.novelty.known_smiles import shipped_smiles
from matgen.novelty.molecules import shipped_molecules
from matgen.weights.files import WeightsError, info
from matgen.weights.kinds import KINDS


def weights_finding() -> Finding:
    """Compare every file of weights with its hash."""
    faults = []
    for kind in KINDS:
        try:
            info(kind)
        except WeightsError as error:
            faults.append(str(error))
    if faults:
        return Finding("weights", "broken", f"{len(faults)} of {len(KINDS)}: {'; '.join(faults)}", AGAIN)
    return Finding("weights", "ok", f"all {len(KINDS)} files of weights have their hashes")


def references_finding() -> Finding:
    """Read the tables of known phases, crystals and molecules."""
    reference = Reference.load()
    crystals, molecules = shipped_index(), shipped_molecules()
    known = f"{len(crystals):,} crystals, {len(molecules):,} molecules, the SMILES of {len(shipped_smiles()):,}"
    text = f"{len(reference):,} phases ({HULL}), {known}"
    return Finding("references", "ok", text)
