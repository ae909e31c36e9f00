"""Measurements of mmbench against its peers; not part of the installation."""
