"""The scripts of the page: modules of JavaScript, joined in the order of their imports."""

import re
from importlib.resources import files

IMPORT = re.compile(r'^import (\{[\w,\s]+\}) from "\./(\w+)\.js";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)


class CircularImportError(ValueError):
    """Two modules of the page import each other, so that neither can come first."""


def source(name: str) -> str:
    """Return the text of one module of matgen/report/assets."""
    return (files("matgen.report") / "assets" / f"{name}.js").read_text(encoding="utf-8")


def imported(text: str) -> list[str]:
    """Return the names of the modules that a module imports, in the order of its text."""
    return [name for _, name in IMPORT.findall(text)]


def in_order(name: str) -> list[str]:
    """Return a module and all that it needs, each after those that it imports.

    Raises:
        CircularImportError: modules import each other.
    """
    order: list[str] = []

    def add(module: str, above: tuple[str, ...]) -> None:
        if module in above:
            raise CircularImportError(" → ".join((*above, module)))
        if module not in order:
            for needed in imported(source(module)):
                add(needed, (*above, module))
            order.append(module)

    add(name, ())
    return order


def scoped(name: str) -> str:
    """Return a module as one constant: an object of what it exports, whose other names nobody else sees."""
    text = source(name)
    exports = EXPORT.findall(text)
    body = EXPORT.sub("", IMPORT.sub(r"const \1 = \2_module;", text)).strip()
    return f"const {name}_module = (() => {{\n{body}\nreturn {{ {', '.join(exports)} }};\n}})();"


def joined(name: str) -> str:
    """Return a module and all that it needs as one script, which leaves no name behind."""
    modules = "\n\n".join(scoped(module) for module in in_order(name))
    return f'(() => {{\n"use strict";\n{modules}\n}})();'
