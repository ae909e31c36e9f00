"""Normalizing flows: invertible networks with a tractable Jacobian determinant."""

import torch
from torch import Tensor, nn

__all__ = ["CouplingFlow"]

_BOUND = 3.0  # of a layer's log-scale, so that no layer stretches by more than e^3


class CouplingFlow(nn.Module):
    """Affine coupling layers (Dinh et al. 2017, "Density estimation using Real NVP", equations 4-8).

    One half of the dimensions is shifted and scaled by a network of the other half; the halves change roles
    from layer to layer, y_b = x_b * exp(s(x_a)) + t(x_a), with log|det| = sum s(x_a).

    Args:
        size: L, dimensions of input and output, at least 2.
        layers: number of coupling layers.
        hidden: units in each of the two hidden layers of a coupling network.

    >>> flow = CouplingFlow(size=4, layers=5, hidden=16)
    >>> z = torch.randn(7, 4)
    >>> u, logdet = flow(z)
    >>> u.shape, logdet.shape
    (torch.Size([7, 4]), torch.Size([7]))
    >>> torch.allclose(flow.inverse(u), z, atol=1e-4)
    True
    """

    def __init__(self, size: int, layers: int, hidden: int):
        super().__init__()
        self.sizes = (size // 2, size - size // 2)
        self.networks = nn.ModuleList()
        for layer in range(layers):
            seen, moved = self.sizes[layer % 2], self.sizes[1 - layer % 2]
            final = nn.Linear(hidden, 2 * moved)
            with torch.no_grad():
                final.weight.mul_(0.1)  # close to the identity at first
                final.bias.zero_()
            self.networks.append(
                nn.Sequential(nn.Linear(seen, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), final)
            )

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """u = f(z), (B, L), and log|det df/dz|, (B,)."""
        halves = list(z.split(self.sizes, dim=-1))
        logdet = z.new_zeros(z.shape[:-1])
        for layer, network in enumerate(self.networks):
            seen, moved = layer % 2, 1 - layer % 2
            log_scale, shift = self._affine(network, halves[seen])
            halves[moved] = halves[moved] * log_scale.exp() + shift
            logdet = logdet + log_scale.sum(-1)
        return torch.cat(halves, dim=-1), logdet

    def inverse(self, u: Tensor) -> Tensor:
        """z = f^-1(u), (B, L)."""
        halves = list(u.split(self.sizes, dim=-1))
        for layer in reversed(range(len(self.networks))):
            seen, moved = layer % 2, 1 - layer % 2
            log_scale, shift = self._affine(self.networks[layer], halves[seen])
            halves[moved] = (halves[moved] - shift) * torch.exp(-log_scale)
        return torch.cat(halves, dim=-1)

    @staticmethod
    def _affine(network: nn.Module, seen: Tensor) -> tuple[Tensor, Tensor]:
        """log-scale and shift, both (B, moved), given the half that the layer leaves as it is."""
        # not in bfloat16: log-determinants need more than its 8 bits, and networks as small as these gain
        # less than the casts cost
        with torch.autocast(seen.device.type, enabled=False):
            raw, shift = network(seen).chunk(2, dim=-1)
        return _BOUND * torch.tanh(raw / _BOUND), shift
