"""Bundles of finished runs, many of them in one leaderboard; crafted ones do nothing but give an error."""

import csv
import hashlib
import io
import json
import pickle
import stat
import zipfile
from pathlib import Path

import pytest
from written_runs import edit, write_run

from mmbench.report.numbers.results import load_results
from mmbench.storage.files import json_bytes, read_json
from mmbench.storage.records import config_hash
from mmbench.submissions.bundle import bundle_runs
from mmbench.submissions.collect import collect_bundles
from mmbench.submissions.unpack import unpack
from models.errors import InputError

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
PLACE = "digits/quick/mopoe/seed-0"


def make_run(root, model="mopoe", seed=0, dataset="digits", **config):
    """A finished run whose hash is that of its configuration, with checksums of history and samples."""
    folder = write_run(root, model, seed, dataset=dataset, **config)
    hash = config_hash(read_json(folder / "config.json"))
    for name in ("config", "status", "metrics"):
        edit(folder / f"{name}.json", hash=hash)
    paths = [folder / "history.csv", *sorted((folder / "samples").iterdir())]
    files = {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
    edit(folder / "metrics.json", files=files)
    return folder


def make_bundle(path, by="alice", **run):
    make_run(path.parent / f"{path.stem}-results", **run)
    bundle_runs(path.parent / f"{path.stem}-results", path, by)
    return path


def contents(bundle):
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(bundle, files, index=None):
    """Write `files` in the place of a bundle, with a fitting index unless there is one."""
    own = {name: content for name, content in files.items() if name != "bundle.json"}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in own.items()}
    index = json_bytes({"by": "mallory", "files": hashes}) if index is None else index
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"bundle.json": index, **own}.items():
            archive.writestr(name, content)


def test_what_was_bundled_comes_out_again(tmp_path):
    folder = make_run(tmp_path / "results")
    bundled = bundle_runs(tmp_path / "results", tmp_path / "one.zip", "alice")
    assert (len(bundled.runs), bundled.bare, bundled.unfinished) == (1, [], [])
    (tmp_path / "unpacked").mkdir()
    found = unpack(tmp_path / "one.zip", tmp_path / "unpacked")
    assert (found.by, [run.seed for run in found.runs]) == ("alice", [0])
    before = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    after = tmp_path / "unpacked" / PLACE
    assert {p.relative_to(after): p.read_bytes() for p in after.rglob("*") if p.is_file()} == before
    assert any(path.suffix == ".webp" for path in before)


def test_the_same_runs_give_the_same_bytes(tmp_path):
    make_run(tmp_path / "results")
    for name in ("one.zip", "two.zip"):
        bundle_runs(tmp_path / "results", tmp_path / name, "alice")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_no_images_of_restricted_data_and_no_weights(tmp_path, invoke):
    folder = make_run(tmp_path / "results", dataset="mnist-svhn")
    (folder / "checkpoint.pt").write_bytes(b"weights")
    failed = write_run(tmp_path / "results", "mvae", seed=1, state="failed")
    result = invoke("bundle", tmp_path / "results", "--by", "bob", "--out", tmp_path / "one.zip")
    assert result.code == 0, result.text
    assert "without samples, which may not be passed on: mnist-svhn" in result.text
    assert f"left out, as it is failed: {failed}" in result.text
    place = "mnist-svhn/quick/mopoe/seed-0"
    records = {f"{place}/{name}" for name in ("config.json", "status.json", "metrics.json", "history.csv")}
    assert contents(tmp_path / "one.zip").keys() == {"bundle.json", *records}
    collected = collect_bundles([tmp_path / "one.zip"], tmp_path / "all")
    assert (collected.runs, len(collected.protocols)) == (1, 1)


def test_samples_of_an_unknown_data_set_stay_at_home(tmp_path):
    make_run(tmp_path / "results", dataset="hospital")
    bundled = bundle_runs(tmp_path / "results", tmp_path / "one.zip", "bob")
    assert [run.dataset for run in bundled.bare] == ["hospital"]
    assert not any("samples/" in name for name in contents(tmp_path / "one.zip"))


@pytest.mark.parametrize(
    ("by", "out", "message"),
    [
        ("two\nlines", "one.zip", "is no name"),
        (" ", "one.zip", "is no name"),
        ("bob", "taken.zip", "is there already"),
    ],
)
def test_bad_input_of_bundle_is_refused(by, out, message, tmp_path):
    make_run(tmp_path / "results")
    (tmp_path / "taken.zip").write_bytes(b"mine")
    with pytest.raises(InputError, match=message):
        bundle_runs(tmp_path / "results", tmp_path / out, by)
    assert (tmp_path / "taken.zip").read_bytes() == b"mine"
    assert not (tmp_path / "one.zip").exists()


def test_a_folder_without_finished_runs_is_refused(tmp_path):
    write_run(tmp_path / "results", "mvae", state="failed")
    with pytest.raises(InputError, match=r"No run in .* is finished"):
        bundle_runs(tmp_path / "results", tmp_path / "one.zip", "bob")


def provenance(folder):
    with (folder / "provenance.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_equal_hashes_are_pooled_as_seeds(tmp_path):
    bundles = [
        make_bundle(tmp_path / "alice.zip", "alice", seed=0, value=0.2),
        make_bundle(tmp_path / "bob.zip", "bob", seed=1, value=0.4),
    ]
    (protocol,) = collect_bundles(bundles, tmp_path / "all").protocols
    text = (tmp_path / "all" / "leaderboard.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| MOPOE")]
    assert row.startswith("| MOPOE | 2 | alice (alice.zip): seed 0; bob (bob.zip): seed 1 | ")
    assert "30.00 ± 14.14" in row
    results = load_results(tmp_path / "all" / f"protocol-{protocol}")
    assert sorted(results[results.metric == "joint_coherence"].value) == [0.2, 0.4]
    rows = provenance(tmp_path / "all")
    assert [(r["by"], r["seed"], r["counted"], r["device"]) for r in rows] == [
        ("alice", "0", "yes", "cpu"),
        ("bob", "1", "yes", "cpu"),
    ]
    assert rows[0]["sha256"] == hashlib.sha256(bundles[0].read_bytes()).hexdigest()


def test_a_seed_that_two_have_counts_once(tmp_path, invoke):
    bundles = [make_bundle(tmp_path / f"{by}.zip", by, seed=0) for by in ("alice", "bob")]
    result = invoke("collect", *bundles, "--out", tmp_path / "all")
    assert result.code == 0, result.text
    assert f"counted once, as an earlier bundle has it: {PLACE} of bob.zip" in result.text
    assert [row["counted"] for row in provenance(tmp_path / "all")] == ["yes", "no"]
    assert "| MOPOE | 1 | alice (alice.zip): seed 0 |" in (tmp_path / "all" / "leaderboard.md").read_text()


def test_judges_of_two_machines_are_warned_of(tmp_path):
    for seed, (by, judge) in enumerate({"alice": 0.99, "bob": 0.98}.items()):
        edit(make_run(tmp_path / by, seed=seed) / "metrics.json", references={"judge/mnist": judge})
        bundle_runs(tmp_path / by, tmp_path / f"{by}.zip", by)
    collected = collect_bundles([tmp_path / "alice.zip", tmp_path / "bob.zip"], tmp_path / "all")
    assert len(collected.protocols) == 1
    text = (tmp_path / "all" / "leaderboard.md").read_text()
    assert "**Warning.** These rows do not share one protocol" in text
    assert "judge/mnist is 0.99" in text


def test_other_settings_are_another_row_and_other_protocols_another_table(tmp_path):
    bundles = [
        make_bundle(tmp_path / "a.zip", "alice"),
        make_bundle(tmp_path / "b.zip", "bob", settings={"beta": 1.0}),
        make_bundle(tmp_path / "c.zip", "carol", protocol={"draws": 7}),
        make_bundle(tmp_path / "d.zip", "dave", training={"steps": 7}),
    ]
    collected = collect_bundles(bundles, tmp_path / "all")
    assert len(collected.protocols) == 3
    text = (tmp_path / "all" / "leaderboard.md").read_text()
    tables = text.split("\n## ")[1:]
    makers = [{name for name in ("alice", "bob", "carol", "dave") if name in table} for table in tables]
    assert sorted(makers, key=sorted) == [{"alice", "bob"}, {"carol"}, {"dave"}]
    labels = {row["row"] for row in provenance(tmp_path / "all") if row["by"] in ("alice", "bob")}
    assert len(labels) == 2
    assert all(label.startswith("mopoe+") for label in labels)


def test_published_studies_can_be_collected(tmp_path):
    for name in ("priors", "priors-grid"):
        bundle_runs(PUBLISHED / name, tmp_path / f"{name}.zip", name)
    collected = collect_bundles(sorted(tmp_path.glob("*.zip")), tmp_path / "all")
    runs = [
        path.parent for name in ("priors", "priors-grid") for path in (PUBLISHED / name).rglob("metrics.json")
    ]
    configs = [json.loads((run / "config.json").read_text()) for run in runs]
    protocols = {
        (config["dataset"], config["training"]["steps"]) for config in configs
    }  # what differs in these
    assert (collected.runs, len(collected.protocols)) == (len(runs), len(protocols))


def test_the_hash_is_that_of_the_configuration_in_every_published_run():
    configs = [json.loads(path.read_text()) for path in PUBLISHED.rglob("config.json")]
    assert len(configs) > 50
    assert [config["command"] for config in configs if config_hash(config) != config["hash"]] == []


def test_a_folder_that_holds_something_is_refused(tmp_path):
    bundle = make_bundle(tmp_path / "a.zip")
    with pytest.raises(InputError, match="holds something already"):
        collect_bundles([bundle], bundle.parent)


# crafted bundles: (files of a good one) -> files, and what is said of them


def traversal(files):
    return {**files, "../../evil": b"x"}, "which no run has"


def absolute(files):
    return {**files, "/tmp/evil": b"x"}, "which no run has"


def backslashes(files):
    return {**files, "digits\\quick\\mopoe\\seed-0\\config.json": b"x"}, "which no run has"


def dots(files):
    return {**files, "digits/quick/../seed-0/config.json": b"x"}, "which no run has"


class Malicious:
    def __reduce__(self):
        return Path.touch, (Path("evil"),)


def a_pickle(files):
    return {**files, f"{PLACE}/checkpoint.pt": pickle.dumps(Malicious())}, "which no run has"


def a_pickle_as_a_sheet(files):
    return {**files, f"{PLACE}/samples/joint-mnist.webp": pickle.dumps(Malicious())}, "has changed"


def a_bomb(files):
    return {**files, f"{PLACE}/samples/bomb.webp": bytes(65 * 2**20)}, "declares 68,157,440 bytes"


def an_unknown_file(files):
    return {**files, f"{PLACE}/samples/more.webp": b"x"}, "which its metrics.json does not name"


def other_metrics(files):
    changed = files[f"{PLACE}/metrics.json"].replace(b"0.25", b"0.99")
    return {**files, f"{PLACE}/metrics.json": changed}, "as its checksum says"


def other_settings(files):
    config = json.loads(files[f"{PLACE}/config.json"])
    del config["checksum"], config["format"]
    config["settings"] = {"beta": 99.0}
    return {**files, f"{PLACE}/config.json": json_bytes(config)}, "is not that of its configuration"


def another_place(files):
    moved = {name.replace("mopoe", "cnf-mvae"): content for name, content in files.items()}
    return moved, "says that it is digits/quick/mopoe/seed-0"


def an_unfinished_run(files):
    status = json.loads(files[f"{PLACE}/status.json"])
    del status["checksum"], status["format"]
    return {**files, f"{PLACE}/status.json": json_bytes(status | {"state": "pending"})}, "is not finished"


def no_configuration(files):
    return {name: x for name, x in files.items() if not name.endswith("config.json")}, "is missing"


def nothing(files):
    return {}, "its files are not those"


CRAFTS = [traversal, absolute, backslashes, dots, a_pickle, a_pickle_as_a_sheet, a_bomb, an_unknown_file]
CRAFTS += [other_metrics, other_settings, another_place, an_unfinished_run, no_configuration, nothing]


def refused(bundle, message):
    """The bundle is refused with a sentence that names it, beside a good one, and nothing else happens."""
    good = make_bundle(bundle.parent / "good.zip", "honest", seed=5)
    before = sorted(bundle.parent.rglob("*"))
    with pytest.raises(InputError, match=message) as found:
        collect_bundles([good, bundle], bundle.parent / "all")
    assert str(bundle) in str(found.value)
    assert sorted(bundle.parent.rglob("*")) == before
    assert not Path("evil").exists()
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_bundle_with_damaged_bytes_is_refused(method, tmp_path):
    """Whatever the reader of a compressed member raises: zlib, lzma and bz2 have errors of their own."""
    files = contents(make_bundle(tmp_path / "bad.zip"))
    with zipfile.ZipFile(tmp_path / "bad.zip", "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        first = archive.infolist()[0]
    content = bytearray((tmp_path / "bad.zip").read_bytes())
    begin = first.header_offset + 30 + len(first.filename)
    content[begin : begin + 40] = bytes(40 * [0xFF])
    (tmp_path / "bad.zip").write_bytes(content)
    refused(tmp_path / "bad.zip", "is no bundle that can be used: .* Ask for it again")


@pytest.mark.parametrize("craft", CRAFTS, ids=lambda craft: craft.__name__)
def test_a_crafted_bundle_does_nothing_but_give_an_error(craft, tmp_path):
    bundle = make_bundle(tmp_path / "bad.zip")
    files, message = craft(contents(bundle))
    rewrite(bundle, files)
    refused(bundle, message)


def test_samples_that_may_not_be_passed_on_are_refused(tmp_path):
    folder = make_run(tmp_path / "bad-results", dataset="mnist-svhn")
    files = {
        f"mnist-svhn/quick/mopoe/seed-0/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    rewrite(tmp_path / "bad.zip", files)
    refused(tmp_path / "bad.zip", "which may not be passed on")


def test_a_link_is_refused(tmp_path):
    bundle = make_bundle(tmp_path / "bad.zip")
    files = contents(bundle)
    link = zipfile.ZipInfo(f"{PLACE}/samples/link.webp")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert len(files) > 1
    refused(bundle, "is a link")


def test_a_size_that_is_a_lie_is_refused(tmp_path):
    """The directory of the archive says that a large file is small."""
    bundle = make_bundle(tmp_path / "bad.zip")
    files = contents(bundle)
    name = f"{PLACE}/history.csv"
    rewrite(bundle, files | {name: bytes(2**20)})
    content = bundle.read_bytes()
    at = content.rindex(name.encode()) - 46 + 24  # uncompressed size in the central directory
    bundle.write_bytes(content[:at] + (10).to_bytes(4, "little") + content[at + 4 :])
    refused(bundle, "no bundle that can be used")


def test_an_index_that_was_changed_is_refused(tmp_path):
    bundle = make_bundle(tmp_path / "bad.zip")
    files = contents(bundle)
    rewrite(bundle, files, files["bundle.json"].replace(b"alice", b"mallo"))
    refused(bundle, "bundle.json has changed since it was written")


def test_a_file_that_was_changed_is_refused(tmp_path):
    bundle = make_bundle(tmp_path / "bad.zip")
    files = contents(bundle)
    rewrite(bundle, files | {f"{PLACE}/history.csv": b"step,loss\n1,2\n"}, files["bundle.json"])
    refused(bundle, "history.csv has changed since it was bundled")


def test_two_files_of_one_name_are_refused(tmp_path):
    bundle = make_bundle(tmp_path / "bad.zip")
    with zipfile.ZipFile(bundle, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(f"{PLACE}/config.json", b"{}")
    refused(bundle, "two of its files have one name")


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"\x80\x04N.", b"not a zip" * 100], ids=repr)
def test_what_is_no_archive_is_refused(content, tmp_path):
    (tmp_path / "bad.zip").write_bytes(content)
    refused(tmp_path / "bad.zip", "no bundle that can be used")


def test_an_empty_archive_is_refused(tmp_path):
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    (tmp_path / "bad.zip").write_bytes(buffer.getvalue())
    refused(tmp_path / "bad.zip", "it has no bundle.json")
