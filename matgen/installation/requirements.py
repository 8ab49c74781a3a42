"""Required and optional packages: which are installed, in which versions, and which were tested."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from matgen.installation.finding import Finding, install

PACKAGE = "matgen"

CONSTRAINTS = "constraints.txt"
"""Versions of the tests: beside this file in a wheel, at the top of a checkout."""

FOR: dict[str, str] = {
    "plot": "figures of `evaluate`, `verify` and `learn`",
    "qm9": "the molecules that the shipped models were trained on",
    "parsl": "design and screen on a cluster, --executor",
    "phonons": "phonons and elastic constants, --phonons",
    "jobflow": "workflows of atomate2 and jobflow",
}
"""What the extras are for."""

NOT_SHOWN = frozenset({"dev", "docs", "sevennet"})
"""Extras of developers, and one that is told among the potentials."""


def requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """Return the packages that are required, and those of each extra.

    Raises:
        PackageNotFoundError: the program runs from a folder and is not installed.
    """
    everything = [Requirement(line) for line in requires(PACKAGE) or []]
    required = [one for one in everything if _applies(one)]
    extras = {
        extra: [one for one in everything if _applies(one, extra) and one not in required]
        for extra in metadata(PACKAGE).get_all("Provides-Extra") or []
    }
    return required, extras


def _applies(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def tested() -> dict[str, str]:
    """Return the versions of the tests by package; empty if their list is absent."""
    path = constraints_file()
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    pins = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {canonicalize_name(name.strip()): pinned.strip() for name, pinned in pins}


def constraints_file() -> Path | None:
    """Return the file with the versions of the tests, if it is there."""
    here = Path(__file__).resolve()
    return next((path for folder in (here.parent, here.parents[2]) if (path := folder / CONSTRAINTS).is_file()), None)


def installed(name: str) -> str:
    """Return the version of an installed package; empty if there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def import_names(names: list[str]) -> dict[str, str]:
    """Return the name by which each installed package is imported."""
    found: dict[str, list[str]] = {}
    for module, owners in packages_distributions().items():
        for owner in owners:
            found.setdefault(canonicalize_name(owner), []).append(module)
    return {name: _likeliest(name, found.get(canonicalize_name(name), [])) for name in names}


def _likeliest(name: str, modules: list[str]) -> str:
    """Return the module of a package that resembles its name, else its first public one."""
    plain = name.lower().replace("-", "_")
    public = sorted(module for module in modules if not module.startswith("_") and module.isidentifier())
    alike = [module for module in public if module.lower() == plain]
    return next(iter((*alike, *public)), plain)


def fault(requirement: Requirement) -> Finding | None:
    """Return what is wrong with the version of a required package; None if nothing is."""
    found = installed(requirement.name)
    if found and requirement.specifier.contains(found, prereleases=True):
        return None
    text = f"version {found}, expected {requirement.specifier}" if found else "not installed"
    return Finding(requirement.name, "broken", text, install(str(requirement)))


def compared_with_tested(required: list[Requirement]) -> Finding:
    """Compare the versions of required packages with those of the tests."""
    pins = tested()
    if not pins:
        return Finding("tested versions", "note", f"not known: {CONSTRAINTS} is absent")
    found = {one.name: installed(one.name) for one in required}
    pairs = {name: (here, pins.get(canonicalize_name(name), here)) for name, here in found.items() if here}
    others = {name: pair for name, pair in pairs.items() if pair[0].partition("+")[0] != pair[1]}
    if not others:
        return Finding("tested versions", "ok", f"all {len(pairs)} required packages have the version of the tests")
    listed = ", ".join(f"{name} {here} (tested: {pin})" for name, (here, pin) in others.items())
    text = f"{len(others)} of {len(pairs)} differ, which is fine unless something fails: {listed}"
    advice = install(*(f"{name}=={pin}" for name, (_, pin) in others.items()), options=f"-c {constraints_file()}")
    return Finding("tested versions", "note", text, advice)


def extra_findings(extras: dict[str, list[Requirement]]) -> Iterator[Finding]:
    """Yield a finding for each extra that users may want."""
    for extra, needed in extras.items():
        if extra in NOT_SHOWN:
            continue
        purpose = FOR.get(extra, f"the extra {extra}")
        lacking = [one for one in needed if fault(one)]
        if lacking:
            words = [str(Requirement(f"{one.name}{one.specifier}")) for one in lacking]
            text = f"not installed; needed for {purpose}"
            yield Finding(f"extra {extra}", "missing", text, install(*words))
        else:
            versions = ", ".join(f"{one.name} {installed(one.name)}" for one in needed)
            yield Finding(f"extra {extra}", "ok", f"{versions}: {purpose}")
