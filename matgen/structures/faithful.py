"""Whether a structure is the one that its file describes: what was compared, and what contradicts."""

from dataclasses import dataclass, field

from pymatgen.core.structure import Structure


@dataclass(frozen=True)
class Faithfulness:
    """Comparison of a structure with what its file says beside the sites.

    Attributes:
        compared: names of what was compared, such as "formula" and "Z".
        contradictions: sentences, one for each disagreement.
    """

    compared: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing contradicts."""
        return not self.contradictions

    @property
    def reason(self) -> str:
        """One sentence in either case."""
        if self.contradictions:
            return "the structure contradicts its file: " + "; ".join(self.contradictions)
        if not self.compared:
            return "not applicable: the file says nothing to compare its sites with"
        return f"agrees with the {', '.join(self.compared)} that the file gives"


@dataclass(frozen=True)
class FromFile:
    """What a reader made of the text of a file.

    Attributes:
        structure: elements and positions; disordered if the file says so.
        remarks: what was read otherwise than written.
        faithful: comparison with the file.
    """

    structure: Structure
    remarks: tuple[str, ...] = ()
    faithful: Faithfulness = field(default_factory=Faithfulness)
