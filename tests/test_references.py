"""The cache of judges and statistics: used when it is whole, rebuilt and named when it is not, never mixed up."""

import pytest
import torch

from metrics.protocol import Protocol
from mmbench.data.base import DataSettings, MultimodalData
from mmbench.data.splits import Images, assemble
from mmbench.files import cache_dir
from mmbench.references import make_references
from models.base import Modality

PROTOCOL = Protocol(draws=40, joint_draws=40, judge_steps=2, judge_batch_size=8)


def make_data(seed: int = 0) -> MultimodalData:
    """Noise with labels: two modalities of 60 train and 40 test images."""
    generator = torch.Generator().manual_seed(seed)
    modalities = (Modality("a", (1, 8, 8)), Modality("b", (3, 8, 8)))

    def noise(count, shape):
        return Images(torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator), torch.arange(count) % 10)

    parts = {m.name: (noise(60, m.shape), noise(40, m.shape)) for m in modalities}
    return assemble("noise", modalities, parts, DataSettings())


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMBENCH_CACHE", str(tmp_path / "cache"))


def make(data, metrics=("coherence", "fd_clf"), protocol=PROTOCOL):
    return make_references(data, protocol, metrics)


def values(references):
    space = references.feature_spaces[0]
    return [*references.judge_accuracy.values(), *space.floor.values(), *(real.mean.sum().item() for real in space.real.values())]


def cached_files():
    return sorted(path for path in cache_dir().rglob("*") if path.is_file())


def test_a_second_call_reads_what_the_first_one_made(monkeypatch):
    data = make_data()
    first = make(data)
    assert [path.suffix for path in cached_files()] == [".pt", ".pt", ".npz"]
    monkeypatch.setattr("mmbench.references.train_judge", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr("mmbench.references.build_feature_space", lambda *a, **k: pytest.fail("computed again"))
    second = make(data)
    assert values(second) == values(first)
    x = data.test.items["b"] / 255
    assert torch.equal(first.judges["b"](x), second.judges["b"](x))


def test_other_data_and_other_settings_have_entries_of_their_own():
    make(make_data())
    make(make_data(1))
    assert len(cached_files()) == 6
    make(make_data(), protocol=Protocol(draws=40, joint_draws=40, judge_steps=3, judge_batch_size=8))
    assert len(cached_files()) == 9
    make(make_data(), protocol=Protocol(draws=30, joint_draws=30, judge_steps=2, judge_batch_size=8))
    assert len(cached_files()) == 10  # the judges are the same, the floor is not


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
@pytest.mark.parametrize("kind", [".pt", ".npz"])
def test_a_damaged_file_is_named_and_made_again(kind, damage, capsys):
    data = make_data()
    first = make(data)
    for path in cached_files():
        if path.suffix == kind:
            whole = path.read_bytes()
            path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "garbage": b"garbage" * 100}[damage])
    capsys.readouterr()
    again = make(data)
    said = capsys.readouterr().out
    assert f"{kind} is damaged" in said
    assert values(again) == values(first)
    capsys.readouterr()
    make(data)
    assert "damaged" not in capsys.readouterr().out


def test_without_inception_weights_there_is_a_reason_and_no_number(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    references = make(make_data(), metrics=("fid",))
    assert references.feature_spaces == ()
    assert references.missing["fid"].startswith("No FID: pytorch-fid's Inception weights are not in its cache and could not be downloaded")
