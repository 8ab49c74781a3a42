"""Write the statistics of likeness: matgen/energies/likeness_crystals.npz and likeness_molecules.npz.

`python scripts/build/build_likeness.py --table cache/crystals.npz`: of the embeddings by the first members of the
shipped networks, the mean and the principal axes, and the whitened embeddings of background materials. Crystals are
taken at random from the training split of the prepared table (`matgen data prepare`), molecules from the shipped prior.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from matgen.datasets.crystals import SPLITS, CrystalTable
from matgen.energies.graph_sampling import MoleculeSampler
from matgen.energies.likeness_views import PROBES, Whitening, file_of
from matgen.generation.request import Request
from matgen.nn.conditions import MOLECULE_GRIDS, Conditions
from matgen.nn.structure_properties import StructureInputs
from matgen.templates.batch import TemplateBatch
from matgen.templates.expand import expand
from matgen.templates.molecule import MoleculeTemplate
from matgen.weights.models import load

TEMPLATES, STATES, MOLECULES = 20_000, 5_000, 5_000
"""Materials of which mean and axes are computed."""

BACKGROUND = 1_000
"""Background materials, the first of these."""

BATCH = 128


def in_batches(embed: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Return the embeddings (n, d) of rows (n,), batch by batch."""
    with torch.no_grad():
        return torch.cat([embed(some) for some in rows.split(BATCH)])


def stored(name: str, whitening: Whitening) -> dict[str, np.ndarray]:
    """Return the arrays of a whitening, by their names in the file."""
    return {
        f"{name}_mean": whitening.mean.numpy().astype(np.float32),
        f"{name}_axes": whitening.axes.numpy().astype(np.float32),
        f"{name}_background": whitening.background.numpy().astype(np.float16),
    }


def crystals(table: CrystalTable, generator: torch.Generator) -> None:
    """Write the statistics of crystals."""
    train = (table.split == SPLITS.index("train")).nonzero().ravel()
    rows = train[torch.randperm(len(train), generator=generator)[:TEMPLATES]]
    templates, states = load("template_properties").members[0], load("structure_properties").members[0]
    of_templates = in_batches(lambda some: templates.embed(table.batch(some)[0]), rows)
    of_states = in_batches(lambda some: states.pool(StructureInputs(expand(*table.batch(some)))), rows[:STATES])
    some, geometry = table.batch(rows[:BACKGROUND])
    probes = geometry.select(some, torch.arange(PROBES))
    np.savez_compressed(
        file_of("crystal"),
        space_group=some.space_group.numpy().astype(np.uint8),
        n_sites=some.n_sites.numpy().astype(np.uint8),
        position=some.site_position.numpy().astype(np.int16),
        element=some.site_element.numpy().astype(np.uint8),
        lattice=probes.lattice.numpy(),
        coords=probes.coords.numpy(),
        **stored("template", Whitening.of(of_templates, of_templates[:BACKGROUND])),
        **stored("state", Whitening.of(of_states, of_states[:BACKGROUND])),
    )


def molecules(generator: torch.Generator) -> None:
    """Write the statistics of molecules."""
    sampler = MoleculeSampler(load("graph_prior"), Request(kind="molecule").molecule_rules)
    found: dict[str, None] = {}
    while len(found) < MOLECULES:
        sampled = sampler.sample(Conditions.none(500, MOLECULE_GRIDS), generator)
        found |= dict.fromkeys(template.smiles for template in sampled)
    names = list(found)[:MOLECULES]
    network = load("molecule_properties").members[0]
    batch = TemplateBatch.of([MoleculeTemplate(name) for name in names])
    embedding = in_batches(lambda rows: network.embed(batch.select(rows)), torch.arange(len(names)))
    np.savez_compressed(
        file_of("molecule"),
        smiles=np.array(names[:BACKGROUND]),
        **stored("template", Whitening.of(embedding, embedding[:BACKGROUND])),
    )


def main() -> None:
    """Compute and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--table", type=Path, default=Path("cache/crystals.npz"))
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    generator = torch.Generator().manual_seed(chosen.seed)
    crystals(CrystalTable.load(chosen.table), generator)
    molecules(generator)
    for kind in ("crystal", "molecule"):
        print(f"{file_of(kind)}: {file_of(kind).stat().st_size} bytes")


if __name__ == "__main__":
    main()
