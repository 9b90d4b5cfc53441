from __future__ import annotations

import functools
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gtn_bench.config.errors import ConfigError, DivergenceError
from gtn_bench.data.base import Dataset
from gtn_bench.data.digits import Digits
from gtn_bench.data.torchvision import CIFAR10
from gtn_bench.models import ARCHITECTURES
from gtn_bench.models.layers import (
    Conv2d,
    Flatten,
    FullBatchNorm,
    Linear,
    MaxPool2d,
    MeanBatchNorm,
    differentiable_statistics,
    weight_normalized,
)
from gtn_bench.store.files import read_tensors
from gtn_bench.teaching import OPTIMIZERS, TEACHERS, InnerOptimizer, MetaTrained, meta_training
from gtn_bench.teaching.curricula import Curriculum, LatentCurriculum, real_curriculum
from gtn_bench.teaching.generator import StepwiseBatchNorm, UpsamplingConv2d
from gtn_bench.teaching.history import History, Monitor
from gtn_bench.teaching.initialized import ContinuedGTN, InitializedGTN, RealInitGTN
from gtn_bench.teaching.inner_loop import MetaBatch, initial_state, inner_step, meta_gradient, trajectory, unroll
from gtn_bench.teaching.optimizers import SGD, Adam, Muon, RMSProp, orthogonal
from gtn_bench.teaching.teachers import CurriculumGTN, PlainGTN, RealData, ShuffledGTN
from gtn_bench.teaching.teaching_set import TeachingSet


def latent_curriculum(steps: int = 5, dataset: Dataset | None = None) -> LatentCurriculum:
    torch.manual_seed(0)
    module = LatentCurriculum(
        dataset or Digits(), inner_steps=steps, batch_size=10, latent_size=3, lr=0.05, momentum=0.6
    )
    return module.double()


def small_network() -> nn.Module:
    """Return a network of all layers that the inner loop differentiates twice, smooth except for the pooling."""
    torch.manual_seed(1)
    first, second = Conv2d(1, 8, 3, padding=1), Conv2d(8, 2, 3, padding=1)
    layers = (first, MeanBatchNorm(8), nn.Softplus(), second, MaxPool2d(3, stride=2, padding=1), FullBatchNorm(2))
    return nn.Sequential(*layers, nn.Softplus(), Flatten(), Linear(8, 2, bias=True)).double().train()


def meta_batch(steps: int, size: int = 6) -> MetaBatch:
    x, y = Digits()()["train"][torch.arange(steps * size)]
    return MetaBatch(x.double().unflatten(0, (steps, size)), y.unflatten(0, (steps, size)))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SGD(), lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.7)),
        (RMSProp(alpha=0.9), lambda params: torch.optim.RMSprop(params, lr=0.1, alpha=0.9, momentum=0.7)),
        (Adam(beta2=0.99), lambda params: torch.optim.Adam(params, lr=0.1, betas=(0.7, 0.99))),
    ],
    ids=["sgd", "rmsprop", "adam"],
)
def test_inner_optimizers_match_torch_optim(ours: InnerOptimizer, theirs: Any) -> None:
    torch.manual_seed(0)
    start = torch.randn(4, 3, dtype=torch.float64)
    weight = nn.Parameter(start.clone())
    optimizer = theirs([weight])
    params, memory = {"w": start}, ours.start({"w": start})
    for _ in range(5):
        grad = torch.randn_like(start)
        weight.grad = grad.clone()
        optimizer.step()
        params, memory = ours(params, memory, {"w": grad}, torch.tensor(0.1), torch.tensor(0.7))
        assert torch.allclose(params["w"], weight, atol=1e-9)


@pytest.mark.parametrize("shape", [(12, 3), (3, 4), (8, 2, 3, 3), (5,)])
def test_muon_matches_torch_optim(shape: tuple[int, ...]) -> None:
    """Weights agree to the precision of bfloat16, in which PyTorch orthogonalizes. Gains and biases follow Adam."""
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("torch.optim.Muon came with PyTorch 2.9")
    torch.manual_seed(0)
    start = torch.randn(shape)
    weight = nn.Parameter(start.flatten(1).clone() if start.ndim > 1 else start.clone())
    if start.ndim > 1:
        theirs: Any = torch.optim.Muon([weight], lr=0.1, weight_decay=0.0, momentum=0.7)
    else:
        theirs = torch.optim.Adam([weight], lr=0.01, betas=(0.7, 0.999))
    params, memory = {"w": start}, Muon().start({"w": start})
    for _ in range(5):
        grad = torch.randn_like(start)
        weight.grad = grad.view_as(weight).clone()
        theirs.step()
        params, memory = Muon()(params, memory, {"w": grad}, torch.tensor(0.1), torch.tensor(0.7))
        assert torch.allclose(params["w"].view_as(weight), weight, atol=0.02 if start.ndim > 1 else 1e-6)
        assert params["w"].shape == start.shape


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (7, 7)])
def test_orthogonal_applies_newton_schulz_to_the_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    sizes = torch.logspace(0, -4, min(shape), dtype=torch.float64)
    expected = sizes / sizes.norm()
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    assert torch.allclose(orthogonal(u @ sizes.diag() @ v), u @ expected.diag() @ v, atol=1e-9)
    assert ((expected > 0.65) & (expected < 1.25))[sizes > 0.01].all() and expected[-1] < 0.1
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


def test_trajectory_matches_torch_sgd_on_the_batches_of_the_curriculum() -> None:
    curriculum = Curriculum(*(part.detach() for part in latent_curriculum()(slice(None))))
    ours, theirs = (ARCHITECTURES["base"]()(Digits(), seed=3).double().train() for _ in range(2))
    *_, end = trajectory(ours, SGD(), curriculum)
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.1)
    for images, labels, lr, momentum in zip(*curriculum, strict=True):
        sgd.param_groups[0].update(lr=lr.item(), momentum=momentum.item())
        sgd.zero_grad()
        F.cross_entropy(theirs(images), labels).backward()
        sgd.step()
    for name, value in theirs.named_parameters():
        assert torch.allclose(end.params[name], value, atol=1e-12), name
    for name, value in theirs.named_buffers():
        assert torch.allclose(end.buffers[name], value, atol=1e-12), name


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(cls.model_validate(options), id=name, marks=[pytest.mark.slow] if options else [])
        for name, cls in OPTIMIZERS.items()
        for options in [{"eps": 1e-3} if "eps" in cls.model_fields else {}]
    ],
)
@pytest.mark.parametrize("statistics", ["real", "teaching"])
def test_meta_gradient_passes_gradcheck(statistics: str, optimizer: InnerOptimizer) -> None:
    """The gradient goes through three inner steps, to images, labels, learning rates and momenta."""
    learner = small_network()
    evaluated = learner
    if statistics == "teaching":
        evaluated = small_network().eval()
        differentiable_statistics(learner)
    torch.manual_seed(2)
    images = torch.randn(3, 4, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.rand(3, 4, 2, dtype=torch.float64, requires_grad=True)
    scale = 1.0 if optimizer.name == "sgd" else 0.02  # the steps of the others are as long as their learning rates
    lr = (torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64) * scale).requires_grad_()
    momentum = torch.tensor([0.5, 0.4, 0.9], dtype=torch.float64, requires_grad=True)
    real = MetaBatch(torch.randn(3, 5, 1, 4, 4, dtype=torch.float64), torch.randint(2, (3, 5)))

    def meta_loss(*curriculum: Tensor) -> Tensor:
        start = initial_state(learner, optimizer)
        return unroll(learner, evaluated, optimizer, start, Curriculum(*curriculum), real, create_graph=True)[1]

    assert torch.autograd.gradcheck(meta_loss, (images, labels, lr, momentum), atol=1e-6)


@pytest.mark.parametrize("statistics", ["real", "teaching"])
@pytest.mark.parametrize("block_size", [1, 2, 3, 5])
def test_meta_gradient_in_blocks_equals_that_of_one_unroll(block_size: int, statistics: str) -> None:
    module = latent_curriculum()
    learner = ARCHITECTURES["base"]()(Digits(), seed=0).double().train()
    evaluated = learner
    if statistics == "teaching":
        evaluated = ARCHITECTURES["base"]()(Digits(), seed=0).double().eval()
        differentiable_statistics(learner)
    real = meta_batch(5)

    start = initial_state(learner, SGD())
    _, total = unroll(learner, evaluated, SGD(), start, module(slice(None)), real, create_graph=True)
    plain = torch.autograd.grad(total / 5, list(module.parameters()))
    loss, blocked = meta_gradient(module, learner, evaluated, SGD(), real, block_size=block_size)

    assert math.isclose(loss.item(), total.item() / 5, rel_tol=1e-12)
    for (name, _), ours, expected in zip(module.named_parameters(), blocked, plain, strict=True):
        assert torch.allclose(ours, expected, atol=1e-12, rtol=1e-9), name
        assert expected.abs().max() > 0, name


@pytest.mark.parametrize("block_size", [1, 2, 5])
@pytest.mark.parametrize(("every", "most"), [(2, None), (3, None), (9, None), (2, 2), (1, 3), (2, 4)])
def test_meta_losses_after_some_inner_steps_are_those_of_plain_autograd(
    every: int, most: int | None, block_size: int
) -> None:
    """The steps count from the last one: of five, every second are the first, third and fifth."""
    module, real = latent_curriculum(), meta_batch(5)
    learner = ARCHITECTURES["base"]()(Digits(), seed=0).double().train()
    state, losses = initial_state(learner, SGD()), list[Tensor]()
    for step, images, labels in zip(zip(*module(slice(None)), strict=True), *real, strict=True):
        state = inner_step(learner, SGD(), state, *step, create_graph=True)
        losses.append(F.cross_entropy(functional_call(learner, {**state.params, **state.buffers}, (images,)), labels))
    mean = torch.stack(losses[::-1][::every][:most]).mean()
    plain = torch.autograd.grad(mean, list(module.parameters()), allow_unused=True, materialize_grads=True)

    found = meta_gradient(
        *(module, learner, learner, SGD(), real), block_size=block_size, meta_loss_every=every, meta_losses=most
    )
    assert math.isclose(found[0].item(), mean.item(), rel_tol=1e-12)
    for (name, _), ours, expected in zip(module.named_parameters(), found[1], plain, strict=True):
        assert torch.allclose(ours, expected, atol=1e-12, rtol=1e-9), name
        assert expected.abs().max() > 0, name


def test_inner_step_stores_the_batch_norm_statistics_of_its_batch() -> None:
    learner = ARCHITECTURES["base"]()(Digits(), seed=0).double().train()
    curriculum = Curriculum(*(part[0].detach() for part in latent_curriculum()(slice(0, 1))))
    state = inner_step(learner, SGD(), initial_state(learner, SGD()), *curriculum, create_graph=False)
    learner(curriculum.images)
    assert torch.equal(state.buffers["3.running_mean"], learner.state_dict()["3.running_mean"])


def test_inner_steps_of_a_curriculum_do_not_depend_on_how_many_are_generated_at_once() -> None:
    module = latent_curriculum()
    together = module(slice(None))
    for step in range(5):
        alone = module(slice(step, step + 1))
        for part, whole in zip(alone, together, strict=True):
            assert torch.allclose(part[0], whole[step], atol=1e-12)


@pytest.mark.parametrize("outputs", [1, 5])
def test_upsampling_convolution_equals_upsampling_padding_and_convolution(outputs: int) -> None:
    torch.manual_seed(0)
    layer = UpsamplingConv2d(3, outputs, bias=True).double()
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = weight_normalized(layer.weight, layer.gain)
    padded = F.pad(F.interpolate(x, scale_factor=2), (1, 1, 1, 1), mode="reflect")
    expected = F.conv2d(padded, weight, layer.bias)
    ours = layer(x)
    assert torch.allclose(ours, expected, atol=1e-12)
    cotangent = torch.randn_like(expected)
    inputs = (x, *layer.parameters())
    gradients = (torch.autograd.grad(y, inputs, cotangent, retain_graph=True) for y in (ours, expected))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*gradients, strict=True))


def test_stepwise_batch_norm_matches_batch_norm_of_each_inner_step() -> None:
    x = torch.randn(3 * 4, 5, 2, 2, dtype=torch.float64)
    expected = torch.cat([F.batch_norm(batch, None, None, training=True) for batch in x.split(4)])
    assert torch.allclose(StepwiseBatchNorm(5).double()(x, steps=3), expected, atol=1e-9)


def test_latent_curriculum_has_even_labels_initial_rates_and_bounded_images() -> None:
    curriculum = latent_curriculum(dataset=CIFAR10())(slice(None))
    assert curriculum.images.shape == (5, 10, 3, 32, 32)
    assert torch.equal(curriculum.labels[0].argmax(1), torch.arange(10))  # evenly spread
    assert torch.allclose(curriculum.lr, torch.tensor(0.05).double()) and torch.allclose(
        curriculum.momentum, torch.tensor(0.6).double()
    )
    mean, std = torch.tensor(CIFAR10.mean).view(-1, 1, 1), torch.tensor(CIFAR10.std).view(-1, 1, 1)
    assert ((curriculum.images - mean) / std).abs().max() <= 2 + 1e-6  # two deviations around the mean
    assert [len(part) for part in curriculum.first(2)] == [2] * 4 and curriculum.first(None).lr.equal(curriculum.lr)


def spec(cls: type[MetaTrained] = CurriculumGTN, **fields: object) -> MetaTrained:
    small: dict[str, object] = {"architecture": "linear", "inner_steps": 4, "batch_size": 20, "meta_batch_size": 16}
    small |= {"curriculum_lr": 0.05, "meta_steps": 12}
    if issubclass(cls, CurriculumGTN):
        small |= {"latent_size": 8, "lr": 0.005}
    if issubclass(cls, InitializedGTN):
        small["imitation_steps"] = 20
    if issubclass(cls, ContinuedGTN):
        small["start"] = small_set()
    return cls(**{**small, **fields})


FOLDER = tempfile.TemporaryDirectory()  # removed when the process ends


@functools.cache
def small_set(**fields: object) -> str:
    """Return the path of a teaching set."""
    path = Path(tempfile.mkdtemp(dir=FOLDER.name)) / "small.safetensors"
    teach(spec(**{"meta_steps": 1, **fields})).save(path)
    return str(path)


def teach(teacher: MetaTrained, **options: Any) -> TeachingSet:
    return teacher(Digits(), Digits()(), device="cpu", monitor=Monitor(**options))


def equal(one: TeachingSet, two: TeachingSet) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.curriculum, two.curriculum, strict=True))


def test_meta_training_lowers_the_meta_loss_and_is_deterministic() -> None:
    before = torch.random.get_rng_state()
    steps: list[int] = []
    one = teach(spec(), progress=lambda history: steps.append(len(history.losses)))
    two = teach(spec())
    assert torch.equal(before, torch.random.get_rng_state())
    losses = one.metadata["history"]["losses"]
    assert losses == two.metadata["history"]["losses"] and equal(one, two)
    assert steps == list(range(1, 13))
    assert sum(losses[-3:]) < sum(losses[:3])
    assert not equal(one, teach(spec(seed=1)))


def test_block_size_does_not_change_the_teacher() -> None:
    plain, blocked = (teach(spec(meta_steps=3, block_size=size)) for size in (4, 2))
    assert torch.allclose(plain.curriculum.images, blocked.curriculum.images, atol=2e-3)
    assert spec(block_size=4).content() == spec(block_size=2).content()


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("inner_lr_decay", 0.9),
        ("meta_loss_every", 2),
        ("meta_losses", 3),
        ("generator_optimizer", "muon"),
        ("growth_to", 3),
    ],
)
def test_teachers_keep_their_seeds_and_keys_without_new_fields(field: str, other: object) -> None:
    without = {"growth": 2, "growth_from": 2}
    assert field not in spec(**without).content()
    assert spec(**without, **{field: other}).content() == {**spec(**without).content(), field: other}


VARIANTS = {name: cls for name, cls in TEACHERS.items() if issubclass(cls, MetaTrained)}


@pytest.mark.parametrize("cls", VARIANTS.values(), ids=VARIANTS)
def test_every_teacher_learns_rates_in_two_meta_steps(cls: type[MetaTrained]) -> None:
    images, labels, lr, momentum = teach(spec(cls, meta_steps=2)).curriculum
    assert images.shape == (4, 20, 1, 8, 8) and labels.shape == (4, 20, 10)
    assert all(part.isfinite().all() for part in (images, labels, lr, momentum))
    assert torch.allclose(labels.sum(2), torch.ones(4, 20), atol=1e-5)
    assert ((lr - 0.02).abs() > 1e-4).all()
    assert ((momentum[1:] - 0.5).abs() > 1e-4).all()  # the first momentum multiplies a velocity of zero
    levels = images * 16
    assert torch.equal(levels, levels.round()) is (cls is RealData)  # the gray levels of digits


def test_redraw_resamples_only_teachers_without_a_fixed_curriculum() -> None:
    """Order, latents or images are resampled for every learner; those of a curriculum GTN are not."""
    train_split = Digits()()["train"]
    for cls, changes in {CurriculumGTN: False, ShuffledGTN: True, PlainGTN: True, RealData: True}.items():
        module = spec(cls).curriculum_module(Digits(), train_split)
        drawn = []
        for seed in (0, 1, 0):
            module.redraw(torch.Generator().manual_seed(seed))
            drawn.append(module(slice(None)).images.detach().clone())
        assert torch.equal(drawn[0], drawn[1]) is not changes
        assert torch.equal(drawn[0], drawn[2])
        if cls is ShuffledGTN:
            assert torch.allclose(drawn[0].sum(), drawn[1].sum(), rtol=1e-4)


@pytest.mark.parametrize(
    "fields",
    [
        {"inner_optimizer": "rmsprop", "inner_lr": 0.001},
        {"inner_optimizer": "adam", "inner_lr": 0.001},
        {"inner_optimizer": "muon", "inner_lr": 0.1},
        {"statistics": "teaching"},
        {"labels": "learned"},
        {"architecture": ["linear", "base"], "meta_steps": 4},
        {"architecture": ["base"], "widths": [0.25, 0.5]},
        {"learners": 3},
        {"growth": 1, "growth_from": 2},
        {"architecture": ["base"], "narrow": 1},
        {"inner_lr_decay": 0.9},
        {"meta_loss_every": 2},
        {"meta_losses": 2},
        {"growth": 1, "growth_from": 2, "growth_to": 3},
        {"generator_optimizer": "muon", "lr": 0.03},
        {"precision": "bfloat16"},
    ],
    ids=lambda fields: next(iter(fields)) + "=" + str(next(iter(fields.values()))),
)
def test_every_option_learns_rates_in_a_few_meta_steps(fields: dict[str, Any]) -> None:
    start = fields.get("inner_lr", 0.02)
    taught = teach(spec(**{"meta_steps": 2, **fields}))
    assert all(part.isfinite().all() for part in taught.curriculum)
    assert all(math.isfinite(loss) for loss in taught.metadata["history"]["losses"])
    assert ((taught.curriculum.lr[:2] / start - 1).abs() > 0.01).all()


def test_real_curriculum_holds_labeled_training_images_without_repetition() -> None:
    torch.manual_seed(0)
    train = Digits()()["train"]
    curriculum = real_curriculum(Digits(), train, (7, 23), lr=0.1, momentum=0.5)
    assert curriculum.images.shape == (7, 23, 1, 8, 8) and curriculum.labels.shape == (7, 23, 10)
    assert curriculum.lr.tolist() == pytest.approx([0.1] * 7) and curriculum.momentum.tolist() == [0.5] * 7
    assert len(torch.unique(curriculum.images.flatten(0, 1).flatten(1), dim=0)) == 7 * 23
    classes = {
        image.numpy().tobytes(): int(label) for image, label in zip(*train[torch.arange(len(train))], strict=True)
    }
    for image, label in zip(curriculum.images.flatten(0, 1), curriculum.labels.flatten(0, 1).argmax(1), strict=True):
        assert classes[image.numpy().tobytes()] == int(label)
    many = real_curriculum(Digits(), train, (300, 20), lr=0.1, momentum=0.5)  # more than the split holds
    assert len(torch.unique(many.images.flatten(0, 1).flatten(1), dim=0)) > 0.9 * len(train)


def test_prepare_fits_a_real_init_teacher_to_real_images() -> None:
    train = Digits()()["train"]
    torch.manual_seed(0)
    module = spec(RealInitGTN, imitation_steps=300, inner_lr=0.07).curriculum_module(Digits(), train)
    before, start = module(slice(None)), module.start
    module.prepare(torch.Generator().manual_seed(0))
    after = module(slice(None))
    assert torch.allclose(after.lr, torch.tensor(0.07)) and torch.equal(after.labels, start.labels)
    decaying = spec(RealInitGTN, inner_steps=12, inner_lr=0.2, inner_lr_last=0.02)
    assert decaying.curriculum_module(Digits(), train).start.lr.tolist() == pytest.approx(
        [*np.linspace(0.2, 0.02, 10), 0.02, 0.02]
    )
    errors = [F.mse_loss(part.images, start.images).item() for part in (before, after)]
    assert errors[1] < 0.1 * errors[0]


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["fixed", "learned"])
def test_prepare_fits_a_continued_teacher_to_its_teaching_set(labels: str) -> None:
    path = small_set(labels=labels)
    start = TeachingSet.load(Path(path)).curriculum
    module = spec(ContinuedGTN, start=path, labels=labels, imitation_steps=300).curriculum_module(
        Digits(), Digits()()["train"]
    )
    module.prepare(torch.Generator().manual_seed(0))
    with torch.no_grad():
        started = module(slice(None))
    assert torch.allclose(started.lr, start.lr) and torch.allclose(started.momentum, start.momentum)
    assert torch.allclose(started.labels, start.labels, atol=1e-5)
    variance = (start.images - start.images.mean((0, 1))).square().mean()
    assert (started.images - start.images).square().mean() < 0.05 * variance


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inner_steps": 5}, r"expects inner_steps of its teaching set .*small.safetensors, 4, got 5"),
        ({"batch_size": 10}, r"expects batch_size of its teaching set .*small.safetensors, 20, got 10"),
        ({"inner_optimizer": "adam"}, r"expects inner_optimizer of its teaching set .*, \{'name': 'sgd'\}, got .*adam"),
        ({"start": "mnist-base_larger3"}, r"mnist-base_larger3 holds images \(1, 28, 28\) of 10 classes, data set"),
    ],
)
def test_continued_teacher_refuses_a_teaching_set_that_does_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spec(ContinuedGTN, **fields).check(Digits())


def test_continued_teacher_refuses_unknown_sets_and_learned_labels() -> None:
    with pytest.raises(ValidationError, match=r"no teaching set 'mnist-base_larger4'; did you mean 'mnist-base_larger"):
        spec(ContinuedGTN, start="mnist-base_larger4")
    with pytest.raises(ConfigError, match=r"labels of its own; expects labels: learned, got fixed"):
        spec(ContinuedGTN, start=small_set(labels="learned")).check(Digits())


def test_learned_labels_start_alike_and_away_from_the_saturation_of_softmax() -> None:
    """Labels fitted to one-hot ones start where those of any teacher do: the softmax still has a gradient there."""
    started = []
    for cls in (CurriculumGTN, RealInitGTN):
        more = {"imitation_steps": 1} if cls is RealInitGTN else {}
        module = spec(cls, labels="learned", **more).curriculum_module(Digits(), Digits()()["train"])
        module.prepare(torch.Generator().manual_seed(0))
        started.append(module(slice(None)).labels)
    assert torch.equal(*started) and started[0].max() < 0.99


def test_learned_labels_change_and_stay_probabilities() -> None:
    fixed, learned = (teach(spec(labels=labels, meta_steps=2)).curriculum.labels for labels in ("fixed", "learned"))
    assert torch.allclose(learned.sum(2), torch.ones(4, 20), atol=1e-5) and (learned > 0).all()
    assert torch.equal(learned.argmax(2), fixed.argmax(2)) and learned[0, 0, 0] != learned[1, 0, 0]


def test_sample_learner_draws_architecture_and_width_from_the_seed() -> None:
    mixed = spec(architecture=["linear", "base"], widths=[0.5, 2.0])
    networks = [mixed.sample_learner(Digits(), seed, 1.0) for seed in range(12)]
    kinds = {type(network[1]).__name__ for network in networks}
    assert kinds == {"Flatten", "Conv2d"}
    sizes = {sum(value.numel() for value in network.parameters()) for network in networks}
    assert len(sizes) > 8
    again = mixed.sample_learner(Digits(), 3, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(networks[3].parameters(), again.parameters(), strict=True))


def test_initial_rates_of_every_teacher_fall_over_ten_steps() -> None:
    train = Digits()()["train"]
    for cls in (CurriculumGTN, PlainGTN, RealData):
        module = spec(cls, inner_steps=12, inner_lr=0.1, inner_lr_last=0.01).curriculum_module(Digits(), train)
        expected = [0.1 - 0.01 * step for step in range(10)] + [0.01, 0.01]
        assert module.log_lr.exp().tolist() == pytest.approx(expected, rel=1e-5)


def test_initial_rates_decay_by_a_factor_and_stay_positive() -> None:
    rates = spec(inner_steps=200, inner_lr=0.1, inner_lr_decay=0.5).initial_rates()
    assert rates[:4].tolist() == pytest.approx([0.1, 0.05, 0.025, 0.0125], rel=1e-6)
    assert rates.log().isfinite().all()
    assert torch.equal(spec(inner_steps=3, inner_lr=0.3).initial_rates(), torch.full((3,), 0.3))


def test_narrow_teaches_narrower_learners_at_first() -> None:
    """The first meta-step is that of a teacher whose architecture has half the channels; the second is not."""
    train = Digits()()["train"]
    first = spec(architecture=["base"], narrow=1, narrow_width=0.5, meta_steps=2)
    half = spec(architecture=[first.architecture[0].widened(0.5)], meta_steps=2)
    module = first.curriculum_module(Digits(), train)
    for step, equal in ((0, True), (1, False)):
        losses = [
            meta_training.backward(teacher.training(Digits()), module, train, 3, step, 0, 1)
            for teacher in (first, half)
        ]
        assert (losses[0] == losses[1]) is equal


def test_larger_growth_power_unrolls_few_inner_steps_for_longer() -> None:
    even, late = (spec(inner_steps=64, growth=10, growth_power=power, meta_steps=12) for power in (1.0, 4.0))
    assert [even.horizon(step) for step in (0, 5, 10, 11)] == [10, 37, 64, 64]
    assert [late.horizon(step) for step in (0, 5, 10, 11)] == [10, 14, 64, 64]


def test_growth_leads_to_growth_to_and_then_to_all_inner_steps() -> None:
    teacher = spec(inner_steps=64, growth=10, growth_from=12, growth_to=28, meta_steps=12)
    assert [teacher.horizon(step) for step in (0, 5, 9, 10, 11)] == [12, 20, 27, 64, 64]


def test_growth_trains_only_the_first_inner_steps_at_first() -> None:
    """The last inner steps get no gradient until the horizon reaches them."""
    short = teach(spec(inner_steps=4, growth=4, growth_from=2, meta_steps=2)).curriculum
    assert ((short.lr[:2] - 0.02).abs() > 1e-4).all()
    assert torch.allclose(short.lr[3], torch.tensor(0.02)) and not torch.allclose(short.lr[2], torch.tensor(0.02))


def test_validation_reports_ten_and_all_inner_steps_and_changes_nothing() -> None:
    taught = teach(spec(inner_steps=12, meta_steps=5), check_every=2)
    checks = taught.metadata["history"]["checks"]
    assert [check["meta_step"] for check in checks] == [2, 4, 5]
    assert all(set(check["accuracy"]) == {10, 12} for check in checks)
    assert all(0 <= value <= 1 for check in checks for value in check["accuracy"].values())
    assert equal(taught, teach(spec(inner_steps=12, meta_steps=5)))  # validation changes nothing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "fields"),
    [*((cls, {}) for cls in VARIANTS.values()), (CurriculumGTN, {"generator_optimizer": "muon"})],
    ids=[*VARIANTS, "muon"],
)
def test_resuming_from_a_checkpoint_gives_the_same_teacher(
    cls: type[MetaTrained], fields: dict[str, Any], tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    def stop(history: History) -> None:
        if len(history.losses) == 3:
            raise Stopped

    teacher, checkpoint = spec(cls, meta_steps=5, **fields), tmp_path / "checkpoint.safetensors"
    whole = teach(teacher, check_every=2)
    with pytest.raises(Stopped):
        teach(teacher, checkpoint=checkpoint, checkpoint_every=2, check_every=2, progress=stop)
    lengths: list[int] = []
    resumed = teach(
        teacher,
        checkpoint=checkpoint,
        checkpoint_every=2,
        check_every=2,
        progress=lambda history: lengths.append(len(history.losses)),
    )
    assert lengths == [3, 4, 5]
    assert equal(whole, resumed) and resumed.metadata["history"] == whole.metadata["history"]


def test_checkpoint_of_another_teacher_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    teach(spec(meta_steps=1), checkpoint=checkpoint)
    with pytest.raises(ConfigError, match=r"checkpoint.safetensors is the checkpoint of another teacher"):
        teach(spec(meta_steps=2), checkpoint=checkpoint)


def test_nan_meta_loss_raises_divergence_error_with_the_meta_step() -> None:
    with pytest.raises(DivergenceError, match=r"teacher 'cgtn': the meta-loss is nan at meta-step 0$"):
        teach(spec(inner_lr=1e30))


def test_non_finite_meta_gradient_raises_divergence_error(monkeypatch: pytest.MonkeyPatch) -> None:
    original = meta_training.meta_gradient

    def poisoned(*args: Any, **options: Any) -> Any:
        loss, gradient = original(*args, **options)
        return loss, [value * math.nan if value.ndim > 1 else value for value in gradient]

    monkeypatch.setattr(meta_training, "meta_gradient", poisoned)
    with pytest.raises(DivergenceError, match=r"teacher 'cgtn': the meta-gradient is not finite at meta-step 0$"):
        teach(spec())


def test_too_large_learning_rate_raises_divergence_error_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    monkeypatch.setattr(meta_training, "LARGEST_RATE", 0.0215)
    with pytest.raises(
        DivergenceError, match=r"a learning rate is 0.02\d* at meta-step 1; the last checkpoint is .*\.saf"
    ):
        teach(spec(), checkpoint=checkpoint, checkpoint_every=1)
    tensors, metadata = read_tensors(checkpoint)
    assert len(metadata["history"]["losses"]) == 1 and np.exp(tensors["curriculum.log_lr"].max()) < 0.0215


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_momentum_of_an_averaging_optimizer_at_least_1_raises_divergence_error(optimizer: str) -> None:
    """At a momentum of 1 such an optimizer divides by zero or ascends; SGD does not."""
    with pytest.raises(DivergenceError, match=rf"a momentum of {optimizer} is 1\.\d+, not below 1, at meta-step 0$"):
        teach(spec(inner_optimizer=optimizer, inner_lr=0.002, inner_momentum=0.99, curriculum_lr=0.1))
    assert max(teach(spec(inner_momentum=0.99, curriculum_lr=0.1)).curriculum.momentum) > 1  # SGD has no such limit


def test_bfloat16_meta_gradient_is_close_to_float32() -> None:
    torch.manual_seed(0)
    module = LatentCurriculum(Digits(), inner_steps=3, batch_size=40, latent_size=8, lr=0.02, momentum=0.5)
    learner = ARCHITECTURES["base_larger"]()(Digits(), seed=0).train()
    x, y = Digits()()["train"][torch.arange(3 * 64)]
    real = MetaBatch(x.unflatten(0, (3, 64)), y.unflatten(0, (3, 64)))
    gradients = []
    for precision in (None, torch.bfloat16):
        loss, gradient = meta_gradient(module, learner, learner, SGD(), real, block_size=2, precision=precision)
        assert loss.dtype == torch.float32 and all(value.dtype == torch.float32 for value in gradient)
        gradients.append(torch.cat([value.flatten() for value in gradient]))
    assert F.cosine_similarity(*gradients, dim=0) > 0.97
