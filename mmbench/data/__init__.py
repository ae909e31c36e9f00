"""Data sets: one module each, registered by name, loaded with `load_data`."""

from mmbench.data.base import DATASETS, DataSettings, MultimodalData, Split, load_data

__all__ = ["DATASETS", "DataSettings", "MultimodalData", "Split", "load_data"]
