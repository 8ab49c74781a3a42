"""A second device without a second device: tensors that refuse to meet those of the CPU, as a GPU's do.

Within `second_device()`, what is made on or moved to ELSEWHERE keeps its numbers on the CPU, but an operation that
mixes it with ordinary tensors raises what CUDA raises. CUDA lets four mixtures pass, and so does this: copies from one
device to the other, a number without dimensions in arithmetic, a CPU index into a tensor that is elsewhere, and such a
number put there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

ELSEWHERE = torch.device("meta")
"""The one device that every build of PyTorch knows, differentiates on, and keeps no numbers on: we keep them."""

aten = torch.ops.aten
MOVES = {aten._to_copy.default, aten.copy_.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


class Elsewhere(Tensor):
    """A tensor that says it is on ELSEWHERE."""

    inner: Tensor

    @staticmethod
    def __new__(cls: type[Self], inner: Tensor) -> Self:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made = Tensor._make_wrapper_subclass(cls, inner.shape, device=ELSEWHERE, **layout)
        made.inner = inner
        return made

    def __repr__(self) -> str:
        return f"Elsewhere({self.inner})"

    def tolist(self) -> Any:
        return self.inner.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert a tensor that is elsewhere to numpy; use .cpu() first")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.__reduce_ex__(protocol)  # as a file of CUDA tensors reads with map_location="cpu"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        del types
        return computed(func, args, kwargs or {})


def computed(func: Any, args: tuple, kwargs: dict) -> Any:
    """The result of an operation, on the device where it belongs."""
    leaves = list(_leaves((args, kwargs)))
    asked = kwargs.get("device")
    if asked is None:
        there = any(isinstance(x, Elsewhere) for x in leaves)
    else:
        there, kwargs = torch.device(asked) == ELSEWHERE, kwargs | {"device": torch.device("cpu")}
    if func not in MOVES:
        refuse_mixtures(func, args, leaves)
    found = func(*_inner(args), **_inner(kwargs))
    if func is aten.copy_.default:
        return args[0]
    found = _outer(found) if there else found
    return return_and_correct_aliasing(func, args, kwargs, found) if there and _aliases(func) else found


def refuse_mixtures(func: Any, args: tuple, leaves: list[Any]) -> None:
    """Raise unless all is on one device, or CUDA would let it pass.

    Raises:
        RuntimeError: tensors of two devices meet, or a generator of another device is used.
    """
    tensors = [x for x in leaves if isinstance(x, Tensor)]
    assert all(isinstance(x, Elsewhere) for x in tensors if x.device == ELSEWHERE), f"{func} met a tensor of no numbers"
    strangers = [x for x in tensors if not isinstance(x, Elsewhere)]
    if len(strangers) == len(tensors):
        return
    if any(isinstance(x, torch.Generator) for x in leaves):
        raise RuntimeError(f"Expected a generator of the device of the tensors, got one of the CPU in {func}")
    if func in INDEXING and isinstance(args[0], Elsewhere):
        strangers = [x for x in args[2:3] if x.dim() and not isinstance(x, Elsewhere)]
    elif torch.Tag.pointwise in func.tags and (isinstance(args[0], Elsewhere) or not func._schema.is_mutable):
        strangers = [x for x in strangers if x.dim()]
    if strangers:
        listed = ", ".join(f"{'elsewhere' if isinstance(x, Elsewhere) else 'cpu'} {tuple(x.shape)}" for x in tensors)
        raise RuntimeError(f"Expected all tensors to be on the same device, got {listed} in {func}")


@cache
def _aliases(func: Any) -> bool:
    """Whether what comes out is, or views, what went in."""
    return any(result.alias_info is not None for result in func._schema.returns)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)
    else:
        yield value


def _inner(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_inner(part) for part in value)
    if isinstance(value, dict):
        return {name: _inner(part) for name, part in value.items()}
    return value.inner if isinstance(value, Elsewhere) else value


def _outer(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_outer(part) for part in value)
    return Elsewhere(value) if isinstance(value, Tensor) else value


class _Operations(TorchDispatchMode):
    """Sees every operation, also those that make a tensor of nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        del types
        return computed(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """Numbers of Python made into a tensor on ELSEWHERE, which PyTorch would not even read."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        del types
        kwargs = kwargs or {}
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu") == ELSEWHERE:
            return func(*args, **kwargs | {"device": "cpu"}).to(ELSEWHERE)
        if func is Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return func(args[0].inner, *args[1:], **kwargs).to(ELSEWHERE)
        if func in {Tensor.__getitem__, Tensor.__setitem__} and isinstance(args[0], Elsewhere):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(torch.tensor(i, dtype=torch.long) if isinstance(i, list) else i for i in index)
            return func(args[0], index, *args[2:])
        return func(*args, **kwargs)


@contextmanager
def second_device() -> Iterator[torch.device]:
    """While it lasts, ELSEWHERE holds numbers."""
    with _Literals(), _Operations():
        yield ELSEWHERE
