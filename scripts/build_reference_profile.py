"""Writes matgen/validation/metrics/mp20_test.json: how often each density, volume, group, element occurs in MP-20 test.

`python scripts/build_reference_profile.py --data FOLDER` (or MATGEN_DATA). Counts of rounded values, no structure.
"""

import argparse
import os
from pathlib import Path

from matgen.datasets.named import named, named_structures
from matgen.validation.metrics import profile, traits
from matgen.validation.metrics.distributions import SHIPPED

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("MATGEN_DATA"))
    folder = parser.parse_args().data
    for name, path in SHIPPED.items():
        one = named(name)
        found = [traits(structure) for structure in named_structures(name, folder and Path(folder))]
        profile(one.title, found, one.source).save(path)
        print(f"{path}: {len(found)} structures, {path.stat().st_size} bytes")
