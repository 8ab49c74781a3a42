"""What is asked: every request survives its TOML file, and an impossible one says why."""

import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from matgen.chemistry.elements import UnknownElementError
from matgen.generation.errors import RequestError
from matgen.generation.formulas import parse_formula
from matgen.generation.request import Request
from matgen.generation.sampler_settings import SamplerConfig, Stages
from matgen.relaxation.config import RelaxConfig
from matgen.runtime.config import ConfigError, from_mapping, load_config, to_mapping, to_toml
from matgen.runtime.devices import DeviceError
from matgen.targets.target import TargetError
from matgen.templates.crystal_rules import ContradictionError


@dataclass(frozen=True)
class Inner:
    """A table within a table."""

    path: Path = Path("a b")
    pair: tuple[float, int] = (1e-7, 2)
    choice: Literal["one", "other"] = "one"


@dataclass(frozen=True)
class Outer:
    """One field of every type that a configuration may have."""

    number: int
    text: str = 'with "quotes", \\ and ü'
    real: float = float("inf")
    flag: bool = True
    maybe: int | None = None
    many: tuple[str, ...] = ("a", "b")
    group: frozenset[int] = frozenset({3, 1})
    table: dict[str, float | str] = field(default_factory=lambda: {"odd key": 1.5, "b": ">3"})
    inner: Inner = field(default_factory=Inner)


def test_a_dataclass_survives_toml() -> None:
    for config in (Outer(1), Outer(2, maybe=3, many=(), inner=Inner(Path("/x"), (0.5, 1), "other"))):
        assert from_mapping(Outer, tomllib.loads(to_toml(config))) == config


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ({"numbr": 1}, "unknown key 'numbr'; did you mean number?"),
        ({}, "missing 1 required positional argument: 'number'; add it"),
        ({"number": "1"}, "number: expected a whole number, got '1'"),
        ({"number": True}, "number: expected a whole number, got True"),
        ({"number": 1, "flag": 1}, "flag: expected true or false, got 1"),
        ({"number": 1, "many": "a"}, "many: expected a list, got 'a'"),
        ({"number": 1, "many": ["a", 2]}, "many[1]: expected a text in quotes, got 2"),
        ({"number": 1, "inner": 3}, "[inner] expected a table, got 3"),
        ({"number": 1, "inner": {"pair": [1.0]}}, "inner.pair: expected 2 values, got 1"),
        ({"number": 1, "inner": {"choice": "othr"}}, "inner.choice: got 'othr'; did you mean other?"),
        ({"number": 1, "inner": {"pth": "x"}}, "[inner] unknown key 'pth'; did you mean path?"),
    ],
)
def test_what_a_configuration_cannot_mean_is_an_error(raw: dict, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_mapping(Outer, raw)
    assert complaint in str(error.value)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("n = = 3")
    with pytest.raises(ConfigError, match=r"x\.toml is not TOML"):
        load_config(Request, path)
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config(Request, tmp_path / "absent.toml")


def test_a_request_survives_its_file(tmp_path: Path) -> None:
    request = Request.of(
        targets={"gap": "1.2:1.8", "energy_above_hull": "<0.05"},
        elements=("Ga", "N", "O"),
        include=("N",),
        space_groups=(186, 216),
        max_atoms=8,
        n=3,
        seed=7,
        relax="none",
        stages=Stages(mala=False),
    )
    (tmp_path / "run.toml").write_text(to_toml(request))
    assert load_config(Request, tmp_path / "run.toml") == request
    assert from_mapping(Request, to_mapping(request)) == request


def test_wishes_and_rules_are_understood() -> None:
    request = Request.of(targets={"gap": 1.5}, elements=("ga", " N"), include=("N",), exclude=("Ga",))
    assert [(target.name, target.low, target.high, target.point) for target in request.property_targets] == [
        ("band_gap", 1.5, 1.5, True)
    ]
    assert request.rules.allowed_elements == {7}
    assert request.rules.required_elements == {7}
    assert 1 not in request.rules.space_groups  # nobody asked for a crystal without symmetry
    assert Request.of(space_groups=(1,)).rules.space_groups == {1}
    assert Request.of(exclude=("Po",)).rules == Request().rules  # known to chemistry, if not to the models


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("SrTiO3", {8: 3, 22: 1, 38: 1}),
        ("Ca(OH)2", {1: 2, 8: 2, 20: 1}),
        ("Na4Cl4", {11: 1, 17: 1}),
        ("Al2(SO4)3", {8: 12, 13: 2, 16: 3}),
        ("H(H2(O2)2)2", {1: 5, 8: 8}),
    ],
)
def test_formulas_are_read(text: str, counts: dict[int, int]) -> None:
    assert parse_formula(text) == counts


@pytest.mark.parametrize("text", ["", "foo", "Sr0.5Ti", "Ca(OH", "()", "GaN?", "Ga0", "12"])
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="expected"):
        parse_formula(text)


@pytest.mark.parametrize(
    ("asked", "kind", "complaint"),
    [
        ({"targets": {"gap": "-1"}}, TargetError, "expected a band_gap of 0 to 20 eV"),
        ({"targets": {"gap": 1.0, "band_gap": 2.0}}, TargetError, "got 2 for band_gap"),
        ({"targets": {"band_gp": 1.0}}, TargetError, "did you mean band_gap?"),
        ({"elements": ("Gaa",)}, UnknownElementError, "did you mean Ga?"),
        ({"elements": ("Po",)}, UnknownElementError, "no training crystal holds Po"),
        ({"include": ("O",), "exclude": ("O",)}, ContradictionError, "O is required, but not allowed"),
        ({"formula": "SrTiO3", "max_atoms": 4}, ContradictionError, "more than max_atoms = 4"),
        ({"formula": "Ca3(PO4)2Al20"}, RequestError, "has 33 atoms, more than the 20 that the models know"),
        ({"formula": "MgAl2O4", "space_groups": (221,), "max_atoms": 7}, ContradictionError, "no template of"),
        ({"space_groups": (231,)}, ContradictionError, "expected space groups from 1 to 230"),
        ({"max_atoms": 21}, RequestError, "expected max_atoms from 1 to 20"),
        ({"n": 0}, RequestError, "expected n of at least 1"),
        ({"seed": -1}, RequestError, "expected a seed"),
        ({"device": "tpu"}, DeviceError, "got 'tpu'; choose one of these"),
        ({"space_groups": (227,), "max_atoms": 1}, ContradictionError, "hold 2 atoms or more, but max_atoms is 1"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(asked: dict, kind: type[Exception], complaint: str) -> None:
    with pytest.raises(kind) as error:
        Request.of(**asked)
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        *(
            (SamplerConfig, {name: 0})
            for name in ("pool", "started", "geometries", "shaped", "levels", "lowest", "prototype_noise")
        ),
        *(
            (SamplerConfig, {name: 0.0})
            for name in ("sampled_noise", "refine_sigma", "choose_sigma", "sampling_temperature")
        ),
        *(
            (SamplerConfig, {name: -1})
            for name in ("prototypes", "move_steps", "burn_in", "refine_rounds", "refine_steps")
        ),
        *(
            (SamplerConfig, {name: -1})
            for name in ("corrector_steps", "target", "charge", "closed_shell", "hull", "graph", "variety")
        ),
        *((SamplerConfig, {"temperatures": ladder}) for ladder in ((), (1.0, 0.0), (math.inf,))),
        (SamplerConfig, {"lowest": math.nan}),
        *((SamplerConfig, {"settle_stride": stride}) for stride in (0.0, 2.0)),
        *((RelaxConfig, {name: 0}) for name in ("fmax", "smax", "symprec", "max_steps", "patience")),
        (RelaxConfig, {"progress": -1e-4}),
        (RelaxConfig, {"max_volume_change": 1.0}),
    ],
)
def test_efforts_that_make_no_sense_are_refused_by_name(config: type, changed: dict) -> None:
    with pytest.raises(ConfigError, match=f"expected {next(iter(changed))} "):
        config(**changed)


def test_the_manual_shows_all_defaults() -> None:
    manual = (Path(__file__).resolve().parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    shown = manual.split("```toml\n")[1].split("```")[0]
    assert shown == to_toml(Request())
