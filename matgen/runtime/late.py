"""Packages that are imported at first use: training on prepared tables runs on machines that lack them."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


class Late:
    """Stands for a module, which is imported when one of its names is first used.

    Args:
        name: of the module.
        prepare: called once, after the import.
    """

    def __init__(self, name: str, prepare: Callable[[], None] | None = None) -> None:
        self._name, self._prepare = name, prepare

    def __getattr__(self, name: str) -> Any:
        """Return a name of the module, which is found without this call from then on."""
        if name.startswith("__"):  # copy and pickle ask for these
            raise AttributeError(name)
        module = import_module(self._name)
        if self._prepare is not None:
            self._prepare()
            self._prepare = None
        value = getattr(module, name)
        setattr(self, name, value)
        return value
