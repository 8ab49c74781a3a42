"""Verdicts on the phonons and the elastic tensor of a candidate, and the files that hold them."""

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from ase.calculators.calculator import BaseCalculator
from pymatgen.core.structure import Structure

from matgen.phonons.asked import ELASTICITY, PHONONS, UNITS
from matgen.phonons.calculation import PhononError, of_relaxed, relaxed_tightly, unassessed
from matgen.phonons.config import PhononConfig
from matgen.phonons.elasticity import of_relaxed as tensor_of_relaxed
from matgen.structures.candidate import Candidate, Prediction, Relaxation, Verdict
from matgen.structures.candidate_table import BULK, SHEAR

Found = tuple[Verdict, dict[str, str], dict[str, Prediction]]
"""Verdict, texts of files by folder and suffix, and values that are calculated."""


def with_lattice_checks(
    candidate: Candidate,
    calculator: BaseCalculator,
    asked: Collection[str],
    pressure: float = 0.0,
    *,
    keep_cell: bool = False,
) -> Candidate:
    """Add the verdicts that are asked for, the moduli, and the files that hold what they follow from.

    The crystal is relaxed tightly before. What cannot be calculated fails with the reason.

    Args:
        candidate: a crystal.
        calculator: of the potential.
        asked: names of `UNITS`.
        pressure: at which the crystal is relaxed, GPa.
        keep_cell: phonons in the cell as it is. An elastic tensor is one of a cell without stress.
    """
    usual = PhononConfig()
    free = replace(usual, relaxation=replace(usual.relaxation, pressure=pressure))

    @cache
    def relaxed(config: PhononConfig) -> tuple[Structure, Relaxation]:
        return relaxed_tightly(candidate.crystal, calculator, config)

    def lattice_vibrations() -> Found:
        config = replace(free, keep_cell=keep_cell)
        return _phonons(of_relaxed(*relaxed(config), calculator, config))

    makers: dict[str, Callable[[], Found]] = {
        PHONONS: lattice_vibrations,
        ELASTICITY: lambda: _elasticity(tensor_of_relaxed(*relaxed(free), calculator)),
    }
    return _with(candidate, [_guarded(name, make) for name, make in makers.items() if name in asked])


def _guarded(name: str, make: Callable[[], Found]) -> Found:
    try:
        with _gradients():
            return make()
    except PhononError as error:
        return unassessed(str(error), name, UNITS[name]), {}, {}


def _phonons(found: Any) -> Found:
    return found.verdict, {f"{PHONONS}/json": _json(found.record), f"{PHONONS}/yaml": found.yaml}, {}


def _elasticity(found: Any) -> Found:
    moduli = {BULK: found.bulk, SHEAR: found.shear} if found.born_stable else {}
    calculated = {name: Prediction(value, 0.0, UNITS[ELASTICITY]) for name, value in moduli.items()}
    return found.verdict, {f"{ELASTICITY}/json": _json(found.record)}, calculated


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def _with(candidate: Candidate, several: list[Found]) -> Candidate:
    verdicts = {verdict.name: verdict for verdict, *_ in several}
    files = {of: text for _, own, _ in several for of, text in own.items()}
    calculated = {name: value for *_, own in several for name, value in own.items()}
    return replace(
        candidate,
        verdicts={**candidate.verdicts, **verdicts},
        files={**candidate.files, **files},
        properties={**candidate.properties, **calculated},
    )


@contextmanager
def _gradients() -> Iterator[None]:
    """Let potentials take derivatives, even where predictions are made without."""
    with torch.enable_grad():
        yield
