"""Likelihoods against torch.distributions."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Laplace, Multinomial, Normal
from torch.nn import functional

from models.base import Modality
from models.parts.likelihoods import Likelihood, make_likelihood

IMAGE = Modality("image", (3, 2, 5))
LEADING = [(4,), (6, 4), (2, 6, 4)]
"""Of the means: items alone, samples of them, samples from each of several experts."""


def tensors(leading: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Four items in [0, 1] and means of them in (0, 1), with leading dimensions that end in 4."""
    torch.manual_seed(0)
    return torch.rand(4, *IMAGE.shape, dtype=torch.float64), 0.01 + 0.98 * torch.rand(
        *leading, *IMAGE.shape, dtype=torch.float64
    )


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("scale", [0.1, 0.75, 2.0])
@pytest.mark.parametrize(("family", "reference"), [("gaussian", Normal), ("laplace", Laplace)])
def test_families_with_a_scale(
    family: str, reference: type[Normal] | type[Laplace], scale: float, leading: tuple[int, ...]
) -> None:
    x, mean = tensors(leading)
    log_prob = make_likelihood(IMAGE, family, scale).double()(x, mean)
    assert log_prob.shape == leading
    # the scale is kept as a float32 logarithm
    torch.testing.assert_close(
        log_prob, reference(mean, scale).log_prob(x).sum((-3, -2, -1)), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("leading", LEADING)
def test_bernoulli_on_binary_data(leading: tuple[int, ...]) -> None:
    x, mean = tensors(leading)
    x = x.round()
    log_prob = make_likelihood(IMAGE, "bernoulli")(x, mean)
    torch.testing.assert_close(log_prob, Bernoulli(mean).log_prob(x).sum((-3, -2, -1)))


@pytest.mark.parametrize("leading", LEADING)
def test_bernoulli_on_grey_values(leading: tuple[int, ...]) -> None:
    """x log p + (1 - x) log(1 - p), as is usual for images that are not quite binary."""
    x, mean = tensors(leading)
    log_prob = make_likelihood(IMAGE, "bernoulli")(x, mean)
    torch.testing.assert_close(log_prob, Bernoulli(mean, validate_args=False).log_prob(x).sum((-3, -2, -1)))


@pytest.mark.parametrize("leading", LEADING)
def test_categorical_is_the_sum_over_positions(leading: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    symbols = torch.randint(6, (4, 5))
    probabilities = torch.randn(*leading, 5, 6, dtype=torch.float64).softmax(-1)
    text = Modality("text", (5, 6), likelihood="categorical", symbols="abcdef")
    log_prob = make_likelihood(text, "laplace", 0.75)(functional.one_hot(symbols, 6).double(), probabilities)
    torch.testing.assert_close(log_prob, Categorical(probabilities).log_prob(symbols).sum(-1))


@pytest.mark.parametrize("leading", LEADING)
def test_multinomial_is_of_the_words_in_one_order(leading: tuple[int, ...]) -> None:
    """Of items as the data path has them, rounded to 8 bits; documents may differ in length."""
    torch.manual_seed(0)
    counts = torch.tensor([[3, 0, 4], [0, 7, 0], [1, 1, 1], [0, 0, 2]])
    orders = torch.tensor([[math.lgamma(n + 1) for n in row] for row in counts.tolist()]).double()
    orders = torch.lgamma(counts.sum(1).double() + 1) - orders.sum(1)  # log of the number of orders
    x = (counts * 255 / 7).round() / 255
    probabilities = torch.randn(*leading, 3, dtype=torch.float64).softmax(-1)
    tags = Modality("tags", (3,), likelihood="multinomial", symbols="abc", words=7)
    log_prob = make_likelihood(tags, "laplace")(x.double(), probabilities)
    for i, row in enumerate(counts.double()):
        whole = Multinomial(int(row.sum()), probabilities[..., i, :]).log_prob(row)
        torch.testing.assert_close(log_prob[..., i], whole - orders[i])


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_certain_and_wrong_probabilities_stay_finite(family: str) -> None:
    x = functional.one_hot(torch.tensor([[0, 1]]), 2).double()
    mean = x.flip(-1).requires_grad_()
    log_prob = Likelihood(family, event_dims=2)(x, mean)
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()


@pytest.mark.parametrize(("family", "value"), [("bernoulli", 1.0), ("poisson", 0.5)])
def test_a_mean_that_is_very_wrong_has_a_gradient(family: str, value: float) -> None:
    """d log p / d logit is x - mean of a Bernoulli variable, (n - r) (1 - mean) of n = 5 at rate r."""
    logit = torch.tensor([[-20.0]], requires_grad=True)
    Likelihood(family, event_dims=1, words=10)(torch.tensor([[value]]), logit.sigmoid()).sum().backward()
    assert logit.grad is not None
    assert logit.grad.item() == pytest.approx({"bernoulli": 1.0, "poisson": 5.0}[family], rel=1e-4)


def test_trained_scale_has_the_gradient_of_the_density() -> None:
    """d log N / d log s = |x - mean|^2 / s^2 - D, d log Laplace / d log b = |x - mean|_1 / b - D.

    Both are 0 at the maximum-likelihood scale.
    """
    x, mean = tensors((4,))
    numel = math.prod(IMAGE.shape)
    for family, error in (("gaussian", (x - mean).square()), ("laplace", (x - mean).abs())):
        power = 2 if family == "gaussian" else 1
        likelihood = make_likelihood(IMAGE, family, 0.3, trained=True).double()
        (gradient,) = torch.autograd.grad(likelihood(x, mean).mean(), list(likelihood.parameters()))
        torch.testing.assert_close(gradient, error.sum() / 4 / 0.3**power - numel, rtol=1e-5, atol=0)
        best = float(error.mean() ** (1 / power))
        likelihood = make_likelihood(IMAGE, family, best, trained=True).double()
        (gradient,) = torch.autograd.grad(likelihood(x, mean).mean(), list(likelihood.parameters()))
        assert abs(float(gradient)) < 1e-5


def test_scale_is_trained_only_where_it_exists_and_is_asked_for() -> None:
    trained = {
        family: len(list(make_likelihood(IMAGE, family, 0.5, trained=True).parameters()))
        for family in ("gaussian", "laplace", "bernoulli")
    }
    assert trained == {"gaussian": 1, "laplace": 1, "bernoulli": 0}
    assert not list(make_likelihood(IMAGE, "gaussian", 0.5).parameters())
    assert make_likelihood(IMAGE, "gaussian", 0.5).state_dict()["log_scale"].exp() == pytest.approx(0.5)


def test_modality_overrules_the_model() -> None:
    assert (
        make_likelihood(
            Modality("text", (5, 6), likelihood="categorical", symbols="abcdef"), "gaussian"
        ).family
        == "categorical"
    )
    with pytest.raises(ValueError, match="unknown likelihood 'student'"):
        make_likelihood(IMAGE, "student")


@pytest.mark.parametrize("name", ["", "../x", "a.b", "a->b", "a+b", "a b"])
def test_a_name_of_a_modality_can_be_that_of_a_file_and_of_a_metric(name):
    with pytest.raises(ValueError, match=r"modality name .* is not usable"):
        Modality(name, (1, 8, 8))
