"""Size of a report and time to its first view in a headless browser.

`python scripts/benchmarks/measure_report.py FOLDER`: the page of a run, opened from disk without network; with
`--copies 100` its candidates are repeated until there are so many. Needs a Chromium, and playwright
(`pip install "playwright>=1.49"`).

    python scripts/benchmarks/measure_report.py designs/mine --copies 100
"""

import argparse
import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from matgen.report.data import report_data
from matgen.report.page import report_html

FLAGS = ["--no-sandbox", "--disable-gpu-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]

SHOWN = "performance.getEntriesByName('report shown')[0].startTime"
"""Milliseconds from the start of loading to the moment at which heading, table and sections stand."""

PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def repeated(data: dict[str, Any], n: int) -> dict[str, Any]:
    """Return data with n candidates: those there are, over and over, under names of their own."""
    many = itertools.islice(itertools.cycle(data["candidates"]), n)
    return {**data, "candidates": [{**one, "id": f"{i}-{one['id']}", "rank": i + 1} for i, one in enumerate(many)]}


def first_views(page: Path, chromium: str, times: int) -> list[tuple[float, float]]:
    """Return seconds until the report is shown, and until it is painted, for each of several loads."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for _ in range(times):
            tab = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True).new_page()
            tab.goto(page.as_uri())
            while tab.evaluate(PAINTED) is None:  # the policy of the page forbids to wait for an expression
                time.sleep(0.02)
            found.append((tab.evaluate(SHOWN) / 1000, tab.evaluate(PAINTED) / 1000))
            tab.close()
        browser.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a run")
    parser.add_argument("--copies", type=int, default=0, help="candidates of the page; 0: those of the run")
    parser.add_argument("--times", type=int, default=5, help="loads of the page")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser")
    options = parser.parse_args()
    if options.chromium is None:
        sys.exit("expected a Chromium on PATH; name one with --chromium")
    begun = time.perf_counter()
    data = report_data(options.folder)
    collected = time.perf_counter() - begun
    data = repeated(data, options.copies) if options.copies else data
    begun = time.perf_counter()
    text = report_html(data)
    joined = time.perf_counter() - begun
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(text, encoding="utf-8")
        views = first_views(page, options.chromium, options.times)
    shown, painted = (statistics.median(column) for column in zip(*views, strict=True))
    print(f"candidates {len(data['candidates'])}, size {len(text.encode()) / 1e6:.2f} MB")
    print(f"data {collected:.1f} s, page {joined:.2f} s")
    print(f"first view: shown after {shown:.2f} s, painted after {painted:.2f} s (medians of {options.times})")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
