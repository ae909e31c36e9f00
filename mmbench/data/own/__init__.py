"""A file or folder of the user's own as a data set: nothing has to be registered in code."""

from mmbench.data.own.dataset import register_data_file

__all__ = ["register_data_file"]
