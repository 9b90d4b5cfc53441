"""Every perturbation of the table against every invariant, then each against its own exact result."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers.oracles import Line, line
from helpers.perturbations import EXAMPLES
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from gtn_bench.config.description import build
from gtn_bench.config.errors import ConfigError, InvalidPerturbationError
from gtn_bench.config.threat import Threat
from gtn_bench.evaluation.evaluate import evaluate, evaluate_clean, evaluate_sweep
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.random_classifier import RandomClassifier
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack, Perturbation
from gtn_bench.perturbations.ascent import L2
from gtn_bench.perturbations.base import lp_norm, normal_like
from gtn_bench.perturbations.search import Search

LIBRARY = [p for p in EXAMPLES if isinstance(p, LibraryAttack)]


def label(perturbation: Perturbation) -> str:
    return " ".join(
        [perturbation.name, *(str(value) for value in perturbation.identity().values() if isinstance(value, str))][1:]
    )


every = pytest.mark.parametrize("perturbation", EXAMPLES, ids=label)
Digits = tuple[Tensor, Tensor]
SEEDS = torch.arange(60)


def test_examples_cover_every_perturbation_of_the_table() -> None:
    assert {perturbation.name for perturbation in EXAMPLES} == set(PERTURBATIONS)


@pytest.mark.slow
@every
def test_result_is_finite_and_keeps_shape_dtype_and_device(
    perturbation: Perturbation, classifier: Classifier, digits: Digits
) -> None:
    x, y = digits
    x_adv = perturbation(classifier, x, y, SEEDS)
    assert (x_adv.shape, x_adv.dtype, x_adv.device) == (x.shape, x.dtype, x.device)
    assert x_adv.isfinite().all()
    assert not torch.equal(x_adv, x)


@pytest.mark.slow
@every
def test_inputs_classifier_and_global_generators_do_not_change(
    perturbation: Perturbation, classifier: Classifier, digits: Digits
) -> None:
    x, y, seeds = digits[0].clone(), digits[1].clone(), SEEDS.clone()
    state = copy.deepcopy(classifier.state_dict())
    generators = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    perturbation(classifier, x, y, seeds)
    assert torch.equal(x, digits[0]) and torch.equal(y, digits[1]) and torch.equal(seeds, SEEDS)
    assert all(torch.equal(state[name], value) for name, value in classifier.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in classifier.parameters())
    assert not any(module.training for module in classifier.modules())
    assert torch.equal(generators[0], torch.random.get_rng_state())
    assert np.array_equal(generators[1], np.random.get_state()[1])


@pytest.mark.parametrize("gap", [10, 60, 200])
def test_pgd_succeeds_however_small_the_gradient(gap: float) -> None:
    """The logits of the two classes differ by up to 2 * gap, so that the cross-entropy gradient nearly underflows."""
    classifier, x, y, _ = line(torch.float64)
    assert isinstance(classifier.network, Line)
    near = classifier.network.l2_distance(x).detach()
    scale = gap / float(near.max() * classifier.network.w.norm())
    classifier.network.w.data *= scale
    classifier.network.b *= scale
    pgd = PERTURBATIONS["pgd"](beta=2 * float(near.max()), norm="l2", random_start=False)
    assert (classifier.predict(pgd(classifier, x, y, SEEDS[:40])) != y).all()


def test_steepest_l2_direction_has_norm_one() -> None:
    grad = torch.tensor([1.0, 1e-30, 1e-44, 0.0]).view(-1, 1, 1, 1) * torch.ones(4, 1, 2, 2)
    assert torch.allclose(L2.steepest(grad).flatten(1).norm(dim=1), torch.tensor([1.0, 1.0, 1.0, 0.0]))


@pytest.mark.slow
@every
def test_same_seeds_give_same_result(perturbation: Perturbation, classifier: Classifier, digits: Digits) -> None:
    one, two = (perturbation(classifier, *digits, SEEDS) for _ in range(2))
    assert torch.equal(one, two)


def depends_on_the_batch(perturbation: Perturbation) -> bool:
    """Return whether the perturbation takes one norm over the batch, or one random start for the whole batch."""
    return perturbation.batch == "all" or getattr(perturbation, "params", {}).get("random_start", False)


@pytest.mark.slow
@pytest.mark.parametrize("perturbation", [p for p in EXAMPLES if not depends_on_the_batch(p)], ids=label)
def test_result_of_an_image_does_not_depend_on_its_batch(
    perturbation: Perturbation, network: nn.Module, digits: Digits
) -> None:
    """Requires float64: searches in float32 amplify last-bit differences of convolutions between batches."""
    dtype = torch.float32 if isinstance(perturbation, LibraryAttack) else torch.float64
    classifier = Classifier(copy.deepcopy(network).to(dtype), (1, 8, 8), 10)
    x, y = digits[0].to(dtype), digits[1]
    together = perturbation(classifier, x, y, SEEDS)
    alone = perturbation(classifier, x[5:6], y[5:6], SEEDS[5:6])
    assert torch.allclose(together[5:6], alone, atol=1e-6)


@pytest.mark.slow
@every
def test_evaluation_accepts_and_measures_every_perturbation(
    perturbation: Perturbation, classifier: Classifier, digits: Digits
) -> None:
    x, y = digits
    clean = evaluate_clean(classifier, x, y)
    result = evaluate(perturbation, classifier, clean, x, y, SEEDS)
    assert torch.equal(result.label, y)
    assert (result.examples >= 0).all() and (result.examples <= 1).all()
    assert (result.l2 <= result.linf * 8 + 1e-6).all() and (result.linf <= result.l2 + 1e-6).all()
    queries = (result.forwards, result.backwards)
    smallest = {"white": (1.5, 1.5), "black": (3, 0), "none": (0, 0)}[perturbation.access]
    assert queries[0] >= smallest[0] and queries[1] >= smallest[1]
    assert (queries[0] == 0, queries[1] == 0) == (perturbation.access == "none", perturbation.access != "white")
    assert perturbation.passes is None or sum(queries) <= perturbation.passes


def is_identity_at_zero(perturbation: Perturbation) -> bool:
    """Return whether beta 0 means no change: not for penalty weights, library parameters, or a start in a ball."""
    from_library = isinstance(perturbation, LibraryAttack)
    return not (from_library or perturbation.name == "lbfgs-penalty" or getattr(perturbation, "epsilon", None))


@pytest.mark.slow
@pytest.mark.parametrize("perturbation", [p for p in EXAMPLES if is_identity_at_zero(p)], ids=label)
def test_strength_zero_is_the_identity(perturbation: Perturbation, classifier: Classifier, digits: Digits) -> None:
    zero = perturbation.model_copy(update={"beta": 0.0})
    assert torch.allclose(zero(classifier, *digits, SEEDS), digits[0], atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("perturbation", [p for p in EXAMPLES if p.threat_model], ids=label)
def test_images_stay_in_threat_model_and_box(
    perturbation: Perturbation, classifier: Classifier, digits: Digits
) -> None:
    x, y = digits
    assert perturbation.threat_model is not None
    norm, epsilon = perturbation.threat_model
    x_adv = perturbation(classifier, x, y, SEEDS)
    delta = (x_adv - x).flatten(1)
    size = delta.abs().amax(dim=1) if norm == "linf" else delta.norm(dim=1)
    assert size.max() <= epsilon * (1 + 1e-5) and size.max() > epsilon / 3
    assert x_adv.min() >= 0 and x_adv.max() <= 1


@pytest.mark.parametrize(
    "attack",
    [
        lambda epsilon: PERTURBATIONS["fgsm"](beta=epsilon / 10, steps=10),
        lambda epsilon: PERTURBATIONS["pgd"](beta=epsilon),
        lambda epsilon: PERTURBATIONS["pgd"](beta=epsilon, norm="l2"),
        lambda epsilon: PERTURBATIONS["lbfgs"](beta=epsilon),
        lambda epsilon: PERTURBATIONS["art"](
            attack="BasicIterativeMethod",
            beta_parameter="eps",
            beta=epsilon,
            params={"eps_step": 0.002, "max_iter": 40},
        ),
        lambda epsilon: PERTURBATIONS["foolbox"](
            attack="LinfBasicIterativeAttack", beta_parameter="epsilon", beta=epsilon, params={"steps": 40}
        ),
        lambda epsilon: PERTURBATIONS["torchattacks"](
            attack="BIM", beta_parameter="eps", beta=epsilon, params={"alpha": 0.002, "steps": 40}
        ),
    ],
    ids=["fgsm", "pgd linf", "pgd l2", "lbfgs", "art", "foolbox", "torchattacks"],
)
def test_attacks_on_a_linear_classifier_need_the_exact_distance(attack: Callable[[float], Perturbation]) -> None:
    """Every attack fails at 0.98 of an image's exact distance to the boundary and succeeds at 1.02 of it."""
    classifier, x, y, distance = line(torch.float32)
    assert isinstance(classifier.network, Line)
    threat = attack(1.0).threat_model
    if threat and threat.norm == "l2":
        distance = classifier.network.l2_distance(x).detach()
    nearest = distance.argsort()[10:14]
    for sample in nearest.tolist():
        one = slice(sample, sample + 1)
        for factor, fooled in ((0.98, False), (1.02, True)):
            x_adv = attack(factor * float(distance[sample]))(classifier, x[one], y[one], SEEDS[one])
            assert (classifier.predict(x_adv) != y[one]).item() is fooled, (sample, factor)


def test_fgsm_with_steps_equals_bim_of_the_libraries(network: nn.Module, digits: Digits) -> None:
    """Steps of size beta without a ball equal those in a ball of radius steps * beta where no gradient is zero."""
    x, y = digits[0], digits[1]
    classifier = Classifier(network, (1, 8, 8), 10)
    ours = PERTURBATIONS["fgsm"](beta=0.01, steps=5)(classifier, x, y, SEEDS)
    theirs = {
        "art": {"attack": "BasicIterativeMethod", "beta_parameter": "eps", "params": {"eps_step": 0.01, "max_iter": 5}},
        "foolbox": {
            "attack": "LinfBasicIterativeAttack",
            "beta_parameter": "epsilon",
            "params": {"abs_stepsize": 0.01, "steps": 5},
        },
        "torchattacks": {"attack": "BIM", "beta_parameter": "eps", "params": {"alpha": 0.01, "steps": 5}},
    }
    for name, fields in theirs.items():
        x_adv = PERTURBATIONS[name](beta=0.05, **fields)(classifier, x, y, SEEDS)
        # Single pixels may differ where rounding decides the sign of a zero gradient.
        same = (ours - x_adv).abs() < 1e-5
        assert same.float().mean() > 0.995, name
        assert (classifier.predict(ours) == classifier.predict(x_adv)).float().mean() > 0.98, name


@pytest.mark.parametrize("padding", ["reflect", "mirror", "nearest", "wrap", "constant"])
@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0, 2.2, 5.0])
def test_blur_equals_scipy(sigma: float, padding: str, classifier: Classifier) -> None:
    x = torch.rand(3, 2, 12, 9)
    ours = PERTURBATIONS["blur"](beta=sigma, padding=padding)(classifier, x, x[:, 0, 0, 0].long(), SEEDS[:3])
    for ours_image, image in zip(ours.flatten(0, 1).numpy(), x.flatten(0, 1).double().numpy(), strict=True):
        assert np.abs(ours_image - gaussian_filter(image, sigma, mode=padding, truncate=3.5)).max() < 1e-6


def test_noise_is_standard_normal_and_independent_between_seeds() -> None:
    x = torch.zeros(200, 1, 16, 16)
    noise = normal_like(x, torch.arange(200))
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert abs((noise**4).mean() - 3) < 0.15
    rows = noise.flatten(1)
    correlation = (rows @ rows.T / rows.shape[1]).fill_diagonal_(0)
    assert correlation.abs().max() < 6 / 16


def test_lbfgs_penalty_steps_along_gradient_of_its_objective(network: nn.Module, digits: Digits) -> None:
    """One step of every variant equals autograd on ``cross_entropy - ||x_adv - x|| / beta``, in float64."""
    x, y = digits[0][:6].double(), digits[1][:6]
    classifier = Classifier(copy.deepcopy(network).double(), (1, 8, 8), 10)
    start = (x + 0.1 * torch.randn_like(x)).clamp(0.2, 0.8)
    beta, size = 0.7, 1e-3
    for penalty in ("sample", "batch"):
        point = start.clone().requires_grad_()
        change = (point - x).flatten(1)
        loss = nn.functional.cross_entropy(classifier(point), y, reduction="sum" if penalty == "sample" else "mean")
        loss = loss - (change.norm(dim=1).sum() if penalty == "sample" else change.norm()) / beta
        grad = torch.autograd.grad(loss, point)[0]
        for step, ascent in (("sign", grad.sign()), ("gradient", grad)):
            expected = (start + size * ascent).clamp(0, 1)
            for parameter, strength in (("inverse-weight", beta), ("weight", 1 / beta)):
                attack = PERTURBATIONS["lbfgs-penalty"](
                    beta=strength, beta_parameter=parameter, step_size=size, steps=1, step=step, penalty=penalty
                )
                assert torch.allclose(attack.ascend_once(classifier, x, start, y), expected, atol=1e-12), (
                    penalty,
                    step,
                )


def test_pixel_fields_scale_with_the_deviation_of_the_pixels() -> None:
    """Strengths of the reference study, in normalized values, converted to pixel values."""
    std = 0.3081
    assert PERTURBATIONS["fgsm"](beta=0.02, steps=30).in_pixels(std).beta == pytest.approx(0.02 * std)
    assert PERTURBATIONS["noise"](beta=1.6).in_pixels(std).beta == pytest.approx(1.6 * std)
    assert PERTURBATIONS["blur"](beta=5.0).in_pixels(std).beta == 5.0
    sign = PERTURBATIONS["lbfgs-penalty"](beta=20.0).in_pixels(std)
    assert (sign.beta, sign.step_size) == pytest.approx((20 * std, 0.02 * std))
    gradient = PERTURBATIONS["lbfgs-penalty"](beta=20.0, step="gradient").in_pixels(std)
    assert (gradient.beta, gradient.step_size) == pytest.approx((20 * std, 0.02 * std**2))


@pytest.mark.parametrize("step", ["sign", "gradient"])
@pytest.mark.parametrize("penalty", ["sample", "batch"])
def test_scaled_attack_on_pixels_equals_attack_on_normalized_images(step: str, penalty: str) -> None:
    """Ascent on ``z = x / std`` with the numbers of the study equals ascent on x with the scaled numbers."""
    std = 0.3
    _, x, y, _ = line()
    w = torch.linspace(-1, 1, 16, dtype=torch.float64)

    class OnPixels(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale
            self.w = nn.Parameter(w)

        def forward(self, x: Tensor) -> Tensor:
            margin = (x / self.scale).flatten(1) @ self.w
            return torch.stack([-margin, margin], dim=1)

    study = PERTURBATIONS["lbfgs-penalty"](beta=2.0, steps=4, step_size=0.01, step=step, penalty=penalty)
    on_pixels = study.in_pixels(std)(Classifier(OnPixels(std), (1, 4, 4), 2), x, y, SEEDS[:40])
    on_normalized = study.model_copy()(Classifier(OnPixels(1.0), (1, 4, 4), 2), x / std / 4, y, SEEDS[:40])
    # The boxes differ, so the images stay away from their bounds.
    assert ((on_pixels > 0) & (on_pixels < 1)).all() and ((on_normalized > 0) & (on_normalized < 1)).all()
    unscaled = study.in_pixels(std)(Classifier(OnPixels(std), (1, 4, 4), 2), x / 4, y, SEEDS[:40])
    assert torch.allclose(unscaled / std, on_normalized, atol=1e-9)


class Invalid(Perturbation):
    """A perturbation that returns images outside the box, non-finite pixels, or another shape."""

    name = "invalid"
    beta_meaning = "nothing"
    how: str

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        if self.how == "out of the box":
            return x + 5
        if self.how == "nan":
            return x / 0
        return x[:, :, :4]


def test_evaluation_clips_images_and_refuses_invalid_ones(classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    clean = evaluate_clean(classifier, x, y)
    result = evaluate(Invalid(beta=1.0, how="out of the box"), classifier, clean, x, y, SEEDS)
    assert torch.equal(result.examples, torch.ones_like(result.examples)) and result.linf.max() <= 1
    with pytest.raises(InvalidPerturbationError, match="'invalid' returned non-finite pixels in 60 of 60 images"):
        evaluate(Invalid(beta=1.0, how="nan"), classifier, clean, x, y, SEEDS)
    with pytest.raises(
        InvalidPerturbationError, match=r"'invalid' returned shape \(60, 1, 4, 8\), expected \(60, 1, 8, 8\)"
    ):
        evaluate(Invalid(beta=1.0, how="cropped"), classifier, clean, x, y, SEEDS)


def test_images_are_judged_after_rounding_to_8_bits(classifier: Classifier) -> None:
    """Predictions and distances are those of the rounded images, and these are multiples of 1/255."""
    x = (torch.rand(40, 1, 8, 8) * 255).round() / 255
    y = classifier.predict(x)
    clean = evaluate_clean(classifier, x, y)
    for attack in (PERTURBATIONS["pgd"](beta=0.05), PERTURBATIONS["noise"](beta=0.1)):
        exact, rounded = (
            evaluate(attack, classifier, clean, x, y, SEEDS[:40], eight_bit=eight_bit, keep=40)
            for eight_bit in (False, True)
        )
        assert torch.equal(rounded.examples, (exact.examples * 255).round() / 255)
        assert not torch.equal(rounded.examples, exact.examples)
        assert torch.equal(rounded.prediction, classifier.predict(rounded.examples))
        torch.testing.assert_close(rounded.confidence, classifier(rounded.examples).softmax(dim=1).amax(dim=1).detach())
        change = (rounded.examples - x).flatten(1)
        assert torch.equal(rounded.linf, change.abs().amax(dim=1)) and torch.equal(rounded.l2, change.norm(dim=1))
        assert rounded.shares == exact.shares and rounded.forwards == exact.forwards


def test_rounding_to_8_bits_undoes_small_changes_and_is_no_fault_of_the_attack(classifier: Classifier) -> None:
    x = (torch.rand(40, 1, 8, 8) * 255).round() / 255
    y = classifier.predict(x)
    clean = evaluate_clean(classifier, x, y)
    for beta, moved in ((0.001, 0.0), (0.0025, 1 / 255)):  # less and more than half a level
        attack = PERTURBATIONS["torchattacks"](attack="PGD", beta=beta, params={"alpha": beta, "steps": 3})
        result = evaluate(attack, classifier, clean, x, y, SEEDS[:40], eight_bit=True)
        assert torch.allclose(result.linf, torch.full((40,), moved), atol=1e-6)
        assert result.shares["outside_ball"] == 0 and result.shares.get("unchanged", 0) == 0
        if moved == 0:
            assert torch.equal(result.prediction, y)
        assert Threat("linf", beta).after_rounding(64).contains(result.linf).all()
    search = evaluate_sweep([PERTURBATIONS["lbfgs"](beta=9.0)], classifier, clean, x, y, SEEDS[:40], eight_bit=True)[0]
    levels = search.examples * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    # Images just beyond the boundary are no longer misclassified, if rounding moves them back.
    assert 0 < (search.prediction == y).float().mean() < 1


@pytest.mark.parametrize(
    "threat, expected",
    [
        (Threat("linf", 0.1), 0.1 + 0.5 / 255),
        (Threat("l2", 1.0), 1.0 + 8 * 0.5 / 255),
        (Threat("l1", 3.0), 3.0 + 64 * 0.5 / 255),
        (Threat("l0", 5.0), 69.0),
    ],
)
def test_a_ball_grows_by_half_a_level_through_rounding(threat: Threat, expected: float) -> None:
    """Rounding moves each of 64 values by at most half a level, and random points on the sphere come close to it."""
    rounded = threat.after_rounding(64)
    assert rounded.norm == threat.norm and rounded.epsilon == pytest.approx(expected)
    x = torch.rand(200, 1, 8, 8)
    moved = lp_norm(((x * 255).round() / 255 - x), threat.norm)
    assert moved.max() <= rounded.epsilon - threat.epsilon + 1e-6


@pytest.mark.parametrize("keep", [0, 1, 4, 60, 100])
def test_evaluation_keeps_as_many_images_as_are_asked_for(keep: int, classifier: Classifier, digits: Digits) -> None:
    x, y = digits
    clean = evaluate_clean(classifier, x, y)
    noise = PERTURBATIONS["noise"](beta=0.1)
    kept = evaluate(noise, classifier, clean, x, y, SEEDS, keep=keep).examples
    assert torch.equal(kept, noise(classifier, x, y, SEEDS).clamp(0, 1)[:keep])
    sweep = [Search(of=noise, grid=(0.1,), beta=0.1, binary_search_steps=1)]
    assert len(evaluate_sweep(sweep, classifier, clean, x, y, SEEDS, keep=keep)[0].examples) == min(keep, 60)
    assert len(evaluate(noise, classifier, clean, x, y, SEEDS).examples) == 4


def test_results_on_a_random_network_repeat(network: nn.Module, digits: Digits) -> None:
    """Draws restart with every batch, and those of the judgment are not those of the attack."""
    x, y = digits
    noisy = nn.Sequential(AddNoise(), network)
    classifier = RandomClassifier(noisy, (1, 8, 8), 10, samples=2)
    restarts: list[str] = []
    restart = classifier.restart
    classifier.restart = lambda draws="attack": (restarts.append(draws), restart(draws))[1]  # type: ignore[method-assign, assignment]
    attack = PERTURBATIONS["pgd"](beta=0.1, steps=3)
    results = []
    for _ in range(2):
        clean = evaluate_clean(classifier, x, y)
        results.append(evaluate(attack, classifier, clean, x, y, SEEDS, keep=60))
        classifier(x)  # moves the sequence on
    assert torch.equal(results[0].examples, results[1].examples)
    assert torch.equal(results[0].prediction, results[1].prediction)
    assert restarts == ["judgment", "attack", "attack", "judgment"] * 2  # clean, its gradient, the attack, the result


class AddNoise(nn.Module):
    """Noise that stays active in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * torch.randn_like(x)


def test_zero_gradients_are_detected(network: nn.Module, digits: Digits) -> None:
    """Logits scaled by 1e4 keep every decision and make float32 gradients zero."""
    x, y = digits

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x) * 1e4

    zero_gradient = evaluate_clean(Classifier(Scaled(), (1, 8, 8), 10), x, y).zero_gradient
    right = Classifier(network, (1, 8, 8), 10).predict(x) == y
    assert zero_gradient[right].float().mean() > 0.9 and not zero_gradient[~right].any()
    assert not evaluate_clean(Classifier(network, (1, 8, 8), 10), x, y).zero_gradient.all()


@pytest.mark.parametrize("attack", LIBRARY, ids=lambda attack: attack.name)
def test_library_defaults_become_parameters(attack: LibraryAttack) -> None:
    assert set(attack.params) > {"steps"} or set(attack.params) > {"max_iter"}
    assert attack.beta_parameter not in attack.params


def test_fgsm_requires_steps() -> None:
    with pytest.raises(ConfigError) as error:
        build(PERTURBATIONS["fgsm"], {"beta": 0.1}, "perturbations[0]")
    assert str(error.value) == "perturbations[0].steps: 'fgsm' needs this key"


@pytest.mark.parametrize(("steps", "detail"), [(1, "1 step"), (30, "30 steps")])
def test_detail_of_fgsm_is_its_number_of_steps(steps: int, detail: str) -> None:
    fgsm = PERTURBATIONS["fgsm"](beta=0.1, steps=steps)
    assert fgsm.detail == detail
    assert Search(of=fgsm, grid=(0.1,), beta=0.1).detail == detail
    assert all(example.detail == "" for example in EXAMPLES if example.name != "fgsm")
