"""Trained weights as the initial ones of a training."""

from pathlib import Path

import torch
from torch import nn

from matgen.runtime.output import replace_file, writing
from matgen.training.config import TrainConfig
from matgen.training.tables import DataError
from matgen.weights.files import tensors, weights_hash


def initialise(config: TrainConfig, model: nn.Module, *, store: bool = True) -> str:
    """Load the initial weights of a configuration, unless there is a checkpoint to resume from.

    Args:
        config: of the training.
        model: a new network, changed in place.
        store: note in the folder where the training began.

    Returns:
        Name and hash of the file that the training began from; empty if it began at random.

    Raises:
        DataError: the checkpoint began from other weights than the configuration names.
    """
    note = config.run_folder / "begun_from.txt"
    named = f"{config.init.name} {weights_hash(config.kind, config.init)[:12]}" if config.init else ""
    if not (config.run_folder / "checkpoint.pt").exists():
        if config.init is not None:
            begin_from(model, config.kind, config.init)
        if store:
            with writing(note):
                replace_file(note, named)
        return named
    begun = note.read_text(encoding="utf-8") if note.exists() else ""
    if named and named.split()[-1:] != begun.split()[-1:]:  # hashes; a file may have been renamed
        raise DataError(
            f"expected a training that began from {named} in {config.run_folder}, which holds one that began from "
            f"{begun or 'random numbers'}; choose another --folder, or leave --init out to go on"
        )
    return begun


def begin_from(model: nn.Module, kind: str, path: Path) -> None:
    """Copy all trained parameters of a file into a new network; parameters that the file lacks stay random.

    Raises:
        WeightsError: no such file, or one that is damaged or of another kind.
        DataError: the file holds a parameter that this network lacks or has in another size, or other layouts.
    """
    known, found = model.state_dict(), tensors(kind, path)
    for name, value in found.items():
        if name not in known or known[name].shape != value.shape:
            here = tuple(known[name].shape) if name in known else "nothing of that name"
            raise DataError(
                f"{path} holds {name} of size {tuple(value.shape)}, expected {here}; give [model] the sizes of that "
                "file and train on its crystals, or begin without --init"
            )
    keys = "layout_embedding.keys"
    if keys in found and not torch.equal(found[keys], known[keys].cpu()):
        raise DataError(f"{path} holds other Wyckoff layouts than these crystals have; begin without --init")
    buffers = {name for name, _ in model.named_buffers()}
    model.load_state_dict({n: v.float() for n, v in found.items() if n not in buffers}, strict=False)
