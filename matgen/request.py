"""Everything that a design run is asked, in the words of the one who asks; one TOML file ⇄ one `Request`."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Literal

from matgen.calculator import chgnet_calculator
from matgen.config import did_you_mean
from matgen.devices import find_device
from matgen.elements import ATOMIC_NUMBERS, SYMBOLS, UnknownElementError, atomic_number, known_elements
from matgen.energies.potential import Potential
from matgen.energies.property import Target, parse_wishes
from matgen.energies.ranking import ForRanking
from matgen.energy import Energy, TemplateEnergy
from matgen.errors import UserError
from matgen.properties import PROPERTIES
from matgen.sampler_config import SamplerConfig
from matgen.templates.legal import MAX_ATOMS, TemplateRules
from matgen.terms import Terms
from matgen.validation.checks import Interval
from matgen.validation.relax import RelaxConfig

TOLERANCES = {"band_gap": 0.25, "formation_energy": 0.1, "energy_above_hull": 0.05}
"""How far from a point a prediction may lie and still count as met, in the property's unit."""

POTENTIALS = {"chgnet": partial(chgnet_calculator, "ignore")}
"""Makers of the calculators whose energy may be a term, by name."""

POTENTIAL_KT = 0.1
"""What the energy per atom of a potential is divided by, eV/atom."""

TAKEN = frozenset(
    {"template_prior", "charge_balance", "closed_shell", "familiarity", "graph", "novelty", "repulsion", "variety"}
).union(PROPERTIES, (f"{name}_template" for name in PROPERTIES))
"""Names of the terms that every total energy may have."""

_SYMBOL_COUNT = re.compile(r"([A-Z][a-z]?)(\d*)")
_GROUP = re.compile(r"\(([^()]*)\)(\d*)")


class RequestError(UserError, ValueError):
    """A request that cannot be fulfilled as it stands."""


@dataclass(frozen=True)
class Stages:
    """Which stages of the sampler run; each can be left out, so that its worth can be measured.

    Attributes:
        moves: Metropolis–Hastings moves on templates.
        redraws: among them, parts drawn anew by the prior: always, never, or where a formula is named, which leaves
            little to exchange; elsewhere exchanges of elements find more for the time.
        diffusion: reverse diffusion of the geometry.
        mala: Metropolis-adjusted Langevin refinement on the total energy.
    """

    moves: bool = True
    redraws: Literal["formula", "always", "never"] = "formula"
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


@dataclass(frozen=True)
class Request:
    """What is wanted, and how hard to try.

    Attributes:
        properties: wishes by property: 1.5, "1.2:1.8", ">3", "<=0.05".
        elements: symbols of the only elements that may occur; empty for any.
        include: symbols that must occur.
        exclude: symbols that must not.
        formula: composition to keep, in any number of formula units; empty for any.
        space_groups: allowed numbers; empty for any but 1, which has no symmetry.
        max_atoms: most atoms in the primitive cell.
        n: candidates wanted.
        seed: of all random numbers.
        device: where the models run: `cpu`, `cuda`, `cuda:1`.
        relax: potential that relaxes candidates, or `none`.
        relaxation: when a relaxation is done.
        potential: whose energy per atom, over 0.1 eV, ranks proposals and chooses among geometries, or `none`.
        potential_weight: of that term.
        energies: terms of the requester's own, added to the total energy; no file holds them.
        processes: relaxations side by side.
        stages: of the sampler.
        over_generation: chains of templates per candidate wanted.
        max_ehull: highest energy above the hull of known phases, eV/atom, that a relaxed candidate may have.
        allow_known: keep candidates that are known crystals; they are always kept where a formula is named.
        budget: minutes after which no more is drawn, relaxed or checked, however few were found.
        rounds: how often to draw anew, at most, while too few survive.
        sampler: how hard each stage works.
    """

    properties: dict[str, float | str] = field(default_factory=dict)
    elements: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    formula: str = ""
    space_groups: tuple[int, ...] = ()
    max_atoms: int = MAX_ATOMS
    n: int = 10
    seed: int = 0
    device: str = "cpu"
    relax: Literal["none", "chgnet"] = "chgnet"
    relaxation: RelaxConfig = field(default_factory=RelaxConfig)
    potential: Literal["none", "chgnet"] = "none"
    potential_weight: float = 1.0
    energies: tuple[Energy | TemplateEnergy, ...] = field(default=(), metadata={"in_files": False})
    processes: int = 2
    stages: Stages = field(default_factory=Stages)
    over_generation: int = 5
    max_ehull: float = 0.1
    allow_known: bool = False
    budget: float = 10.0
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
        _check_potential(self.potential, self.potential_weight, self.formula)
        _ = self.terms
        for name in ("n", "processes", "over_generation", "rounds"):
            if getattr(self, name) < 1:
                raise RequestError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not 1 <= self.max_atoms <= MAX_ATOMS:
            raise RequestError(
                f"expected max_atoms from 1 to {MAX_ATOMS}, got {self.max_atoms}; the models know no larger cells"
            )
        if not self.budget > 0:
            raise RequestError(f"expected a budget above 0 minutes, got {self.budget}")
        if math.isnan(self.max_ehull):
            raise RequestError("expected max_ehull as a number of eV/atom, got none; inf lets everything pass")
        if not 0 <= self.seed < 2**63:
            raise RequestError(f"expected a seed from 0 to 2^63 - 1, got {self.seed}")
        _ = find_device(self.device), self.wishes, self.rules

    @cached_property
    def wishes(self) -> tuple[Target, ...]:
        """The wishes, understood."""
        return parse_wishes(self.properties)

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
    def rules(self) -> TemplateRules:
        """The hard constraints on templates."""
        allowed = frozenset(map(element, self.elements)) or frozenset(known_elements())
        excluded = frozenset(element(symbol, must_be_known=False) for symbol in self.exclude)
        composition = parse_formula(self.formula) if self.formula else {}
        atoms = sum(composition.values())
        if atoms > self.max_atoms == MAX_ATOMS:
            raise RequestError(
                f"{self.formula} has {atoms} atoms, more than the {MAX_ATOMS} that the models know; "
                "ask for a formula with fewer"
            )
        return TemplateRules(
            allowed_elements=allowed - excluded,
            required_elements=frozenset(map(element, self.include)),
            composition=tuple(composition.items()),
            space_groups=frozenset(self.space_groups) or frozenset(range(2, 231)),
            max_atoms=self.max_atoms,
        )


def intervals(wishes: Iterable[Target]) -> dict[str, Interval]:
    """The interval in which each wished property must lie, by name."""
    return {wish.name: Interval(wish.low, wish.high, TOLERANCES[wish.name] if wish.point else 0.0) for wish in wishes}


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
        UnknownElementError: it holds an unknown element.
    """
    flat = text.strip()
    while _GROUP.search(flat):
        flat = _GROUP.sub(lambda group: _times(group[1], int(group[2] or 1)), flat)
    if not re.fullmatch(f"(?:{_SYMBOL_COUNT.pattern})+", flat):
        raise RequestError(f"expected a formula such as SrTiO3 or Ca(OH)2, got {text!r}; write whole numbers of atoms")
    counts: Counter[int] = Counter()
    for symbol, count in _SYMBOL_COUNT.findall(flat):
        counts[element(symbol)] += int(count or 1)
    if not min(counts.values()):
        raise RequestError(f"expected at least one atom of each element in {text!r}, got none of some; leave it out")
    divisor = math.gcd(*counts.values())
    return {z: n // divisor for z, n in sorted(counts.items())}


def _times(formula: str, factor: int) -> str:
    return "".join(f"{symbol}{int(count or 1) * factor}" for symbol, count in _SYMBOL_COUNT.findall(formula))
