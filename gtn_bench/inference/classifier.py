"""The classifier under attack: a trained network, frozen and in evaluation mode, that counts its queries."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gtn_bench.config.description import Precision
from gtn_bench.inference.bfloat16 import in_bfloat16
from gtn_bench.inference.folding import fold
from gtn_bench.inference.losses import Loss, cross_entropy


class Classifier(nn.Module):
    """A frozen, folded network in evaluation mode, from images to logits.

    Args:
        network: The network. Layers that are not folded are shared with it, frozen and in evaluation mode.
        input_shape: Channels, height, width.
        num_classes: Number of classes K.
        precision: "bfloat16" is faster and less accurate. The types of images, logits and losses are the same.

    Attributes:
        batch: Images per batch, if the logits of an image depend on the other images of the batch.
        forwards: Number of images that passed forward.
        backwards: Number of images that a gradient passed back to.

    Shape:
        Input: images (N, C, H, W) in [0, 1]. Output: logits (N, K).
    """

    batch: ClassVar[int | None] = None

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
        self._gradient_cache: list[tuple[Tensor, Tensor, Tensor]] = []  # images, labels, gradients
        self.requires_grad_(False)
        self.train(False)

    @staticmethod
    def prepare(network: nn.Module, precision: Precision) -> nn.Module:
        """Return the network that computes the logits.

        Args:
            network: The given network.
            precision: Precision of the computation.
        """
        return fold(network) if precision == "float32" else in_bfloat16(fold(network))

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        x = x.to(self.dtype)  # libraries may pass float64, the default of NumPy
        if x.requires_grad and torch.is_grad_enabled():
            x = _CountBackward.apply(x, self)
        return self.network(x)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device

    @functools.cached_property
    def kept_per_image(self) -> list[int]:
        """Size in bytes, per image, of each tensor that is saved for the backward pass.

        The difference between two images and one, so that weights are not counted.
        """
        counts = self.forwards, self.backwards
        one, two = (self._kept(images) for images in (1, 2))
        self.forwards, self.backwards = counts
        return [more - less for less, more in zip(one, two, strict=False)]

    @functools.cached_property
    def largest_per_image(self) -> int:
        """Size in bytes, per image, of the largest output of a layer or tensor saved for the backward pass."""
        sizes = list(self.kept_per_image)

        def record(layer: nn.Module, x: Any, y: Any) -> None:
            if isinstance(y, Tensor):
                sizes.append(y.nbytes)

        hooks = [layer.register_forward_hook(record) for layer in self.network.modules()]
        counts = self.forwards, self.backwards
        with torch.no_grad():
            self(torch.zeros(1, *self.input_shape, dtype=self.dtype, device=self.device))
        self.forwards, self.backwards = counts
        for hook in hooks:
            hook.remove()
        return max(sizes)

    @property
    def needed_per_image(self) -> int:
        """Memory in bytes, per image, that a gradient needs: all saved tensors and the largest other one."""
        return sum(self.kept_per_image) + self.largest_per_image

    def _kept(self, images: int) -> list[int]:
        """Return the size in bytes of each tensor that is saved for the gradients of a number of images."""
        sizes = {}

        def record(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        x = torch.zeros(images, *self.input_shape, dtype=self.dtype, device=self.device, requires_grad=True)
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
            logits = self(x)  # holding the graph keeps addresses unique
        del logits
        return list(sizes.values())

    def train(self, mode: bool = True) -> Classifier:
        """Stay in evaluation mode: attack libraries may request train mode.

        Args:
            mode: Ignored.
        """
        return super().train(False)

    def predict(self, x: Tensor) -> Tensor:
        """Return the predicted classes.

        Args:
            x: Images (N, C, H, W) in [0, 1].

        Returns:
            Classes (N,) int64.
        """
        with torch.no_grad():
            return self(x).argmax(dim=1)

    def loss_gradient(self, x: Tensor, y: Tensor, loss: Loss = cross_entropy) -> Tensor:
        """Return the gradient of each image's loss.

        Args:
            x: Images (N, C, H, W) in [0, 1].
            y: Labels (N,).
            loss: Per-sample loss of logits (N, K) and labels (N,).

        Returns:
            Gradients (N, C, H, W). They are counted even if they come from the cache.
        """
        cached = self._cached_gradient(x, y) if loss is cross_entropy else None
        if cached is not None:
            self.forwards += len(x)
            self.backwards += len(x)
            return cached.clone()
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(loss(self(x), y).sum(), x)[0]

    def cache_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the gradient of the cross-entropy, and cache it for later calls with the same images and labels.

        Attacks of all strengths of a sweep start with this gradient.

        Args:
            x: Images (N, C, H, W) in [0, 1].
            y: Labels (N,).

        Returns:
            Gradients (N, C, H, W).
        """
        gradient = self.loss_gradient(x, y)
        if self._cached_gradient(x, y) is None:
            self._gradient_cache.append((x.clone(), y.clone(), gradient.clone()))
        return gradient

    def _cached_gradient(self, x: Tensor, y: Tensor) -> Tensor | None:
        for images, labels, gradient in self._gradient_cache:
            if images.shape == x.shape and torch.equal(images, x) and torch.equal(labels, y):
                return gradient
        return None


class _CountBackward(torch.autograd.Function):
    """Identity whose backward pass adds to the classifier's `backwards`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, classifier: Classifier) -> Tensor:
        ctx.classifier = classifier
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        ctx.classifier.backwards += len(grads[0])
        return grads[0], None
