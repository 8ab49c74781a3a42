"""Warnings of the packages that read structures: which are no news, and which are remarks on what was read."""

import re
import warnings
from collections.abc import Iterable

from pymatgen.core.periodic_table import Element

NO_NEWS = re.compile(
    r"fractional coordinates rounded to ideal values|No Pauling electronegativity|Ignoring selective dynamics"
    r"|symmetry_equiv_pos_as_xyz type key found\. Spacegroup from|dict interface is deprecated"
)
"""Warnings that say nothing of the structure that was read."""

LONGEST = 200
"""Characters of a warning that are kept."""

_OF_PROGRAMS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)


def read_electronegativities() -> None:
    """Silence that a noble gas has no electronegativity, by which pymatgen sorts formulas.

    Recent versions warn once for each element, earlier ones each time; so the warning is made here, once per process,
    and is ignored from then on.
    """
    warnings.filterwarnings("ignore", message="No Pauling electronegativity")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No Pauling electronegativity")
        for element in Element:
            _ = element.X


def remarks(caught: Iterable[warnings.WarningMessage]) -> list[str]:
    """Return what packages warned of a structure while they read it, each once, without news of programs.

    Args:
        caught: by `warnings.catch_warnings(record=True)`.
    """
    own = (one for one in caught if not issubclass(one.category, _OF_PROGRAMS))
    texts = [" ".join(str(one.message).split())[:LONGEST] for one in own]
    return [f"the reader warns: {text}" for text in dict.fromkeys(texts) if not NO_NEWS.search(text)]
