"""RDKit, imported when it is first used, so that training on prepared tables needs none; and without its messages."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdCIPLabeler, rdFingerprintGenerator, rdMolDescriptors
    from rdkit.Chem.Scaffolds import MurckoScaffold
else:
    from matgen.runtime.late import Late

    def _silence() -> None:
        from rdkit import rdBase

        rdBase.DisableLog("rdApp.*")  # invalid molecules raise MoleculeError with the reason

    Chem = Late("rdkit.Chem", _silence)
    DataStructs = Late("rdkit.DataStructs", _silence)
    rdCIPLabeler = Late("rdkit.Chem.rdCIPLabeler", _silence)  # noqa: N816 (RDKit's name)
    rdFingerprintGenerator = Late("rdkit.Chem.rdFingerprintGenerator", _silence)  # noqa: N816
    rdMolDescriptors = Late("rdkit.Chem.rdMolDescriptors", _silence)  # noqa: N816
    MurckoScaffold = Late("rdkit.Chem.Scaffolds.MurckoScaffold", _silence)

__all__ = ["Chem", "DataStructs", "MurckoScaffold", "rdCIPLabeler", "rdFingerprintGenerator", "rdMolDescriptors"]
