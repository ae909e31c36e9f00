"""The examples in the docstrings of `models` do what they say."""

import doctest
import pkgutil
from importlib import import_module

import pytest
import torch

import models

MODULES = [module.name for module in pkgutil.walk_packages(models.__path__, "models.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    torch.manual_seed(0)
    found = doctest.testmod(import_module(name))
    assert found.failed == 0
    assert found.attempted > 0 or name not in {
        "models.base",
        "models.mvae",
        "models.settings",
        "models.parts.flows",
    }
