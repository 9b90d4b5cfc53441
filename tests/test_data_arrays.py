"""Data sets from arrays, tensors, and the data sets and data loaders of torch."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from gtn_bench.config.errors import ConfigError
from gtn_bench.data import MNIST, Digits, Files
from gtn_bench.data.arrays import from_arrays
from gtn_bench.store.files import read_tensors

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 3, 6, 5), dtype=np.uint8)
NHWC = np.ascontiguousarray(X.transpose(0, 2, 3, 1))
Y = np.arange(12) % 4
T, TY = torch.from_numpy(X), torch.from_numpy(Y)
NAMES = ["airplane", "bird", "cat", "dog"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty cache, and the folder of the test as the working folder."""
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "data"


class Pictures(TorchDataset[Any]):
    """A data set as torchvision's: PIL images, a transform, names of classes."""

    def __init__(self, images: np.ndarray[Any, Any] = NHWC, transform: Callable[[Any], Any] | None = None) -> None:
        self.images, self.transform, self.classes = images, transform, NAMES

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self.images[index])
        return (self.transform(image) if self.transform else image), int(Y[index])


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(image.float() / 255, label) for image, label in zip(T, TY, strict=True)])


class Named(TorchDataset[Any]):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"img": T[index], "label": TY[index]}


TO_TENSOR = transforms.ToTensor()
SAME: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (X, Y),
    "a list of both": lambda: [X, Y.tolist()],
    "mapping": lambda: {"images": X, "labels": Y},
    "NHWC": lambda: (NHWC, Y),
    "floats": lambda: (X / np.float32(255), Y),
    "tensors": lambda: (T, TY),
    "float tensors": lambda: (T.float() / 255, TY.int()),
    "tensors with gradients": lambda: ((T.float() / 255).requires_grad_(), TY),
    "channels last": lambda: (T.contiguous(memory_format=torch.channels_last), TY),
    "lists of arrays": lambda: (list(NHWC), list(Y)),
    "lists of tensors": lambda: (list(T), list(TY)),
    "nested lists": lambda: ((X / 255).tolist(), Y.tolist()),
    "PIL images": lambda: ([Image.fromarray(image) for image in NHWC], Y),
    "tensor data set": lambda: TensorDataset(T, TY),
    "PIL data set": lambda: Pictures(),
    "ToTensor": lambda: Pictures(transform=TO_TENSOR),
    "PILToTensor": lambda: Pictures(transform=transforms.PILToTensor()),
    "stream": lambda: Stream(),
    "mappings": lambda: Named(),
    "loader": lambda: DataLoader(TensorDataset(T, TY), batch_size=5),
    "loader of ToTensor": lambda: DataLoader(Pictures(transform=TO_TENSOR), batch_size=7),
    "loader of PIL": lambda: DataLoader(
        Pictures(), batch_size=5, collate_fn=lambda batch: tuple(zip(*batch, strict=True))
    ),
    "loader of mappings": lambda: DataLoader(Named(), batch_size=4),
    "loader without batches": lambda: DataLoader(TensorDataset(T, TY), batch_size=None),
}


@pytest.mark.parametrize("form", SAME)
def test_every_form_of_data_gives_the_same_test_images_in_their_order(form: str) -> None:
    files = from_arrays(SAME[form]())
    split = files()["test"]
    assert isinstance(files, Files) and files.sizes == (0, 0, 12) and files.num_classes == 4
    assert np.array_equal(split.levels.numpy(), X) and np.array_equal(split.labels, Y) and split.white == 255
    assert files.content() == from_arrays((X, Y)).content()


def test_gray_images_of_any_form_have_one_channel() -> None:
    for data in ((X[:, 0], Y), (X[:, :1], Y), (NHWC[..., :1], Y), Pictures(NHWC[..., 0]), (list(T[:, 0]), TY)):
        assert np.array_equal(from_arrays(data)()["test"].levels.numpy(), X[:, :1])


def test_ambiguous_layouts_are_said_by_the_caller() -> None:
    square = X[..., :3]
    with pytest.raises(ConfigError, match=r"^data: images of shape \(12, 3, 6, 3\) can be NCHW or NHWC; set layout"):
        from_arrays((square, Y))
    assert from_arrays((square, Y), layout="NCHW").input_shape == (3, 6, 3)
    assert from_arrays((square, Y), layout="NHWC").input_shape == (3, 3, 6)
    assert np.array_equal(from_arrays((square, Y), layout="NCHW")()["test"].levels.numpy(), square)


def test_other_floats_keep_their_bits() -> None:
    x = RNG.random((12, 3, 6, 5)).astype(np.float32)
    for data in ((x, Y), (torch.from_numpy(x), TY), TensorDataset(torch.from_numpy(x), TY)):
        split = from_arrays(data)()["test"]
        assert split.white == 1 and np.array_equal(split[:][0].numpy(), x)


def test_arrays_are_written_once_under_their_content(cache: Path) -> None:
    from_arrays((X, Y))
    (path,) = cache.glob("arrays-*.safetensors")
    before = path.stat().st_mtime_ns
    from_arrays((NHWC / 255, Y.astype(float)))
    assert path.stat().st_mtime_ns == before and len(list(cache.glob("arrays-*"))) == 1
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.warns(RuntimeWarning, match=r"; it was renamed to arrays-\w+\.safetensors\.corrupt and is recomputed$"):
        assert np.array_equal(from_arrays((X, Y))()["test"].levels.numpy(), X)
    from_arrays((X[::-1], Y))
    assert len(list(cache.glob("arrays-*.safetensors"))) == 2
    from_arrays((X, Y), cache=cache.parent.parent / "own")
    assert len(list((cache.parent.parent / "own" / "data").glob("arrays-*"))) == 1
    assert set(read_tensors(path)[0]) == {"images", "labels"}


def test_a_shuffling_loader_keeps_images_with_their_labels() -> None:
    loader = DataLoader(TensorDataset(T, TY), batch_size=5, shuffle=True, generator=torch.Generator().manual_seed(1))
    split = from_arrays(loader)()["test"]
    order = [next(n for n in range(12) if torch.equal(T[n], level)) for level in split.levels]
    assert sorted(order) == list(range(12)) != order and split.labels.tolist() == Y[order].tolist()


def test_names_of_classes_come_from_the_data_set_unless_they_are_given() -> None:
    assert from_arrays(Pictures()).classes == tuple(NAMES)
    assert from_arrays(Subset(Pictures(), range(4))).classes == tuple(NAMES)
    assert from_arrays(DataLoader(Subset(Pictures(transform=TO_TENSOR), range(4)))).classes == tuple(NAMES)
    assert from_arrays(Pictures(), classes=list("abcd")).classes == ("a", "b", "c", "d")
    assert from_arrays(Subset(Pictures(), [0, 1])).num_classes == 4
    assert from_arrays(Pictures(), num_classes=9).classes == () and from_arrays(Pictures(), num_classes=4).classes
    assert from_arrays((X, Y), classes=NAMES).classes == tuple(NAMES)
    imagenet = Pictures()
    imagenet.classes = [("crane",), ("tench", "Tinca tinca"), ("crane",), 7]  # type: ignore[list-item]
    assert from_arrays(imagenet).classes == ("crane (0)", "tench, Tinca tinca", "crane (2)", "7")


def test_torchvision_data_sets_are_read_with_and_without_to_tensor(tmp_path: Path) -> None:
    def load(transform: Any) -> Any:
        return torchvision.datasets.FakeData(12, (3, 6, 5), 4, transform, random_offset=1)

    plain, tensors = from_arrays(load(None), num_classes=4), from_arrays(load(TO_TENSOR), num_classes=4)
    assert torch.equal(plain()["test"].levels, tensors()["test"].levels) and plain.input_shape == (3, 6, 5)
    assert torch.equal(plain()["test"][3][0], TO_TENSOR(load(None)[3][0]))
    for number, image in enumerate(NHWC):
        (tmp_path / "root" / NAMES[Y[number]]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "root" / NAMES[Y[number]] / f"{number}.png")
    theirs = torchvision.datasets.ImageFolder(str(tmp_path / "root"))
    ours, given = from_arrays(str(tmp_path / "root")), from_arrays(theirs)
    assert ours.classes == given.classes == tuple(theirs.classes)
    pairs = [
        sorted((level.numpy().tobytes(), int(label)) for level, label in zip(split.levels, split.labels, strict=True))
        for split in (ours()["test"], given()["test"])
    ]
    assert pairs[0] == pairs[1]


def test_names_paths_and_data_sets_are_what_they_say(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", images=X[..., :3], labels=Y)
    for path in ("t.npz", tmp_path / "t.npz"):
        files = from_arrays(path, layout="NCHW", num_classes=6, mean=np.full(3, 0.5), std=torch.full((3,), 0.25))
        assert (files.num_classes, files.mean, files.std) == (6, (0.5,) * 3, (0.25,) * 3)
        assert files.input_shape == (3, 6, 3)
    assert isinstance(from_arrays("mnist"), MNIST)
    digits = Digits()
    assert from_arrays(digits) is digits and from_arrays(files) is files


def test_one_hot_labels_tell_the_number_of_classes() -> None:
    assert from_arrays((X, np.eye(9)[Y])).num_classes == 9


def test_descriptions_can_be_sent_to_other_processes_and_written_out() -> None:
    files = from_arrays((X, Y))
    assert pickle.loads(pickle.dumps(files)) == files
    fields = {key: value for key, value in json.loads(json.dumps(files.identity())).items() if key != "name"}
    assert Files(**fields) == files


NORMALIZE = transforms.Compose([TO_TENSOR, transforms.Normalize((0.5,) * 3, (0.25,) * 3)])
EXPECTED = (
    "data: expects images and labels as (x, y), a data set or data loader of torch, the path of a file or folder, or "
    "the name of a data set, got "
)
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "Normalize": (
        lambda: from_arrays(Pictures(transform=NORMALIZE)),
        "data: holds pixels from -2 to 2, expects 0 to 1; leave Normalize out of the transform, and pass mean= and "
        "std= to evaluate",
    ),
    "bytes in float": (
        lambda: from_arrays((T.float(), TY)),
        "data: holds pixels from 0 to 255, expects 0 to 1; divide them by 255, or save them as uint8",
    ),
    "images alone": (lambda: from_arrays(X), f"{EXPECTED}ndarray (12, 3, 6, 5)"),
    "a tensor": (lambda: from_arrays(T), f"{EXPECTED}Tensor (12, 3, 6, 5)"),
    "three arrays": (lambda: from_arrays((X, Y, Y)), f"{EXPECTED}tuple of 3"),
    "a number": (lambda: from_arrays(3), f"{EXPECTED}3"),
    "nothing": (lambda: from_arrays(None), f"{EXPECTED}None"),
    "labels alone": (
        lambda: from_arrays((Y, X)),
        "data: expects images of shape (N, C, H, W), (N, H, W, C) or (N, H, W), got (12,)",
    ),
    "fewer labels": (
        lambda: from_arrays((X, Y[:4])),
        "data: expects one label for each of its 12 images, got 4 labels",
    ),
    "a batch with fewer labels": (
        lambda: from_arrays(DataLoader([(T, TY[:4])], batch_size=None)),  # type: ignore[arg-type]
        "data: expects one label per image in a batch, got 4 for 12",
    ),
    "two sizes": (
        lambda: from_arrays(([*T, T[0][:, 1:]], [*Y, 0])),
        "data: expects arrays of one shape, got (3, 6, 5) and (3, 5, 5); resize the images",
    ),
    "ragged": (
        lambda: from_arrays(([[1, 2], [3]], [0, 1])),
        "data: expects an array, got lists of different lengths",
    ),
    "PIL and arrays": (
        lambda: from_arrays(([Image.fromarray(NHWC[0]), X[0]], [0, 1])),
        "data: expects either PIL images or arrays, got both",
    ),
    "layout of PIL images": (
        lambda: from_arrays(Pictures(), layout="NHWC"),
        "data: PIL images have no layout; leave layout out",
    ),
    "samples of three": (
        lambda: from_arrays(TensorDataset(T, TY, TY)),
        "data: expects samples of an image and a label, got a tuple of 3",
    ),
    "batches of one": (
        lambda: from_arrays(DataLoader(TensorDataset(T))),
        "data: expects batches of images and labels, got a list of 1",
    ),
    "samples without labels": (
        lambda: from_arrays(DataLoader(T)),  # type: ignore[arg-type]
        "data: expects batches of images and labels, got a Tensor",
    ),
    "an empty data set": (
        lambda: from_arrays(TensorDataset(T[:0], TY[:0])),
        "data: holds no images, its array has the shape (0,)",
    ),
    "an empty loader": (
        lambda: from_arrays(DataLoader(TensorDataset(T, TY), batch_size=99, drop_last=True)),
        "data: holds no images, its array has the shape (0,)",
    ),
    "gap": (
        lambda: from_arrays((X, Y * 2)),
        "data: has no images of class 1 and 2 more; set num_classes: 7 if there are such classes, else number the "
        "classes from 0",
    ),
    "one-hot and number": (
        lambda: from_arrays((X, np.eye(4)[Y]), num_classes=5),
        "data: has one-hot labels of 4 classes, got num_classes 5",
    ),
    "two means": (
        lambda: from_arrays((X, Y), mean=[0.5, 0.5]),
        "mean expects one number for each of 3 channels, got [0.5, 0.5]",
    ),
    "unknown name": (
        lambda: from_arrays("mnits"),
        "data: 'mnits' is no file, no folder and no data set; did you mean 'mnist'?",
    ),
    "the name that needs a path": (
        lambda: from_arrays("files"),
        "data: 'files' is no file, no folder and no data set; known: cifar10, digits, emnist-digits, fashion-mnist, "
        "kmnist, mnist, qmnist, usps",
    ),
    "statistics of a named data set": (
        lambda: from_arrays("digits", mean=[0.5], num_classes=10),
        "data: the data set has its own num_classes, mean; leave them out",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_each_refusal_has_its_exact_message(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == message


def test_missing_files_are_named(tmp_path: Path) -> None:
    for path in ("images/t.npz", tmp_path / "t.npz", "t.npz"):
        with pytest.raises(ConfigError, match=r"^test: .*t.npz: no such file"):
            from_arrays(path)
