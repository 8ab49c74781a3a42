"""The help of `matgen design`: the daily options on one screen, and all of them, in groups, by `--help all`.

An option needs no entry here: with `rich_help_panel` it is shown by `--help all` in the group of that name.
"""

import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from typer.core import TyperCommand

GROUPS: dict[str, tuple[str, str]] = {
    "Targets": ("--kind --bandgap --property", "--with"),
    "Composition": ("--elements --include --exclude --formula --rule", "--formula-units --prefer --avoid-hazard"),
    "Structure": ("--spacegroup", "--max-atoms"),
    "Examples": ("--like", "--like-weight --between --alpha"),
    "Hosts": ("--host", "--replace --insert --vacancy --supercell --start --keep"),
    "Molecules": ("--gap --smiles", "--fragment --dipole --smarts --avoid --charge"),
    "Search": ("-n --budget", "--seed --variety --fast --no-moves --no-diffusion --no-mala"),
    "Physics": ("", "--potential --potential-weight --ewald-weight --pressure"),
    "Checks": (
        "--max-ehull --verify",
        (
            "--relax --calculator --second-opinion --phonons --elasticity --free --confidence --allow-known "
            "--verify-minutes"
        ),
    ),
    "Running": ("--processes", "--executor --threads --device --weights"),
    "Output": ("--out --config", "--overwrite --record --report --json --help"),
}
"""Groups of options in the order of the help: those that `--help` shows, and those that only `--help all` shows too."""

WIDTH = 80
"""Columns of the short help."""


class GroupedCommand(TyperCommand):
    """A command with many options, whose help shows the daily ones unless all are asked for."""

    _all_asked = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse a command line; note whether `all` follows `--help`."""
        self._all_asked = any(one == "--help" and other == "all" for one, other in pairwise(args))
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options in the order of their groups; groups that `GROUPS` does not name come last."""
        options: list[Any] = list(super().get_params(ctx))
        for option in options:
            named = [group for group, shown in GROUPS.items() if _is_among(option, " ".join(shown))]
            option.rich_help_panel = option.rich_help_panel or (named[0] if named else None)
        order = list(GROUPS)
        return sorted(
            options, key=lambda o: order.index(o.rich_help_panel) if o.rich_help_panel in order else len(order)
        )

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help: everything as typer does, or the daily options in one line each."""
        if self._all_asked:
            super().format_help(ctx, formatter)
            return
        options = self.get_params(ctx)
        about = textwrap.wrap(self.help or "", WIDTH)
        more = f"`{ctx.command_path} --help all` explains all {len(options)} options."
        formatter.write("\n".join([self.get_usage(ctx), *about, *_daily(options), more]) + "\n")


def _is_among(option: Any, names: str) -> bool:
    return not set(option.opts).isdisjoint(names.split())


def _daily(options: list[Any]) -> Iterator[str]:
    """Yield one line for each daily option: its group where that begins, its name, the first clause of its help."""
    for group, (names, _) in GROUPS.items():
        shown = sorted((o for o in options if _is_among(o, names)), key=lambda o: names.split().index(_name(o, names)))
        for place, option in enumerate(shown):
            clause = option.help.split("; ")[0].split(". ")[0].rstrip(".")
            yield f"{group if not place else '':<13}{_name(option, names):<14}{clause}"


def _name(option: Any, names: str) -> str:
    return next(name for name in names.split() if name in option.opts)
