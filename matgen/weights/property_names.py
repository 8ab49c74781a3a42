"""Names that the properties of files may have: they become columns of tables, terms of the energy, and keywords."""

import re

from matgen.structures.renamed import TERMS
from matgen.targets.learned import BY_FILE

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

RESERVED = frozenset(
    re.findall(
        r"\w+",
        "allow_known avoid avoid_hazard between between_alpha budget calculator charge charge_balance "
        "chemical_distance chgnet closed_shell closest_contact composition confidence coordination density_energy "
        "device e_above_hull elastic_bulk_gpa elastic_shear_gpa elasticity electrostatic elements energies enthalpy "
        "ev_per_atom ewald_weight example_distance exclude executor failed family fast files formula formula_units "
        "fragment g_per_cm3 geometry gpaw_gap graph graph_prior host host_formation_energy id inchikey include index "
        "insert keep kind least_stiffness_gpa like like_weight likeness lowest_phonon_thz max_atoms max_ehull n "
        "n_atoms n_atoms_primitive n_heavy name nearest_example net_charge nonbonded novelty out over_generation "
        "passed path phonons potential potential_weight prefer preferences pressure processes rank ranking reason "
        "record relax relaxation relaxation_steps remarks replace report repulsion resources rounds rules sampler "
        "search second_e_above_hull second_opinion seed selection smarts smiles space_group space_group_symbol "
        "space_groups stages start stereo strain supercell symmetry targets template template_prior threads "
        "tight_space_group vacancy variety verification verify verify_minutes weights with_files xtb_gap",
    )
).union(TERMS, TERMS.values())
"""Columns of tables, keywords of a design, and terms of the energy."""

AFFIXES = re.compile(
    r"(check|energy|evaluator|target|verified)_.*|.*_(aleatoric|epistemic|probability|spread|template)"
)
"""How columns and terms are named that belong to another one."""


def wrong_name(name: str) -> str:
    """Return why a property may not have a name; empty if it may."""
    if not NAME.fullmatch(name):
        return f"expected a name of lower-case letters, digits and _, beginning with a letter, got {name!r}"
    if name in RESERVED or AFFIXES.fullmatch(name):
        return f"expected a name of its own, got {name}, which means another column or option"
    return ""


def unlike_shipped(kind: str, name: str, unit: str, *, logarithmic: bool) -> str:
    """Return why a property that has the name of a shipped one is another quantity; empty if it is not.

    Args:
        kind: crystal or molecule; the shipped ones are of crystals.
        name: of the property.
        unit: of the property.
        logarithmic: whether its logarithm is predicted, as of all shipped ones that are positive.
    """
    shipped = BY_FILE.get(name) if kind == "crystal" else None
    if shipped is None or (shipped.unit, shipped.relative) == (unit, logarithmic):
        return ""
    wanted, got = (
        f"{one or 'no unit'} on a {'logarithmic' if scale else 'linear'} scale"
        for one, scale in ((shipped.unit, shipped.relative), (unit, logarithmic))
    )
    return f"expected {name} in {wanted}, as the shipped one, got {got}"
