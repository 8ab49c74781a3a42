"""Noise levels of the training of graph energies, and weights of the parts of its loss."""

from dataclasses import dataclass

from matgen.runtime.config import ConfigError


@dataclass(frozen=True)
class GraphLoss:
    """Noise levels and weights of the parts of the loss.

    Attributes:
        median_sigma, spread_sigma: of the log-normal noise levels of denoising, Å and e-folds.
        low_sigma: range of the noise at which real systems and negatives are contrasted, Å.
        lowest_sigma, highest_sigma: bounds of all noise, Å.
        real_share: share of a batch that is used at low noise and contrasted with as many negatives.
        direct: weight of denoising by the displacement head.
        conservative: weight of denoising by the gradient of the energy itself, which takes a second backward pass.
        contrast, properties: weights of the other parts.
        sample_share: share of the negatives that are the model's own flawed samples.
        own_share: share of a batch that consists of the model's own samples, with the way back to the truth.
        own_sigma: range of the noise level given to the model for these, Å.
        drop_stereo: share of molecules that are shown without their stereo.
    """

    median_sigma: float = 0.3
    spread_sigma: float = 1.0
    low_sigma: tuple[float, float] = (0.02, 0.1)
    lowest_sigma: float = 0.02
    highest_sigma: float = 3.0
    real_share: float = 0.33
    direct: float = 1.0
    conservative: float = 0.0
    contrast: float = 0.3
    properties: float = 0.3
    sample_share: float = 0.25
    own_share: float = 0.0
    own_sigma: tuple[float, float] = (0.03, 0.3)
    drop_stereo: float = 0.3

    def __post_init__(self) -> None:
        """Check that the shares fit into a batch.

        Raises:
            ConfigError: they do not.
        """
        if not 0 <= self.real_share + self.own_share <= 1:
            raise ConfigError(f"expected real_share + own_share of at most 1, got {self.real_share} + {self.own_share}")
