"""Heads for a property of the user's own: read its table, embed its structures, fit, and write a property file."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pymatgen.core.structure import Structure
from torch import Tensor

from matgen.chemistry.elements import descriptors
from matgen.learning.columns import Column, Sample, Samples, check_enough, read_column
from matgen.learning.own_property import Errors, Fit, baselines, errors, fits
from matgen.learning.rows import LabelError
from matgen.nn.embedding_heads import EmbeddingHeads, HeadsConfig, embedding
from matgen.nn.ensemble import Ensemble
from matgen.nn.pooling import composition_statistics
from matgen.runtime.failures import of_the_machine, reason_of
from matgen.runtime.progress import Report, Silence
from matgen.screening.crystals import primitive_cell
from matgen.structures.conversion import described, state_of
from matgen.targets.learned import BY_FILE
from matgen.targets.properties import PROPERTIES, Property
from matgen.templates.batch import Template, TemplateBatch
from matgen.templates.molecule import MoleculeTemplate
from matgen.templates.symmetry import NoTemplateError
from matgen.training.embedding_heads import ridge_features, ridge_heads
from matgen.weights.files import WeightsError
from matgen.weights.models import load
from matgen.weights.property_files import READ, SHIPPED, heads_of, read_property_file, write_property_file
from matgen.weights.property_format import Block, FileProperty, PropertyFile
from matgen.weights.property_names import unlike_shipped, wrong_name

FEW = 50
"""Rows below which a warning is given."""

RELATIVE_TOLERANCE, SHARE_OF_SPREAD = 0.2, 0.2
"""Of a point target: share of the value if its logarithm is predicted, else share of the spread of the labels."""

AT_ONCE = 32
"""Structures that the networks read at once."""


@dataclass(frozen=True)
class Trained:
    """Result of a call.

    Attributes:
        file: that was written.
        kind: crystal or molecule.
        rows: number of rows that were fitted.
        formulas: number of different formulas.
        errors: on held-out formulas, by the kind of network that is read; the first one is reported.
        skipped: number of rows that were left out, by reason.
        warnings: what the user should know.
    """

    file: PropertyFile
    kind: str
    rows: int
    formulas: int
    errors: Mapping[str, Errors]
    skipped: Counter[str]
    warnings: tuple[str, ...]


def run(asked: Column, out: Path, *, name: str = "", report: Report | None = None) -> Trained:
    """Fit heads to a column and write a property file.

    Args:
        asked: what to read.
        out: file to write.
        name: of the property; made of the column's if left out.
        report: receives the progress.

    Raises:
        LabelError: the table cannot be learned from.
        MissingPathError: a path does not exist.
        WeightsError: the name is taken, or belongs to a shipped property of another unit.
        OutputError: the file cannot be written.
    """
    tell = report or Silence()
    if out.suffix != ".safetensors":
        raise LabelError(f"expected a file of weights to write, got {out}; name it .safetensors")
    named = checked_name(name or asked.column)
    samples = read_column(asked)
    _check_unit(named, samples.kind, asked.unit, logarithmic=asked.logarithmic)
    samples, templates = _with_templates(samples)
    check_enough(asked, samples.samples, samples.skipped)
    embedded = embeddings(samples, templates, tell)
    values = torch.tensor([one.value for one in samples.samples], dtype=torch.float64)
    values = values.log10() if asked.logarithmic else values
    centre, spread = float(values.mean()), float(values.std())
    labels, groups = (values - centre) / spread, [one.group for one in samples.samples]
    simple = baselines(composition_features(TemplateBatch.of(templates)), labels, groups)
    heads: dict[str, EmbeddingHeads] = {}
    found: dict[str, Errors] = {}
    for kind, own in embedded.items():
        base = _base(samples.kind, kind, own)
        config = _config(own, base.config.hidden, (named,), (asked.logarithmic,), (centre,), (spread,))
        fit = _fit(base, own, labels, groups, tell)
        heads[kind] = ridge_heads(base, config, fit.ridge, fit.scale)
        found[kind] = errors(fit, labels, spread, simple)
    described_one = _property(named, asked, spread)
    block = Block((_entry(described_one, asked, samples, found),), base.config.hidden, (centre,), (spread,))
    file = write_property_file(out, samples.kind, [(block, heads)])
    n = len(samples.samples)
    warnings = _warnings(n, next(iter(found.values())))
    return Trained(file, samples.kind, n, len(set(groups)), found, samples.skipped, warnings)


def checked_name(text: str) -> str:
    """Return the name of a property from that of a column.

    Raises:
        WeightsError: nothing of it can be a name, or it is the name of something else.
    """
    name = "_".join("".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split())
    if reason := wrong_name(name):
        raise WeightsError(f"{reason}, from {text!r}; give another --name")
    taken = {alias for one in PROPERTIES.values() for alias in (one.name, *one.aliases)}
    if name in taken:
        raise WeightsError(f"expected a name of its own, got {name}, which is always predicted; give another --name")
    for one in BY_FILE.values():
        if name in one.aliases:
            raise WeightsError(f"expected a name of its own, got {name}, which means {one.name}; give another --name")
    return name


def _check_unit(name: str, kind: str, unit: str, *, logarithmic: bool) -> None:
    """Check that a property that ships has the unit and the scale of the shipped one.

    Raises:
        WeightsError: it has another one.
    """
    if reason := unlike_shipped(kind, name, unit, logarithmic=logarithmic):
        raise WeightsError(
            f"{reason}; give --unit, and --column-unit if it is converted, and --log if it is logarithmic, or another "
            "--name"
        )


def _with_templates(samples: Samples) -> tuple[Samples, list[Template]]:
    """Return the samples that have a template, of crystals in their primitive cells, and the templates."""
    kept: list[Sample] = []
    templates: list[Template] = []
    skipped = samples.skipped
    for one in samples.samples:
        if isinstance(one.material, str):
            kept.append(one)
            templates.append(MoleculeTemplate(one.material))
            continue
        try:
            cell = primitive_cell(one.material)
            templates.append(described(cell)[0])
        except NoTemplateError:
            skipped["whose symmetry is not found"] += 1
        except Exception as error:
            if of_the_machine(error):
                raise
            skipped[f"that cannot be read ({reason_of(error)})"] += 1
        else:
            kept.append(Sample(one.name, cell, one.group, one.value))
    return Samples(samples.kind, tuple(kept), skipped), templates


@torch.no_grad()
def embeddings(samples: Samples, templates: Sequence[Template], report: Report) -> dict[str, Tensor]:
    """Return the embeddings (members, n_rows, width) of all rows, by the kind of network."""
    found: dict[str, Tensor] = {}
    n = len(templates)
    for kind in READ[samples.kind]:
        ensemble: Ensemble = load(kind)  # type: ignore[assignment]
        parts = []
        for first in range(0, n, AT_ONCE):
            some = templates[first : first + AT_ONCE]
            inputs: object = TemplateBatch.of(some)
            if kind == "structure_properties":
                materials = [one.material for one in samples.samples[first : first + AT_ONCE]]
                inputs = state_of([one for one in materials if isinstance(one, Structure)])
            parts.append(torch.stack([embedding(member, inputs) for member in ensemble.members]))
            report(f"embed, {kind}", min(first + AT_ONCE, n), n)
        found[kind] = torch.cat(parts, dim=1)
    return found


def _base(material: str, kind: str, embedded: Tensor) -> EmbeddingHeads:
    """Return heads whose standardisation and hidden layer are used: the shipped ones, or none for molecules."""
    if material == "crystal":
        return heads_of(read_property_file(SHIPPED), kind)[0]
    base = EmbeddingHeads(_config(embedded, 0))
    own = embedded.std(1)
    base.mean, base.std = embedded.mean(1), own.clamp_min(0.1 * float(own.median())).clamp_min(1e-6)
    return base.requires_grad_(requires_grad=False)


def _config(
    embedded: Tensor,
    hidden: int,
    names: tuple[str, ...] = (),
    logarithmic: tuple[bool, ...] = (),
    centre: tuple[float, ...] = (),
    spread: tuple[float, ...] = (),
) -> HeadsConfig:
    """Return the size of heads on embeddings (members, n_rows, width)."""
    members, _, width = embedded.shape
    return HeadsConfig(members, width, hidden, names, logarithmic, centre, spread)


def _fit(base: EmbeddingHeads, embedded: Tensor, labels: Tensor, groups: Sequence[str], report: Report) -> Fit:
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        report("fit", done, 16)

    return fits(ridge_features(base, embedded), labels, groups, tell)


def composition_features(batch: TemplateBatch) -> Tensor:
    """Return statistics of the composition (n_rows, n_statistics), and the number of atoms, for the forest."""
    weight = batch.site_multiplicity.double()[:, None]
    described_sites = descriptors()[batch.site_element].double()
    statistics = composition_statistics(described_sites, weight, batch.site_system, batch.n_systems)
    return torch.cat([statistics, batch.n_atoms.double()[:, None]], dim=1)


def _property(name: str, asked: Column, spread: float) -> Property:
    note = f"the column {asked.column} of {asked.table.name}"
    if asked.logarithmic:
        return Property(name, asked.unit, (), 0.0, math.inf, -math.inf, note, RELATIVE_TOLERANCE, relative=True)
    return Property(name, asked.unit, (), -math.inf, math.inf, -math.inf, note, SHARE_OF_SPREAD * spread)


def _entry(described_one: Property, asked: Column, samples: Samples, found: Mapping[str, Errors]) -> FileProperty:
    values = [one.value for one in samples.samples]
    formulas = len({one.group for one in samples.samples})
    held_out = {kind: asdict(one) for kind, one in found.items()}
    figures = {"rows": len(values), "formulas": formulas, "held_out": held_out}
    source = f"{asked.table.name}, {len(values)} rows"
    return FileProperty(described_one, asked.logarithmic, min(values), max(values), source, figures)


def _warnings(rows: int, found: Errors) -> tuple[str, ...]:
    some = []
    if rows < FEW:
        some.append(f"{rows} rows are few: errors on held-out rows are uncertain, and targets will be weak; {FEW} help")
    if found.mae >= min(found.mean, found.forest):
        better = "mean" if found.mean <= found.forest else "random forest on the composition"
        some.append(
            f"the heads are no better than the {better} on held-out rows: do not rely on targets for this column"
        )
    return tuple(some)
