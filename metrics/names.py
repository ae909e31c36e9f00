"""The name of a metric as a value: what is measured, and of which modalities. Without torch.

As text, which files, tables and logs hold, it is one of

    log_likelihood                   a figure of the model
    joint_coherence/chance           what stands beside such a figure
    probe/a                          a figure of modality a
    diversity/a->b                   of outputs b given a
    cross_coherence/a+b->c/sample    of outputs c given a and b, with sampled latents
    cross_coherence/size-2/mean      the mean over all subsets of two and their targets, with mean latents

References (`judge/a`, `fid_floor/a`) are named the same way.
"""

from dataclasses import dataclass

__all__ = ["PARTS", "MetricName"]

PARTS = ("chance", "entropy")  # of a coherence of joint draws
_ARROW, _AND, _SIZE = "->", "+", "size-"


@dataclass(frozen=True)
class MetricName:
    """What `parse` reads and `str` writes.

    >>> name = MetricName.parse("cross_coherence/a+b->c/sample")
    >>> name.kind, name.sources, name.target, name.mode
    ('cross_coherence', ('a', 'b'), 'c', 'sample')
    >>> str(name)
    'cross_coherence/a+b->c/sample'

    Attributes:
        kind: what is measured.
        sources: the modalities that are given, of a direction.
        target: the modality that is measured or generated; empty for figures of the model.
        mode: "sample" or "mean", of the latent; empty where there is one way only.
        part: one of PARTS, of what stands beside the figure called `kind`.
        size: how many modalities are given, of a mean over all such directions; 0 otherwise.
    """

    kind: str
    sources: tuple[str, ...] = ()
    target: str = ""
    mode: str = ""
    part: str = ""
    size: int = 0

    @classmethod
    def parse(cls, text: str) -> "MetricName":
        """The name that `str` writes as `text`."""
        kind, _, rest = text.partition("/")
        where, _, mode = rest.partition("/")
        if where in PARTS and kind.endswith("_coherence"):  # of others it is a modality of that name
            return cls(kind, part=where)
        if mode and where.removeprefix(_SIZE).isdecimal() and where.startswith(_SIZE):
            return cls(kind, size=int(where.removeprefix(_SIZE)), mode=mode)
        given, arrow, target = where.partition(_ARROW)
        if arrow:
            return cls(kind, tuple(given.split(_AND)), target, mode)
        return cls(kind, target=where, mode=mode)

    def __str__(self) -> str:
        given = f"{_AND.join(self.sources)}{_ARROW}" if self.sources else ""
        where = self.part or (f"{_SIZE}{self.size}" if self.size else f"{given}{self.target}")
        return "/".join(filter(None, (self.kind, where, self.mode)))

    @property
    def is_pair(self) -> bool:
        """Whether it is of a direction from one modality to one other."""
        return len(self.sources) == 1
