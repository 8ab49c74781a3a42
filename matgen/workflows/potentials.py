"""The potentials that are known by name, and what of them is at hand."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from matgen.hull.reference import Reference
from matgen.relaxation.calculators import hull_file
from matgen.relaxation.potentials import POTENTIALS


@dataclass(frozen=True)
class PotentialFacts:
    """What a user needs to choose a potential.

    Attributes:
        name: on the command line.
        weights: name of the weights.
        version: of the installed package; empty if it is not installed.
        install: what to give to `pip install`.
        licence: of code and weights.
        functional: first principles that it learned.
        learned: energies with the corrections MP2020, or raw ones.
        source: of the weights: in the wheel, or downloaded at first use.
        hull: phases of the shipped hull; 0 if none ships.
        checked: `run`, or `source` if the constructor was compared with the source of the package, but not run.
    """

    name: str
    weights: str
    version: str
    install: str
    licence: str
    functional: str
    learned: str
    source: str
    hull: int
    checked: str


def described_potentials() -> list[PotentialFacts]:
    """Return the known potentials; nothing heavy is imported."""
    found = []
    for one in POTENTIALS.values():
        path = hull_file(one.name)
        found.append(
            PotentialFacts(
                one.name,
                one.title,
                _version(one.package) if one.installed else "",
                one.install,
                one.licence,
                one.functional,
                one.trained_on,
                one.weights,
                0 if path is None else len(Reference.load(path)),
                one.checked,
            )
        )
    return found


def _version(package: str) -> str:
    try:
        return version({"mace": "mace-torch", "orb_models": "orb-models"}.get(package, package))
    except PackageNotFoundError:
        return "unknown version"
