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
from torch.nn import functional as F

from gtn_bench.cache import read_tensors
from gtn_bench.datasets import CIFAR10, Dataset, Digits
from gtn_bench.description import Mistake
from gtn_bench.learners import LEARNERS
from gtn_bench.learners.layers import (
    Conv2d,
    Flatten,
    FullBatchNorm,
    Linear,
    MaxPool2d,
    MeanBatchNorm,
    differentiable_statistics,
    weight_normalised,
)
from gtn_bench.teaching import (
    OPTIMIZERS,
    TEACHERS,
    ContinuedGTN,
    CurriculumGTN,
    InnerOptimizer,
    MetaTrained,
    RealInitGTN,
    meta_training,
)
from gtn_bench.teaching.generator import LessonNorm, UpsamplingConv2d
from gtn_bench.teaching.imitating import ImitatingGTN
from gtn_bench.teaching.inner_loop import Exam, initial_state, inner_step, meta_gradient, trajectory, unroll
from gtn_bench.teaching.lessons import Curriculum, Lesson, real_lesson
from gtn_bench.teaching.meta_training import Diverged, History, Watch, fresh_learner
from gtn_bench.teaching.optimizers import SGD, Adam, Muon, RMSProp, orthogonal
from gtn_bench.teaching.teachers import PlainGTN, RealData, ShuffledGTN
from gtn_bench.teaching.teaching_set import TeachingSet


def curriculum(steps: int = 5, dataset: Dataset | None = None) -> Curriculum:
    torch.manual_seed(0)
    made = Curriculum(dataset or Digits(), inner_steps=steps, batch_size=10, latent_size=3, lr=0.05, momentum=0.6)
    return made.double()


def small_network() -> nn.Module:
    """All kinds of layers that an inner loop has to differentiate twice; smooth but for the pooling."""
    torch.manual_seed(1)
    first, second = Conv2d(1, 8, 3, padding=1), Conv2d(8, 2, 3, padding=1)
    layers = (first, MeanBatchNorm(8), nn.Softplus(), second, MaxPool2d(3, stride=2, padding=1), FullBatchNorm(2))
    return nn.Sequential(*layers, nn.Softplus(), Flatten(), Linear(8, 2, bias=True)).double().train()


def exam(steps: int, size: int = 6) -> Exam:
    x, y = Digits()()["train"][torch.arange(steps * size)]
    return Exam(x.double().unflatten(0, (steps, size)), y.unflatten(0, (steps, size)))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SGD(), lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.7)),
        (RMSProp(alpha=0.9), lambda params: torch.optim.RMSprop(params, lr=0.1, alpha=0.9, momentum=0.7)),
        (Adam(beta2=0.99), lambda params: torch.optim.Adam(params, lr=0.1, betas=(0.7, 0.99))),
    ],
    ids=["sgd", "rmsprop", "adam"],
)
def test_inner_optimizers_are_torchs(ours: InnerOptimizer, theirs: Any) -> None:
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
def test_muon_is_torchs(shape: tuple[int, ...]) -> None:
    """Weights to the precision of bfloat16, in which PyTorch makes them orthogonal; gains and biases are Adam's."""
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
def test_orthogonal_is_newton_schulz_on_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    sizes = torch.logspace(0, -4, min(shape), dtype=torch.float64)
    expected = sizes / sizes.norm()
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    assert torch.allclose(orthogonal(u @ sizes.diag() @ v), u @ expected.diag() @ v, atol=1e-9)
    assert ((expected > 0.65) & (expected < 1.25))[sizes > 0.01].all() and expected[-1] < 0.1
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


def test_training_on_a_lesson_is_torch_sgd_on_its_batches() -> None:
    lesson = Lesson(*(part.detach() for part in curriculum()(slice(None))))
    ours, theirs = (LEARNERS["base"]()(Digits(), seed=3).double().train() for _ in range(2))
    *_, end = trajectory(ours, SGD(), lesson)
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.1)
    for images, labels, lr, momentum in zip(*lesson, strict=True):
        sgd.param_groups[0].update(lr=lr.item(), momentum=momentum.item())
        sgd.zero_grad()
        F.cross_entropy(theirs(images), labels).backward()
        sgd.step()
    for name, value in theirs.named_parameters():
        assert torch.allclose(end.params[name], value, atol=1e-12), name
    for name, value in theirs.named_buffers():
        assert torch.allclose(end.buffers[name], value, atol=1e-12), name


@pytest.mark.parametrize("optimizer", [SGD(), RMSProp(eps=1e-3), Adam(eps=1e-3), Muon(eps=1e-3)], ids=list(OPTIMIZERS))
@pytest.mark.parametrize("statistics", ["real", "teaching"])
def test_meta_gradient_passes_gradcheck(statistics: str, optimizer: InnerOptimizer) -> None:
    """Through three inner steps, with respect to images, labels, rates and momenta."""
    learner = small_network()
    examinee = learner
    if statistics == "teaching":
        examinee = small_network().eval()
        differentiable_statistics(learner)
    torch.manual_seed(2)
    images = torch.randn(3, 4, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.rand(3, 4, 2, dtype=torch.float64, requires_grad=True)
    scale = 1.0 if optimizer.name == "sgd" else 0.02  # the others' steps are as long as their rates
    lr = (torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64) * scale).requires_grad_()
    momentum = torch.tensor([0.5, 0.4, 0.9], dtype=torch.float64, requires_grad=True)
    real = Exam(torch.randn(3, 5, 1, 4, 4, dtype=torch.float64), torch.randint(2, (3, 5)))

    def exam_loss(*lesson: Tensor) -> Tensor:
        start = initial_state(learner, optimizer)
        return unroll(learner, examinee, optimizer, start, Lesson(*lesson), real, create_graph=True)[1]

    assert torch.autograd.gradcheck(exam_loss, (images, labels, lr, momentum), atol=1e-6)


@pytest.mark.parametrize("statistics", ["real", "teaching"])
@pytest.mark.parametrize("block_size", [1, 2, 3, 5])
def test_blocks_give_the_gradient_of_the_plain_unroll(block_size: int, statistics: str) -> None:
    teacher = curriculum()
    learner = LEARNERS["base"]()(Digits(), seed=0).double().train()
    examinee = learner
    if statistics == "teaching":
        examinee = LEARNERS["base"]()(Digits(), seed=0).double().eval()
        differentiable_statistics(learner)
    real = exam(5)

    start = initial_state(learner, SGD())
    _, total = unroll(learner, examinee, SGD(), start, teacher(slice(None)), real, create_graph=True)
    plain = torch.autograd.grad(total / 5, list(teacher.parameters()))
    loss, blocked = meta_gradient(teacher, learner, examinee, SGD(), real, block_size=block_size)

    assert math.isclose(loss.item(), total.item() / 5, rel_tol=1e-12)
    for (name, _), ours, expected in zip(teacher.named_parameters(), blocked, plain, strict=True):
        assert torch.allclose(ours, expected, atol=1e-12, rtol=1e-9), name
        assert expected.abs().max() > 0, name


def test_teaching_statistics_are_what_the_examinee_subtracts() -> None:
    learner = LEARNERS["base"]()(Digits(), seed=0).double().train()
    lesson = Lesson(*(part[0].detach() for part in curriculum()(slice(0, 1))))
    state = inner_step(learner, SGD(), initial_state(learner, SGD()), *lesson, create_graph=False)
    learner(lesson.images)
    assert torch.equal(state.buffers["3.running_mean"], learner.state_dict()["3.running_mean"])


def test_lessons_do_not_depend_on_how_many_are_made_at_once() -> None:
    teacher = curriculum()
    together = teacher(slice(None))
    for step in range(5):
        alone = teacher(slice(step, step + 1))
        for part, whole in zip(alone, together, strict=True):
            assert torch.allclose(part[0], whole[step], atol=1e-12)


@pytest.mark.parametrize("outputs", [1, 5])
def test_upsampling_convolution_is_its_three_parts(outputs: int) -> None:
    torch.manual_seed(0)
    layer = UpsamplingConv2d(3, outputs, bias=True).double()
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = weight_normalised(layer.weight, layer.gain)
    padded = F.pad(F.interpolate(x, scale_factor=2), (1, 1, 1, 1), mode="reflect")
    expected = F.conv2d(padded, weight, layer.bias)
    ours = layer(x)
    assert torch.allclose(ours, expected, atol=1e-12)
    cotangent = torch.randn_like(expected)
    inputs = (x, *layer.parameters())
    gradients = (torch.autograd.grad(y, inputs, cotangent, retain_graph=True) for y in (ours, expected))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*gradients, strict=True))


def test_lesson_norm_is_batch_norm_of_every_batch() -> None:
    x = torch.randn(3 * 4, 5, 2, 2, dtype=torch.float64)
    expected = torch.cat([F.batch_norm(batch, None, None, training=True) for batch in x.split(4)])
    assert torch.allclose(LessonNorm(5).double()(x, steps=3), expected, atol=1e-9)


def test_curriculum_of_the_study() -> None:
    lesson = curriculum(dataset=CIFAR10())(slice(None))
    assert lesson.images.shape == (5, 10, 3, 32, 32)
    assert torch.equal(lesson.labels[0].argmax(1), torch.arange(10))  # evenly spread
    assert torch.allclose(lesson.lr, torch.tensor(0.05).double()) and torch.allclose(
        lesson.momentum, torch.tensor(0.6).double()
    )
    mean, std = torch.tensor(CIFAR10.mean).view(-1, 1, 1), torch.tensor(CIFAR10.std).view(-1, 1, 1)
    assert ((lesson.images - mean) / std).abs().max() <= 2 + 1e-6  # two deviations around the mean
    assert [len(part) for part in lesson.first(2)] == [2] * 4 and lesson.first(None).lr.equal(lesson.lr)


def spec(cls: type[MetaTrained] = CurriculumGTN, **fields: object) -> MetaTrained:
    small: dict[str, object] = {"architecture": "linear", "inner_steps": 4, "batch_size": 20, "exam_size": 16}
    small |= {"lr": 0.005, "curriculum_lr": 0.05, "meta_steps": 12}
    if issubclass(cls, CurriculumGTN):
        small["latent_size"] = 8
    if issubclass(cls, ImitatingGTN):
        small["imitation_steps"] = 20
    if issubclass(cls, ContinuedGTN):
        small["start"] = small_set()
    return cls(**{**small, **fields})


FOLDER = tempfile.TemporaryDirectory()  # gone with the tests


@functools.cache
def small_set(**fields: object) -> str:
    """The file of a teaching set, by name."""
    path = Path(tempfile.mkdtemp(dir=FOLDER.name)) / "small.safetensors"
    teach(spec(**{"meta_steps": 1, **fields})).save(path)
    return str(path)


def teach(teacher: MetaTrained, **watch: Any) -> TeachingSet:
    return teacher(Digits(), Digits()(), device="cpu", watch=Watch(**watch))


def same(one: TeachingSet, two: TeachingSet) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.lesson, two.lesson, strict=True))


def test_meta_training_lowers_the_exam_loss_and_repeats_itself() -> None:
    before = torch.random.get_rng_state()
    steps: list[int] = []
    one = teach(spec(), progress=lambda history: steps.append(len(history.losses)))
    two = teach(spec())
    assert torch.equal(before, torch.random.get_rng_state())
    losses = one.about["history"]["losses"]
    assert losses == two.about["history"]["losses"] and same(one, two)
    assert steps == list(range(1, 13))
    assert sum(losses[-3:]) < sum(losses[:3])
    assert not same(one, teach(spec(seed=1)))


def test_block_size_changes_memory_and_not_the_teacher() -> None:
    plain, blocked = (teach(spec(meta_steps=3, block_size=size)) for size in (4, 2))
    assert torch.allclose(plain.lesson.images, blocked.lesson.images, atol=2e-3)
    assert spec(block_size=4).content() == spec(block_size=2).content()


VARIANTS = {name: cls for name, cls in TEACHERS.items() if issubclass(cls, MetaTrained)}


@pytest.mark.parametrize("cls", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_learns_for_two_meta_steps(cls: type[MetaTrained]) -> None:
    images, labels, lr, momentum = teach(spec(cls, meta_steps=2)).lesson
    assert images.shape == (4, 20, 1, 8, 8) and labels.shape == (4, 20, 10)
    assert all(part.isfinite().all() for part in (images, labels, lr, momentum))
    assert torch.allclose(labels.sum(2), torch.ones(4, 20), atol=1e-5)
    assert ((lr - 0.02).abs() > 1e-4).all()
    assert ((momentum[1:] - 0.5).abs() > 1e-4).all()  # the first momentum finds no velocity
    levels = images * 16
    assert torch.equal(levels, levels.round()) is (cls is RealData)  # the grey levels of digits


def test_lessons_without_order_or_memory_are_drawn_anew() -> None:
    """What is redrawn for every learner, by kind of lessons: the order, the latents, the images, or nothing."""
    train_split = Digits()()["train"]
    for cls, changes in {CurriculumGTN: False, ShuffledGTN: True, PlainGTN: True, RealData: True}.items():
        lessons = spec(cls).lessons(Digits(), train_split)
        drawn = []
        for seed in (0, 1, 0):
            lessons.redraw(torch.Generator().manual_seed(seed))
            drawn.append(lessons(slice(None)).images.detach().clone())
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
        {"precision": "bfloat16"},
    ],
    ids=lambda fields: next(iter(fields)) + "=" + str(next(iter(fields.values()))),
)
def test_every_option_learns_for_a_few_meta_steps(fields: dict[str, Any]) -> None:
    start = fields.get("inner_lr", 0.02)
    taught = teach(spec(**{"meta_steps": 2, **fields}))
    assert all(part.isfinite().all() for part in taught.lesson)
    assert all(math.isfinite(loss) for loss in taught.about["history"]["losses"])
    assert ((taught.lesson.lr[:2] / start - 1).abs() > 0.01).all()


def test_a_real_lesson_is_real_images_with_their_labels_none_twice() -> None:
    torch.manual_seed(0)
    train = Digits()()["train"]
    lesson = real_lesson(Digits(), train, (7, 23), lr=0.1, momentum=0.5)
    assert lesson.images.shape == (7, 23, 1, 8, 8) and lesson.labels.shape == (7, 23, 10)
    assert lesson.lr.tolist() == pytest.approx([0.1] * 7) and lesson.momentum.tolist() == [0.5] * 7
    assert len(torch.unique(lesson.images.flatten(0, 1).flatten(1), dim=0)) == 7 * 23
    classes = {
        image.numpy().tobytes(): int(label) for image, label in zip(*train[torch.arange(len(train))], strict=True)
    }
    for image, label in zip(lesson.images.flatten(0, 1), lesson.labels.flatten(0, 1).argmax(1), strict=True):
        assert classes[image.numpy().tobytes()] == int(label)
    many = real_lesson(Digits(), train, (300, 20), lr=0.1, momentum=0.5)  # more than there are
    assert len(torch.unique(many.images.flatten(0, 1).flatten(1), dim=0)) > 0.9 * len(train)


def test_a_teacher_that_begins_with_real_images_paints_them() -> None:
    train = Digits()()["train"]
    torch.manual_seed(0)
    lessons = spec(RealInitGTN, imitation_steps=300, inner_lr=0.07).lessons(Digits(), train)
    before, start = lessons(slice(None)), lessons.start
    lessons.begin(torch.Generator().manual_seed(0))
    after = lessons(slice(None))
    assert torch.allclose(after.lr, torch.tensor(0.07)) and torch.equal(after.labels, start.labels)
    falling = spec(RealInitGTN, inner_steps=12, inner_lr=0.2, inner_lr_last=0.02)
    assert falling.lessons(Digits(), train).start.lr.tolist() == pytest.approx(
        [*np.linspace(0.2, 0.02, 10), 0.02, 0.02]
    )
    errors = [F.mse_loss(part.images, start.images).item() for part in (before, after)]
    assert errors[1] < 0.1 * errors[0]


@pytest.mark.parametrize("labels", ["fixed", "learned"])
def test_a_continued_teacher_begins_as_its_teaching_set(labels: str) -> None:
    path = small_set(labels=labels)
    start = TeachingSet.load(Path(path)).lesson
    lessons = spec(ContinuedGTN, start=path, labels=labels, imitation_steps=300).lessons(Digits(), Digits()()["train"])
    lessons.begin(torch.Generator().manual_seed(0))
    with torch.no_grad():
        begun = lessons(slice(None))
    assert torch.allclose(begun.lr, start.lr) and torch.allclose(begun.momentum, start.momentum)
    assert torch.allclose(begun.labels, start.labels, atol=1e-5)
    variance = (start.images - start.images.mean((0, 1))).square().mean()
    assert (begun.images - start.images).square().mean() < 0.05 * variance


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inner_steps": 5}, r"expects inner_steps of its teaching set .*small.safetensors, 4, got 5"),
        ({"batch_size": 10}, r"expects batch_size of its teaching set .*small.safetensors, 20, got 10"),
        ({"inner_optimizer": "adam"}, r"expects inner_optimizer of its teaching set .*, \{'name': 'sgd'\}, got .*adam"),
        ({"start": "mnist-base_larger3"}, r"mnist-base_larger3 holds images \(1, 28, 28\) of 10 classes, data set"),
    ],
)
def test_a_teaching_set_that_cannot_be_continued(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Mistake, match=message):
        spec(ContinuedGTN, **fields).check(Digits())


def test_where_a_teacher_continues_from_is_one_clear_line() -> None:
    with pytest.raises(ValidationError, match=r"no teaching set 'mnist-base_larger4'; did you mean 'mnist-base_larger"):
        spec(ContinuedGTN, start="mnist-base_larger4")
    with pytest.raises(Mistake, match=r"labels of its own; expects labels: learned, got fixed"):
        spec(ContinuedGTN, start=small_set(labels="learned")).check(Digits())


def test_learned_labels_that_begin_one_hot_can_move() -> None:
    """They begin where those of any teacher do, not where softmax has no slope."""
    begun = []
    for cls in (CurriculumGTN, RealInitGTN):
        more = {"imitation_steps": 1} if cls is RealInitGTN else {}
        lessons = spec(cls, labels="learned", **more).lessons(Digits(), Digits()()["train"])
        lessons.begin(torch.Generator().manual_seed(0))
        begun.append(lessons(slice(None)).labels)
    assert torch.equal(*begun) and begun[0].max() < 0.99


def test_learned_labels_stay_probabilities_and_move() -> None:
    fixed, learned = (teach(spec(labels=labels, meta_steps=2)).lesson.labels for labels in ("fixed", "learned"))
    assert torch.allclose(learned.sum(2), torch.ones(4, 20), atol=1e-5) and (learned > 0).all()
    assert torch.equal(learned.argmax(2), fixed.argmax(2)) and learned[0, 0, 0] != learned[1, 0, 0]


def test_architectures_and_widths_are_drawn_from_the_seed() -> None:
    mixed = spec(architecture=["linear", "base"], widths=[0.5, 2.0])
    networks = [fresh_learner(mixed, Digits(), seed) for seed in range(12)]
    kinds = {type(network[1]).__name__ for network in networks}
    assert kinds == {"Flatten", "Conv2d"}
    sizes = {sum(value.numel() for value in network.parameters()) for network in networks}
    assert len(sizes) > 8
    again = fresh_learner(mixed, Digits(), 3)
    assert all(torch.equal(a, b) for a, b in zip(networks[3].parameters(), again.parameters(), strict=True))


def test_growth_power_keeps_the_inner_steps_few_for_longer() -> None:
    even, late = (spec(inner_steps=64, growth=10, growth_power=power, meta_steps=12) for power in (1.0, 4.0))
    assert [even.horizon(step) for step in (0, 5, 10, 11)] == [10, 37, 64, 64]
    assert [late.horizon(step) for step in (0, 5, 10, 11)] == [10, 14, 64, 64]


def test_growth_teaches_few_inner_steps_at_first() -> None:
    """The last inner steps get no gradient before the horizon has reached them."""
    short = teach(spec(inner_steps=4, growth=4, growth_from=2, meta_steps=2)).lesson
    assert ((short.lr[:2] - 0.02).abs() > 1e-4).all()
    assert torch.allclose(short.lr[3], torch.tensor(0.02)) and not torch.allclose(short.lr[2], torch.tensor(0.02))


def test_checks_report_both_lengths_on_validation_images() -> None:
    taught = teach(spec(inner_steps=12, meta_steps=5), check_every=2)
    checks = taught.about["history"]["checks"]
    assert [check["meta_step"] for check in checks] == [2, 4, 5]
    assert all(set(check["accuracy"]) == {10, 12} for check in checks)
    assert all(0 <= value <= 1 for check in checks for value in check["accuracy"].values())
    assert same(taught, teach(spec(inner_steps=12, meta_steps=5)))  # looking changes nothing


@pytest.mark.parametrize("cls", VARIANTS.values(), ids=VARIANTS)
def test_resumed_after_any_step_is_the_same_teacher(cls: type[MetaTrained], tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(history: History) -> None:
        if len(history.losses) == 3:
            raise Stopped

    teacher, checkpoint = spec(cls, meta_steps=5), tmp_path / "checkpoint.safetensors"
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
    assert same(whole, resumed) and resumed.about["history"] == whole.about["history"]


def test_a_checkpoint_of_another_teacher_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    teach(spec(meta_steps=1), checkpoint=checkpoint)
    with pytest.raises(Mistake, match=r"checkpoint.safetensors is the checkpoint of another teacher"):
        teach(spec(meta_steps=2), checkpoint=checkpoint)


def test_divergence_is_an_error_that_names_the_step() -> None:
    with pytest.raises(Diverged, match=r"teacher 'cgtn': the meta-loss is nan at meta-step 0$"):
        teach(spec(inner_lr=1e30))


def test_a_gradient_that_is_not_finite_ends_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    original = meta_training.meta_gradient

    def poisoned(*args: Any, **options: Any) -> Any:
        loss, gradient = original(*args, **options)
        return loss, [value * math.nan if value.ndim > 1 else value for value in gradient]

    monkeypatch.setattr(meta_training, "meta_gradient", poisoned)
    with pytest.raises(Diverged, match=r"teacher 'cgtn': the meta-gradient is not finite at meta-step 0$"):
        teach(spec())


def test_an_exploding_rate_ends_the_teacher_and_keeps_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    monkeypatch.setattr(meta_training, "EXPLODED", 0.0215)
    with pytest.raises(Diverged, match=r"a learning rate is 0.02\d* at meta-step 1; the last checkpoint is .*\.saf"):
        teach(spec(), checkpoint=checkpoint, checkpoint_every=1)
    tensors, about = read_tensors(checkpoint)
    assert len(about["history"]["losses"]) == 1 and np.exp(tensors["lessons.log_lr"].max()) < 0.0215


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_momentum_that_is_no_share_ends_the_teacher(optimizer: str) -> None:
    """Of an optimiser that averages: at 1 it divides by zero or climbs."""
    with pytest.raises(Diverged, match=rf"a momentum of {optimizer} is 1\.\d+, not below 1, at meta-step 0$"):
        teach(spec(inner_optimizer=optimizer, inner_lr=0.002, inner_momentum=0.99, curriculum_lr=0.1))
    assert max(teach(spec(inner_momentum=0.99, curriculum_lr=0.1)).lesson.momentum) > 1  # a factor like any other


def test_bfloat16_gives_nearly_the_same_gradient() -> None:
    torch.manual_seed(0)
    lessons = Curriculum(Digits(), inner_steps=3, batch_size=40, latent_size=8, lr=0.02, momentum=0.5)
    learner = LEARNERS["base_larger"]()(Digits(), seed=0).train()
    x, y = Digits()()["train"][torch.arange(3 * 64)]
    real = Exam(x.unflatten(0, (3, 64)), y.unflatten(0, (3, 64)))
    gradients = []
    for precision in (None, torch.bfloat16):
        loss, gradient = meta_gradient(lessons, learner, learner, SGD(), real, block_size=2, precision=precision)
        assert loss.dtype == torch.float32 and all(value.dtype == torch.float32 for value in gradient)
        gradients.append(torch.cat([value.flatten() for value in gradient]))
    assert F.cosine_similarity(*gradients, dim=0) > 0.97
