"""Wrong names and wrong weights: each message names the nearest right thing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.messages import OWN

import gtn_bench
from gtn_bench.config import own_names
from gtn_bench.config.description import Description, lookup
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.keywords import names_keywords
from gtn_bench.data import DATASETS, Files
from gtn_bench.data.arrays import from_arrays
from gtn_bench.models import ARCHITECTURES
from gtn_bench.models.distillation.architectures import ResNet18
from gtn_bench.models.libraries.torchvision import TorchvisionModel
from gtn_bench.models.weights.matching import load_state
from gtn_bench.modes import MODES
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.planning.adapting import checkpoints_in
from gtn_bench.planning.plugins import load_plugin

TABLES: dict[str, Any] = {
    "architecture": ARCHITECTURES,
    "perturbation": PERTURBATIONS,
    "mode": MODES,
    "dataset": DATASETS,
}

NAMES = [
    ("architecture", "resnet50", "; did you mean 'torchvision.resnet50'?"),
    ("architecture", "ResNet-50", "; did you mean 'torchvision.resnet50'?"),
    ("architecture", "Resnet_18", "; did you mean 'resnet18'?"),
    ("architecture", "ViT_B_16", "; did you mean 'torchvision.vit_b_16'?"),
    ("architecture", "mobilenet_v4", "; did you mean 'torchvision.mobilenet_v2'?"),
    ("architecture", "my_net", "; did you mean 'lenet'?"),
    ("perturbation", "PGDL2", "; did you mean 'torchattacks.PGDL2'?"),
    ("perturbation", "LinfPGD", "; did you mean 'foolbox.LinfPGD'?"),
    ("perturbation", "fgms", "; did you mean 'fgsm'?"),
    ("mode", "checkpont", "; did you mean 'checkpoint'?"),
    ("dataset", "mnits", "; did you mean 'mnist'?"),
]


def message_about(kind: str, name: str) -> str:
    table: dict[str, type[Description]] = TABLES[kind]
    with pytest.raises(ConfigError) as refused:
        lookup(table, kind, name)
    return str(refused.value)


@pytest.mark.parametrize("kind, name, suggestion", NAMES, ids=[row[1] for row in NAMES])
def test_an_unknown_name_has_the_nearest_one_and_a_way_to_define_it(kind: str, name: str, suggestion: str) -> None:
    assert message_about(kind, name) == f"unknown {kind} '{name}'{suggestion}{OWN[kind]}"


def test_a_name_without_a_nearest_one_has_a_way_to_define_it() -> None:
    assert message_about("perturbation", "zzzzzz") == (
        "unknown perturbation 'zzzzzz'; if it is your own, name its file with --plugin FILE.py, or in Python register "
        "it with @gtn_bench.perturbation"
    )


PLUGIN = """
import gtn_bench

def shift(model, x, y, beta):
    return x + beta

def net(num_classes):
    return None

class Plain:
    pass

@gtn_bench.perturbation(name="brighter")
def brighten(model, x, y, beta):
    return x
"""


def test_what_a_plugin_defines_without_a_decorator_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_names, "UNREGISTERED", {})
    monkeypatch.setattr("gtn_bench.planning.plugins.UNREGISTERED", own_names.UNREGISTERED)
    file = tmp_path / "undecorated.py"
    file.write_text(PLUGIN)
    load_plugin(str(file))
    try:
        function = f"plug-in {file} defines a function of this name without a decorator; write "
        expected = {
            ("perturbation", "shift"): f": {function}@gtn_bench.perturbation above it",
            ("architecture", "net"): f": {function}@gtn_bench.architecture above it",
            ("perturbation", "Plain"): (
                f": plug-in {file} defines a class of this name; @gtn_bench.perturbation expects a function of "
                "(model, x, y, beta)"
            ),
            ("perturbation", "brighten"): f": plug-in {file} calls it 'brighter'",
            ("perturbation", "shfit"): "",  # a plug-in is given, so that nothing points to the option
        }
        for (kind, name), text in expected.items():
            assert message_about(kind, name) == f"unknown {kind} '{name}'{text}"
    finally:
        del PERTURBATIONS["brighter"]


def images(classes: int) -> Files:
    x = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    data = from_arrays((x, np.arange(20) % classes))
    assert isinstance(data, Files)
    return data


def refused(network: Any, weights: dict[str, torch.Tensor], data: Files) -> str:
    with torch.device("meta"):
        own = network.bare(data, seed=0)
    with pytest.raises(ConfigError) as error:
        load_state(own, weights, "a.pt", dataset=data, architecture=network)
    return str(error.value)


def torchvision(model: str, **fields: Any) -> TorchvisionModel:
    return TorchvisionModel(model=model, **fields)


RECOGNIZED: dict[str, tuple[Any, Any, str]] = {
    "torchvision's": (ResNet18(), torchvision("resnet18"), "'torchvision.resnet18'"),
    "of a small stem": (
        ResNet18(),
        torchvision("resnet18", stem="cifar"),
        "'torchvision.resnet18' with stem: cifar",
    ),
    "of another depth": (torchvision("resnet50"), torchvision("resnet34"), "'torchvision.resnet34'"),
    "ours": (torchvision("resnet18"), ResNet18(), "'resnet18'"),
    "vgg11": (ARCHITECTURES["vgg11"](), torchvision("vgg11_bn"), "'torchvision.vgg11_bn'"),
    "alexnet": (ARCHITECTURES["alexnet"](), torchvision("alexnet"), "'torchvision.alexnet'"),
}


@pytest.mark.parametrize("said, actual, title", RECOGNIZED.values(), ids=RECOGNIZED)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_another_architecture_are_recognized(said: Any, actual: Any, title: str, prefix: str) -> None:
    data = images(10)
    with torch.device("meta"):
        weights = {f"{prefix}{name}": value for name, value in actual.bare(images(5), seed=0).state_dict().items()}
    message = refused(said, weights, data)
    assert message.endswith(f"; its keys are those of architecture {title}") and "\n" not in message


def test_weights_of_no_related_architecture_are_not_recognized() -> None:
    assert "its keys are" not in refused(ResNet18(), {"a.weight": torch.zeros(3, 3)}, images(10))


def test_more_classes_in_the_weights_name_the_option() -> None:
    network = torchvision("resnet18")
    five = network.bare(images(5), seed=0).state_dict()
    classes = "; the checkpoint has 5 classes, the data set"
    option = "; set num_classes: 5 of the data set, or --num-classes 5"
    assert refused(network, five, images(3)).endswith(f"{classes} 3{option}")
    assert refused(network, five, images(10)).endswith(f"{classes} 10")  # there are labels of all ten


X = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
OPTIONS: dict[str, tuple[Any, Any, tuple[str | None, int | None], str]] = {
    "layout": (
        X,
        np.arange(40) % 3,
        ("NCHW", None),
        "images of shape (40, 32, 32, 3) have 32 channels in the layout NCHW; did you mean --layout NHWC, with 3?",
    ),
    "ambiguous": (
        X[:, :3],
        np.arange(40) % 3,
        (None, None),
        "images of shape (40, 3, 32, 3) can be NCHW or NHWC; pass --layout NCHW or --layout NHWC",
    ),
    "gap": (
        X,
        np.arange(40) % 2 * 2,
        (None, None),
        "has no images of class 1; pass --num-classes 3 if there are such classes, else number the classes from 0",
    ),
    "too few": (
        X,
        np.arange(40) % 5,
        (None, 3),
        "has class numbers from 0 to 4, expects 0 to 2; increase --num-classes to at least 5",
    ),
}


@pytest.mark.parametrize("x, y, stated, message", OPTIONS.values(), ids=OPTIONS)
def test_data_on_the_command_line_name_the_options(
    x: Any, y: Any, stated: tuple[str | None, int | None], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", x=x, y=y)
    layout, num_classes = stated
    with pytest.raises(ConfigError) as error:
        checkpoints_in("quick", ["base"], ["a.pt"], str(tmp_path / "a.npz"), layout=layout, num_classes=num_classes)
    assert str(error.value) == f"--data: {tmp_path / 'a.npz'}: {message}"


CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
    "evaluate": (gtn_bench.evaluate, {"sutie": "quick"}, "evaluate has no parameter 'sutie'; did you mean 'suite'?"),
    "evaluate, plural": (
        gtn_bench.evaluate,
        {"num_class": 3},
        "evaluate has no parameter 'num_class'; did you mean 'num_classes'?",
    ),
    "run": (gtn_bench.run, {"worker": 2}, "run has no parameter 'worker'; did you mean 'workers'?"),
    "plan": (gtn_bench.plan, {"limits": 2}, "plan has no parameter 'limits'; did you mean 'limit'?"),
    "load": (gtn_bench.load, {"sorce": 2}, "load has no parameter 'sorce'; did you mean 'source'?"),
    "report": (gtn_bench.report, {"band": 2}, "report has no parameter 'band'; did you mean 'bands'?"),
    "open": (gtn_bench.open, {"dir": "x"}, "open has no parameter 'dir'; known: accept_changes, folder"),
    "teach": (gtn_bench.teach, {"devise": "x"}, "teach has no parameter 'devise'; did you mean 'device'?"),
    "retrain": (gtn_bench.retrain, {"learner": 1}, "retrain has no parameter 'learner'; did you mean 'learners'?"),
    "load_teacher": (gtn_bench.load_teacher, {"src": 1}, "load_teacher has no parameter 'src'; did you mean 'source'?"),
    "perturbation": (
        gtn_bench.perturbation,
        {"nrom": "l2"},
        "perturbation has no parameter 'nrom'; did you mean 'norm'?",
    ),
    "architecture": (
        gtn_bench.architecture,
        {"title": "x"},
        "architecture has no parameter 'title'; known: function, name",
    ),
}


@pytest.mark.parametrize("function, keywords, message", CALLS.values(), ids=CALLS)
def test_a_misspelt_keyword_names_the_nearest(
    function: Callable[..., Any], keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError) as error:
        function(**keywords)
    assert str(error.value) == message and isinstance(error.value, ConfigError)


def test_a_checked_function_keeps_its_signature_and_its_own_errors() -> None:
    def add(one: int, *, other: int = 1) -> int:
        """Add."""
        return one + other

    checked = names_keywords(add)
    assert inspect.signature(checked) == inspect.signature(add) and checked.__doc__ == "Add."
    assert (checked(1), checked(one=2), checked(2, other=3)) == (2, 3, 5)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'one'"):
        checked()  # type: ignore[call-arg]
