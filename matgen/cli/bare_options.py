"""Options that may stand without their value."""

from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand

ORDERINGS = 3
"""Orderings of each crystal where `--order` has no number."""

BARE = {"--order": str(ORDERINGS)}
"""Values of options that stand without one."""


class BareOptionsCommand(TyperCommand):
    """A command some of whose options may stand without a number, also before a path."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse a command line, with the values that are left out."""
        return super().parse_args(ctx, list(_completed(args)))


def _completed(args: list[str]) -> Iterator[str]:
    literal = False
    for arg, following in zip(args, [*args[1:], ""], strict=True):
        literal |= arg == "--"
        bare = arg in BARE and not literal and not following.lstrip("+-").isdigit()
        yield f"{arg}={BARE[arg]}" if bare else arg
