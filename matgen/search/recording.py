"""The trajectory of a proposal as text: the steps of the sampler, then those of the relaxation, then the candidate."""

from collections.abc import Sequence

from matgen.generation.trajectory import Frame
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.path import relaxation_path
from matgen.structures.candidate import Candidate
from matgen.structures.trajectory_files import frame_text, thinned

MOST_SAMPLED, MOST_RELAXED = 32, 24
"""Frames of the sampler and of the relaxation; of more, evenly spaced ones."""


def relaxation_frames(candidate: Candidate, surface: CHGNetSurface | None, config: RelaxConfig) -> list[Frame]:
    """Return the steps of the relaxation of a candidate, which is repeated for it, and its final geometry.

    Args:
        candidate: relaxed.
        surface: the potential that relaxed it; None for another one, whose steps are not known.
        config: thresholds.
    """
    if candidate.relaxation is None:
        return []
    path = [] if surface is None or candidate.kind != "crystal" else _path(candidate, surface, config)
    unit = "eV/atom"
    last = Frame("relaxation", "relaxed", candidate.structure, candidate.relaxation.enthalpy, unit)
    return [*path, last]


def _path(candidate: Candidate, surface: CHGNetSurface, config: RelaxConfig) -> list[Frame]:
    steps = relaxation_path(candidate.unrelaxed, surface, config)  # type: ignore[arg-type]  # a crystal
    return [
        Frame("relaxation", f"relaxation step {number}", structure, energy, "eV/atom")
        for number, (structure, energy) in enumerate(steps)
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
