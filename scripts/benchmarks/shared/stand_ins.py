"""Stand-ins for packages that only molecules, or plots, need, where they are not installed.

A GPU machine without a network may hold PyTorch and little else, and what is carried there may be limited in size.
Importing this module lets modules that import RDKit, tblite, PoseBusters or Plotly be imported without them;
nothing that uses them works. As a plugin of pytest: `python -m pytest -p shared.stand_ins`.
"""

import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

UNUSED = ("rdkit", "tblite", "posebusters", "plotly")

PRETENDED = tuple(filter(None, os.environ.get("MATGEN_ABSENT", "").split(",")))
"""Packages that are treated as absent although they may be there, to try this."""

ABSENT = frozenset(name for name in UNUSED if name in PRETENDED or importlib.util.find_spec(name) is None)


class Absent:
    """What a package would hold; it can be named, called and combined while modules are imported."""

    def __getattr__(self, name: str) -> "Absent":
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent()

    def __call__(self, *_: Any, **__: Any) -> "Absent":
        """Return a stand-in of the result."""
        return Absent()

    def __or__(self, _: Any) -> "Absent":
        return self

    __ror__ = __or__


class AbsentModule(ModuleType):
    """A module whose names are all `Absent`."""

    def __getattr__(self, name: str) -> Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent()


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds absent packages and their modules."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how an absent module is made."""
        absent = fullname.split(".", maxsplit=1)[0] in ABSENT
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if absent else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Make it."""
        module = AbsentModule(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: it is empty."""


_version = importlib.metadata.version


def version_or_absent(name: str) -> str:
    """Return the version of a package; that of an absent one is "absent"."""
    return "absent" if name in ABSENT else _version(name)


if ABSENT:
    sys.meta_path.insert(0, Finder())
    importlib.metadata.version = version_or_absent
