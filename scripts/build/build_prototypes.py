"""Write the library of prototypes: averages over several training crystals with the same Wyckoff layout.

`python scripts/build/build_prototypes.py cache/crystals.npz` (made by `matgen data prepare`). Every average is over at
least SMALLEST crystals, so that no entry of the data set is in the library.
"""

import argparse
from pathlib import Path

from matgen.datasets.crystals import CrystalTable
from matgen.templates.prototypes import PrototypeLibrary
from matgen.training.properties import trainable
from matgen.weights.files import save
from matgen.weights.kinds import PROTOTYPES

SMALLEST = 2


def main() -> None:
    """Average and save."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("table", type=Path, help="table written by `matgen data prepare`")
    table = CrystalTable.load(options.parse_args().table)
    known = table.select(trainable(table))
    single = PrototypeLibrary.of_crystals(known.templates, known.geometry)
    library = single.averaged(SMALLEST)
    path = save(
        library.tensors(),
        kind=PROTOTYPES,
        trained_on=f"averages over at least {SMALLEST} of {len(known)} MP crystals of the training split",
        figures={"averages": len(library)},
    )
    print(f"{len(library)} averages of {len(known)} crystals: {path}")


if __name__ == "__main__":
    main()
