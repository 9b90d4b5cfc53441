"""Architectures of other libraries by name: torchvision, timm, RobustBench."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jsonschema
import pytest
import torch
import yaml
from helpers.messages import OWN
from helpers.runs import run
from helpers.suites import TINY
from torch import nn

from gtn_bench.config import suite
from gtn_bench.config.description import build, choose
from gtn_bench.config.errors import ConfigError
from gtn_bench.data import CIFAR10, DATASETS, MNIST, Dataset, Digits
from gtn_bench.data.base import Split, SplitName, split_images
from gtn_bench.models import ARCHITECTURES
from gtn_bench.models.libraries import base
from gtn_bench.models.libraries.base import is_installed
from gtn_bench.models.libraries.torchvision import MOBILENETS, RESNETS
from gtn_bench.models.libraries.torchvision_networks import LAYOUTS
from gtn_bench.models.normalized import Normalized
from gtn_bench.models.trial import shape_problem
from gtn_bench.modes import MODES
from gtn_bench.modes.pretrained import Pretrained
from gtn_bench.planning import planner
from gtn_bench.planning.schema import suite_schema
from gtn_bench.store import keys as store_keys
from gtn_bench.store.keys import installed as version
from gtn_bench.teaching import TEACHERS

Torchvision: Any = ARCHITECTURES["torchvision"]
needs_timm = pytest.mark.skipif(not is_installed("timm"), reason="timm is not installed")


class Shape(NamedTuple):
    """What a network needs to know about a data set."""

    input_shape: tuple[int, int, int]
    num_classes: int = 10
    name: str = "shape"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **settings: Any) -> Any:
        raise AssertionError("a download")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)


def edited(*replace: tuple[str, str]) -> str:
    text = TINY
    for old, new in replace:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    return text


def problems(text: str) -> list[str]:
    try:
        planner.plan(suite.parse(text))
    except ConfigError as error:
        return str(error).splitlines()
    return []


# torchvision


@pytest.mark.parametrize("name", RESNETS)
def test_a_resnet_is_that_of_torchvision(name: str) -> None:
    """Same layers in the same order with the same names and sizes; for two of them also the same weights."""
    from torchvision import models

    def ours() -> nn.Module:
        return Torchvision(model=name).bare(Shape((3, 64, 64), 7), seed=3)

    with torch.device("meta"):
        mine, theirs = ours(), models.get_model(name, weights=None, num_classes=7)
        assert mine(torch.empty(2, 3, 64, 64)).shape == (2, 7)
    assert repr(mine).replace("ScaledResNet", "ResNet") == repr(theirs)
    assert [(key, value.shape) for key, value in mine.state_dict().items()] == [
        (key, value.shape) for key, value in theirs.state_dict().items()
    ]
    if name in ("resnet18", "resnext50_32x4d"):
        torch.manual_seed(3)
        expected = models.get_model(name, weights=None, num_classes=7).state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in ours().state_dict().items())


def test_every_resnet_of_torchvision_is_known() -> None:
    assert set(LAYOUTS) == set(RESNETS)
    assert {name for name in Torchvision.members() if "resne" in name} == set(RESNETS)
    assert {name for name in Torchvision.members() if "mobilenet" in name} == set(MOBILENETS)


def test_the_stem_for_small_images_keeps_their_size() -> None:
    small = Torchvision(model="resnet18", stem="cifar").bare(CIFAR10(), seed=0)
    large = Torchvision(model="resnet18").bare(CIFAR10(), seed=0)
    assert sum(value.numel() for value in small.parameters()) == 11_173_962  # the usual ResNet18 for CIFAR-10
    x = torch.zeros(1, 3, 32, 32)
    assert small.maxpool(small.conv1(x)).shape == (1, 64, 32, 32)
    assert large.maxpool(large.conv1(x)).shape == (1, 64, 8, 8)
    assert small.state_dict().keys() == large.state_dict().keys()


def test_width_scales_every_layer() -> None:
    with torch.device("meta"):
        half = Torchvision(model="resnet50", width=0.5).bare(CIFAR10(), seed=0)
        whole = Torchvision(model="resnet50").bare(CIFAR10(), seed=0)
        for one, other in zip(half.modules(), whole.modules(), strict=True):
            if isinstance(other, nn.Conv2d):
                assert one.out_channels * 2 == other.out_channels
                assert one.in_channels * 2 == other.in_channels or other.in_channels == 3
        thin = Torchvision(model="mobilenet_v3_large", width=0.5).bare(CIFAR10(), seed=0)
        thick = Torchvision(model="mobilenet_v3_large").bare(CIFAR10(), seed=0)
    sizes = [sum(value.numel() for value in network.parameters()) for network in (thin, thick)]
    assert sizes[0] < 0.4 * sizes[1]
    assert Torchvision(model="resnet18", width=0.5).widened(0.5).width == 0.25
    assert Torchvision(model="resnet18", width=1e-6).bare(Digits(), 0)(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    with pytest.raises(ConfigError, match="has no widths to scale"):
        Torchvision(model="vgg11").widened(2.0)


@pytest.mark.parametrize(
    "model, shape",
    [
        ("alexnet", (1, 64, 64)),
        ("convnext_tiny", (3, 32, 48)),
        ("densenet121", (1, 32, 32)),
        ("efficientnet_b0", (2, 28, 28)),
        ("googlenet", (3, 64, 64)),
        ("inception_v3", (1, 96, 80)),
        ("maxvit_t", (3, 224, 224)),
        ("mnasnet0_5", (1, 28, 28)),
        ("regnet_x_400mf", (3, 32, 32)),
        ("shufflenet_v2_x0_5", (4, 32, 32)),
        ("squeezenet1_1", (1, 28, 28)),
        ("swin_v2_t", (1, 32, 32)),
        ("vgg11_bn", (1, 32, 40)),
        ("vit_b_16", (1, 32, 32)),
    ],
)
def test_models_of_every_family_return_logits(model: str, shape: tuple[int, int, int]) -> None:
    architecture = Torchvision(model=model)
    architecture.check(Shape(shape, 7))
    assert shape_problem(architecture, shape, 7) == ""


def test_other_numbers_of_channels_change_the_first_convolution_alone() -> None:
    architecture = Torchvision(model="squeezenet1_1")
    colors, gray = (architecture.bare(Shape((channels, 32, 32)), seed=0).state_dict() for channels in (3, 1))
    differ = [key for key in colors if colors[key].shape != gray[key].shape]
    assert differ == ["features.0.weight"] and gray["features.0.weight"].shape == (64, 1, 3, 3)
    network = architecture(Shape((1, 32, 32)), seed=0)
    assert isinstance(network, Normalized) and network.eval()(torch.rand(2, 1, 32, 32)).shape == (2, 10)


class Broken(base.UntrainedArchitecture):
    """Something else than logits."""

    name = "torchvision"
    packages = ("torchvision",)
    requirement: ClassVar[str] = "torchvision"

    @classmethod
    def members(cls) -> tuple[str, ...]:
        return ("pair", "wrong")

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        flat = nn.Sequential(nn.Flatten(), nn.LazyLinear(classes + 1))
        return Pair(flat) if self.model == "pair" else flat


class Pair(nn.Module):
    """A network with two outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> Any:
        return self.network(x), x


def test_networks_that_return_no_logits_are_refused() -> None:
    assert shape_problem(Broken(model="pair"), (1, 8, 8), 3) == "it returns tuple, not a tensor of logits"
    assert shape_problem(Broken(model="wrong"), (1, 8, 8), 3) == "it returns the shape (2, 4), not (2, 3)"


TORCHVISION_ERRORS = {
    "unknown model": ("torchvision.resnet81", "unknown architecture 'torchvision.resnet81'; did you mean "),
    "misspelt library": (
        "torchvison.resnet18",
        "architectures[0].name: unknown architecture 'torchvison.resnet18'; did you mean 'torchvision.resnet18'?",
    ),
    "library forgotten": (
        "resnet50",
        "architectures[0].name: unknown architecture 'resnet50'; did you mean 'torchvision.resnet50'?"
        + OWN["architecture"],
    ),
    "model forgotten": (
        "torchvision",
        "architectures[0].name: expects a model as 'torchvision.<model>', got 'torchvision'",
    ),
    "empty model": (
        "torchvision.",
        "architectures[0].name: expects a model as 'torchvision.<model>', got 'torchvision.'",
    ),
    "model twice": (
        "{name: torchvision.resnet18, model: resnet34}",
        "architectures[0].name: sets 'model' already; leave 'model' out",
    ),
    "segmentation": (
        "torchvision.segmentation.fcn_resnet50",
        "unknown architecture 'torchvision.segmentation.fcn_resnet50'",
    ),
    "weights": (
        "{name: torchvision.resnet18, weights: DEFAULT}",
        "architectures[0].weights: 'torchvision' does not know this key; did you mean 'width'?",
    ),
    "other channels": (
        "{name: torchvision.resnet18, in_channels: 3}",
        "architectures[0]: architecture 'torchvision.resnet18' states in_channels: 3, data set 'digits' has 1; leave "
        "in_channels out",
    ),
    "other classes": (
        "{name: torchvision.resnet18, num_classes: 1000}",
        "architectures[0]: architecture 'torchvision.resnet18' states num_classes: 1000, data set 'digits' has 10; "
        "leave num_classes out",
    ),
    "width of VGG": (
        "{name: torchvision.vgg11, width: 0.5}",
        "architectures[0]: 'torchvision' does not use 'width': vgg11 has no factor on its width, ResNets and "
        "MobileNets have one; leave it out",
    ),
    "stem of a MobileNet": (
        "{name: torchvision.mobilenet_v2, stem: cifar}",
        "architectures[0]: 'torchvision' does not use 'stem': mobilenet_v2 is no ResNet; leave it out",
    ),
    "unknown stem": (
        "{name: torchvision.resnet18, stem: cifar10}",
        "architectures[0].stem: 'torchvision' expects one of imagenet, cifar, got 'cifar10'; did you mean 'cifar'?",
    ),
    "zero width": (
        "{name: torchvision.resnet18, width: 0}",
        "architectures[0].width: 'torchvision' expects a number greater than 0, got 0",
    ),
    "small images": (
        "torchvision.squeezenet1_0",
        "architectures[0]: architecture 'torchvision.squeezenet1_0' fails on images of 1 x 8 x 8 of data set 'digits': "
        "RuntimeError: Given input size: (96x1x1). Calculated output size: (96x0x0). Output size is too small; it "
        "works on 24 x 24 images",
    ),
    "patches": (
        "torchvision.vit_b_16",
        "architectures[0]: architecture 'torchvision.vit_b_16' fails on images of 1 x 8 x 8 of data set 'digits': "
        "AssertionError: Input shape indivisible by patch size!; it works on 16 x 16 images",
    ),
}


@pytest.mark.parametrize("entry, message", TORCHVISION_ERRORS.values(), ids=TORCHVISION_ERRORS)
def test_bad_input_has_one_line_before_training(entry: str, message: str) -> None:
    (line,) = problems(edited(("[linear]", f"[{entry}]")))
    line = line.removeprefix("tiny: ")
    assert line == message or (message.startswith("unknown") and line.startswith(f"architectures[0]: {message}"))


# Suites


DOTTED = "[linear, torchvision.squeezenet1_1, {name: torchvision.resnet18, label: thin, width: 0.25, stem: cifar}]"
COLOR = edited(("dataset: digits", "dataset: cifar10"), ("[linear]", DOTTED))


def test_dotted_names_are_labels_and_survive_a_resolved_suite() -> None:
    plan = planner.plan(suite.parse(COLOR))
    assert list(dict.fromkeys(learner.architecture_label for learner in plan.learners)) == [
        "linear",
        "torchvision.squeezenet1_1",
        "thin",
    ]
    text = plan.suite.to_yaml()
    assert yaml.safe_load(text)["architectures"][2] == {
        "name": "torchvision.resnet18",
        "label": "thin",
        "in_channels": None,
        "num_classes": None,
        "width": 0.25,
        "stem": "cifar",
    }
    again = planner.plan(suite.parse(text))
    assert [cell.learner for cell in again.cells] == [cell.learner for cell in plan.cells]
    assert pickle.loads(pickle.dumps(plan.learners)) == plan.learners
    assert "torchvision" in plan.packages


def test_the_schema_accepts_dotted_names_and_no_others() -> None:
    validator = jsonschema.Draft202012Validator(suite_schema())
    for text in (COLOR, planner.plan(suite.parse(COLOR)).suite.to_yaml()):
        assert validator.is_valid(yaml.safe_load(text))
    nested = edited(("architecture: linear", "architecture: [linear, torchvision.resnet18]"))
    assert validator.is_valid(yaml.safe_load(nested))
    for entry in ("torchvision", "torchvision.", "torchvison.resnet18", "{name: torchvision.resnet18, weights: a}"):
        assert not validator.is_valid(yaml.safe_load(edited(("[linear]", f"[{entry}]")))), entry


def test_keys_depend_on_the_fields_that_change_the_network() -> None:
    def key(**fields: Any) -> str:
        entry = {"name": "torchvision.resnet18", **fields}
        text = edited(("[linear]", f"[{entry}]"))
        return planner.plan(suite.parse(text)).learners[-1].key("cpu")

    assert key() == key(in_channels=1) == key(num_classes=10, width=1.0)
    assert len({key(), key(width=0.5), key(stem="cifar"), key(label="x", width=0.25)}) == 4


def test_keys_change_with_the_version_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> tuple[str, str, str]:
        small = "{name: torchvision.resnet18, width: 0.125}"
        text = edited(
            ("[linear]", "[torchvision.resnet18, linear]"), ("architecture: linear", f"architecture: {small}")
        )
        plan = planner.plan(suite.parse(text))
        vanilla = {one.architecture_label: one.key("cpu") for one in plan.learners if one.mode_label == "vanilla"}
        return plan.teachers[0].key("cpu"), vanilla["torchvision.resnet18"], vanilla["linear"]

    before = keys()
    monkeypatch.setattr(
        store_keys, "installed", lambda package: "2.0" if package == "torchvision" else version(package)
    )
    assert [one != other for one, other in zip(keys(), before, strict=True)] == [True, True, False]


def test_a_teacher_keeps_a_dotted_name_in_its_identity() -> None:
    entries = ["linear", {"name": "torchvision.resnet18", "width": 0.125}]
    teacher = build(TEACHERS["cgtn"], {"architecture": entries}, "")
    identity = teacher.identity()
    assert [entry["name"] for entry in identity["architecture"]] == ["linear", "torchvision.resnet18"]
    assert "model" not in identity["architecture"][1]
    fields = {key: value for key, value in identity.items() if key != "name"}
    assert build(TEACHERS["cgtn"], fields, "") == teacher
    with pytest.raises(ConfigError, match=r"unknown architecture 'torchvision.resnet19'; did you mean"):
        choose(ARCHITECTURES, "architecture", "torchvision.resnet19")


# timm


@pytest.mark.parametrize(
    "entry, message",
    [
        (
            "timm.resnet18",
            "architecture 'timm.resnet18' needs the package timm; install it with: pip install \"gtn-bench[timm]\"",
        ),
        (
            "robustbench.Wong2020Fast",
            "architecture 'robustbench.Wong2020Fast' needs the package robustbench; install it "
            "with: pip install robustbench",
        ),
    ],
)
def test_a_missing_library_is_named_with_its_remedy(entry: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "is_installed", lambda package: False)
    assert problems(edited(("[linear]", f"[{entry}]"))) == [f"tiny: architectures[0]: {message}"]


def test_a_module_without_its_package_is_not_installed() -> None:
    """torchattacks contains an old copy of robustbench."""
    assert is_installed("torchvision") and not is_installed("gtn-bench-absent")


@needs_timm
@pytest.mark.parametrize(
    "model, shape", [("resnet18", (1, 28, 28)), ("vit_tiny_patch16_224", (3, 32, 48)), ("convnext_atto", (2, 32, 32))]
)
def test_timm_builds_networks_for_the_images(model: str, shape: tuple[int, int, int]) -> None:
    architecture = ARCHITECTURES["timm"](model=model)
    dataset: Any = Shape(shape, 6)
    architecture.check(dataset)
    one, same, other = (architecture.bare(dataset, seed=seed) for seed in (0, 0, 1))
    x = torch.rand(2, *shape)
    with torch.no_grad():
        assert one.eval()(x).shape == (2, 6) and torch.equal(one(x), same.eval()(x))
        assert not torch.equal(one(x), other.eval()(x))


@needs_timm
@pytest.mark.parametrize("model", ["resnet81", "hf_hub:timm/resnet18", "hf-hub:a/b", "resnet18.a1_in1k", "/tmp/model"])
def test_timm_takes_no_names_but_those_of_its_list(model: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(ARCHITECTURES["timm"], {"model": model}, "")
    assert str(caught.value).startswith(f"unknown architecture 'timm.{model}'")


# RobustBench


class Color(Dataset):
    """Random images in the shape of CIFAR-10."""

    name = "color"
    source = "https://example.org"
    input_shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    sizes: ClassVar[tuple[int, int, int]] = (8, 4, 10)
    mean: ClassVar[tuple[float, ...]] = (0.5, 0.5, 0.5)
    std: ClassVar[tuple[float, ...]] = (0.25, 0.25, 0.25)

    def __call__(self) -> dict[SplitName, Split]:
        draw = torch.Generator().manual_seed(0)
        levels = torch.randint(256, (sum(self.sizes), *self.input_shape), generator=draw, dtype=torch.uint8)
        return split_images(levels, torch.arange(sum(self.sizes)) % 10, self.sizes, 255)


# The part of RobustBench's interface that is used, with its names and defaults.
FAKE = {
    "__init__.py": "",
    "utils.py": """
import torch
from pathlib import Path
from torch import nn

def load_model(
    model_name, model_dir="./models", dataset="cifar10", threat_model="Linf", custom_checkpoint="", norm=None
):
    print("Downloading")
    if model_name == "Gone":
        raise ConnectionError("no \\n route")
    (Path(model_dir) / f"{model_name}-{dataset}-{threat_model}").touch()
    torch.manual_seed(7)
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3072), nn.Linear(3072, 10)).eval()
""",
    "model_zoo/__init__.py": """
from enum import Enum

class BenchmarkDataset(Enum):
    cifar_10 = "cifar10"
    imagenet = "imagenet"

class ThreatModel(Enum):
    Linf = "Linf"
    L2 = "L2"

model_dicts = {
    BenchmarkDataset.cifar_10: {ThreatModel.Linf: {"Fast-1_x": {}, "Gone": {}}, ThreatModel.L2: {"Rony2019": {}}},
    BenchmarkDataset.imagenet: {ThreatModel.Linf: {"Fast-1_x": {}}},
}
""",
}


@pytest.fixture
def robustbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put a package in the place of RobustBench, and a data set in the table; yield the folder of the weights."""
    site = tmp_path / "site"
    for name, text in FAKE.items():
        file = site / "robustbench" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (site / "robustbench-1.1.dist-info").mkdir()
    (site / "robustbench-1.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: robustbench\nVersion: 1.1\n"
    )
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "robustbench"}
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setitem(DATASETS, "color", Color)
    yield tmp_path / "torch" / "hub" / "robustbench"
    for name in [name for name in sys.modules if name.split(".")[0] == "robustbench"]:
        del sys.modules[name]
    sys.modules.update(before)


PRETRAINED = """
name: rb
dataset: color
architectures: [{name: robustbench.Fast-1_x, label: fast}]
modes: [pretrained]
seeds: [0, 1]
acceptance: 0.0
perturbations: [{name: fgsm, steps: 1, samples: 10, beta: [0, 0.05]}]
"""


def test_the_pretrained_mode_evaluates_the_weights_of_the_library(
    robustbench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert jsonschema.Draft202012Validator(suite_schema()).is_valid(yaml.safe_load(PRETRAINED))
    results = run(PRETRAINED, tmp_path / "out", tmp_path / "store")
    assert (robustbench / "Fast-1_x-cifar10-Linf").is_file()
    assert "Downloading" not in capsys.readouterr().out
    assert len(results.summary) == 2 and not len(results.errors)  # one learner, though there are two seeds
    torch.manual_seed(7)
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3072), nn.Linear(3072, 10)).eval()
    x, y = Color()()["test"][:10]
    expected = (network(x).argmax(1) == y).float().mean().item()
    assert results.summary["clean_accuracy"].unique() == pytest.approx(expected)
    assert results.provenance["versions"]["robustbench"] == "1.1"


ROBUSTBENCH_ERRORS = {
    "unknown": (
        ("robustbench.Fast-1_x", "robustbench.Fast-2_x"),
        "architectures[0]: unknown architecture 'robustbench.Fast-2_x'; did you mean 'robustbench.Fast-1_x'?",
    ),
    "other leaderboard": (
        ("robustbench.Fast-1_x,", "robustbench.Fast-1_x, threat_model: L2,"),
        "architectures[0]: architecture 'robustbench.Fast-1_x' is not on the leaderboard of dataset: cifar10, "
        "threat_model: L2; it is on that of dataset: cifar10, threat_model: Linf and of dataset: imagenet, "
        "threat_model: Linf",
    ),
    "other data": (
        ("dataset: color", "dataset: digits"),
        "architectures[0]: architecture 'robustbench.Fast-1_x' takes images of 3 channels of 32 x 32 pixels and has 10 "
        "classes, data set 'digits' has 1 x 8 x 8 and 10 classes",
    ),
    "other classes": (
        ("robustbench.Fast-1_x,", "robustbench.Fast-1_x, dataset: imagenet,"),
        "architectures[0]: architecture 'robustbench.Fast-1_x' takes images of 3 channels and has 1000 classes, data "
        "set 'color' has 3 x 32 x 32 and 10 classes",
    ),
    "training": (
        ("modes: [pretrained]", "modes: [vanilla]"),
        "modes[0]: mode 'vanilla' trains fresh weights, architecture 'robustbench.Fast-1_x' comes with its own; use "
        "mode 'pretrained'",
    ),
    "no weights": (
        ("[{name: robustbench.Fast-1_x, label: fast}]", "[base]"),
        "modes[0]: mode 'pretrained' needs an architecture that comes with weights, such as robustbench.<name>; 'base' "
        "has none: train it, or load weights with mode 'checkpoint'",
    ),
    "normalized twice": (
        ("modes: [pretrained]", "modes: [{name: pretrained, mean: 0.5, std: 0.25}]"),
        "modes[0]: mode 'pretrained': architecture 'robustbench.Fast-1_x' normalizes its images itself; leave mean and "
        "std out",
    ),
}


@pytest.mark.parametrize("replace, message", ROBUSTBENCH_ERRORS.values(), ids=ROBUSTBENCH_ERRORS)
def test_robustbench_models_are_checked_before_a_download(
    replace: tuple[str, str], message: str, robustbench: Path
) -> None:
    assert replace[0] in PRETRAINED
    assert problems(PRETRAINED.replace(*replace)) == [f"rb: {message}"]
    assert not robustbench.exists()


def test_failures_of_robustbench_have_one_line(robustbench: Path, tmp_path: Path) -> None:
    gone = ARCHITECTURES["robustbench"](model="Gone")
    with pytest.raises(ConfigError) as caught:
        gone(Color(), seed=0)
    assert str(caught.value) == "architecture 'robustbench.Gone' could not be loaded: ConnectionError: no route"
    with pytest.raises(ConfigError, match=r"^architecture 'robustbench.Gone' comes with weights; meta-training needs"):
        gone.check_meta_training(Color(), "real")
    (tmp_path / "site" / "robustbench" / "model_zoo" / "__init__.py").write_text("import absent_package")
    for name in [name for name in sys.modules if name.split(".")[0] == "robustbench"]:
        del sys.modules[name]
    with pytest.raises(ConfigError) as caught:
        build(ARCHITECTURES["robustbench"], {"model": "Gone"}, "")
    assert str(caught.value) == (
        "the package robustbench cannot be imported: ModuleNotFoundError: No module named 'absent_package'"
    )


def test_the_pretrained_mode_has_one_learner() -> None:
    mode = Pretrained()
    assert MODES["pretrained"] is Pretrained and not mode.trains
    assert mode.for_seed(3, 0) is mode and mode.for_seed(4, 1) is None
    state = mode(nn.Linear(2, 2), MNIST(), None, None, seed=0)  # type: ignore[arg-type]
    assert set(state) == {"weight", "bias"} and not state["weight"].requires_grad
