"""What a crystal competes with: the mixture of known phases of its composition, as an equation and in words."""

from typing import Any

from pymatgen.core.composition import Composition

from matgen.hull.hull import IMPLAUSIBLE, ReferenceHull, UnknownChemistryError
from matgen.report.phase_diagrams import diagram_of

LEAST = 1e-6
"""Share of the atoms below which a phase is none of the mixture: the error of the linear programme."""


def decomposition(composition: Composition, height: float | None, hull: ReferenceHull) -> dict[str, Any] | None:
    """Return the phases that a crystal would decompose into, or be made from; None where an element has no phase.

    `fraction` is a phase's share of the atoms, `amount` its formula units per formula unit of the crystal.

    Args:
        composition: of the crystal, of any size.
        height: energy above the hull, eV/atom; None if unknown.
        hull: of known phases.
    """
    try:
        diagram = diagram_of(hull, composition)
    except UnknownChemistryError:
        return None
    unit = composition.element_composition.reduced_composition
    mixture = diagram.get_decomposition(unit)
    products = [
        {
            "formula": phase.composition.reduced_formula,
            "name": str(phase.name),  # type: ignore[attr-defined]  # of a PDEntry
            "fraction": float(share),
            "amount": float(share) * unit.num_atoms / phase.composition.reduced_composition.num_atoms,
        }
        for phase, share in sorted(mixture.items(), key=lambda item: -item[1])
        if share > LEAST
    ]
    found = {"e_above_hull": height, "products": products, "text": _words(unit, height, products)}
    return found | ({"implausible": True} if height is not None and height < -IMPLAUSIBLE else {})


def equation(unit: Composition, products: list[dict[str, Any]]) -> str:
    """Return the reaction of one formula unit, such as `SrTiO3 → SrO + TiO2`."""
    return f"{unit.reduced_formula} → {' + '.join(map(_term, products))}"


def _term(product: dict[str, Any]) -> str:
    amount = product["amount"]
    return product["formula"] if abs(amount - 1) < 1e-3 else f"{amount:.3g} {product['formula']}"


def _words(unit: Composition, height: float | None, products: list[dict[str, Any]]) -> str:
    """Say in words what the mixture means at this energy above the hull, eV/atom."""
    names = " + ".join(product["formula"] for product in products)
    alone = len(products) == 1 and products[0]["formula"] == unit.reduced_formula
    rival = f"the known form of {names} ({products[0]['name']})" if alone else f"the mixture {names}"
    if height is None:
        return f"Competes with {rival}; its own energy is not known."
    if height < -IMPLAUSIBLE:
        return (
            f"Implausible: {-height:.3f} eV/atom below {rival}; so far below ({IMPLAUSIBLE:g}) the potential or the "
            "reference is wrong."
        )
    if alone:
        side = "above" if height >= 0 else "below"
        return f"{abs(height):.3f} eV/atom {side} {rival}."
    if height > 0:
        return f"{height:.3f} eV/atom above {rival}, into which it may decompose: {equation(unit, products)}."
    return f"{-height:.3f} eV/atom below {rival}, from which it may be made: the reverse of {equation(unit, products)}."
