"""Tensors in files of PyTorch, such as checkpoints."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from matgen.runtime.output import replacing, writing


def store(value: Any, path: Path) -> None:
    """Write tensors such that readers see either the old or the new content.

    Raises:
        OutputError: the disk is full, or the folder was removed.
    """
    whole = BytesIO()
    torch.save(value, whole)  # which does not tell why it cannot write to a disk
    with writing(path), replacing(path) as stream:
        stream.write(whole.getbuffer())
