"""Values of options that a shell completes; nothing heavy is loaded for them."""

from collections.abc import Iterator
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

KINDS = ("crystal", "molecule")
DEVICES = ("cpu", "cuda", "cuda:0", "cuda:1")
RELAXERS = ("none", "potential", "chgnet", "xtb")
RANKED_BY = ("none", "chgnet")
CALCULATORS = (
    "chgnet",
    "chgnet-r2scan",
    "sevennet",
    "sevennet-0",
    "mace_mp",
    "mattersim",
    "orb",
    "tensornet",
    "grace",
)
"""Names of potentials; `matgen.relaxation.potentials` has what they are."""


def kinds(incomplete: str) -> Iterator[str]:
    """Yield kinds of material."""
    return _beginning(incomplete, KINDS)


def devices(incomplete: str) -> Iterator[str]:
    """Yield names of devices, whether they are there or not: asking PyTorch takes a second."""
    return _beginning(incomplete, DEVICES)


def relaxers(incomplete: str) -> Iterator[str]:
    """Yield ways to relax."""
    return _beginning(incomplete, RELAXERS)


def potentials(incomplete: str) -> Iterator[str]:
    """Yield potentials that rank."""
    return _beginning(incomplete, RANKED_BY)


def calculators(incomplete: str) -> Iterator[str]:
    """Yield names of potentials."""
    return _beginning(incomplete, CALCULATORS)


def properties(incomplete: str) -> Iterator[str]:
    """Yield names of properties, with the sign of equality that follows."""
    from matgen.targets.learned import DERIVED, LEARNED
    from matgen.targets.properties import PROPERTIES

    return _beginning(incomplete, sorted(f"{name}=" for name in {*PROPERTIES, *LEARNED, *DERIVED}))


def executors(incomplete: str) -> Iterator[str]:
    """Yield `local`, and Python files that may define a Parsl configuration."""
    yield from _beginning(incomplete, ("local",))
    yield from _files(incomplete, ".py")


def property_files(incomplete: str) -> Iterator[str]:
    """Yield `shipped`, and property files."""
    yield from _beginning(incomplete, ("shipped",))
    yield from _files(incomplete, ".safetensors")


def training_configs(incomplete: str) -> Iterator[str]:
    """Yield names of shipped configurations, and TOML files."""
    yield from _beginning(incomplete, sorted(path.stem for path in CONFIGS.glob("*.toml")))
    yield from _files(incomplete, ".toml")


def _beginning(incomplete: str, values: "tuple[str, ...] | list[str]") -> Iterator[str]:
    return (value for value in values if value.startswith(incomplete))


def _files(incomplete: str, suffix: str) -> Iterator[str]:
    """Yield files of a suffix, and folders, whose path begins so."""
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in paths:
        shown = f"{path}/" if path.is_dir() else str(path)
        if shown.startswith(incomplete) and not path.name.startswith(".") and (path.is_dir() or path.suffix == suffix):
            yield shown
