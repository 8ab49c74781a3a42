"""The table [host]: a crystal that is changed in places, or a molecular fragment that is held."""

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from matgen.chemistry.elements import ATOMIC_NUMBERS
from matgen.generation.errors import RequestError
from matgen.structures.hosts import Host, read_host
from matgen.templates.fragments import Fragment


@dataclass(frozen=True)
class HostConfig:
    """What is given of a material, and what of it may change.

    Attributes:
        file: crystal of which sites are changed; flat keyword `host`.
        replace: elements in place of others: `Ti -> any`, `Co -> Ni,Mn`, `site 2 -> Zr` on all atoms of a site;
            `Co -> Al x1` on one atom of a supercell.
        insert: elements of which one atom is put into a void of a supercell.
        vacancy: elements of which one atom is taken out of a supercell.
        supercell: least distance of a defect from its images, Å; 0 for the primitive cell of the host, which then
            relaxes too.
        start: crystal from which the chains of the sampler start.
        keep: sites that stay as they are: `sites 1-4`, or elements such as `Sr,O`.
        fragment: SMILES of a part of each molecule, with [*] where the rest is bonded.
    """

    file: str = field(default="", metadata={"keyword": "host"})
    replace: tuple[str, ...] = ()
    insert: tuple[str, ...] = ()
    vacancy: tuple[str, ...] = ()
    supercell: float = 7.5
    start: str = ""
    keep: str = ""
    fragment: str = ""

    def __post_init__(self) -> None:
        """Check which settings go together.

        Raises:
            RequestError: settings without a crystal to which they apply, or that exclude each other.
            HostError: the crystal cannot be read.
            MoleculeError: the fragment is not valid.
        """
        changed = bool(self.replace or self.insert or self.vacancy)
        if not 0 <= self.supercell < math.inf:
            raise RequestError(f"expected a supercell of at least 0 Å, got {self.supercell}")
        if self.file and self.start:
            raise RequestError("expected a host or a start, got both; --host changes sites, --start searches around")
        if self.file and not changed:
            raise RequestError(
                "expected what to change in the host, got nothing; give --replace, --insert or --vacancy"
            )
        if changed and not self.file:
            raise RequestError("expected a host for --replace, --insert and --vacancy, got none; give --host FILE")
        if self.keep and not (self.file or self.start):
            raise RequestError("expected a host or a start for --keep, got none; give --host FILE or --start FILE")
        _ = self.host, self.held_fragment

    @property
    def given(self) -> bool:
        """Whether a crystal is given."""
        return bool(self.file or self.start)

    @cached_property
    def host(self) -> Host | None:
        """The crystal of the host or of the start; None without one."""
        return read_host(Path(self.file or self.start)) if self.given else None

    @cached_property
    def elements(self) -> frozenset[int]:
        """Atomic numbers of the crystal, and of what is named to be put into it."""
        named = re.findall(r"[A-Z][a-z]?", " ".join((*self.replace, *self.insert)))
        own = set() if self.host is None else {z for _, z in self.host.template.sites}
        return frozenset(own | {ATOMIC_NUMBERS[symbol] for symbol in named if symbol in ATOMIC_NUMBERS})

    @cached_property
    def held_fragment(self) -> Fragment | None:
        """The fragment; None without one."""
        return Fragment.of(self.fragment) if self.fragment else None
