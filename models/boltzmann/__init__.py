"""Boltzmann machines: restricted, deep, and deep belief networks, of one or several modalities.

`units` and `machine` are the parts, `divergence` the losses, `annealing` the way to likelihoods
(`metrics.partition`); `rbm`, `dbm` and `dbn` are the machines; `multimodal` and `mdbn` register those that
the suite runs.
"""

from models.boltzmann import mdbn as mdbn
from models.boltzmann import multimodal as multimodal
