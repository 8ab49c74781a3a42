"""Write matgen/references/known_smiles.npz: some known molecules, which reports compare candidates with.

`python scripts/build/build_known_smiles.py --molecules 10000`: the shipped prior of molecular graphs draws molecules,
and all of up to `--heavy` heavy atoms (C, N, O, F, at most `RINGS` rings, no bonds `APART`) are enumerated. Those
without charges whose connectivity is in the index of known molecules (matgen/references/qm9_keys.npz) are kept: one
SMILES of each connectivity, without stereo, in RDKit's canonical tautomer where that has the same connectivity; drawn
ones first, in the order in which they come. Nothing but what ships is read. Takes some minutes on one core.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations

import torch
from rdkit import Chem
from rdkit.Chem.MolStandardize.rdMolStandardize import TautomerEnumerator

from matgen.energies.graph_sampling import MoleculeSampler
from matgen.generation.request import Request
from matgen.nn.conditions import MOLECULE_GRIDS, Conditions
from matgen.novelty.known_smiles import SHIPPED, KnownSmiles
from matgen.novelty.molecules import KnownMolecules, KnownMoleculesError, connectivity_block, shipped_molecules
from matgen.templates.molecule import MoleculeError, MoleculeTemplate, parsed
from matgen.weights.models import load

BATCH = 500
VALENCES = {6: 4, 7: 3, 8: 2, 9: 1}
RINGS = 3
APART = frozenset({(8, 8), (7, 9), (8, 9), (9, 9)})
"""Pairs of elements that are not bonded: O-O, N-F, O-F, F-F."""
HIGHER = {Chem.BondType.SINGLE: Chem.BondType.DOUBLE, Chem.BondType.DOUBLE: Chem.BondType.TRIPLE}


def drawn(seed: int) -> Iterator[str]:
    """Yield SMILES of molecules that the prior draws, without end."""
    generator = torch.Generator().manual_seed(seed)
    sampler = MoleculeSampler(load("graph_prior"), Request(kind="molecule").molecule_rules)
    while True:
        yield from (one.smiles for one in sampler.sample(Conditions.none(BATCH, MOLECULE_GRIDS), generator))


def enumerated(heavy: int) -> Iterator[str]:
    """Yield SMILES of all molecules of up to so many heavy atoms with usual valences, tautomers included."""
    level = {}
    for z in VALENCES:
        atom = Chem.RWMol()
        atom.AddAtom(Chem.Atom(z))
        level[Chem.MolToSmiles(atom)] = atom
    yield from level
    for _ in range(heavy - 1):
        level = closure(grown(level.values()), ringed)
        yield from closure(level, unsaturated)


def grown(molecules: Iterable[Chem.Mol]) -> dict[str, Chem.Mol]:
    """Return molecules with one more atom, by SMILES."""
    found: dict[str, Chem.Mol] = {}
    for one in molecules:
        for i in range(one.GetNumAtoms()):
            for z in VALENCES if free(one, i) else ():
                if tuple(sorted((z, one.GetAtomWithIdx(i).GetAtomicNum()))) in APART:
                    continue
                larger = Chem.RWMol(one)
                larger.AddBond(i, larger.AddAtom(Chem.Atom(z)), Chem.BondType.SINGLE)
                found.setdefault(Chem.MolToSmiles(larger), larger)
    return found


def closure(molecules: dict[str, Chem.Mol], changed: Callable[[Chem.Mol], Iterable[Chem.Mol]]) -> dict[str, Chem.Mol]:
    """Return molecules with all that come of them by repeated change, by SMILES."""
    found, left = dict(molecules), list(molecules.values())
    while left:
        for one in changed(left.pop()):
            smiles = Chem.MolToSmiles(one)
            if smiles not in found:
                found[smiles] = one
                left.append(one)
    return found


def ringed(one: Chem.Mol) -> Iterator[Chem.Mol]:
    """Yield molecules with one more ring."""
    if one.GetNumBonds() - one.GetNumAtoms() + 1 >= RINGS:
        return
    for i, j in combinations(range(one.GetNumAtoms()), 2):
        pair = tuple(sorted(one.GetAtomWithIdx(k).GetAtomicNum() for k in (i, j)))
        if free(one, i) and free(one, j) and one.GetBondBetweenAtoms(i, j) is None and pair not in APART:
            other = Chem.RWMol(one)
            other.AddBond(i, j, Chem.BondType.SINGLE)
            yield other


def unsaturated(one: Chem.Mol) -> Iterator[Chem.Mol]:
    """Yield molecules of which one bond has a higher order."""
    for bond in one.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if bond.GetBondType() in HIGHER and free(one, i) and free(one, j):
            other = Chem.RWMol(one)
            other.GetBondBetweenAtoms(i, j).SetBondType(HIGHER[bond.GetBondType()])
            yield other


def free(one: Chem.Mol, i: int) -> int:
    """Return how many hydrogens an atom has, for which bonds may come."""
    atom = one.GetAtomWithIdx(i)
    return VALENCES[atom.GetAtomicNum()] - sum(int(bond.GetBondTypeAsDouble()) for bond in atom.GetBonds())


def kept(smiles: Iterable[str], known: KnownMolecules) -> Iterator[tuple[str, str]]:
    """Yield connectivity and SMILES of those that are known and without charges."""
    tautomers = TautomerEnumerator()
    for one in smiles:
        try:
            template = MoleculeTemplate.of(one).without_stereo
            if not known.knows(template) or charged(template):
                continue
            other = template
            if mobile(template):
                other = MoleculeTemplate.of(tautomers.Canonicalize(parsed(template.smiles))).without_stereo
        except (MoleculeError, KnownMoleculesError):  # an impossible molecule, or one that InChI cannot describe
            continue
        block = connectivity_block(template)
        yield block, (other if connectivity_block(other) == block and not charged(other) else template).smiles


def mobile(template: MoleculeTemplate) -> bool:
    """Return whether a hydrogen is at N or O, and so may be elsewhere in a tautomer of the same connectivity."""
    return any(atom.GetAtomicNum() in {7, 8} and atom.GetTotalNumHs() for atom in parsed(template.smiles).GetAtoms())


def charged(template: MoleculeTemplate) -> bool:
    """Return whether any atom has a formal charge."""
    return any(atom.GetFormalCharge() for atom in parsed(template.smiles).GetAtoms())


def main() -> None:
    """Enumerate, draw, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--molecules", type=int, default=10_000)
    options.add_argument("--heavy", type=int, default=6, help="heavy atoms up to which all are enumerated")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    known = shipped_molecules()
    small = dict(kept(enumerated(chosen.heavy), known))
    print(f"{len(small)} known molecules of up to {chosen.heavy} heavy atoms", flush=True)
    found: dict[str, str] = {}
    for block, smiles in kept(drawn(chosen.seed), known):
        found.setdefault(block, smiles)
        if len(found.keys() | small.keys()) >= chosen.molecules:
            break
    n_drawn = len(found)
    found = {**found, **{block: smiles for block, smiles in small.items() if block not in found}}
    source = (
        "molecules that the package's own prior samples, and all of up to "
        f"{chosen.heavy} heavy atoms that enumeration finds, without charges, whose connectivity is in its index of "
        f"known ones (hashes of {known.source})"
    )
    KnownSmiles(source, tuple(found.values())).save(SHIPPED)
    print(f"{len(found)} of {len(known)} known molecules, {n_drawn} drawn; {SHIPPED}, {SHIPPED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
