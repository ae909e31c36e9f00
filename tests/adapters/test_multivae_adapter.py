"""MultiVae's models under our contract.

Names, the losses of ours on the same weights and noise, and runs from beginning to end.
"""

import json
import pickle
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from multivae_models import NAMES, like, make, spread
from multivae_twin import THREE, TWO, gradients, random_batch
from options import SMALL

from mmbench.data import load_data
from mmbench.plan.job import JobOptions, check_job
from mmbench.plan.overrides import make_configs
from mmbench.storage.files import read_json
from models import conformance
from models.conformance import CHECKS, check_model
from models.conformance.tools import make_example
from models.errors import InputError
from models.mmvae import MMVAE, MMVAESettings
from models.mopoe import MoPoE, MoPoESettings
from models.mvae import MVAE, MVAESettings
from models.names import find_model, find_models
from models.registry import MODELS

# progress, epoch, share of the epoch
EPOCHS = [(0.0, 1, 0.0), (0.2, 21, 0.0), (0.995, 100, 0.5), (1.0, 100, 1.0)]

load_data_once = cache(load_data)


def assert_same_loss(native, adapted, items, progress):
    batch = random_batch(tuple(native.modalities.values()), items)
    parameters = list(native.parameters())
    losses = []
    for model in (native, adapted):
        torch.manual_seed(1)
        losses.append(model.loss(batch, torch.tensor(progress)).total)
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)
    for mine, other in zip(*(gradients(loss, parameters) for loss in losses), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6 * float(other.abs().max()))


# --- the losses of our own models: of draws in a row, blocks of 16 numbers make those of one larger draw ----


@pytest.mark.parametrize("weights", ["published", "equal"])
@pytest.mark.parametrize(("modalities", "items"), [(TWO, 11), (THREE, 16)], ids=["two", "three"])
def test_mopoe_has_the_loss_of_ours(modalities, items, weights):
    native = spread(MoPoE(modalities, MoPoESettings(latent_size=5, modality_weights=weights)))
    assert_same_loss(native, like(native, "multivae-mopoe", beta=2.5, modality_weights=weights), items, 0.5)


@pytest.mark.parametrize("progress", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_mvae_has_the_loss_of_ours(modalities, progress):
    native = spread(MVAE(modalities, MVAESettings(latent_size=8, annealing=0.4, likelihood="bernoulli")))
    assert_same_loss(native, like(native, "multivae-mvae", warmup=0.4, likelihood="bernoulli"), 4, progress)


@pytest.mark.parametrize(
    ("posterior", "theirs"), [("gaussian", "normal"), ("laplace", "laplace_with_softmax")]
)
@pytest.mark.parametrize("modalities", [TWO, THREE], ids=["two", "three"])
def test_mmvae_has_the_loss_of_ours(modalities, posterior, theirs):
    """MultiVae's plain objective has the value of ours, its doubly reparameterised one the gradients."""
    native = spread(MMVAE(modalities, MMVAESettings(latent_size=8, samples=5, posterior=posterior)))
    options = {"K": 5, "prior_and_posterior_dist": theirs, "learn_prior": False}
    batch = random_batch(modalities, 6)
    parameters = [*native.encoders.parameters(), *native.decoders.parameters()]
    totals = []
    for model in (
        native,
        *(like(native, "multivae-mmvae", loss=loss, **options) for loss in ("iwae_looser", "dreg_looser")),
    ):
        torch.manual_seed(1)
        totals.append(model.loss(batch, torch.tensor(0.5)).total)
    torch.testing.assert_close(totals[0], totals[1], rtol=1e-6, atol=0)
    for mine, other in zip(gradients(totals[0], parameters), gradients(totals[2], parameters), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6 * float(other.abs().max()))


@pytest.mark.parametrize("name", ["mopoe", "mvae", "mmvae"])
def test_a_seed_makes_the_weights_of_ours(name):
    adapted = make(f"multivae-{name}", conformance.THREE)
    torch.manual_seed(0)
    native = MODELS.get(name).model(conformance.THREE, MODELS.get(name).settings())
    for modality in native.modalities:
        for mine, other in (
            (native.encoders, adapted.peer.encoders),
            (native.decoders, adapted.peer.decoders),
        ):
            torch.testing.assert_close(
                mine[modality].state_dict(), other[modality].network.state_dict(), rtol=0, atol=0
            )


@pytest.mark.parametrize("name", ["mopoe", "mvae", "mmvae"])
def test_inference_is_that_of_ours(name):
    """Of any subset but MoPoE's full set: its mean is the product's here, that of all means in MultiVae."""
    native = spread(
        {"mopoe": MoPoE, "mvae": MVAE, "mmvae": MMVAE}[name](THREE, MODELS.get(name).settings(latent_size=5))
    )
    adapted = like(native, f"multivae-{name}")
    batch = random_batch(THREE, 4)
    with torch.inference_mode():
        for subset in (["a"], ["c", "a"], *([["a", "b", "c"]] if name != "mopoe" else [])):
            inputs = {modality: batch[modality] for modality in subset}
            torch.testing.assert_close(adapted.infer(inputs), native.infer(inputs), rtol=1e-6, atol=1e-9)
            for modality, mean in native.translate(inputs, ["b", "a"]).items():
                torch.testing.assert_close(
                    adapted.translate(inputs, ["b", "a"])[modality], mean, rtol=1e-6, atol=1e-9
                )


# --- the contract -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_keep_the_contract():
    for entry in find_models("multivae:all"):
        found = dict(check_model(entry))
        assert len(found) == (len(CHECKS) - 1) * (2 if entry.takes(3) else 1)  # none takes incomplete batches
        assert {what: problem for what, problem in found.items() if problem} == {}, entry.name


@pytest.mark.parametrize("name", ["multivae-telbo", "multivae-mmvaeplus"])
def test_two_keep_the_contract(name):
    make(name, TWO)
    assert [problem for _, problem in check_model(find_model(name)) if problem] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_a_mean_over_the_batch(name):
    """A batch eight times as long, of the same items: sums over it would be eight times as large."""
    model = make(name, conformance.TWO)
    _, batch = make_example(MODELS.get(name), conformance.TWO)
    longer = {modality: x.repeat(8, *[1] * (x.ndim - 1)) for modality, x in batch.items()}
    for stage in model.stages():
        torch.testing.assert_close(
            stage.loss(batch, torch.tensor(0.5)).total,
            stage.loss(longer, torch.tensor(0.5)).total,
            rtol=0.1,
            atol=0,
        )


@pytest.mark.parametrize(("progress", "epoch", "ratio"), EPOCHS)
def test_progress_in_epochs(progress, epoch, ratio, monkeypatch):
    model = make("multivae-jmvae", TWO)
    seen = []
    monkeypatch.setattr(model, "peer_loss", lambda batch, epoch, ratio: seen.append((epoch, ratio)))
    model.loss({}, progress)
    assert seen == [(epoch, pytest.approx(ratio))]


@pytest.mark.parametrize("name", ["multivae-telbo", "multivae-jnf"])
def test_stages_train_what_they_should(name):
    model = make(name, conformance.TWO)
    _, batch = make_example(MODELS.get(name), conformance.TWO)
    joint, single = model.stages()
    assert (joint.share, single.share) == (0.5, 0.5)
    assert len(joint.parameters) + len(single.parameters) == len(list(model.parameters()))
    for stage in (joint, single, joint):  # the second freezes what the first trains
        assert all(
            each.any()
            for each in gradients(
                stage.loss(batch, torch.tensor(0.0)).total, [p for p in stage.parameters if p.ndim > 1]
            )
        )
        assert stage is joint or not any(p.requires_grad for p in joint.parameters)


@pytest.mark.parametrize("name", ["multivae-mmvae", "multivae-cmvae", "multivae-mmvaeplus"])
def test_random_numbers_come_from_the_generator_alone(name):
    """numpy's too, from which MultiVae takes the expert that it draws from."""
    model = make(name, THREE).double()
    batch = random_batch(THREE, 3)
    draws = []
    for seed in (0, 0, *range(1, 9)):
        np.random.seed(len(draws))
        before = np.random.get_state()[1].tolist()
        draws.append(
            model.translate(batch, ["c"], sample=True, generator=torch.Generator().manual_seed(seed))["c"]
        )
        assert np.random.get_state()[1].tolist() == before
    assert torch.equal(draws[0], draws[1])
    assert not any(torch.equal(draws[0], other) for other in draws[2:])


@pytest.mark.parametrize("name", ["multivae-mmvae", "multivae-cmvae", "multivae-mmvaeplus"])
def test_every_item_is_drawn_from_one_expert(name):
    """The experts' posteriors lie around 50, 100 and 150.

    A shared latent comes from one of the two that are given, a private one from its own modality's.
    """
    model = make(name, THREE).double()
    batch = random_batch(THREE, 64)
    with torch.no_grad():
        for place, encoder in zip((50, 100, 150), model.peer.encoders.values(), strict=True):
            encoder.network[-2].bias[: len(encoder.network[-2].bias) // 2] = place
        with model._drawing(torch.Generator().manual_seed(0)):
            found = model.encode({"c": batch["c"], "a": batch["a"]}, sample=True)
    places = found.z.mean(1)
    first = (places - 50).abs() < 10
    assert (first | ((places - 150).abs() < 10)).all()
    assert 16 < first.sum() < 48  # of 64, four standard deviations around a half
    if name != "multivae-mmvae":
        for modality, place in (("a", 50), ("b", 0), ("c", 150)):
            assert ((found.modalities_z[modality].mean(1) - place).abs() < 10).all()


@pytest.mark.parametrize("name", ["multivae-mmvae", "multivae-cmvae", "multivae-mmvaeplus"])
def test_one_input_is_encoded_by_multivae(name):
    model = make(name, THREE).double()
    from multivae.data.datasets import MultimodalBaseDataset

    batch = random_batch(THREE, 3)
    for sample in (False, True):
        found = model.translate({"b": batch["b"]}, ["a", "b"], sample, torch.Generator().manual_seed(0))
        with model._drawing(torch.Generator().manual_seed(0)):
            theirs = model.peer.encode(MultimodalBaseDataset(batch), ["b"], return_mean=not sample)
        for modality, means in model.peer.decode(theirs, ["a", "b"]).items():
            assert torch.equal(found[modality], means)


def test_cmvae_averages_its_experts():
    model = make("multivae-cmvae", THREE).double()
    batch = random_batch(THREE, 3)
    alone = [model.embed({name: batch[name]}) for name in ("a", "c")]
    torch.testing.assert_close(model.embed({name: batch[name] for name in ("a", "c")}), sum(alone) / 2)
    seen = model.encode({"a": batch["a"], "c": batch["c"]}, sample=False).modalities_z
    for name in ("a", "c"):
        torch.testing.assert_close(seen[name], model.peer.encoders[name](batch[name]).style_embedding)
    assert not seen["b"].any()  # the mean of its prior


def test_messages_of_nexus():
    """Without dropout they are MultiVae's, made item by item; with it, means over proper subsets."""
    model = make("multivae-nexus", THREE)
    messages = {
        name: torch.full((600, 10), float(value)) for name, value in zip("abc", (1, 10, 100), strict=True)
    }
    inputs = SimpleNamespace()
    theirs = super(type(model.peer), model.peer)._aggregate_during_training(inputs, messages)
    torch.testing.assert_close(model.peer._aggregate_during_training(inputs, messages), theirs)
    model.peer.model_config.dropout_rate = 1.0
    found = model.peer._aggregate_during_training(inputs, messages)[:, 0]
    values, counts = found.unique(return_counts=True)
    torch.testing.assert_close(values, torch.tensor([1.0, 5.5, 10.0, 50.5, 55.0, 100.0]))
    assert counts.min() > 60  # a sixth of 600 each: four standard deviations below 100


def test_log_variances_are_bounded():
    """In a product of experts of MultiVae, three of e^100 are NaN."""
    model = make("multivae-mvtcae", THREE)
    with torch.no_grad():
        for encoder in model.peer.encoders.values():
            encoder.network[-2].bias.fill_(100.0)
    assert all(
        x.isfinite().all()
        for x in model.translate({m.name: torch.rand(2, *m.shape) for m in THREE}, ["a", "b"]).values()
    )


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("multivae:MVTCAE", "multivae-mvtcae"),
        ("MultiVae:mvtcae", "multivae-mvtcae"),
        ("multivae-mvtcae", "multivae-mvtcae"),
        ("multivae:MMVAE+", "multivae-mmvaeplus"),
        ("multivae:MMVAEPlus", "multivae-mmvaeplus"),
        ("mopoe", "mopoe"),
    ],
)
def test_names(word, name):
    assert find_model(word).name == name


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "multivae:MVTCEA",
            r"Unknown model 'multivae:MVTCEA' of multivae: did you mean 'mvtcae'\? Known: cmvae, ",
        ),
        ("multivae:", "Unknown model 'multivae:' of multivae: Known: cmvae, "),
        ("multivae:cvae", "The model multivae:cvae cannot be run: it models one modality given the others"),
        ("multivae-mhvae", "The model multivae-mhvae cannot be run: its latents are feature maps"),
        ("multivae", "Unknown model 'multivae': "),
        ("other:MVAE", "Unknown model 'other:MVAE': "),
    ],
)
def test_a_name_that_is_none_of_them(word, message):
    with pytest.raises(InputError, match=message):
        find_model(word)


def test_which_models_are_run():
    def picked(names):
        return [
            config.entry.name
            for config in check_job(JobOptions(names, "digits", preset="smoke", device="cpu")).configs
        ]

    assert picked("multivae:all") == NAMES
    assert picked("all,multivae:all") == [*(entry.name for entry in find_models("all")), *NAMES]
    assert picked("mopoe, multivae:MoPoE") == ["mopoe", "multivae-mopoe"]
    for twice in ("multivae:MVAE,multivae-mvae", "multivae:all,multivae:MVAE", "all,mopoe"):
        with pytest.raises(InputError, match=f"--models {twice} names a model twice"):
            picked(twice)


def test_settings_of_one_model():
    entries = [find_model("multivae:MVAE"), find_model("multivae:MMVAE"), MODELS.get("mvae")]
    for word in ("multivae:MVAE.beta=3", "multivae-mvae.beta=3"):
        betas = [
            getattr(config.settings, "beta", None)
            for config in make_configs(entries, "digits", "smoke", [word])
        ]
        assert betas == [3.0, None, 1.0]
    with pytest.raises(InputError, match="is for multivae-mopoe, which --models does not name"):
        make_configs(entries, "digits", "smoke", ["multivae:MoPoE.beta=3"])
    with pytest.raises(InputError, match="Unknown model 'multivae:MVAF' of multivae: did you mean 'mvae'"):
        make_configs(entries, "digits", "smoke", ["multivae:MVAF.beta=3"])


def some_data(modalities):
    """Of complete rows."""
    train = SimpleNamespace(pairs=torch.zeros(1, len(modalities), dtype=torch.int64))
    return SimpleNamespace(modalities=modalities, provenance={}, class_count=10, train=train)


@pytest.mark.parametrize("name", ["multivae-telbo", "multivae-jnf"])
def test_more_modalities_than_a_model_takes(name):
    (config,) = make_configs([MODELS.get(name)], "digits-text", "smoke", [])
    with pytest.raises(
        InputError,
        match=rf"^The model {name} takes 2 modalities, digits-text has 3 "
        r"\(given only some of them it has no .*\): leave it",
    ):
        config.decisive(some_data(THREE))
    assert config.decisive(some_data(TWO))["model"] == name
    assert {what.partition(", ")[2] for what, _ in check_model(MODELS.get(name))} == {"2 modalities"}


# --- the package --------------------------------------------------------------------------------------------


def not_installed(name):
    raise PackageNotFoundError(name)


def test_without_the_package(invoke, monkeypatch, tmp_path):
    monkeypatch.setattr("models.registry.version", not_installed)
    for models in ("multivae:MVTCAE", "multivae:all", "mopoe,multivae-mvae"):
        result = invoke("run", "--models", models, "--dataset", "digits", "--results", tmp_path / "results")
        assert result.code == 2
        assert (
            "cannot be run: the package multivae is not installed; "
            "install it with pip install multivae==1.0.3."
        ) in result.text
    assert invoke("check", "multivae:MVAE").code == 2
    rows = {row["name"]: row["unavailable"] for row in json.loads(invoke("models", "--json").text)}
    assert all("is not installed" in rows[name] for name in NAMES)
    assert rows["mopoe"] is None
    assert not (tmp_path / "results").exists()


def test_another_version_of_the_package(monkeypatch):
    monkeypatch.setattr("models.registry.version", lambda name: "1.0.4")
    with pytest.raises(
        InputError,
        match=r"the package multivae is there in version 1\.0\.4, expected 1\.0\.3; install it with",
    ):
        find_model("multivae:MVAE")


def test_a_list_of_models_imports_nothing_of_it():
    code = """
import sys
from mmbench.cli import main
main(["models"], standalone_mode=False)
print({"multivae", "pythae"} & set(sys.modules))
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    _, *lines, _, loaded = printed.splitlines()  # without the heads of the columns, and the hint below
    assert loaded == "set()"
    names = [line.split()[0] for line in lines]
    known = sorted(MODELS, key=lambda entry: (entry.collection, entry.name))
    assert names == [entry.name for entry in known if entry.file is None]
    (jnf,) = [line for line in lines if line.startswith("multivae-jnf ")]
    assert jnf.endswith("at most 2 modalities")


def test_another_process_gets_the_model():
    model = make("multivae-mvtcae", TWO)
    entry = pickle.loads(pickle.dumps(MODELS.get("multivae-mvtcae")))
    assert repr(entry.model(TWO, entry.settings())) == repr(model)


def test_a_run_from_beginning_to_end(invoke, tmp_path, monkeypatch):
    pytest.importorskip("multivae", reason="needs MultiVae: pip install multivae==1.0.3")
    for file in ("run_job", "finished"):
        monkeypatch.setattr(f"mmbench.execution.{file}.load_data", load_data_once)
    monkeypatch.setattr("mmbench.report.write_report", lambda *_: [])
    results, chosen = tmp_path / "results", ("--metrics", "probe", "--jobs", "1", "--device", "cpu")
    folder = results / "digits" / "smoke" / "multivae-telbo" / "seed-0"
    first = invoke(
        "run",
        "--models",
        "multivae:TELBO",
        "--dataset",
        "digits",
        "--preset",
        "smoke",
        *SMALL,
        *chosen,
        "--results",
        results,
    )
    assert first.code == 0, first.text
    config, metrics = read_json(folder / "config.json"), read_json(folder / "metrics.json")["metrics"]
    assert (config["model"], config["title"]) == ("multivae-telbo", "TELBO (MultiVae)")
    assert "--models multivae-telbo " in config["command"]
    assert invoke("evaluate", folder, "--metrics", "probe", "--device", "cpu").code == 0
    assert read_json(folder / "metrics.json")["metrics"] == metrics
    again = invoke("run", "--config", folder / "config.json", "--results", tmp_path / "again", *chosen)
    assert again.code == 0, again.text
    assert read_json(tmp_path / "again" / folder.relative_to(results) / "metrics.json")["metrics"] == metrics
