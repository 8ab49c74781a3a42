"""Whether what a request asks can be had together."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matgen.generation.errors import RequestError
from matgen.generation.host_plan import DefectPlan
from matgen.generation.keywords import TABLES
from matgen.generation.relaxation_settings import RELAXERS
from matgen.generation.template_constraints import MOST
from matgen.phonons.asked import check_asked
from matgen.templates.skeleton import Skeleton

if TYPE_CHECKING:
    from matgen.generation.request import Request

FOREIGN = {
    "crystal": ("graph.smiles", "graph.smarts", "graph.avoid", "graph.charge", "host.fragment"),
    "molecule": (
        "composition.formula_units",
        "symmetry.space_groups",
        "ranking.potential",
        "ranking.potential_weight",
        "ranking.ewald_weight",
        "selection.max_ehull",
        "selection.phonons",
        "selection.elasticity",
        "relaxation.settings",
        "relaxation.calculator",
        "relaxation.second_opinion",
        *(f"host.{name}" for name in ("file", "replace", "insert", "vacancy", "supercell", "start", "keep")),
    ),
}
"""Settings that each kind does not have."""

NOT_OF_DEFECTS = (
    *(f"composition.{name}" for name in ("include", "formula", "formula_units", "max_atoms", "rules", "prefer")),
    "symmetry.space_groups",
)
"""Constraints that choose among templates, of which point defects have none."""


NO_ZERO = ("max_atoms", "formula_units")
"""Flat keywords of which 0 would mean nothing; tables have it for "any"."""


def asked(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return flat keywords of which each asks for something: no empty text, and no zero where that means "any".

    Raises:
        RequestError: it is none.
    """
    for name in NO_ZERO:
        if name in options and not options[name]:
            raise RequestError(f"expected {name} of at least 1, got {options[name]}; leave it out for any number")
    for name, value in options.items():
        texts = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
        if any(isinstance(text, str) and not text.strip() for text in texts):
            hint = "leave it out if it may be any" if isinstance(value, str) else "check the commas, or leave it out"
            raise RequestError(f"expected {name} with a value, got an empty text; {hint}")
    return options


def check_request(request: "Request") -> None:
    """Check that nothing is asked that the kind does not have, or that something else rules out.

    Raises:
        RequestError: it is.
    """
    _check_kind(request)
    _check_size(request)
    _check_host(request)
    _check_lattice(request)
    _check_verification(request)
    _check_between(request)


def _check_kind(request: "Request") -> None:
    """Check that nothing is asked that the kind does not have."""
    for path in FOREIGN[request.kind]:
        table, name = path.split(".")
        given = getattr(getattr(request, table), name)
        if given != getattr(TABLES[table](), name):
            other = "molecule" if request.kind == "crystal" else "crystal"
            what = "relaxation settings" if table == "relaxation" else "host" if name == "file" else name
            raise RequestError(f"expected no {what} for a {request.kind}, got {given!r}; only a {other} has one")
    if request.relaxer not in RELAXERS[request.kind]:
        expected = " or ".join(RELAXERS[request.kind])
        raise RequestError(f"expected relax of {expected} for a {request.kind}, got {request.relaxation.method!r}")
    template = request.template
    if template is not None:
        Skeleton.of(template)  # names what of it the models cannot sample
        fault = request.molecule_rules.why_not(template)
        if fault:
            raise RequestError(f"expected a graph that keeps the rules, got {request.graph.smiles}: {fault}")


def _check_lattice(request: "Request") -> None:
    """Check that a second opinion, phonons and elastic tensors can be had of what is proposed."""
    asked = request.selection.lattice_checks
    if request.relaxation.second_opinion and isinstance(request.host_plan, DefectPlan):
        raise RequestError(
            "expected no second opinion with point defects, which are ranked by their energy of formation and not by "
            f"the hull, got {request.relaxation.second_opinion}; leave it out"
        )
    if not asked:
        return
    if request.relaxer == "none":
        raise RequestError(f"expected a relaxation beside {' and '.join(asked)}, got none: leave --relax out")
    if isinstance(request.host_plan, DefectPlan):
        raise RequestError(
            f"expected no {' or '.join(asked)} with point defects, whose cells are too large; leave it out"
        )
    check_asked(asked, request.relaxation.pressure)


def _check_host(request: "Request") -> None:
    """Check what is asked of a host, and that nothing is asked that its proposals do not have."""
    if request.host.fragment and request.graph.smiles:
        raise RequestError("expected a fragment or a graph to keep, got both; leave --smiles or --fragment out")
    if isinstance(request.host_plan, DefectPlan):
        for table, name in (one.split(".") for one in NOT_OF_DEFECTS):
            given = getattr(getattr(request, table), name)
            if given != getattr(TABLES[table](), name):
                raise RequestError(
                    f"expected no {name} with point defects, got {given!r}: all that differ by symmetry are listed; "
                    "leave it out"
                )
        for option, files in (("--like", request.like.examples), ("--between", request.between.requests)):
            if files:
                raise RequestError(
                    f"expected no {option} with point defects, got {', '.join(files)}: all that differ by symmetry are "
                    "listed; leave it out"
                )
        if request.energies:
            raise RequestError(
                "expected no energies of your own with point defects, got some: they are ranked by their energy of "
                "formation; leave them out"
            )
        if request.targets:
            raise RequestError(
                "expected no targets with point defects, got some: the predictors know no cells as large; replace "
                "whole sites, or leave the targets out"
            )
        if request.relaxer != "potential":
            raise RequestError(f"expected relax of chgnet for point defects, got {request.relaxation.method!r}")


def _check_between(request: "Request") -> None:
    """Check that targets and examples are those of the two requests to interpolate between."""
    if request.between.requests and (request.targets or request.like.examples):
        raise RequestError(
            "expected targets and examples in the two requests to interpolate between, got some beside them; "
            "write them into both files"
        )
    _ = request.ends


def _check_size(request: "Request") -> None:
    """Check that the models know materials as large."""
    max_atoms, most = request.composition.max_atoms, MOST[request.kind]
    if not 0 <= max_atoms <= most:
        what = "larger cells" if request.kind == "crystal" else "molecules with more heavy atoms"
        raise RequestError(f"expected max_atoms from 1 to {most}, got {max_atoms}; the models know no {what}")


def _check_verification(request: "Request") -> None:
    """Check that there is a band gap to verify."""
    targets = {target.name for target in request.property_targets}
    if request.verification.n and (request.kind != "crystal" or "band_gap" not in targets):
        raise RequestError(
            "expected a crystal and a target for its band gap for verify, which calculates that; give --bandgap, or "
            "leave --verify out and run `matgen verify` afterwards"
        )
