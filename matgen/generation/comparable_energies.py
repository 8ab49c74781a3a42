"""Whether the energies that a request compares can be compared: those of one composition, at one pressure."""

from collections.abc import Collection
from typing import NoReturn, Protocol

from matgen.chemistry.elements import reduced
from matgen.chemistry.formal_charges import formal_charges
from matgen.generation.constraints import CompositionConstraints
from matgen.generation.errors import RequestError
from matgen.generation.formulas import parse_formula
from matgen.generation.potential_term import RankingConfig
from matgen.generation.relaxation_settings import RelaxationConfig
from matgen.generation.search_settings import SelectionConfig


class EnergyRequest(Protocol):
    """The part of a request that these checks read."""

    @property
    def kind(self) -> str:
        """Crystal or molecule."""
        ...

    @property
    def targets(self) -> dict[str, float | str]:
        """Requested values by property."""
        ...

    @property
    def composition(self) -> CompositionConstraints:
        """Which elements may occur."""
        ...

    @property
    def selection(self) -> SelectionConfig:
        """Which candidates are kept."""
        ...

    @property
    def relaxation(self) -> RelaxationConfig:
        """Of candidates, with the pressure."""
        ...

    @property
    def ranking(self) -> RankingConfig:
        """Energies as terms."""
        ...


def check_energies(request: EnergyRequest) -> None:
    """Check the energies per atom that rank crystals, and the pressure.

    Raises:
        RequestError: they need a formula, charges that balance, or no targets.
    """
    crystal = request.kind == "crystal"  # what a molecule does not have is refused elsewhere, all but the pressure
    if crystal and request.ranking.potential != "none" and not request.composition.formula:
        raise RequestError(
            f"expected a formula beside the potential {request.ranking.potential}, got none: energies per atom of "
            "different compositions cannot be compared; give --formula, or leave the potential out"
        )
    if crystal and request.ranking.ewald_weight:
        _check_charges(request.composition.formula)
    if request.relaxation.pressure:
        _check_pressure(request)


def _check_charges(formula: str) -> None:
    """Check that a formula is named whose formal charges balance."""
    if not formula:
        raise RequestError(
            "expected a formula beside ewald_weight, got none: electrostatic energies of different compositions cannot "
            "be compared; give --formula, or leave --ewald-weight out"
        )
    if formal_charges(reduced(parse_formula(formula))) is None:
        raise RequestError(
            f"expected a formula whose oxidation states balance for ewald_weight, got {formula}, whose electrostatic "
            "energy of formal charges is zero; leave --ewald-weight out"
        )


def _check_pressure(request: EnergyRequest) -> None:
    """Check that a pressure is asked for crystals of one formula, without what is known at 0 GPa only."""
    asked = f"pressure {request.relaxation.pressure:g} GPa"
    if request.kind != "crystal":
        raise RequestError(f"expected no pressure for a molecule, got {asked}; only a crystal has one")
    if not request.composition.formula:
        raise RequestError(
            f"expected a formula beside {asked}, got none: at a pressure there is no hull, and enthalpies per atom of "
            "different compositions cannot be compared; give --formula"
        )
    if request.targets:
        raise RequestError(
            f"expected no targets beside {asked}, got {', '.join(request.targets)}: the models know properties at "
            "0 GPa; leave the targets or the pressure out"
        )
    if request.selection.max_ehull != SelectionConfig().max_ehull:
        _refuse_hull(request)


def check_named(request: EnergyRequest, options: Collection[str]) -> None:
    """Check that beside a pressure no energy above the hull is named, not even the usual one.

    Args:
        request: as it is with the options.
        options: flat keywords that were given; a table may list all of its settings.

    Raises:
        RequestError: one is named.
    """
    if request.relaxation.pressure and "max_ehull" in options:
        _refuse_hull(request)


def _refuse_hull(request: EnergyRequest) -> NoReturn:
    raise RequestError(
        f"expected no max_ehull beside pressure {request.relaxation.pressure:g} GPa, got "
        f"{request.selection.max_ehull:g}: the hull is that of 0 GPa; leave --max-ehull out"
    )
