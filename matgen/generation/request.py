"""Everything that a design run is asked; one TOML file ⇄ one `Request`."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

from matgen.chemistry.elements import SYMBOLS
from matgen.energies.base import Energy, TemplateEnergy
from matgen.energies.rules import Coordination, Preferences
from matgen.energies.terms import Terms
from matgen.generation.between import with_both, with_ends
from matgen.generation.between_settings import BetweenConfig
from matgen.generation.comparable_energies import check_energies, check_named
from matgen.generation.constraints import CompositionConstraints, GraphConstraints, SymmetryConstraints
from matgen.generation.errors import RequestError
from matgen.generation.formulas import parse_formula
from matgen.generation.host_plan import DefectPlan, HeldPlan, HostPlan, host_plan
from matgen.generation.host_settings import HostConfig
from matgen.generation.impossible import check_possible, counts_of_elements
from matgen.generation.keywords import TABLES, distributed, overlaid
from matgen.generation.known_chemistry import why_unknown
from matgen.generation.like import Example, LikenessConfig
from matgen.generation.potential_term import RankingConfig
from matgen.generation.relaxation_settings import RELAXERS, RelaxationConfig
from matgen.generation.request_checks import check_request
from matgen.generation.sampler_settings import SamplerConfig, Stages
from matgen.generation.search_settings import ResourceConfig, SearchConfig, SelectionConfig, VerificationConfig
from matgen.generation.template_constraints import MOST, crystal_rules, molecule_rules
from matgen.relaxation.calculators import CHGNET
from matgen.runtime.config import from_mapping, to_mapping
from matgen.structures.renamed import TERMS
from matgen.targets.learned import OF_NON_METALS
from matgen.targets.properties import CRYSTAL_PROPERTIES, MOLECULE_PROPERTIES, Property
from matgen.targets.target import Target, parse_targets
from matgen.templates.crystal_rules import TemplateRules
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.molecule_rules import MoleculeRules
from matgen.templates.stereo import open_isomers
from matgen.weights.property_format import PropertyFile
from matgen.weights.property_sets import files_in_use, named_files, out_of_range, targets_by_files
from matgen.weights.shipped import folder_of

TAKEN = frozenset(
    {
        "template_prior",
        "charge_balance",
        "closed_shell",
        "coordination",
        "preferences",
        "chemical_distance",
        "graph",
        "likeness",
        "likeness_template",
        "novelty",
        "repulsion",
        "variety",
        *TERMS,
        *TERMS.values(),
    }
).union(*((name, f"{name}_template") for name in CRYSTAL_PROPERTIES | MOLECULE_PROPERTIES))
"""Names of the terms that every total energy may have; targets for other properties add theirs."""

FEW = 3
"""A request that names at most so many elements or space groups leaves few layouts, and no limit on each."""


@dataclass(frozen=True)
class Request:
    """What is asked, and how hard to try.

    `Request.of(band_gap=1.5, n=10, elements=["Ga", "N"])` distributes flat keywords to the tables.

    Attributes:
        kind: crystals or molecules.
        targets: requested values by property: 1.5, "1.2:1.8", ">3", "<=0.05".
        composition: which elements may occur, and how many atoms.
        symmetry: of crystals.
        graph: of molecules.
        like: examples to resemble.
        between: two requests to interpolate between.
        host: a crystal that is changed in places, or a fragment that is held.
        search: how many candidates, and how long the search goes on.
        selection: which candidates are kept.
        verification: by first principles, during the search.
        relaxation: of candidates.
        ranking: an interatomic potential as a term.
        resources: device, processes, weights.
        stages: of the sampler.
        sampler: how hard each stage works.
        energies: terms of the user, added to the total energy; not part of files.
    """

    kind: Literal["crystal", "molecule"] = "crystal"
    targets: dict[str, float | str] = field(default_factory=dict)
    composition: CompositionConstraints = field(default_factory=CompositionConstraints)
    symmetry: SymmetryConstraints = field(default_factory=SymmetryConstraints)
    graph: GraphConstraints = field(default_factory=GraphConstraints)
    like: LikenessConfig = field(default_factory=LikenessConfig)
    between: BetweenConfig = field(default_factory=BetweenConfig)
    host: HostConfig = field(default_factory=HostConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    relaxation: RelaxationConfig = field(default_factory=RelaxationConfig)
    ranking: RankingConfig = field(default_factory=RankingConfig)
    resources: ResourceConfig = field(default_factory=ResourceConfig)
    stages: Stages = field(default_factory=Stages)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    energies: tuple[Energy | TemplateEnergy, ...] = field(default=(), metadata={"in_files": False})

    def __post_init__(self) -> None:
        """Check the request as a whole.

        Raises:
            RequestError: settings that the kind does not have, or that exclude each other.
            TargetError: a target that cannot be understood or met.
            ContradictionError: rules that no template satisfies.
            TermError: a term that is no energy, or whose name is taken.
        """
        if self.kind not in RELAXERS:
            raise RequestError(f"expected a kind of {' or '.join(RELAXERS)}, got {self.kind!r}")
        check_energies(self)
        if self.between.requests and not self.between.ends:
            object.__setattr__(self, "between", with_ends(self.between))  # read once, as a part of this request
        check_request(self)
        _ = self.terms, self.examples, self.property_files
        check_possible(self.property_targets, self.rules)

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Return a request from flat keywords, tables, and targets by property name.

        Args:
            options: such as `n=10`, `formula="GaN"`, `sampler={"levels": 20}`, `band_gap=(1.2, 1.8)`.

        Raises:
            ValueError: the request cannot be understood or fulfilled.
        """
        return cls().updated(**options)

    def updated(self, **options: Any) -> Self:
        """Return the request with options of `Request.of` put over it.

        Raises:
            ValueError: the request cannot be understood or fulfilled.
        """
        others = {name: value for name, value in options.items() if name != "energies"}
        changes = distributed(others, self.kind, self.resources.with_files)
        if changes.get("between", {}).get("requests"):
            changes = with_both({"kind": self.kind} | changes)
        for name, change in changes.items():
            if name in TABLES:
                table = overlaid(to_mapping(getattr(self, name)), change)
                changes[name] = from_mapping(TABLES[name], table, where=name)
            else:
                changes[name] = overlaid(getattr(self, name), change)
        if "energies" in options:
            changes["energies"] = _terms(options["energies"])
        found = replace(self, **changes)
        check_named(found, options)
        return found

    @cached_property
    def property_targets(self) -> tuple[Target, ...]:
        """The targets, parsed."""
        return parse_targets(self.targets, self.known_properties)

    @cached_property
    def all_targets(self) -> tuple[Target, ...]:
        """The targets of this request, and of those that it lies between."""
        return self.property_targets + tuple(target for _, end in self.ends for target in end.property_targets)

    @cached_property
    def named_files(self) -> tuple[PropertyFile, ...]:
        """The property files that the request names, checked."""
        return named_files(self.resources.with_files, self.kind, folder_of(self.resources.weights))

    @cached_property
    def property_files(self) -> tuple[PropertyFile, ...]:
        """The property files in use: those named, and the shipped one where a target needs it."""
        targets = [target.name for target in self.all_targets]
        return files_in_use(self.named_files, self.kind, targets, folder_of(self.resources.weights))

    @cached_property
    def known_properties(self) -> dict[str, Property]:
        """All properties that may be targets, those of property files included, by name."""
        return targets_by_files(self.named_files, self.kind)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know before the search: targets far from all labels of a file, or not of metals."""
        found = [out_of_range(self.property_files, t.name, *t.window) for t in self.all_targets]
        gapped = any(target.name == "band_gap" and target.window[0] > 0 for target in self.all_targets)
        if self.kind == "crystal" and not gapped:
            found += [
                f"metals may be proposed, which have no {target.name}; add a band_gap, such as band_gap='>0'"
                for target in self.all_targets
                if target.name in OF_NON_METALS
            ]
        if self.unknown_chemistry:
            found.append(f"no known chemistry forms {self.composition.formula}: {self.unknown_chemistry}")
        return tuple(dict.fromkeys(filter(None, found)))

    @cached_property
    def unknown_chemistry(self) -> str:
        """Why no known chemistry forms the formula of a crystal; empty if it may."""
        formula = self.composition.formula if self.kind == "crystal" else ""
        return why_unknown({SYMBOLS[z]: n for z, n in parse_formula(formula).items()}) if formula else ""

    @cached_property
    def ends(self) -> tuple[tuple[float, "Request"], ...]:
        """The two requests that this one lies between, with their weights; empty where it is none."""
        weights = (self.between.alpha, 1 - self.between.alpha)
        found = []
        for weight, end in zip(weights, self.between.ends, strict=False):
            composition = replace(self.composition, prefer=(*self.composition.prefer, *end.prefer))
            one = replace(self, targets=end.targets, like=end.like, composition=composition, between=BetweenConfig())
            found.append((weight, one))
        return tuple(found)

    @cached_property
    def examples(self) -> tuple[Example, ...]:
        """The examples of this request, and of those that it lies between."""
        own = self.like.of_kind(self.kind)
        return own + tuple(example for _, end in self.ends for example in end.examples)

    @cached_property
    def terms(self) -> Terms:
        """The terms that this request adds to the total energy."""
        targets, asked = {target.name for target in self.property_targets}, self.ranking.terms + self.relaxation.terms
        taken = TAKEN.union({self.ranking.potential}, asked.terms(), targets, (f"{name}_template" for name in targets))
        own = Terms.of(_terms(self.energies), taken)
        rules, weight = self.composition, self.sampler.rules
        if rules.prefer:
            own = replace(own, templates=own.templates + weight * Preferences(rules.preferences))
        coordination = Coordination([*rules.statements, *rules.preferences])
        if coordination.rules:
            own = replace(own, states=own.states + weight * coordination)
        return replace(own, states=own.states + asked)

    @cached_property
    def relaxer(self) -> str:
        """What relaxes candidates: `potential` (the calculator of crystals), `xtb` or `none`."""
        method = RELAXERS[self.kind][0] if self.relaxation.method == "usual" else self.relaxation.method
        return "potential" if method == CHGNET else method

    @cached_property
    def rules(self) -> TemplateRules | MoleculeRules:
        """The hard constraints on templates."""
        return self.crystal_rules if self.kind == "crystal" else self.molecule_rules

    @cached_property
    def crystal_rules(self) -> TemplateRules:
        """The hard constraints on crystals."""
        n_elements = counts_of_elements(self.property_targets, MOST["crystal"])
        named = () if self.host.file else self.examples  # with a host, it and its options name the elements
        examples = {z for example in named for z in example.template.composition}
        return crystal_rules(self.composition, self.symmetry, n_elements, self.host.elements | examples)

    @cached_property
    def molecule_rules(self) -> MoleculeRules:
        """The hard constraints on molecular graphs."""
        return molecule_rules(self.composition, self.graph, self.host.held_fragment)

    @cached_property
    def host_plan(self) -> HostPlan | None:
        """What is proposed from a host or around a start; None without one."""
        return host_plan(self.host, self.crystal_rules, moves=self.stages.moves) if self.kind == "crystal" else None

    @cached_property
    def possible(self) -> int:
        """Number of different proposals, where they are listed; 0 where the sampler makes them."""
        match self.host_plan:
            case HeldPlan() as plan:
                return len(plan.listed)
            case DefectPlan() as plan:
                return plan.count
        return 0

    @property
    def template(self) -> MoleculeTemplate | None:
        """The molecular graph to keep; None for any."""
        return self.graph.template

    @cached_property
    def wanted(self) -> int:
        """Candidates to find, including all to verify; at most the number of stereoisomers, or of listed proposals.

        Of point defects all: which are best is known only once all are relaxed.
        """
        if isinstance(self.host_plan, DefectPlan):
            return self.possible
        n = max(self.search.n, self.verification.n)
        n = min(n, self.possible or n)
        return n if self.template is None else min(n, len(open_isomers(self.template)))

    @cached_property
    def most_alike(self) -> int:
        """Most candidates of one layout, as long as others are found: three tenths of those wanted, rounded up.

        All where variety is switched off, where examples are given, whose layouts are wanted, and where the request
        leaves few layouts: of molecules, where a formula or a host is named, or at most `FEW` elements or space groups.
        """
        named = (self.composition.elements, self.symmetry.space_groups)
        few = self.composition.formula or self.host.given or any(0 < len(some) <= FEW for some in named)
        if not self.selection.variety or self.examples or self.kind == "molecule" or few:
            return self.wanted
        return -(-3 * self.wanted // 10)


def _terms(energies: Any) -> tuple[Any, ...]:
    """Return energies as a tuple; a single one, or a sum, as its only item."""
    return tuple(energies) if isinstance(energies, Iterable) else (energies,)
