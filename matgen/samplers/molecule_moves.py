"""Metropolis–Hastings moves on molecules.

The target is exp(-E/T) over *molecules*. An edit acts on labelled kekulised skeletons s, of which a molecule m has
N(m) = n! / |Aut| × Kekulé forms: a move samples one of them uniformly, edits it with a known ratio of probabilities,
and so proposes m' through s → s' with

    log q(new | old) - log q(old | new) = log q(s' | s) - log q(s | s') + log N(m') - log N(m),

which is detailed balance for every pair (s, s') and thus for molecules. Edits do not depend on the numbering of atoms,
so that sampling among its n! / |Aut| choices can be left out. Moves ignore stereo: they lead to molecules without any.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from matgen.samplers.metropolis import Move
from matgen.samplers.molecule_edits import Dice, Edit, exchange, insert, rebond, resize, retype, shift, swap, transfer
from matgen.templates.batch import Template, molecules_of
from matgen.templates.molecule import MoleculeError, MoleculeTemplate
from matgen.templates.molecule_rules import MoleculeRules
from matgen.templates.skeleton import ATOM_TYPES, N_TYPES, labelled

N_PARAMETERS = 8
"""Random numbers for one edit, one more than any uses."""


def molecule_move(edit: Edit, rules: MoleculeRules) -> Move:
    """Return a move on molecules; proposals that are no molecules, or break the rules, become no change."""

    def move(templates: Sequence[Template], generator: torch.Generator) -> tuple[list[Template], Tensor]:
        shape = (len(templates), N_PARAMETERS)
        numbers = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64).tolist()
        found = [
            _proposed(edit, rules, old, Dice(row)) for old, row in zip(molecules_of(templates), numbers, strict=True)
        ]
        return [new for new, _ in found], torch.tensor([log_q for _, log_q in found], dtype=torch.float64)

    return move


def standard_moves(rules: MoleculeRules) -> dict[str, Move]:
    """Return all moves by name, with atoms that the rules allow; under a composition only those that keep the formula.

    Ions arise only by `transfer`, so that the net charge is kept.
    """
    types = [kind for kind in range(N_TYPES) if ATOM_TYPES[kind][0] in rules.allowed_elements]
    neutral = [kind for kind in types if ATOM_TYPES[kind][1] == 0]
    keeping: dict[str, Edit] = {"swap": swap, "shift": shift, "exchange": exchange, "transfer": transfer}
    changing: dict[str, Edit] = {
        "retype": retype(types),
        "rebond": rebond,
        "resize": resize(neutral),
        "insert": insert(neutral),
    }
    edits = keeping if rules.composition else changing | keeping
    return {name: molecule_move(edit, rules) for name, edit in edits.items()}


def _proposed(edit: Edit, rules: MoleculeRules, old: MoleculeTemplate, dice: Dice) -> tuple[MoleculeTemplate, float]:
    """Return a proposal and its log ratio; the old molecule and zero where no valid proposal is found."""
    here = labelled(old)
    found = edit(dice.pick(here.skeletons), dice)
    if found is None or not found[0].is_legal or found[0].charge != rules.charge:
        return old, 0.0
    try:
        new = found[0].template()
        if new == old or not rules.satisfied(new):
            return old, 0.0
        return new, found[1] + labelled(new).log_labellings - here.log_labellings
    except MoleculeError:
        return old, 0.0
