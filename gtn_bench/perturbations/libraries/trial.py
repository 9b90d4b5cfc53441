"""Trial runs: a library attack on two images before training, to find errors that only its code reveals."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import math
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

from gtn_bench.config.errors import ConfigError
from gtn_bench.perturbations.libraries.rng import isolated
from gtn_bench.perturbations.targets import TargetName, attack_labels

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.inference.classifier import Classifier

_POOLED = 16  # the untrained network averages larger images to at most this many pixels in a row, to stay small
_NO_START = "init_attack failed"  # of foolbox: no adversarial image to start from
_CANDIDATES = 32  # random images, of which the trial takes two of different classes


class _TriedAttack(Protocol):
    """The part of a library attack that a trial uses. See `LibraryAttack`."""

    @property
    def title(self) -> str:
        """Name of the attack in messages."""

    @property
    def batch_size(self) -> int:
        """Images per call."""

    @property
    def target(self) -> TargetName | int:
        """The goal of the attack."""

    @property
    def trial_budget(self) -> Mapping[str, float]:
        """Largest values of attributes that limit the work, by name."""

    def make(self, classifier: Classifier, seed: int) -> Any:
        """Construct the library's attack object."""

    def inner_attacks(self, made: Any) -> Iterable[Any]:
        """Return the attack objects that an ensemble contains."""

    def generate(self, made: Any, classifier: Classifier, x: Tensor, label: Tensor) -> Tensor:
        """Run the attack."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """Return a copy with other fields."""


@dataclass(frozen=True)
class Trial:
    """An attack and the images that it is tried on. Trials with equal keys have equal results.

    Attributes:
        key: What the attack does, without its strength.
        input_shape: Channels, height, width.
        num_classes: Number of classes.
        attack: The attack at one strength.
    """

    key: str
    input_shape: tuple[int, int, int]
    num_classes: int
    attack: _TriedAttack = field(compare=False)


@functools.cache
def run_trial(trial: Trial) -> None:
    """Run an attack with a small budget on two random images. Later calls with an equal trial return at once.

    If the attack fails, it runs again with its own budget, because some attacks require a minimum. If it finds no
    starting point for one of the images, it passes, because the evaluation does without single images. Global random
    generators and the terminal are unaffected, and warnings are ignored.

    Args:
        trial: The attack and the images.

    Raises:
        ConfigError: If the attack raises an exception, with its type and message in one line.
    """
    try:
        try:
            _attack_two_images(trial, reduced=True)
        except ImportError:
            raise
        except Exception:
            _attack_two_images(trial, reduced=False)
    except ConfigError:
        raise
    except Exception as error:
        if str(error).startswith(_NO_START) and _works_on_one_image(trial):
            return
        reason = describe(error) + _hint(trial)
        raise ConfigError(f"attack '{trial.attack.title}' fails on two trial images: {reason}") from None


@functools.cache
def trial_classifier(input_shape: tuple[int, int, int], num_classes: int) -> Classifier:
    """Return an untrained linear classifier whose predictions on random images are spread over the classes.

    Args:
        input_shape: Channels, height, width.
        num_classes: Number of classes.
    """
    import torch
    from torch import nn

    from gtn_bench.inference.classifier import Classifier

    channels, height, width = input_shape
    kernel = math.ceil(height / _POOLED), math.ceil(width / _POOLED)
    with sandbox():
        layer = nn.Linear(channels * (height // kernel[0]) * (width // kernel[1]), num_classes)
    with torch.no_grad():
        layer.bias.copy_(-layer.weight.sum(dim=1) / 2)  # the logits of a gray image are zero
    network = nn.Sequential(nn.AvgPool2d(kernel), nn.Flatten(), layer)
    return Classifier(network, input_shape, num_classes)


@contextlib.contextmanager
def sandbox() -> Iterator[None]:
    """Ignore warnings, suppress output, seed global random generators and use one thread; restore all of it."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for two images, more threads would only wait for each other
    try:
        with warnings.catch_warnings(), isolated(torch.zeros(1, dtype=torch.int64)):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)


def describe(error: Exception) -> str:
    """Return type and message of an exception in one line, and how to install a missing package.

    Args:
        error: The exception. If it has no message, the line of code that raised it takes its place.
    """
    text = next(iter(str(error).splitlines()), "")
    if not text:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = f"in '{frame.line}'"
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            text += f"; install it with: pip install {package}"
    return f"{type(error).__name__}: {text}"


def _attack_two_images(trial: Trial, *, reduced: bool, only: int | None = None) -> None:
    """Run the attack as an evaluation does, in batches of its own size.

    Args:
        trial: The attack and the images.
        reduced: Whether the budget is reduced.
        only: Index of the only image to attack; None for both.
    """
    import torch

    attack, classifier = trial.attack, trial_classifier(trial.input_shape, trial.num_classes)
    with sandbox():
        x, y = _images(classifier)
        label = attack_labels(classifier, x, y, torch.arange(len(y)), attack.target)
        if attack.target != "untargeted":
            label = label.where(label != y, (y + 1) % trial.num_classes)  # no image of the target class is attacked
        x, label = (x, label) if only is None else (x[only : only + 1], label[only : only + 1])
        for images, labels in zip(x.split(attack.batch_size), label.split(attack.batch_size), strict=True):
            made = attack.make(classifier, seed=0)
            if reduced:
                for one in (made, *attack.inner_attacks(made)):
                    _reduce(one, attack)
            found = attack.generate(made, classifier, images, labels)
            if found.shape != images.shape:
                raise ValueError(f"returned shape {tuple(found.shape)}, expected {tuple(images.shape)}")


def _works_on_one_image(trial: Trial) -> bool:
    """Return True if the attack works on one of the two images and fails on the other."""
    works = 0
    for only in (0, 1):
        with contextlib.suppress(Exception):
            _attack_two_images(trial, reduced=True, only=only)
            works += 1
    return works == 1


def _hint(trial: Trial) -> str:
    """Return what the attack requires, as the end of a message; nothing if that is not why it fails."""
    channels, height, width = trial.input_shape
    one_by_one = trial.attack.model_copy(update={"batch_size": 1})
    alternatives = {
        f"it works on square images, not on {height} x {width}": replace(trial, input_shape=(channels, height, height)),
        f"it works on images of 3 channels, not of {channels}": replace(trial, input_shape=(3, height, width)),
        f"it works with 10 classes, not with {trial.num_classes}": replace(trial, num_classes=10),
        "it works with batch_size: 1": replace(trial, attack=one_by_one),
    }
    for hint, other in alternatives.items():
        if other == trial and other.attack.batch_size == trial.attack.batch_size:
            continue
        with contextlib.suppress(Exception):
            _attack_two_images(other, reduced=True)
            return f"; {hint}"
    return ""


def _images(classifier: Classifier) -> tuple[Tensor, Tensor]:
    """Return two random images (2, C, H, W) of different predicted classes, the largest one among them, and these."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.rand(_CANDIDATES, *classifier.input_shape, generator=generator)
    prediction = classifier.predict(x)
    chosen = prediction.argsort(descending=True, stable=True)[[0, -1]]
    return x[chosen], prediction[chosen]


def _reduce(made: object, attack: _TriedAttack) -> None:
    """Lower the attributes of a library's attack object that limit its work. Their types stay."""
    for name, most in attack.trial_budget.items():
        value = getattr(made, name, None)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > most:
            setattr(made, name, type(value)(most))
