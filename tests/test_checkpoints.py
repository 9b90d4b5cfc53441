"""Weights that other code has saved: what is read, what is refused, and the mode that evaluates them."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.messages import OWN
from safetensors.torch import save_file
from torch import Tensor, nn

import gtn_bench
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.filepath import SeedFile
from gtn_bench.config.suite import parse
from gtn_bench.data.base import Dataset
from gtn_bench.data.digits import Digits
from gtn_bench.models import ARCHITECTURES
from gtn_bench.models.architectures import Architecture, ConvNet
from gtn_bench.models.normalized import Normalized
from gtn_bench.models.weights.checkpoints import read_state
from gtn_bench.models.weights.matching import load_state
from gtn_bench.modes.checkpoint import Checkpoint, Fixed
from gtn_bench.store.cache import Store

DATA = Path(os.environ.get("GTN_BENCH_DATA", "absent"))
needs_models = pytest.mark.skipif(
    not (DATA / "models").is_dir() or not (DATA / "MNIST").is_dir(),
    reason="the public models and MNIST are not in the folder of GTN_BENCH_DATA",
)


def small(channels: int = 1, classes: int = 10, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 4, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, classes),
    )


class Small(Architecture):
    """A network that does not normalize its images."""

    name = "small"
    normalizes_itself: ClassVar[bool] = False
    stem: str = "cifar"

    def bare(self, dataset: Dataset, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return small(dataset.input_shape[0], dataset.num_classes)

    def __call__(self, dataset: Dataset, seed: int) -> nn.Module:
        return Normalized(self.bare(dataset, seed), dataset.mean, dataset.std)


def fitted(path: Path, network: nn.Module) -> dict[str, Tensor]:
    return load_state(network, read_state(path), str(path), dataset=Digits())


def check_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(found[name].dtype == expected[name].dtype and not found[name].requires_grad for name in expected)


# Truth: public models, whose errors their authors published.


@needs_models
def test_public_convex_model_has_the_published_clean_error() -> None:
    from torchvision.datasets import MNIST as Images

    from gtn_bench.data import DATASETS

    class Convex(Small):
        name = "convex"

        def bare(self, dataset: Dataset, seed: int) -> nn.Module:
            layers = [nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten()]
            return nn.Sequential(*layers, nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10))

    mnist, images = DATASETS["mnist"](), Images(str(DATA), train=False)
    mode = Checkpoint(files=str(DATA / "models/convex_adversarial-mnist.pth"))  # type: ignore[arg-type]
    mode.check_architecture(Convex(), mnist)
    network = mode.network(Convex(), mnist, 0).eval()
    network.load_state_dict(mode(network, mnist, Digits()()["train"], None, seed=0))
    with torch.no_grad():
        wrong = network(images.data.unsqueeze(1) / 255).argmax(1) != images.targets
    assert len(wrong) == 10_000 and int(wrong.sum()) == 180  # 1.80 %


@needs_models
def test_public_trades_model_is_read_as_its_authors_saved_it() -> None:
    path = DATA / "models/trades-mnist-smallcnn.pt"
    state, expected = read_state(path), torch.load(path, map_location="cpu", weights_only=True)
    assert {name.partition(".")[0] for name in state} == {"feature_extractor", "classifier"}
    check_equal(state, dict(expected))


# Round trips.


@pytest.mark.parametrize("name", [name for name, cls in ARCHITECTURES.items() if issubclass(cls, ConvNet)])
def test_own_learners_survive_every_format(name: str, tmp_path: Path) -> None:
    network = ARCHITECTURES[name]()(Digits(), 3)
    state = network.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pt")
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "a.npz", **{key: value.numpy() for key, value in state.items()})
    for file in ("a.safetensors", "a.pt", "legacy.pth", "a.npz"):
        check_equal(fitted(tmp_path / file, ARCHITECTURES[name]()(Digits(), 4)), state)


def as_arrays(state: dict[str, Tensor]) -> dict[str, Any]:
    """Return NumPy arrays of several layouts and byte orders."""
    arrays = {name: value.numpy() for name, value in state.items()}
    return arrays | {"5.weight": np.asfortranarray(arrays["5.weight"]), "5.bias": arrays["5.bias"].astype(">f4")}


def prefixed(state: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items() for prefix in prefixes[:1]}


BESIDE = {
    "epoch": np.int64(3),
    "best_acc": np.float64(93.5),
    "done": np.bool_(True),
    "name": np.str_("run"),
    "losses": np.linspace(0, 1, 5),
    "none": np.array([]),
    "classes": np.array(["a", "bc"]),
    "confusion": torch.eye(10),
    "args": argparse.Namespace(lr=0.1, out=Path("runs")),
    "history": collections.defaultdict(list, {"acc": [0.1, 0.2]}),
    "counts": collections.Counter("aab"),
    "optimizer": {"state": {0: {"exp_avg": torch.ones(3, 3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
}

CONTENTS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "parameters": lambda state: {
        name: nn.Parameter(value) if value.is_floating_point() else value for name, value in state.items()
    },
    "arrays": as_arrays,
    **{
        name: lambda state, name=name: {**BESIDE, name: state}  # type: ignore[misc]
        for name in ("state_dict", "model", "model_state_dict", "net", "network", "weights", "ema", "mine")
    },
    "model and its average": lambda state: {"ema": prefixed(state, ""), "model": state, "state_dict_ema": {**state}},
    "model in model": lambda state: {"model": {"epoch": 1, "state_dict": state}},
    "same under two names": lambda state: {"model": state, "net": state},
    "list": lambda state: [3, state],
    "tuple": lambda state: (state, {"acc": torch.tensor([0.5])}),
    "beside numbers": lambda state: {**state, "epoch": 3, "acc": np.float32(0.5)},
    "module": lambda state: prefixed(state, "module."),
    "compiled and parallel": lambda state: {"state_dict": prefixed(state, "module._orig_mod.")},
    "parallel and compiled": lambda state: prefixed(state, "_orig_mod.module."),
    "lightning": lambda state: {"pytorch-lightning_version": "2", "state_dict": prefixed(state, "model.")},
    "backbone in parallel": lambda state: prefixed(state, "module.backbone.net."),
    "backbone and head": lambda state: {
        name if name.startswith("5") else f"backbone.{name}": value for name, value in state.items()
    },
    "part in parallel": lambda state: {
        name.replace("1.", "1.module._orig_mod."): value for name, value in state.items()
    },
    "averaged": lambda state: {"n_averaged": torch.tensor(5), **prefixed(state, "module.")},
    "without counters": lambda state: {name: value for name, value in state.items() if "num_batches" not in name},
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("content", CONTENTS)
def test_state_dicts_are_found_and_matched(content: str, legacy: bool, tmp_path: Path) -> None:
    state = small().state_dict()
    torch.save(CONTENTS[content](state), tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    check_equal(fitted(tmp_path / "a.pt", small()), state)


def test_the_model_is_preferred_to_its_average(tmp_path: Path) -> None:
    state = small().state_dict()
    other = {name: value + 1 for name, value in state.items()}
    torch.save({"model_ema": other, "model": state, "ema": {**other}}, tmp_path / "a.pt")
    check_equal(fitted(tmp_path / "a.pt", small()), state)


def test_prefixes_that_the_network_has_stay(tmp_path: Path) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = small()
            self.module = small()

    state = Wrapped().state_dict()
    torch.save(prefixed(state, "module."), tmp_path / "a.pt")
    check_equal(fitted(tmp_path / "a.pt", Wrapped()), state)


@pytest.mark.parametrize("wrap", ["compile", "DataParallel", "both"])
def test_wrapped_resnet18_is_read(wrap: str, tmp_path: Path) -> None:
    from torchvision.models import resnet18

    network = resnet18(num_classes=10)
    wrapped: Any = nn.DataParallel(network) if wrap != "compile" else network
    wrapped = torch.compile(wrapped) if wrap != "DataParallel" else wrapped
    torch.save({"state_dict": wrapped.state_dict(), "epoch": 1}, tmp_path / "a.pt")
    assert next(iter(wrapped.state_dict())) != "conv1.weight"
    with torch.device("meta"):
        target = resnet18(num_classes=10)
    shapes = load_state(target, read_state(tmp_path / "a.pt"), "a", dataset=Digits())
    assert all(value.is_meta for value in shapes.values())
    check_equal(fitted(tmp_path / "a.pt", resnet18(num_classes=10)), network.state_dict())


def test_numpy_scalars_of_older_versions_are_read(tmp_path: Path) -> None:
    state = small().state_dict()
    torch.save({"model": state, "acc": np.float64(0.5)}, tmp_path / "new.pt")
    with zipfile.ZipFile(tmp_path / "new.pt") as new, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            assert b"numpy._core." in content or not name.endswith("data.pkl")
            old.writestr(name, content.replace(b"numpy._core.", b"numpy.core."))
    check_equal(fitted(tmp_path / "old.pt", small()), state)


def test_cuda_tensors_are_read_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = small().state_dict()
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(state, tmp_path / "a.pt")
    assert b"cuda:0" in (tmp_path / "a.pt").read_bytes()
    check_equal(fitted(tmp_path / "a.pt", small()), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_other_floating_types_are_converted(dtype: torch.dtype, suffix: str, tmp_path: Path) -> None:
    stored = {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in small().state_dict().items()
    }
    (torch.save if suffix == ".pt" else save_file)(stored, tmp_path / f"a{suffix}")
    expected = {name: value.float() if value.is_floating_point() else value for name, value in stored.items()}
    check_equal(fitted(tmp_path / f"a{suffix}", small()), expected)


# Bad files.


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)


class Bomb:
    """An object whose pickle runs a command when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def write_bytes(content: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(content)


def write(content: Any, **options: Any) -> Callable[[Path], Any]:
    def save(path: Path) -> None:
        with warnings.catch_warnings(action="ignore"):
            torch.save(content, path, **options)

    return save


def truncate(content: Any, keep: float, **options: Any) -> Callable[[Path], Any]:
    def save(path: Path) -> None:
        torch.save(content, path, **options)
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])

    return save


def write_archive(*names: str) -> Callable[[Path], Any]:
    def save(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "")

    return save


def write_tar(*names: str) -> Callable[[Path], Any]:
    def save(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name), io.BytesIO())

    return save


def script(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(small()), path)


def export(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.export.save(torch.export.export(small().eval(), (torch.zeros(2, 1, 8, 8),)), path)


def save_arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.array([{}], dtype=object))


def cut_safetensors(path: Path) -> None:
    save_file(small().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-10])


STATE = small().state_dict()
NAN = {**STATE, "5.bias": torch.full((10,), torch.nan)}
FITS = "a.pt does not fit architecture 'small': "
SAVE = "torch.save(model.state_dict(), FILE)"
AGAIN = "copy or download it again"
COPY = f"copy its arrays into the PyTorch network, then {SAVE}"
MODULE = f"not of its weights; where its code is: {SAVE}"

BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "folder": (Path.mkdir, "FILE is a folder, expects a file"),
    "missing": (lambda path: None, "FILE: cannot be read (No such file or directory)"),
    "empty": (write_bytes(b""), f"FILE is empty; {AGAIN}"),
    "whole module": (
        write(nn.Linear(2, 2)),
        f"FILE is a pickle of a whole module (torch.nn.modules.linear.Linear), {MODULE}",
    ),
    "whole module of a class": (
        write({"net": Net()}),
        f"FILE is a pickle of a whole module ({__name__}.Net), {MODULE}",
    ),
    "whole module in the old format": (
        write(Net(), _use_new_zipfile_serialization=False),
        f"FILE is a pickle of a whole module ({__name__}.Net), {MODULE}",
    ),
    "whole module of protocol 4": (
        write(Net(), pickle_protocol=4),
        f"FILE is a pickle of a whole module ({__name__}.Net), {MODULE}",
    ),
    "protocol 4": (
        write(STATE, pickle_protocol=4),
        f"FILE is a pickle of protocol 4, expects 2; leave pickle_protocol out: {SAVE}",
    ),
    "another class": (
        write({"model": STATE, "bound": np.random.RandomState(0)}),
        "FILE holds 'numpy.random._pickle.__randomstate_ctor', which is no weight and could run code; "
        f"save the weights alone: {SAVE}",
    ),
    "pickle": (
        write_bytes(pickle.dumps({"a": [1.0]})),
        f"FILE is a pickle that torch.save has not written; save the weights: {SAVE}",
    ),
    "TorchScript": (
        script,
        "FILE is a TorchScript archive; convert it: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt')",
    ),
    "exported program": (
        export,
        "FILE is an exported program; convert it: torch.save(torch.export.load(FILE).state_dict, 'weights.pt')",
    ),
    "older exported program": (
        write_archive("serialized_exported_program.json", "version"),
        "FILE is an exported program; convert it: torch.save(torch.export.load(FILE).state_dict, 'weights.pt')",
    ),
    "torch.package": (
        write_archive("a/.data/extern_modules", "a/model/model.pkl"),
        f"FILE is an archive of torch.package, not of weights; where its code is: {SAVE}",
    ),
    "HDF5": (
        write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)),
        f"FILE is an HDF5 file, as Keras and TensorFlow write it; {COPY}",
    ),
    "Keras": (write_archive("config.json", "model.weights.h5"), f"FILE is a Keras model; {COPY}"),
    "TensorFlow Lite": (write_bytes(b"\x1c\0\0\0TFL3" + bytes(99)), f"FILE is a TensorFlow Lite model; {COPY}"),
    "ONNX": (write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x032.6"), f"FILE is an ONNX model; {COPY}"),
    "array": (
        write_bytes(b"\x93NUMPY\x01\0"),
        f"FILE is one array without a name; save all weights: {SAVE}",
    ),
    "archive of objects": (
        save_arrays,
        "FILE is no archive of numbers (Object arrays cannot be loaded when allow_pickle=False)",
    ),
    "old tar": (
        write_tar("sys_info", "pickle", "storages", "tensors"),
        f"FILE is in the tar format of the first versions of PyTorch; load it where you trust it, then {SAVE}",
    ),
    "tar": (write_tar("a.pt"), "FILE is an archive of other files; unpack it"),
    "zip": (write_archive("a.pt", "b.pt"), "FILE is an archive of other files; unpack it"),
    "gzip": (write_bytes(b"\x1f\x8b\x08" + bytes(9)), "FILE is a compressed archive; unpack it"),
    "Git LFS": (
        write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"),
        "FILE is a Git LFS pointer, not the weights; run 'git lfs pull'",
    ),
    "HTML": (
        write_bytes(b"\n<!DOCTYPE html><html><body>Sign in</body></html>"),
        "FILE is a web page, not the weights; download the file itself",
    ),
    "text": (write_bytes(b"lr: 0.1\n"), f"FILE is a text file; expects safetensors, or a file of {SAVE}"),
    "bytes": (
        write_bytes(bytes(range(5, 99))),
        f"FILE is no file of weights; expects safetensors, or a file of {SAVE}",
    ),
    "truncated": (truncate(STATE, 0.7), f"FILE is truncated or damaged; {AGAIN}"),
    "truncated in the old format": (
        truncate(STATE, 0.9, _use_new_zipfile_serialization=False),
        f"FILE is truncated or damaged; {AGAIN}",
    ),
    "truncated in the pickle": (
        truncate(STATE, 0.2, _use_new_zipfile_serialization=False),
        f"FILE is truncated or damaged; {AGAIN}",
    ),
    "truncated safetensors": (
        cut_safetensors,
        "FILE is truncated or damaged (Error while deserializing header: incomplete metadata, file not fully covered); "
        f"{AGAIN}",
    ),
    "number": (write(3), "FILE holds no state dict, but an object of type int"),
    "tensor": (write(torch.zeros(2, 3)), "FILE holds no state dict, but one tensor of shape (2, 3)"),
    "tensors without names": (write([torch.zeros(2, 3)] * 2), "FILE holds no state dict, but a list of 2 entries"),
    "no weights": (
        write({"epoch": 3, "optimizer": BESIDE["optimizer"]}),
        "FILE holds no state dict, but a mapping with the keys 'epoch', 'optimizer'",
    ),
    "nothing": (write({}), "FILE holds no state dict, but an empty mapping"),
    "two models": (
        write({"netG": STATE, "netD": {**STATE}}),
        "FILE holds several state dicts: checkpoint['netG'], checkpoint['netD']; save one: "
        "torch.save(checkpoint['netG'], FILE)",
    ),
    "two usual names": (
        write({"model": STATE, "net": {**STATE}, "ema": {**STATE}}),
        "FILE holds several state dicts: checkpoint['model'], checkpoint['net']; save one: "
        "torch.save(checkpoint['model'], FILE)",
    ),
    "average beside bare weights": (
        write({**STATE, "ema": {**STATE}}),
        "FILE holds several state dicts: checkpoint, checkpoint['ema']; save one: torch.save(checkpoint, FILE)",
    ),
    "list of models": (
        write([STATE, {**STATE}]),
        "FILE holds several state dicts: checkpoint[0], checkpoint[1]; save one: torch.save(checkpoint[0], FILE)",
    ),
    "not finite": (write(NAN), "FILE: 5.bias has 10 of 10 values that are not finite in float32"),
    "partly not finite": (
        write({**STATE, "5.weight": torch.full((10, 4), torch.inf).triu()}),
        "FILE: 5.weight has 10 of 40 values that are not finite in float32",
    ),
    "too large": (
        write({**STATE, "5.bias": torch.full((10,), 1e300, dtype=torch.float64)}),
        "FILE: 5.bias has 10 of 10 values that are not finite in float32",
    ),
    "meta device": (
        write({"a": torch.zeros(2, 2, device="meta")}),
        "FILE: a has no values; it was saved from the meta device",
    ),
    "sparse": (
        write({"a": torch.eye(2).to_sparse()}),
        "FILE: a is sparse or quantized; save its to_dense() or dequantize()",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    make, message = BAD_FILES[case]
    path = tmp_path / "file"
    make(path)
    with pytest.raises(ConfigError) as caught:
        read_state(path)
    assert str(caught.value) == message.replace("FILE", str(path), 1)


def test_the_name_in_messages_can_be_another_than_the_path(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"^https://example.org/a.pt is empty; "):
        read_state(tmp_path / "a", "https://example.org/a.pt")


DANGEROUS: dict[str, Callable[[Path], Any]] = {
    "zip": lambda path: torch.load(path, weights_only=False),
    "legacy": lambda path: torch.load(path, weights_only=False),
    "pickle": lambda path: pickle.loads(path.read_bytes()),
    "array": lambda path: np.load(path, allow_pickle=True)["a"],
}


@pytest.mark.parametrize("form", DANGEROUS)
def test_no_code_in_a_file_is_executed(form: str, tmp_path: Path) -> None:
    path, touched = tmp_path / "bomb", tmp_path / "touched"
    content = {"model": STATE, "extra": Bomb(touched)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    elif form == "array":
        with path.open("wb") as file:
            np.savez(file, a=np.array([Bomb(touched)], dtype=object))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    message = {"pickle": "is a pickle that torch.save has not written", "array": "is no archive of numbers"}
    with pytest.raises(ConfigError, match=re.escape(message.get(form, "holds 'posix.system', which is no weight"))):
        read_state(path)
    assert not touched.exists()
    DANGEROUS[form](path)
    assert touched.exists()  # so the file is dangerous


def test_numpy_never_interprets_types_in_a_file(tmp_path: Path) -> None:
    """A type with fields of objects would let NumPy read numbers as addresses."""

    class Hostile:
        def __reduce__(self) -> Any:
            scalar = np.float64(0).__reduce__()[0]
            return scalar, (np.dtype([("a", "O")]), np.zeros(1))

    state = small().state_dict()
    torch.save({"model": state, "acc": Hostile()}, tmp_path / "a.pt")
    check_equal(fitted(tmp_path / "a.pt", small()), state)


# States that do not fit.


def resized(**changes: Any) -> dict[str, Tensor]:
    return {**STATE, **{key.replace("_", "."): value for key, value in changes.items()}}


MISFITS: dict[str, tuple[dict[str, Tensor], str]] = {
    "classes": (
        small(classes=100).state_dict(),
        f"{FITS}2 misshapen (5.weight: expects (10, 4), got (100, 4), 5.bias: expects (10,), "
        "got (100,)); the checkpoint has 100 classes, the data set 10",
    ),
    "channels": (
        small(channels=3).state_dict(),
        f"{FITS}1 misshapen (0.weight: expects (4, 1, 3, 3), got (4, 3, 3, 3)); "
        "the checkpoint expects 3 channels, the data set has 1",
    ),
    "kernel": (
        small(kernel=7).state_dict(),
        f"{FITS}1 misshapen (0.weight: expects (4, 1, 3, 3), got (4, 1, 7, 7)); set stem: imagenet",
    ),
    "everything about images": (
        small(channels=3, kernel=7, classes=3).state_dict(),
        f"{FITS}3 misshapen (0.weight: expects (4, 1, 3, 3), got (4, 3, 7, 7), 5.weight: "
        "expects (10, 4), got (3, 4), 5.bias: expects (10,), got (3,)); the checkpoint expects 3 channels, "
        "the data set has 1; set stem: imagenet; the checkpoint has 3 classes, the data set 10",
    ),
    "another network": (
        {"module.conv.weight": torch.zeros(2, 2), "module.fc.bias": torch.zeros(3)},
        f"{FITS}7 missing (0.weight (4, 1, 3, 3), 1.weight (4,), 1.bias (4,), ...); "
        "2 unexpected (module.conv.weight (2, 2), module.fc.bias (3,))",
    ),
    "one key too many": (
        prefixed(STATE, "model.") | {"criterion.weight": torch.ones(10)},
        f"{FITS}1 unexpected (criterion.weight (10,))",
    ),
    "normalization inside": (
        prefixed(STATE, "model.") | {f"normalizer.new_{name}": torch.ones(1, 1, 1) for name in ("mean", "std")},
        f"{FITS}2 unexpected (normalizer.new_mean (1, 1, 1), normalizer.new_std "
        "(1, 1, 1)); the checkpoint holds a normalization: save the network without it, and set mean and std",
    ),
    "two networks in one": (
        prefixed(STATE, "model.") | prefixed(STATE, "teacher."),
        f"{FITS}8 unexpected (teacher.0.weight (4, 1, 3, 3), teacher.1.weight (4,), teacher.1.bias (4,), ...)",
    ),
    "integers": (
        resized(**{"5_weight": torch.zeros(10, 4, dtype=torch.int8)}),
        f"{FITS}1 of another type (5.weight: expects float32, got int8)",
    ),
    "complex": (
        resized(**{"5_bias": torch.zeros(10, dtype=torch.complex64)}),
        f"{FITS}1 of another type (5.bias: expects float32, got complex64)",
    ),
    "statistics": (
        {name: value for name, value in STATE.items() if "running" not in name},
        f"{FITS}2 missing (1.running_mean (4,), 1.running_var (4,))",
    ),
    "not finite": (NAN, "a.pt: 5.bias has 10 of 10 values that are not finite in float32"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_states_that_do_not_fit_are_refused_in_one_line(case: str) -> None:
    state, message = MISFITS[case]
    with pytest.raises(ConfigError) as caught:
        load_state(small(), state, "a.pt", dataset=Digits(), architecture=Small())
    assert str(caught.value) == message


# The mode.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save({"model": small().state_dict()}, tmp_path / f"{seed}.pt")
    return tmp_path


def suite_of(mode: dict[str, Any], seeds: list[int], architecture: str = "small") -> dict[str, Any]:
    return {
        "name": "mine",
        "dataset": "digits",
        "architectures": [architecture],
        "modes": [{"name": "checkpoint", **mode}],
        "seeds": seeds,
        "perturbations": [{"name": "fgsm", "steps": 2, "beta": [0, 0.1]}],
    }


@pytest.fixture
def _small_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "small", Small)


@pytest.mark.usefixtures("_small_architecture")
def test_every_seed_has_its_file_and_its_key(folder: Path) -> None:
    listed = suite_of({"files": [str(folder / "1.pt"), str(folder / "0.pt")]}, [1, 0])
    template = suite_of({"files": str(folder / "{seed}.pt")}, [1, 0])
    keys = []
    for suite in (listed, template):
        learners = gtn_bench.plan(gtn_bench.load(suite)).learners
        assert [Path(learner.mode.files[0]).name for learner in learners] == ["1.pt", "0.pt"]  # type: ignore[attr-defined]
        keys.append([learner.key("cpu") for learner in learners])
    assert keys[0] == keys[1] and len(set(keys[0])) == 2


def test_content_is_the_checksum_of_one_file(folder: Path) -> None:
    mode = Checkpoint(files=[folder / "0.pt", folder / "1.pt"], mean=0.5, std=[0.25])  # type: ignore[arg-type]
    first = mode.for_seed(7, 0)
    copied = folder / "copy.pt"
    copied.write_bytes((folder / "0.pt").read_bytes())
    assert first.content() == Checkpoint(files=copied, mean=(0.5,), std=(0.25,)).content()  # type: ignore[arg-type]
    checksum = SeedFile.digest(copied)
    assert first.content() == {
        "name": "checkpoint",
        "mean": [0.5],
        "std": [0.25],
        "samples_per_forward": 1,
        "architecture": None,
        "files": [f"sha256:{checksum}"],
    }
    again = Checkpoint(**{key: value for key, value in mode.identity().items() if key != "name"})
    assert again == mode and f"{folder}/0.pt#sha256={checksum}" in mode.identity()["files"]


def test_mean_and_std_normalize_in_front_of_the_network(folder: Path) -> None:
    digits = Digits()
    x, _ = digits()["test"][:20]
    torch.manual_seed(1)
    plain = small().eval()
    for constants, expected in (({}, plain(x)), ({"mean": 0.5, "std": (0.25,)}, plain((x - 0.5) / 0.25))):
        mode = Checkpoint(files=folder / "1.pt", **constants)  # type: ignore[arg-type]
        mode.check(digits, None)
        mode.check_architecture(Small(), digits)
        network = mode.network(Small(), digits, 5)
        state = mode(network, digits, digits()["train"], None, seed=0)
        network.load_state_dict(state)
        assert list(state) == list(network.state_dict())
        assert torch.equal(network.eval()(x), expected)


def test_normalized_keeps_constants_out_of_the_state_dict() -> None:
    network = Normalized(small(3), (0.1, 0.2, 0.3), (1.0, 2.0, 4.0))
    assert all(name.startswith("network.") for name in network.state_dict())
    x = torch.rand(2, 3, 5, 5)
    seen: list[Tensor] = []
    network.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(x)
    for channel, (mean, std) in enumerate(zip((0.1, 0.2, 0.3), (1, 2, 4), strict=True)):
        assert torch.allclose(seen[0][:, channel], (x[:, channel] - mean) / std)
    assert "mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0)" in repr(network)


@pytest.mark.parametrize(
    "fields", [{"files": "a.pt"}, {"files": ["a.pt"], "mean": [0.1], "std": 0.5}, {"files": "a", "mean": 0}]
)
def test_the_schema_accepts_one_value_or_a_list(fields: dict[str, Any]) -> None:
    jsonschema.validate(fields, Checkpoint.model_json_schema())


@pytest.mark.parametrize(
    "fields", [{}, {"files": []}, {"files": 3}, {"files": "a.pt", "std": 0}, {"files": "a", "mean": "b"}]
)
def test_the_schema_refuses_other_types(fields: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(fields, Checkpoint.model_json_schema())


def test_samples_per_forward_is_the_number_of_forward_passes(folder: Path) -> None:
    assert Checkpoint(files=folder / "0.pt", samples_per_forward=8).forward_samples == 8  # type: ignore[arg-type]
    assert not Fixed.trains and not Fixed.needs_teacher


BAD_SUITES: dict[str, tuple[dict[str, Any], list[int], str]] = {
    "no files": ({}, [0], "modes[0].files: 'checkpoint' needs this key"),
    "empty list": ({"files": []}, [0], "modes[0].files: 'checkpoint' expects at least one entry, got none"),
    "number": ({"files": 3}, [0], "modes[0].files[0]: expects the path of a file, got 3"),
    "absent": ({"files": "FOLDER/a.pt"}, [0], "modes[0].files[0]: FOLDER/a.pt: no such file"),
    "two files, one seed": (
        {"files": ["FOLDER/0.pt", "FOLDER/1.pt"]},
        [0],
        "modes[0]: mode 'checkpoint' has 2 files, the suite 1 seed; write seeds: [0, 1]",
    ),
    "files of seeds": (
        {"files": "FOLDER/{seed}.pt"},
        [0, 5, 6],
        "modes[0]: mode 'checkpoint': no such file: FOLDER/5.pt, FOLDER/6.pt",
    ),
    "name and file": (
        {"files": ["FOLDER/{seed}.pt", "FOLDER/0.pt"]},
        [0, 1],
        "modes[0]: mode 'checkpoint' expects one name with {seed}, or files without it, got both",
    ),
    "URLs by seed": (
        {"files": "https://example.org/{seed}.pt"},
        [0],
        "modes[0]: mode 'checkpoint' needs the checksum of each URL: list the URLs in place of {seed}",
    ),
    "URL without checksum": (
        {"files": "https://example.org/0.pt"},
        [0],
        "modes[0].files[0]: needs the checksum of https://example.org/0.pt: append #sha256=<64 hexadecimal digits>",
    ),
    "mean alone": (
        {"files": "FOLDER/0.pt", "mean": 0.5},
        [0],
        "modes[0]: mode 'checkpoint' needs both mean and std, or neither: got mean without std",
    ),
    "std alone": (
        {"files": "FOLDER/0.pt", "std": [0.5]},
        [0],
        "modes[0]: mode 'checkpoint' needs both mean and std, or neither: got std without mean",
    ),
    "std of zero": (
        {"files": "FOLDER/0.pt", "mean": 0.5, "std": 0},
        [0],
        "modes[0].std[0]: 'checkpoint' expects a number greater than 0, got 0",
    ),
    "mean of 8-bit pixels": (
        {"files": "FOLDER/0.pt", "mean": 123.7, "std": 58.4},
        [0],
        "modes[0]: mode 'checkpoint' expects the mean of pixels in [0, 1], got 123.7; divide mean and std "
        "by 255 if they are those of pixels in [0, 255]",
    ),
    "three means of one channel": (
        {"files": "FOLDER/0.pt", "mean": [0.5, 0.5, 0.5], "std": 0.5},
        [0],
        "modes[0]: mode 'checkpoint' expects one mean, or one per channel of data set 'digits' (1), got 3",
    ),
    "mean as text": (
        {"files": "FOLDER/0.pt", "mean": "imagenet", "std": 0.5},
        [0],
        "modes[0].mean[0]: 'checkpoint' expects a number, got 'imagenet'",
    ),
    "no forward pass": (
        {"files": "FOLDER/0.pt", "samples_per_forward": 0},
        [0],
        "modes[0].samples_per_forward: 'checkpoint' expects a number greater than 0, got 0",
    ),
    "bad file of a seed": (
        {"files": "FOLDER/{seed}.bad"},
        [0],
        "modes[0]: FOLDER/0.bad is a text file; expects safetensors, or a file of torch.save(model.state_dict(), FILE)",
    ),
    "misfit": (
        {"files": ["FOLDER/0.pt", "FOLDER/misfit.pt"]},
        [0, 1],
        "modes[0]: FOLDER/misfit.pt does not fit architecture 'small': 2 misshapen (5.weight: expects (10, 4), "
        "got (3, 4), 5.bias: expects (10,), got (3,)); the checkpoint has 3 classes, the data set 10",
    ),
}


@pytest.mark.usefixtures("_small_architecture")
@pytest.mark.parametrize("case", BAD_SUITES)
def test_bad_suites_are_refused_before_anything_runs(case: str, folder: Path) -> None:
    mode, seeds, message = BAD_SUITES[case]
    (folder / "0.bad").write_text("weights")
    torch.save(small(classes=3).state_dict(), folder / "misfit.pt")
    files = mode.get("files")
    if isinstance(files, str | list):
        put = [file.replace("FOLDER", str(folder)) for file in ([files] if isinstance(files, str) else files)]
        mode = {**mode, "files": put[0] if isinstance(files, str) else put}
    with pytest.raises(ConfigError) as caught:
        gtn_bench.plan(gtn_bench.load(suite_of(mode, seeds)))
    assert str(caught.value) == f"mine: {message}".replace("FOLDER", str(folder))


def test_normalization_of_an_architecture_that_normalizes_itself_is_refused(tmp_path: Path) -> None:
    torch.save(ARCHITECTURES["linear"]()(Digits(), 0).state_dict(), tmp_path / "a.pt")
    mode = {"files": str(tmp_path / "a.pt"), "mean": 0.5, "std": 0.5}
    with pytest.raises(ConfigError) as caught:
        gtn_bench.plan(gtn_bench.load(suite_of(mode, [0], "linear")))
    assert str(caught.value) == (
        "mine: modes[0]: mode 'checkpoint': architecture 'linear' normalizes its images itself; leave mean and std out"
    )


def test_an_architecture_that_needs_values_is_checked_with_values(folder: Path) -> None:
    class Eager(Small):
        name = "eager"

        def bare(self, dataset: Dataset, seed: int) -> nn.Module:
            assert torch.rand(1).item() < 1  # tensors on the meta device have no items
            return super().bare(dataset, seed)

    mode = Checkpoint(files=folder / "0.pt")  # type: ignore[arg-type]
    mode.check_architecture(Eager(), Digits())


def test_a_downloaded_file_is_named_by_its_url(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTN_BENCH_CACHE", str(folder / "cache"))
    (folder / "cache/downloads").mkdir(parents=True)
    for name, network in (("a", small()), ("b", small(classes=3))):
        torch.save(network.state_dict(), folder / f"{name}.pt")
        checksum = SeedFile.digest(folder / f"{name}.pt")
        (folder / f"{name}.pt").rename(folder / f"cache/downloads/{checksum}.pt")
        mode = Checkpoint(files=f"https://example.org/{name}.pt#sha256={checksum}")  # type: ignore[arg-type]
        if name == "a":
            mode.check_architecture(Small(), Digits())
        else:
            with pytest.raises(
                ConfigError, match=r"^https://example.org/b.pt does not fit architecture 'small': 2 mis"
            ):
                mode.check_architecture(Small(), Digits())


def test_a_file_that_has_changed_since_planning_is_refused(folder: Path) -> None:
    mode = Checkpoint(files=folder / "0.pt")  # type: ignore[arg-type]
    network = mode.network(Small(), Digits(), 0)
    torch.save(small().state_dict(), folder / "0.pt")
    with pytest.raises(ConfigError, match="the file has changed since it was checked"):
        mode(network, Digits(), Digits()()["train"], None, seed=0)


@pytest.mark.slow
def test_checkpoints_of_learners_have_the_curves_of_the_learners(tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "dataset": "digits",
        "architectures": ["base_fc"],
        "seeds": [3, 4],
        "attack": "all",
        "perturbations": [
            {"name": "fgsm", "steps": 2, "samples": 40, "beta": [0, 0.05, 0.2]},
            {"name": "noise", "samples": 40, "beta": [0.3]},
        ],
    }
    cache = tmp_path / "cache"
    plan = gtn_bench.plan(gtn_bench.load({"name": "own", "modes": [{"name": "vanilla", "epochs": 2}], **common}))
    own = gtn_bench.run(plan, tmp_path / "own", cache=cache, workers=1, device="cpu")
    for learner in plan.learners:
        state = Store(cache).load("learners", learner.key("cpu"))[0]
        torch.save(
            {"state_dict": prefixed(state, "module."), "acc": np.float64(1)}, tmp_path / f"mine-{learner.seed}.pt"
        )
    mode = {"name": "checkpoint", "label": "vanilla", "files": str(tmp_path / "mine-{seed}.pt")}
    plan = gtn_bench.plan(gtn_bench.load({"name": "files", "modes": [mode], **common}))
    mine = gtn_bench.run(plan, tmp_path / "mine", cache=cache, workers=1, device="cpu")
    costs = [name for name in own.summary if "seconds" in str(name) or "memory" in str(name)]
    assert len(own.summary) == 8 and own.summary["accuracy"].nunique() > 2
    pd.testing.assert_frame_equal(own.summary.drop(columns=costs), mine.summary.drop(columns=costs))


# An architecture of the mode.


def suite_of_modes(*modes: dict[str, Any], **keys: Any) -> dict[str, Any]:
    suite = suite_of({}, [0, 1]) | {"modes": [{"name": "checkpoint", **mode} for mode in modes]} | keys
    return {key: value for key, value in suite.items() if value is not None}


@pytest.mark.usefixtures("_small_architecture")
def test_modes_have_architectures_of_their_own(folder: Path) -> None:
    torch.save(ARCHITECTURES["linear"]()(Digits(), 3).state_dict(), folder / "linear.pt")
    modes = (
        {"label": "a", "files": str(folder / "0.pt"), "architecture": "small"},
        {"label": "b", "files": str(folder / "linear.pt"), "architecture": {"name": "linear", "hidden": [256, 128]}},
    )
    plan = gtn_bench.plan(gtn_bench.load(suite_of_modes(*modes, architectures=None)))
    assert [(each.mode_label, each.architecture_label) for each in plan.learners] == [("a", "model"), ("b", "model")]
    first, second = (learner.network() for learner in plan.learners)
    assert first.state_dict().keys() == small().state_dict().keys() != second.state_dict().keys()
    written = parse(plan.suite.to_yaml())
    assert [learner.key("cpu") for learner in gtn_bench.plan(written).learners] == [
        learner.key("cpu") for learner in plan.learners
    ]


@pytest.mark.usefixtures("_small_architecture")
def test_the_architecture_of_a_mode_is_in_the_key(folder: Path) -> None:
    keys = set()
    for stem in ("cifar", "imagenet"):
        mode = {"files": str(folder / "0.pt"), "architecture": {"name": "small", "stem": stem}}
        (learner,) = gtn_bench.plan(gtn_bench.load(suite_of_modes(mode, architectures=None))).learners
        keys.add(learner.key("cpu"))
    assert len(keys) == 2
    assert Small in map(type, learner.mode.parts())


BAD_OWN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "two places": (
        {"architecture": "small"},
        {"architectures": ["small"]},
        "modes[0].architecture: the suite has architectures, too; leave one of the two out",
    ),
    "no place": (
        {},
        {"architectures": None},
        "architectures: needs at least one, because mode 'checkpoint' has no architecture of its own",
    ),
    "unknown": (
        {"architecture": "smal"},
        {"architectures": None},
        "modes[0].architecture: unknown architecture 'smal'; did you mean 'small'?" + OWN["architecture"],
    ),
    "unknown field": (
        {"architecture": {"name": "small", "stm": "cifar"}},
        {"architectures": None},
        "modes[0].architecture: stm: 'small' does not know this key; did you mean 'stem'?",
    ),
    "list": (
        {"architecture": ["small"]},
        {"architectures": None},
        "modes[0].architecture: expects the name of a known architecture, or a mapping with one, got ['small']",
    ),
    "too small images": (
        {"architecture": {"name": "base", "convolutions": [{"channels": 4, "pool": True}] * 4}},
        {"architectures": None},
        "modes[0]: architecture 'base' halves its images 4 times and so needs at least 16x16 pixels, data set 'digits' "
        "has 8x8",
    ),
    "normalized twice": (
        {"architecture": "linear", "mean": 0.5, "std": 0.5},
        {"architectures": None},
        "modes[0]: mode 'checkpoint': architecture 'linear' normalizes its images itself; leave mean and std out",
    ),
}


@pytest.mark.usefixtures("_small_architecture")
@pytest.mark.parametrize("case", BAD_OWN)
def test_wrong_architectures_of_modes_are_refused_in_one_line(case: str, folder: Path) -> None:
    mode, keys, message = BAD_OWN[case]
    suite = suite_of_modes({"files": str(folder / "0.pt"), **mode}, seeds=[0], **keys)
    with pytest.raises(ConfigError) as caught:
        gtn_bench.plan(gtn_bench.load(suite))
    assert str(caught.value) == f"mine: {message}"
