"""Plots of benchmarks, drawn without a display."""

from pathlib import Path
from typing import Any


def style() -> None:
    """Draw from now on in the manner of the figures of the documentation: small type, no upper and right frame."""
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update(
        {
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "axes.prop_cycle": cycler(color=["#1f6f8b", "#d1683a", "#6b8e3d", "#7a5c99"]),
        }
    )


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
