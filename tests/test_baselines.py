"""Ways of making crystals to be compared with: sound proposals, the same ones from the same seed, honest counts."""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Species, Structure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from baselines import random_symmetric
from baselines.compositions import balanced_compositions
from baselines.figures import counted, found, rate, spread_costs
from baselines.prior_alone import PriorAlone
from baselines.proposals import Proposals, Setting, Source
from baselines.random_symmetric import RandomSymmetric, random_crystal
from baselines.race import cpu_seconds, within
from baselines.substitution import Substitution, charged, ions, metals, substitutions

from matgen.charges import is_valid
from matgen.elements import atomic_volumes
from matgen.validation.symmetry import space_group

SOURCES = {"random": RandomSymmetric, "substitution": Substitution, "prior": PriorAlone}


def usual_volume(structure: Structure) -> float:
    volumes = atomic_volumes().tolist()
    return sum(volumes[z] for z in structure.atomic_numbers)


@pytest.fixture(scope="module")
def rounds(prepared_table: Path) -> dict[str, list[Structure]]:
    """The first round of every baseline."""
    return {name: list(source(Setting(prepared_table)).round(0)) for name, source in SOURCES.items()}


@pytest.mark.parametrize("name", SOURCES)
def test_baselines_propose_small_sound_crystals(rounds: dict[str, list[Structure]], name: str) -> None:
    assert len(rounds[name]) > 5
    for structure in rounds[name]:
        assert len(structure) <= 20
        assert len(structure.get_primitive_structure()) == len(structure)
        assert np.isfinite(structure.frac_coords).all()
        if name != "prior":  # whose draws are only told to balance
            assert is_valid(structure.composition)


@pytest.mark.parametrize("name", SOURCES)
def test_one_seed_one_round(rounds: dict[str, list[Structure]], prepared_table: Path, name: str) -> None:
    again = list(SOURCES[name](Setting(prepared_table)).round(0))
    other = list(SOURCES[name](Setting(prepared_table, seed=1)).round(0))
    assert again == rounds[name]
    assert other != rounds[name]
