"""What tasks load: data, networks with their weights, and classifiers, shared by the tasks of one process."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gtn_bench.config.description import Precision
from gtn_bench.data.base import Dataset, Split, SplitName
from gtn_bench.evaluation import evaluate as evaluation
from gtn_bench.inference.classifier import Classifier
from gtn_bench.inference.random_classifier import RandomClassifier
from gtn_bench.planning.cells import Learner
from gtn_bench.reference.batch_classifier import BatchClassifier
from gtn_bench.store.cache import Context


@functools.lru_cache(maxsize=2)
def splits(dataset: Dataset, device: str) -> dict[SplitName, Split]:
    """Return the splits of a data set, loaded once per process.

    Args:
        dataset: The data set.
        device: The device of the images.
    """
    return {name: split.to(device) for name, split in dataset().items()}


def weights_digest(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Return a hash of the weights and the structure of a network, by which identical learners are found.

    Args:
        network: The network.
        state: Its state dict.
    """
    content = hashlib.sha256(repr(network).encode())
    for name, value in sorted(state.items()):
        content.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        content.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()[:32]


@functools.lru_cache(maxsize=2)
def classifier_of(
    context: Context, learner_key: str, learner: Learner, precision: Precision, in_train_mode: bool
) -> Classifier:
    """Return the classifier of a learner. Sweeps of one learner that run in the same process share it.

    Args:
        context: Cache and device.
        learner_key: Key of the learner.
        learner: The learner.
        precision: Precision of its computations.
        in_train_mode: Whether its batch norms use the statistics of the batch.
    """
    network = network_of(context, learner_key, learner)
    shape, num_classes = learner.dataset.input_shape, learner.dataset.num_classes
    if in_train_mode:
        return BatchClassifier(network, shape, num_classes, precision)
    if learner.mode.forward_samples > 1:
        return RandomClassifier(network, shape, num_classes, precision, samples=learner.mode.forward_samples)
    return Classifier(network, shape, num_classes, precision)


def network_of(context: Context, learner_key: str, learner: Learner) -> nn.Module:
    """Return the network of a learner, with its weights.

    Args:
        context: Cache and device.
        learner_key: Key of the learner.
        learner: The learner.
    """
    network = learner.network().to(context.device)
    network.load_state_dict(context.store.load("learners", learner_key)[0])
    return network if learner.mode.keeps_train_mode else network.eval()


@functools.lru_cache(maxsize=2)
def clean_prediction(context: Context, learner_key: str, learner: Learner, samples: int, in_train_mode: bool) -> Tensor:
    """Return the predicted classes (N,) of clean test images.

    Args:
        context: Cache and device.
        learner_key: Key of the learner.
        learner: The learner.
        samples: Number of images N, the first ones.
        in_train_mode: Whether its batch norms use the statistics of the batch.
    """
    x, _ = splits(learner.dataset, context.device)["test"][:samples]
    return evaluation.predict(classifier_of(context, learner_key, learner, "float32", in_train_mode), x)
