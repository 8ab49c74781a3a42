"""The recorded trajectory of a candidate as plain data, in the fewest numbers that an animation needs."""

import io
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms

from matgen.structures.attached_files import attached_path, inside
from matgen.structures.trajectory_files import TRAJECTORY, thinned

MOST_FRAMES = 40
"""Frames of a candidate of up to 20 atoms; of a larger one fewer, for the same number of atoms in all."""

ATOMS = 20

STAGES = {
    "initial": "an initial geometry",
    "diffusion": "diffusion",
    "langevin": "Langevin steps",
    "substitution": "substitutions of elements",
    "denoising": "removal of the remaining noise",
    "relaxation": "relaxation",
}


def walk(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the frames that were recorded for a candidate; None if none were.

    Args:
        folder: of the run.
        name: of the candidate.
    """
    path = inside(folder, attached_path(folder, TRAJECTORY, name))
    if path is None:
        return None
    text = path.read_text(encoding="utf-8")
    read = ase.io.read(io.StringIO(text), index=":", format="extxyz")
    frames = read if isinstance(read, list) else [read]
    most = max(8, min(MOST_FRAMES, MOST_FRAMES * ATOMS // max(1, len(frames[0]))))
    kept = [frames[i] for i in thinned(len(frames), most)]
    found: list[dict[str, Any]] = []
    symbols: list[str] = []
    for atoms in kept:
        found.append(_frame(atoms, symbols))
        symbols = atoms.get_chemical_symbols()
    return {"frames": found, "text": _words(kept, len(frames))}


def _frame(atoms: Atoms, before: list[str]) -> dict[str, Any]:
    """Return a frame; its elements are left out where they are those of the frame before."""
    symbols = atoms.get_chemical_symbols()
    frame: dict[str, Any] = {} if symbols == before else {"symbols": symbols}
    frame["cell"] = [round(x, 3) for x in atoms.cell.array.ravel().tolist()] if atoms.pbc.any() else None
    frame["positions"] = [round(x, 2) + 0.0 for x in atoms.positions.ravel().tolist()]
    for name, key in (("energy", "step_energy"), ("stage", "stage"), ("label", "label")):
        if key in atoms.info:
            value = atoms.info[key]
            frame[name] = str(value) if isinstance(value, str) else float(value)
    if "step_energy" in atoms.info:
        frame["unit"] = str(atoms.info.get("step_energy_unit", ""))
    return frame


def _words(frames: list[Atoms], n: int) -> str:
    stages = list(dict.fromkeys(str(atoms.info.get("stage", "")) for atoms in frames))
    listed = ", ".join(STAGES.get(stage, stage) for stage in stages)
    shown = f"{len(frames)} of {n} recorded geometries" if len(frames) < n else f"{n} recorded geometries"
    return f"{shown}: {listed}."
