"""Property files: heads on the embeddings of the shipped networks, as one safetensors file with a header.

A file holds numbers and text only, no code. Its header names the networks whose embeddings its heads read, with a hash
of them, so that a file made for other networks is refused; and of each property the unit, the scale, the range of the
training labels, and the errors on held-out rows. It holds no training row. Several files add up: each property is one
more term of the energy, and a property that several files predict gets the even mixture of their predictions.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from matgen import __version__
from matgen.nn.embedding_heads import EmbeddingHeads
from matgen.runtime.output import replacing, writing
from matgen.targets.learned import BY_FILE, known_properties
from matgen.targets.properties import PROPERTIES_OF
from matgen.weights.files import WEIGHTS, WeightsError, weights_file
from matgen.weights.kinds import PROPERTY_HEADS
from matgen.weights.property_format import Block, FileProperty, PropertyFile, as_json, block_of
from matgen.weights.property_names import unlike_shipped, wrong_name
from matgen.weights.renamed import current_kind

SHIPPED = "shipped"
"""In place of a file: the one that comes with the package."""

SHIPPED_FILE = WEIGHTS / f"{PROPERTY_HEADS}.safetensors"

READ = {"crystal": ("structure_properties", "template_properties"), "molecule": ("molecule_properties",)}
"""Kinds of networks whose embeddings the files of a kind of material read."""

LARGEST = 64 * 2**20
"""Bytes of the largest file that is read."""

NOT_EMBEDDING = frozenset({"heads", "crystal"})
"""Parts of a member that its embeddings do not depend on."""


@cache
def embedding_hash(path: Path, changed: float) -> str:
    """Return the SHA-256 of what the embeddings by the network of a file depend on: all but its heads.

    Args:
        path: of the weights.
        changed: time of the last change of the file, so that a new one is read again.
    """
    del changed
    digest = hashlib.sha256()
    with safe_open(path, framework="pt") as stored:
        for name in sorted(stored.keys()):
            if not NOT_EMBEDDING.intersection(name.split(".")):
                value = stored.get_tensor(name)
                digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
                digest.update(value.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def embeddings_in_use(material: str, folder: Path | None = None) -> dict[str, str]:
    """Return the hashes of the embeddings of a kind of material, by kind of network.

    Args:
        material: crystal or molecule.
        folder: weights in it replace the shipped ones.
    """
    paths = {kind: weights_file(kind, folder) for kind in READ[material]}
    return {kind: embedding_hash(path, path.stat().st_mtime) for kind, path in paths.items()}


def write_property_file(
    path: Path, material: str, blocks: Sequence[tuple[Block, Mapping[str, EmbeddingHeads]]]
) -> PropertyFile:
    """Write heads on the shipped networks, rounded to float16.

    Args:
        path: of the file.
        material: crystal or molecule.
        blocks: each with its heads by the kind of network that they read.

    Raises:
        WeightsError: a parameter that does not fit into float16, or a file beyond the limit.
        OutputError: the file cannot be written.
    """
    values: dict[str, Tensor] = {}
    for place, (_, heads) in enumerate(blocks):
        for kind, module in heads.items():
            parameters = dict(module.named_parameters())
            for name, value in module.state_dict().items():
                stored = value.half() if name in parameters else value.float()
                if not torch.isfinite(stored).all():
                    raise WeightsError(f"{name} of {kind} holds numbers beyond float16; check the labels")
                values[f"{place}.{kind}.{name}"] = stored.contiguous()
    content = {
        "material": material,
        "reads": embeddings_in_use(material),
        "blocks": [as_json(block) for block, _ in blocks],
    }
    header = {"kind": PROPERTY_HEADS, "config": json.dumps(content), "version": __version__}
    header |= {"trained_on": _trained_on([block for block, _ in blocks])}
    header |= {"figures": json.dumps(_figures([block for block, _ in blocks]))}
    stored_file = save(values, metadata=header)
    if len(stored_file) > LARGEST:
        raise WeightsError(
            f"expected a property file of at most {LARGEST // 2**20} MiB, got one of {len(stored_file) / 2**20:.1f}; "
            "put fewer properties into it"
        )
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write(stored_file)
    return read_property_file(path)


def _figures(blocks: Iterable[Block]) -> dict[str, Any]:
    """Return the errors of all properties, as other weights have them."""
    found = {one.described.name: one.figures for block in blocks for one in block.properties}
    return {
        f"{key}_{name}": value
        for name, figures in found.items()
        for key, value in figures.items()
        if key.startswith(("mae", "coverage")) and not key.endswith("mp20")
    }


def _trained_on(blocks: Iterable[Block]) -> str:
    found = [f"{one.described.name}: {one.source}" for block in blocks for one in block.properties]
    return "; ".join(found)


def read_property_file(path: Path | str, folder: Path | None = None) -> PropertyFile:
    """Return the header of a file, after checking all of the file.

    Args:
        path: of the file, or `shipped`.
        folder: weights in it replace the shipped ones.

    Raises:
        WeightsError: no such file, or one that is no property file, damaged, or that holds numbers that are not finite.
    """
    path = weights_file(PROPERTY_HEADS, folder) if str(path) == SHIPPED else Path(path)
    if not path.is_file():
        raise WeightsError(
            f"expected a property file, got {path}, which is not there; `matgen train property` makes one"
        )
    if path.stat().st_size > LARGEST:
        raise WeightsError(
            f"expected a property file of at most {LARGEST // 2**20} MiB, got {path}; it holds something else"
        )
    return _read(path.resolve(), path.stat().st_mtime, path.stat().st_size)


@cache
def _read(path: Path, changed: float, size: int) -> PropertyFile:
    """Read and check a file; kept for each file until it changes."""
    del changed, size
    header, values = _content(path)
    if header.get("kind") != PROPERTY_HEADS:
        other = current_kind(header.get("kind", ""))
        found = f"weights of kind {other}" if other else "a safetensors file of another program"
        raise WeightsError(f"expected a property file, got {found} in {path}; `matgen train property` makes one")
    try:
        content = json.loads(header["config"])
        if not all(text.isprintable() for text in _texts([content, header["version"]])):
            raise WeightsError(f"expected a header of plain text in {path}, got control characters; leave the file out")
        blocks = tuple(block_of(one) for one in content["blocks"])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        read = PropertyFile(path, content["material"], dict(content["reads"]), blocks, header["version"], digest)
        _check(read, values)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"expected the header of a property file in {path}, got a damaged one ({error!r}); get it again"
        ) from error
    return read


def _texts(content: Any) -> Iterator[str]:
    """Yield all texts in JSON types, names included."""
    match content:
        case str():
            yield content
        case list():
            for item in content:
                yield from _texts(item)
        case dict():
            yield from _texts([*content, *content.values()])


def _content(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return metadata and tensors of a safetensors file; nothing else is read, least of all a pickle."""
    try:
        with safe_open(path, framework="pt") as stored:
            return stored.metadata() or {}, {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"expected a safetensors file, got {path}, which is cut short or of another format ({error}); get it again"
        ) from error


def _check(read: PropertyFile, values: Mapping[str, Tensor]) -> None:
    """Check that names, sizes and numbers of a file fit together.

    Raises:
        WeightsError: they do not.
    """
    hashes = read.reads.values()
    sound = read.material in READ and set(read.reads) == set(READ[read.material])
    if not sound or not read.blocks or not all(isinstance(one, str) for one in hashes):
        raise WeightsError(
            f"expected {read.path} to read {' and '.join(READ)} networks, got {sorted(read.reads)}; train it again"
        )
    expected = set()
    for place, block in enumerate(read.blocks):
        _check_numbers(read, block)
        for one in block.properties:
            _check_names(read, one)
        for kind in read.reads:
            own = f"{place}.{kind}."
            members, width = (int(n) for n in values[f"{own}mean"].shape)
            size = members, width, block.hidden
            if values[f"{own}weight"].shape != size:  # before anything of this size is made
                raise WeightsError(f"expected {own}weight of shape {size} in {read.path}; get it again")
            with torch.device("meta"):
                module = EmbeddingHeads(block.heads_config(members, width))
            for name, value in module.state_dict().items():
                expected.add(own + name)
                found = values.get(own + name)
                if found is None or found.shape != value.shape or not found.is_floating_point():
                    raise WeightsError(
                        f"expected {own}{name} of shape {tuple(value.shape)} in {read.path}; get it again"
                    )
                if not torch.isfinite(found).all() or (name in {"std", "temperature"} and bool((found <= 0).any())):
                    raise WeightsError(
                        f"expected finite numbers in {read.path}, got others in {own}{name}; train it again"
                    )
    if set(values) != expected:
        raise WeightsError(
            f"expected heads only in {read.path}, got also {min(set(values) - expected)!r}; get it again"
        )


def _check_names(read: PropertyFile, one: FileProperty) -> None:
    """Check that a property can be told from those of the networks, and that a shipped one is the same quantity."""
    name = one.described.name
    shipped = BY_FILE.get(name) if read.material == "crystal" else None
    if (reason := wrong_name(name)) and shipped is None:
        raise WeightsError(f"{reason}, in {read.path}; rename it")
    if name in PROPERTIES_OF[read.material]:
        raise WeightsError(
            f"expected properties of its own in {read.path}, got {name}, which is always predicted; train it under "
            "another --name"
        )
    if reason := unlike_shipped(read.material, name, one.described.unit, logarithmic=one.logarithmic):
        raise WeightsError(f"{reason}, in {read.path}; train it under another --name")
    others = [*known_properties(read.material).values(), *read.properties.values()]
    taken = {word: other.name for other in others if other.name != name for word in (other.name, *other.aliases)}
    for alias in one.described.aliases:
        if alias in taken or (wrong_name(alias) and (shipped is None or alias not in shipped.aliases)):
            raise WeightsError(
                f"expected other names of {name} that mean nothing else in {read.path}, got {alias!r}, which means "
                f"{taken.get(alias, 'another column or option')}; get it without"
            )


def _check_numbers(read: PropertyFile, block: Block) -> None:
    """Check that the numbers of a block, and the limits of its properties, are possible."""
    if not len(block.properties) == len(block.centre) == len(block.spread):
        raise WeightsError(f"expected a scale for each property in the header of {read.path}; get it again")
    numbers = [*block.centre, *block.spread, block.correlation]
    ordered = all(number > 0 for number in block.spread) and abs(block.correlation) <= 1 and block.hidden >= 0
    for one in block.properties:
        it = one.described
        numbers += [one.lowest_label, one.highest_label, it.tolerance]
        ordered &= one.lowest_label <= one.highest_label and it.lowest < it.highest and it.tolerance >= 0
        ordered &= not math.isnan(it.zero) and it.source == "model"
    if not ordered or not all(math.isfinite(number) for number in numbers):
        raise WeightsError(f"expected finite numbers and sound limits in the header of {read.path}; train it again")


def check_reads(read: PropertyFile, material: str, folder: Path | None = None) -> None:
    """Check that a file reads the embeddings that are in use.

    Raises:
        WeightsError: it is for another kind of material, or reads another embedding.
    """
    if read.material != material:
        raise WeightsError(
            f"expected a property file for a {material}, got {read.path}, which is for a {read.material}; leave it out"
        )
    for kind, used in embeddings_in_use(material, folder).items():
        if read.reads[kind] != used:
            raise WeightsError(
                f"expected {read.path} to read the {kind} in use ({used[:12]}…), got one for {read.reads[kind][:12]}…; "
                "train it again with `matgen train property`"
            )


def heads_of(read: PropertyFile, kind: str) -> list[EmbeddingHeads]:
    """Return the heads of a file on one kind of network, in float32 and evaluation mode.

    Raises:
        WeightsError: the file has changed since its header was read.
    """
    path = read.path if read.path.is_file() else SHIPPED_FILE  # which lies elsewhere on another machine
    if read_property_file(path).sha256 != read.sha256:
        raise WeightsError(f"expected {read.path} as it was when the run began, got another one; start the run again")
    _, values = _content(path)
    found = []
    for place, block in enumerate(read.blocks):
        own = f"{place}.{kind}."
        state = {name.removeprefix(own): value.float() for name, value in values.items() if name.startswith(own)}
        heads = EmbeddingHeads(block.heads_config(*state["mean"].shape, derives=read.material == "crystal"))
        heads.load_state_dict(state)
        found.append(heads.eval().requires_grad_(requires_grad=False))
    return found
