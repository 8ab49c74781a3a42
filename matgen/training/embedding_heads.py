"""Heads on frozen embeddings: fitted to many properties together, or to one property by ridge regression.

Many labels train the hidden layer and all that reads it by maximum likelihood. The few labels of a single property are
fitted by ridge regression on the embedding and on a hidden layer that was trained for other properties; the penalty is
chosen by cross-validation, in which the rows of one formula stay together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from matgen.nn.embedding_heads import OFFSET, SMALLEST_SCALE, EmbeddingHeads, HeadsConfig
from matgen.targets.distributions import Logistic, Mixture, cdf

BATCH, LEARNING_RATE, DECAY = 256, 2e-3, 1e-2

PENALTIES = tuple(10.0 ** (0.5 * k) for k in range(-2, 11))
"""Candidates for the penalty of the ridge regression."""

HIDDEN_WEIGHT = 3.0
"""Factor on hidden units in the ridge regression: they were trained for properties, and are penalised less."""

FOLDS = 5

TEMPERATURES = torch.logspace(-1, 1, 81)


def fit_together(
    heads: EmbeddingHeads, embedded: Tensor, labels: Tensor, epochs: int, dropout: float = 0.1, seed: int = 0
) -> None:
    """Fit heads to standardised labels, in place, by Adam with decay and a rate that falls to zero on a cosine.

    Args:
        heads: whose mean and standard deviation of the embeddings are set as well.
        embedded: of the rows by each member (members, n_rows, width).
        labels: standardised (n_rows, n_properties), NaN where unknown.
        epochs: passes over the rows.
        dropout: share of the hidden units that is left out at each step.
        seed: of order and dropout; the initial parameters are those of the heads.
    """
    heads.mean, heads.std = embedded.mean(1), embedded.std(1).clamp_min(1e-3)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
    steps, done, width = epochs * math.ceil(len(labels) / BATCH), 0, embedded.shape[-1]
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * done / steps))
            features = heads.features(embedded[:, rows])
            kept = torch.rand(features[..., width:].shape, generator=generator) >= dropout
            features = torch.cat([features[..., :width], features[..., width:] * kept / (1 - dropout)], dim=-1)
            loss = _likelihood(*heads.standardised(features), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            done += 1
    heads.requires_grad_(requires_grad=False)


def _likelihood(loc: Tensor, scale: Tensor, labels: Tensor) -> Tensor:
    """Return the sum over members and properties of the mean negative log-likelihood of the known labels."""
    known = labels.isfinite()
    u = (torch.where(known, labels, 0.0) - loc) / scale
    lost = scale.log() - F.logsigmoid(u) - F.logsigmoid(-u)
    return (torch.where(known, lost, 0.0).sum(1) / known.sum(0).clamp_min(1)).sum()


def temperatures(loc: Tensor, scale: Tensor, labels: Tensor) -> Tensor:
    """Return the factor of the scale of each property that makes the mixture of the members likeliest.

    Args:
        loc: of held-out rows by each member (members, n_rows, n_properties).
        scale: likewise.
        labels: standardised (n_rows, n_properties), NaN where unknown.
    """
    found = []
    for place in range(labels.shape[1]):
        known = labels[:, place].isfinite()
        if not known.any():
            found.append(1.0)
            continue
        y, own = labels[known, place], (loc[:, known, place], scale[:, known, place])
        likelihood = [float(mixture(own[0], own[1] * t).log_prob(y).mean()) for t in TEMPERATURES]
        found.append(float(TEMPERATURES[max(range(len(likelihood)), key=likelihood.__getitem__)]))
    return torch.tensor(found)


def mixture(loc: Tensor, scale: Tensor) -> Mixture:
    """Return the even mixture of the members (members, n_rows)."""
    return Mixture(tuple(Logistic(one, own) for one, own in zip(loc, scale, strict=True)))


def covered(loc: Tensor, scale: Tensor, labels: Tensor, level: float = 0.9) -> float:
    """Return the share of labels (n_rows,) within the central interval of the mixture of the members."""
    rank = cdf(mixture(loc, scale), labels)
    return float(((rank >= (1 - level) / 2) & (rank <= (1 + level) / 2)).float().mean())


@dataclass(frozen=True)
class Ridge:
    """A ridge regression on the features of each member.

    Attributes:
        weight: of the features of each member (members, n_features).
        offset: of each member (members,).
        penalty: that was chosen.
    """

    weight: Tensor
    offset: Tensor
    penalty: float

    def predict(self, features: Tensor) -> Tensor:
        """Return predictions (members, n_rows) from features (members, n_rows, n_features)."""
        return torch.einsum("mnf,mf->mn", features, self.weight) + self.offset[:, None]


def ridge_features(heads: EmbeddingHeads, embedded: Tensor) -> Tensor:
    """Return the features (members, n_rows, width + hidden) of the ridge regression, in float64."""
    features = heads.features(embedded).double()
    width = embedded.shape[-1]
    return torch.cat([features[..., :width], HIDDEN_WEIGHT * features[..., width:]], dim=-1)


def fit_ridge(features: Tensor, labels: Tensor, groups: Sequence[str], seed: int = 0) -> Ridge:
    """Return the regression with the penalty whose mean over the members errs least on held-out groups.

    Args:
        features: of the rows by each member (members, n_rows, n_features).
        labels: (n_rows,).
        groups: of the rows, such as formulas; those of one group are held out together.
        seed: of the folds.
    """
    fold = folds(groups, FOLDS, seed)
    errors = torch.zeros(len(PENALTIES), dtype=torch.float64)
    for held in fold.unique():
        seen = fold != held
        path = _ridge_path(features[:, seen], labels[seen])
        for place, one in enumerate(path):
            predicted = one.predict(features[:, ~seen]).mean(0)
            errors[place] += (predicted - labels[~seen]).abs().sum()
    return _ridge_path(features, labels, (PENALTIES[int(errors.argmin())],))[0]


def _ridge_path(features: Tensor, labels: Tensor, penalties: Sequence[float] = PENALTIES) -> list[Ridge]:
    """Return the regressions with several penalties, by one decomposition of each member's features.

    The smaller of the two Gram matrices is decomposed: that of the rows, or that of the features.
    """
    centre, mean = features.mean(1, keepdim=True), labels.mean()
    x, y = features - centre, labels - mean
    few = x.shape[1] <= x.shape[2]
    square, basis = torch.linalg.eigh(x @ x.mT if few else x.mT @ x)
    square = square.clamp_min(0.0)
    read = basis.mT @ (y if few else x.mT @ y)[..., None]
    found = []
    for penalty in penalties:
        solved = basis @ (read / (square + penalty)[..., None])
        weight = (x.mT @ solved if few else solved)[..., 0]
        offset = mean - torch.einsum("mf,mf->m", centre[:, 0], weight)
        found.append(Ridge(weight, offset, penalty))
    return found


def folds(groups: Sequence[str], n: int, seed: int = 0) -> Tensor:
    """Return the fold (n_rows,) of each row: groups in random order, dealt to the smallest fold so far."""
    names = sorted(set(groups))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    sizes, of_group = [0] * min(n, len(names)), {}
    counts = dict.fromkeys(names, 0)
    for name in groups:
        counts[name] += 1
    for place in order:
        smallest = min(range(len(sizes)), key=sizes.__getitem__)
        of_group[names[place]] = smallest
        sizes[smallest] += counts[names[place]]
    return torch.tensor([of_group[name] for name in groups])


def ridge_heads(base: EmbeddingHeads, config: HeadsConfig, ridge: Ridge, scale: float) -> EmbeddingHeads:
    """Return heads of one property that read the hidden layer of others.

    Args:
        base: heads with that hidden layer.
        config: of the new heads.
        ridge: fitted to `ridge_features` of the base, to standardised labels.
        scale: of the standardised property.
    """
    heads = EmbeddingHeads(replace(config, hidden=base.config.hidden))
    heads.load_state_dict({name: getattr(base, name) for name in ("mean", "std", "weight", "bias")}, strict=False)
    width = base.config.width
    weight = torch.cat([ridge.weight[:, :width], HIDDEN_WEIGHT * ridge.weight[:, width:]], dim=1)
    raw = math.log(math.expm1(max(scale - SMALLEST_SCALE, 1e-6))) + OFFSET
    with torch.no_grad():
        heads.read[..., 0], heads.offset[..., 0, 0] = weight.float(), ridge.offset.float()
        heads.offset[..., 0, 1] = raw
    return heads.eval().requires_grad_(requires_grad=False)
