"""Files of an earlier report that the next one does not write: removed, and no file that no report wrote."""

import shutil

import pytest
from written_runs import write_run

from mmbench.report import write_report
from mmbench.report.leftovers import LIST, find_leftovers, list_files
from mmbench.storage.files import DamagedError


def test_what_an_earlier_report_wrote_is_removed_and_nothing_else(tmp_path):
    gone, kept = (write_run(tmp_path, model) for model in ("mmvae", "mopoe"))
    folder = kept.parents[1]
    write_report(tmp_path)
    before = {path.name for path in folder.iterdir()}
    (folder / "samples-notes.png").write_bytes(b"somebody's")
    (folder / "comparison.md").write_text("of another command")
    shutil.rmtree(gone.parent)
    written = {path.name for path in write_report(tmp_path)}
    assert before - {path.name for path in folder.iterdir()} == {"mmvae", "samples-mmvae.png"}
    assert written | {".lock", "mopoe", "samples-notes.png", "comparison.md"} == {
        path.name for path in folder.iterdir()
    }


def test_a_file_that_was_changed_is_no_leftover_and_no_path_leads_elsewhere(tmp_path):
    (tmp_path / "preset").mkdir()
    own = {name: tmp_path / "preset" / name for name in ("a.md", "b.md", "c.md", "../d.md")}
    (tmp_path / "preset" / LIST).write_bytes(list_files(dict.fromkeys(own, b"text")))
    for path in own.values():
        path.write_text("text")
    own["b.md"].write_text("changed")
    assert find_leftovers(tmp_path / "preset", {"c.md"}) == [own["a.md"]]
    own["a.md"].unlink()
    assert find_leftovers(tmp_path / "preset", {"c.md"}) == []
    (tmp_path / "preset" / LIST).write_text("{}")
    with pytest.raises(DamagedError, match="remove it"):
        find_leftovers(tmp_path / "preset", ())
    assert find_leftovers(tmp_path, ()) == []  # without a list
