"""The trajectory of a proposal as text: the steps of the sampler, then those of the relaxation, then the candidate."""

from collections.abc import Sequence

from matgen.generation.relaxation_settings import RelaxationConfig
from matgen.generation.trajectory import Frame
from matgen.relaxation.calculators import calculator_maker
from matgen.relaxation.path import relaxation_path
from matgen.structures.candidate import Candidate
from matgen.structures.trajectory_files import frame_text, thinned

MOST_SAMPLED, MOST_RELAXED = 32, 24
"""Frames of the sampler and of the relaxation; of more, evenly spaced ones."""


def relaxation_frames(candidate: Candidate, settings: RelaxationConfig, device: str) -> list[Frame]:
    """Return the steps of the relaxation of a candidate, which is repeated for it, and its final geometry.

    Args:
        candidate: relaxed or not.
        settings: by what and how it was.
        device: of CHGNet.
    """
    report = candidate.relaxation
    if report is None:
        return []
    steps = relaxation_path(candidate.unrelaxed, calculator_maker(settings.calculator), settings.settings, device)
    last = (candidate.structure, report.enthalpy)
    labels = [*(f"relaxation step {number}" for number in range(len(steps))), "relaxed"]
    return [
        Frame("relaxation", label, material, energy, "eV/atom")
        for label, (material, energy) in zip(labels, [*steps, last], strict=True)
    ]


def trajectory_text(sampled: Sequence[Frame], relaxed: Sequence[Frame]) -> str:
    """Return frames as extxyz, at most `MOST_SAMPLED` and `MOST_RELAXED` of them."""
    kept = [sampled[i] for i in thinned(len(sampled), MOST_SAMPLED)]
    kept += [relaxed[i] for i in thinned(len(relaxed), MOST_RELAXED)]
    return "".join(map(_text, kept))


def _text(frame: Frame) -> str:
    about: dict[str, str | float] = {"stage": frame.stage, "label": frame.label}
    if frame.energy is not None:
        about |= {"step_energy": frame.energy, "step_energy_unit": frame.unit or "dimensionless"}
    return frame_text(frame.material, about)
