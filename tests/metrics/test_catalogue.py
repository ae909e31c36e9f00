"""What metrics say of themselves: their names, why they have no value, and the catalogue of their files."""

import importlib
import pkgutil
import re

import pytest
from evaluation_setup import THREE, TWO, TinyVAE, make_setup
from hypothesis import given
from hypothesis import strategies as st

import metrics.evaluation
from metrics.catalogue import DEFAULT, GROUPS, Metric, check_groups, group_of, kind_of
from metrics.evaluation.evaluate import evaluate
from metrics.missing import Lack, Missing
from metrics.names import PARTS, MetricName
from models.errors import InputError

MODALITIES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]*", fullmatch=True) | st.sampled_from(PARTS)
KINDS = st.from_regex(r"[a-z]+", fullmatch=True)


@given(
    KINDS,
    st.lists(MODALITIES, max_size=3),
    MODALITIES,
    st.sampled_from(["", "sample", "mean"]),
    st.sampled_from(PARTS),
    st.integers(1, 9),
)
def test_names_are_read_as_they_were_written(kind, sources, target, mode, part, size):
    for name in (
        MetricName(kind),
        MetricName(f"{kind}_coherence", part=part),
        MetricName(kind, tuple(sources), target, mode if sources else ""),
        MetricName(kind, size=size, mode=mode or "mean"),
    ):
        assert MetricName.parse(str(name)) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("log_likelihood", MetricName("log_likelihood")),
        ("joint_coherence/entropy", MetricName("joint_coherence", part="entropy")),
        ("probe/size-2", MetricName("probe", target="size-2")),  # a modality may have any such name
        ("probe/chance", MetricName("probe", target="chance")),
        ("diversity/a-b->c", MetricName("diversity", ("a-b",), "c")),
        ("cross_coherence/a+b->c/mean", MetricName("cross_coherence", ("a", "b"), "c", "mean")),
        ("cross_coherence/size-2/mean", MetricName("cross_coherence", size=2, mode="mean")),
    ],
)
def test_names_on_disk(text, name):
    assert MetricName.parse(text) == name
    assert str(name) == text
    assert name.is_pair == ("->" in text and "+" not in text)


@given(st.text())
def test_any_text_is_some_name(text):
    MetricName.parse(text)


@pytest.mark.parametrize("kind", Lack)
def test_missing_values_survive_json(kind):
    missing = Missing(kind, "It has no prior.")
    assert Missing.from_json(missing.to_json()) == missing
    assert str(missing).startswith("Not defined: ") == (kind is Lack.NOT_DEFINED)


@pytest.mark.parametrize("value", ["a sentence", {"kind": "gone", "why": "."}, {"kind": "failed"}, None])
def test_other_reasons_are_refused(value):
    with pytest.raises(ValueError, match=r"why|Lack"):
        Missing.from_json(value)


def test_the_catalogue_is_what_importing_the_files_gives():
    modules = [
        importlib.import_module(f"metrics.evaluation.{found.name}")
        for found in pkgutil.iter_modules(metrics.evaluation.__path__)
    ]
    declared = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Metric) and value.group.module == module.__name__
    ]
    assert {metric.group.name: metric.group for metric in declared} == GROUPS
    assert len(declared) == len(GROUPS)
    assert all(group.load().group == group for group in GROUPS.values())


def test_groups_are_told_apart_by_their_kinds():
    kinds = [(kind.name, kind.part) for group in GROUPS.values() for kind in group.kinds]
    assert len(set(kinds)) == len(kinds)
    assert all(re.fullmatch("[a-z0-9_]+", name) for name, _ in kinds)
    assert set(DEFAULT) == {name for name, group in GROUPS.items() if not group.asked}
    assert all(group.reading for group in GROUPS.values() if group.asked)


@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_every_group_computes_what_it_declares_in_that_order(modalities):
    names = [m.name for m in modalities]
    found = evaluate(TinyVAE(modalities), **make_setup(modalities), metrics=GROUPS).metrics
    assert list(found) == [str(name) for group in GROUPS.values() for name in group.names(names)]
    for name in found:
        assert name in map(str, GROUPS[group_of(name)].names(names))


def test_kinds_by_name():
    units = {name: kind_of(name).unit for name in ("fid/a", "probe/a", "log_likelihood", "diversity/a->b")}
    assert units == {
        "fid/a": "distance",
        "probe/a": "fraction",
        "log_likelihood": "nats",
        "diversity/a->b": "distance",
    }
    assert (kind_of("joint_coherence").better, kind_of("joint_coherence/chance").better) == ("higher", "")
    assert (kind_of("unheard_of/a"), group_of("unheard_of/a")) == (None, "unheard_of")


def test_unknown_groups_are_refused_with_a_suggestion():
    with pytest.raises(InputError, match="Unknown metric 'prbe' in --metrics: did you mean 'probe'"):
        check_groups(["probe", "prbe"], " in --metrics")
