"""Networks that several terms of one sum read are asked once.

A sum of energies may ask one network about one state in the name of many terms: as prior, for each property wished
for. Inside `shared_answers` a question that was asked before gets the same answer again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch

Answer = TypeVar("Answer")

_answers: ContextVar[dict[tuple[Any, ...], tuple[Any, ...]] | None] = ContextVar("answers", default=None)


@contextmanager
def shared_answers() -> Iterator[None]:
    """Inside, `answer_of` keeps its answers; a block within a block knows those of the outer one, not the reverse.

    Nothing outlives its block, so that each evaluation of a sum has an autograd graph of its own.
    """
    token = _answers.set(dict(_answers.get() or {}))
    try:
        yield
    finally:
        _answers.reset(token)


def answer_of(network: Callable[..., Answer], *inputs: Any) -> Answer:
    """`network(*inputs)`, or what it answered to these very objects before in the same block.

    Others may read the same answer: write to neither inputs nor answer, and take slopes by `matgen.energies.base.gradients` or
    `forces`, which evaluate anew, not by a backward pass through the answer, which would free its graph.
    """
    known = _answers.get()
    if known is None:
        return network(*inputs)
    key = (id(network), torch.is_grad_enabled(), *map(id, inputs))
    if key not in known:
        known[key] = (network(*inputs), network, inputs)  # the objects are kept, so that no id is given away again
    return known[key][0]
