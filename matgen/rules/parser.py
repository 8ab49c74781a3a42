"""Rules as text.

    rule        = exclusive [ "implies" rule ]
    exclusive   = alternative { "xor" alternative }
    alternative = conjunction { "or" conjunction }
    conjunction = factor { "and" factor }
    factor      = "not" factor | "(" rule ")" | comparison
    comparison  = elements [ operator number ] | function "(" elements { "," elements } ")" operator number
    elements    = a chemical symbol | the name of a group
    function    = "count" | "share" | "oxidation" | "coordination"
    operator    = "<" | "<=" | "=" | "==" | "!=" | ">=" | ">"

`elements` alone says that at least one of them occurs; compared with a number, how many different ones do.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn, cast, get_args

from matgen.chemistry.elements import ATOMIC_NUMBERS, known_elements
from matgen.errors import UserError
from matgen.rules.groups import GROUPS, group
from matgen.rules.statement import (
    MOST_NEIGHBORS,
    And,
    Comparison,
    Kind,
    Operator,
    Or,
    Quantity,
    Rule,
    Tree,
    comparisons,
    exclusive_or,
    implication,
    negation,
    present,
)
from matgen.runtime.config import did_you_mean

FUNCTIONS: tuple[Kind, ...] = ("count", "share", "oxidation", "coordination")
WORDS = ("and", "or", "xor", "not", "implies")
DEEPEST, LONGEST = 20, 200
"""Levels of `not`, `implies` and parentheses, and comparisons, that a rule may have; `xor` doubles the latter."""

_TOKEN = re.compile(r"\s*(?P<word>[A-Za-z_]+)|\s*(?P<number>[+-]?\d+(?:\.\d+|/\d+)?%?)|\s*(?P<sign>[<>=!]=|[<>=(),])")


class RuleError(UserError, ValueError):
    """A rule that cannot be read."""


@dataclass(frozen=True)
class Token:
    """A word, number or sign of a rule, or its end.

    Attributes:
        kind: `word`, `number`, `sign` or `end`.
        text: as typed; empty at the end.
        place: of its first character, counted from 1.
    """

    kind: str
    text: str
    place: int


def parse_rule(text: str) -> Rule:
    """Return a rule.

    Raises:
        RuleError: the text is no rule; the message says where, and what was expected there.
    """
    if not isinstance(text, str):
        raise RuleError(f"expected a rule as text, such as 'Li implies O', got {text!r}")
    return Rule(text.strip(), _Parser(text).parsed())


def _tokens(text: str) -> list[Token]:
    found: list[Token] = []
    end = 0
    while text[end:].strip():
        match = _TOKEN.match(text, end)
        if match is None:
            place = len(text) - len(text[end:].lstrip()) + 1
            _refuse(text, Token("sign", text[place - 1], place), "a word, a number, a comparison or a parenthesis")
        kind = str(match.lastgroup)
        found.append(Token(kind, match[kind], match.start(kind) + 1))
        end = match.end()
    return [*found, Token("end", "", len(text.rstrip()) + 1)]


def _refuse(text: str, token: Token, expected: str, hint: str = "") -> NoReturn:
    got = repr(token.text) if token.text else "its end"
    advice = hint or "write for example 'Li implies O', 'count(Fe) <= 2' or 'anions >= 2'"
    raise RuleError(f"expected {expected} at character {token.place} of the rule {text!r}, got {got}; {advice}")


class _Parser:
    """Recursive descent over the tokens of one rule."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.place, self.depth = text, _tokens(text), 0, 0

    @property
    def token(self) -> Token:
        return self.tokens[self.place]

    def take(self) -> Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def refuse(self, expected: str, hint: str = "") -> NoReturn:
        _refuse(self.text, self.token, expected, hint)

    def parsed(self) -> Tree:
        tree = self.rule()
        if self.token.kind != "end":
            self.refuse("the end, or one of and, or, xor, implies")
        return tree

    def rule(self) -> Tree:
        one = self.joined("xor", lambda: self.joined("or", lambda: self.joined("and", self.factor)))
        if self.token.text != "implies":
            return one
        self.take()
        return self.bounded(implication(one, self.deeper(self.rule)))

    def deeper(self, part: Callable[[], Tree]) -> Tree:
        if self.depth == DEEPEST:
            self.refuse(f"at most {DEEPEST} levels", "make several rules of it, all of which must hold")
        self.depth += 1
        tree = part()
        self.depth -= 1
        return tree

    def bounded(self, tree: Tree) -> Tree:
        if sum(1 for _ in comparisons(tree)) > LONGEST:
            self.refuse(f"at most {LONGEST} comparisons", "make several rules of it, all of which must hold")
        return tree

    def joined(self, word: str, part: Callable[[], Tree]) -> Tree:
        parts = [part()]
        while self.token.text == word:
            self.take()
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        if word == "xor":
            tree = parts[0]
            for other in parts[1:]:
                tree = self.bounded(exclusive_or(tree, other))
            return tree
        return self.bounded(And(tuple(parts)) if word == "and" else Or(tuple(parts)))

    def factor(self) -> Tree:
        if self.token.text == "not":
            self.take()
            return negation(self.deeper(self.factor))
        if self.token.text == "(":
            self.take()
            tree = self.deeper(self.rule)
            self.sign(")")
            return tree
        return self.comparison()

    def comparison(self) -> Tree:
        if self.token.text in FUNCTIONS:
            return self.function(cast("Kind", self.take().text))
        start = self.token
        elements = self.elements("an element, a group of elements, count(...), share(...), not or (")
        if self.token.kind != "sign" or self.token.text in {"(", ")", ","}:
            return present(elements)
        if len(elements) == 1:
            self.refuse("and, or, xor, implies or the end", f"to compare a number of atoms, write count({start.text})")
        return self.compared(Quantity("kinds", elements))

    def function(self, kind: Kind) -> Comparison:
        self.sign("(")
        start = self.place
        elements = self.elements("an element or a group of elements")
        while self.token.text == ",":
            self.take()
            elements |= self.elements("an element or a group of elements")
        if kind in {"oxidation", "coordination"} and len(elements) != 1:
            _refuse(self.text, self.tokens[start], f"one element in {kind}(...)", "write a rule for each element")
        self.sign(")")
        return self.compared(Quantity(kind, elements))

    def sign(self, expected: str) -> None:
        if self.token.text != expected:
            self.refuse(f"'{expected}'")
        self.take()

    def elements(self, expected: str) -> frozenset[int]:
        name = self.token.text
        if self.token.kind != "word" or name in {*WORDS, *FUNCTIONS}:
            self.refuse(expected)
        found = group(name) if name not in ATOMIC_NUMBERS else frozenset({ATOMIC_NUMBERS[name]})
        if found is None:
            self.refuse(expected, _nearest(name))
        if not found & set(known_elements()):
            self.refuse("an element that some training crystal holds", f"leave {name} out")
        self.take()
        return found

    def compared(self, quantity: Quantity) -> Comparison:
        operator = "==" if self.token.text == "=" else self.token.text
        if operator not in get_args(Operator):
            self.refuse("one of <, <=, ==, !=, >=, >")
        self.take()
        if self.token.kind != "number":
            self.refuse("a number")
        number = _number(self.token.text)
        if quantity.kind == "share":
            if number is None or not 0 <= number <= 1:
                self.refuse("a share from 0 to 1", "write 0.5, 1/2 or 50%")
        else:
            low, high = {"oxidation": (-9, 9), "coordination": (0, MOST_NEIGHBORS)}.get(quantity.kind, (0, 1000))
            if number is None or number.denominator != 1 or not low <= number <= high:
                self.refuse(f"a whole number from {low} to {high}")
        self.take()
        return Comparison(quantity, cast("Operator", operator), number)


def _number(text: str) -> Fraction | None:
    """Return the value of a number; None where it divides by zero."""
    try:
        return Fraction(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ZeroDivisionError:
        return None


def _nearest(name: str) -> str:
    symbol = name.capitalize()
    if symbol in ATOMIC_NUMBERS:
        return f"did you mean {symbol}?"
    return did_you_mean(name.lower(), [*GROUPS, *WORDS, *FUNCTIONS])
