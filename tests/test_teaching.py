from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.datasets import CIFAR10, Dataset, Digits
from gtn_bench.learners import LEARNERS
from gtn_bench.learners.layers import MeanBatchNorm, differentiable_statistics
from gtn_bench.teaching import CurriculumGTN, Diverged
from gtn_bench.teaching.generator import Curriculum, Lesson, LessonNorm
from gtn_bench.teaching.inner_loop import Exam, initial_state, inner_step, meta_gradient, sgd_step, train, unroll


def curriculum(steps: int = 5, dataset: Dataset | None = None) -> Curriculum:
    torch.manual_seed(0)
    made = Curriculum(
        inner_steps=steps, batch_size=10, latent_size=3, lr=0.05, momentum=0.6, dataset=dataset or Digits()
    )
    return made.double()


def small_network() -> nn.Module:
    """Convolution, batch norm, pooling, logits: all that an inner loop has to differentiate twice."""
    torch.manual_seed(1)
    layers = (nn.Conv2d(1, 2, 3), MeanBatchNorm(2), nn.Softplus(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2, 2))
    return nn.Sequential(*layers).double().train()


def exam(steps: int, size: int = 6) -> Exam:
    x, y = Digits()()["train"][torch.arange(steps * size)]
    return Exam(x.double().unflatten(0, (steps, size)), y.unflatten(0, (steps, size)))


def test_sgd_step_is_torchs() -> None:
    torch.manual_seed(0)
    start = torch.randn(4, 3, dtype=torch.float64)
    weight = nn.Parameter(start.clone())
    sgd = torch.optim.SGD([weight], lr=0.1, momentum=0.7)
    params, velocity = {"w": start}, {"w": torch.zeros_like(start)}
    for _ in range(5):
        grad = torch.randn_like(start)
        weight.grad = grad.clone()
        sgd.step()
        params, velocity = sgd_step(params, velocity, {"w": grad}, torch.tensor(0.1), torch.tensor(0.7))
        assert torch.allclose(params["w"], weight, atol=1e-15)


def test_training_on_a_lesson_is_torch_sgd_on_its_batches() -> None:
    lesson = Lesson(*(part.detach() for part in curriculum()(slice(None))))
    ours, theirs = (LEARNERS["base"]()(Digits(), seed=3).double().train() for _ in range(2))
    end = train(ours, lesson)
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


@pytest.mark.parametrize("statistics", ["real", "teaching"])
def test_meta_gradient_passes_gradcheck(statistics: str) -> None:
    """Through three inner steps, with respect to images, labels, rates and momenta."""
    learner = small_network()
    examinee = learner
    if statistics == "teaching":
        examinee = small_network().eval()
        differentiable_statistics(learner)
    torch.manual_seed(2)
    images = torch.randn(3, 4, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.rand(3, 4, 2, dtype=torch.float64, requires_grad=True)
    lr = torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64, requires_grad=True)
    momentum = torch.tensor([0.5, 0.4, 0.9], dtype=torch.float64, requires_grad=True)
    real = Exam(torch.randn(3, 5, 1, 4, 4, dtype=torch.float64), torch.randint(2, (3, 5)))

    def exam_loss(*lesson: Tensor) -> Tensor:
        return unroll(learner, examinee, initial_state(learner), Lesson(*lesson), real, create_graph=True)[1]

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

    _, total = unroll(learner, examinee, initial_state(learner), teacher(slice(None)), real, create_graph=True)
    plain = torch.autograd.grad(total / 5, list(teacher.parameters()))
    loss, blocked = meta_gradient(teacher, learner, examinee, real, block_size)

    assert math.isclose(loss.item(), total.item() / 5, rel_tol=1e-12)
    for (name, _), ours, expected in zip(teacher.named_parameters(), blocked, plain, strict=True):
        assert torch.allclose(ours, expected, atol=1e-12, rtol=1e-9), name
        assert expected.abs().max() > 0, name


def test_teaching_statistics_are_what_the_examinee_subtracts() -> None:
    learner = LEARNERS["base"]()(Digits(), seed=0).double().train()
    lesson = Lesson(*(part[0].detach() for part in curriculum()(slice(0, 1))))
    state = inner_step(learner, initial_state(learner), *lesson, create_graph=False)
    learner(lesson.images)
    assert torch.equal(state.buffers["3.running_mean"], learner.state_dict()["3.running_mean"])


def test_lessons_do_not_depend_on_how_many_are_made_at_once() -> None:
    teacher = curriculum()
    together = teacher(slice(None))
    for step in range(5):
        alone = teacher(slice(step, step + 1))
        for part, whole in zip(alone, together, strict=True):
            assert torch.allclose(part[0], whole[step], atol=1e-12)


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


def spec(**fields: object) -> CurriculumGTN:
    small = {"architecture": "linear", "inner_steps": 4, "batch_size": 20, "exam_size": 16, "latent_size": 8}
    return CurriculumGTN(**{**small, "lr": 0.005, "curriculum_lr": 0.05, "meta_steps": 12, **fields})


def test_meta_training_lowers_the_exam_loss_and_repeats_itself() -> None:
    train_split = Digits()()["train"]
    before = torch.random.get_rng_state()
    steps: list[int] = []
    one, history = spec()(Digits(), train_split, device="cpu", progress=steps.append)
    two, again = spec()(Digits(), train_split, device="cpu")
    assert torch.equal(before, torch.random.get_rng_state())
    assert history == again and all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert steps == list(range(1, 13))
    assert sum(history[-3:]) < sum(history[:3])
    other, _ = spec(seed=1)(Digits(), train_split, device="cpu")
    assert not torch.equal(one.latents, other.latents)


def test_block_size_changes_memory_and_not_the_teacher() -> None:
    (plain, _), (blocked, _) = (
        spec(meta_steps=3, block_size=size)(Digits(), Digits()()["train"], device="cpu") for size in (4, 2)
    )
    for (name, one), two in zip(plain.named_parameters(), blocked.parameters(), strict=True):
        assert torch.allclose(one, two, atol=2e-3), name


def test_meta_training_through_teaching_statistics_runs() -> None:
    _, history = spec(statistics="teaching", meta_steps=2)(Digits(), Digits()()["train"], device="cpu")
    assert all(math.isfinite(loss) for loss in history)


def test_divergence_is_an_error_that_names_the_step() -> None:
    with pytest.raises(Diverged, match=r"teacher 'cgtn': the meta-loss is nan at meta-step 0"):
        spec(inner_lr=1e30)(Digits(), Digits()()["train"], device="cpu")
