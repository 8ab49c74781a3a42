"""Rules of the code: imports point one way, a light import of matgen, and sound textbook structures."""

import ast
import runpy
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spglib
import torch
from ase.data import covalent_radii
from conftest import TextbookEntry
from pymatgen.core import Composition, Structure
from test_molecule_training import table as molecules

from matgen.batch.state import State
from matgen.datasets.crystals import CrystalTable
from matgen.datasets.shards import shard_name, write_manifest, write_shard
from matgen.energies.base import Energy
from matgen.runtime.late import Late
from matgen.structures.candidate import Candidate
from matgen.structures.symmetry import space_group

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "matgen"

# A package may import packages of its own rank or below. A new package gets its place here.
RANKS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "runtime"}),
    frozenset({"batch", "chemistry"}),
    frozenset({"rules", "targets", "templates"}),
    frozenset({"energies.base", "nn"}),
    frozenset({"structures", "weights"}),
    frozenset({"datasets"}),
    frozenset({"checks", "energies", "hull", "novelty", "relaxation", "samplers", "training"}),
    frozenset({"first_principles", "metrics", "phonons"}),
    frozenset({"generation"}),
    frozenset({"screening"}),
    frozenset({"evaluation", "installation", "interchange", "learning", "search"}),
    frozenset({"report"}),
    frozenset({"workflows"}),
    frozenset({"cli", "jobflow", "testing"}),
)
RANK = {package: rank for rank, packages in enumerate(RANKS) for package in packages}

# Of one rank, but independent of each other; higher ranks combine them.
SIBLINGS = frozenset({"checks", "energies", "hull", "novelty", "relaxation", "samplers", "training"})

# The interface of energies, which networks and samplers may know.
BASES = frozenset({"matgen.energies.base", "matgen.energies.sharing"})

# Entry points, which may import late so that `matgen --help` answers in under a second.
ENTRY_POINTS = frozenset({"__init__", "__main__", "cli"})


def package_of(module: str) -> str:
    """Name the package of a dotted module: templates for matgen.templates.expand."""
    parts = module.split(".")
    if module in BASES:
        return "energies.base"
    return parts[1] if len(parts) > 1 else "__init__"


def dotted(path: Path, root: Path) -> str:
    """Turn <root>/matgen/templates/expand.py into matgen.templates.expand."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def own_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every import of matgen below a node (lint bans relative ones)."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, name.name) for name in names if name.name.split(".")[0] == "matgen")
            case ast.ImportFrom(module="matgen", names=names):
                yield from ((node.lineno, f"matgen.{name.name}") for name in names)
            case ast.ImportFrom(module=str(module)) if module.startswith("matgen."):
                yield node.lineno, module


def faults(source: str, module: str) -> Iterator[str]:
    """Say what is wrong with the imports of one module of matgen."""
    tree = ast.parse(source)
    package = package_of(module)
    if package not in ENTRY_POINTS and package not in RANK:
        yield f"{module}: the package `{package}` has no rank yet; give it one in tests/test_house.py"
        return
    for line, name in own_imports(tree):
        target = package_of(name)
        if target not in RANK:  # a name of the package itself, such as __version__
            continue
        if package in RANK and RANK[target] > RANK[package]:
            yield f"{module}:{line}: `{package}` imports `{target}`, which stands above it"
        if package in SIBLINGS and target in SIBLINGS and package != target:
            yield f"{module}:{line}: `{package}` imports its sibling `{target}`; join them in a workflow"
    if package in ENTRY_POINTS:
        return
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for line, name in own_imports(function):
                yield f"{module}:{line}: `{name}` is imported inside {function.name}(); move it to the top"


def test_imports_point_one_way_and_stand_at_the_top_of_the_file() -> None:
    found = [
        fault
        for path in sorted(PACKAGE.rglob("*.py"))
        for fault in faults(path.read_text(encoding="utf-8"), dotted(path, REPOSITORY))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("matgen.batch.state", "from matgen.templates import expand", "stands above it"),
        ("matgen.energies.rules", "import matgen.samplers.langevin", "its sibling"),
        ("matgen.nn.trunk", "from matgen import workflows", "stands above it"),
        ("matgen.structures.conversion", "def f():\n    from matgen.batch.state import State", "inside f()"),
        ("matgen.misc", "x = 1", "no rank yet"),
    ],
)
def test_the_import_rule_notices(module: str, source: str, complaint: str) -> None:
    assert [complaint in fault for fault in faults(source, module)] == [True]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("matgen.cli", "def f():\n    from matgen.workflows import design"),
        ("matgen.energies.rules", "from matgen.energies.prior import Prior\nfrom matgen import __version__"),
        ("matgen.samplers.hybrid", "import torch\nfrom matgen.energies.base import Energy"),
    ],
)
def test_the_import_rule_lets_pass(module: str, source: str) -> None:
    assert list(faults(source, module)) == []


def test_importing_matgen_loads_nothing_heavy() -> None:
    heavy = ["torch", "e3nn", "pymatgen", "numpy", "ase", "chgnet", "typer"]
    code = f"import sys, matgen; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert answer.stdout.strip() == "[]"


def shown(section: str) -> dict[str, Any]:
    """What the first snippet of a section of CONTRIBUTING defines."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    source = text.split(f"## {section}\n")[1].split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(textwrap.dedent(source), "CONTRIBUTING.md", "exec"), names)  # noqa: S102 (our own page)
    return names


ABSENT = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
"""A program in whose interpreter these packages cannot be imported."""


BARE = (
    *("ase", "chgnet", "moyopy", "posebusters", "pyarrow", "pymatgen", "pyxtal", "rdkit", "rich", "smact"),
    *("spglib", "tblite", "typer", "vesin"),
)
"""Packages that a machine with a GPU and little else lacks."""


def bare_training(kind: str, size: dict[str, Any], table: Path, folder: Path, more: str = "") -> str:
    """A program that trains for two steps in an interpreter without these packages."""
    return ABSENT.format(names=BARE) + textwrap.dedent(
        f"""
        from matgen.batch import neighbors
        neighbors.by_vesin = neighbors.by_images  # as on a GPU
        import matgen.training.run
        from matgen.training.config import train_config
        config = {{
            "kind": {kind!r}, "model": {size}, "data": {str(table)!r},
            "folder": {str(folder)!r}, "schedule": {{"steps": 2, "batch_size": 8}}, {more}
        }}
        print(matgen.training.run.train(train_config(config)).path)
        assert not {{name.split(".")[0] for name in sys.modules}} & set({BARE})
        """
    )


@pytest.mark.parametrize("kind", ["structure_properties", pytest.param("graph_energy", marks=pytest.mark.slow)])
def test_training_needs_torch_and_little_else(kind: str, prepared_table: Path, tmp_path: Path) -> None:
    table = CrystalTable.load(prepared_table)
    write_shard(table, tmp_path / shard_name(0), {})
    write_manifest(tmp_path, {shard_name(0): len(table)}, {})
    size = {"trunk": {"channels": 4, "layers": 1, "n_radial": 4}, "hidden": 8}
    code = bare_training(kind, size, tmp_path, tmp_path / "run", '"heads": 1')
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert Path(answer.stdout.splitlines()[-1]).is_file()


def test_training_on_molecules_needs_no_rdkit(tmp_path: Path) -> None:
    molecules().save(tmp_path / "molecules.npz")
    size = {"trunk": {"channels": 4, "layers": 1, "n_radial": 4, "graphs": True}, "hidden": 8}
    code = bare_training("molecule_energy", size, tmp_path / "molecules.npz", tmp_path / "run")
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert answer.returncode == 0, answer.stderr[-2000:]


def test_a_late_package_is_imported_at_first_use() -> None:
    asked: list[int] = []
    colours = Late("colorsys", lambda: asked.append(1))
    assert not asked
    assert colours.rgb_to_hsv(1.0, 0.0, 0.0) == (0.0, 1.0, 1.0)
    assert "rgb_to_hsv" in vars(colours)
    assert colours.hsv_to_rgb(0.0, 1.0, 1.0) == (1.0, 0.0, 0.0)
    assert asked == [1]
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        _ = Late("nothing_of_this_name").some


def test_the_energy_that_contributing_shows_works() -> None:
    energy_shown: type[Energy] = shown("Add an energy in ten lines")["RoomyCell"]
    # Two atoms in 8 Å³ lack 6 of the 10 Å³ that each should have; one atom in 27 Å³ lacks nothing.
    state = State.of(
        torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]),
        torch.tensor([3, 9, 11]),
        torch.stack([2.0 * torch.eye(3), 3.0 * torch.eye(3)]),
        torch.ones(2, 3, dtype=torch.bool),
        torch.tensor([0, 0, 1]),
    )
    energy = 3.0 * energy_shown(10.0, spread=2.0)
    torch.testing.assert_close(energy(state, torch.zeros(2)), torch.tensor([13.5, 0.0]))


def test_the_check_that_contributing_shows_works(textbook: tuple[TextbookEntry, ...]) -> None:
    names = shown("Add a check in ten lines")
    salt = textbook[0].structure
    many = Structure(salt.lattice, ["Li", "Na", "K", "O", "S"], np.linspace(0.0, 0.8, 5)[:, None] * np.ones(3))
    for structure, passed in ((salt, True), (many, False)):
        candidate = Candidate("one", structure, structure, space_group(structure))
        verdicts = names["validate"](candidate, names["checks"])
        assert verdicts["few_elements"].passed is passed
        assert passed or not names["survives"](verdicts)


def test_the_property_that_contributing_shows_works() -> None:
    entry = shown("Add a property")["bulk_modulus"]
    assert entry.lowest < 100.0 < entry.highest


# ---------------------------------------------------------------- the textbook structures


def test_the_textbook_set_is_broad(textbook: tuple[TextbookEntry, ...]) -> None:
    assert len(textbook) >= 60
    assert len({entry.prototype for entry in textbook}) >= 40
    # Every crystal system, by the first group number above each.
    systems = np.searchsorted([2, 15, 74, 142, 167, 194, 230], [entry.space_group for entry in textbook])
    assert set(systems.tolist()) == set(range(7))


def test_textbook_files_and_index_agree(textbook: tuple[TextbookEntry, ...]) -> None:
    files = [entry.file for entry in textbook]
    assert sorted(path.name for path in (REPOSITORY / "data" / "textbook").glob("*.cif")) == sorted(files)
    for entry in textbook:
        assert entry.source, f"{entry.file} names no source"
        assert entry.band_gap is None or 0.0 <= entry.band_gap < 15.0, f"{entry.file}: {entry.band_gap} eV"


def test_textbook_compositions_match_their_formula(textbook: tuple[TextbookEntry, ...]) -> None:
    # The formula is written by hand, the composition follows from sites and their multiplicities.
    for entry in textbook:
        assert entry.structure.composition.reduced_composition == Composition(entry.formula), entry.file


def test_textbook_space_groups_are_found_by_spglib(textbook: tuple[TextbookEntry, ...]) -> None:
    for entry in textbook:
        structure = entry.structure
        cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
        assert spglib.get_symmetry_dataset(cell, symprec=1e-3).number == entry.space_group, entry.file


def test_textbook_distances_are_sane(textbook: tuple[TextbookEntry, ...]) -> None:
    # Nearest neighbours over the sum of covalent radii: 0.77 (W–O of CuWO4) to 1.22 (Cl of BiOCl) in these
    # structures; a misread setting or a slipped digit puts atoms on top of each other or far apart.
    for entry in textbook:
        centre, neighbour, _, distance = entry.structure.get_neighbor_list(5.0)
        radii = covalent_radii[np.array(entry.structure.atomic_numbers)]
        ratio = distance / (radii[centre] + radii[neighbour])
        nearest = np.array([ratio[centre == atom].min() for atom in range(len(entry.structure))])
        assert nearest.min() > 0.75, f"{entry.file}: {nearest.min():.2f}"
        assert nearest.max() < 1.25, f"{entry.file}: {nearest.max():.2f}"


def test_textbook_cifs_follow_from_the_table(textbook: tuple[TextbookEntry, ...]) -> None:
    script = runpy.run_path(str(REPOSITORY / "scripts" / "build" / "build_textbook_structures.py"))
    table = tomllib.loads((REPOSITORY / "data" / "textbook" / "structures.toml").read_text(encoding="utf-8"))
    built = {entry.file: (entry, structure) for entry, structure in script["entries"](table)}
    assert set(built) == {entry.file for entry in textbook}
    for shipped in textbook:
        entry, structure = built[shipped.file]
        columns = [field.name for field in fields(entry) if field.name != "band_gap"]
        assert all(getattr(entry, name) == getattr(shipped, name) for name in columns), shipped.file
        assert (float(entry.band_gap) if entry.band_gap else None) == shipped.band_gap, shipped.file
        assert same_crystal(structure, shipped.structure), f"{shipped.file}: rerun the script that builds it"


def same_crystal(one: Structure, other: Structure) -> bool:
    """Compare two cells by lattice constants and all distances: blind to origin and order of the atoms."""
    if len(one) != len(other):
        return False
    distances, others = (np.sort(structure.distance_matrix, axis=None) for structure in (one, other))
    # A CIF carries eight decimals; the set-up that writes it snaps coordinates to their site.
    return np.allclose(one.lattice.parameters, other.lattice.parameters, atol=1e-5) and np.allclose(
        distances, others, atol=1e-3
    )
