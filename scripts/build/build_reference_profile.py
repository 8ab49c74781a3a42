"""Write matgen/metrics/*_test.json: how often each value of a trait occurs in MP-20 test and in QM9 test.

`python scripts/build/build_reference_profile.py --data FOLDER` (or MATGEN_DATA). The files contain counts of rounded
values, no structures. Bonds of molecules follow from distances by EDM's rules; QM9 comes from the package qm9pack.
"""

import argparse
import os
from pathlib import Path

from matgen.datasets.named import named, named_molecules, named_structures
from matgen.evaluation.comparison import bonded
from matgen.metrics import profile, traits
from matgen.metrics.distributions import SHIPPED
from matgen.metrics.molecule_distributions import molecule_profile, molecule_traits

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MATGEN_DATA"))
    parser.add_argument("--only", choices=SHIPPED, nargs="*", default=list(SHIPPED))
    options = parser.parse_args()
    folder = options.data and Path(options.data)
    for name in options.only:
        one, path = named(name), SHIPPED[name]
        if one.kind == "crystal":
            made = profile(one.title, [traits(structure) for structure in named_structures(name, folder)], one.source)
        else:
            molecules = filter(None, map(bonded, named_molecules(name, folder)))
            made = molecule_profile(one.title, list(map(molecule_traits, molecules)), one.source)
        made.save(path)
        print(f"{path}: {made.n} structures, {path.stat().st_size} bytes")
