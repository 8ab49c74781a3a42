"""Proposals, ranked by the total energy."""

from dataclasses import dataclass

import torch
from pymatgen.core.structure import Molecule, Structure

from matgen.generation.computed_predictions import computed_predictions
from matgen.generation.kinds.base import Kind
from matgen.generation.predictors import as_predictions
from matgen.generation.repetition import repetition_energy
from matgen.generation.request import Request
from matgen.generation.total_energy import ranking_terms
from matgen.runtime.devices import placed
from matgen.runtime.progress import Report
from matgen.structures.candidate import Prediction
from matgen.structures.conversion import structures
from matgen.templates.batch import Geometry, Template, TemplateBatch
from matgen.templates.expand import expand


@dataclass(frozen=True)
class Proposed:
    """A proposal, before any relaxation.

    Attributes:
        template: its discrete half.
        geometry: its free parameters.
        structure: its primitive cell, or the molecule.
        energies: each weighted term of the total energy.
        total: their sum.
        properties: predictions of the predictor, by property.
    """

    template: Template
    geometry: Geometry
    structure: Structure | Molecule
    energies: dict[str, float]
    total: float
    properties: dict[str, Prediction]


def rank(
    batch: TemplateBatch,
    geometry: Geometry,
    request: Request,
    kind: Kind,
    report: Report,
) -> list[Proposed]:
    """Return proposals scored by every term, lowest total first.

    Args:
        batch: templates.
        geometry: their geometries.
        request: what is asked.
        kind: crystals or molecules.
        report: receives the progress.
    """
    if batch.n_systems == 0:
        return []
    level = geometry.lattice.new_full((batch.n_systems,), request.sampler.choose_sigma)
    terms = ranking_terms(batch, geometry, level, request, kind)
    total = torch.stack(list(terms.values())).sum(0)
    terms["variety"] = repetition_energy(batch.unbatch(), total, request, kind)
    total = total + terms["variety"]
    state = expand(batch, geometry)
    predictions = as_predictions(
        placed(dict(kind.predictor().distributions(batch, state)), "cpu"), request.property_targets
    )
    crystals, singles = structures(state), batch.unbatch()
    batch, geometry, terms = placed((batch, geometry, terms), "cpu")
    proposed = [
        Proposed(
            template=singles[i],
            geometry=geometry.select(batch, torch.tensor([i])),
            structure=crystals[i],
            energies={name: float(values[i]) for name, values in terms.items()},
            total=float(total[i]),
            properties=predictions[i] | computed_predictions(crystals[i], request.property_targets, moments=False),
        )
        for i in total.argsort().tolist()
    ]
    report("rank", len(proposed), len(proposed))
    return proposed
