"""What is attacked: a trained network behind one interface, and its views for the attack libraries.

Every view is checked when it is made: the same logits and the same input gradients as the
classifier itself. A view that normalises twice, applies a softmax or averages the loss would
change an attack silently; here it is an error.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_bench.description import Precision
from gtn_bench.learners.folding import fold, in_bfloat16
from gtn_bench.losses import Loss, cross_entropy

TOLERANCE = 1e-5


class ViewMismatch(RuntimeError):
    """A library sees another classifier than the one that was trained."""


class Classifier(nn.Module):
    """A frozen, folded network in evaluation mode: pixels (N, C, H, W) in [0, 1] to logits (N, K).

    It counts what it is asked: `forwards` and `backwards` are numbers of images, not of batches.
    With `precision` bfloat16 it computes faster and more coarsely; images, logits and losses stay as they are.
    """

    batch: ClassVar[int | None] = None  # images shown together, if logits depend on the images beside them

    def __init__(
        self,
        network: nn.Module,
        input_shape: tuple[int, int, int],
        num_classes: int,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.network = self.prepare(network, precision)
        self.input_shape = input_shape
        self.num_classes = num_classes
        self.forwards = 0
        self.backwards = 0
        self._remembered: list[tuple[Tensor, Tensor, Tensor]] = []  # images, labels, gradients
        self.requires_grad_(False)
        self.train(False)

    @staticmethod
    def prepare(network: nn.Module, precision: Precision) -> nn.Module:
        """What computes the logits."""
        return fold(network) if precision == "float32" else in_bfloat16(fold(network))

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        x = x.to(self.dtype)  # libraries hand over whatever NumPy has made of the images
        if x.requires_grad and torch.is_grad_enabled():
            x = _CountBackward.apply(x, self)
        return self.network(x)

    @property
    def dtype(self) -> torch.dtype:
        """In which it computes."""
        return next(self.parameters()).dtype

    @functools.cached_property
    def kept_per_image(self) -> list[int]:
        """Bytes of each tensor that lies between the forward and the backward pass of an image.

        What is kept for two images, less what is kept for one: the weights are left out.
        """
        counts = self.forwards, self.backwards
        one, two = (self._kept(images) for images in (1, 2))
        self.forwards, self.backwards = counts
        return [more - less for less, more in zip(one, two, strict=False)]

    @functools.cached_property
    def largest_per_image(self) -> int:
        """Bytes of the largest tensor that a layer makes of an image, or that is kept of it."""
        outputs = list(self.kept_per_image)

        def see(layer: nn.Module, x: Any, y: Any) -> None:
            if isinstance(y, Tensor):
                outputs.append(y.nbytes)

        hooks = [layer.register_forward_hook(see) for layer in self.network.modules()]
        counts = self.forwards, self.backwards
        with torch.no_grad():
            self(torch.zeros(1, *self.input_shape, dtype=self.dtype, device=_device(self)))
        self.forwards, self.backwards = counts
        for hook in hooks:
            hook.remove()
        return max(outputs)

    @property
    def needed_per_image(self) -> int:
        """Bytes that an image's gradient takes: what is kept for it, and the largest tensor that is made besides."""
        return sum(self.kept_per_image) + self.largest_per_image

    def _kept(self, images: int) -> list[int]:
        """Bytes of each tensor that is kept for the gradients of so many images."""
        sizes = {}

        def see(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        x = torch.zeros(images, *self.input_shape, dtype=self.dtype, device=_device(self), requires_grad=True)
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
            logits = self(x)  # as long as these are held, no address is used again
        del logits
        return list(sizes.values())

    def train(self, mode: bool = True) -> Classifier:
        """Stay in evaluation mode, whatever a library asks for."""
        return super().train(False)

    def predict(self, x: Tensor) -> Tensor:
        """Most likely class (N,)."""
        with torch.no_grad():
            return self(x).argmax(dim=1)

    def loss_gradient(self, x: Tensor, y: Tensor, loss: Loss = cross_entropy) -> Tensor:
        """d/dx of the sum of the samples' losses: each image's own gradient, (N, C, H, W)."""
        known = self._recall(x, y) if loss is cross_entropy else None
        if known is not None:
            self.forwards += len(x)
            self.backwards += len(x)
            return known.clone()
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(loss(self(x), y).sum(), x)[0]

    def remember(self, x: Tensor, y: Tensor) -> Tensor:
        """The gradient of the cross-entropy, which is not worked out again for the same images and labels.

        All strengths of a sweep begin with it.
        """
        gradient = self.loss_gradient(x, y)
        if self._recall(x, y) is None:
            self._remembered.append((x.clone(), y.clone(), gradient.clone()))
        return gradient

    def _recall(self, x: Tensor, y: Tensor) -> Tensor | None:
        for images, labels, gradient in self._remembered:
            if images.shape == x.shape and torch.equal(images, x) and torch.equal(labels, y):
                return gradient
        return None


class _CountBackward(torch.autograd.Function):
    """Identity that tells the classifier when a gradient passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, classifier: Classifier) -> Tensor:
        ctx.classifier = classifier
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        ctx.classifier.backwards += len(grads[0])
        return grads[0], None


def as_art(classifier: Classifier, *, probabilities: bool = False) -> Any:
    """The classifier as an ART `PyTorchClassifier` with clip values (0, 1), giving logits or probabilities."""
    from art.estimators.classification import PyTorchClassifier

    device = _device(classifier)
    view = PyTorchClassifier(
        model=nn.Sequential(classifier, nn.Softmax(dim=1)) if probabilities else classifier,
        loss=_LogLoss() if probabilities else nn.CrossEntropyLoss(reduction="sum"),
        input_shape=classifier.input_shape,
        nb_classes=classifier.num_classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if device.type == "cuda" else "cpu",
    )

    def logits(x: Tensor) -> Any:
        outputs = view.predict(x.cpu().numpy())
        if not probabilities:
            return outputs
        logs = torch.from_numpy(outputs).to(device).clamp_min(1e-30).log()  # the logits but for a constant
        return logs - logs.mean(1, keepdim=True) + classifier(x).mean(1, keepdim=True)

    def gradient(x: Tensor, y: Tensor) -> Any:
        return view.loss_gradient(x.cpu().numpy(), F.one_hot(y, classifier.num_classes).cpu().numpy())

    check_view("ART PyTorchClassifier", classifier, logits, gradient)
    return view


class _LogLoss(nn.Module):
    """Sum of -log p(y) of probabilities (N, K) and labels (N,), or (N, K) one-hot as ART hands them over."""

    def forward(self, probabilities: Tensor, y: Tensor) -> Tensor:
        y = y.argmax(dim=1) if y.ndim == 2 else y
        return F.nll_loss(probabilities.clamp_min(1e-30).log(), y, reduction="sum")


def as_foolbox(classifier: Classifier) -> Any:
    """The classifier as a foolbox `PyTorchModel` with bounds (0, 1)."""
    from foolbox.models.pytorch import PyTorchModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        view = PyTorchModel(classifier, bounds=(0, 1), device=_device(classifier))

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(view(x), y, reduction="sum"), x)[0]

    check_view("foolbox PyTorchModel", classifier, view, gradient)
    return view


def as_torchattacks(classifier: Classifier) -> Classifier:
    """The classifier as torchattacks calls it: the module itself, through `Attack.get_logits`."""
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
    """Raise `ViewMismatch` unless the view's logits and input gradients are the classifier's, to 1e-5."""
    device = _device(classifier)
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(4, *classifier.input_shape, generator=draw).to(device, classifier.dtype)
    y = torch.arange(4, device=device) % classifier.num_classes
    counts = classifier.forwards, classifier.backwards
    with torch.no_grad():
        pairs = {"logits": (logits(x), classifier(x))}
    pairs["input gradients"] = (gradient(x, y), classifier.loss_gradient(x, y))
    classifier.forwards, classifier.backwards = counts
    for what, (theirs, ours) in pairs.items():
        difference = (torch.as_tensor(theirs, device=device) - ours).abs().max().item()
        if not difference <= TOLERANCE * max(1.0, ours.abs().max().item()):
            raise ViewMismatch(
                f"{name}: its {what} differ from the learner's by {difference:.3g} (allowed {TOLERANCE:g})"
            )


def _device(classifier: Classifier) -> torch.device:
    return next(classifier.parameters()).device
