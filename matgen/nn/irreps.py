"""Features of degree 0, 1 and 2 in e3nn's basis: products and linear maps.

A feature array is (n, 9, channels): one scalar (0e), a vector (1o) and a symmetric traceless tensor (2e) per channel,
in e3nn's component order. With parity-odd channels it is (n, 18, channels): the second nine have the opposite parity
(0o, 1e, 2o).
"""

from functools import cache
from itertools import product

import torch
from torch import Tensor, nn

from matgen.nn.couplings import symmetric_basis, wigner_3j
from matgen.runtime.devices import per_device

SLICES = (slice(0, 1), slice(1, 4), slice(4, 9))
DEGREES = (0, 1, 2)
NATURAL_PARITY = (1, -1, 1)  # 0e, 1o, 2e


@cache
def paths(*, odd: bool) -> tuple[tuple[int, int, int, int, int, int], ...]:
    """Return the allowed couplings (l1, s1, l2, s2, l3, s3), s = 0 for natural and 1 for opposite parity."""
    kinds = (0, 1) if odd else (0,)
    found = []
    for l1, s1, l2, s2, l3, s3 in product(DEGREES, kinds, DEGREES, kinds, DEGREES, kinds):
        if (l1, s1) > (l2, s2) or not abs(l1 - l2) <= l3 <= l1 + l2:
            continue
        parity = [NATURAL_PARITY[degree] * (-1) ** s for degree, s in ((l1, s1), (l2, s2), (l3, s3))]
        antisymmetric = (l1, s1) == (l2, s2) and (l1 + l2 + l3) % 2 == 1
        if parity[0] * parity[1] == parity[2] and not antisymmetric:
            found.append((l1, s1, l2, s2, l3, s3))
    return tuple(found)


def component(degree: int, opposite: int) -> slice:
    """Return the slice of an irrep in a feature array."""
    part = SLICES[degree]
    return slice(part.start + 9 * opposite, part.stop + 9 * opposite)


class SelfProduct(nn.Module):
    """Σ_paths w (x ⊗ x → l), channel by channel: the symmetric square of a feature, weighted.

    Equal to e3nn's `TensorProduct` in mode `uuu` on the same paths (tested), as one matrix product.
    """

    coupling: Tensor
    first: Tensor
    second: Tensor
    owner: Tensor
    fold: Tensor

    def __init__(self, channels: int, *, odd: bool) -> None:
        super().__init__()
        size = 18 if odd else 9
        self.paths = paths(odd=odd)
        blocks: list[Tensor] = []
        target: list[int] = []
        owner: list[int] = []
        for index, (l1, s1, l2, s2, l3, s3) in enumerate(self.paths):
            coupling = torch.zeros(size, size, 2 * l3 + 1)
            coupling[component(l1, s1), component(l2, s2)] = (wigner_3j(l1, l2, l3) * (2 * l3 + 1) ** 0.5).float()
            blocks.append(coupling + coupling.transpose(0, 1))
            out = component(l3, s3)
            target += range(out.start, out.stop)
            owner += [index] * (2 * l3 + 1)
        first, second = torch.triu_indices(size, size)
        coupling = torch.cat(blocks, dim=2)[first, second] * (0.5 ** (first == second).float())[:, None]
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("second", second, persistent=False)
        self.register_buffer("coupling", coupling.T.contiguous(), persistent=False)
        self.register_buffer("owner", torch.tensor(owner), persistent=False)
        self.register_buffer("fold", nn.functional.one_hot(torch.tensor(target), size).T.float(), persistent=False)
        self.weight = nn.Parameter(torch.randn(len(self.paths), channels) / len(self.paths) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(n, size, channels) → (n, size, channels)."""
        square = x.index_select(1, self.first) * x.index_select(1, self.second)
        return self.fold @ ((self.coupling @ square) * self.weight.index_select(0, self.owner))


class DegreeLinear(nn.Module):
    """A linear map over channels for each irrep, without bias."""

    kind: Tensor

    def __init__(self, inputs: int, outputs: int, *, odd: bool) -> None:
        super().__init__()
        n_kinds = 6 if odd else 3
        self.weight = nn.Parameter(torch.randn(n_kinds, inputs, outputs) / inputs**0.5)
        self.register_buffer("kind", _kinds(n_kinds), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, size, inputs) → (n, size, outputs)."""
        return (x.transpose(0, 1) @ self.weight.index_select(0, self.kind)).transpose(0, 1)


def _kinds(n_kinds: int) -> Tensor:
    """Return the irrep of each component (9,) or (18,)."""
    sizes = torch.tensor([1, 3, 5] * (n_kinds // 3))
    return torch.repeat_interleave(torch.arange(n_kinds), sizes)


@per_device
def _symmetric_basis() -> Tensor:
    """Return the harmonics of degree 2 as symmetric traceless matrices (5, 3, 3): Y_a(r) = r Q_a r."""
    return symmetric_basis() * (15 / 2) ** 0.5


def symmetric_matrix(tensor: Tensor) -> Tensor:
    """Return symmetric traceless matrices (..., 3, 3) of l = 2 components (..., 5)."""
    return torch.einsum("...a,aij->...ij", tensor, _symmetric_basis(tensor.device).to(tensor.dtype))
