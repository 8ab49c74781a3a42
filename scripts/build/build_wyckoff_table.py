"""Write matgen/templates/wyckoff.npz: every Wyckoff position of the 230 space groups, taken from pyxtal.

Run once per pyxtal release: `python scripts/build/build_wyckoff_table.py`. The table contains small integers, so that
training and sampling need only numpy and torch.
"""

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np
from pymatgen.core.operations import SymmOp
from pyxtal.symmetry import Group

TARGET = Path(__file__).resolve().parents[2] / "matgen" / "templates" / "wyckoff.npz"
CENTRINGS = {
    "P": [(0, 0, 0)],
    "A": [(0, 0, 0), (0, 12, 12)],
    "C": [(0, 0, 0), (12, 12, 0)],
    "I": [(0, 0, 0), (12, 12, 12)],
    "F": [(0, 0, 0), (0, 12, 12), (12, 0, 12), (12, 12, 0)],
    "R": [(0, 0, 0), (16, 8, 8), (8, 16, 16)],
}


def twentyfourths(values: np.ndarray) -> np.ndarray:
    """Return exact numerators of fractions over 24, wrapped to [0, 24)."""
    scaled = [int(Fraction(float(v)).limit_denominator(24) * 24) for v in np.ravel(values)]
    assert np.allclose(np.ravel(values) * 24, scaled, atol=1e-3), values
    return np.array(scaled).reshape(np.shape(values)) % 24


def integers(matrix: np.ndarray) -> np.ndarray:
    """Return an integral matrix as integers."""
    rounded = np.rint(matrix).astype(int)
    assert np.allclose(matrix, rounded, atol=1e-6), matrix
    return rounded


def primitive_members(ops: list[SymmOp], centring: list[tuple[int, int, int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (matrix, shift) of each orbit member modulo centring translations, in pyxtal's order."""
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    seen: set[tuple[int, ...]] = set()
    for op in ops:
        matrix, shift = integers(op.rotation_matrix), twentyfourths(op.translation_vector)
        keys = {(*matrix.ravel().tolist(), *((shift + np.array(c)) % 24).tolist()) for c in centring}
        if not keys & seen:
            kept.append((matrix, shift))
        seen |= keys
    assert len(kept) * len(centring) == len(ops)
    return kept


def general_operation(
    member: tuple[np.ndarray, np.ndarray],
    first: tuple[np.ndarray, np.ndarray],
    general: list[SymmOp],
) -> np.ndarray:
    """Return the rotation part of an operation that maps the first member to this one."""
    for op in general:
        rotation, shift = integers(op.rotation_matrix), twentyfourths(op.translation_vector)
        same_matrix = np.array_equal(rotation @ first[0], member[0])
        if same_matrix and np.array_equal((rotation @ first[1] + shift) % 24, member[1]):
            return rotation
    message = "no operation of the group maps the first member to this one"
    raise AssertionError(message)


def contains(position: list[SymmOp], point: np.ndarray) -> bool:
    """Return whether a point lies on an orbit of this position."""
    for op in position:
        matrix, shift = op.rotation_matrix, op.translation_vector
        for wrap in np.ndindex(3, 3, 3):
            target = point - shift + np.array(wrap) - 1
            u = np.linalg.lstsq(matrix, target, rcond=None)[0]
            if np.allclose(matrix @ u, target, atol=1e-6):
                return True
    return False


def oriented(images: list[int], op: SymmOp, positions: list) -> list[int]:
    """Return the published permutation of letters in the direction in which letter i moves to letter images[i]."""
    rng = np.random.default_rng(0)
    inverse = list(np.argsort(images))
    for candidate in (images, inverse):
        for letter, position in enumerate(positions):
            if candidate[letter] == letter:
                continue
            point = op.operate(position.ops[0].operate(rng.random(3)))
            if not contains(positions[candidate[letter]].ops, point % 1.0):
                break
        else:
            return candidate
    message = f"neither direction of {images} describes {op.as_xyz_str()}"
    raise AssertionError(message)


def dtype(column: str) -> str:
    """Return the smallest type of a column."""
    if column == "group_centring":
        return "U1"
    return "int32" if "offset" in column else "int16"


def main() -> None:
    """Collect all groups and write the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    columns: dict[str, list] = {
        name: []
        for name in [
            "position_group",
            "position_letter",
            "position_dof",
            "position_free",
            "position_offset",
            "matrix",
            "shift",
            "rotation",
            "group_offset",
            "group_centring",
            "group_free_axis",
            "alternative_offset",
            "alternative_rotation",
            "alternative_shift",
            "alternative_letters_offset",
            "alternative_letters",
        ]
    }
    for number in range(1, 231):
        group = Group(number)
        centring = CENTRINGS[group.symbol[0]]
        columns["group_offset"].append(len(columns["position_group"]))
        columns["group_centring"].append(group.symbol[0])
        positions = group.Wyckoff_positions[::-1]  # letter a first
        general = group.Wyckoff_positions[0].ops
        nullspace = np.ones(3, dtype=bool)
        for op in general:
            nullspace &= np.all(integers(op.rotation_matrix) == np.eye(3, dtype=int), axis=0)
        columns["group_free_axis"].append(nullspace)
        for letter, position in enumerate(positions):
            members = primitive_members(position.ops, centring)
            free = np.any(members[0][0] != 0, axis=0)
            assert free.sum() == position.get_dof(), (number, position.letter)
            columns["position_group"].append(number)
            columns["position_letter"].append(letter)
            columns["position_dof"].append(int(free.sum()))
            columns["position_free"].append(free)
            columns["position_offset"].append(len(columns["matrix"]))
            for member in members:
                columns["matrix"].append(member[0])
                columns["shift"].append(member[1])
                columns["rotation"].append(general_operation(member, members[0], general))
        columns["alternative_offset"].append(len(columns["alternative_rotation"]))
        alternatives = group.get_alternatives()
        for text, letters in zip(alternatives["Coset Representative"], alternatives["Transformed WP"], strict=True):
            op = SymmOp.from_xyz_str(text)
            columns["alternative_rotation"].append(integers(op.rotation_matrix))
            columns["alternative_shift"].append(twentyfourths(op.translation_vector))
            columns["alternative_letters_offset"].append(len(columns["alternative_letters"]))
            images = ["abcdefghijklmnopqrstuvwxyzA".index(c) for c in letters.split()]
            assert len(images) == len(positions), (number, letters)
            columns["alternative_letters"].extend(oriented(images, op, positions))
    for name, end in (
        ("position_offset", "matrix"),
        ("group_offset", "position_group"),
        ("alternative_offset", "alternative_rotation"),
        ("alternative_letters_offset", "alternative_letters"),
    ):
        columns[name].append(len(columns[end]))
    arrays = {name: np.array(values, dtype=dtype(name)) for name, values in columns.items()}
    np.savez_compressed(TARGET, **arrays)
    print({name: array.shape for name, array in arrays.items()}, TARGET.stat().st_size)


if __name__ == "__main__":
    main()
