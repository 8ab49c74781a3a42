"""Requests: flat and nested ones agree, each survives its TOML file, and an impossible one says why."""

import dataclasses
import math
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from matgen.chemistry.elements import UnknownElementError
from matgen.generation.configuration import configured
from matgen.generation.constraints import CompositionConstraints, SymmetryConstraints
from matgen.generation.errors import RequestError
from matgen.generation.formulas import parse_formula
from matgen.generation.keywords import FIELDS, KEYWORDS, TABLES
from matgen.generation.old_keys import RENAMED, current_keys
from matgen.generation.presets import FAST, PRESETS
from matgen.generation.relaxation_settings import RelaxationConfig
from matgen.generation.request import Request
from matgen.generation.sampler_settings import SamplerConfig, Stages
from matgen.generation.search_settings import SearchConfig, VerificationConfig
from matgen.relaxation.config import RelaxConfig
from matgen.runtime.config import ConfigError, from_mapping, read_toml, to_mapping, to_toml
from matgen.runtime.devices import DeviceError
from matgen.targets.properties import PROPERTIES
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
        read_toml(path)
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        read_toml(tmp_path / "absent.toml")


FLAT = Request.of(
    gap="1.2:1.8",
    targets={"energy_above_hull": "<0.05"},
    elements=["Ga", "N", "O"],
    include={"N"},
    space_groups=(186, 216),
    max_atoms=8,
    n=3,
    seed=7,
    relax="none",
    verify=2,
    stages=Stages(mala=False),
)
"""A request from flat keywords."""

NESTED = Request(
    targets={"energy_above_hull": "<0.05", "gap": "1.2:1.8"},
    composition=CompositionConstraints(elements=("Ga", "N", "O"), include=("N",), max_atoms=8),
    symmetry=SymmetryConstraints(space_groups=(186, 216)),
    search=SearchConfig(n=3, seed=7),
    relaxation=RelaxationConfig(method="none"),
    verification=VerificationConfig(n=2),
    stages=Stages(mala=False),
)
"""The same request from its tables."""


def test_flat_keywords_and_tables_give_the_same_request() -> None:
    assert FLAT == NESTED
    tables = {"composition": {"elements": ["Ga"], "max_atoms": 8}, "search": SearchConfig(n=3), "include": ["Ga"]}
    assert Request.of(**tables) == Request.of(elements=["Ga"], max_atoms=8, n=3, include=["Ga"])
    assert Request.of(band_gap=(1.2, 1.8)) == Request.of(targets={"band_gap": "1.2:1.8"})
    assert Request.of(n=np.int64(3), elements=np.array(["Ga", "N"])) == Request.of(n=3, elements=["Ga", "N"])


def test_every_keyword_finds_its_field() -> None:
    properties = {name for one in PROPERTIES.values() for name in (one.name, *one.aliases)}
    assert not properties & {*KEYWORDS, *FIELDS}  # or a target could be taken for a setting
    for table, *path in KEYWORDS.values():
        holder: Any = TABLES[table]()
        for name in path:
            assert name in {field.name for field in dataclasses.fields(holder)}
            holder = getattr(holder, name)
    assert [field.name for field in dataclasses.fields(Request)] == list(FIELDS)


def test_an_update_keeps_what_it_does_not_name() -> None:
    later = FLAT.updated(seed=8, sampler={"levels": 20}, formation_energy="<-1")
    assert (later.search.seed, later.search.n, later.sampler.levels) == (8, 3, 20)
    assert later.targets == FLAT.targets | {"formation_energy": "<-1"}
    assert later.updated(seed=7).search == FLAT.search
    assert FLAT.search.seed == 7


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"max_atms": 3}, "unknown keyword 'max_atms'; did you mean max_atoms?"),
        ({"serch": {"n": 3}}, "unknown keyword 'serch'; did you mean search?"),
        ({"band_gp": 1.5}, "did you mean band_gap?"),
        ({"colour": 1.5}, "dielectric_constant, got 'colour'"),
        ({"n": "3"}, "search.n: expected a whole number, got '3'"),
        ({"elements": "GaN"}, "composition.elements: expected a list, got 'GaN'"),
        ({"search": {"sed": 3}}, "[search] unknown key 'sed'; did you mean seed?"),
        ({"sampler": 3}, "[sampler] expected a table, got 3"),
        ({"relax": "vasp"}, "relaxation.method: got 'vasp'; choose one of usual, none, chgnet, xtb"),
    ],
)
def test_unknown_keywords_and_wrong_types_teach(options: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        Request.of(**options)


def test_a_request_survives_its_file(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(to_toml(FLAT))
    assert from_mapping(Request, read_toml(tmp_path / "run.toml")) == FLAT
    assert from_mapping(Request, to_mapping(FLAT)) == FLAT
    assert configured(tomllib.loads(to_toml(FLAT)), {}) == (FLAT, {})


# ---------------------------------------------------------------- configurations of version 0.1

OLD = """
n = 3
relax = "none"
elements = ["Ga", "N"]
verify = 2

[properties]
band_gap = 1.5

[relaxation]
fmax = 0.1

[stages]
redraws = "never"

[sampler]
wish = 2.0
start_drawn = 0.4
pool = 4
"""


def test_keys_of_version_0_1_are_read_and_named_anew() -> None:
    request, moved = configured(tomllib.loads(OLD), {})
    assert request == Request.of(
        band_gap=1.5,
        n=3,
        budget=60.0,
        elements=["Ga", "N"],
        relax="none",
        verify=2,
        relaxation={"settings": {"fmax": 0.1}},
        stages={"regrowth": "never"},
        sampler={"target": 2.0, "sampled_noise": 0.4, "pool": 4},
    )
    assert moved == {
        "n": "search.n",
        "relax": "relaxation.method",
        "elements": "composition.elements",
        "verify": "verification.n",
        "properties": "targets",
        "relaxation.fmax": "relaxation.settings.fmax",
        "stages.redraws": "stages.regrowth",
        "sampler.wish": "sampler.target",
        "sampler.start_drawn": "sampler.sampled_noise",
    }
    assert current_keys(to_mapping(request)) == (to_mapping(request), {})


def test_every_renamed_key_is_one_of_its_table() -> None:
    for table, names in RENAMED.items():
        known = {field.name for field in dataclasses.fields(TABLES[table])}
        assert set(names.values()) <= known
        assert not set(names) & known


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ({"sead": 3}, "unknown key 'sead'; did you mean seed? Write it as search.seed"),
        ({"serch": {"n": 3}}, "unknown key 'serch'; did you mean search?"),
        ({"search": {"device": "cpu"}}, "[search] unknown key 'device'; write resources.device"),
        ({"search": {"sead": 3}}, "[search] unknown key 'sead'; did you mean seed?"),
        (
            {"search": {"n": 3}, "n": 4},
            "expected search.n once, got it as search.n and as n, which are the same setting",
        ),
        ({"sampler": {"wish": 1.0, "target": 2.0}}, "as sampler.wish and as sampler.target, which are the same"),
        ({"sampler": {"target": 1.0, "wish": 2.0}}, "the same setting; delete sampler.wish"),
        ({"sampler": {"wish": 1.0, "target": 2.0}}, "the same setting; delete sampler.wish"),
        ({"search": 3, "n": 4}, "[search] expected a table, got 3"),
        ({"n": "three"}, "search.n: expected a whole number, got 'three'"),
    ],
)
def test_a_configuration_that_cannot_be_read_teaches(raw: dict, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        configured(raw, {})
    assert complaint in str(error.value)


def test_options_win_over_the_file_and_the_file_over_the_preset_of_the_kind() -> None:
    raw = {"kind": "molecule", "search": {"n": 3, "seed": 1}, "sampler": {"levels": 7}}
    request, _ = configured(raw, {"n": 4, "targets": {"gap": "5"}})
    assert (request.search.n, request.search.seed, request.sampler.levels) == (4, 1, 7)
    assert request.sampler.move_steps == PRESETS["molecule"]["sampler"]["move_steps"]
    hurried, _ = configured({"sampler": {"started": 5}}, {}, fast=True)
    assert hurried.sampler.started == FAST["sampler"]["started"]
    assert not hurried.stages.diffusion


# ---------------------------------------------------------------- what is understood, and what is refused


def test_targets_and_rules_are_understood() -> None:
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
