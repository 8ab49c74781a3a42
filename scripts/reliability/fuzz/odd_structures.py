"""Damaged files of crystals and molecules, screened in one call for many, and compared with other readers."""

import base64
import gzip
import io
import json
import random
import re
import sys
import tarfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import ase.io
from pymatgen.core import Structure
from pymatgen.core.structure import Molecule
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Poscar
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from compare_readers import DIALECTS
from fuzz.calls import Answer, called
from fuzz.compared_crystals import Crystal, crystal, of_structure
from fuzz.explanations import explained
from fuzz.independent_readers import (
    CIF_READERS,
    POSCAR_READERS,
    XYZ_READERS,
    atoms_by_lines,
    by_others,
    molecule_by_rdkit,
)
from fuzz.mutations import mutated
from matgen.structures.candidate import KindName
from matgen.structures.files import Entry, Found, found, read

TEXTBOOK = Path(__file__).resolve().parents[3] / "data" / "textbook"
LARGEST = 24
"""Atoms of a textbook crystal that is used."""

SMILES = (
    *("C", "O", "CC(=O)[O-]", "c1ccccc1O", "C[C@H](N)C(=O)O", "[NH4+]", "C/C=C/C", "N#Cc1ccncc1", "OCC1CC1", "CC#C"),
    *("[O-][N+](=O)c1ccccc1", "FC(F)F", "S=C=S", "C1CC2CC1O2", "ClCCl", "[CH3]", "CS(C)=O", "P", "c1ccc2[nH]ccc2c1"),
)
PYTHON_WORDS = re.compile(r"\b[A-Z]\w*(?:Error|Exception)\b")
"""Names of exceptions in a reason: right, but not in the words of the field."""

Record = dict[str, Any]


@cache
def structures() -> tuple[Structure, ...]:
    """Return the textbook crystals of a few atoms."""
    every = (Structure.from_file(file) for file in sorted(TEXTBOOK.glob("*.cif")))
    return tuple(one for one in every if len(one) <= LARGEST)


@cache
def plain_cifs() -> tuple[bytes, ...]:
    """Return the textbook files."""
    return tuple(file.read_bytes() for file in sorted(TEXTBOOK.glob("*.cif")))


@cache
def _dialect(index: int, name: str) -> bytes:
    return DIALECTS[name](structures()[index]).encode()


def cif(rng: random.Random) -> bytes:
    """A textbook file, or a crystal written in any dialect."""
    if rng.random() < 0.4:
        return rng.choice(plain_cifs())
    return _dialect(rng.randrange(len(structures())), rng.choice(sorted(DIALECTS)))


def poscar(rng: random.Random) -> bytes:
    """A POSCAR: Direct or Cartesian, selective or not, with names beside the coordinates."""
    one = rng.choice(structures())
    flags = [[rng.random() < 0.5 for _ in range(3)] for _ in one] if rng.random() < 0.3 else None
    return Poscar(one, selective_dynamics=flags, sort_structure=True).get_str(direct=rng.random() < 0.6).encode()


def extxyz(rng: random.Random) -> bytes:
    """Frames of an extxyz."""
    stream = io.StringIO()
    frames = [AseAtomsAdaptor.get_atoms(one, msonable=False) for one in rng.sample(structures(), rng.choice((1, 1, 3)))]
    ase.io.write(stream, frames, format="extxyz")
    return stream.getvalue().encode()


def in_json(rng: random.Random) -> bytes:
    """A dictionary of pymatgen, of CDVAE or of OPTIMADE, a list of such, or a CIF."""
    one = rng.choice(structures())
    lattice = one.lattice
    cdvae = {"frac_coords": one.frac_coords.tolist(), "atom_types": list(one.atomic_numbers)}
    cdvae |= {"lengths": list(lattice.abc), "angles": list(lattice.angles)}
    optimade = {"lattice_vectors": lattice.matrix.tolist(), "cartesian_site_positions": one.cart_coords.tolist()}
    optimade |= {"species_at_sites": [site.specie.symbol for site in one], "nsites": len(one)}
    ways: list[Any] = [
        one.as_dict(),
        cdvae,
        optimade,
        {"structure": one.as_dict(), "id": "a"},
        {"cif": cif(rng).decode()},
    ]
    value = rng.choice(ways)
    return json.dumps([value] * 2 if rng.random() < 0.2 else value, indent=rng.choice((None, 1))).encode()


def in_csv(rng: random.Random) -> bytes:
    """A table with a column of CIFs."""
    rows = ["material_id,cif,band_gap"]
    rows += [f'm-{i},"{cif(rng).decode().replace(chr(34), chr(34) * 2)}",1.{i}' for i in range(2)]
    return "\n".join(rows).encode()


def archive(rng: random.Random) -> bytes:
    """A zip with three CIFs."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as packed:
        for i in range(3):
            packed.writestr(zipfile.ZipInfo(f"in/{i}.cif"), cif(rng))
    return stream.getvalue()


def tape(rng: random.Random) -> bytes:
    """A tar with two CIFs, compressed."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as packed:
        for i in range(2):
            data = cif(rng)
            member = tarfile.TarInfo(f"{i}.cif")
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return gzip.compress(stream.getvalue(), mtime=0)


CRYSTALS: tuple[tuple[str, Callable[[random.Random], bytes], int], ...] = (
    ("cif", cif, 50),
    ("vasp", poscar, 18),
    ("extxyz", extxyz, 10),
    ("json", in_json, 10),
    ("csv", in_csv, 4),
    ("zip", archive, 3),
    ("tar.gz", tape, 2),
    ("cif.gz", lambda rng: gzip.compress(cif(rng), mtime=0), 3),
)
"""Suffix, what makes a file, and the share in 100."""


@cache
def embedded(smiles: str) -> Chem.Mol:
    """Return a molecule with hydrogens and positions."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(molecule, randomSeed=1)
    return molecule


def xyz(rng: random.Random) -> bytes:
    """Frames of an XYZ."""
    some = [embedded(rng.choice(SMILES)) for _ in range(rng.choice((1, 2)))]
    blocks = [Chem.MolToXYZBlock(one) for one in some]
    charges = [f"charge={Chem.GetFormalCharge(one)}" for one in some]
    return "".join(b.replace("\n\n", f"\n{c}\n", 1) for b, c in zip(blocks, charges, strict=True)).encode()


def sdf(rng: random.Random) -> bytes:
    """Records of an SDF, V2000 or V3000."""
    v3000 = rng.random() < 0.3
    some = [embedded(rng.choice(SMILES)) for _ in range(rng.choice((1, 2, 4)))]
    return "$$$$\n".join([*(Chem.MolToMolBlock(one, forceV3000=v3000) for one in some), ""]).encode()


def molecule_json(rng: random.Random) -> bytes:
    """A molecule of pymatgen, or a SMILES in an object."""
    one = embedded(rng.choice(SMILES))
    symbols, places = [a.GetSymbol() for a in one.GetAtoms()], one.GetConformer().GetPositions()
    whole = Molecule(symbols, places, charge=Chem.GetFormalCharge(one)).as_dict()
    return json.dumps(rng.choice((whole, {"smiles": rng.choice(SMILES)}))).encode()


MOLECULES: tuple[tuple[str, Callable[[random.Random], bytes], int], ...] = (
    ("sdf", sdf, 35),
    ("xyz", xyz, 25),
    ("smi", lambda rng: "\n".join(rng.choice(SMILES) for _ in range(4)).encode(), 20),
    ("json", molecule_json, 10),
    ("csv", lambda rng: "\n".join(["id,smiles", *(f"{i},{rng.choice(SMILES)}" for i in range(3))]).encode(), 10),
)


# ---------------------------------------------------------------- trying them


def crystals(rngs: Sequence[random.Random], scratch: Path) -> Iterator[Record]:
    """Screen damaged files of crystals, and compare what is accepted."""
    yield from _tried(rngs, scratch, "crystal", CRYSTALS, _compared_crystal)


def molecules(rngs: Sequence[random.Random], scratch: Path) -> Iterator[Record]:
    """Screen damaged files of molecules, and compare what is accepted."""
    yield from _tried(rngs, scratch, "molecule", MOLECULES, _compared_molecule)


def _tried(
    rngs: Sequence[random.Random],
    scratch: Path,
    kind: KindName,
    makers: Sequence[tuple[str, Callable[[random.Random], bytes], int]],
    compare: Callable[[Found, Entry], dict[str, str]],
) -> Iterator[Record]:
    inputs = scratch / "in"
    inputs.mkdir()
    files, names = [], []
    for i, rng in enumerate(rngs):
        suffix, make, _ = rng.choices(makers, [weight for *_, weight in makers])[0]
        data, how = mutated(rng, make(rng))
        files.append(inputs / f"{i:04d}.{suffix}")
        files[-1].write_bytes(data)
        names.append(how)
    answer = screened(inputs, scratch / "out", kind)
    rows = _rows_by_file(answer)
    for file, how in zip(files, names, strict=True):
        yield _record(file, how, rows.get(file.name, []), answer, kind, compare)


def screened(inputs: Path, out: Path, kind: str) -> Answer:
    """Screen a folder, without potential and known structures."""
    settings = ["--kind", kind, "--reference", "none", "--known", "none", "--jobs", "1"]
    return called(["screen", str(inputs), *settings, "--out", str(out), "--json"], cpu=120)


def _rows_by_file(answer: Answer) -> dict[str, list[Record]]:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    rows: dict[str, list[Record]] = {}
    for line in answer.out.splitlines():
        value = json.loads(line, parse_constant=refuse)
        if "name" in value:
            rows.setdefault(value["name"].split("/")[1].split("#")[0], []).append(value)
    return rows


def _record(
    file: Path,
    how: list[str],
    rows: list[Record],
    answer: Answer,
    kind: KindName,
    compare: Callable[[Found, Entry], dict[str, str]],
) -> Record:
    started = time.process_time()
    fault = answer.fault or ("" if rows else "lost: no row")
    outcomes, why, python = Counter[str](), {}, []
    by_name = {row["name"]: row for row in rows}
    for one in found([file]) if not fault else ():
        entry = read(one, kind)
        row = by_name.get(f"in/{one.name}")
        if row is None:
            fault = f"lost: no row of {one.name}"
            continue
        python += PYTHON_WORDS.findall(row["error"] + json.dumps((row["candidate"] or {}).get("verdicts", {})))
        if entry.structure is None:
            outcomes["refused" if row["error"] else "unfaithful"] += 1
            continue
        outcomes["accepted"] += 1
        if row["n_atoms"] != len(entry.structure) and not row["error"]:
            fault = f"the row counts {row['n_atoms']} atoms, the reader {len(entry.structure)}"
        why |= compare(one, entry)
    if any(text.startswith("unexplained") for text in why.values()):
        fault = fault or "unexplained disagreement"
    outcome = next((name for name in ("accepted", "unfaithful", "refused") if outcomes[name]), "lost")
    record = {"input": f"{file.suffix[1:]} {' '.join(how)}", "outcome": outcome, "explained": why, "fault": fault}
    record |= {"seconds": round(time.process_time() - started + answer.seconds / 100, 3)}
    record |= {"python": sorted(set(python)), "reason": (rows[0]["error"] if rows else "")[:200]}
    if fault:
        record["data"] = base64.b64encode(zlib.compress(file.read_bytes())).decode()[:40_000]
    return record


def _compared_crystal(one: Found, entry: Entry) -> dict[str, str]:
    structure: Any = entry.structure
    own = of_structure(structure)
    content = one.piece.content
    if isinstance(content, dict) and isinstance(content.get("cif"), str):
        content = content["cif"]
    if isinstance(content, dict):
        return explained(own, _json_by_hand(content))
    form = "cif" if "_cell" in content else "poscar" if one.piece.form == "poscar" else "extxyz"
    readers = {"cif": CIF_READERS, "poscar": POSCAR_READERS, "extxyz": XYZ_READERS}[form]
    return explained(own, by_others(content, readers), content if form == "cif" else "")


def _json_by_hand(value: Mapping[str, Any]) -> dict[str, Crystal | str]:
    """Return the crystal of a JSON object by its words alone."""
    value = value.get("structure", value)
    try:
        if "sites" in value:
            symbols = [re.sub(r"[^A-Za-z]", "", site["species"][0]["element"]) for site in value["sites"]]
            return {"by hand": crystal(symbols, value["lattice"]["matrix"], [site["abc"] for site in value["sites"]])}
        if "atom_types" in value:
            return {"pymatgen": of_structure(Structure.from_spacegroup("P1", _parameters(value), *_sites(value)))}
        cell = value["lattice_vectors"]
        whole = Structure(cell, value["species_at_sites"], value["cartesian_site_positions"], coords_are_cartesian=True)
        return {"pymatgen": of_structure(whole)}
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return {"by hand": f"{type(error).__name__}: {error}"}


def _parameters(value: Mapping[str, Any]) -> Any:
    from pymatgen.core import Lattice

    return Lattice.from_parameters(*value["lengths"], *value["angles"])


def _sites(value: Mapping[str, Any]) -> tuple[list[str], Any]:
    return [Chem.GetPeriodicTable().GetElementSymbol(int(z)) for z in value["atom_types"]], value["frac_coords"]


def _compared_molecule(one: Found, entry: Entry) -> dict[str, str]:
    structure: Any = entry.structure
    own = {str(symbol): int(n) for symbol, n in structure.composition.as_dict().items()}
    content = one.piece.content
    try:
        if one.piece.form == "extxyz":
            return {} if own == atoms_by_lines(content) else {"lines": "unexplained: atoms"}
        smiles = content.get("smiles") if isinstance(content, dict) else content
        if not isinstance(smiles, str):
            symbols = Counter(site["species"][0]["element"] for site in content["sites"])
            return {} if own == dict(symbols) else {"by hand": "unexplained: atoms"}
        atoms, charge = molecule_by_rdkit(smiles, "sdf" if one.piece.form == "sdf" else "smi")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        return {"other": f"refused by the other reader: {type(error).__name__}"}
    if own == atoms and charge == structure.charge:
        return {}
    return {"RDKit": f"unexplained: {own} {structure.charge:+g}, by RDKit {atoms} {charge:+d}"}
