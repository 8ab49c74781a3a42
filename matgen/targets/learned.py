"""Properties of crystals that heads on the embeddings of the shipped networks predict, and those derived from them.

Their labels are fewer than those of `matgen.targets.properties`, and no network was trained for them alone. A request
reads them only where a target names one.
"""

import math
from collections.abc import Iterable, Mapping

from matgen.targets.properties import PROPERTIES_OF, Property

ELASTIC = "Voigt-Reuss-Hill average of elastic constants (PBE)"
AGL = "quasi-harmonic Debye model (AGL of AFLOW), 300 K"


def _positive(
    name: str, unit: str, aliases: tuple[str, ...], highest: float, note: str, tolerance: float = 0.2
) -> Property:
    """Return a positive property, whose tolerance is a share of the target."""
    return Property(name, unit, aliases, 0.0, highest, -math.inf, note, tolerance, relative=True)


LEARNED: dict[str, Property] = {
    p.name: p
    for p in (
        _positive("bulk_modulus", "GPa", ("bulk", "k_vrh"), 600.0, ELASTIC),
        _positive("shear_modulus", "GPa", ("shear", "g_vrh"), 600.0, ELASTIC),
        _positive("thermal_conductivity", "W/m/K", ("kappa", "lattice_thermal_conductivity"), 1000.0, AGL, 0.3),
        _positive("debye_temperature", "K", ("theta_d", "debye"), 2500.0, AGL, 0.1),
        _positive("thermal_expansion", "1/K", ("expansion",), 1e-3, f"volumetric, {AGL}"),
        _positive(
            "refractive_index", "", ("n_index", "index_of_refraction"), 100.0, "static, of the electrons, PBE", 0.1
        ),
        _positive(
            "phonon_peak",
            "cm⁻¹",
            ("highest_phonon_peak",),
            4000.0,
            "highest peak of the density of phonons, PBEsol",
            0.1,
        ),
    )
}
"""Properties of the shipped property file, by name."""

DERIVED: dict[str, Property] = {
    p.name: p
    for p in (
        _positive("pugh_ratio", "", ("k_over_g",), 100.0, "K/G; ductile above about 1.75", 0.1),
        Property("poisson_ratio", "", ("poisson",), -1.0, 0.5, -math.inf, "(3 K - 2 G) / (6 K + 2 G)", 0.03),
        _positive("young_modulus", "GPa", ("young", "youngs_modulus"), 1500.0, "9 K G / (3 K + G)"),
        _positive("vickers_hardness", "GPa", ("hardness",), 150.0, "0.92 (G/K)^1.137 G^0.708, Tian 2012", 0.25),
        _positive("dielectric_constant", "", ("epsilon_inf", "dielectric"), 10000.0, "of the electrons, static: n²"),
    )
}
"""Properties that `matgen.targets.derived` computes from the learned ones, by name."""

BY_FILE = LEARNED | DERIVED

OF_NON_METALS = frozenset({"refractive_index", "dielectric_constant"})
"""Those whose labels are of non-metals: a metal has no such number, whatever is predicted."""


def known_properties(kind: str, more: Iterable[Mapping[str, Property]] = ()) -> dict[str, Property]:
    """Return all properties that may be targets of a kind, by name.

    Args:
        kind: crystal or molecule.
        more: properties of property files.
    """
    found = PROPERTIES_OF[kind] | (BY_FILE if kind == "crystal" else {})
    for some in more:
        found = found | dict(some)
    return found
