"""What is left out of a page that would be too large: trajectories, those of the last candidates first."""

import json
from typing import Any


def size(data: Any) -> int:
    """Return the bytes that data takes as JSON in UTF-8."""
    return len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


def fitting(data: dict[str, Any], most: int) -> dict[str, Any]:
    """Return data of at most this size, as far as leaving out trajectories achieves it, with a note of what is gone.

    Args:
        data: of a report.
        most: bytes of its JSON.
    """
    excess = size(data) - most
    if excess <= 0:
        return data
    candidates, dropped = list(data.get("candidates") or ()), 0
    for i in range(len(candidates) - 1, -1, -1):
        if excess <= 0:
            break
        if "walk" in candidates[i]:
            excess -= size(candidates[i]["walk"])
            candidates[i] = {key: value for key, value in candidates[i].items() if key != "walk"}
            dropped += 1
    if not dropped:
        return data
    note = f"To keep this page small, the trajectories of the last {dropped} candidates that have one are left out."
    run = dict(data.get("run") or {})
    return {**data, "candidates": candidates, "run": {**run, "notes": [*(run.get("notes") or ()), note]}}
