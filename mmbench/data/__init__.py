"""Data sets: one module each, registered by name, loaded with `load_data`."""

from mmbench.data.base import DATASETS, DataSettings, MultimodalData, Split
from mmbench.data.loading import check_dataset, load_data

__all__ = ["DATASETS", "DataSettings", "MultimodalData", "Split", "check_dataset", "load_data"]
