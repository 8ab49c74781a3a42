"""Files of weights: safetensors with a header, and their hashes.

Parameters are stored in float16. The header holds the kind of model, its configuration, its training data, its figures
of merit and the version of the program. `hashes.json` beside the files holds the SHA-256 of each.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor, nn

from matgen import __version__
from matgen.errors import UserError
from matgen.runtime.config import did_you_mean, to_mapping
from matgen.runtime.output import replace_file, replacing, writing
from matgen.weights.kinds import KINDS
from matgen.weights.renamed import current_config, current_kind, current_names, file_names

WEIGHTS = Path(__file__).resolve().parent
HASHES = "hashes.json"


class WeightsError(UserError, ValueError):
    """A file of weights that is missing, damaged, or of another kind."""


@dataclass(frozen=True)
class ModelInfo:
    """The header of a file of weights.

    Attributes:
        kind: one of `KINDS`.
        config: configuration of the network, as JSON types.
        trained_on: rows and splits, in words.
        figures: figures of merit, by name.
        version: of the program that wrote the file.
        n_parameters: number of stored values.
        sha256: of the file.
    """

    kind: str
    config: dict[str, Any]
    trained_on: str
    figures: dict[str, Any]
    version: str
    n_parameters: int
    sha256: str


def info(kind: str, path: Path | None = None) -> ModelInfo:
    """Return the header of a file of weights, after checking its hash against `hashes.json` beside it.

    Raises:
        WeightsError: no such file, or one that is damaged, altered, or of another kind.
    """
    found = existing_file(kind, path)
    digest = hashlib.sha256(found.read_bytes()).hexdigest()
    expected = _hashes(found.parent).get(found.name)
    if expected is None and found.parent.resolve() == WEIGHTS.resolve():
        raise WeightsError(f"{WEIGHTS / HASHES} does not list {found.name}, which should ship; install matgen again")
    if expected is not None and digest != expected:
        raise WeightsError(
            f"{found} is not the file that was written: expected SHA-256 {expected[:12]}…, got {digest[:12]}…; "
            "install matgen again, or name other weights"
        )
    described = _header(found, digest)
    if described.kind != kind:
        raise WeightsError(f"expected weights of kind {kind} in {found}, got {described.kind}; name another file")
    return described


def _header(path: Path, sha256: str) -> ModelInfo:
    try:
        with safe_open(path, framework="pt") as stored:
            header = stored.metadata() or {}
            n_parameters = sum(_size(stored.get_slice(name).get_shape()) for name in stored.keys())  # noqa: SIM118
        return ModelInfo(
            kind=current_kind(header["kind"]),
            config=current_config(json.loads(header["config"])),
            trained_on=header["trained_on"],
            figures=json.loads(header["figures"]),
            version=header["version"],
            n_parameters=n_parameters,
            sha256=sha256,
        )
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        message = f"{path} has no readable header ({type(error).__name__}: {error}); get the file again, or train again"
        raise WeightsError(message) from error


def tensors(kind: str, path: Path | None = None) -> dict[str, Tensor]:
    """Return the tensors of a file as they are stored, by their current names.

    Raises:
        WeightsError: as `info`.
    """
    check_kind(kind, KINDS)
    found = existing_file(kind, path)
    info(kind, found)
    return read(found)


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by their current names, unchecked."""
    with safe_open(path, framework="pt") as stored:
        return current_names({name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118 (not a mapping)


def save(
    model: nn.Module | Mapping[str, Tensor],
    path: Path | None = None,
    *,
    kind: str,
    trained_on: str,
    figures: Mapping[str, Any],
    config: Any = None,
) -> Path:
    """Write weights, and their hash into `hashes.json` beside them.

    Parameters are rounded to float16; buffers, and the tensors of a library, are kept as they are.

    Args:
        model: a network, or tensors by name.
        path: file to write; among the shipped weights if left out.
        kind: one of `KINDS`.
        trained_on: rows and splits, in words.
        figures: figures of merit, as JSON types.
        config: configuration of the network, a dataclass or JSON types; `model.config` if left out.

    Returns:
        The path.

    Raises:
        WeightsError: a parameter does not fit into float16.
        OutputError: the disk is full, or the folder cannot be written.
    """
    check_kind(kind, KINDS)
    path = path or WEIGHTS / f"{kind}.safetensors"
    if config is None:
        config = getattr(model, "config", {})
    values = _rounded(model) if isinstance(model, nn.Module) else model
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {
        "kind": kind,
        "config": json.dumps(dict(config) if isinstance(config, Mapping) else to_mapping(config)),
        "trained_on": trained_on,
        "figures": json.dumps(dict(figures)),
        "version": __version__,
    }
    stored = serialized({name: value.detach().cpu().contiguous() for name, value in values.items()}, header)
    others = {name: digest for name, digest in _hashes(path.parent).items() if name != path.name}
    with writing(path):
        _write_hashes(path.parent, others)
        with replacing(path) as stream:  # an interrupt leaves a file without a hash, never with the hash of another
            stream.write(stored)
        record_hash(path)
    return path


def record_hash(path: Path) -> None:
    """Write the hash of a file of weights into `hashes.json` beside it."""
    _write_hashes(path.parent, _hashes(path.parent) | {path.name: hashlib.sha256(path.read_bytes()).hexdigest()})


def round_parameters(model: nn.Module) -> nn.Module:
    """Round parameters as `save` does, in place, and return the model."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    return model


def weights_hash(kind: str, path: Path | None = None) -> str:
    """Return the SHA-256 of a file of weights.

    Raises:
        WeightsError: as `info`.
    """
    return info(kind, path).sha256


def weights_file(kind: str, folder: Path | None = None) -> Path:
    """Return the file of a kind: that in `folder` if there is one, else the shipped one.

    Raises:
        WeightsError: the folder does not exist, or holds no weights of any kind.
    """
    name = f"{kind}.safetensors"
    if folder is None:
        return WEIGHTS / name
    if not any(file_in(folder, known) for known in KINDS):
        raise WeightsError(f"expected a folder with weights such as {name}, got {folder}; `matgen learn` makes one")
    return file_in(folder, kind) or WEIGHTS / name


def file_in(folder: Path, kind: str) -> Path | None:
    """Return the file of a kind in a folder, also under the name that version 0.1 gave it; None if there is none."""
    return next((folder / name for name in file_names(kind) if (folder / name).is_file()), None)


def existing_file(kind: str, path: Path | None) -> Path:
    """Return the path, or the shipped file of a kind if there is none.

    Raises:
        WeightsError: no such file.
    """
    found = path or WEIGHTS / f"{kind}.safetensors"
    if not found.is_file():
        raise WeightsError(f"expected weights of kind {kind} at {found}, found none; make them with `matgen train`")
    return found


def check_kind(kind: str, kinds: Mapping[str, Any] | tuple[str, ...]) -> None:
    """Check that a kind of weights exists.

    Raises:
        WeightsError: it does not.
    """
    if kind not in kinds:
        raise WeightsError(f"unknown kind of model {kind!r}; {did_you_mean(kind, kinds)}")


def _write_hashes(folder: Path, hashes: Mapping[str, str]) -> None:
    """Write `hashes.json`, unless there was none and there is nothing to write."""
    if hashes or (folder / HASHES).exists():
        replace_file(folder / HASHES, json.dumps(hashes, indent=1, sort_keys=True) + "\n")


def _hashes(folder: Path) -> dict[str, str]:
    path = folder / HASHES
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path} is damaged ({error}); install matgen again") from error


def _rounded(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters in half precision, and buffers as they are, since a small spread may round to zero."""
    parameters = dict(model.named_parameters())
    for name, value in parameters.items():
        if not torch.isfinite(value.half()).all():
            raise WeightsError(f"{name} holds numbers beyond float16; train again with a lower learning rate")
    return {name: value.half() if name in parameters else value for name, value in model.state_dict().items()}


def _size(shape: list[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total
