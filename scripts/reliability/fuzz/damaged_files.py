"""Folders of runs and files of weights that are damaged, of another version, or made to mislead."""

import contextlib
import functools
import gc
import io
import json
import pickle
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fuzz.calls import called
from fuzz.mutations import mutated
from fuzz.odd_commands import LONG, ROOT, Record, record

WEIGHTS = ROOT / "matgen" / "weights"
CRYSTALS = ("NaCl_rock_salt", "Si_diamond", "TiO2_rutile", "CsCl_cscl")
SCREEN = ("screen", "in", "--reference", "none", "--known", "none", "--jobs", "1", "--json", "--out", "run")
DESIGN = ("design", "-n", "1", "--formula", "NaCl", "--relax", "none", "--fast", "--budget", "10", "--allow-known")
DESIGN_OUT = (*DESIGN, "--out", "run", "--json")


def _inputs(scratch: Path) -> None:
    (scratch / "in").mkdir()
    for name in CRYSTALS:
        shutil.copy(ROOT / "data" / "textbook" / f"{name}.cif", scratch / "in")


# ---------------------------------------------------------------- folders of runs


def folders(rngs: Sequence[random.Random], scratch: Path) -> Iterator[Record]:
    """Resume runs of `screen` and `design` in damaged folders, and read those of `design` by other commands."""
    _inputs(scratch)
    with contextlib.chdir(scratch):
        whole = {}
        for name, words in (("screen", SCREEN), ("design", DESIGN_OUT)):
            answer = called(words, cpu=300)
            if answer.code:
                raise RuntimeError(f"{' '.join(words)}: {answer.err}")
            Path("run").rename(name)
            whole[name] = len([line for line in answer.out.splitlines() if "name" in json.loads(line)])
        for rng in rngs:
            name = rng.choice(("screen", "screen", "design"))
            shutil.copytree(name, "run")
            how = _damage(rng, Path("run"))
            ways = [SCREEN] if name == "screen" else [DESIGN_OUT, ("verify", "run"), ("learn", "run", "--out", "new")]
            words = rng.choice(ways)
            answer = called(words, stopped_at=() if words in {SCREEN, DESIGN_OUT} else LONG, cpu=120)
            one = record(answer, f"{' '.join(words[:2])}: {how}")
            rows = [line for line in answer.out.splitlines() if line.startswith("{") and "name" in json.loads(line)]
            if words is SCREEN and answer.code == 0 and len(rows) != whole[name] and not one["fault"]:
                one |= {"outcome": "fault", "fault": f"lost: {len(rows)} rows of {whole[name]}"}
            shutil.rmtree("run")
            shutil.rmtree("new", ignore_errors=True)
            yield one


def _damage(rng: random.Random, folder: Path) -> str:
    """Damage a file of a folder; return what was done."""
    files = sorted(one for one in folder.rglob("*") if one.is_file() and one.suffix in {".json", ".jsonl", ".csv"})
    file = rng.choice([one for one in files if one.name in {"run.json", "rows.jsonl", "candidates.jsonl"}] * 3 + files)
    name = file.relative_to(folder).as_posix()
    way = rng.randrange(8)
    if way == 0:
        file.unlink()
        return f"{name} removed"
    if way == 1:
        file.unlink()
        file.mkdir()
        return f"{name} is a folder"
    if way == 2:
        data = file.read_bytes()
        file.write_bytes(data[: rng.randrange(len(data) + 1)] + rng.choice((b"", b"\n", b"{", b"\0" * 50)))
        return f"{name} cut short"
    if way in {3, 4, 5}:
        done = _other_value(rng, file)
        return f"{name}: {done}"
    data, names = mutated(rng, file.read_bytes())
    file.write_bytes(data)
    return f"{name}: {' '.join(names)}"


def _other_value(rng: random.Random, file: Path) -> str:
    """Replace one value of a JSON file, or of one line of it, by another; as other versions might write it."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.suffix == ".jsonl" else [file.read_text("utf-8")]
    at = rng.randrange(len(lines)) if lines else 0
    try:
        value: Any = json.loads(lines[at])
    except (ValueError, IndexError):
        return "as it was"
    places = list(_places(value))
    if not places:
        return "as it was"
    holder, key = rng.choice(places)
    odd = rng.choice((None, 0, -1, 1e300, "", "x", [], {}, [1], {"a": 1}, True, "0.0.1", "99.0", float("nan")))
    if rng.random() < 0.25:
        del holder[key]
    else:
        holder[key] = odd
    lines[at] = json.dumps(value)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"{key} = {odd!r}"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)


# ---------------------------------------------------------------- weights


class Marker:
    """What leaves a file behind when it is unpickled."""

    def __reduce__(self) -> Any:
        return (io.FileIO, ("unpickled", "w"))


def weights(rngs: Sequence[random.Random], scratch: Path) -> Iterator[Record]:
    """Use damaged files of weights: of properties, and of the networks of `screen`."""
    _inputs(scratch)
    with contextlib.chdir(scratch):
        for number, rng in enumerate(rngs):
            folder = Path(f"weights{number}")
            folder.mkdir()
            kind = rng.choice(("property_heads", "property_heads", "structure_properties", "graph_energy"))
            file = folder / f"{kind}.safetensors"
            how = _misleading(rng, WEIGHTS / file.name, file)
            if rng.random() < 0.3:
                shutil.copy(WEIGHTS / "hashes.json", folder)
                how += ", with hashes"
            shutil.rmtree("run", ignore_errors=True)
            uses = [("energy", "info", str(file)), ("properties", "--with", str(file)), (*SCREEN, "--with", str(file))]
            words = rng.choice(uses) if kind == "property_heads" else (*SCREEN, "--weights", str(folder))
            answer = called(words, cpu=120)
            one = record(answer, f"{words[0]} {kind}: {how}")
            if Path("unpickled").exists():
                one |= {"outcome": "fault", "fault": "a pickle was loaded"}
            if one["outcome"] == "accepted" and not how.startswith(HARMLESS) and how not in UNKNOWABLE:
                one |= {"outcome": "fault", "fault": "damaged weights are accepted"}
            if one["outcome"] == "accepted" and words[0] == "screen" and (odd := _not_numbers(answer.out)):
                one |= {"outcome": "fault", "fault": f"no finite prediction: {odd}"}
            shutil.rmtree(folder)
            _forget()
            yield one


HARMLESS = ("as it was",)

UNKNOWABLE = frozenset({"bits of numbers flipped", "header flipped"})
"""What only hashes tell: a number, or a letter of a note, may be any other one."""


def _not_numbers(out: str) -> str:
    rows = [json.loads(line) for line in out.splitlines()]
    for row in rows:
        found = ((row.get("candidate") or {}).get("properties") or {}).items()
        odd = [name for name, one in found if not isinstance(one.get("value"), int | float)]
        if odd and not (row.get("remarks") or {}).get("networks"):
            return ", ".join(odd)
    return ""


def _forget() -> None:
    """Drop the networks that were loaded."""
    for one in gc.get_objects():
        if isinstance(one, functools._lru_cache_wrapper) and one.__module__.startswith("matgen.screening.crystals"):  # noqa: SLF001
            one.cache_clear()


def _misleading(rng: random.Random, source: Path, target: Path) -> str:
    """Write a damaged copy of a file of weights; return what was done."""
    data = source.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    ways: tuple[Callable[[], tuple[str, bytes]], ...] = (
        lambda: ("cut short", data[: rng.randrange(len(data))]),
        lambda: ("bits of numbers flipped", _flipped(rng, data, 8 + size)),
        lambda: ("header flipped", _flipped(rng, data[: 8 + size], 8) + data[8 + size :]),
        lambda: ("length of header", rng.choice((0, 1, size - 1, 2**31, 2**63)).to_bytes(8, "little") + data[8:]),
        lambda: ("header lies", _lying(rng, header, data[8 + size :])),
        lambda: ("other kind", (WEIGHTS / "molecule_properties.safetensors").read_bytes()),
        lambda: ("pickle", pickle.dumps({"model": Marker()})),
        lambda: ("torch file", _torch_file()),
        lambda: ("empty", b""),
        lambda: ("zeros", bytes(len(data) // 10)),
        lambda: ("text", b"version https://git-lfs.github.com/spec/v1\n"),
    )
    if rng.random() < 0.25:
        return _with_odd_numbers(rng, source, target)
    name, changed = rng.choice(ways)()
    target.write_bytes(changed)
    return name


def _flipped(rng: random.Random, data: bytes, first: int) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 5, 100))):
        changed[rng.randrange(first, len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _lying(rng: random.Random, header: dict[str, Any], numbers: bytes) -> bytes:
    """Change a shape, a type, a place or a word of the header."""
    name = rng.choice([one for one in header if one != "__metadata__"])
    one = header[name]
    way = rng.randrange(7)
    if way == 0:
        one["shape"] = [2**40, 2**40]
    elif way == 1:
        one["shape"] = [*one["shape"], 2]
    elif way == 2:
        one["data_offsets"] = [0, 2**50]
    elif way == 3:
        one["dtype"] = rng.choice(("F64", "I8", "X9"))
    elif way == 4:
        header[f"{name}.x"] = header.pop(name)
    elif way == 5:
        words = header["__metadata__"]
        key = rng.choice(sorted(set(words) - {"trained_on", "figures", "version"}))  # any text will do there
        words[key] = rng.choice(("", "{}", "[]", "nan", words[key][: len(words[key]) // 2], "9" * 30))
    else:
        header.pop("__metadata__")
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def _torch_file() -> bytes:
    stream = io.BytesIO()
    torch.save({"model": Marker()}, stream)
    return stream.getvalue()


def _with_odd_numbers(rng: random.Random, source: Path, target: Path) -> str:
    """Write one tensor with NaN or infinity in it."""
    tensors = load_file(source)
    with safe_open(source, framework="pt") as stored:
        words = stored.metadata()
    name = rng.choice(sorted(one for one, value in tensors.items() if value.is_floating_point() and value.numel()))
    value = tensors[name].clone()
    odd = rng.choice((float("nan"), float("inf")))
    value.view(-1)[rng.randrange(value.numel())] = odd
    save_file(tensors | {name: value}, target, metadata=words)
    return f"{odd} in {name}"
