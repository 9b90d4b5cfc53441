"""What a GPU would wait for, shown without a GPU: on the `meta` device, whose values nobody can read, and by counts."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from helpers.perturbations import EXAMPLES
from helpers.waits import Waits
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gtn_bench.certification.margins import differences
from gtn_bench.certification.smoothing import Smoothing
from gtn_bench.data.digits import Digits
from gtn_bench.execution.accelerator import reproducible
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.first_block import FirstBlock
from gtn_bench.inference.losses import cross_entropy
from gtn_bench.models import ARCHITECTURES
from gtn_bench.perturbations import PERTURBATIONS, Perturbation, mersenne
from gtn_bench.perturbations.draws import integers_like, normal_like, uniform_like
from gtn_bench.perturbations.targets import attack_labels
from gtn_bench.teaching.curricula import LatentCurriculum, ShuffledCurriculum
from gtn_bench.teaching.inner_loop import MetaBatch, meta_gradient
from gtn_bench.teaching.optimizers import OPTIMIZERS

META = torch.device("meta")
SEEDS = torch.tensor([0, 1, 5, 2**32 + 7, 123456789, 2**62 + 12345])

# Attacks that stop images decide on the host which ones. `pgd` and `fgsm` do after every second step but the first.
DECIDES = ("apgd", "square", "strong", "lbfgs")
WAITS_NEVER = [
    each
    for each in EXAMPLES
    if each.name not in (*DECIDES, "art", "foolbox", "torchattacks") and getattr(each, "keep", "last") == "last"
]


@pytest.fixture
def on_meta() -> Classifier:
    """Return a classifier without values."""
    return Classifier(ARCHITECTURES["base_larger"]()(Digits(), seed=0).eval(), (1, 8, 8), 10).to(META)


def images(count: int) -> tuple[Tensor, Tensor]:
    return torch.empty(count, 1, 8, 8, device=META), torch.empty(count, dtype=torch.int64, device=META)


def test_meta_tensors_cannot_be_read() -> None:
    x, y = images(2)
    with pytest.raises(RuntimeError, match="meta"):
        x.sum().item()
    with pytest.raises(NotImplementedError, match="meta"):
        x.cpu()
    with pytest.raises(NotImplementedError, match="meta"):
        y.nonzero()


@pytest.mark.parametrize("perturbation", WAITS_NEVER, ids=repr)
def test_perturbation_never_waits(perturbation: Perturbation, on_meta: Classifier) -> None:
    x, y = images(5)
    with reproducible("cuda"):
        x_adv = perturbation(on_meta, x, y, torch.arange(5))
    assert x_adv.device == META and x_adv.shape == x.shape


@pytest.mark.slow
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("curriculum", [LatentCurriculum, ShuffledCurriculum])
def test_meta_gradient_never_waits(
    curriculum: type[LatentCurriculum], optimizer: str, precision: torch.dtype | None
) -> None:
    size = {"inner_steps": 4, "batch_size": 10, "latent_size": 8}
    module = curriculum(Digits(), **size, lr=0.02, momentum=0.5).to(META)
    learner = ARCHITECTURES["base_larger"]()(Digits(), seed=0).to(META).train()
    batch = MetaBatch(torch.empty(4, 10, 1, 8, 8, device=META), torch.empty(4, 10, dtype=torch.int64, device=META))
    with reproducible("cuda"):  # with deterministic algorithms, in place of padding for example
        loss, gradient = meta_gradient(
            module, learner, learner, OPTIMIZERS[optimizer](), batch, block_size=2, precision=precision
        )
    assert loss.device == META and all(part.device == META for part in gradient)


@pytest.mark.parametrize("target", ["next", "least-likely", "random", 3])
def test_targets_never_wait(target: str | int, on_meta: Classifier) -> None:
    x, y = images(5)
    assert attack_labels(on_meta, x, y, torch.arange(5), target).device == META  # type: ignore[arg-type]


class Operations(TorchDispatchMode):
    """Context that collects the names of operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:  # type: ignore[type-arg]
        self.names.append(func._overloadpacket.__name__)  # type: ignore[attr-defined]
        return func(*args, **(kwargs or {}))  # type: ignore[operator]


def test_first_convolution_is_no_matrix_product_on_a_gpu() -> None:
    """CUDA copies the patches of one image after another."""
    network = ARCHITECTURES["base_larger"]()(Digits(), seed=0).train()
    found = []
    for device in ("cpu", "meta"):
        with Operations() as operations:
            network.to(device)(torch.zeros(7, 1, 8, 8, device=device))
        found.append(operations.names)
    assert "im2col" in found[0] and "im2col" not in found[1]


def test_gradient_cache_is_compared_only_at_the_start_of_a_batch(on_meta: Classifier) -> None:
    x, y = images(5)
    on_meta._gradient_cache.append((x, y, x))
    on_meta.restart()
    with pytest.raises(NotImplementedError, match="aten::equal"):
        on_meta.loss_gradient(x, y)
    on_meta.restart()
    on_meta.loss_gradient(x, y, lambda logits, labels: cross_entropy(logits, labels))
    for _ in range(3):
        assert on_meta.loss_gradient(x, y).device == META


# Counts of the first column per step, query or evaluation; of the second one per call.
BOUNDS: list[tuple[Perturbation, int, float, int]] = [
    (PERTURBATIONS["fgsm"](beta=0.02, steps=20), 20, 0.5, 1),
    (PERTURBATIONS["pgd"](beta=0.05, steps=20), 20, 0.5, 2),
    (PERTURBATIONS["pgd"](beta=0.05, steps=20, keep="best"), 20, 12, 2),
    (PERTURBATIONS["apgd"](beta=0.05, steps=20), 21, 5, 10),
    (PERTURBATIONS["square"](beta=0.1, queries=40), 40, 6, 3),
    (PERTURBATIONS["square"](beta=0.5, queries=40, norm="l2"), 40, 5, 3),
    (PERTURBATIONS["lbfgs"](beta=2.0), 8 * 40, 7, 60),
    (PERTURBATIONS["lbfgs-penalty"](beta=1.0, steps=20), 20, 0, 0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("perturbation", "steps", "per_step", "per_call"), BOUNDS, ids=lambda value: repr(value)[:60])
@pytest.mark.parametrize("count", [4, 60])
def test_attack_waits_a_few_times_per_step_and_never_per_image(
    perturbation: Perturbation,
    steps: int,
    per_step: float,
    per_call: int,
    count: int,
    network: nn.Module,
    digits: tuple[Tensor, Tensor],
) -> None:
    classifier = Classifier(network, (1, 8, 8), 10)
    classifier.restart()
    x, y = digits[0][:count], digits[1][:count]
    with mock.patch("gtn_bench.models.numba_backend.available", return_value=False), Waits() as waits:
        perturbation(classifier, x, y, torch.arange(count))
    assert waits.total <= per_step * steps + per_call, waits.counts


def test_waits_are_counted() -> None:
    x = torch.arange(4.0)
    with Waits() as waits:
        x[x > 1]
        x.sum().item()
        bool((x > 1).any())
        x.nonzero()
        torch.equal(x, x)
        x.cpu(), x.numpy(), x.tolist()
        x[torch.tensor([1, 2])]
    assert waits.counts == {
        **{"index": 1, "_local_scalar_dense": 2, "nonzero": 1, "equal": 1},
        **{"cpu": 1, "numpy": 1, "tolist": 1},
    }


SHAPES = [(1,), (2,), (15,), (16,), (17,), (786,), (3, 32, 32)]


def drawn_on_host(fill: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    rows = torch.empty(len(SEEDS), *shape, dtype=dtype)
    for row, seed in zip(rows, SEEDS.tolist(), strict=True):
        getattr(row, fill)(generator=torch.Generator().manual_seed(seed))
    return rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_vectorized_generator_draws_the_numbers_of_the_host(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    size = torch.Size(shape).numel()
    expected = drawn_on_host("uniform_", shape, dtype)
    assert torch.equal(mersenne.uniform(SEEDS, size, dtype).view(expected.shape), expected)
    assert torch.equal(uniform_like(expected, SEEDS), expected)
    expected = drawn_on_host("normal_", shape, dtype)
    assert torch.equal(normal_like(expected, SEEDS), expected)
    if size >= mersenne.BLOCK:
        error = (mersenne.normal(SEEDS, size, dtype).view(expected.shape) - expected).abs().max()
        assert error < 16 * torch.finfo(dtype).eps


def test_vectorized_generator_draws_the_integers_of_the_host() -> None:
    expected = [torch.randint(9, (1,), generator=torch.Generator().manual_seed(seed)).item() for seed in SEEDS.tolist()]
    assert integers_like(torch.zeros(len(SEEDS), dtype=torch.int64), SEEDS, 9).tolist() == expected
    assert (mersenne.words(SEEDS, 1)[:, 0] % 9).tolist() == expected


def test_draws_on_another_device_have_its_shape_and_type() -> None:
    for dtype in (torch.float32, torch.float64):
        x = torch.empty(6, 3, 8, 8, dtype=dtype, device=META)
        for drawn in (normal_like(x, SEEDS), uniform_like(x, SEEDS)):
            assert (drawn.device, drawn.dtype, drawn.shape) == (x.device, x.dtype, x.shape)
    with pytest.raises(TypeError, match=r"drawn in float32 or float64, got torch\.bfloat16"):
        uniform_like(torch.empty(6, 8, dtype=torch.bfloat16, device=META), SEEDS)


def test_largest_map_is_found_where_the_first_block_is_not_fused(on_meta: Classifier) -> None:
    """A GPU computes the feature maps of 8x8 pixels that a fused block on a CPU never holds at once."""
    block = next(module for module in on_meta.modules() if isinstance(module, FirstBlock))
    maps = block.convolution.out_channels * 8 * 8 * 4
    assert on_meta.largest_per_image == maps
    on_cpu = Classifier(ARCHITECTURES["base_larger"]()(Digits(), seed=0).eval(), (1, 8, 8), 10)
    assert on_cpu.largest_per_image < maps


def test_certification_never_waits_for_an_image(network: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    assert differences(images(5)[1], 10, torch.float32).device == META
    counts = []
    for count in (2, 6):
        smoothing = Smoothing(sigma=0.1, n0=10, n=20)
        with mock.patch("gtn_bench.models.numba_backend.available", return_value=False), Waits() as waits:
            smoothing.radii(network, digits[0][:count], torch.arange(count))
        counts.append(waits.counts)
    assert counts == [{"tolist": 2}] * 2  # of the seeds, which are on the host, and of the result
