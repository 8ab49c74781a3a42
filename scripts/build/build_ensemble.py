"""One ensemble of members that were trained apart, such as side by side on a GPU.

`build_ensemble.py KIND FILE... --out FILE`. The members are calibrated together on the validation rows, so that their
mixture covers what it claims to.
"""

import argparse
from pathlib import Path

from matgen.training.config import TrainConfig
from matgen.training.run import join


def main() -> None:
    """Join, calibrate, measure, write."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("kind")
    options.add_argument("files", nargs="+", type=Path)
    options.add_argument(
        "--data", type=Path, help="prepared table; cache/crystals.npz or cache/molecules.npz if left out"
    )
    options.add_argument("--out", type=Path, required=True)
    asked = options.parse_args()
    config = TrainConfig(asked.kind, data=asked.data, weights=asked.out)
    print(join(config, asked.files).figures)


if __name__ == "__main__":
    main()
