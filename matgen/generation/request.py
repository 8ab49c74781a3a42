"""Everything that a design run is asked, in the words of the one who asks; one TOML file ⇄ one `Request`."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Literal

from matgen.checks.crystals import Interval
from matgen.chemistry.elements import (
    ATOMIC_NUMBERS,
    HYDROGEN,
    SYMBOLS,
    UnknownElementError,
    atomic_number,
    known_elements,
)
from matgen.energies.base import Energy, TemplateEnergy
from matgen.energies.potential import Potential
from matgen.energies.ranking import ForRanking
from matgen.energies.terms import Terms
from matgen.errors import UserError
from matgen.generation.sampler_settings import SamplerConfig
from matgen.relaxation.calculators import chgnet_calculator
from matgen.relaxation.symmetric import RelaxConfig
from matgen.runtime.config import did_you_mean
from matgen.runtime.devices import find_device
from matgen.targets.properties import PROPERTIES, PROPERTIES_OF
from matgen.targets.target import Target, parse_targets
from matgen.templates.crystal_rules import MAX_ATOMS, TemplateRules
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.molecule_rules import MoleculeRules
from matgen.templates.skeleton import MAX_HEAVY, Skeleton
from matgen.templates.stereo import open_isomers

POTENTIALS = {"chgnet": partial(chgnet_calculator, "ignore")}
"""Makers of the calculators whose energy may be a term, by name."""

POTENTIAL_KT = 0.1
"""What the energy per atom of a potential is divided by, eV/atom."""

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
    }
).union(PROPERTIES, (f"{name}_template" for name in PROPERTIES))
"""Names of the terms that every total energy may have."""

RELAXERS: dict[str, tuple[Literal["chgnet", "xtb", "none"], ...]] = {
    "crystal": ("chgnet", "none"),
    "molecule": ("xtb", "none"),
}
"""What relaxes candidates of each kind, the usual one first."""

MOST = {"crystal": MAX_ATOMS, "molecule": MAX_HEAVY}
"""Atoms of a primitive cell, or heavy atoms of a molecule, that the models know."""

MOLECULE_ELEMENTS = (HYDROGEN, 6, 7, 8, 9)
"""What the molecules of the training set are made of."""

FEW = 3
"""A request that names at most so many elements or space groups leaves few layouts, and no limit on each."""

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "crystal": {},
    "molecule": {
        "sampler": {
            "move_steps": 60,
            "geometries": 2,
            "started": 3,
            "shaped": 2,
            "levels": 4,
            "lowest": 0.01,
            "sampled_noise": 0.05,
            "refine_sigma": 0.03,
            "refine_steps": 4,
            "initial_levels": 60,
            "initial_churn": 40.0,
            "initial_trials": 3,
            "settle_noise": 1.0,
            "settle_levels": 80,
            "settle_stride": 1.2,
            "finish_levels": 6,
            "choose_sigma": 0.03,
            "target": 2.0,
        },
    },
}
"""Fields of a request that suit each kind; what is asked for wins over them."""

_SYMBOL_COUNT = re.compile(r"([A-Z][a-z]?)(\d*)")
_GROUP = re.compile(r"\(([^()]*)\)(\d*)")


class RequestError(UserError, ValueError):
    """A request that cannot be fulfilled as it stands."""


@dataclass(frozen=True)
class Stages:
    """Which stages of the sampler run; each can be left out, so that its worth can be measured.

    Attributes:
        moves: Metropolis–Hastings moves on templates.
        regrowth: among them, parts drawn anew by the prior: always, never, or where a formula is named, which leaves
            little to exchange; elsewhere exchanges of elements find more for the time.
        diffusion: reverse diffusion of the geometry.
        mala: Metropolis-adjusted Langevin refinement on the total energy.
    """

    moves: bool = True
    regrowth: Literal["formula", "always", "never"] = "formula"
    diffusion: bool = True
    mala: bool = True


FAST: dict[str, dict[str, Any]] = {
    "stages": {"diffusion": False, "mala": False},
    "sampler": {
        "started": 12,
        "geometries": 1,
        "prototypes": 1,
        "shaped": 8,
    },
}
"""Fields of a request that leave the geometry to the relaxation."""


def preset_of(kind: str, *, fast: bool = False) -> dict[str, dict[str, Any]]:
    """Fields of a request that suit a kind, and whoever is in a hurry."""
    usual, hurried = PRESETS.get(kind, {}), FAST if fast else {}
    return {name: usual.get(name, {}) | hurried.get(name, {}) for name in {*usual, *hurried}}


@dataclass(frozen=True)
class Request:
    """What is wanted, and how hard to try.

    Attributes:
        kind: crystals or molecules.
        properties: wishes by property: 1.5, "1.2:1.8", ">3", "<=0.05".
        elements: symbols of the only elements that may occur; empty for any. Molecules may always hold hydrogen.
        include: symbols that must occur.
        exclude: symbols that must not.
        formula: composition to keep, in any number of formula units (crystals) or as it is (molecules); empty for any.
        smiles: molecular graph to keep, with the hands that it asks for; empty for any.
        smarts: patterns that a molecule must hold.
        avoid: patterns that it must not hold.
        charge: net charge of the molecule.
        space_groups: allowed numbers; empty for any but 1, which has no symmetry.
        max_atoms: most atoms in the primitive cell, or heavy atoms of a molecule; 0 for as many as the models know.
        n: candidates wanted.
        seed: of all random numbers.
        device: where the models run: `cpu`, `cuda`, `cuda:1`.
        weights: folder whose weights stand in for those that ship, as far as it has some; empty for none.
        relax: potential that relaxes candidates, or `none`; `usual` for that of the kind: CHGNet, or for
            molecules GFN2-xTB.
        relaxation: when a relaxation is done.
        potential: whose energy per atom, over 0.1 eV, ranks proposals and chooses among geometries, or `none`.
        potential_weight: of that term.
        energies: terms of the requester's own, added to the total energy; no file holds them.
        processes: relaxations side by side.
        stages: of the sampler.
        over_generation: chains of templates per candidate wanted.
        confidence: least probability that each wish is met, in the first round; see `confidence_of_round`.
        max_ehull: highest energy above the hull of known phases, eV/atom, that a relaxed candidate may have.
        allow_known: keep candidates that are known; they are always kept where a formula or a graph is named.
        variety: times `sampler.variety`, what each repetition of a layout, or of the rings of a molecule, costs; above
            0, no layout is that of more than three in ten crystals unless the request leaves few (`most_alike`).
        budget: minutes after which no more is drawn, relaxed or checked, however few were found.
        verify: how many candidates first principles are to confirm; refuted ones are replaced.
        verify_minutes: after which a calculation is given up.
        rounds: how often to draw anew, at most, while too few survive.
        sampler: how hard each stage works.
    """

    kind: Literal["crystal", "molecule"] = "crystal"
    properties: dict[str, float | str] = field(default_factory=dict)
    elements: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    formula: str = ""
    smiles: str = ""
    smarts: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    charge: int = 0
    space_groups: tuple[int, ...] = ()
    max_atoms: int = 0
    n: int = 10
    seed: int = 0
    device: str = "cpu"
    weights: str = ""
    relax: Literal["usual", "none", "chgnet", "xtb"] = "usual"
    relaxation: RelaxConfig = field(default_factory=RelaxConfig)
    potential: Literal["none", "chgnet"] = "none"
    potential_weight: float = 1.0
    energies: tuple[Energy | TemplateEnergy, ...] = field(default=(), metadata={"in_files": False})
    processes: int = 2
    stages: Stages = field(default_factory=Stages)
    over_generation: int = 5
    max_ehull: float = 0.1
    confidence: float = 0.55
    allow_known: bool = False
    variety: float = 1.0
    budget: float = 10.0
    verify: int = 0
    verify_minutes: float = 10.0
    rounds: int = 50
    sampler: SamplerConfig = field(default_factory=SamplerConfig)

    def __post_init__(self) -> None:
        """Check the request at the border.

        Raises:
            RequestError: a number out of its range, or a formula that is none.
            DeviceError: a device that is not there.
            WishError: a wish that cannot be understood or cannot come true.
            ContradictionError: rules that no template satisfies.
            TermError: an energy that is none, or whose name is taken.
        """
        if self.kind not in RELAXERS:
            raise RequestError(f"expected a kind of {' or '.join(RELAXERS)}, got {self.kind!r}")
        _check_kind(self)
        _check_potential(self.potential, self.potential_weight, self.formula)
        _ = self.terms
        for name in ("n", "processes", "over_generation", "rounds"):
            if getattr(self, name) < 1:
                raise RequestError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not 0 <= self.max_atoms <= MOST[self.kind]:
            what = "larger cells" if self.kind == "crystal" else "molecules with more heavy atoms"
            raise RequestError(
                f"expected max_atoms from 1 to {MOST[self.kind]}, got {self.max_atoms}; the models know no {what}"
            )
        _check_verify(self)
        if not self.budget > 0:
            raise RequestError(f"expected a budget above 0 minutes, got {self.budget}")
        if not 0 <= self.variety < math.inf:
            raise RequestError(f"expected variety of at least 0, got {self.variety}; 0 lets layouts repeat")
        if not 0 <= self.confidence < 1:
            raise RequestError(f"expected a confidence from 0 to below 1, got {self.confidence}; 0 asks for none")
        if math.isnan(self.max_ehull):
            raise RequestError("expected max_ehull as a number of eV/atom, got none; inf lets everything pass")
        if not 0 <= self.seed < 2**63:
            raise RequestError(f"expected a seed from 0 to 2^63 - 1, got {self.seed}")
        _ = find_device(self.device), self.targets, self.rules

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """The wishes, understood."""
        return parse_targets(self.properties, PROPERTIES_OF[self.kind])

    @cached_property
    def terms(self) -> Terms:
        """The terms that this request adds to the total energy."""
        given = self.energies if isinstance(self.energies, list | tuple) else (self.energies,)
        own = Terms.of(given, TAKEN | {self.potential})
        if self.potential == "none":
            return own
        potential = Potential(POTENTIALS[self.potential], POTENTIAL_KT, per_atom=True, name=self.potential)
        return replace(own, states=own.states + self.potential_weight * ForRanking(potential))

    @cached_property
    def relaxer(self) -> str:
        """What relaxes candidates: `chgnet`, `xtb` or `none`."""
        return RELAXERS[self.kind][0] if self.relax == "usual" else self.relax

    @cached_property
    def rules(self) -> TemplateRules | MoleculeRules:
        """The hard constraints on templates."""
        return self.crystal_rules if self.kind == "crystal" else self.molecule_rules

    @cached_property
    def molecule_rules(self) -> MoleculeRules:
        """The hard constraints on molecular graphs."""
        known = frozenset(MOLECULE_ELEMENTS)
        asked = frozenset(_of_molecules(element(symbol, must_be_known=False)) for symbol in self.elements) or known
        excluded = frozenset(element(symbol, must_be_known=False) for symbol in self.exclude)
        if HYDROGEN in excluded or "H" in map(str.strip, self.include):
            raise RequestError("expected elements other than H: hydrogens fill what valence is left; leave H out")
        required = frozenset(_of_molecules(element(symbol, must_be_known=False)) for symbol in self.include)
        composition = formula_counts(self.formula, known=False) if self.formula else {}
        for z in composition:
            _of_molecules(z)
        return MoleculeRules(
            allowed_elements=asked - excluded - {HYDROGEN},
            required_elements=required - {HYDROGEN},
            composition=tuple(composition.items()),
            n_heavy=(1, self.max_atoms or MAX_HEAVY),
            required_smarts=self.smarts,
            forbidden_smarts=self.avoid,
            charge=self.charge or (self.template.charge if self.template else 0),
        )

    @cached_property
    def template(self) -> MoleculeTemplate | None:
        """The molecular graph to keep; None for any."""
        return MoleculeTemplate.of(self.smiles) if self.smiles else None

    @cached_property
    def wanted(self) -> int:
        """Candidates that can be found, and all to be verified; of a named graph no more than it has stereoisomers."""
        n = max(self.n, self.verify)
        return n if self.template is None else min(n, len(open_isomers(self.template)))

    @cached_property
    def most_alike(self) -> int:
        """Candidates of one layout at most, as long as others are found: three tenths of those wanted, rounded up.

        All where variety is switched off, and where the request leaves few layouts: of molecules, where a formula is
        named, or at most `FEW` elements or space groups.
        """
        named = any(0 < len(some) <= FEW for some in (self.elements, self.space_groups))
        if not self.variety or self.kind == "molecule" or self.formula or named:
            return self.wanted
        return -(-3 * self.wanted // 10)

    @cached_property
    def crystal_rules(self) -> TemplateRules:
        """The hard constraints on crystals."""
        max_atoms = self.max_atoms or MAX_ATOMS
        allowed = frozenset(map(element, self.elements)) or frozenset(known_elements())
        excluded = frozenset(element(symbol, must_be_known=False) for symbol in self.exclude)
        composition = parse_formula(self.formula) if self.formula else {}
        atoms = sum(composition.values())
        if atoms > max_atoms == MAX_ATOMS:
            raise RequestError(
                f"{self.formula} has {atoms} atoms, more than the {MAX_ATOMS} that the models know; "
                "ask for a formula with fewer"
            )
        return TemplateRules(
            allowed_elements=allowed - excluded,
            required_elements=frozenset(map(element, self.include)),
            composition=tuple(composition.items()),
            space_groups=frozenset(self.space_groups) or frozenset(range(2, 231)),
            max_atoms=max_atoms,
        )


LESS_EACH_ROUND, LEAST_CONFIDENCE = 0.05, 0.45
"""How much less confidence is asked in each round, and at last, as a share of that of the first."""


def confidence_of_round(request: Request, number: int) -> float:
    """Least probability that a wish is met in this round of proposals, the first of which has number 0.

    What is less sure waits, and is taken when no surer candidates were found in the rounds before.
    """
    return max(request.confidence - number * LESS_EACH_ROUND, least_confidence(request))


def least_confidence(request: Request) -> float:
    """Below this probability nothing is taken."""
    return request.confidence * LEAST_CONFIDENCE


def intervals(targets: Iterable[Target]) -> dict[str, Interval]:
    """The interval in which each wished property must lie, by name."""
    return {target.name: Interval(target.low, target.high, target.tolerance, target.least) for target in targets}


def _check_kind(request: Request) -> None:
    """Check that nothing is asked that the kind does not have."""
    usual = Request.__dataclass_fields__
    foreign = {
        "crystal": ("smiles", "smarts", "avoid", "charge"),
        "molecule": ("space_groups", "potential", "potential_weight", "max_ehull", "relaxation"),
    }[request.kind]
    for name in foreign:
        default = RelaxConfig() if name == "relaxation" else usual[name].default
        if getattr(request, name) != default:
            other = "molecule" if request.kind == "crystal" else "crystal"
            raise RequestError(
                f"expected no {name} for a {request.kind}, got {getattr(request, name)!r}; only a {other} has one"
            )
    if request.relaxer not in RELAXERS[request.kind]:
        expected = " or ".join(RELAXERS[request.kind])
        raise RequestError(f"expected relax of {expected} for a {request.kind}, got {request.relax!r}")
    template = request.template
    if template is not None:
        Skeleton.of(template)  # says what of it cannot be drawn
        fault = request.molecule_rules.why_not(template)
        if fault:
            raise RequestError(f"expected a graph that keeps the rules, got {request.smiles}: {fault}")


def _check_verify(request: Request) -> None:
    if request.verify < 0 or not request.verify_minutes > 0:
        raise RequestError(
            f"expected verify of at least 0 and verify_minutes above 0, got {request.verify} and "
            f"{request.verify_minutes:g}"
        )
    if request.verify and (request.kind != "crystal" or "band_gap" not in {target.name for target in request.targets}):
        raise RequestError(
            "expected a crystal and a wish for its band gap for verify, which calculates that; give --bandgap, or "
            "leave --verify out and run `matgen verify` afterwards"
        )


def _of_molecules(z: int) -> int:
    """An atomic number that molecules of the training set hold.

    Raises:
        UnknownElementError: they do not.
    """
    if z not in MOLECULE_ELEMENTS:
        known = ", ".join(SYMBOLS[e] for e in MOLECULE_ELEMENTS)
        raise UnknownElementError(
            f"expected an element that the molecules of the training set hold ({known}), got {SYMBOLS[z]}"
        )
    return z


def _check_potential(name: str, weight: float, formula: str) -> None:
    if name not in {"none", *POTENTIALS}:
        raise RequestError(
            f"expected a potential of none or {', '.join(POTENTIALS)}, got {name!r}; "
            "any ASE calculator is energies=[Potential(calculator, kT=0.1, per_atom=True)] of the library"
        )
    if not 0 <= weight < math.inf:
        raise RequestError(f"expected potential_weight of at least 0, got {weight}")
    if name == "none" and weight != 1:
        raise RequestError(f"expected a potential for potential_weight {weight} to weigh, got none; give --potential")
    if name != "none" and not formula:
        raise RequestError(
            f"expected a formula beside the potential {name}, got none: energies per atom of different compositions "
            "cannot be compared; give --formula, or leave the potential out"
        )


def element(symbol: str, *, must_be_known: bool = True) -> int:
    """Atomic number of a symbol.

    Raises:
        UnknownElementError: not an element, or (if it must be known) one that no training crystal holds.
    """
    name = symbol.strip().capitalize()
    if name not in ATOMIC_NUMBERS:
        hint = did_you_mean(name, SYMBOLS[1:]) if name else "check the commas"
        hint = hint if len(hint) < 40 else "check the spelling"  # not the whole periodic table
        raise UnknownElementError(f"expected a chemical symbol from H to Pu, got {symbol!r}; {hint}")
    return atomic_number(name) if must_be_known else ATOMIC_NUMBERS[name]


def parse_formula(text: str) -> dict[int, int]:
    """Atoms of each element in the smallest formula unit, by atomic number, from text such as SrTiO3 or Ca(OH)2.

    Raises:
        RequestError: it is none.
        UnknownElementError: it holds an element that no training crystal has.
    """
    counts = formula_counts(text)
    divisor = math.gcd(*counts.values())
    return {z: n // divisor for z, n in counts.items()}


def formula_counts(text: str, *, known: bool = True) -> dict[int, int]:
    """Atoms of each element as they are written.

    Args:
        text: as it is typed.
        known: whether every element must be one of the training crystals.

    Raises:
        RequestError: it is none.
        UnknownElementError: it holds an unknown element.
    """
    flat = text.strip()
    while _GROUP.search(flat):
        flat = _GROUP.sub(lambda group: _times(group[1], int(group[2] or 1)), flat)
    if not re.fullmatch(f"(?:{_SYMBOL_COUNT.pattern})+", flat):
        raise RequestError(f"expected a formula such as SrTiO3 or Ca(OH)2, got {text!r}; write whole numbers of atoms")
    counts: Counter[int] = Counter()
    for symbol, count in _SYMBOL_COUNT.findall(flat):
        counts[element(symbol, must_be_known=known)] += int(count or 1)
    if not min(counts.values()):
        raise RequestError(f"expected at least one atom of each element in {text!r}, got none of some; leave it out")
    return dict(sorted(counts.items()))


def _times(formula: str, factor: int) -> str:
    return "".join(f"{symbol}{int(count or 1) * factor}" for symbol, count in _SYMBOL_COUNT.findall(formula))
