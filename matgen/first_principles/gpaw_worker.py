"""Calculate one crystal by GPAW: a program of its own, run by the interpreter that has GPAW.

`python gpaw_worker.py JOB.json` reads one JSON object, from standard input without a file, and writes one to standard
output; GPAW's own output goes to the log. `--probe` prints what the interpreter has. With `--watch` it exits as soon as
its standard input is closed, so that it does not outlive the program that started it. It needs numpy, ase, gpaw and
Python 3.8, and must not import matgen.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

# Initial magnetic moments, μB per atom: usual numbers of unpaired electrons of open d and f shells. Zn, Cd, Hg and the
# elements of group 3 have no open d shell in crystals; Ag, Au, Pd, Pt, Zr, Hf, Nb and Ta rarely have a moment.
MOMENTS = {
    "Ti": 1.0, "V": 3.0, "Cr": 4.0, "Mn": 5.0, "Fe": 4.0, "Co": 3.0, "Ni": 2.0, "Cu": 1.0,
    "Mo": 2.0, "Tc": 3.0, "Ru": 2.0, "Rh": 1.0, "W": 2.0, "Re": 3.0, "Os": 2.0, "Ir": 1.0,
    "Ce": 1.0, "Pr": 2.0, "Nd": 3.0, "Pm": 4.0, "Sm": 5.0, "Eu": 7.0, "Gd": 7.0, "Tb": 6.0, "Dy": 5.0, "Ho": 4.0,
    "Er": 3.0, "Tm": 2.0, "Yb": 1.0, "Pa": 2.0, "U": 3.0, "Np": 4.0, "Pu": 5.0,
}  # fmt: skip

# Hubbard U of d shells in oxides and fluorides, eV, as in the Materials Project: fitted to enthalpies of oxides (Jain
# et al., Phys. Rev. B 84, 045115 (2011)).
HUBBARD_U = {"V": 3.25, "Cr": 3.7, "Mn": 3.9, "Fe": 5.3, "Co": 3.32, "Ni": 6.2, "Mo": 4.38, "W": 6.2}

# Elements whose gaps change by less than 0.02 eV between plane-wave cutoffs of 340 and 400 eV. Oxides need the higher
# one, and so may first-row elements, sodium, magnesium and open or shallow 3d shells.
SOFT = frozenset(
    ["Al", "P", "S", "Cl", "K", "As", "Se", "Br", "Rb", "Zr", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Cs", "Bi"]
)

ABOVE = 0.1
"""Empty states are converged up to this much above the lowest one, eV; by default GPAW converges occupied ones only."""

SETTLED = 3
"""Steps over which the gap must stay the same."""

MOMENT = 0.02
"""Largest change of the magnetic moment of a cell over these steps, μB."""

STEPS = 60
"""Steps after which a calculation that has not converged is repeated with the defaults of GPAW."""

QUICK = {"eigenstates": 3e-2, "density": 2e-3, "energy": 5e-3}
"""Convergence, per valence electron: eV², electrons, eV. An error of the states enters their energies squared."""

MIXER = {"backend": "pulay", "beta": 0.25, "nmaxold": 8, "weight": 1.0}
"""The default mixer of GPAW damps long density waves 50-fold, which suits much larger cells."""

SYMMETRY = {"symmorphic": False, "tolerance": 1e-5}

EMPTY = 4
"""Empty bands beside one per atom; by default GPAW has as many bands as orbitals, too few for some salts."""


def starting_moments(symbols: list[str], n_electrons: int) -> list[float] | None:
    """Return initial magnetic moments, all parallel; None where a calculation without spin is enough.

    Spin is needed if an element with an open shell occurs, or if the electrons of the cell cannot all be paired.

    Args:
        symbols: of the atoms.
        n_electrons: in the cell; valence or all, the parity is the same.
    """
    moments = [MOMENTS.get(symbol, 0.0) for symbol in symbols]
    if any(moments):
        return moments
    return [1.0 / len(symbols)] * len(symbols) if n_electrons % 2 else None


def hubbard_u(symbols: list[str]) -> dict[str, float]:
    """Return the Hubbard U of the elements of a compound, eV: none without oxygen or fluorine."""
    if not {"O", "F"}.intersection(symbols):
        return {}
    return {symbol: HUBBARD_U[symbol] for symbol in sorted(set(symbols)) if symbol in HUBBARD_U}


def cutoff_of(symbols: list[str], cutoff: float, soft_cutoff: float) -> float:
    """Return the plane-wave cutoff for a crystal of these elements, eV: the lower one if all of them are `SOFT`."""
    return min(cutoff, soft_cutoff) if soft_cutoff and SOFT.issuperset(symbols) else cutoff


def gaps(eigenvalues: np.ndarray, fermi: float, n_electrons: float) -> tuple[float, float]:
    """Return the gap and the smallest direct gap, eV; zero for a metal.

    On a coarse mesh the bands of a metal may by chance not cross the Fermi level. So there is a gap only if the states
    below the Fermi level hold all electrons.

    Args:
        eigenvalues: eV, (spins, k points, bands).
        fermi: eV.
        n_electrons: valence electrons in the cell.
    """
    from ase.dft.bandgap import bandgap

    below = (eigenvalues < fermi).sum(axis=2)  # (spins, k points)
    held = below.mean(axis=1).sum() * 2 / len(eigenvalues)
    if abs(held - n_electrons) > 0.1 or np.ptp(below, axis=1).any():
        return 0.0, 0.0
    if (below == eigenvalues.shape[2]).any():
        raise ValueError("expected empty bands above the filled ones, found none")
    both = [bandgap(eigenvalues=eigenvalues, efermi=fermi, direct=direct, output=None)[0] for direct in (False, True)]
    return float(both[0]), float(both[1])


def settled(values: list[float], tolerance: float) -> bool:
    """Return whether the last `SETTLED` values lie within a tolerance of each other."""
    last = values[-SETTLED:]
    return len(last) == SETTLED and max(last) < min(last) + tolerance


def gap_criterion(tolerance: float) -> Any:
    """Return a convergence criterion of GPAW: gap and magnetic moment stay the same.

    Args:
        tolerance: of the last `SETTLED` gaps, eV.
    """
    from gpaw.convergence_criteria import Criterion

    class GapCriterion(Criterion):  # type: ignore[misc,unused-ignore] # GPAW's way to add one
        """Gap and magnetic moment of the last steps."""

        name = tablename = "gap"
        description = f"gap within {tolerance:g} eV, moment within {MOMENT:g} μB over {SETTLED} steps"

        def __init__(self, tol: float = tolerance) -> None:
            self.tol = tol
            self.reset()

        def reset(self) -> None:
            """Forget every step."""
            self.gaps: list[float] = []
            self.moments: list[float] = []

        def __call__(self, context: Any) -> tuple[bool, str]:
            """Return whether both have settled, and the entry of the log."""
            self.gaps.append(gap_so_far(context.wfs))
            self.moments.append(float(context.dens.calculate_magnetic_moments()[0][2]))
            return settled(self.gaps, self.tol) and settled(self.moments, MOMENT), f"{self.gaps[-1]:.3f}"

    return GapCriterion()


def gap_so_far(wfs: Any) -> float:
    """Return the gap of wave functions that are not converged yet, eV; infinite if no band is empty."""
    from ase.units import Ha

    kd = wfs.kd
    found = np.array([[wfs.collect_eigenvalues(k, s) for k in range(kd.nibzkpts)] for s in range(wfs.nspins)])
    try:
        return gaps(found * Ha, wfs.fermi_level * Ha, wfs.nvalence)[0]
    except ValueError:
        return float("inf")


def datasets() -> list[str]:
    """Return the symbols of the elements that have a PBE dataset."""
    from gpaw import setup_paths

    files = [file for folder in map(Path, setup_paths) if folder.is_dir() for file in folder.iterdir()]
    parts = [file.name.split(".") for file in files]
    return sorted({part[0] for part in parts if part[1:] in (["PBE"], ["PBE", "gz"])})


def probe() -> dict[str, Any]:
    """Return the versions and datasets of this interpreter."""
    import ase
    import gpaw

    return {"gpaw": gpaw.__version__, "ase": ase.__version__, "datasets": datasets()}


def calculate(job: dict[str, Any]) -> dict[str, Any]:
    """Converge one crystal and return its gap.

    Args:
        job: `cell` (3, 3) in Å, `frac_coords` (n, 3), `symbols` (n), `cutoff` and `soft_cutoff` in eV (see
            `cutoff_of`), `kpoint_density` in points per Å⁻¹, `gap_kpoint_density` (0, or that of a second mesh, for
            the gap alone), `smearing` and `gap_tolerance` in eV (see `converging`), `max_iterations`, `hubbard`
            (whether with `hubbard_u`), `log` (a path).

    Returns:
        `gap` and `direct_gap` in eV, `energy` in eV/atom, `magnetic_moment` in μB per cell, `settings`, `converged`,
        `reason`; the first four are null where there is no result.
    """
    from gpaw import KohnShamConvergenceError

    missing = sorted(set(job["symbols"]) - set(datasets()))
    if missing:
        return refused(f"no PAW dataset for {', '.join(missing)}", {})
    atoms, spin = atoms_of(job)
    calculator, settings = calculator_of(job, len(atoms), spin=spin)
    atoms.calc = calculator
    try:
        energy = atoms.get_potential_energy() / len(atoms)
        settings["kpoints"] = [int(n) for n in calculator.wfs.kd.N_c]
        fermi, electrons = calculator.get_fermi_level(), calculator.get_number_of_electrons()
        moment = float(calculator.get_magnetic_moment()) if spin else 0.0
        if job["gap_kpoint_density"]:
            calculator = calculator.fixed_density(
                kpts=mesh(job["gap_kpoint_density"]),
                symmetry=SYMMETRY,
                convergence=converging(job["gap_tolerance"])[0],  # a new criterion, since it has a memory
                txt=job["log"] + ".gap" if job["log"] else None,
            )
            settings["gap_kpoints"] = [int(n) for n in calculator.wfs.kd.N_c]
    except KohnShamConvergenceError:
        if job["gap_tolerance"]:
            return calculate({**job, "gap_tolerance": 0.0})
        return refused(f"not self-consistent within {job['max_iterations']} iterations", settings)
    gap, direct = gaps(eigenvalues_of(calculator), fermi, electrons)
    found = {"gap": gap, "direct_gap": direct, "energy": float(energy), "magnetic_moment": moment}
    return {**found, "settings": settings, "converged": True, "reason": ""}


def atoms_of(job: dict[str, Any]) -> tuple[Any, bool]:
    """Return the ASE atoms of a job with initial magnetic moments, and whether the calculation needs spin."""
    from ase import Atoms
    from ase.cell import Cell

    # Lengths and angles put the first vector along x: with cells in other orientations GPAW may fail to print its plot.
    shape = Cell(job["cell"]).cellpar()
    atoms = Atoms(job["symbols"], cell=shape, scaled_positions=job["frac_coords"], pbc=True)
    moments = starting_moments(job["symbols"], int(atoms.numbers.sum()))
    if moments is not None:
        atoms.set_initial_magnetic_moments(moments)
    return atoms, moments is not None


def calculator_of(job: dict[str, Any], n_atoms: int, *, spin: bool) -> tuple[Any, dict[str, Any]]:
    """Return the GPAW calculator of a job, and the settings that differ between crystals."""
    from gpaw import GPAW, PW, FermiDirac

    cutoff = cutoff_of(job["symbols"], job["cutoff"], job["soft_cutoff"])
    convergence, solver = converging(job["gap_tolerance"])
    shifts = hubbard_u(job["symbols"]) if job["hubbard"] else {}
    calculator = GPAW(
        mode=PW(cutoff),
        xc="PBE",
        setups={symbol: f":d,{u}" for symbol, u in shifts.items()},
        kpts=mesh(job["kpoint_density"]),
        occupations=FermiDirac(job["smearing"]),
        spinpol=spin,
        symmetry=SYMMETRY,
        convergence=convergence,
        nbands=-(EMPTY + n_atoms),
        maxiter=min(job["max_iterations"], STEPS) if job["gap_tolerance"] else job["max_iterations"],
        txt=job["log"],
        **solver,
    )
    settings = {"spin_polarised": spin, "hubbard_u": shifts, "cutoff": cutoff, "gap_tolerance": job["gap_tolerance"]}
    return calculator, settings


def converging(gap_tolerance: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return convergence criteria of GPAW, and its solver and mixer.

    Args:
        gap_tolerance: of the gap, eV; 0 for GPAW's own criteria, solver and mixer.
    """
    bands = {"bands": f"CBM+{ABOVE}"}
    if not gap_tolerance:
        return bands, {}
    quick = {**bands, **QUICK, "custom": [gap_criterion(gap_tolerance)]}
    return quick, {"eigensolver": {"name": "dav", "niter": 1}, "mixer": MIXER}


def mesh(density: float) -> dict[str, Any]:
    """Return a mesh of at least this density, points per Å⁻¹, that contains Γ and, being even, centres of zone faces.

    Band edges are often there: a mesh of 11 points gives LiH a gap of 3.16 eV, one of 12 a gap of 2.96 eV.
    """
    return {"density": density, "gamma": True, "even": True}


def eigenvalues_of(calculator: Any) -> np.ndarray:
    """Return eigenvalues, eV, (spins, k points of the irreducible wedge, bands)."""
    spins, points = range(calculator.get_number_of_spins()), range(len(calculator.get_ibz_k_points()))
    return np.array([[calculator.get_eigenvalues(kpt=k, spin=s) for k in points] for s in spins])


def refused(reason: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a calculation that failed."""
    nothing = dict.fromkeys(("gap", "direct_gap", "energy", "magnetic_moment"))
    return {**nothing, "settings": settings, "converged": False, "reason": reason}


def leave_with_the_parent() -> None:
    """End this process when its standard input is closed."""
    sys.stdin.read()
    os._exit(3)


def main(words: list[str]) -> None:
    """Print the answer to standard output; the output of libraries goes to standard error."""
    files = [word for word in words if not word.startswith("--")]
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        if "--watch" in words:
            threading.Thread(target=leave_with_the_parent, daemon=True).start()
        answer.write(json.dumps(probe() if "--probe" in words else calculate(read(files))) + "\n")


def read(files: list[str]) -> dict[str, Any]:
    """Return the job in the file, or on standard input."""
    return dict(json.loads(Path(files[0]).read_text(encoding="utf-8") if files else sys.stdin.read()))


if __name__ == "__main__":
    # The folder of this file holds modules whose names must not shadow those of other packages.
    here = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != here]
    main(sys.argv[1:])
