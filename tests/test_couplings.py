"""Tables and sums of the networks, equal to those of e3nn and PyTorch Geometric."""

import math
import subprocess
import sys
from itertools import product

import pytest
import torch
from e3nn import o3
from torch_geometric.utils import scatter, softmax

from matgen.nn.couplings import harmonics, wigner_3j
from matgen.nn.pooling import averaged, softmax_within, summed

D = torch.float64

TRIANGLES = [
    degrees
    for degrees in product(range(3), repeat=3)
    if abs(degrees[0] - degrees[1]) <= degrees[2] <= degrees[0] + degrees[1]
]


@pytest.mark.parametrize("degrees", TRIANGLES)
def test_the_3j_symbols_are_those_of_e3nn(degrees: tuple[int, int, int]) -> None:
    ours, theirs = wigner_3j(*degrees), o3.wigner_3j(*degrees, dtype=D)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-15)  # rounding
    assert math.isclose(float(ours.norm()), 1.0)


def test_the_harmonics_are_those_of_e3nn() -> None:
    directions = torch.randn(20, 3, dtype=D, generator=torch.Generator().manual_seed(0))
    theirs = o3.spherical_harmonics([0, 1, 2], directions, normalize=False, normalization="component")
    torch.testing.assert_close(harmonics(directions), theirs, rtol=1e-14, atol=1e-14)


def test_sums_means_and_softmax_are_those_of_pytorch_geometric() -> None:
    generator = torch.Generator().manual_seed(0)
    values = 5 * torch.randn(30, 4, dtype=D, generator=generator)
    owner = torch.randint(6, (30,), generator=generator)
    owner[owner == 3] = 2  # one owner has no rows
    torch.testing.assert_close(summed(values, owner, 6), scatter(values, owner, dim_size=6))
    torch.testing.assert_close(averaged(values, owner, 6), scatter(values, owner, dim_size=6, reduce="mean"))
    torch.testing.assert_close(softmax_within(values, owner, 6), softmax(values, owner, num_nodes=6))


def test_the_softmax_has_the_slopes_of_pytorch_geometrics() -> None:
    owner = torch.tensor([0, 0, 1, 1, 1])
    values = torch.randn(5, 2, dtype=D, generator=torch.Generator().manual_seed(1), requires_grad=True)
    weight = torch.randn(5, 2, dtype=D, generator=torch.Generator().manual_seed(2))
    (ours,) = torch.autograd.grad((softmax_within(values, owner, 2) * weight).sum(), values)
    (theirs,) = torch.autograd.grad((softmax(values, owner, num_nodes=2) * weight).sum(), values)
    torch.testing.assert_close(ours, theirs)


def test_a_design_loads_no_compiler_and_no_plotting() -> None:
    slow = ["torch._dynamo", "e3nn", "torch_geometric", "matplotlib", "pandas", "sympy", "scipy.stats"]
    code = f"import sys, matgen.workflows.design; print([name for name in {slow} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
