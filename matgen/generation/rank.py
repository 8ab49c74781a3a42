"""Proposals, ranked by the total energy."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pymatgen.core.structure import Molecule, Structure

from matgen.batch.state import State
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
        nearest: name of the nearest example, and its distance; None without examples.
        row: place in the batch that was ranked, by which a recorder knows it.
    """

    template: Template
    geometry: Geometry
    structure: Structure | Molecule
    energies: dict[str, float]
    total: float
    properties: dict[str, Prediction]
    nearest: tuple[str, float] | None = None
    row: int = 0


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
    found = placed(dict(kind.predictor().distributions(batch, state)), "cpu")
    predictions = as_predictions(found, request.property_targets, request.known_properties)
    nearest = nearest_examples(batch, state, kind)
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
            nearest=nearest[i],
            row=i,
        )
        for i in total.argsort().tolist()
    ]
    report("rank", len(proposed), len(proposed))
    return proposed


def nearest_examples(batch: TemplateBatch, state: State, kind: Kind) -> Sequence[tuple[str, float] | None]:
    """Return the name of the nearest example of each system and its distance, of both requests where there are two."""
    several = [end.resemblance for _, end in kind.ends] if kind.ends else [kind.resemblance]
    found = [one.nearest(batch, state) for one in several if one is not None]
    if not found:
        return [None] * batch.n_systems
    return [min(row, key=lambda pair: pair[1]) for row in zip(*found, strict=True)]
