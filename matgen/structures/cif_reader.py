"""Read a crystal from a CIF, as its own words determine it: operations, space group, formula, Z and multiplicities.

The operations in the file are used if they agree with what else it says; otherwise the group that it names, if that
agrees; otherwise the file is refused with the contradiction. Nothing is taken for P1 because its symbol is unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pymatgen.core.lattice import Lattice

from matgen.structures.broken import BrokenStructureError, one_line
from matgen.structures.cif_block import CifBlock
from matgen.structures.cif_settings import Setting, Told, told_settings
from matgen.structures.cif_sites import CifSites, read_sites
from matgen.structures.cif_statements import Statement, statements
from matgen.structures.expansion import Expansion, expand_sites
from matgen.structures.faithful import Faithfulness, FromFile
from matgen.structures.operations import Operations, parsed, products
from matgen.structures.symmetry import space_group

LISTED = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
SYSTEM = ("_space_group_crystal_system", "_symmetry_cell_setting", "_symmetry_crystal_system")
MAGNETIC = "_space_group_symop_magn_operation_xyz"
CENTRING = "_space_group_symop_magn_centering_xyz"
MODULATED = ("_cell_wave_vector", "_space_group_ssg", "_atom_site_fourier", "_space_group_symop_ssg", "_cell_subsystem")
"""Beginnings of items of structures in more than three dimensions."""

ADVICE = "list the symmetry operations"


@dataclass(frozen=True)
class Attempt:
    """The atoms by one set of operations.

    Attributes:
        name: of the operations, in words.
        atoms: of the cell.
        statements: comparisons with the file.
    """

    name: str
    atoms: Expansion
    statements: tuple[Statement, ...]

    @property
    def agrees(self) -> bool:
        """Whether the file contradicts nothing."""
        return not any(one.contradiction for one in self.statements)

    @property
    def confirmed(self) -> bool:
        """Whether the file contradicts nothing, and says how many atoms there are."""
        return self.agrees and any(one.decides for one in self.statements)

    @property
    def contradictions(self) -> str:
        """What the file contradicts."""
        return "; ".join(one.contradiction for one in self.statements if one.contradiction)


@dataclass(frozen=True)
class Choice:
    """An attempt that was chosen, with remarks on why, and what contradicts it beside its statements."""

    attempt: Attempt
    remark: str = ""
    contradiction: str = ""


def read_cif(text: str) -> FromFile:
    """Return the crystal of a CIF, compared with what the file says.

    Raises:
        BrokenStructureError: the file does not determine a crystal, or contradicts itself.
    """
    block = CifBlock.of(text)
    _check_features(block)
    lattice = _lattice(block)
    sites = read_sites(block)
    reader = _Reader(block, sites, lattice)
    choice = reader.choose()
    attempt = choice.attempt
    remarks = [*sites.remarks, *attempt.atoms.remarks, choice.remark]
    if any(name.startswith("_atom_site_moment") for name in block.items):
        remarks.append("magnetic moments are left out")
    contradictions = [one.contradiction for one in attempt.statements if one.contradiction]
    contradictions += [*sites.absent, *([choice.contradiction] if choice.contradiction else [])]
    compared = [one.name for one in attempt.statements] + (["space group"] if reader.told.settings else [])
    return FromFile(
        attempt.atoms.structure(lattice),
        tuple(filter(None, remarks)),
        Faithfulness(tuple(compared), tuple(contradictions)),
    )


@dataclass(frozen=True)
class _Reader:
    """A block with its sites and cell, and the choice among the operations that it may mean."""

    block: CifBlock
    sites: CifSites
    lattice: Lattice

    @property
    def told(self) -> Told:
        """What the file says about its space group; with magnetic operations it is that of a parent, and left aside."""
        return Told() if MAGNETIC in self.block.items else told_settings(self.block)

    def choose(self) -> Choice:
        """Return the atoms by the operations that the file means.

        Raises:
            BrokenStructureError: it does not say, or contradicts itself.
        """
        listed, fault = self._listed()
        told = self.told
        if listed is None and not fault:
            choice = self._by_name(told)
            said = filter(None, (choice.remark, told.respaced, self._left_open(told, choice.attempt)))
            return replace(choice, remark="; ".join(said))
        own = None if listed is None else self._attempt(_name_of(listed), listed)
        if own and not fault and (not told.settings or listed.number in told.numbers):  # type: ignore[union-attr]
            unknown = f"the space group {', '.join(told.unknown)} is unknown" if told.unknown else ""
            if own.atoms.order == 1 and unknown and not own.confirmed:
                return Choice(own, "", f"{unknown}, and it lists the identity alone")
            return Choice(own, unknown, told.conflict if told.types_differ else "")
        return self._despite(own, fault, told)

    def _listed(self) -> tuple[Operations | None, str]:
        """Return the operations of the file, and what is wrong with them; neither if it lists none."""
        texts = next((column for name in LISTED if any(column := self.block.column(name))), [])
        if magnetic := self.block.column(MAGNETIC):
            texts = [text.rpartition(",")[0] for text in magnetic]
        if not texts:
            return None, ""
        try:
            found = parsed(tuple(filter(None, texts)))
            if magnetic and (centring := self.block.column(CENTRING)):
                found = products(found, parsed(tuple(text.rpartition(",")[0] for text in centring)))
        except ValueError as error:
            return None, f"its symmetry operations cannot be read: {one_line(error)}"
        if not found.number:
            return found, f"its {len(found)} symmetry operations are no group; some are missing or wrong"
        if not found.fit(self.lattice.matrix):
            return None, "its symmetry operations do not fit its cell"
        return found, ""

    def _by_name(self, told: Told) -> Choice:
        """Choose the operations of a file that lists none."""
        if not told.words:
            attempt = self._attempt("P 1", parsed(()))
            system = self.block.text(SYSTEM).lower()
            if system and not system.startswith(("tric", "anor")) and not attempt.confirmed:
                raise BrokenStructureError(f"it says {system}, and gives neither space group nor operations; {ADVICE}")
            remark = "" if attempt.confirmed else "it says nothing about symmetry, and is read as P 1"
            return Choice(attempt, remark)
        if not told.settings:
            raise BrokenStructureError(
                f"its space group {told.words} is unknown, and it lists no symmetry operations; {ADVICE}"
            )
        attempts = self._attempts(told.settings) or self._attempts(told.open)
        if not attempts:
            return self._all_atoms(told)
        confirmed = [one for one in attempts if one.confirmed]
        if len(confirmed) == 1 and (len(attempts) > 1 or told.unknown or told.conflict):
            return Choice(confirmed[0], f"read in the setting {confirmed[0].name}, which agrees with Z and formula")
        if told.unknown or told.conflict:
            raise BrokenStructureError(
                f"{told.conflict or 'its space group ' + ', '.join(told.unknown) + ' is unknown'}; {ADVICE}"
            )
        if len(attempts) > 1:
            names = " or ".join(one.name for one in attempts)
            raise BrokenStructureError(
                f"its space group {told.words} does not say which origin or axes are meant, {names}; {ADVICE}"
            )
        several = [one.name for one in told.settings] != [attempts[0].name] and not told.unknown
        return Choice(attempts[0], f"read in the setting {attempts[0].name}" if several else "")

    def _left_open(self, told: Told, chosen: Attempt) -> str:
        """Say that a number alone is read in the standard setting, where another one agrees with the file as well."""
        atoms = _atoms_key(chosen.atoms)
        others = [one for one in self._attempts(told.open) if one.agrees and _atoms_key(one.atoms) != atoms]
        if not others or all(one.name != chosen.name for one in told.settings):
            return ""
        names = " or ".join(one.name for one in others)
        return f"{told.words} alone is read in the standard setting {chosen.name}; {names} would agree with it as well"

    def _all_atoms(self, told: Told) -> Choice:
        """Return the sites as they are, if they have the group that is named though its settings do not fit the cell.

        Programs that list all atoms of a primitive cell do so.
        """
        own = self._attempt("P 1", parsed(()))
        structure = own.atoms.structure(self.lattice)
        if own.agrees and structure.is_ordered and space_group(structure).number in told.numbers:
            return Choice(own, f"all atoms of a primitive cell are listed, which have the space group {told.words}")
        raise BrokenStructureError(f"its space group {told.words} does not fit its cell; {ADVICE}")

    def _despite(self, own: Attempt | None, fault: str, told: Told) -> Choice:
        """Choose where the listed operations are no group, or of another group than the one that is named."""
        fault = fault or f"its symmetry operations are of {own.name if own else ''}, and it names {told.words}"
        named = self._attempts(told.settings)
        if own and own.agrees:
            # All atoms are listed, and the group is that of the whole.
            same = [one for one in named if one.atoms.n_positions == own.atoms.n_positions and one.agrees]
            if same and not own.atoms.remarks:
                return Choice(own, f"all atoms are listed; {fault}")
        confirmed = [one for one in named if one.confirmed]
        if len(confirmed) == 1 and not (own and own.confirmed):
            return Choice(confirmed[0], f"read in {confirmed[0].name}, which agrees with the rest of the file: {fault}")
        if own and own.confirmed:
            return Choice(own, "", fault)
        raise BrokenStructureError(f"it contradicts itself: {fault}; correct it, or {ADVICE} of the whole group")

    def _attempts(self, allowed: Sequence[Setting]) -> list[Attempt]:
        """Return the atoms by each setting that fits the cell; those of equal atoms once.

        Raises:
            BrokenStructureError: in none of them each atom has a position of its own.
        """
        settings = _usual_axis([one for one in allowed if one.operations.fit(self.lattice.matrix)])
        found: dict[object, Attempt] = {}
        fault: BrokenStructureError | None = None
        for setting in settings:
            try:
                attempt = self._attempt(setting.name, setting.operations)
            except BrokenStructureError as error:  # two atoms on one position, in this setting
                fault = error
            else:
                found.setdefault(_atoms_key(attempt.atoms) if len(settings) > 1 else "", attempt)
        if fault and not found:
            raise fault
        return list(found.values())

    def _attempt(self, name: str, operations: Operations) -> Attempt:
        atoms = expand_sites(self.sites.sites, operations, self.lattice)
        return Attempt(name, atoms, tuple(statements(self.block, atoms, self.lattice)))


def _usual_axis(settings: Sequence[Setting]) -> list[Setting]:
    """Leave out other unique axes than b of monoclinic groups where it is possible: the convention of short symbols."""
    usual = [one for one in settings if len(one.name.split()) == 4 and one.name.split()[1::2] == ["1", "1"]]
    return usual if usual and len({one.number for one in settings}) == 1 else list(settings)


def _atoms_key(atoms: Expansion) -> object:
    rows = [
        (tuple(sorted(orbit.amounts.items())), *np.round(coords % 1.0, 4).tolist())
        for orbit in atoms.orbits
        for coords in orbit.coords
    ]
    return tuple(sorted(rows))


def _name_of(operations: Operations) -> str:
    return f"space group {operations.number}" if operations.number else "no group"


def _check_features(block: CifBlock) -> None:
    """Refuse what has no three-dimensional cell."""
    dimension = block.text(("_cell_modulation_dimension",))
    if dimension not in {"", "0"} or any(name.startswith(MODULATED) for name in block.items):
        raise BrokenStructureError("modulated: the file holds the average of a structure that does not repeat")


def _lattice(block: CifBlock) -> Lattice:
    """Return the cell.

    Raises:
        BrokenStructureError: a length or an angle is missing or impossible.
    """
    names = [f"_cell_length_{axis}" for axis in "abc"] + [
        f"_cell_angle_{angle}" for angle in ("alpha", "beta", "gamma")
    ]
    numbers = {name: block.number(name) for name in names}
    for name, number in numbers.items():
        if number is None or number <= 0:
            said = "nothing" if name not in block.items else f"{block.items[name][0][:40]!r}"
            raise BrokenStructureError(f"expected a positive number as {name}, got {said}")
    a, b, c, alpha, beta, gamma = (number for number in numbers.values() if number)
    cosines = np.cos(np.deg2rad([alpha, beta, gamma]))
    if max(alpha, beta, gamma) >= 180 or 1 - (cosines**2).sum() + 2 * cosines.prod() <= 1e-9:
        raise BrokenStructureError(f"its cell has no volume: the angles {alpha:g}°, {beta:g}° and {gamma:g}°")
    return Lattice.from_parameters(a, b, c, alpha, beta, gamma)
