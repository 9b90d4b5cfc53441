"""Classifiers of any network: random ones, whose passes are averaged, and those of unusual modules."""

from __future__ import annotations

import copy
import functools
import random
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.config.errors import ConfigError, ViewMismatchError
from gtn_bench.data import Digits
from gtn_bench.evaluation.batching import batch_size
from gtn_bench.evaluation.evaluate import evaluate, evaluate_clean
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.copying import called_modules, independent_copy
from gtn_bench.inference.draws import draw_seed, seeded
from gtn_bench.inference.folding import fold
from gtn_bench.inference.losses import cross_entropy, dlr, margin
from gtn_bench.inference.random_classifier import RandomClassifier, images_per_batch
from gtn_bench.inference.views import as_art, as_foolbox, as_torchattacks, check_view
from gtn_bench.models import ARCHITECTURES
from gtn_bench.models.function import FunctionModule
from gtn_bench.models.layers import Conv2d, Linear
from gtn_bench.perturbations import PERTURBATIONS

SHAPE = (1, 8, 8)
Images = tuple[Tensor, Tensor]


class Noise(nn.Module):
    """Gaussian noise that is always added."""

    def __init__(self, std: float = 0.3) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return x + self.std * torch.randn_like(x)


class NumpyNoise(nn.Module):
    """Noise from NumPy's and Python's generators."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * np.random.randn() + 0.1 * random.random()


def noisy(network: nn.Module, samples: int = 4, layer: nn.Module | None = None) -> RandomClassifier:
    """Return the random classifier of a network behind noise."""
    return RandomClassifier(nn.Sequential(layer or Noise(), network), SHAPE, 10, samples=samples)


def one_pass(classifier: RandomClassifier, x: Tensor, draw: int, sequence: str = "attack") -> Tensor:
    """Return the logits of one seeded pass through the network of a random classifier."""
    with seeded(draw_seed(sequence, draw), x.device):
        return cast(Tensor, classifier.network(x))


def test_logits_are_means_over_seeded_passes(network: nn.Module, digits: Images) -> None:
    classifier, x = noisy(network), digits[0]
    first, second = classifier(x), classifier(x)
    expected = [
        torch.stack([one_pass(classifier, x, draw) for draw in draws]).mean(0) for draws in ([0, 1, 2, 3], [4, 5, 6, 7])
    ]
    assert torch.equal(first, expected[0]) and torch.equal(second, expected[1])
    assert not torch.equal(first, second)
    classifier.restart()
    assert torch.equal(classifier(x), first)


def test_gradients_are_means_over_the_same_passes(network: nn.Module, digits: Images) -> None:
    """Passes are recomputed for the gradient, with the same draws, those of NumPy and Python among them."""
    x, y = digits
    for layer in (Noise(), NumpyNoise()):
        classifier = noisy(network, layer=layer)
        gradient = classifier.loss_gradient(x, y)
        leaf = x.clone().requires_grad_()
        logits = torch.stack([one_pass(classifier, leaf, draw) for draw in range(4)]).mean(0)
        expected = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), leaf)[0]
        assert torch.allclose(gradient, expected, atol=1e-6 * float(expected.abs().max()))
        classifier.restart()
        assert torch.equal(classifier.cache_gradient(x, y), gradient)
        assert not torch.equal(classifier.loss_gradient(x, y), gradient)  # later draws, not a cached gradient


@pytest.mark.parametrize("loss", [cross_entropy, margin, dlr])
def test_losses_of_mean_logits_and_mean_log_probabilities_are_the_same(
    loss: Callable[[Tensor, Tensor], Tensor], network: nn.Module, digits: Images
) -> None:
    x, y = digits[0].double(), digits[1]
    classifier = noisy(copy.deepcopy(network).double())
    logits = torch.stack([one_pass(classifier, x, draw) for draw in range(4)])
    assert torch.allclose(loss(classifier(x), y), loss(logits.log_softmax(2).mean(0), y), atol=1e-9)


def test_memory_does_not_grow_with_the_number_of_passes(network: nn.Module) -> None:
    few, many = (sum(noisy(network, samples)._kept(4)) for samples in (1, 16))
    once = sum(Classifier(nn.Sequential(Noise(), network), SHAPE, 10)._kept(4))
    assert many - few < 16 * 4 * (64 + 10) * 4 < once  # the images and logits of each pass


def test_passes_are_counted(network: nn.Module, digits: Images) -> None:
    x, y = digits
    classifier = noisy(network)
    classifier.predict(x)
    classifier.loss_gradient(x, y)
    assert (classifier.forwards, classifier.backwards) == (2 * 4 * 60, 4 * 60)


def test_judgment_uses_draws_that_attacks_do_not_see(network: nn.Module, digits: Images) -> None:
    classifier, x = noisy(network), digits[0]
    classifier.restart()
    attacked = [classifier(x) for _ in range(5)]
    classifier.restart("judgment")
    judged = classifier(x)
    assert all(not torch.equal(judged, logits) for logits in attacked)
    assert torch.equal(judged, torch.stack([one_pass(classifier, x, draw, "judgment") for draw in range(4)]).mean(0))
    assert len({draw_seed(sequence, draw) for sequence in ("attack", "judgment") for draw in range(1000)}) == 2000


def test_global_generators_are_restored_and_have_no_influence(network: nn.Module, digits: Images) -> None:
    classifier, x = noisy(network, layer=nn.Sequential(Noise(), NumpyNoise())), digits[0]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    first = classifier(x)
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])  # type: ignore[index]
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    classifier.restart()
    assert torch.equal(classifier(x), first)


@pytest.mark.parametrize(
    ("shape", "images"), [((1, 8, 8), 128), ((3, 32, 32), 128), ((3, 64, 64), 64), ((3, 224, 224), 8), ((1, 1, 1), 128)]
)
def test_batches_depend_on_the_shape_of_images_alone(shape: tuple[int, int, int], images: int) -> None:
    assert images_per_batch(shape) == images
    classifier = RandomClassifier(nn.Flatten(), shape, 10, samples=2)
    assert classifier.batch == batch_size(classifier, torch.zeros(1000, *shape), "any") == images
    assert Classifier(nn.Flatten(), shape, 10).batch is None


@pytest.mark.parametrize("samples", [0, -3])
def test_number_of_passes_must_be_positive(samples: int) -> None:
    with pytest.raises(ConfigError, match=f"^samples_per_forward expects a positive integer, got {samples}$"):
        RandomClassifier(nn.Flatten(), SHAPE, 10, samples=samples)


@pytest.mark.parametrize("view", [as_art, functools.partial(as_art, probabilities=True), as_foolbox, as_torchattacks])
def test_views_are_compared_with_the_same_draws(view: Callable[[Classifier], Any], network: nn.Module) -> None:
    classifier = noisy(network)
    classifier(torch.zeros(1, *SHAPE))
    before = classifier.next_draw, classifier.forwards, classifier.backwards
    view(classifier)
    assert (classifier.next_draw, classifier.forwards, classifier.backwards) == before
    with pytest.raises(ViewMismatchError, match=r"^shifted: its logits differ from the learner's by"):
        check_view("shifted", classifier, lambda x: classifier(x + 0.1), lambda x, y: classifier.loss_gradient(x, y))
    with pytest.raises(ViewMismatchError, match=r"its logits differ"):  # what happens without restored draws
        check_view("plain", Classifier(nn.Sequential(Noise(), network), SHAPE, 10), classifier, lambda x, y: x)


ATTACKS = [
    PERTURBATIONS["pgd"](beta=0.1, steps=3),
    PERTURBATIONS["noise"](beta=0.2),
    PERTURBATIONS["foolbox"](attack="LinfPGD", beta_parameter="epsilon", beta=0.1, params={"steps": 3}),
    PERTURBATIONS["art"](attack="SquareAttack", beta_parameter="eps", beta=0.1, params={"max_iter": 3}),
]


@pytest.mark.parametrize("perturbation", ATTACKS, ids=lambda perturbation: perturbation.title)
def test_results_are_reproducible(perturbation: Any, network: nn.Module, digits: Images) -> None:
    """Other evaluations before, and other states of the global generators, have no influence."""
    x, y = digits
    results = []
    for earlier in range(2):
        classifier = noisy(network)
        torch.manual_seed(earlier)
        for _ in range(earlier):
            classifier.loss_gradient(x, y)
        clean = evaluate_clean(classifier, x, y)
        results.append(evaluate(perturbation, classifier, clean, x, y, torch.arange(60)))
    one, other = results
    assert torch.equal(one.examples, other.examples) and torch.equal(one.prediction, other.prediction)
    assert torch.equal(one.clean_prediction, other.clean_prediction) and one.forwards == other.forwards


def test_strength_zero_is_judged_as_clean(network: nn.Module, digits: Images) -> None:
    x, y = digits
    classifier = noisy(network, samples=1)
    clean = evaluate_clean(classifier, x, y)
    result = evaluate(PERTURBATIONS["noise"](beta=0.0), classifier, clean, x, y, torch.arange(60))
    assert torch.equal(result.prediction, clean.prediction)


class LineWithNoise(nn.Module):
    """Two classes at the sides of a plane that every pass moves at random."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.register_buffer("w", torch.randn(64, generator=draw) / 8)

    def forward(self, x: Tensor) -> Tensor:
        noisy = x.flatten(1) + 2.0 * torch.randn(len(x), 64)
        score = 4 * torch.tanh(2 * (noisy - 0.5) @ self.w)  # type: ignore[operator]
        return torch.stack([-score, score], dim=1)


def test_attacks_on_expectations_are_stronger_than_on_single_draws(digits: Images) -> None:
    """The truth is the mean over 500 draws. A gradient of one saturated draw is mostly that of the noise."""
    x = 0.3 + 0.4 * digits[0]
    judge = RandomClassifier(LineWithNoise(), SHAPE, 2, samples=500)
    y = judge.predict(x)
    attack = PERTURBATIONS["pgd"](beta=0.05, steps=5, relative_step_size=0.25, random_start=False)
    weights = judge.network.w * (1 - 2 * y[:, None])  # type: ignore[operator]
    best = (x + 0.05 * weights.sign().view_as(x)).clamp(0, 1)  # the exact optimum for a plane
    agreement = []
    for samples in (1, 100):
        attacked = RandomClassifier(LineWithNoise(), SHAPE, 2, samples=samples)
        x_adv = attack(attacked, x, y, torch.arange(60))
        agreement.append((best - x_adv).abs().mean() / 0.05)
    assert agreement[1] < 0.5 * agreement[0]


# Classifiers of unusual modules.


class Tuples(nn.Module):
    """A network whose inner layers return tuples and mappings, and are called several times."""

    class Pair(nn.Module):
        """Twice a linear layer."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 64)

        def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return x, {"wide": self.linear(self.linear(x)).repeat(1, 100)}

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.head = self.Pair(), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.pair(x.flatten(1))[1]["wide"][:, :64].tanh()))


class Batches(nn.Module):
    """A network that refuses a single image."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1:
            raise ValueError("expected more than one image")
        return cast(Tensor, self.linear(x.flatten(1)))


class Mixed(nn.Module):
    """A network with integer and floating-point parameters of several types, which returns float64."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Parameter(torch.tensor(3), requires_grad=False)
        self.first, self.second = nn.Linear(64, 16), nn.Linear(16, 10).double()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.second(self.first(x.flatten(1)).double()))


class Weightless(nn.Module):
    """A network without parameters and buffers."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.flatten(1).sin().sum(1) * k for k in range(10)], dim=1)


class Case(NamedTuple):
    """A network, its type of parameters, of images, and of logits."""

    make: Callable[[], Any]
    parameters: torch.dtype = torch.float32
    images: torch.dtype = torch.float32
    logits: torch.dtype = torch.float32


def plain() -> nn.Sequential:
    """Return a network of PyTorch's layers."""
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


CASES = {
    "tuples": Case(Tuples),
    "batches": Case(Batches),
    "weightless": Case(Weightless),
    "mixed": Case(Mixed, logits=torch.float64),
    "float64": Case(lambda: plain().double(), *[torch.float64] * 3),
    "bfloat16": Case(lambda: plain().bfloat16(), torch.bfloat16),
    "float16": Case(lambda: plain().half(), torch.float16),
    "function": Case(lambda: Weightless().forward),
    "function of a float64 network": Case(
        lambda: functools.partial(lambda net, x: net(x), plain().double()), *[torch.float64] * 3
    ),
    "sequence without layers": Case(lambda: nn.Sequential(Weightless(), nn.Sequential())),
}


@pytest.mark.parametrize("case", CASES)
def test_classifiers_of_any_network(case: str, digits: Images) -> None:
    x, y = digits
    network, parameters, images, logits = CASES[case].make(), *CASES[case][1:]
    classifier = Classifier(network, SHAPE, 10)
    types = classifier.parameter_dtype, classifier.dtype, classifier(x).dtype, classifier(x.double()).dtype
    assert types == (parameters, images, logits, logits)
    assert classifier.device == torch.device("cpu") and classifier.differentiable
    exact = {torch.bfloat16: 0.05, torch.float16: 0.01}.get(parameters, 1e-5)
    with torch.no_grad():
        expected = network(x.to(parameters)).to(logits)
    assert torch.allclose(classifier(x), expected, atol=exact * float(expected.abs().max()))
    gradient = classifier.loss_gradient(x, y)
    assert gradient.dtype == torch.float32 and (gradient != 0).flatten(1).any(dim=1).all()
    assert classifier.largest_per_image >= 64 * x.element_size() and min(classifier.kept_per_image, default=0) >= 0
    for view in (as_art, as_foolbox, as_torchattacks):
        view(classifier)


def test_largest_output_of_layers_that_return_tuples() -> None:
    assert Classifier(Tuples(), SHAPE, 10).largest_per_image == 6400 * 4


@pytest.mark.parametrize("shape", [(1, 5, 9), (3, 12, 7), (2, 1, 30)])
def test_images_need_not_be_square(shape: tuple[int, int, int]) -> None:
    features = shape[0] * shape[1] * shape[2]
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(features, 4)), shape, 4)
    x, y = torch.rand(6, *shape), torch.arange(6) % 4
    for view in (as_art, as_foolbox, as_torchattacks):
        view(classifier)
    assert classifier.loss_gradient(x, y).shape == x.shape and classifier.largest_per_image == 4 * features


def test_network_without_a_gradient_has_a_zero_one(network: nn.Module, digits: Images) -> None:
    """Views of it are checked by their logits, so that attacks without gradients can run."""
    x, y = digits
    detached = Classifier(FunctionModule(torch.no_grad()(lambda x: network(x))), SHAPE, 10)
    partly = Classifier(lambda x: network(x.detach()), SHAPE, 10)  # its weights need gradients
    for classifier in (detached, partly):
        assert not classifier.differentiable
        assert torch.equal(classifier.loss_gradient(x, y), torch.zeros_like(x))
        assert evaluate_clean(classifier, x, y).zero_gradient.all()
        as_art(classifier), as_foolbox(classifier), as_torchattacks(classifier)
    with pytest.raises(ViewMismatchError, match="its logits differ"):
        check_view("shifted", detached, lambda x: detached(x) + 1, lambda x, y: x)


def contiguous() -> nn.Module:
    """Return a sequence with a layer that cannot flatten channels-last feature maps."""

    class View(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(len(x), -1)

    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), View(), nn.Linear(144, 10))


def hooked() -> nn.Module:
    """Return a sequence of this package's layers whose hooks change the images and a layer's outputs."""
    network = nn.Sequential(Conv2d(1, 4, 3), nn.LeakyReLU(0.1), nn.Flatten(), Linear(144, 10))
    network.register_forward_pre_hook(lambda module, inputs: (inputs[0] - 0.5,))
    network[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return network


def patched() -> nn.Module:
    """Return a sequence whose instance has its own forward function."""
    network = nn.Sequential(Conv2d(1, 4, 3), nn.LeakyReLU(0.1), nn.Flatten(), Linear(144, 10))
    network.forward = lambda x: nn.Sequential.forward(network, 1 - x)  # type: ignore[assignment, method-assign]
    return network


class Inverted(nn.Sequential):
    """A subclass of a sequence that inverts its images."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, super().forward(1 - x))


def casting() -> nn.Module:
    """Return a sequence with a layer that returns float32 whatever it receives."""

    class Cast(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.float().relu()

    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), Cast(), nn.Linear(32, 10))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "make",
    [contiguous, hooked, patched, casting, lambda: Inverted(nn.Flatten(), nn.Linear(64, 10)), Tuples],
    ids=["contiguous", "hooked", "patched", "casting", "subclass", "module"],
)
def test_preparation_keeps_the_function_of_any_network(make: Any, precision: Any, digits: Images) -> None:
    network = make().eval()
    with torch.no_grad():
        expected = network(digits[0])
    logits = Classifier(network, SHAPE, 10, precision)(digits[0])
    tolerance = 1e-5 if precision == "float32" else 0.03
    assert torch.allclose(logits, expected, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [None, "base_larger", "base_larger4"])
def test_given_network_does_not_change(name: str | None, precision: Any, digits: Images) -> None:
    """Neither its layout, mode, gradients and weights, nor the classifier after a further training step."""
    network = ARCHITECTURES[name]()(Digits(), seed=0) if name else nn.Sequential(nn.BatchNorm2d(1), *plain())
    network.train()(digits[0])
    before = {key: (value.clone(), value.stride()) for key, value in network.state_dict().items()}
    classifier = Classifier(network, SHAPE, 10, precision)
    logits = classifier(digits[0])
    classifier.loss_gradient(*digits)
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key][0]) and value.stride() == before[key][1]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert torch.equal(classifier(digits[0]), logits)


def test_networks_are_copied_with_computed_tensors_and_uncopyable_attributes(digits: Images) -> None:
    with pytest.warns(FutureWarning):
        layer = nn.utils.weight_norm(nn.Linear(64, 10))
    network = nn.Sequential(nn.Flatten(), layer).eval()
    network.resources, layer.lock = [threading.Lock()], threading.Lock()  # type: ignore[assignment]
    expected = network(digits[0])  # from now on the weight is a tensor with a history
    twin = independent_copy(network)
    assert torch.equal(twin(digits[0]), expected)
    assert twin[1].lock is layer.lock and twin.resources is network.resources  # type: ignore[index, attr-defined]
    assert {*map(id, twin.modules())}.isdisjoint(map(id, network.modules()))
    pointers = [{tensor.data_ptr() for tensor in one.parameters()} for one in (network, twin)]
    assert len(pointers[0]) == 3 and pointers[0].isdisjoint(pointers[1])
    assert torch.equal(Classifier(network, SHAPE, 10)(digits[0]), expected)


def test_shared_layers_stay_shared_in_a_copy() -> None:
    layer = nn.Linear(4, 4)
    twin = independent_copy(nn.Sequential(layer, nn.Sequential(layer)))
    assert twin[0] is twin[1][0] and twin[0] is not layer  # type: ignore[index]


def test_modules_that_functions_call_are_known() -> None:
    one, two = nn.Linear(3, 2), nn.Linear(2, 2)

    class Pipeline:
        def __init__(self) -> None:
            self.stage = two

        def __call__(self, x: Tensor) -> Tensor:
            return cast(Tensor, self.stage(one(x)))

    functions: dict[Any, list[nn.Module]] = {
        (lambda x: one(x)): [one],
        one.forward: [one],
        functools.partial(lambda net, x: net(x), two): [two],
        Pipeline(): [two],
        torch.sin: [],
    }
    for function, expected in functions.items():
        assert called_modules(nn.Sequential(FunctionModule(function))) == expected
    assert called_modules(one) == []


def test_folding_does_not_fold_an_empty_sequence() -> None:
    x = torch.rand(2, 3)
    assert torch.equal(fold(nn.Sequential())(x), x)
