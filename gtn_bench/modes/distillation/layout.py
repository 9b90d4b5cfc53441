"""The layouts in which dataset-distillation code stores images, labels and learning rates in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor

from gtn_bench.modes.distillation.files import CONVERT, is_array, tensor

# The names under which published code stores each part, in lower case.
IMAGES = ("images", "image", "data", "x", "image_syn", "images_syn", "images_train", "x_train", "x_proto", "syn_images")
LABELS = (
    *("labels", "label", "targets", "target", "y", "label_syn", "labels_syn", "labels_train", "y_train", "y_proto"),
    *("soft_labels", "soft_label", "soft_targets", "labels_soft", "label_soft", "logits"),
)
RATES = ("lr", "lrs", "syn_lr", "rate", "rates", "learning_rate", "learning_rates", "distill_lrs")


class Part(NamedTuple):
    """A set of images, as it lies in the file.

    Attributes:
        images: The images.
        labels: Their labels; None if there are none.
        rates: Learning rates; None if there are none.
    """

    images: Any
    labels: Any = None
    rates: Any = None


class Layout(NamedTuple):
    """The sets of images in a file.

    Attributes:
        parts: The sets.
        kind: What several sets are: independent `runs`, or the training `steps` of one run. `set` for a single one.
    """

    parts: tuple[Part, ...]
    kind: Literal["set", "runs", "steps"] = "set"


def find_layout(content: Any) -> Layout:
    """Find the images, labels and learning rates in the content of a file.

    Args:
        content: A value of `gtn_bench.modes.distillation.files.load_plain`.

    Raises:
        ValueError: If it has another layout. The message is the end of a sentence that starts with the name of the
            file.
    """
    if is_array(content):
        return Layout((Part(content),))
    if isinstance(content, Mapping):
        return _of_mapping(content)
    if not isinstance(content, Sequence) or isinstance(content, str):
        raise ValueError(f"holds {type(content).__name__}, expected images and labels: {CONVERT}")
    if not content:
        raise ValueError("holds an empty list")
    if 2 <= len(content) <= 3 and _are_pair(*content[:2]):
        return Layout((Part(*content),))
    if all(isinstance(item, Tensor) for item in content):
        return Layout((Part(content),))
    return _of_sets([find_layout(item) for item in content])


def _of_mapping(content: Mapping[Any, Any]) -> Layout:
    images, labels, rates = (_named(content, names) for names in (IMAGES, LABELS, RATES))
    if images is None:
        keys = ", ".join(f"'{key}'" for key in list(content)[:5]) + (", ..." if len(content) > 5 else "")
        network = any(str(key).endswith(("weight", "bias")) for key in content)
        hint = "; the weights of a network are the mode 'checkpoint'" if network else ""
        raise ValueError(f"has the keys {keys}, expected 'images' and 'labels'{hint}")
    if labels is None and isinstance(images, Sequence):  # dataset condensation stores a list of pairs under 'data'
        return find_layout(images)
    if labels is None and is_array(images):
        read = (*IMAGES, *RATES)
        others = {str(key): value for key, value in content.items() if str(key).lower() not in read}
        alike = [key for key, value in others.items() if is_array(value) and len(value) == len(images)]
        if alike:
            raise ValueError(f"has images without labels beside '{alike[0]}'; rename it to 'labels', or remove it")
    return Layout((Part(images, labels, rates),))


def _of_sets(layouts: Sequence[Layout]) -> Layout:
    """Return one layout for the layouts of the items in a list."""
    parts = tuple(part for layout in layouts for part in layout.parts)
    with_rates = sum(part.rates is not None for part in parts)
    if any(layout.kind != "set" for layout in layouts) or with_rates not in (0, len(parts)):
        raise ValueError(f"holds a list of mixed items, expected images and labels: {CONVERT}")
    if with_rates:
        return Layout(parts, "steps")
    return Layout(parts, "runs" if len(parts) > 1 else "set")


def _named(content: Mapping[Any, Any], names: Sequence[str]) -> Any:
    lower = {str(key).lower(): value for key, value in content.items()}
    return next((lower[name] for name in names if lower.get(name) is not None), None)


def _are_images(value: Any) -> bool:
    """Check that a value is a batch of images, or a list of images or batches."""
    if isinstance(value, Tensor):
        return value.ndim >= 3
    return isinstance(value, Sequence) and len(value) > 0 and all(_are_one_or_more(item) for item in value)


def _are_pair(images: Any, labels: Any) -> bool:
    flat = isinstance(images, Tensor) and images.ndim == 2  # which are no images, but whose labels are labels
    return (_are_images(images) or flat) and not _are_images(labels)


def _are_one_or_more(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim >= 2


def find_labels(content: Any) -> Any:
    """Find labels in the content of a file.

    Args:
        content: A value of `load_plain` of `gtn_bench.modes.distillation.files`: labels, or a mapping with one of the
            names in `LABELS`.

    Raises:
        ValueError: If there are none.
    """
    if isinstance(content, Mapping):
        content = _named(content, LABELS)
    if content is None:
        raise ValueError("holds no labels; expected a tensor of them, or a mapping with the key 'labels'")
    return content


def find_rates(content: Any) -> Tensor:
    """Find learning rates in the content of a file.

    Args:
        content: A value of `gtn_bench.modes.distillation.files.load_plain`: a number, numbers, or a mapping with one of
            the names in `RATES`.

    Returns:
        Rates (T,), one for all steps or one per step.

    Raises:
        ValueError: If there are none, or some are not positive.
    """
    if isinstance(content, Mapping):
        content = _named(content, RATES)
        if content is None:
            raise ValueError("holds no learning rates; expected a tensor of them, or a mapping with the key 'lr'")
    rates = tensor(content, "learning rates").flatten().double()
    if not len(rates) or not bool(((rates > 0) & rates.isfinite()).all()):
        found = ", ".join(f"{rate:g}" for rate in rates[:3].tolist())
        raise ValueError(f"holds the learning rates {found or '(none)'}, expected positive numbers")
    return rates
