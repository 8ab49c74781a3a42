"""Where tensors live. New ones are made beside those that they meet, so that hardly any code is told a device."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import cache, wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

from matgen.errors import UserError

T = TypeVar("T")

CPU = torch.device("cpu")


class DeviceError(UserError, ValueError):
    """A device that is not there, or on which the models cannot run."""


def find_device(name: str) -> torch.device:
    """The device of a name: `cpu`, `cuda`, or `cuda:1` where there are several.

    Raises:
        DeviceError: PyTorch finds no such device here, or it lacks what the models need.
    """
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    there = ["cpu", *(["cuda"] if gpus else []), *gpus]
    if name in there:
        return torch.device(name)
    expected = f"expected a device that PyTorch finds here ({', '.join(there)}), got {name!r}"
    if name.partition(":")[0] == "mps":
        raise DeviceError(f"{expected}: Apple's has neither float64 nor a matrix exponential; use cpu")
    raise DeviceError(f"{expected}; choose one of these, or install a PyTorch and a driver that know yours")


def placed(value: T, device: torch.device | str) -> T:
    """The same on a device: a tensor, or a tuple, dict or dataclass that holds some; whatever else there is stays."""
    found: Any = value
    match value:
        case Tensor():
            found = value.to(device)
        case tuple():
            found = tuple(placed(part, device) for part in value)
        case dict():
            found = {name: placed(part, device) for name, part in value.items()}
        case _ if is_dataclass(value) and not isinstance(value, type):
            found = replace(value, **{f.name: placed(getattr(value, f.name), device) for f in fields(value)})
    return found


def per_device(make: Callable[[], T]) -> Callable[..., T]:
    """Make a table once, and copy it once to each device that asks for it.

    Under `@per_device`, `table()` is on the CPU and `table(x.device)` beside x.
    """

    @cache
    def on(device: torch.device) -> T:
        return make() if device == CPU else placed(on(CPU), device)

    @wraps(make)
    def table(device: torch.device = CPU) -> T:
        return on(device)

    return table
