"""Devices of tensors. New tensors are created on the device of their inputs, so little code needs a device argument."""

import re
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
    """A device that does not exist, or on which the models cannot run."""


def check_device_name(name: str) -> None:
    """Check that a name may be one of a device of some machine: `cpu`, `cuda`, `cuda:1`.

    Raises:
        DeviceError: it is not.
    """
    if re.fullmatch(r"cpu|cuda(:\d{1,4})?", name) is None:
        raise DeviceError(f"expected a device as cpu, cuda, or cuda:1, got {name!r}; choose one of these")


def find_device(name: str) -> torch.device:
    """Return the device of a name: `cpu`, `cuda`, or `cuda:1` if there are several.

    Raises:
        DeviceError: PyTorch finds no such device, or it lacks features that the models need.
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
    """Return a tensor, or a tuple, dict or dataclass with tensors, on a device; other values are unchanged."""
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
    """Compute a table once, and copy it once to each device.

    Under `@per_device`, `table()` is on the CPU and `table(x.device)` on the device of x.
    """

    @cache
    def on(device: torch.device) -> T:
        return make() if device == CPU else placed(on(CPU), device)

    @wraps(make)
    def table(device: torch.device = CPU) -> T:
        return on(device)

    return table
