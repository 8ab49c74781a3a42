"""Ways to damage a file, each reproducible by its random numbers: `mutated(rng, data)` applies one to three of them."""

import codecs
import gzip
import random
import re
from collections.abc import Callable

ODD_NUMBERS = (
    *("nan", "inf", "-inf", "1e300", "-1e300", "1e-300", "-0", "0", "-1", "0.0001", "99999", "0.3333", "1/3"),
    *("1,5", "1.2.3", "0x10", "1_0", "١", "NaN(3)", "0.25(3)", "1e", "--1", "+.5", "1d-1", "9" * 400),
)
ODD_WORDS = (
    *("?", ".", "'", '"', ";", "loop_", "data_", "data_x", "save_", "global_", "stop_", "#", "$", "x,y,z", "-x,-y,-z"),
    *("x+1/2,y,z", "z,x,y", "2x,y,z", "Xx", "Q1", "M", "Va", "D", "T", "H", "Cl-", "Fe3+", "O2-", "P1", "Fm-3m"),
    *(
        "R -3 m :H",
        "I 41/a m d S",
        "null",
        "true",
        "{}",
        "[]",
        "=1+1",
        "<b>",
        "%s",
        "{0}",
        "../../x",
        "\x1b[31m",
        "e\u0301",
    ),
)
NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")

Mutation = Callable[[random.Random, bytes], bytes]


def _lines(data: bytes) -> list[bytes]:
    return data.split(b"\n")


def _at(rng: random.Random, data: bytes) -> int:
    return rng.randrange(len(data)) if data else 0


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    """Flip one bit of some bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20)) if data else 0):
        changed[_at(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def insert_bytes(rng: random.Random, data: bytes) -> bytes:
    """Insert some bytes of any value."""
    at = _at(rng, data)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 8))) + data[at:]


def lose_bytes(rng: random.Random, data: bytes) -> bytes:
    """Lose some bytes."""
    at = _at(rng, data)
    return data[:at] + data[at + rng.choice((1, 1, 2, 10, 100)) :]


def truncate(rng: random.Random, data: bytes) -> bytes:
    """End at any place."""
    return data[: _at(rng, data)]


def lose_line(rng: random.Random, data: bytes) -> bytes:
    """Lose a line, or some in a row."""
    lines = _lines(data)
    at = rng.randrange(len(lines))
    del lines[at : at + rng.choice((1, 1, 1, 2, 5))]
    return b"\n".join(lines)


def double_line(rng: random.Random, data: bytes) -> bytes:
    """Repeat a line, there or elsewhere."""
    lines = _lines(data)
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return b"\n".join(lines)


def swap_lines(rng: random.Random, data: bytes) -> bytes:
    """Exchange two lines."""
    lines = _lines(data)
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def odd_number(rng: random.Random, data: bytes) -> bytes:
    """Write something odd in place of a number."""
    numbers = list(NUMBER.finditer(data))
    if not numbers:
        return data
    one = rng.choice(numbers)
    return data[: one.start()] + rng.choice(ODD_NUMBERS).encode() + data[one.end() :]


def other_digit(rng: random.Random, data: bytes) -> bytes:
    """Change some digits of a number."""
    numbers = list(NUMBER.finditer(data))
    if not numbers:
        return data
    one = rng.choice(numbers)
    digits = bytes(rng.choice(b"0123456789") if 48 <= c <= 57 and rng.random() < 0.4 else c for c in one[0])
    return data[: one.start()] + digits + data[one.end() :]


def odd_word(rng: random.Random, data: bytes) -> bytes:
    """Write something odd in place of a word."""
    words = list(re.finditer(rb"\S+", data))
    if not words:
        return data
    one = rng.choice(words)
    return data[: one.start()] + rng.choice(ODD_WORDS).encode() + data[one.end() :]


def lose_word(rng: random.Random, data: bytes) -> bytes:
    """Lose a word, so that a loop no longer comes out even."""
    words = list(re.finditer(rb"\S+", data))
    if not words:
        return data
    one = rng.choice(words)
    return data[: one.start()] + data[one.end() :]


def swap_words(rng: random.Random, data: bytes) -> bytes:
    """Shuffle the words of a line."""
    lines = _lines(data)
    at = rng.randrange(len(lines))
    words = lines[at].split(b" ")
    rng.shuffle(words)
    lines[at] = b" ".join(words)
    return b"\n".join(lines)


def lose_quotes(rng: random.Random, data: bytes) -> bytes:
    """Remove one quote, or all."""
    quotes = [i for i, c in enumerate(data) if c in b"'\""]
    if not quotes:
        return data
    if rng.random() < 0.3:
        return data.replace(b"'", b"").replace(b'"', b"")
    at = rng.choice(quotes)
    return data[:at] + data[at + 1 :]


def change_operation(rng: random.Random, data: bytes) -> bytes:
    """Change a symmetry operation: a sign, an axis, a fraction; or lose all but some."""
    found = [line for line in _lines(data) if re.search(rb"[-+]?[xyz][^,]*,[^,]*,[^,]*[xyz]", line, re.IGNORECASE)]
    if not found:
        return other_digit(rng, data)
    one = rng.choice(found)
    ways = (
        lambda: one.replace(b"x", b"-x", 1),
        lambda: one.replace(b"y", b"x", 1),
        lambda: one.replace(b"1/2", b"1/4", 1),
        lambda: one.replace(b"/", b"", 1),
        lambda: one.replace(b"x", b"2x", 1),
        lambda: one.replace(b",", b";", 1),
        lambda: one.replace(b",", b" , ").replace(b"'", b""),
        one.upper,
        lambda: b"",
    )
    if rng.random() < 0.2:
        gone = set(rng.sample(found, rng.randrange(len(found))))
        return b"\n".join(line for line in _lines(data) if line not in gone)
    return data.replace(one, rng.choice(ways)(), 1)


def repeat_tag(rng: random.Random, data: bytes) -> bytes:
    """Give an item once more, with the same value or another."""
    tags = [line for line in _lines(data) if re.match(rb"_\S+\s+\S", line)]
    if not tags:
        return double_line(rng, data)
    again = rng.choice(tags)
    if rng.random() < 0.5:
        again = again.split()[0] + b" " + rng.choice((*ODD_NUMBERS, *ODD_WORDS)).encode()
    lines = _lines(data)
    lines.insert(lines.index(rng.choice(tags)), again)
    return b"\n".join(lines)


def break_loop(rng: random.Random, data: bytes) -> bytes:
    """Lose or add a word `loop_`, or a column of one."""
    ways = [lambda: data.replace(b"loop_", b"", 1), lambda: data.replace(b"loop_", b"loop_\nloop_", 1)]
    tags = [line for line in _lines(data) if re.match(rb"\s*_\w[^\s]*\s*$", line)]
    if tags:
        ways.append(lambda: data.replace(rng.choice(tags) + b"\n", b"", 1))
        ways.append(lambda: data.replace(rng.choice(tags), rng.choice(tags), 1))
    return rng.choice(ways)()


def other_encoding(rng: random.Random, data: bytes) -> bytes:
    """Write the text in another encoding, or with other ends of lines."""
    text = data.decode("utf-8", errors="replace")
    ways = (
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-16-be", errors="replace"),
        lambda: text.encode("utf-32"),
        lambda: codecs.BOM_UTF8 + data,
        lambda: ("ÄÖÜ ångström °\n" + text).encode("latin-1", errors="replace"),
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: data.replace(b"\n", b"\r"),
        lambda: data.replace(b" ", b"\t"),
        lambda: data.replace(b" ", "\u00a0".encode()),
        lambda: data.replace(b"-", "\u2212".encode()),
        lambda: data + b"\0" * 100,
        lambda: data.replace(b"\n", b"\n\0"),
        data.upper,
        data.lower,
    )
    return rng.choice(ways)()


def twice(rng: random.Random, data: bytes) -> bytes:
    """Append the file to itself, or a part of it."""
    return data + data[: rng.choice((len(data), _at(rng, data)))]


def long_line(rng: random.Random, data: bytes) -> bytes:
    """Insert a very long line, or very many."""
    at = _at(rng, data)
    filling = rng.choice((b"x" * 100_000, b"0 " * 30_000, b"\n" * 10_000, b"(" * 20_000, b"[" * 20_000, b"# " * 5000))
    return data[:at] + filling + data[at:]


def packed(rng: random.Random, data: bytes) -> bytes:
    """Compress it under its own name."""
    return gzip.compress(data, mtime=0) if rng.random() < 0.5 else b"PK\x03\x04" + data


COMMON: tuple[Mutation, ...] = (
    *(lose_line, double_line, swap_lines, odd_number, odd_number, other_digit, other_digit, odd_word, odd_word),
    *(lose_word, swap_words, lose_quotes, change_operation, change_operation, repeat_tag, break_loop, flip_bits),
    *(insert_bytes, lose_bytes, truncate),
)
RARE: tuple[Mutation, ...] = (other_encoding, other_encoding, twice, long_line, packed)


def mutated(rng: random.Random, data: bytes) -> tuple[bytes, list[str]]:
    """Apply one to three mutations; return their names too."""
    names = []
    for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3))):
        one = rng.choice(RARE if rng.random() < 0.12 else COMMON)
        data = one(rng, data)
        names.append(one.__name__)
    return data, names
