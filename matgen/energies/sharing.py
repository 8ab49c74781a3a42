"""Evaluate a network once when several terms of one sum read it.

Many terms of a sum may evaluate one network on one state: the prior, and each property target. Inside `shared_answers`
a repeated evaluation returns the earlier result.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch

from matgen.templates.batch import Template, TemplateBatch

Answer = TypeVar("Answer")

_answers: ContextVar[dict[tuple[Any, ...], tuple[Any, ...]] | None] = ContextVar("answers", default=None)


@contextmanager
def shared_answers() -> Iterator[None]:
    """Keep the results of `answer_of` within a block; an inner block sees those of the outer one, not the reverse.

    No result outlives its block, so that each evaluation of a sum has an autograd graph of its own.
    """
    token = _answers.set(dict(_answers.get() or {}))
    try:
        yield
    finally:
        _answers.reset(token)


def answer_of(network: Callable[..., Answer], *inputs: Any, alike: Hashable | None = None) -> Answer:
    """Return `network(*inputs)`, or its earlier result for these very objects in the same block.

    The result may be shared: modify neither inputs nor result, and take slopes by `gradients` or `forces` of
    `matgen.energies.base`, which evaluate again, not by a backward pass through the result, which would free its graph.

    Args:
        network: a network, or any function.
        inputs: of it.
        alike: equal for functions that give equal results; without it, only the same function does.
    """
    known = _answers.get()
    if known is None:
        return network(*inputs)
    key = (id(network) if alike is None else alike, torch.is_grad_enabled(), *map(id, inputs))
    if key not in known:
        known[key] = (network(*inputs), network, inputs)  # the objects are kept, so that no id is reused
    return known[key][0]


def single_templates(templates: TemplateBatch) -> list[Template]:
    """Return `templates.unbatch()`, or its earlier result for this very batch in the same block."""
    return answer_of(TemplateBatch.unbatch, templates)
