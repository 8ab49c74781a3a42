"""Odd values of every option of every command, taken from the program itself, and odd requests in TOML.

Long work is stopped where it begins: a command line is refused in a line, or accepted.
"""

import contextlib
import json
import math
import os
import random
import re
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import typer

from fuzz.calls import Answer, called
from fuzz.mutations import mutated
from matgen.cli import app
from matgen.generation.request import Request
from matgen.runtime.config import to_toml

ROOT = Path(__file__).resolve().parents[3]
LONG = (
    *("matgen.workflows.design.run", "matgen.workflows.screen.run", "matgen.workflows.evaluate.evaluate"),
    *("matgen.workflows.evidence.run", "matgen.workflows.learn.run", "matgen.workflows.property.run"),
    *("matgen.workflows.verify.run", "matgen.workflows.reference.build_reference", "matgen.training.run.train"),
    *("matgen.workflows.data.prepare_table", "matgen.workflows.data.prepare_molecules"),
    "matgen.workflows.train_processes.in_processes",
)
"""Where long work begins."""

VALUES = (
    *(
        "",
        " ",
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1",
        "2",
        "0.5",
        "-0",
        "1e300",
        "1e-300",
        "99999999999999999999",
        "1_000",
    ),
    *(
        "٣",
        "1,5",
        "0x10",
        "1e3",
        "1:2",
        "2:1",
        ":",
        "1:",
        ":1",
        "nan:nan",
        "1:inf",
        "<",
        ">",
        "<nan",
        ">3",
        "<0",
        "=",
        "=1",
    ),
    *("band_gap=1", "band_gap=1:2", "band_gap>3", "volume=nan", "bulk_modulus=100", "nothing=1", "gap=5", "x" * 5000),
    *(
        "None",
        "none",
        "null",
        "true",
        "False",
        "crystal",
        "molecule",
        "chgnet",
        "xtb",
        "cpu",
        "cuda",
        "cuda:99",
        "mps",
        "meta",
    ),
    *(
        "Li",
        "Li,O",
        "Li,Li",
        "Xx",
        "li,o",
        "Li O",
        "H,He,Ne",
        ",",
        "Li,,O",
        "*",
        "TiO2",
        "Ti1O2",
        "Ti0O2",
        "TiO2TiO2",
        "He3Ne",
    ),
    *("Fe2(SO4)3", "TiO-2", "Ti1.5O3", "Na9999Cl9999", "225", "225,227", "0,231", "1-230", "Fm-3m", "999", "-225"),
    *(
        "Li implies O",
        "Li implies not Li",
        "not",
        "(((",
        "Li and",
        "n(Li)>1",
        "all elements in {Li,O}",
        "CCO",
        "C1CC",
        "c1ccccc1",
    ),
    *(
        "[#6]",
        "[C;!$(C=O)]",
        "[",
        "C" * 300,
        "Ti->Zr",
        "Ti=Zr",
        "Ti:",
        "2x2x2",
        "2,2,2",
        "0x0x0",
        "1x1x999",
        "a b",
        "-",
        "--",
    ),
    *(
        "é",
        "日本",
        "\udcff",
        "\x1b[31mred",
        "a\nb",
        "a\tb",
        "%s%n",
        "$(id)",
        "`id`",
        "../..",
        ".",
        "/",
        "/dev/null",
        "/dev/full",
    ),
    *(
        "nowhere.toml",
        "salt.cif",
        "salt.xyz",
        "empty",
        "folder",
        "broken.toml",
        "table.csv",
        "weights.safetensors",
        "request.toml",
    ),
)

NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1e300", "-1e300", "1e-300", "99999999999999999999", "-0.0", "0.5", "3")

BASES: dict[str, tuple[str, ...]] = {
    "design": (),
    "screen": ("salt.cif",),
    "evaluate": ("salt.cif",),
    "evidence": ("salt.cif",),
    "export": ("folder",),
    "learn": ("table.csv",),
    "train model": ("template_prior",),
    "verify": ("salt.cif",),
    "energy info": ("weights.safetensors",),
    "energy pack": ("weights.safetensors",),
    "data prepare": ("folder",),
    "data info": ("folder",),
    "reference build": ("salt.cif",),
}
"""Arguments that a command needs."""

REQUIRED: dict[str, tuple[str, ...]] = {
    "evidence": ("--formula", "NaCl"),
    "export": ("--format", "extxyz"),
    "learn": ("--out", "new"),
    "train property": ("--table", "table.csv", "--column", "value"),
    "energy pack": ("--out", "packed.safetensors"),
}
"""Options that a command needs."""

UNCHECKED = frozenset(
    {"--source", "--name", "--unit", "--column-unit", "--functional", "--column", "--formula", "--pressure"}
    | {"--minutes"}
)  # fmt: skip
"""Options of any text, and those of `evidence` and of several processes, which are checked by what is stopped."""

ACCEPTED = frozenset({("design", "--max-ehull", "inf"), ("train", "--device", "inf")})
"""Commands, options and values: what lets everything pass, and what is checked by what is stopped."""

Record = dict[str, Any]


@cache
def commands() -> dict[str, Any]:
    """Return the commands of the program by their words."""
    found: dict[str, Any] = {}

    def walk(one: Any, words: tuple[str, ...]) -> None:
        if hasattr(one, "commands"):
            for name, inner in one.commands.items():
                walk(inner, (*words, name))
        else:
            found[" ".join(words)] = one

    walk(typer.main.get_command(app), ())
    return found


def options(rngs: Sequence[random.Random], scratch: Path) -> Iterator[Record]:
    """Call commands with odd values of one to three options."""
    prepare(scratch)
    with contextlib.chdir(scratch):
        for rng in rngs:
            words, odd = command(rng)
            answer = called(words, stopped_at=LONG)
            yield record(answer, shown(words), odd)


def command(rng: random.Random) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the words of a command, and its odd options with their values."""
    weights = [len(one.params) for one in commands().values()]
    name = rng.choices(list(commands()), weights)[0]
    named = [one for one in commands()[name].params if one.opts[0].startswith("-") and one.opts[0] != "--help"]
    words, odd = [*name.split(), *BASES.get(name, ())], []
    required = dict(zip(REQUIRED.get(name, ())[::2], REQUIRED.get(name, ())[1::2], strict=True))
    if name in BASES and rng.random() < 0.1:
        words = [*name.split(), rng.choice(VALUES)]
    for one in rng.sample(named, min(len(named), rng.choice((1, 1, 2, 3)))):
        option = one.opts[0]
        required.pop(option, None)
        if one.is_flag:
            words.append(option)
            continue
        kind = one.type_descriptor.annotation
        number = kind in {int, float}
        value = rng.choice(NUMBERS if number and rng.random() < 0.7 else VALUES)
        if option in {"--executor", "--python"}:
            value = rng.choice(("nowhere.toml", "salt.cif", "", "\x1b[31m", "folder"))  # what they name runs by design
        odd += [] if "Path" in str(kind) else [(option, value)]
        words += [f"{option}={value}"] if rng.random() < 0.3 and option.startswith("--") else [option, value]
    return [*words, *(word for pair in required.items() for word in pair)], odd


def record(answer: Answer, words: str, odd: Sequence[tuple[str, str]] = ()) -> Record:
    """Return the record of a call."""
    fault = answer.fault
    accepted = answer.code in {None, 0}
    for option, value in odd if accepted else ():
        if option in UNCHECKED or (words.split(maxsplit=1)[0], option, value) in ACCEPTED:
            continue
        if not value.strip() or value.strip("-+<>:") in {"nan", "inf"}:
            fault = fault or f"{option} {value!r} is accepted"
    if answer.code == 2 and not re.match(r"\S", answer.err):
        fault = fault or "refused without a reason"
    outcome = "accepted" if accepted else "refused" if answer.code == 2 else f"exit code {answer.code}"
    outcome = "fault" if fault else outcome
    reason = (answer.err.strip().splitlines() or [""])[-1][:200]
    seconds = round(answer.seconds, 3)
    return {"input": words, "outcome": outcome, "fault": fault, "seconds": seconds, "reason": reason}


def shown(words: Sequence[str]) -> str:
    """Return words of a command as one printable line."""
    return (
        " ".join(word if len(word) < 80 else f"{word[:70]}…" for word in words)
        .encode("ascii", "backslashreplace")
        .decode()
    )


def prepare(folder: Path) -> None:
    """Write the files that the values name."""
    (folder / "folder").mkdir()
    (folder / "salt.cif").write_bytes((ROOT / "data" / "textbook" / "NaCl_rock_salt.cif").read_bytes())
    (folder / "salt.xyz").write_text("2\n\nH 0 0 0\nCl 0 0 1.3\n", encoding="utf-8")
    (folder / "empty").touch()
    (folder / "broken.toml").write_text("[[[", encoding="utf-8")
    (folder / "table.csv").write_text("smiles,value,band_gap\nCCO,1.0,2.0\nCCC,nan,-1\n", encoding="utf-8")
    shutil.copy(ROOT / "matgen" / "weights" / "property_heads.safetensors", folder / "weights.safetensors")
    (folder / "request.toml").write_text(to_toml(Request()), encoding="utf-8")
    os.environ.pop("MATGEN_DATA", None)


# ---------------------------------------------------------------- requests

ODD: tuple[Any, ...] = (
    *(0, -1, 1, 2, 10**20, 0.5, -0.0, math.nan, math.inf, -math.inf, 1e300, 1e-300, True, False, "", " ", "nan", "1:2"),
    *(
        "2:1",
        ">nan",
        "Li",
        "Xx",
        [],
        [0],
        [-1],
        ["Li"],
        ["Xx"],
        ["Li", "Li"],
        [[]],
        [True],
        {},
        {"a": 1},
        {"band_gap": "1"},
    ),
    *("Li implies O", "TiO2", [225], [231], "crystal", "molecule", "none", "chgnet", "xtb", "cpu", "é\x07", "a" * 3000),
    *([math.nan], ["nan"], {"": ""}, {"band_gap": math.nan}, {"nothing": "1"}, [1, 2, 3], [0, 0, 0], ["CCO"], ["C1CC"]),
)


def requests(rngs: Sequence[random.Random], scratch: Path) -> Iterator[Record]:
    """Read requests of `design` and configurations of `train` with odd keys, types and values, and damaged text."""
    prepare(scratch)
    with contextlib.chdir(scratch):
        for rng in rngs:
            training = rng.random() < 0.3
            data, how = request(rng, training=training)
            file = Path("train.toml" if training else "design.toml")
            file.write_bytes(data)
            words = ["train", str(file)] if training else ["design", "--config", str(file)]
            answer = called(words, stopped_at=LONG)
            yield record(answer, f"{words[0]}: {how}")


def request(rng: random.Random, *, training: bool) -> tuple[bytes, str]:
    """Return the text of a damaged request, and what was done."""
    configs = sorted((ROOT / "matgen" / "configs").glob("*.toml"))
    text = rng.choice(configs).read_text(encoding="utf-8") if training else to_toml(Request())
    if rng.random() < 0.3:
        data, names = mutated(rng, text.encode())
        return data, " ".join(names)
    value = tomllib.loads(text)
    changes = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(value))
        holder, key, path = rng.choice(places)
        way = rng.randrange(4)
        if way == 0:
            holder[rng.choice(("", "x", key.upper(), f"{key}s", "n", "__class__", "weights", "é"))] = rng.choice(ODD)
            changes.append(f"key beside {path}")
        elif way == 1 and key in holder:
            del holder[key]
            changes.append(f"without {path}")
        else:
            holder[key] = rng.choice(ODD)
            changes.append(f"{path} = {str(holder[key])[:40]}")
    return _toml(value).encode("utf-8"), "; ".join(changes).encode("ascii", "backslashreplace").decode()


def _places(value: dict[str, Any], path: str = "") -> Iterator[tuple[dict[str, Any], str, str]]:
    for key, item in value.items():
        yield value, key, f"{path}{key}"
        if isinstance(item, dict):
            yield from _places(item, f"{path}{key}.")


def _toml(value: dict[str, Any]) -> str:
    """Return a mapping as TOML, with every table inline."""
    return "\n".join(f"{json.dumps(key)} = {_inline(item)}" for key, item in value.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)
