"""Whether a candidate is one of the examples that it is to resemble."""

import math
from collections.abc import Sequence

from matgen.generation.like import Example
from matgen.novelty.duplicates import MATCHER
from matgen.novelty.molecules import connectivity_block
from matgen.structures.candidate import Candidate, Verdict
from matgen.templates.batch import molecules_of
from matgen.templates.molecule import MoleculeTemplate

NO_COPY = "no_copy"
"""Name of the verdict."""


def no_copy(candidate: Candidate, examples: Sequence[Example]) -> Verdict:
    """Check that a candidate is no example: by `StructureMatcher`, or of molecules by connectivity."""
    same = next((example.name for example in examples if _same(candidate, example)), "")
    reason = f"is the example {same}" if same else f"is none of the {len(examples)} examples"
    return Verdict(NO_COPY, passed=not same, value=math.nan, unit="", reason=reason)


def _same(candidate: Candidate, example: Example) -> bool:
    if example.structure is None:
        (template,) = molecules_of([example.template])
        return connectivity_block(MoleculeTemplate(candidate.template)) == connectivity_block(template)
    crystal = candidate.crystal
    if crystal.composition.reduced_formula != example.structure.composition.reduced_formula:
        return False
    return bool(MATCHER.fit(crystal, example.structure))
