"""How long a search goes on, which candidates it keeps, and what it runs on."""

import math
from dataclasses import dataclass, field

from matgen.generation.errors import RequestError
from matgen.phonons.asked import ELASTICITY, PHONONS
from matgen.runtime.devices import find_device


@dataclass(frozen=True)
class SearchConfig:
    """How many candidates are wanted, and how long the search goes on.

    Attributes:
        n: candidates wanted.
        seed: of all random numbers.
        over_generation: chains of templates per candidate wanted.
        rounds: most rounds of proposals while too few candidates survive; a round proposes for all `n` once.
        budget: minutes after which nothing more is sampled, relaxed or checked, however few were found.
        record: keep the geometries that the sampler and the relaxation pass through on the way to each candidate.
    """

    n: int = 10
    seed: int = 0
    over_generation: int = 5
    rounds: int = 50
    budget: float = 10.0
    record: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RequestError: a number is out of its range.
        """
        for name in ("n", "over_generation", "rounds"):
            if getattr(self, name) < 1:
                raise RequestError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not self.budget > 0:
            raise RequestError(f"expected a budget above 0 minutes, got {self.budget}")
        if not 0 <= self.seed < 2**63:
            raise RequestError(f"expected a seed from 0 to 2^63 - 1, got {self.seed}")


@dataclass(frozen=True)
class SelectionConfig:
    """Which candidates are kept.

    Attributes:
        confidence: least probability that each target is met, in the first round; see `confidence_of_round`.
        max_ehull: highest energy above the hull of known phases, eV/atom, that a relaxed candidate may have.
        allow_known: keep known candidates; they are always kept where a formula or a graph is named.
        variety: factor on `sampler.variety`, the cost of each repetition of a layout, or of the rings of a molecule;
            above 0, at most three in ten crystals share a layout unless the request leaves few (`Request.most_alike`).
        phonons: whether a crystal must have no imaginary mode, by the potential that relaxes it; needs phonopy.
        elasticity: whether its elastic tensor by the same potential must be positive.
    """

    confidence: float = 0.55
    max_ehull: float = 0.1
    allow_known: bool = False
    variety: float = 1.0
    phonons: bool = False
    elasticity: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RequestError: a number is out of its range.
        """
        if not 0 <= self.variety < math.inf:
            raise RequestError(f"expected variety of at least 0, got {self.variety}; 0 lets layouts repeat")
        if not 0 <= self.confidence < 1:
            raise RequestError(f"expected a confidence from 0 to below 1, got {self.confidence}; 0 asks for none")
        if not self.max_ehull > -math.inf:
            raise RequestError(f"expected max_ehull in eV/atom, got {self.max_ehull:g}; inf lets everything pass")

    @property
    def lattice_checks(self) -> tuple[str, ...]:
        """Names of the checks on the lattice that are asked for: phonons, elasticity."""
        return tuple(name for name in (PHONONS, ELASTICITY) if getattr(self, name))


@dataclass(frozen=True)
class VerificationConfig:
    """Confirmation of candidates by first principles, during the search.

    Attributes:
        n: candidates to confirm; refuted ones are replaced. Flat keyword `verify`.
        minutes: time limit of one calculation. Flat keyword `verify_minutes`.
    """

    n: int = field(default=0, metadata={"keyword": "verify"})
    minutes: float = field(default=10.0, metadata={"keyword": "verify_minutes"})

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RequestError: a number is out of its range.
        """
        if self.n < 0 or not 0 < self.minutes < math.inf:
            raise RequestError(
                f"expected verify of at least 0 and finite verify_minutes above 0, got {self.n} and {self.minutes:g}"
            )


@dataclass(frozen=True)
class ResourceConfig:
    """What the run uses.

    Attributes:
        device: where the models run: `cpu`, `cuda`, `cuda:1`.
        processes: units of proposals side by side; with 1, all happens in the process that runs the search.
        executor: a Python file with a Parsl configuration, or `local`; empty for processes of this machine.
        threads: of each process.
        weights: folder whose weights replace shipped ones, as far as it has some; empty for none.
        with_files: property files, such as `matgen train property` writes, or `shipped`; their properties are predicted
            too, and may be targets.
    """

    device: str = "cpu"
    processes: int = 2
    executor: str = ""
    threads: int = 1
    weights: str = ""
    with_files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RequestError: fewer than one process or thread.
            DeviceError: a device that is not there.
        """
        for name in ("processes", "threads"):
            if getattr(self, name) < 1:
                raise RequestError(f"expected {name} of at least 1, got {getattr(self, name)}")
        find_device(self.device)
