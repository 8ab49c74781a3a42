"""Functions of distance that are bounded as two atoms meet and vanish smoothly at the cutoff."""

import torch
from torch import Tensor, nn


def envelope(distance: Tensor, cutoff: float, p: int = 6) -> Tensor:
    """Return the polynomial cutoff with two continuous derivatives (Gasteiger et al. 2020, eq. 8)."""
    x = (distance / cutoff).clamp(max=1.0)
    a, b, c = (p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2
    return 1 - a * x**p + b * x ** (p + 1) - c * x ** (p + 2)


class GaussianBasis(nn.Module):
    """Equally spaced Gaussians of the distance."""

    centres: Tensor

    def __init__(self, n: int, cutoff: float) -> None:
        super().__init__()
        self.register_buffer("centres", torch.linspace(0, cutoff, n), persistent=False)
        self.width = cutoff / (n - 1)

    def forward(self, distance: Tensor) -> Tensor:
        """(n_edges,) in Å → (n_edges, n)."""
        return torch.exp(-0.5 * ((distance[:, None] - self.centres) / self.width) ** 2)


def softened(vectors: Tensor, length: float = 0.3) -> tuple[Tensor, Tensor]:
    """Return directions r / √(r² + length²) and distances, both smooth where two atoms meet.

    Returns:
        Vectors of norm below one (n_edges, 3) and distances √(r² + 1e-6) (n_edges,), Å.
    """
    square = (vectors**2).sum(-1)
    return vectors / (square + length**2).sqrt()[:, None], (square + 1e-6).sqrt()
