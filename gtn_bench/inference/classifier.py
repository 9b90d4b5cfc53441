"""The classifier under attack: a trained network, frozen and in evaluation mode, that counts its queries."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gtn_bench.config.description import Precision
from gtn_bench.inference.copying import called_modules
from gtn_bench.inference.losses import Loss, cross_entropy
from gtn_bench.inference.memory import operation_sizes, output_sizes, per_image, saved_sizes
from gtn_bench.inference.preparation import prepared
from gtn_bench.models.function import FunctionModule

Draws = Literal["attack", "judgment"]  # what random draws are for


class Classifier(nn.Module):
    """A frozen, folded copy of a network in evaluation mode, from images to logits.

    Args:
        network: The network, or a function from images to logits. It does not change, and later changes of its weights
            have no effect. What a function refers to is not copied.
        input_shape: Channels, height, width.
        num_classes: Number of classes K.
        precision: "bfloat16" is faster and less accurate. The types of images, logits and losses are the same.

    Attributes:
        batch: Images per batch, if the logits of an image depend on the other images of the batch.
        pass_size: Images that pass at once where a query without a gradient, or `loss_gradient`, has more; None for
            all.
        next_draw: Number of the next random draw, if the network has random outputs.
        recorded: Whether queries are assigned to the images of a batch by their order.
        called: Modules that functions in the network call. They are neither copied nor frozen.
        forwards: Number of images that passed forward.
        backwards: Number of images that a gradient passed back to.

    Shape:
        Input: images (N, C, H, W) in [0, 1]. Output: logits (N, K).
    """

    batch: int | None = None
    pass_size: int | None = None
    next_draw: int = 0
    recorded: bool = False

    def __init__(
        self,
        network: nn.Module | Callable[[Tensor], Tensor],
        input_shape: tuple[int, int, int],
        num_classes: int,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        module = network if isinstance(network, nn.Module) else FunctionModule(network)
        self.network = self.prepare(module, precision, input_shape)
        self.called = called_modules(self.network)
        self._first = first_parameter(self.network)
        self.input_shape = input_shape
        self.num_classes = num_classes
        self.forwards = 0
        self.backwards = 0
        self._starts = True  # no gradient was computed since `restart`
        self._gradient_cache: list[tuple[Tensor, Tensor, Tensor]] = []  # images, labels, gradients
        self.requires_grad_(False)
        self.train(False)
        tensors = [*self.network.named_parameters(), *self.network.named_buffers()]
        self._original = {name: value.detach().clone() for name, value in tensors if value.is_floating_point()}

    @staticmethod
    def prepare(network: nn.Module, precision: Precision, input_shape: tuple[int, int, int]) -> nn.Module:
        """Return the network that computes the logits.

        Args:
            network: The given network. It does not change.
            precision: Precision of the computation.
            input_shape: Channels, height, width.
        """
        return prepared(network, input_shape, precision)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled() and len(passes := self.passes(len(x))) > 1:
            return torch.cat([self(x[rows]) for rows in passes])
        self.forwards += len(x)
        parameter_dtype = self.parameter_dtype
        x = x.to(_dtype_of_images(parameter_dtype))  # libraries may pass float64, the default of NumPy
        if x.requires_grad and torch.is_grad_enabled():
            x = _CountBackward.apply(x, self)
        logits = self.compute(x.to(parameter_dtype))
        return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits

    def compute(self, x: Tensor) -> Tensor:
        """Run the network.

        Args:
            x: Images (N, C, H, W) in the type of the parameters.

        Returns:
            Logits (N, K).
        """
        logits: Tensor = self.network(x)
        return logits

    def passes(self, n: int) -> list[slice]:
        """Return the rows of a batch that pass at once, in order.

        Args:
            n: Number of images of the batch.
        """
        size = self.pass_size or n
        return [slice(start, start + size) for start in range(0, n, size)] or [slice(0, 0)]

    def restart(self, draws: Draws = "attack") -> None:
        """Prepare for the next batch: restart the sequence of random draws, which a network with random outputs has.

        Args:
            draws: What the draws are for. An attack does not see the draws that decide about its success.
        """
        self._starts = True

    @property
    def in_order(self) -> bool:
        """True if attacks have to query all images of a batch at each step, in their order."""
        return self.batch is not None or self.recorded

    @property
    def parameter_dtype(self) -> torch.dtype:
        """Floating-point type of the first parameter or buffer; float32 if there is none."""
        network, module, name = self._first
        parameter = None if module is None else module._parameters.get(name)
        if parameter is not None and network is self._modules["network"]:
            return parameter.dtype
        return next((tensor.dtype for tensor in self._tensors() if tensor.is_floating_point()), torch.float32)

    @property
    def dtype(self) -> torch.dtype:
        """Type of images and gradients: float64 if the parameters have this type, else float32."""
        return _dtype_of_images(self.parameter_dtype)

    @property
    def device(self) -> torch.device:
        """Device of the first parameter or buffer; the CPU if there is none."""
        return next((tensor.device for tensor in self._tensors()), torch.device("cpu"))

    def _tensors(self) -> Iterator[Tensor]:
        """Return the parameters, then the buffers, those of modules that a function calls included."""
        modules = self, *self.called
        return chain(
            chain.from_iterable(module.parameters() for module in modules),
            chain.from_iterable(module.buffers() for module in modules),
        )

    @functools.cached_property
    def differentiable(self) -> bool:
        """True if the logits have a gradient for the images, be it zero."""
        draw = self.next_draw
        with torch.enable_grad():
            x = self._blank(2).requires_grad_()
            logits = self.compute(x.to(self.parameter_dtype))
            self.next_draw = draw
            return logits.requires_grad and torch.autograd.grad(logits.sum(), x, allow_unused=True)[0] is not None

    @functools.cached_property
    def kept_per_image(self) -> list[int]:
        """Size in bytes, per image, of each tensor that is saved for the backward pass. Weights are not counted."""
        return per_image(self._kept(2), self._kept(3))  # some networks refuse a single image

    @functools.cached_property
    def largest_per_image(self) -> int:
        """Size in bytes, per image, of the largest image, output of a layer, or tensor saved for the backward pass."""
        sizes = output_sizes if self.device.type == "cpu" else operation_sizes
        two, three = (sizes(self.network, self._blank(images).to(self.parameter_dtype)) for images in (2, 3))
        return max(self._blank(1).nbytes, *per_image(two, three), *self.kept_per_image)

    @property
    def needed_per_image(self) -> int:
        """Memory in bytes, per image, that a gradient needs: all saved tensors and the largest other one."""
        return sum(self.kept_per_image) + self.largest_per_image

    def _kept(self, images: int) -> list[int]:
        """Return the size in bytes of each tensor that is saved for the gradients of a number of images."""
        counts = self.forwards, self.backwards
        sizes = saved_sizes(self, self._blank(images))
        self.forwards, self.backwards = counts
        return sizes

    def _blank(self, images: int) -> Tensor:
        """Return black images (N, C, H, W)."""
        return torch.zeros(images, *self.input_shape, dtype=self.dtype, device=self.device)

    def hooks(self) -> tuple[int, ...]:
        """Return the number of hooks and replaced methods of each module of the network."""
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        return tuple(
            sum(len(getattr(module, kind)) for kind in kinds) + ("forward" in vars(module))
            for module in self.network.modules()
        )

    def changed_part(self, hooks: tuple[int, ...]) -> str:
        """Return which part of the network has changed; an empty string if none has.

        Args:
            hooks: The hooks that it had. Its tensors are compared with those that were prepared.
        """
        names: dict[str, Tensor] = dict(self.network.named_parameters())
        if not self.training:  # else buffers hold the statistics of the last batch
            names |= dict(self.network.named_buffers())
        for name, value in names.items():
            known = self._original.get(name)
            if known is not None and not torch.equal(value, known):
                return f"tensor '{name}'"
        return "" if self.hooks() == hooks else "its hooks or methods"

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
            Gradients (N, C, H, W), zero where the loss has none. They are counted even if they come from the cache.
        """
        looked_up = loss is cross_entropy and (self._starts or x.device.type == "cpu")  # a GPU waits for comparisons
        self._starts = False
        parts = [self._gradient(x[rows], y[rows], loss, looked_up) for rows in self.passes(len(x))]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _gradient(self, x: Tensor, y: Tensor, loss: Loss, looked_up: bool) -> Tensor:
        """Return the gradient of the loss of images that pass at once."""
        cached = self._cached_gradient(x, y) if looked_up else None
        if cached is not None:
            self.forwards += len(x)
            self.backwards += len(x)
            return cached.clone()
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            total = loss(self(x), y).sum()
            if not total.requires_grad:  # the network detaches its outputs
                return torch.zeros_like(x)
            return torch.autograd.grad(total, x, materialize_grads=True)[0]

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


def first_parameter(network: nn.Module) -> tuple[nn.Module, nn.Module | None, str]:
    """Return a network, the module that has its first floating-point parameter, and the name there.

    Looking the parameter up there is much faster than searching for it in each query.

    Args:
        network: The network.
    """
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_floating_point():
                return network, module, name
    return network, None, ""


def _dtype_of_images(parameter_dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if parameter_dtype == torch.float64 else torch.float32


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
