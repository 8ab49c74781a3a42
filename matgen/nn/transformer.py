"""A pre-norm transformer over short sequences."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Self-attention and a feed-forward layer, both residual."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_hidden = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """X (batch, length, width); allowed (batch or 1, 1, length, length), True where attention is allowed."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, length, width)))
        return x + self.dropout(self.hidden(self.norm_hidden(x)))


class Transformer(nn.Module):
    """A stack of blocks and a final norm."""

    def __init__(self, width: int, layers: int, heads: int, *, expansion: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, expansion * width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Return hidden states (batch, length, width)."""
        for block in self.blocks:
            x = block(x, allowed)
        return self.norm(x)


def causal(length: int, device: torch.device) -> Tensor:
    """Return the mask by which each token sees itself and those before it (1, 1, length, length)."""
    return torch.ones(1, 1, length, length, dtype=torch.bool, device=device).tril()


def padded_attention(present: Tensor) -> Tensor:
    """Return the mask by which tokens see those that are present (batch, 1, length, length); padding sees itself."""
    length = present.shape[1]
    eye = torch.eye(length, dtype=torch.bool, device=present.device)
    return (present[:, None, None, :] | eye[None, None]).expand(-1, 1, length, length)
