"""Settings that suit each kind of material, and hurried runs."""

from typing import Any

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "crystal": {},
    "molecule": {
        "stages": {"guidance": True},
        "sampler": {
            "move_steps": 60,
            "geometries": 2,
            "started": 3,
            "shaped": 2,
            "levels": 4,
            "lowest": 0.01,
            "sampled_noise": 0.05,
            "refine_sigma": 0.03,
            "refine_rounds": 2,
            "refine_steps": 4,
            "initial_levels": 60,
            "initial_churn": 40.0,
            "initial_trials": 3,
            "settle_noise": 1.0,
            "settle_levels": 80,
            "settle_stride": 1.2,
            "finish_levels": 6,
            "choose_sigma": 0.03,
            "target": 2.0,
        },
    },
}
"""Tables of a request that suit each kind; what the user asks for takes precedence."""

FAST: dict[str, dict[str, Any]] = {
    "stages": {"diffusion": False, "mala": False},
    "sampler": {
        "started": 12,
        "geometries": 1,
        "prototypes": 1,
        "shaped": 8,
    },
}
"""Tables of a request that leave the geometry to the relaxation."""


def preset_of(kind: str, *, fast: bool = False) -> dict[str, dict[str, Any]]:
    """Return the tables of a request that suit a kind, and a fast run."""
    usual, hurried = PRESETS.get(kind, {}), FAST if fast else {}
    return {name: usual.get(name, {}) | hurried.get(name, {}) for name in {*usual, *hurried}}
