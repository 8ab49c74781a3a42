"""The configuration of a training: by path, or by the name of a shipped one."""

from dataclasses import replace
from pathlib import Path

from matgen.runtime.config import ConfigError, did_you_mean
from matgen.training.config import TrainConfig, load_train_config
from matgen.weights.renamed import current_kind

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def find_config(name: str) -> Path:
    """Return the file of a configuration.

    Args:
        name: a path, or a shipped configuration's name such as `template_prior`.

    Raises:
        ConfigError: there is no such file or name.
    """
    if Path(name).suffix == ".toml" or Path(name).is_file():
        return Path(name)
    name = current_kind(name)
    shipped = {path.stem: path for path in sorted(CONFIGS.glob("*.toml"))}
    if name not in shipped:
        raise ConfigError(
            f"expected a TOML file, or the name of a shipped one, got {name!r}; {did_you_mean(name, shipped)}"
        )
    return shipped[name]


def planned(
    name: str,
    *,
    data: Path | None = None,
    folder: Path | None = None,
    weights: Path | None = None,
    init: Path | None = None,
    minutes: float | None = None,
    device: str | None = None,
) -> TrainConfig:
    """Return a configuration with some of its fields replaced.

    Raises:
        ConfigError: it cannot be read, has unknown keys, or values out of range.
    """
    config = load_train_config(find_config(name))
    schedule = config.schedule if minutes is None else replace(config.schedule, minutes=minutes)
    return replace(
        config,
        data=data or config.data,
        folder=folder or config.folder,
        weights=weights or config.weights,
        init=init or config.init,
        device=device or config.device,
        schedule=schedule,
    )
