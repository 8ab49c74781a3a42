"""Two requests between which a design interpolates, as a table of a request."""

from dataclasses import dataclass, field

from matgen.generation.errors import RequestError
from matgen.generation.like import LikenessConfig


@dataclass(frozen=True)
class End:
    """What may differ between the two requests.

    Attributes:
        targets: requested values by property.
        like: examples.
        prefer: rules that had better hold.
    """

    targets: dict[str, float | str]
    like: LikenessConfig
    prefer: tuple[str, ...] = ()


@dataclass(frozen=True)
class BetweenConfig:
    """Two requests, and the weight of the first.

    Attributes:
        requests: TOML files of A and B; empty for none.
        alpha: weight α of A; that of B is 1 − α.
        ends: what they hold, once read (`between.with_ends`); not part of files.
    """

    requests: tuple[str, ...] = field(default=(), metadata={"keyword": "between"})
    alpha: float = field(default=0.5, metadata={"keyword": "between_alpha"})  # `alpha` is a property of molecules
    ends: tuple[End, ...] = field(default=(), metadata={"in_files": False, "keyword": None})

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RequestError: another number of files than two, a weight outside [0, 1], or without files.
        """
        if len(self.requests) not in {0, 2}:
            raise RequestError(
                f"expected two TOML files to interpolate between, got {len(self.requests)}; name A and B"
            )
        if not 0 <= self.alpha <= 1:
            raise RequestError(f"expected alpha from 0 (B alone) to 1 (A alone), got {self.alpha}")
        if self.alpha != 0.5 and not self.requests:
            raise RequestError(
                f"expected two requests for alpha {self.alpha:g}, got none; give --between A.toml B.toml"
            )
