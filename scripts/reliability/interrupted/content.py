"""What a run has written, without what may differ between two runs: times, and how often it was taken up.

Left out are, and nothing else:

* of `run.json` the entries `started`, `command_line` (of another folder), `stages` (their times and how often each was
  seen), and `taken_up`;
* of units of work, candidates and results of `verify` the entries `seconds` and `cpu`;
* of `metrics.jsonl` the `minutes`; of a checkpoint its `seconds`, and the bytes around its tensors;
* logs of GPAW, which hold dates and times;
* `report.html`, which shows what the other files hold, with date and time;
* with several processes, the order of the lines of `rows.jsonl`, and `units`, which hold more if some ran ahead.

Tables in Parquet are compared by schema and values, all else byte by byte. A file too many is a difference.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch

PAGE = "report.html"
OF_REPORT = ("started", "command_line", "stages", "taken_up")
OF_TIME = frozenset({"seconds", "cpu", "minutes"})


def content(folder: Path, *, ordered: bool = True) -> dict[str, str]:
    """Return a hash of each file below a folder, by its path; `ordered` is told by `Case`."""
    left_out = {"gpaw"} if ordered else {"gpaw", "units"}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name not in left_out)
    files = [path for path in files if path.name != PAGE]
    return {
        str(path.relative_to(folder)): hashlib.sha256(essence(path, ordered=ordered)).hexdigest()[:16] for path in files
    }


def essence(path: Path, *, ordered: bool = True) -> bytes:
    """Return what of a file two equal runs share."""
    raw = path.read_bytes()
    if path.name == "run.json":
        return text({name: value for name, value in json.loads(raw).items() if name not in OF_REPORT})
    if path.suffix == ".jsonl":
        lines = [text(_timeless(json.loads(line))) for line in raw.splitlines(keepends=True)]
        return b"\n".join(sorted(lines) if path.name == "rows.jsonl" and not ordered else lines)
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        kept = table.drop_columns([name for name in table.column_names if name.endswith("seconds")])
        return text([str(kept.schema.types), kept.column_names, kept.to_pylist()])
    if path.name.startswith("verified") and path.suffix == ".csv":
        frame = pd.read_csv(io.BytesIO(raw), dtype=str)
        return frame[[name for name in frame if not name.endswith("seconds")]].to_csv().encode()
    if path.suffix == ".pt":
        return text(_plain(torch.load(path, weights_only=True)))
    return raw


def text(value: Any) -> bytes:
    """Return JSON."""
    return json.dumps(value, default=str).encode()


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {name: _timeless(part) for name, part in value.items() if name not in OF_TIME}


def _plain(value: Any) -> Any:
    """Return a checkpoint as JSON types, tensors as hashes."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.cpu().numpy().tobytes()).hexdigest()]
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items() if name != "seconds"}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the paths of files that two runs do not share."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
