"""Plain data for a page: JSON types without numbers that JSON does not have."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

DIGITS = 6
"""Significant digits of a number on the page."""


def plain(value: Any) -> Any:
    """Return a value as JSON types: numbers with `DIGITS` significant digits, null where they are not finite."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    match value:
        case bool() | None | str() | int():
            return value
        case float():
            return rounded(value)
        case Mapping():
            return {str(key): plain(one) for key, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
    raise TypeError(f"expected JSON types, got {type(value).__name__}")


def rounded(value: float, digits: int = DIGITS) -> float | None:
    """Return a number with so many significant digits; None if it is not finite."""
    return float(f"{value:.{digits}g}") + 0.0 if math.isfinite(value) else None
