"""From codes to canonical variables: the linear step after DCCA, in closed form."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.coordinated.objectives import covariance

__all__ = ["CanonicalProjection", "canonical_maps"]

LEAST_SHARE = 0.01  # of the newest batch in the moments: they reach back over some hundred batches


def canonical_maps(moments: Tensor, modalities: int, ridge: float) -> tuple[Tensor, Tensor]:
    """Linear canonical analysis of M modalities from the covariance of their codes side by side.

    With D the blocks on the diagonal of C, both regularised by `ridge` I, the leading eigenvectors of
    D^(-1/2) C D^(-1/2) are (v_1, .., v_M), and W_m = sqrt(M) D_m^(-1/2) v_m (Kettenring 1971, MAXVAR). For
    two modalities the eigenvalues are 1 + r_k with the canonical correlations r_k, and W_m the maps of CCA.

    Args:
        moments: C (M L, M L).
        modalities: M.
        ridge: added to the variances.

    Returns:
        W (M, L, L), a column per canonical variable, by falling correlation, and the mean correlations of
        each variable between modalities (L,).
    """
    size = len(moments) // modalities
    blocks = [moments[at : at + size, at : at + size] for at in range(0, len(moments), size)]
    eye = torch.eye(size, dtype=moments.dtype, device=moments.device)
    roots = []
    for block in blocks:
        values, vectors = torch.linalg.eigh(block + ridge * eye)
        roots.append(vectors * values.clamp_min(ridge).rsqrt() @ vectors.T)
    root = torch.block_diag(*roots)
    between = moments + ridge * torch.eye(len(moments), dtype=eye.dtype, device=eye.device)
    values, vectors = torch.linalg.eigh(root @ between @ root)
    values, vectors = values.flip(0)[:size], vectors.flip(1)[:, :size]
    maps = (modalities**0.5 * root @ vectors).unflatten(0, (modalities, size))
    return maps, (values - 1) / (modalities - 1)


class CanonicalProjection(nn.Module):
    """Running moments of the codes of all modalities, in buffers, and the canonical variables they give.

    Each variable is weighted by its correlation: those that no other modality shares would drown the others
    in cosines (Gong et al. 2014, section 3.3).

    Args:
        names: of the modalities.
        size: L, of each code.
        ridge: added to the variances.
    """

    batches: Tensor
    mean: Tensor
    covariance: Tensor

    def __init__(self, names: Sequence[str], size: int, ridge: float):
        super().__init__()
        self.names, self.size, self.ridge = list(names), size, ridge
        self.register_buffer("batches", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(len(names) * size))
        self.register_buffer("covariance", torch.eye(len(names) * size))

    @torch.no_grad()
    def see(self, codes: Mapping[str, Tensor]) -> None:
        """Take the codes (B, L) of a batch into the moments, in training mode."""
        if not self.training:
            return
        found = torch.cat([codes[name] for name in self.names], dim=1).to(self.mean.dtype)
        self.batches.add_(1)
        share = (1 / self.batches).clamp_min(LEAST_SHARE)
        self.mean.lerp_(found.mean(0), share)
        with torch.autocast(found.device.type, enabled=False):
            self.covariance.lerp_(covariance(found, found), share)

    def forward(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modality name -> canonical variables (B, L), times their correlations, of codes (B, L)."""
        maps, correlations = canonical_maps(self.covariance.double(), len(self.names), self.ridge)
        weighted = (maps * correlations.clamp_min(0)).to(self.mean.dtype)
        means = self.mean.view(len(self.names), self.size)
        return {
            name: (code - means[self.names.index(name)]) @ weighted[self.names.index(name)]
            for name, code in codes.items()
        }
