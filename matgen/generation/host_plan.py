"""What is proposed from a host: templates of which a part is held, or point defects in a supercell."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from matgen.chemistry.elements import SYMBOLS
from matgen.generation.errors import RequestError
from matgen.generation.formulas import element
from matgen.generation.host_changes import Replacement, kept_sites, replacement
from matgen.generation.host_settings import HostConfig
from matgen.structures.hosts import Host
from matgen.structures.point_defects import Change, Exchange, Insertion, Vacancy, count_of_defects
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.crystal_rules import MAX_ATOMS, ContradictionError, TemplateRules
from matgen.templates.held import HeldTemplate, OpenSites

MOST_LISTED = 500
"""Templates that are listed and assessed one after the other; of more, the sampler chooses some."""


@dataclass(frozen=True)
class HeldPlan:
    """Templates that share the held sites of a host.

    Attributes:
        host: the crystal.
        held: its sites, held and open.
        rules: hard constraints, with the space group of the host.
        replaced: whether elements are replaced, rather than searched around a start.
    """

    host: Host
    held: HeldTemplate
    rules: TemplateRules
    replaced: bool

    @cached_property
    def listed(self) -> tuple[CrystalTemplate, ...]:
        """All templates that keep the rules, if they are at most `MOST_LISTED`; empty if the sampler chooses some.

        Raises:
            ContradictionError: none keeps the rules.
        """
        if self.held.movable or self.held.count() > MOST_LISTED:
            return ()
        found = tuple(one for one in self.held.all() if self.rules.satisfied(one) and one != self.host.template)
        if not found:
            raise ContradictionError(
                f"no crystal that the replacements make of {self.host.name} satisfies the other constraints; "
                "drop some of them"
            )
        return found


@dataclass(frozen=True)
class DefectPlan:
    """Point defects of a host.

    Attributes:
        host: the crystal.
        changes: what is changed.
        supercell: least distance of a defect from its images, Å; 0 for the primitive cell.
    """

    host: Host
    changes: tuple[Change, ...]
    supercell: float

    @cached_property
    def count(self) -> int:
        """Number of defects.

        Raises:
            HostError: the supercell is too large, lacks atoms, or has no void.
        """
        return count_of_defects(self.host, self.changes, self.supercell)


HostPlan = HeldPlan | DefectPlan


def host_plan(config: HostConfig, rules: TemplateRules, *, moves: bool = True) -> HostPlan | None:
    """Return what is proposed; None without a host or a start.

    Args:
        config: the host, and what of it changes.
        rules: hard constraints of the request.
        moves: whether the sampler may move templates.

    Raises:
        RequestError: what is asked cannot be understood, or not of this host.
        HostError: the host lacks a site, or is too large.
        ContradictionError: nothing satisfies the rules.
    """
    host = config.host
    if host is None:
        return None
    kept = kept_sites(config.keep, host)
    replacements = [replacement(text, host) for text in config.replace]
    if config.insert or config.vacancy or any(one.count for one in replacements):
        return _defects(config, host, kept, replacements, rules)
    return _held(host, kept, replacements, rules, moves=moves)


def _defects(
    config: HostConfig, host: Host, kept: frozenset[int], replacements: Iterable[Replacement], rules: TemplateRules
) -> DefectPlan:
    """Return the point defects: vacancies, then replaced and inserted atoms."""
    _check_elements({z for _, z in host.template.sites}, rules, host)
    if kept:
        raise RequestError(
            "expected no --keep for point defects, got one; all other atoms are those of the host anyway"
        )
    changes: list[Change] = [Vacancy(_present(symbol, host)) for symbol in config.vacancy]
    for one in replacements:
        if not one.count:
            raise RequestError(
                "expected replacements of single atoms beside other point defects, got one of whole sites; give each "
                "a count, such as 'Co -> Al x1', or make two runs"
            )
        changes += [Exchange(one.sites, z, one.count) for z in sorted(one.elements & rules.allowed_elements)]
    inserted = [element(symbol) for symbol in config.insert]
    if excluded := set(inserted) - rules.allowed_elements:
        raise ContradictionError(f"{_names(excluded)} is to be inserted, but not allowed; drop one of the two")
    changes += map(Insertion, inserted)
    if len(set(changes)) < len(changes):
        raise RequestError("expected each vacancy, replacement and insertion once, got one twice; name it once")
    if not changes:
        raise ContradictionError("expected elements that may replace others, got none that are allowed")
    plan = DefectPlan(host, tuple(changes), config.supercell)
    _ = plan.count
    return plan


def _present(symbol: str, host: Host) -> int:
    """Return the atomic number of an element of the host."""
    z = element(symbol, must_be_known=False)
    host.sites_of(z)
    return z


def _held(
    host: Host,
    kept: frozenset[int],
    replacements: list[Replacement],
    rules: TemplateRules,
    *,
    moves: bool,
) -> HeldPlan:
    """Return the templates with the held sites of the host."""
    template = host.template
    if template.n_atoms > min(MAX_ATOMS, rules.max_atoms):
        raise RequestError(
            f"expected a primitive cell of at most {min(MAX_ATOMS, rules.max_atoms)} atoms, got {template.n_atoms} in "
            f"{host.name}; replace single atoms, such as 'Co -> Al x1', which needs no model of templates"
        )
    allowed = rules.space_groups
    if allowed == frozenset(range(2, 231)):  # none is asked
        allowed |= {1}
    if template.space_group not in allowed:
        raise RequestError(
            f"expected a host of space group {', '.join(map(str, sorted(rules.space_groups)))}, got "
            f"{template.space_group} in {host.name}; leave --spacegroup out"
        )
    if rules.composition:
        raise RequestError("expected no --formula with a host or a start, got one; --replace says what may change")
    rules = replace(rules, space_groups=frozenset({template.space_group}))
    if replacements:
        groups = _groups(replacements, kept, rules, host)
    else:
        groups = [OpenSites(tuple(i for i in range(len(template.sites)) if i not in kept), rules.allowed_elements)]
        if not groups[0].sites:
            raise RequestError(f"expected a site of {host.name} that may change, got all of them kept; keep fewer")
        if not moves:
            raise RequestError("expected moves on templates with --start, got --no-moves; leave it out")
    held = HeldTemplate(template, tuple(groups), movable=not replacements)
    _check_held(held, rules, host)
    plan = HeldPlan(host, held, rules, bool(replacements))
    _ = plan.listed
    return plan


def _groups(replacements: list[Replacement], kept: frozenset[int], rules: TemplateRules, host: Host) -> list[OpenSites]:
    groups = []
    for one in replacements:
        sites = tuple(site for site in one.sites if site not in kept)
        if not sites:
            raise RequestError(f"expected sites to replace, got only kept ones; keep fewer of {host.sites_text}")
        groups.append(OpenSites(sites, one.elements & rules.allowed_elements))
    return groups


def _check_held(held: HeldTemplate, rules: TemplateRules, host: Host) -> None:
    """Check that the rules allow what is held, and of a start everything.

    Raises:
        ContradictionError: they do not.
    """
    given = held.template.sites if held.movable else held.held
    _check_elements({z for _, z in given}, rules, host)
    if held.movable and not rules.satisfied(held.template):
        raise ContradictionError(
            f"the start {host.name} ({held.template}) does not satisfy the constraints; start elsewhere, or drop some"
        )


def _check_elements(held: set[int], rules: TemplateRules, host: Host) -> None:
    """Check that the held elements are allowed.

    Raises:
        ContradictionError: they are not.
    """
    if excluded := held - rules.allowed_elements:
        raise ContradictionError(f"{_names(excluded)} of {host.name} is held, but not allowed; drop one of the two")


def _names(elements: set[int]) -> str:
    return ", ".join(SYMBOLS[z] for z in sorted(elements))
