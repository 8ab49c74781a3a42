"""Potentials that are known by name: what each is, how it is made, and what it was trained on.

Names, units and constructors are those of each package. All give energies in eV, forces in eV/Å and stress in eV/Å³
with ASE's sign and order; what was run and what was only read in the package's source, `checked` says.
"""

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from ase.calculators.calculator import Calculator

from matgen.chemistry.corrections import MP2020

IN_THE_WHEEL = "in the wheel"


@dataclass(frozen=True)
class NamedPotential:
    """A potential with a name.

    Attributes:
        name: on the command line.
        title: name of the weights; energies and hulls of this title belong together.
        package: module that must be importable.
        install: what `pip install` needs.
        licence: of code and weights.
        functional: what first principles it was trained on.
        trained_on: whether its energies contain corrections: `MP2020`, or `raw`.
        weights: where they come from.
        checked: how it was checked here: `run`, or `source` if its constructor was only compared with its source.
        make: makes the calculator, on the CPU.
        hull: file of the package with its hull; empty for none.
    """

    name: str
    title: str
    package: str
    install: str
    licence: str
    functional: str
    trained_on: str
    weights: Literal["in the wheel", "downloaded at first use"]
    checked: Literal["run", "source"]
    make: Callable[[], Calculator] = field(repr=False)
    hull: str = ""

    @property
    def corrections(self) -> str:
        """Corrections that its energies need before phases are compared; empty for none.

        The Materials Project mixes calculations with and without U; only its corrections make them comparable.
        """
        return MP2020 if self.trained_on == "raw" and "PBE+U" in self.functional else ""

    @property
    def installed(self) -> bool:
        """Whether the package is installed; it is not imported."""
        return find_spec(self.package) is not None


def chgnet(on_isolated_atoms: Literal["error", "ignore"] = "error", weights: str = "0.3.0") -> Calculator:
    """CHGNet with weights of its wheel."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a greeting
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet

        model = CHGNet.load(model_name=weights, use_device="cpu", verbose=False)
        return CHGNetCalculator(model, use_device="cpu", on_isolated_atoms=on_isolated_atoms)


def _chgnet_r2scan() -> Calculator:
    return chgnet(weights="r2scan")


def _sevennet(weights: str) -> Calculator:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of accelerators that it does without
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator(weights, device="cpu")


def _sevennet_l3i5() -> Calculator:
    return _sevennet("7net-l3i5")


def _sevennet_0() -> Calculator:
    return _sevennet("7net-0")


def _mace_mp() -> Any:
    from mace.calculators import mace_mp

    return mace_mp(model="medium-mpa-0", device="cpu", default_dtype="float64")


def _mattersim() -> Any:
    from mattersim.forcefield import MatterSimCalculator

    return MatterSimCalculator(device="cpu")


def _orb() -> Any:
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.calculator import ORBCalculator

    model = pretrained.orb_v3_conservative_inf_mpa(device="cpu", precision="float32-highest", compile=False)
    return ORBCalculator(model, device="cpu")


def _tensornet() -> Any:
    import matgl
    from matgl.ext.ase import PESCalculator

    return PESCalculator(matgl.load_model("TensorNet-PES-MatPES-PBE-2025.2"), stress_unit="eV/A3", use_voigt=True)


def _grace() -> Any:
    from tensorpotential.calculator import grace_fm

    return grace_fm("GRACE-2L-OAM")


_PBE_U = "PBE and PBE+U (Materials Project)"
_DOWNLOADED: Literal["downloaded at first use"] = "downloaded at first use"

POTENTIALS: dict[str, NamedPotential] = {
    one.name: one
    for one in (
        NamedPotential(
            "chgnet", "CHGNet 0.3.0", "chgnet", "chgnet", "BSD-3-Clause", _PBE_U, MP2020, "in the wheel", "run", chgnet,
            "references/chgnet.parquet",
        ),
        NamedPotential(
            "chgnet-r2scan", "CHGNet r2scan", "chgnet", "chgnet", "BSD-3-Clause", "r2SCAN (Materials Project)", "raw",
            "in the wheel", "run", _chgnet_r2scan,
        ),
        NamedPotential(
            "sevennet", "SevenNet-l3i5", "sevenn", '"sevenn>=0.13"', "MIT", _PBE_U, "raw", "in the wheel", "run",
            _sevennet_l3i5, "references/sevennet.parquet",
        ),
        NamedPotential(
            "sevennet-0", "SevenNet-0", "sevenn", '"sevenn>=0.13"', "MIT", _PBE_U, "raw", "in the wheel", "run",
            _sevennet_0,
        ),
        NamedPotential(
            "mace_mp", "MACE-MPA-0 medium", "mace", "mace-torch", "MIT", _PBE_U, "raw", _DOWNLOADED, "source", _mace_mp,
        ),
        NamedPotential(
            "mattersim", "MatterSim-v1 1M", "mattersim", "mattersim", "MIT", "PBE and PBE+U", "raw", _DOWNLOADED,
            "source", _mattersim,
        ),
        NamedPotential(
            "orb", "ORB-v3 conservative inf MPA", "orb_models", '"orb-models>=0.5,<0.6"', "Apache-2.0", _PBE_U, "raw",
            _DOWNLOADED, "source", _orb,
        ),
        NamedPotential(
            "tensornet", "TensorNet-PES-MatPES-PBE-2025.2", "matgl", '"matgl>=4.1"', "BSD-3-Clause",
            "PBE without U (MatPES)", "raw", _DOWNLOADED, "source", _tensornet,
        ),
        NamedPotential(
            "grace", "GRACE-2L-OAM", "tensorpotential", "tensorpotential", "Academic Software License", _PBE_U, "raw",
            _DOWNLOADED, "source", _grace,
        ),
    )
}  # fmt: skip
"""Potentials by name."""
