"""Words for what candidates are recorded with: labels of properties and checks, and what each energy term means."""

from matgen.generation.predictors import EVALUATOR
from matgen.structures.candidate_table import BULK, SHEAR, XTB_GAP
from matgen.targets.learned import known_properties
from matgen.targets.properties import Property

LABELS = {
    "band_gap": "PBE band gap",
    "gap": "HOMO–LUMO gap",
    "homo": "HOMO energy",
    "lumo": "LUMO energy",
    "dipole": "Dipole moment",
    "energy_above_hull": "Energy above hull",
    "gpaw_gap": "Band gap by GPAW",
    XTB_GAP: "Gap by GFN2-xTB",
    "n_elements": "Number of elements",
    "hhi_production": "Concentration of production (HHI)",
    "hhi_reserve": "Concentration of reserves (HHI)",
    "host_formation_energy": "Energy against the host",
    BULK: "Bulk modulus by the potential",
    SHEAR: "Shear modulus by the potential",
    "chgnet": "CHGNet",
    "ewald": "Electrostatics",
    "template_prior": "Prior",
}
"""Labels of properties that their names do not give."""

CHECKS = {
    "reads": "File can be read",
    "faithful": "Agrees with what its file says",
    "charge_balance": "Charges balance",
    "density": "Plausible density",
    "min_distance": "No atoms too close",
    "relaxed": "Relaxation converged",
    "symmetry": "Symmetry kept",
    "parses": "Reads back unchanged",
    "cif": "CIF reads back",
    "sdf": "SDF reads back",
    "hull": "Stable against known phases",
    "novel": "Not a known material",
    "unique": "Not a repetition",
    "is_minimum": "Relaxes back after displacement",
    "variety": "Not too many of one layout",
    "in_domain": "Like the training data",
    "strain": "Little strain",
    "graph_kept": "Bonds kept",
    "stereo": "Stereochemistry kept",
    "sanitised": "Valid bonds",
    "posebusters": "Plausible geometry (PoseBusters)",
    "xtb": "Electronic structure by GFN2-xTB",
    "rules": "Rules of the request hold",
    "coordination": "Coordination rules hold",
    "preferences": "Preferred rules hold",
    "known_chemistry": "Composition of known chemistry",
    "no_copy": "No copy of an example",
    "confirmed": "Confirmed by first principles",
    "not_needed": "Needed",
    "assessed": "Could be assessed",
    "phonons": "No imaginary phonons",
    "elasticity": "Elastically stable (Born)",
    "second_opinion": "Stable by a second potential",
}
"""What a passed check says."""

ENERGIES = {
    "template_prior": "Minus the log probability of space group, Wyckoff sites and elements, by the trained prior",
    "charge_balance": "Penalty on oxidation states that do not balance",
    "closed_shell": "Penalty on compositions with open shells, which are seldom insulators",
    "chemical_distance": "Chemical distance from known crystals of the same Wyckoff layout",
    "novelty": "Penalty on formulas that are known",
    "graph": "Graph energy per atom: how unlike real structures the geometry is, by the trained network",
    "repulsion": "Penalty on atoms that overlap",
    "likeness": "Distance of the structure from the examples",
    "likeness_template": "Distance of the template from the examples",
    "coordination": "Penalty on broken rules about coordination",
    "preferences": "Penalty on preferred rules that do not hold",
    "variety": "Penalty on repeating the Wyckoff layout, or the rings, of a better proposal",
    "chgnet": "Energy per atom by CHGNet, over 0.1 eV",
    "ewald": "Electrostatic energy of formal charges per atom, over 0.1 eV",
    "pressure": "Pressure times volume per atom, over 0.1 eV",
}
"""What each term of the energy means; lower is better in all of them."""

_OF_TEMPLATE = "_template"


def property_label(name: str) -> str:
    """Return the label of a property; that of the evaluator, which steers nothing, says so."""
    plain_name = name.removeprefix(EVALUATOR)
    label = LABELS.get(plain_name) or _spaced(plain_name)
    return label if plain_name == name else f"{label}, by the evaluator"


def check_label(name: str) -> str:
    """Return what a passed check says."""
    if name.startswith("target_"):
        return f"Target met: {property_label(name.removeprefix('target_'))}"
    return CHECKS.get(name) or _spaced(name)


def energy_label(name: str) -> str:
    """Return the label of a term of the energy."""
    of = name.removesuffix(_OF_TEMPLATE)
    return f"{property_label(of)} (template)" if of != name else property_label(name)


def energy_meaning(name: str, kind: str) -> str:
    """Return what a term of the energy means."""
    if name in ENERGIES:
        return ENERGIES[name]
    of = name.removesuffix(_OF_TEMPLATE)
    if of in known_properties(kind):
        whence = "the template alone" if of != name else "the structure"
        return (
            f"Minus the log probability that the target of {within(property_label(of))} is met, predicted from {whence}"
        )
    return "A term of the user, or of an earlier version"


def described(name: str, kind: str, unit: str = "") -> Property:
    """Return a property by name; one of a property file, which this does not read, without limits."""
    known = known_properties(kind).get(name.removeprefix(EVALUATOR))
    return known or Property(name, unit, (), float("-inf"), float("inf"), float("-inf"), "of a property file", 0.0)


def within(label: str) -> str:
    """Return a label as it stands within a sentence: `band gap`, but `PBE band gap`."""
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]


def _spaced(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
