"""Plots of benchmarks, drawn without a display."""

from pathlib import Path
from typing import Any


def subplots(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Any, Any]:
    """Return a figure and an array of axes (rows, columns); options are those of `matplotlib.pyplot.subplots`."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt.subplots(rows, columns, figsize=size, squeeze=False, constrained_layout=True, **options)


def save(figure: Any, path: Path) -> None:
    """Write a figure to a file, and close it."""
    from matplotlib import pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
