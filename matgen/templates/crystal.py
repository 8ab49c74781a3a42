"""The discrete half of a crystal."""

from dataclasses import dataclass

from matgen.chemistry.elements import SYMBOLS
from matgen.templates.wyckoff import multiplicities, wyckoff_table


@dataclass(frozen=True)
class CrystalTemplate:
    """Space group and occupied Wyckoff positions of one crystal.

    Attributes:
        space_group: 1..230.
        sites: (row of the Wyckoff table, atomic number) of each site, ascending.
    """

    space_group: int
    sites: tuple[tuple[int, int], ...]

    @property
    def composition(self) -> dict[int, int]:
        """Number of atoms of each element in the primitive cell, by atomic number."""
        atoms, counts = multiplicities(), dict.fromkeys((z for _, z in self.sites), 0)
        for position, element in self.sites:
            counts[element] += atoms[position]
        return dict(sorted(counts.items()))

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the primitive cell."""
        return sum(multiplicities()[position] for position, _ in self.sites)

    @property
    def formula(self) -> str:
        """Formula of the primitive cell in order of atomic number, such as `Na1Cl1`."""
        return "".join(f"{SYMBOLS[z]}{n}" for z, n in self.composition.items())

    def __str__(self) -> str:
        table = wyckoff_table()
        return f"{self.space_group}: " + ", ".join(f"{table.label(p)} {SYMBOLS[z]}" for p, z in self.sites)
