"""Views of a classifier for ART, foolbox and torchattacks, each verified when it is constructed.

A view that normalizes twice, adds a softmax or averages the loss would change an attack silently. Therefore each view
must compute the classifier's own logits and input gradients.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.config.errors import ViewMismatchError
from gtn_bench.inference.classifier import Classifier

TOLERANCE = 1e-5  # relative to the largest entry, or absolute if that is below one
_TINY = 1e-30  # smaller probabilities are not distinguished


def as_art(classifier: Classifier, *, probabilities: bool = False) -> Any:
    """Return the view for the Adversarial Robustness Toolbox.

    Args:
        classifier: The classifier.
        probabilities: Whether the view returns probabilities instead of logits.

    Returns:
        A `PyTorchClassifier` with clip values (0, 1), on the classifier's device.

    Raises:
        ViewMismatchError: If its outputs or input gradients differ from the classifier's.
    """
    from art.estimators.classification import PyTorchClassifier

    device = classifier.device
    view = PyTorchClassifier(
        model=nn.Sequential(classifier, nn.Softmax(dim=1)) if probabilities else classifier,
        loss=_LogLoss() if probabilities else nn.CrossEntropyLoss(reduction="sum"),
        input_shape=classifier.input_shape,
        nb_classes=classifier.num_classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if device.type == "cuda" else "cpu",
    )

    def outputs(x: Tensor) -> Any:
        return view.predict(x.cpu().numpy())

    def gradient(x: Tensor, y: Tensor) -> Any:
        return view.loss_gradient(x.cpu().numpy(), F.one_hot(y, classifier.num_classes).cpu().numpy())

    if probabilities:
        _check_probabilities("ART PyTorchClassifier", classifier, outputs, gradient)
    else:
        check_view("ART PyTorchClassifier", classifier, outputs, gradient)
    return view


class _LogLoss(nn.Module):
    """Sum of -log p(y) over images.

    Shape:
        Input: probabilities (N, K); labels (N,), or one-hot (N, K) as ART passes them. Output: a scalar.
    """

    def forward(self, probabilities: Tensor, y: Tensor) -> Tensor:
        y = y.argmax(dim=1) if y.ndim == 2 else y
        return F.nll_loss(probabilities.clamp_min(_TINY).log(), y, reduction="sum")


def as_foolbox(classifier: Classifier) -> Any:
    """Return the view for foolbox.

    Args:
        classifier: The classifier.

    Returns:
        A `PyTorchModel` with bounds (0, 1), on the classifier's device.

    Raises:
        ViewMismatchError: If its logits or input gradients differ from the classifier's.
    """
    from foolbox.models.pytorch import PyTorchModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        view = PyTorchModel(classifier, bounds=(0, 1), device=classifier.device)

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(view(x), y, reduction="sum"), x)[0]

    check_view("foolbox PyTorchModel", classifier, view, gradient)
    return view


def as_torchattacks(classifier: Classifier) -> Classifier:
    """Return the view for torchattacks: the classifier itself, which attacks call through `Attack.get_logits`.

    Args:
        classifier: The classifier.

    Returns:
        The same classifier.

    Raises:
        ViewMismatchError: If the logits or input gradients that attacks see differ from the classifier's.
    """
    from torchattacks.attack import Attack

    attack = Attack("view", classifier)

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(attack.get_logits(x), y, reduction="sum"), x)[0]

    check_view("torchattacks Attack", classifier, attack.get_logits, gradient)
    return classifier


def check_view(
    name: str, classifier: Classifier, logits: Callable[[Tensor], Any], gradient: Callable[[Tensor, Tensor], Any]
) -> None:
    """Compare the logits and input gradients of a view with the classifier's, on four random images.

    Gradients are compared if the classifier has them. A classifier with random outputs uses the same draws for both.

    Args:
        name: Name of the view, for messages.
        classifier: The classifier. Its counts of images and of draws do not change.
        logits: Function from images (N, C, H, W) to logits (N, K), as a tensor or an array.
        gradient: Function from images and labels (N,) to the gradient of the summed cross-entropy (N, C, H, W).

    Raises:
        ViewMismatchError: If they differ by more than the tolerance.
    """
    x = _random_images(classifier)
    y = torch.arange(len(x), device=x.device) % classifier.num_classes
    check = _Comparison(name, classifier)
    with torch.no_grad():
        check("logits", lambda: logits(x), lambda: classifier(x))
    if classifier.differentiable:
        check("input gradients", lambda: gradient(x, y), lambda: classifier.loss_gradient(x, y))


def _check_probabilities(
    name: str, classifier: Classifier, outputs: Callable[[Tensor], Any], gradient: Callable[[Tensor, Tensor], Any]
) -> None:
    """Compare the probabilities of a view with the softmax of the classifier's logits. Arguments as for `check_view`.

    Logarithms are compared, because differences of small probabilities would not show. Probabilities that underflow
    have no gradient, so gradients are compared for the second most likely classes that do not.
    """
    x = _random_images(classifier)
    check = _Comparison(name, classifier)
    with torch.no_grad():
        ours = check(
            "log-probabilities",
            lambda: torch.as_tensor(outputs(x), device=x.device).clamp_min(_TINY).log(),
            lambda: classifier(x).log_softmax(dim=1).clamp_min(math.log(_TINY)),
        )
    second = ours.topk(2).indices[:, 1]  # gradients for the most likely class can vanish
    rows = ours.gather(1, second[:, None]).squeeze(1) > math.log(_TINY)
    if rows.any() and classifier.differentiable:
        x, y = x[rows], second[rows]
        check("input gradients", lambda: gradient(x, y), lambda: classifier.loss_gradient(x, y))


def _random_images(classifier: Classifier) -> Tensor:
    """Return four images (4, C, H, W) with uniform pixels, on the classifier's device and in its type."""
    x = torch.rand(4, *classifier.input_shape, generator=torch.Generator().manual_seed(0))
    return x.to(classifier.device, classifier.dtype)


class _Comparison:
    """Comparison of a view with its classifier, whose counts of images and of draws it restores.

    Args:
        name: Name of the view, for messages.
        classifier: The classifier.
    """

    def __init__(self, name: str, classifier: Classifier) -> None:
        self.name, self.classifier = name, classifier

    def __call__(self, quantity: str, view: Callable[[], Any], own: Callable[[], Tensor]) -> Tensor:
        """Return the classifier's own tensor; raise `ViewMismatchError` if the view's differs by too much."""
        counts, draw = (self.classifier.forwards, self.classifier.backwards), self.classifier.next_draw
        theirs = view()
        self.classifier.next_draw = draw
        ours = own()
        self.classifier.next_draw = draw
        self.classifier.forwards, self.classifier.backwards = counts
        difference = (torch.as_tensor(theirs, device=ours.device) - ours).abs().max().item()
        if not difference <= TOLERANCE * max(1.0, ours.abs().max().item()):
            raise ViewMismatchError(
                f"{self.name}: its {quantity} differ from the learner's by {difference:.3g} (allowed {TOLERANCE:g})"
            )
        return ours
