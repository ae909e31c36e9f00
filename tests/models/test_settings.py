"""Settings are parsed, bounded and refused when unknown; overrides reach the settings they name."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from mmbench.data.base import DataSettings
from mmbench.plan.overrides import make_configs
from mmbench.storage.files import content_hash
from models.conformance import THREE, TWO
from models.errors import InputError
from models.names import find_models
from models.registry import MODELS
from models.settings import check_class, decisive, describe, resolve, setting


@dataclass(frozen=True)
class Example:
    count: int = setting(3, "a count", low=1, high=9)
    rate: float = setting(0.5, "a rate", low=0)
    flag: bool = setting(False, "a flag")
    kind: str = setting("x", "a kind", choices=("x", "y"))


def test_defaults_and_parsed_text():
    assert resolve(Example, {}, "it") == Example()
    assert resolve(Example, {"count": "4", "rate": "1e-3", "flag": "true", "kind": "y"}, "it") == Example(
        4, 1e-3, True, "y"
    )
    assert resolve(Example, {"count": 4.0, "rate": 2}, "it") == Example(4, 2.0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"cuont": 1}, "Unknown setting 'cuont' of it: did you mean 'count'?"),
        ({"count": "many"}, "Setting count=many of it is not usable: expected a whole number from 1 to 9."),
        ({"count": "2.5"}, "expected a whole number from 1 to 9"),
        ({"count": 2.5}, "expected a whole number from 1 to 9"),
        ({"count": 0}, "expected a whole number from 1 to 9"),
        ({"count": True}, "expected a whole number"),
        ({"count": None}, "expected a whole number"),
        ({"rate": "nan"}, "expected a number, at least 0"),
        ({"rate": "-1"}, "expected a number, at least 0"),
        ({"flag": "maybe"}, "expected true or false"),
        ({"kind": "z"}, "expected one of x, y"),
    ],
)
def test_bad_values_are_refused_with_a_sentence(overrides, message):
    with pytest.raises(InputError) as error:
        resolve(Example, overrides, "it")
    assert message in str(error.value)


def test_bounds_of_whole_numbers_are_spelled_out():
    with pytest.raises(InputError, match="expected a whole number from 0 to 9223372036854775807"):
        resolve(DataSettings, {"pairing_seed": str(2**63)}, "it")
    assert resolve(DataSettings, {"pairing_seed": str(2**63 - 1)}, "it").pairing_seed == 2**63 - 1
    with pytest.raises(InputError, match="expected a whole number from 1 to 10000"):
        resolve(DataSettings, {"pairs_per_image": 10_001}, "it")


def test_a_number_too_large_for_a_float_is_refused():
    with pytest.raises(InputError, match="expected a number, at least 0"):
        resolve(Example, {"rate": 10**400}, "it")


@dataclass(frozen=True)
class Optional:
    count: int | None = setting(None, "a count")


@dataclass(frozen=True)
class Several:
    widths: tuple[int, ...] = setting((1, 2), "widths")


@dataclass(frozen=True)
class Required:
    count: int


@dataclass(frozen=True)
class Made:
    name: str = field(default_factory=str)


@dataclass(frozen=True)
class Unreadable:
    count: "Nowhere" = 1  # noqa: F821


class Plain:
    count: int = 1


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Optional, r"Setting 'count' of it is of type int \| None: expected int, float, bool or str."),
        (Several, r"Setting 'widths' of it is of type tuple\[int, ...\]: expected"),
        (Required, "Setting 'count' of it has no default: give it one"),
        (Made, "Setting 'name' of it has no default: give it one"),
        (Unreadable, "annotation that cannot be read .*Nowhere"),
        (Plain, "The settings of it are .*Plain.*: expected a class with the decorator @dataclass"),
        (Example(), "expected a class with the decorator @dataclass"),
    ],
)
def test_classes_that_are_no_settings_are_refused(cls, message):
    with pytest.raises(InputError, match=message):
        check_class(cls, "it")
    check_class(Example, "it")


def test_every_setting_of_every_model_is_documented_and_admits_its_default():
    for entry in MODELS:
        assert entry.source
        for row in describe(entry.settings):
            assert row["help"], f"{entry.name}.{row['name']}"
            resolve(entry.settings, {row["name"]: str(row["default"])}, entry.name)


def configs(*pairs, preset="smoke"):
    return {config.entry.name: config for config in make_configs(find_models("all"), "digits", preset, pairs)}


def test_a_bare_override_goes_wherever_the_name_exists():
    made = configs("latent_size=7", "steps=11", "draws=500", "pairs_per_image=2", "temperature=3")
    sizes = [c.settings.latent_size for c in made.values() if hasattr(c.settings, "latent_size")]
    assert len(sizes) >= 7
    assert set(sizes) == {7}
    assert made["mopoe"].training.steps == 11
    assert made["mopoe"].protocol.draws == 500
    assert made["mopoe"].data.pairs_per_image == 2
    assert made["cnf-mvae"].settings.temperature == 3


def test_a_qualified_override_goes_to_one_model():
    made = configs("mopoe.latent_size=7")
    assert made["mopoe"].settings.latent_size == 7
    assert made["cnf-mvae"].settings.latent_size == 40


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("stepz=3", "Unknown setting 'stepz' in --set: did you mean 'steps'?"),
        ("mopoe.betta=3", "Unknown setting 'betta' of mopoe: did you mean 'beta'?"),
        ("nobody.beta=3", "Unknown setting 'nobody.beta' in --set"),
        ("steps", "--set steps is not usable: expected key=value"),
        ("=3", "expected key=value"),
        (
            "steps=0",
            "Setting steps=0 of the training budget is not usable: expected a whole number, at least 1.",
        ),
    ],
)
def test_bad_overrides(pair, message):
    with pytest.raises(InputError) as error:
        configs(pair)
    assert message in str(error.value)


def test_an_override_for_a_model_that_was_not_chosen_says_so():
    chosen = [MODELS.get("cnf-mvae")]
    with pytest.raises(
        InputError,
        match=r"--set mopoe\.beta=1 is for mopoe, which --models does not name: add mopoe, or leave",
    ):
        make_configs(chosen, "digits", "smoke", ["mopoe.beta=1"])
    with pytest.raises(InputError, match=r"--set mopoe=published is for mopoe, which --models does not name"):
        make_configs(chosen, "digits", "smoke", ["mopoe=published"])


def test_the_hash_covers_what_decides_the_result():
    def data(x, *modalities):
        return SimpleNamespace(provenance={"x": x}, modalities=modalities or TWO, class_count=10)

    def hash_of(config, data):
        return content_hash(config.decisive(data))

    base = configs()["mopoe"]
    assert hash_of(base, data(1)) == hash_of(configs()["mopoe"], data(1))
    for other in (
        configs("steps=21"),
        configs("mopoe.beta=1"),
        configs("draws=500"),
        configs("pairs_per_image=3"),
        configs("mopoe.prior=flow"),
    ):
        assert hash_of(other["mopoe"], data(1)) != hash_of(base, data(1))
    assert hash_of(base, data(2)) != hash_of(base, data(1))
    # text has a judge of its own
    assert base.decisive(data(1, *THREE))["judge"] != base.decisive(data(1))["judge"]


def test_a_late_setting_is_decisive_where_it_is_not_at_its_default():
    @dataclass(frozen=True)
    class Later(Example):
        more: str = setting("no", "came after runs", choices=("no", "yes"), late=True)

    assert decisive(Later()) == decisive(Example()) == {"count": 3, "rate": 0.5, "flag": False, "kind": "x"}
    assert decisive(Later(more="yes", count=4)) == {
        "count": 4,
        "rate": 0.5,
        "flag": False,
        "kind": "x",
        "more": "yes",
    }
    assert resolve(Later, decisive(Later(more="yes")), "it") == Later(more="yes")


def test_the_paper_preset_is_the_papers():
    made = configs(preset="paper")
    training = made["cnf-mvae"].training
    assert (training.steps, training.batch_size, training.learning_rate) == (219_016, 256, 1e-4)
    (mmvae,) = make_configs([MODELS.get("mmvae")], "mnist-svhn", "paper", ())
    assert mmvae.settings.samples == 30
    assert configs()["mmvae"].settings.samples == 1
    assert made["cnf-mvae"].protocol.draws == 20_000
