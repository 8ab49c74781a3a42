"""Some known molecules: SMILES that the prior draws, or that are enumerated, and that the index of known ones has.

No entry of a data table is copied: the hashes of `matgen.novelty.molecules` tell which of the SMILES are known, and
there is one of each connectivity. `scripts/build/build_known_smiles.py` draws and enumerates them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from matgen.errors import UserError
from matgen.runtime.output import replacing
from matgen.templates.late_rdkit import Chem, DataStructs, rdFingerprintGenerator

SHIPPED = Path(str(files("matgen") / "references" / "known_smiles.npz"))
"""The molecules."""

RADIUS, BITS = 2, 2048
"""Bonds around each atom, and length, of the fingerprints."""


class KnownSmilesError(UserError, ValueError):
    """A file that holds no known molecules."""


@dataclass(frozen=True, eq=False)
class KnownSmiles:
    """Known molecules without stereo and charges: those that were drawn, in their order, then those enumerated.

    Attributes:
        source: of the molecules, in words.
        smiles: canonical.
    """

    source: str
    smiles: tuple[str, ...] = field(repr=False)

    @classmethod
    def load(cls, path: Path = SHIPPED) -> "KnownSmiles":
        """Read a file that `save` wrote.

        Raises:
            KnownSmilesError: it is none.
        """
        try:
            with np.load(path, allow_pickle=False) as raw:
                source, text = json.loads(raw["header"].tobytes())["source"], raw["smiles"].tobytes().decode("ascii")
        except (OSError, BadZipFile, ValueError, KeyError, TypeError) as error:
            raise KnownSmilesError(
                f"expected known molecules at {path}, got {type(error).__name__}: {error}; make it with "
                "scripts/build/build_known_smiles.py"
            ) from error
        return cls(str(source), tuple(text.split("\n")))

    def save(self, path: Path) -> None:
        """Write the file."""
        header, smiles = (
            np.frombuffer(text.encode("ascii"), dtype=np.uint8)
            for text in (json.dumps({"source": self.source}), "\n".join(self.smiles))
        )
        with replacing(path) as stream:
            np.savez_compressed(stream, header=header, smiles=smiles)

    def __len__(self) -> int:
        """Number of molecules."""
        return len(self.smiles)

    @cached_property
    def fingerprints(self) -> "list[DataStructs.ExplicitBitVect]":
        """Fingerprints of all, made once."""
        return [fingerprint(one) for one in self.smiles]

    def similarities(self, smiles: str) -> Sequence[float]:
        """Return the Tanimoto similarity of a molecule to each, from 0 to 1."""
        return DataStructs.BulkTanimotoSimilarity(fingerprint(smiles), self.fingerprints)


def fingerprint(smiles: str) -> "DataStructs.ExplicitBitVect":
    """Return the Morgan fingerprint of a molecule, without stereo.

    Rogers and Hahn, J. Chem. Inf. Model. 50, 742 (2010).
    """
    return _generator().GetFingerprint(Chem.MolFromSmiles(smiles))


@cache
def _generator() -> "rdFingerprintGenerator.FingerprintGenerator64":
    return rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)


@cache
def shipped_smiles() -> KnownSmiles:
    """Return the shipped molecules, read once."""
    return KnownSmiles.load()
