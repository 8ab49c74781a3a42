"""What became of proposals, or of screened structures, from stage to stage, as links of a flow diagram.

At each node between the first and the ends, as many come in as go out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from matgen.report.words import check_label, within
from matgen.search.deferred import NOT_NEEDED
from matgen.search.unit_format import REJECTED_BY
from matgen.search.variety import VARIETY

Link = dict[str, Any]

PROPOSED, RELAXED, PASSED, FOUND = "proposed", "worth relaxing", "passed every check", "candidates"
READ, GIVEN = "could be read", "structures"

AFTER_CHECKS = frozenset({NOT_NEEDED.name, VARIETY})
"""Reasons for which a proposal that passes every check of its own is left out."""

NOT_REACHED, NOT_YET = "left when enough were found", "not decided on yet"


def rejected(name: str) -> str:
    """Return the node of what a check rejects."""
    return f"rejected: {failure(name)}"


def failure(name: str) -> str:
    """Return what a failed check says."""
    label = check_label(name)
    if label.startswith("Target met: "):
        return f"target of {within(label.removeprefix('Target met: '))} missed"
    return FAILURES.get(name, f"not {within(label)}")


FAILURES = {
    NOT_NEEDED.name: "less likely than those found",
    VARIETY: "one more of a common layout",
    "charge_balance": "charges do not balance",
    "density": "implausible density",
    "min_distance": "atoms too close",
    "relaxed": "relaxation did not converge",
    "symmetry": "symmetry lost",
    "parses": "does not read back",
    "hull": "unstable against known phases",
    "novel": "a known material",
    "unique": "a repetition",
    "reads": "file cannot be read",
    "faithful": "contradicts its own file",
    "in_domain": "unlike the training data",
    "graph_kept": "bonds changed",
    "stereo": "stereochemistry changed",
    "sanitised": "impossible bonds",
    "posebusters": "implausible geometry",
    "rules": "breaks a rule of the request",
    "coordination": "breaks a rule about coordination",
    "known_chemistry": "of no known chemistry",
    "no_copy": "a copy of an example",
    "confirmed": "refuted by first principles",
    "assessed": "could not be assessed",
    "xtb": "electronic structure not found",
    "strain": "strained",
    "phonons": "imaginary phonons",
    "elasticity": "elastically unstable",
    "second_opinion": "unstable by a second potential",
}
"""What a failed check says, where the opposite of its label is no English."""


def design_stages(records: Iterable[Mapping[str, Any]], found: int, proposed: int, *, over: bool) -> list[Link]:
    """Return the links of a design.

    Args:
        records: of the rejected proposals.
        found: number of candidates.
        proposed: number of proposals in all units.
        over: whether the search is over, so that what was not decided on never will be.
    """
    early: Counter[str] = Counter()
    late: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for record in records:
        name = str(record.get(REJECTED_BY, ""))
        counts = after if name in AFTER_CHECKS else late if record.get("relaxation") else early
        counts[rejected(name)] += 1
    n_passed = found + after.total()
    n_relaxed = n_passed + late.total()
    n_decided = n_relaxed + early.total()
    links = _fan(PROPOSED, early)
    if proposed > n_decided:
        links.append(_link(PROPOSED, NOT_REACHED if over else NOT_YET, proposed - n_decided))
    if late:
        links += [_link(PROPOSED, RELAXED, n_relaxed), *_fan(RELAXED, late), _link(RELAXED, PASSED, n_passed)]
    else:
        links.append(_link(PROPOSED, PASSED, n_passed))
    links += [*_fan(PASSED, after), _link(PASSED, FOUND, found)]
    return [link for link in links if link["count"]]


def screen_stages(first_failures: Iterable[str]) -> list[Link]:
    """Return the links of a screening: each structure leaves at the first check that it fails.

    Args:
        first_failures: name of that check of each structure, `reads` for a broken file, empty for one that passes.
    """
    counts = Counter(first_failures)
    broken, passed = counts.pop("reads", 0), counts.pop("", 0)
    readable = counts.total() + passed
    links = [_link(GIVEN, rejected("reads"), broken), _link(GIVEN, READ, readable)]
    links += [*_fan(READ, Counter({rejected(name): n for name, n in counts.items()})), _link(READ, PASSED, passed)]
    return [link for link in links if link["count"]]


def _fan(source: str, counts: Counter[str]) -> list[Link]:
    return [_link(source, target, n) for target, n in counts.most_common()]


def _link(source: str, target: str, count: int) -> Link:
    return {"from": source, "to": target, "count": count}
