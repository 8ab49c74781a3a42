"""Everything that a design run is asked; one TOML file ⇄ one `Request`."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

from matgen.energies.base import Energy, TemplateEnergy
from matgen.energies.terms import Terms
from matgen.generation.constraints import CompositionConstraints, GraphConstraints, SymmetryConstraints
from matgen.generation.errors import RequestError
from matgen.generation.keywords import TABLES, distributed, overlaid
from matgen.generation.potential_term import RankingConfig
from matgen.generation.relaxation_settings import RELAXERS, RelaxationConfig
from matgen.generation.sampler_settings import SamplerConfig, Stages
from matgen.generation.search_settings import ResourceConfig, SearchConfig, SelectionConfig, VerificationConfig
from matgen.generation.template_constraints import MOST, crystal_rules, molecule_rules
from matgen.runtime.config import from_mapping, to_mapping
from matgen.structures.renamed import TERMS
from matgen.targets.learned import BY_FILE, OF_NON_METALS
from matgen.targets.properties import PROPERTIES, Property
from matgen.targets.target import Target, parse_targets
from matgen.templates.crystal_rules import TemplateRules
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.molecule_rules import MoleculeRules
from matgen.templates.skeleton import Skeleton
from matgen.templates.stereo import open_isomers
from matgen.weights.property_format import PropertyFile
from matgen.weights.property_sets import files_in_use, named_files, out_of_range, targets_by_files
from matgen.weights.shipped import folder_of

TAKEN = frozenset(
    {
        "template_prior",
        "charge_balance",
        "closed_shell",
        "chemical_distance",
        "graph",
        "novelty",
        "repulsion",
        "variety",
        *TERMS,
        *TERMS.values(),
    }
).union(PROPERTIES, BY_FILE, (f"{name}_template" for name in (*PROPERTIES, *BY_FILE)))
"""Names of the terms that every total energy may have."""

FEW = 3
"""A request that names at most so many elements or space groups leaves few layouts, and no limit on each."""

FOREIGN = {
    "crystal": ("graph.smiles", "graph.smarts", "graph.avoid", "graph.charge"),
    "molecule": (
        "composition.formula_units",
        "symmetry.space_groups",
        "ranking.potential",
        "ranking.potential_weight",
        "selection.max_ehull",
        "relaxation.settings",
    ),
}
"""Settings that each kind does not have."""


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
        _check_kind(self)
        _check_potential(self)
        _ = self.terms
        _check_size(self)
        _check_verification(self)
        _ = self.property_targets, self.property_files, self.rules

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
        for name, change in changes.items():
            if name in TABLES:
                table = overlaid(to_mapping(getattr(self, name)), change)
                changes[name] = from_mapping(TABLES[name], table, where=name)
            else:
                changes[name] = overlaid(getattr(self, name), change)
        if "energies" in options:
            changes["energies"] = _terms(options["energies"])
        return replace(self, **changes)

    @cached_property
    def property_targets(self) -> tuple[Target, ...]:
        """The targets, parsed."""
        return parse_targets(self.targets, self.known_properties)

    @cached_property
    def named_files(self) -> tuple[PropertyFile, ...]:
        """The property files that the request names, checked."""
        found = named_files(self.resources.with_files, self.kind, folder_of(self.resources.weights))
        for name in (name for read in found for name in read.properties if name in TAKEN - set(BY_FILE)):
            raise RequestError(f"expected a property by a name of its own, got {name}, which is a term; train it again")
        return found

    @cached_property
    def property_files(self) -> tuple[PropertyFile, ...]:
        """The property files in use: those named, and the shipped one where a target needs it."""
        targets = [target.name for target in self.property_targets]
        return files_in_use(self.named_files, self.kind, targets, folder_of(self.resources.weights))

    @cached_property
    def known_properties(self) -> dict[str, Property]:
        """All properties that may be targets, those of property files included, by name."""
        return targets_by_files(self.named_files, self.kind)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know before the search: targets far from all labels of a file, or not of metals."""
        found = [out_of_range(self.property_files, t.name, *t.window) for t in self.property_targets]
        if not any(target.name == "band_gap" and target.window[0] > 0 for target in self.property_targets):
            found += [
                f"metals may be proposed, which have no {target.name}; add a band_gap, such as band_gap='>0'"
                for target in self.property_targets
                if target.name in OF_NON_METALS
            ]
        return tuple(filter(None, found))

    @cached_property
    def terms(self) -> Terms:
        """The terms that this request adds to the total energy."""
        own = Terms.of(_terms(self.energies), TAKEN | {self.ranking.potential, *self.known_properties})
        if self.ranking.potential == "none":
            return own
        return replace(own, states=own.states + self.ranking.term)

    @cached_property
    def relaxer(self) -> str:
        """What relaxes candidates: `chgnet`, `xtb` or `none`."""
        method = self.relaxation.method
        return RELAXERS[self.kind][0] if method == "usual" else method

    @cached_property
    def rules(self) -> TemplateRules | MoleculeRules:
        """The hard constraints on templates."""
        return self.crystal_rules if self.kind == "crystal" else self.molecule_rules

    @cached_property
    def crystal_rules(self) -> TemplateRules:
        """The hard constraints on crystals."""
        return crystal_rules(self.composition, self.symmetry)

    @cached_property
    def molecule_rules(self) -> MoleculeRules:
        """The hard constraints on molecular graphs."""
        return molecule_rules(self.composition, self.graph)

    @property
    def template(self) -> MoleculeTemplate | None:
        """The molecular graph to keep; None for any."""
        return self.graph.template

    @cached_property
    def wanted(self) -> int:
        """Candidates to find, including all to verify; of a named graph at most the number of its stereoisomers."""
        n = max(self.search.n, self.verification.n)
        return n if self.template is None else min(n, len(open_isomers(self.template)))

    @cached_property
    def most_alike(self) -> int:
        """Most candidates of one layout, as long as others are found: three tenths of those wanted, rounded up.

        All where variety is switched off, and where the request leaves few layouts: of molecules, where a formula is
        named, or at most `FEW` elements or space groups.
        """
        named = any(0 < len(some) <= FEW for some in (self.composition.elements, self.symmetry.space_groups))
        if not self.selection.variety or self.kind == "molecule" or self.composition.formula or named:
            return self.wanted
        return -(-3 * self.wanted // 10)


def _terms(energies: Any) -> tuple[Any, ...]:
    """Return energies as a tuple; a single one, or a sum, as its only item."""
    return tuple(energies) if isinstance(energies, Iterable) else (energies,)


def _check_kind(request: Request) -> None:
    """Check that nothing is asked that the kind does not have."""
    for path in FOREIGN[request.kind]:
        table, name = path.split(".")
        given = getattr(getattr(request, table), name)
        if given != getattr(TABLES[table](), name):
            other = "molecule" if request.kind == "crystal" else "crystal"
            what = "relaxation settings" if table == "relaxation" else name
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


def _check_potential(request: Request) -> None:
    """Check that a potential ranks crystals of one composition."""
    name = request.ranking.potential
    if name != "none" and not request.composition.formula:
        raise RequestError(
            f"expected a formula beside the potential {name}, got none: energies per atom of different compositions "
            "cannot be compared; give --formula, or leave the potential out"
        )


def _check_size(request: Request) -> None:
    """Check that the models know materials as large."""
    max_atoms, most = request.composition.max_atoms, MOST[request.kind]
    if not 0 <= max_atoms <= most:
        what = "larger cells" if request.kind == "crystal" else "molecules with more heavy atoms"
        raise RequestError(f"expected max_atoms from 1 to {most}, got {max_atoms}; the models know no {what}")


def _check_verification(request: Request) -> None:
    """Check that there is a band gap to verify."""
    targets = {target.name for target in request.property_targets}
    if request.verification.n and (request.kind != "crystal" or "band_gap" not in targets):
        raise RequestError(
            "expected a crystal and a target for its band gap for verify, which calculates that; give --bandgap, or "
            "leave --verify out and run `matgen verify` afterwards"
        )
