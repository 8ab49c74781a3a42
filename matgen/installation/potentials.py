"""Interatomic potentials that are known by name: which are installed, and which have a hull."""

from matgen.installation.finding import Finding, install
from matgen.relaxation.calculators import hull_file
from matgen.relaxation.potentials import POTENTIALS

SECOND = "sevennet"
"""The potential of a second opinion, whose weights come with its package."""


def potentials_finding() -> Finding:
    """Say which potentials `--calculator` and `--second-opinion` find; none of their packages is imported."""
    there = [f"{name}{' (hull)' if hull_file(name) else ''}" for name, one in POTENTIALS.items() if one.installed]
    absent = [f"{name} ({one.install})" for name, one in POTENTIALS.items() if not one.installed]
    text = f"installed: {', '.join(there)}"
    if absent:
        text += f"; others by pip install of what is named: {', '.join(absent)}"
    if POTENTIALS[SECOND].installed:
        return Finding("potentials", "ok", text)
    text = f"{SECOND} is not installed; needed for --second-opinion {SECOND}. {text}"
    return Finding("potentials", "missing", text, install("sevenn>=0.13"))
