"""Bits that priors of templates need: normalised, averaged with their error, fewer for what is known."""

import math
import sys
from collections.abc import Iterator
from itertools import combinations_with_replacement
from pathlib import Path

import pytest
import torch
from pymatgen.core import Structure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "benchmarks"))

from matgen.energies.base import TemplateEnergy
from matgen.energies.template_prior import LearnedTemplatePrior
from matgen.nn.conditions import CRYSTAL_GRIDS, Conditions
from matgen.structures.conversion import described
from matgen.templates.batch import TemplateBatch
from matgen.templates.crystal import CrystalTemplate
from matgen.templates.wyckoff import wyckoff_table
from matgen.weights.models import load
from shared.frequency_prior import Frequencies, FrequencyPrior
from shared.prior_bits import averaged, bits, compared

TEXTBOOK = Path(__file__).resolve().parents[1] / "data" / "textbook"


class Uniform(TemplateEnergy):
    """Every template has the probability 1/8."""

    name = "uniform"

    def forward(self, templates: TemplateBatch) -> Tensor:
        return torch.full((templates.n_systems,), math.log(8))


def in_p1(*elements: int) -> CrystalTemplate:
    (general,) = wyckoff_table().positions_of(1)
    return CrystalTemplate(1, tuple((general, z) for z in elements))


def of_sites(n: int) -> Iterator[CrystalTemplate]:
    return (in_p1(*some) for some in combinations_with_replacement(range(1, 96), n))


def test_frequencies_are_a_normalised_prior() -> None:
    seen = TemplateBatch.of([in_p1(8, 22), in_p1(8, 8), in_p1(11)])
    prior = FrequencyPrior(Frequencies.none().plus(seen))
    # In P1, whose only position has all the probability: 4 of 233 counts of groups; 2 and 3 of 23 of numbers of sites.
    for n, share in ((1, 2 / 23), (2, 3 / 23)):
        total = (-prior(TemplateBatch.of(list(of_sites(n))))).exp().sum()
        assert float(total) == pytest.approx(4 / 233 * share, rel=1e-9)


def test_what_was_seen_often_needs_fewer_bits() -> None:
    rutile = described(Structure.from_file(TEXTBOOK / "TiO2_rutile.cif"))[0]
    before, after = (FrequencyPrior(Frequencies.none().plus(TemplateBatch.of([rutile] * n))) for n in (1, 50))
    once = TemplateBatch.of([rutile])
    assert float(bits(after, once)) < float(bits(before, once)) - 5


def test_bits_of_priors_are_averaged_with_their_error() -> None:
    templates = TemplateBatch.of([in_p1(z) for z in range(1, 60)])
    frequencies = FrequencyPrior(Frequencies.none().plus(TemplateBatch.of([in_p1(z) for z in (1, 1, 1, 8, 8)])))
    each, differences = compared({"uniform": Uniform(), "again": Uniform(), "frequencies": frequencies}, templates)
    assert (each["uniform"].mean, each["uniform"].error) == (pytest.approx(3.0), pytest.approx(0.0, abs=1e-6))
    assert differences["again"].mean == 0.0
    own = bits(frequencies, templates)
    assert differences["frequencies"].mean == pytest.approx(float(own.mean()) - 3, rel=1e-6)
    assert averaged(own).error == pytest.approx(float(own.std()) / math.sqrt(len(own)), rel=0.15)


def test_the_learned_prior_describes_textbook_crystals_in_fewer_bits_than_no_knowledge() -> None:
    found = [described(Structure.from_file(path))[0] for path in sorted(TEXTBOOK.glob("*O2_*.cif"))]
    templates = TemplateBatch.of(found)
    priors = {
        "learned": LearnedTemplatePrior(load("template_prior"), Conditions.none(1, CRYSTAL_GRIDS)),
        "nothing": FrequencyPrior(Frequencies.none()),
    }
    _, differences = compared(priors, templates)
    assert differences["nothing"].mean > 3 * differences["nothing"].error
