"""Novelty of molecules: hashes of the connectivity of all molecules of QM9, and the verdict `novel`.

The first block of an InChIKey hashes formula, connections, hydrogens and charge; stereo and isotopes come later. So a
stereoisomer of a known molecule counts as known, and so does a tautomer that InChI does not distinguish. The shipped
index has 64 bits of a hash of that block for each molecule, and no molecules.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np

from matgen.errors import UserError
from matgen.runtime.output import replacing
from matgen.structures.candidate import Verdict
from matgen.templates.molecule import MoleculeTemplate, inchi_key

SHIPPED = Path(str(files("matgen") / "references" / "qm9_keys.npz"))
"""Built by `scripts/build/build_known_molecules.py`."""

BLOCK = 14
"""Characters of the connectivity block of an InChIKey."""

KIND = {"format": 1, "hash": "SHA-256, first 8 bytes, big-endian", "of": "first 14 characters of the InChIKey"}


class KnownMoleculesError(UserError, ValueError):
    """A file that is no index of known molecules."""


@dataclass(frozen=True, eq=False)
class KnownMolecules:
    """Hashes of known molecules.

    Attributes:
        source: of the molecules.
        hashes: of their connectivity blocks, unique and ascending (n,), uint64.
    """

    source: str
    hashes: np.ndarray = field(repr=False)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Load the shipped index, or one that `save` wrote.

        Raises:
            KnownMoleculesError: the file is no index, or has another kind of hash.
        """
        path = path or SHIPPED
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as raw:
                header, hashes = json.loads(raw["header"].tobytes()), raw["hashes"]
        except (OSError, BadZipFile, ValueError, KeyError) as error:
            message = f"expected an index of known molecules at {path}, got {type(error).__name__}: {error}"
            raise KnownMoleculesError(f"{message}; make it with scripts/build/build_known_molecules.py") from error
        if header.get("kind") != KIND:
            message = f"expected hashes of kind {KIND} in {path}, got {header.get('kind')}"
            raise KnownMoleculesError(f"{message}; make it anew with scripts/build/build_known_molecules.py")
        return cls(header["source"], hashes)

    @classmethod
    def of_blocks(cls, blocks: Iterable[str], source: str) -> Self:
        """Build an index of connectivity blocks, repeats allowed."""
        hashes = np.array([block_hash(block) for block in set(blocks)], dtype=np.uint64)
        return cls(source, np.unique(hashes))

    @classmethod
    def of(cls, templates: Iterable[MoleculeTemplate], source: str = "given molecules") -> Self:
        """Build an index of molecules."""
        return cls.of_blocks(map(connectivity_block, templates), source)

    def save(self, path: Path) -> None:
        """Write an npz file."""
        header = json.dumps({"kind": KIND, "source": self.source}, ensure_ascii=False)
        with replacing(path) as stream:
            np.savez_compressed(stream, header=np.frombuffer(header.encode(), dtype=np.uint8), hashes=self.hashes)

    def __len__(self) -> int:
        """Number of molecules with different connectivity."""
        return len(self.hashes)

    def knows(self, template: MoleculeTemplate) -> bool:
        """Return whether a molecule of this connectivity is known, regardless of stereo.

        The probability of a hash collision is 10⁻¹⁴.

        Raises:
            KnownMoleculesError: the molecule has no InChI.
        """
        target = np.uint64(block_hash(connectivity_block(template)))
        place = int(np.searchsorted(self.hashes, target))
        return place < len(self.hashes) and bool(self.hashes[place] == target)


@cache
def shipped_molecules() -> KnownMolecules:
    """Return the shipped index, read once."""
    return KnownMolecules.load()


def connectivity_block(template: MoleculeTemplate) -> str:
    """Return the first block of the InChIKey, which is independent of stereo and isotopes.

    Raises:
        KnownMoleculesError: the molecule has no InChI.
    """
    key = inchi_key(template.smiles)
    if not key:
        raise KnownMoleculesError(f"expected a molecule that InChI can describe, got {template}; check its valences")
    return key[:BLOCK]


def block_hash(block: str) -> int:
    """Return a 64-bit hash of a connectivity block."""
    return int.from_bytes(hashlib.sha256(block.encode("ascii")).digest()[:8], "big")


def novel_molecule(template: MoleculeTemplate, known: KnownMolecules) -> Verdict:
    """Check that a molecule is none of the known ones or their stereoisomers.

    The value is 1 if it is novel and 0 if not, NaN where it cannot be compared.
    """
    try:
        found = known.knows(template)
    except KnownMoleculesError as error:
        return Verdict("novel", passed=False, value=math.nan, unit="", reason=f"cannot be compared: {error}")
    among = f"of the {len(known):,} in {known.source}"
    reason = f"known: its connectivity is one {among}" if found else f"its connectivity is none {among}"
    return Verdict("novel", passed=not found, value=float(not found), unit="", reason=reason)
