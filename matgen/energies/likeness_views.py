"""What likeness compares: whitened embeddings of the shipped networks, and parts, with background materials.

The statistics are in `likeness_crystals.npz` and `likeness_molecules.npz`, made by `scripts/build/build_likeness.py`:
mean and principal axes of the embeddings, and the embeddings of background materials. They hold for the networks they
were made with, which `check_probe` verifies.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from matgen.batch.state import State
from matgen.energies.likeness import View
from matgen.energies.sharing import answer_of
from matgen.errors import UserError
from matgen.nn.graph_properties import GraphProperties
from matgen.nn.structure_properties import StructureInputs, StructureProperties
from matgen.nn.template_properties import TemplateProperties
from matgen.templates.batch import Geometry, TemplateBatch, molecules_of
from matgen.templates.expand import expand
from matgen.templates.late_rdkit import rdFingerprintGenerator
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.wyckoff import wyckoff_table

COORDINATES = 32
"""Whitened coordinates that are compared."""

PROBES = 4
"""Background materials whose embedding is computed again."""

PROBE_TOLERANCE = 0.1
"""Largest difference of a whitened coordinate, of standard deviation one, between stored and computed embeddings; they
are stored in float16."""

ENVIRONMENTS = 2048
"""Entries of the table of environments of atoms, whose hashes may collide."""


class LikenessError(UserError, ValueError):
    """Networks that the statistics of likeness do not fit."""


@dataclass(frozen=True)
class Whitening:
    """Coordinates of unit variance over training materials, divided by the square root of their number.

    Attributes:
        mean: of the embedding (d,).
        axes: principal axes over the square roots of their variances and of their number (d, m).
        background: coordinates of background materials (n, m).
    """

    mean: Tensor
    axes: Tensor
    background: Tensor

    @classmethod
    def of(cls, embedding: Tensor, background: Tensor, coordinates: int = COORDINATES) -> Self:
        """Return the whitening of embeddings (n, d) by their leading principal axes.

        Args:
            embedding: of training materials.
            background: of background materials.
            coordinates: number of axes.
        """
        values, axes = torch.linalg.eigh(torch.cov(embedding.double().T))
        values, axes = values.flip(0)[:coordinates], axes.flip(1)[:, :coordinates]
        scaled = (axes / (coordinates * (values + 1e-3 * values[0])).sqrt()).float()
        mean = embedding.mean(0)
        return cls(mean, scaled, (background - mean) @ scaled)

    def __call__(self, embedding: Tensor) -> Tensor:
        """Return the coordinates (n, m) of embeddings (n, d)."""
        return (embedding - self.mean.to(embedding)) @ self.axes.to(embedding)

    def check_probe(self, embedding: Tensor, network: str) -> None:
        """Check the embeddings of the first background materials.

        Args:
            embedding: computed now (n, d).
            network: that computes them, in words.

        Raises:
            LikenessError: they differ from the stored ones.
        """
        fits = embedding.shape[1] == len(self.mean)
        if fits:
            apart = (self(embedding).cpu() - self.background[: len(embedding)]).abs().max()
            fits = float(apart) * len(self.axes[0]) ** 0.5 <= PROBE_TOLERANCE
        if not fits:
            raise LikenessError(
                f"expected the {network} with which the statistics of likeness were made, got other weights; leave the "
                "weights or the examples out, or run scripts/build/build_likeness.py with these weights"
            )


@dataclass(frozen=True)
class Background:
    """Statistics of one kind of material.

    Attributes:
        templates: of background materials.
        probes: geometry of the first `PROBES` of them; None for molecules.
        of_templates: whitening of embeddings of templates.
        of_states: whitening of embeddings of structures; None for molecules.
    """

    templates: TemplateBatch
    probes: Geometry | None
    of_templates: Whitening
    of_states: Whitening | None


def file_of(kind: str) -> Path:
    """Return the path of the statistics of crystals or molecules."""
    return Path(__file__).resolve().parent / f"likeness_{kind}s.npz"


@cache
def crystal_background() -> Background:
    """Return the statistics of crystals, read once."""
    with np.load(file_of("crystal"), allow_pickle=False) as raw:
        n_sites = torch.from_numpy(raw["n_sites"].astype(np.int64))
        templates = TemplateBatch.of_sites(
            torch.from_numpy(raw["space_group"].astype(np.int64)),
            torch.from_numpy(raw["position"].astype(np.int64)),
            torch.from_numpy(raw["element"].astype(np.int64)),
            torch.repeat_interleave(torch.arange(len(n_sites)), n_sites),
        )
        probes = Geometry(torch.from_numpy(raw["lattice"]), torch.from_numpy(raw["coords"]))
        return Background(templates, probes, _whitening(raw, "template"), _whitening(raw, "state"))


@cache
def molecule_background() -> Background:
    """Return the statistics of molecules, read once."""
    with np.load(file_of("molecule"), allow_pickle=False) as raw:
        templates = TemplateBatch.of([MoleculeTemplate(smiles) for smiles in raw["smiles"].tolist()])
        return Background(templates, None, _whitening(raw, "template"), None)


def _whitening(raw: "np.lib.npyio.NpzFile", name: str) -> Whitening:
    parts = (torch.from_numpy(raw[f"{name}_{part}"].astype(np.float32)) for part in ("mean", "axes", "background"))
    return Whitening(*parts)


def wyckoff_shares(templates: TemplateBatch) -> Tensor:
    """Return the square roots of the shares of atoms on each Wyckoff position of each space group (n, n_positions)."""
    counts = templates.site_multiplicity.new_zeros(templates.n_systems, len(wyckoff_table().multiplicity))
    place = (templates.site_system, templates.site_position)
    counts = counts.index_put(place, templates.site_multiplicity, accumulate=True).float()
    return (counts / counts.sum(1, keepdim=True)).sqrt()


def environment_shares(templates: TemplateBatch) -> Tensor:
    """Return the square roots of the shares of environments of atoms, up to one bond away (n, `ENVIRONMENTS`).

    Counted as in Morgan fingerprints (Rogers and Hahn, J. Chem. Inf. Model. 50, 742, 2010), without stereo.
    """
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=1, fpSize=ENVIRONMENTS)
    rows = [generator.GetCountFingerprintAsNumPy(one.molecule) for one in molecules_of(templates.unbatch())]
    counts = torch.from_numpy(np.array(rows, dtype=np.float32)).reshape(len(rows), ENVIRONMENTS)
    return (counts / counts.sum(1, keepdim=True).clamp_min(1.0)).sqrt().to(templates.device)


class CrystalView:
    """The view of templates of crystals by a network."""

    parts = staticmethod(wyckoff_shares)

    def __init__(self, network: TemplateProperties, whitening: Whitening) -> None:
        self.network, self.whitening = network, whitening

    def __call__(self, templates: TemplateBatch) -> View:
        """Return the view of templates."""
        return View(self.whitening(self.network.embed(templates)), self.parts(templates))


class MoleculeView:
    """The view of molecular graphs by a network."""

    parts = staticmethod(environment_shares)

    def __init__(self, network: GraphProperties, whitening: Whitening) -> None:
        self.network, self.whitening = network, whitening

    def __call__(self, templates: TemplateBatch) -> View:
        """Return the view of molecular graphs."""
        return View(self.whitening(self.network.embed(templates)), self.parts(templates))


class StructureView:
    """The view of states of crystals by a network; without parts, which templates tell."""

    def __init__(self, network: StructureProperties, whitening: Whitening) -> None:
        self.network, self.whitening = network, whitening

    def __call__(self, state: State) -> View:
        """Return the view of states."""
        embedding = self.whitening(answer_of(self._pooled, state, alike=("pool", id(self.network))))
        return View(embedding, embedding.new_zeros(len(embedding), 0))

    def _pooled(self, state: State) -> Tensor:
        return self.network.pool(StructureInputs(state))


def check_crystal_probes(background: Background, templates: TemplateProperties, states: StructureProperties) -> None:
    """Check that the statistics of crystals fit the networks.

    Raises:
        LikenessError: they do not.
    """
    if background.probes is None or background.of_states is None:
        raise TypeError("expected the statistics of crystals, got those of molecules")
    device = next(templates.parameters()).device
    some = background.templates.select(torch.arange(PROBES)).to(device)
    with torch.no_grad():
        background.of_templates.check_probe(templates.embed(some), "network that reads templates")
        pooled = states.pool(StructureInputs(expand(some, background.probes.to(device))))
        background.of_states.check_probe(pooled, "network that reads structures")


def check_molecule_probes(background: Background, network: GraphProperties) -> None:
    """Check that the statistics of molecules fit the network.

    Raises:
        LikenessError: they do not.
    """
    some = background.templates.select(torch.arange(PROBES)).to(next(network.parameters()).device)
    with torch.no_grad():
        background.of_templates.check_probe(network.embed(some), "network that reads molecular graphs")
