"""Names that the properties of files may have: they become columns of tables, terms of the energy, and keywords."""

import re

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

RESERVED = frozenset(
    re.findall(
        r"\w+",
        "allow_known avoid budget charge closest_contact composition confidence device density_energy e_above_hull "
        "elements energies ev_per_atom exclude executor failed family fast formula formula_units g_per_cm3 geometry "
        "graph inchikey include index kind max_atoms max_ehull n n_atoms n_atoms_primitive n_heavy name net_charge "
        "out over_generation passed path potential potential_weight processes rank ranking reason relax relaxation "
        "relaxation_steps report resources rounds sampler search seed selection smarts smiles space_group "
        "space_group_symbol space_groups stages strain symmetry targets template threads variety verification verify "
        "verify_minutes weights with_files xtb_gap ",
    )
)
"""Columns of tables, and keywords of a design."""

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
