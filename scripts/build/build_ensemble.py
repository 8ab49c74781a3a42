"""Join members that were trained separately, such as in parallel on a GPU, into one ensemble.

`python scripts/build/build_ensemble.py KIND FILE... --out FILE`. The members are calibrated together on the validation
rows, so that the coverage of their mixture is right.
"""

import argparse
from pathlib import Path

from matgen.training.config import TrainConfig
from matgen.training.run import join


def main() -> None:
    """Join, calibrate, measure, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("kind")
    options.add_argument("files", nargs="+", type=Path)
    options.add_argument(
        "--data", type=Path, help="prepared table; cache/crystals.npz or cache/molecules.npz if left out"
    )
    options.add_argument("--out", type=Path, required=True)
    arguments = options.parse_args()
    config = TrainConfig(arguments.kind, data=arguments.data, weights=arguments.out)
    print(join(config, arguments.files).figures)


if __name__ == "__main__":
    main()
