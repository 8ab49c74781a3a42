"""Jobs of jobflow that design, relax, screen and verify, for flows of one's own and of atomate2.

    from matgen.jobflow import DesignMaker, EachMaker, RelaxMaker

    design = DesignMaker(n=3, options={"band_gap": 1.5}).make()
    relax = EachMaker(RelaxMaker()).make(design.output.structures)

Every job gives pymatgen structures, `ComputedStructureEntry` and plain dictionaries, which any store of jobflow holds.
The makers take what is JSON: options by name, structures, files by path. They need `pip install "jobflow>=0.2"`.
"""

try:
    import jobflow  # noqa: F401 (the installed package: a name in this package never stands for it)
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'expected jobflow for matgen.jobflow, found none; pip install "jobflow>=0.2"', name="jobflow"
    ) from error

from matgen.jobflow.documents import DesignDocument, RelaxDocument, ScreenDocument, VerifyDocument
from matgen.jobflow.makers import DesignMaker, EachMaker, RelaxMaker, ScreenMaker, VerifyMaker

__all__ = [
    "DesignDocument",
    "DesignMaker",
    "EachMaker",
    "RelaxDocument",
    "RelaxMaker",
    "ScreenDocument",
    "ScreenMaker",
    "VerifyDocument",
    "VerifyMaker",
]
