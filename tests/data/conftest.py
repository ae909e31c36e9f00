"""What several files of tests start from."""

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from mnist_svhn_files import SHAPES, SIZES, make_arrays


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The four files of mnist-svhn, tiny."""
    for name in SHAPES:
        for part in SIZES:
            np.savez_compressed(tmp_path / f"{name}_{part}.npz", **make_arrays(name, part))
    return tmp_path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
