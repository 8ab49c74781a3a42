"""Write matgen/references/qm9_keys.npz: hashes of the molecules of QM9, which decide what is novel.

`python scripts/build/build_known_molecules.py --table cache/molecules.npz`: connectivity of every prepared molecule, as
its geometry shows it, and of every InChI in the tables of `qm9pack` (`--tables FOLDER`, or the installed package), with
the few that could not be prepared. Takes some minutes on one core.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from rdkit import Chem

from matgen.datasets.molecules import MoleculeTable
from matgen.datasets.qm9 import PARTS, qm9_folder
from matgen.novelty.molecules import BLOCK, SHIPPED, KnownMolecules, connectivity_block
from matgen.templates.molecule import MoleculeTemplate

SOURCE = "QM9 (Ramakrishnan et al. 2014)"


def published(folder: Path) -> Iterator[str]:
    """Yield connectivity blocks of the InChIs published with QM9."""
    csv.field_size_limit(sys.maxsize)
    for part in PARTS:
        with (folder / part).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield Chem.InchiToInchiKey(row["InChi"])[:BLOCK]


def main() -> None:
    """Collect the blocks of both sources, and save their hashes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=Path("cache/molecules.npz"), help="by `matgen data prepare`")
    parser.add_argument("--tables", type=Path, help="folder of qm9_part1.csv to qm9_part3.csv; the installed package's")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    options = parser.parse_args()
    named = list(published(options.tables or qm9_folder()))
    smiles = MoleculeTable.load(options.table).templates.smiles
    shown = {connectivity_block(MoleculeTemplate(one)) for one in smiles}
    known = KnownMolecules.of_blocks([*named, *shown], SOURCE)
    known.save(options.out)
    print(
        f"{len(known)} connectivities: {len(set(named))} of {len(named)} InChIs, {len(shown)} of {len(smiles)} "
        f"geometries, {len(shown.difference(named))} of them under no InChI; {options.out}, "
        f"{options.out.stat().st_size / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main()
