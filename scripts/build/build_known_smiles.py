"""Write matgen/references/known_smiles.npz: representative known molecules, which reports compare candidates with.

`python scripts/build/build_known_smiles.py --molecules 10000`: the shipped prior of molecular graphs draws molecules,
and those whose connectivity is in the index of known molecules (matgen/references/qm9_keys.npz) are kept, once each and
without stereo, in the order in which they come. Nothing but what ships is read. Takes some minutes on one core.
"""

import argparse

import torch

from matgen.energies.graph_sampling import MoleculeSampler
from matgen.generation.request import Request
from matgen.nn.conditions import MOLECULE_GRIDS, Conditions
from matgen.novelty.known_smiles import SHIPPED, KnownSmiles
from matgen.novelty.molecules import shipped_molecules
from matgen.weights.models import load

BATCH = 500


def main() -> None:
    """Draw, keep, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--molecules", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    generator, known = torch.Generator().manual_seed(chosen.seed), shipped_molecules()
    sampler = MoleculeSampler(load("graph_prior"), Request(kind="molecule").molecule_rules)
    found: dict[str, None] = {}
    drawn = 0
    while len(found) < chosen.molecules:
        sampled = sampler.sample(Conditions.none(BATCH, MOLECULE_GRIDS), generator)
        drawn += len(sampled)
        found |= dict.fromkeys(one.without_stereo.smiles for one in sampled if known.knows(one))
    kept = KnownSmiles(
        f"molecules of {known.source} that the prior of the package draws", tuple(found)[: chosen.molecules]
    )
    kept.save(SHIPPED)
    print(f"{len(kept)} of {len(known)} known molecules, of {drawn} drawn; {SHIPPED}, {SHIPPED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
