"""A program that tries one step after another and prints what each finds, as JSON lines.

It runs in a process of its own: a package whose compiled part is broken may end it. `matgen.installation.probing`
starts it again for the steps that are left.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib import import_module

from matgen.installation.finding import Finding, install
from matgen.runtime.failures import guarded
from matgen.runtime.silence import silence_packages

IMPORT = "import "
"""Steps that import a package: `import rdkit rdkit`, with the names of distribution and module."""

STEPS: dict[str, str] = {
    "PyTorch": "matgen.installation.pytorch:pytorch_finding",
    "weights": "matgen.installation.tables:weights_finding",
    "references": "matgen.installation.tables:references_finding",
    "potentials": "matgen.installation.potentials:potentials_finding",
    "CHGNet": "matgen.installation.calculations:chgnet_finding",
    "graph energy": "matgen.installation.calculations:graph_energy_finding",
    "GFN2-xTB": "matgen.installation.calculations:xtb_finding",
}
"""Steps by name: functions that return a finding, by the name of their module, since importing it may fail."""

CALCULATIONS = ("CHGNet", "graph energy", "GFN2-xTB")


def try_step(step: str) -> Finding:
    """Return the finding of a step, whatever it raises."""
    return guarded(_tried, step, failed)


def _tried(step: str) -> Finding:
    if step.startswith(IMPORT):
        name, module = step.removeprefix(IMPORT).split()
        import_module(module)
        return Finding(name, "ok", f"imports as {module}")
    module, _, function = STEPS[step].partition(":")
    found: Callable[[], Finding] = getattr(import_module(module), function)
    return found()


def failed(step: str, reason: str) -> Finding:
    """Return the finding of a step that did not end well."""
    if step.startswith(IMPORT):
        name = step.removeprefix(IMPORT).split()[0]
        return Finding(name, "broken", f"cannot be imported: {reason}", install(name, options="--force-reinstall"))
    return Finding(step, "broken", reason, install("matgen", options="--force-reinstall"))


def main() -> None:
    """Try the steps that the command line names; print the name of each before, its finding after it."""
    silence_packages()
    say = partial(print, file=sys.__stdout__, flush=True)
    sys.stdout = sys.stderr  # where packages may greet
    for step in sys.argv[1:]:
        say(json.dumps({"step": step}))
        say(json.dumps(asdict(try_step(step))))


if __name__ == "__main__":
    main()
