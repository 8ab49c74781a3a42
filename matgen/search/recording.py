"""The trajectory of a proposal as text: the steps of the sampler, then those of the relaxation, then the candidate."""

from collections.abc import Sequence

from pymatgen.core.structure import Structure

from matgen.generation.trajectory import Frame
from matgen.relaxation.chgnet_surface import CHGNetSurface
from matgen.relaxation.config import RelaxConfig
from matgen.relaxation.path import relaxation_path
from matgen.relaxation.pool import surface_on
from matgen.structures.candidate import Candidate, as_crystal
from matgen.structures.trajectory_files import frame_text, thinned

MOST_SAMPLED, MOST_RELAXED = 32, 24
"""Frames of the sampler and of the relaxation; of more, evenly spaced ones."""


def relaxation_frames(candidate: Candidate, device: str, config: RelaxConfig) -> list[Frame]:
    """Return the steps of the relaxation of a candidate by CHGNet, which is repeated for it, and its final geometry.

    Of molecules, and by another potential, the final geometry alone: the steps of these relaxations are not known.

    Args:
        candidate: relaxed or not.
        device: of CHGNet.
        config: thresholds.
    """
    report = candidate.relaxation
    if report is None:
        return []
    last = Frame("relaxation", "relaxed", candidate.structure, report.enthalpy, "eV/atom")
    if candidate.kind == "molecule" or report.potential != surface_on(device).name:
        return [last]
    return [*_path(as_crystal(candidate.unrelaxed), surface_on(device), config), last]


def _path(structure: Structure, surface: CHGNetSurface, config: RelaxConfig) -> list[Frame]:
    steps = relaxation_path(structure, surface, config)
    return [
        Frame("relaxation", f"relaxation step {number}", found, energy, "eV/atom")
        for number, (found, energy) in enumerate(steps)
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
