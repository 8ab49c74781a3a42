"""Where the time of a design goes: CPU seconds and share of each stage.

`python scripts/benchmarks/profile_design.py --bandgap 1.5 -n 10 --seed 9` runs `matgen design` with these options in a
temporary folder under py-spy (`pip install py-spy`), which samples the stacks of the program and of its relaxation
processes, and prints a Markdown table: the share of each stage among the samples, and its part of the CPU time. Samples
do not tell a thread that computes from one that waits for a core, so that shares hold on a busy machine, and the CPU
time is measured. `--stacks FILE` keeps the folded stacks, which flame-graph viewers read.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

RATE = 50
"""Samples per second."""

STAGES: dict[str, tuple[str, ...]] = {
    "imports": ("importlib._bootstrap",),
    "templates: sample": ("propose (", "TemplateSampler.sample"),
    "templates: moves, prior": ("moved_templates", "LearnedTemplatePrior"),
    "templates: moves, targets": ("moved_templates", "TemplatePropertyTarget"),
    "templates: moves, rest": ("moved_templates",),
    "templates: rest": ("propose (",),
    "initial geometries: sample": ("_begun", "initial_geometries"),
    "initial geometries: rank, targets": ("_begun", "StatePropertyTarget"),
    "initial geometries: rank, rest": ("_begun",),
    "diffusion": ("diffuse (",),
    "refinement: Langevin": ("mala (",),
    "refinement: substitution": ("refine (",),
    "shape: rest": ("shape (",),
    "rank": ("generate (", "rank ("),
    "proposals: rest": ("_proposals",),
    "relaxation": ("relaxed_together",),
    "displaced minimum": ("is_minimum",),
    "predictions of relaxed": ("predicted (",),
    "checks": ("validate (",),
    "wait for relaxation": ("_relax_and_assess", "relax_many"),
    "settle: rest": ("settle (",),
    "rest": (),
}
"""Frames, outermost first, that a stack of each stage holds; the first stage that fits counts."""


def stage_of(stack: str) -> str:
    """Return the stage of a folded stack."""
    for stage, frames in STAGES.items():
        place = 0
        for frame in frames:
            place = stack.find(frame, place)
            if place < 0:
                break
        else:
            return stage
    raise AssertionError("the last stage fits every stack")


def samples_by_stage(folded: Iterable[str]) -> Counter[str]:
    """Return the number of samples by stage, from lines of a stack and its number of samples."""
    found: Counter[str] = Counter()
    for line in folded:
        stack, count = line.rsplit(" ", 1)
        found[stage_of(stack)] += int(count)
    return found


def table(samples: Counter[str], cpu_seconds: float) -> str:
    """Return the table in Markdown, in the order of the stages."""
    shares = {stage: samples[stage] / samples.total() for stage in STAGES if samples[stage]}
    rows = [f"| {stage} | {cpu_seconds * share:.1f} | {share:.0%} |" for stage, share in shares.items()]
    return "\n".join(["| stage | CPU s | share |", "| --- | --- | --- |", *rows, f"| all | {cpu_seconds:.1f} | |"])


def profiled(options: list[str], stacks: Path) -> float:
    """Run a design under py-spy, write its folded stacks, and return its CPU seconds, processes included.

    Raises:
        SystemExit: py-spy is not installed, or the design fails.
    """
    program = shutil.which("py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        raise SystemExit("expected py-spy, found none; install it: pip install py-spy")
    recorder = [program, "record", "--rate", str(RATE), "--subprocesses", "--format", "raw", "--output", str(stacks)]
    with TemporaryDirectory() as folder:
        measured = Path(folder) / "seconds"
        design = [sys.executable, __file__, "--measured", str(measured), *options, "--out", str(Path(folder) / "run")]
        answer = subprocess.run([*recorder, "--", *design], check=False, stdout=subprocess.DEVNULL)  # noqa: S603
        if answer.returncode or not measured.exists():
            raise SystemExit(f"expected a design that ends well, got exit code {answer.returncode}; see above")
        return float(measured.read_text())


def run_measured(options: list[str], measured: Path) -> None:
    """Run a design as a process of this one, and write its CPU seconds into a file."""
    subprocess.run([sys.executable, "-m", "matgen.cli", "design", *options], check=True)  # noqa: S603
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured.write_text(str(used.ru_utime + used.ru_stime))


def main() -> None:
    """Parse options, profile and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stacks", type=Path, help="file for the folded stacks")
    parser.add_argument("--measured", type=Path, help=argparse.SUPPRESS)
    ours, options = parser.parse_known_args()
    if ours.measured is not None:
        run_measured(options, ours.measured)
        return
    with TemporaryDirectory() as folder:
        stacks = ours.stacks or Path(folder) / "stacks"
        cpu_seconds = profiled(options or ["--bandgap", "1.5", "-n", "10", "--seed", "9"], stacks)
        with stacks.open(encoding="utf-8") as folded:
            print(table(samples_by_stage(folded), cpu_seconds))


if __name__ == "__main__":
    main()
