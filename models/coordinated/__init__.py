"""Coordinated representations: an encoder per modality into one common space, and nothing that generates.

`model` has what all of them share, `objectives` the losses as functions of codes; each other file registers
one model. `mmbench run --models coordinated:all` runs all of them.
"""

from models.coordinated import acmr as acmr
from models.coordinated import clip as clip
from models.coordinated import corr_ae as corr_ae
from models.coordinated import corr_rbm as corr_rbm
from models.coordinated import dccae as dccae
from models.coordinated import gxn as gxn
from models.coordinated import msae as msae
from models.coordinated import ranking as ranking
from models.coordinated import ucal as ucal
