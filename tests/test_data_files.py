"""Damaged, misplaced and missing files of data sets, told apart without a network."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torchvision

from gtn_bench.config.errors import ConfigError
from gtn_bench.data import DATASETS
from gtn_bench.data.stored_files import archive_check
from gtn_bench.data.torchvision import CIFAR10, USPS, IDXDataset, TorchvisionDataset

SIZES = (12, 3, 5)  # of the replicas
IDX = {name: cls for name, cls in DATASETS.items() if issubclass(cls, IDXDataset)}
TORCHVISION = {name: cls for name, cls in DATASETS.items() if issubclass(cls, TorchvisionDataset)}
HTML = b"<!DOCTYPE html>\n<html><body>Accept the terms of this network</body></html>"


def idx(array: np.ndarray[Any, Any]) -> bytes:
    """Return an array of bytes or of integers as an IDX file."""
    code = {1: 0x08, 4: 0x0C}[array.itemsize]
    return bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def write_replica(dataset: type[IDXDataset], folder: Path) -> list[Path]:
    """Write all files of a data set of images in the unit square, in the layout of torchvision."""
    rng = np.random.default_rng(0)
    paths = []
    for place in dataset.files():
        count = SIZES[2] if "test" in place or "t10k" in place else SIZES[0] + SIZES[1]
        if "images" in place:
            content = idx(rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        elif dataset.label_columns:
            content = idx(np.tile(np.arange(count).reshape(-1, 1) % 10, (1, 8)).astype(">i4"))
        else:
            content = idx((np.arange(count) % 10).astype(np.uint8))
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(content)
        paths.append(folder / place)
    return paths


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the downloads that torchvision tries, and let them fail after they have created their folder."""
    tried: list[str] = []

    def fail(url: str, download_root: str | Path, *_: Any, **__: Any) -> None:
        tried.append(url)
        Path(download_root).mkdir(parents=True, exist_ok=True)
        raise URLError("no network")

    for module in (torchvision.datasets.mnist, torchvision.datasets.cifar):
        monkeypatch.setattr(module, "download_and_extract_archive", fail)
    monkeypatch.setattr(torchvision.datasets.usps, "download_url", fail)
    for cls in TORCHVISION.values():
        monkeypatch.setattr(cls, "sizes", SIZES)
    return tried


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("GTN_BENCH_DATA", str(folder))
    return folder


def message(dataset: type[TorchvisionDataset]) -> str:
    with pytest.raises(ConfigError) as caught:
        dataset()()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("name", IDX)
def test_undamaged_files_are_read(name: str, data: Path, downloads: list[str]) -> None:
    write_replica(IDX[name], data)
    splits = IDX[name]()()
    assert tuple(len(split) for split in splits.values()) == SIZES and not downloads
    assert splits["train"][:][1].tolist() == [*range(10), 0, 1]


# What is in the place of a file, and how the message goes on after its path.
DAMAGE = {
    "an HTML page": (lambda content: HTML, "is an HTML page, expected data; "),
    "an empty file": (lambda content: b"", "is empty; "),
    "random bytes": (lambda content: b"\x93random" * 50, "is no IDX file of "),
    "a Git LFS pointer": (
        lambda content: b"version https://git-lfs.github.com/spec/v1\n",
        "is a Git LFS pointer, expected ",
    ),
    "its gzip archive": (gzip.compress, "is a gzip archive, expected its content; "),
    "a truncated file": (lambda content: content[: len(content) // 2], "has "),
    "a truncated header": (lambda content: content[:6], "has 6 bytes, expected "),
    "additional bytes": (lambda content: content + b"\0", "has "),
}


@pytest.mark.parametrize("content, expected", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["mnist", "emnist-digits", "qmnist"])
def test_each_damaged_file_is_named_with_its_damage(
    name: str, content: Any, expected: str, data: Path, downloads: list[str]
) -> None:
    for path in write_replica(IDX[name], data):
        whole = path.read_bytes()
        path.write_bytes(content(whole))
        line = message(IDX[name])
        assert line.startswith(f"data set '{name}' is damaged: {path} {expected}")
        assert line.endswith("replace the file, or delete it so that it is downloaded again")
        assert "is not in" not in line
        path.write_bytes(whole)
    assert not downloads


def test_a_file_with_another_number_of_images_is_damaged(data: Path, downloads: list[str]) -> None:
    images, *_ = write_replica(IDX["mnist"], data)
    images.write_bytes(idx(np.zeros((7, 28, 28), np.uint8)))
    expected = f"{images} holds an array of shape (7, 28, 28), expected (15, 28, 28); "
    assert expected in message(IDX["mnist"]) and not downloads


def test_labels_beyond_the_classes_are_damage(data: Path, downloads: list[str]) -> None:
    labels = write_replica(IDX["mnist"], data)[1]
    labels.write_bytes(idx(np.full(15, 77, np.uint8)))
    assert message(IDX["mnist"]) == (f"data set 'mnist' in {data} is damaged: expects labels from 0 to 9, got 77 to 77")


def test_a_folder_or_a_broken_link_in_the_place_of_a_file_cannot_be_read(data: Path, downloads: list[str]) -> None:
    images, labels, *_ = write_replica(IDX["mnist"], data)
    images.unlink()
    images.mkdir()
    assert f"data set 'mnist': {images} cannot be read (Is a directory); " in message(IDX["mnist"])
    images.rmdir()
    images.symlink_to(data / "nowhere")
    assert f"data set 'mnist': {images} cannot be read (No such file or directory); " in message(IDX["mnist"])
    assert not downloads and labels.is_file()


def test_a_file_without_permission_cannot_be_read(
    data: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, *_ = write_replica(IDX["mnist"], data)
    images.chmod(0)
    if os.access(images, os.R_OK):  # as root
        real = Path.open

        def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
            if path == images:
                raise PermissionError(13, "Permission denied")
            return real(path, *arguments, **options)

        images.write_bytes(b"")
        monkeypatch.setattr(Path, "open", refuse)
    line = message(IDX["mnist"])
    assert line == f"data set 'mnist': {images} cannot be read (Permission denied); make it a readable file"
    assert not downloads


@pytest.mark.parametrize("content", [HTML, b"", b"BZh91AY&SY damaged"])
def test_damaged_files_of_usps_are_named(content: bytes, data: Path, downloads: list[str]) -> None:
    (data / "usps.bz2").write_bytes(content)
    line = message(USPS)
    assert line.startswith(f"data set 'usps' is damaged: {data / 'usps.bz2'} ") and not downloads


@pytest.mark.parametrize("content", [HTML, b"", b"\x80\x02damaged pickle"])
@pytest.mark.parametrize("file", ["data_batch_1", "test_batch", "batches.meta"])
def test_damaged_files_of_cifar10_are_named(file: str, content: bytes, data: Path, downloads: list[str]) -> None:
    path = data / "cifar-10-batches-py" / file
    path.parent.mkdir()
    path.write_bytes(content)
    assert message(CIFAR10).startswith(f"data set 'cifar10' is damaged: {path} ") and not downloads
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", [name for name, cls in TORCHVISION.items() if cls.archives])
def test_a_damaged_archive_is_not_replaced_silently(name: str, data: Path, downloads: list[str]) -> None:
    for archive in TORCHVISION[name].archives:
        path = data / archive
        path.parent.mkdir(parents=True, exist_ok=True)
        for content in (HTML, gzip.compress(bytes(1000))[:20], b""):
            path.write_bytes(content)
            problem = "is incomplete or no archive" if content else "is empty"
            expected = f"data set '{name}' is damaged: {path} {problem}; replace the file, or delete it"
            assert message(TORCHVISION[name]).startswith(expected)
        path.unlink()
    assert not downloads


def test_complete_archives_have_no_problem(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"content"))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("file", "content")
    assert archive_check(tmp_path / "a.gz") is None and archive_check(tmp_path / "b.zip") is None


@pytest.mark.parametrize("inner", ["", "raw"])
@pytest.mark.parametrize("name", IDX)
def test_a_data_folder_that_is_too_deep_is_reported_with_the_right_one(
    name: str, inner: str, data: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_replica(IDX[name], data)
    home = IDX[name].loader
    before = tree(data)
    monkeypatch.setenv("GTN_BENCH_DATA", str(data / home / inner))
    assert message(IDX[name]) == (
        f"data set '{name}': GTN_BENCH_DATA expects the folder that holds {home}/raw, which is {data}; "
        f"got {data / home / inner}"
    )
    assert tree(data) == before and not downloads


def test_a_data_folder_that_is_too_high_is_reported_with_the_right_one(
    data: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_replica(IDX["mnist"], data)
    monkeypatch.setenv("GTN_BENCH_DATA", str(data.parent))
    expected = f"GTN_BENCH_DATA expects the folder that holds MNIST/raw, which is {data}; got {data.parent}"
    assert message(IDX["mnist"]) == f"data set 'mnist': {expected}"
    assert tree(data.parent)[0] == "data" and not downloads


def test_a_data_folder_that_is_too_deep_is_reported_with_the_right_one_through_a_link(
    data: Path, tmp_path: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_replica(IDX["mnist"], data)
    (tmp_path / "link").symlink_to(data / "MNIST")
    monkeypatch.setenv("GTN_BENCH_DATA", str(tmp_path / "link"))
    assert f"which is {data}; got {tmp_path / 'link'}" in message(IDX["mnist"]) and not downloads


def test_a_file_as_data_folder_is_refused(data: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "file").touch()
    monkeypatch.setenv("GTN_BENCH_DATA", str(data / "file"))
    assert message(IDX["mnist"]) == f"GTN_BENCH_DATA expects a folder, got {data / 'file'}" and not downloads


@pytest.mark.parametrize("name", TORCHVISION)
def test_missing_files_are_downloaded_and_a_failure_leaves_nothing(
    name: str, data: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GTN_BENCH_DATA", str(data / "new" / "folder"))
    line = message(TORCHVISION[name])
    assert line.startswith(f"data set '{name}' is not in {data / 'new' / 'folder'} and could not be downloaded (")
    assert next(iter(TORCHVISION[name].files())) in line and "set GTN_BENCH_DATA" in line
    assert downloads and tree(data) == []


def test_a_single_missing_file_is_named(data: Path, downloads: list[str]) -> None:
    *others, labels = write_replica(IDX["mnist"], data)
    labels.unlink()
    place = "MNIST/raw/t10k-labels-idx1-ubyte"
    assert message(IDX["mnist"]).startswith(
        f"data set 'mnist' has no {place} in {data}, which could not be downloaded ("
    )
    assert downloads and all(path.is_file() for path in others)


def test_an_interrupted_download_leaves_no_damaged_file(
    data: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_replica(IDX["mnist"], data)[-1].unlink()

    def interrupted(url: str, download_root: str, filename: str, md5: str) -> None:
        Path(download_root, filename).write_bytes(HTML)
        raise KeyboardInterrupt

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", interrupted)
    before = tree(data)
    with pytest.raises(KeyboardInterrupt):
        IDX["mnist"]()()
    assert tree(data) == before


def test_unknown_failures_of_complete_files_are_reported(
    data: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_replica(IDX["mnist"], data)

    def fail(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(torchvision.datasets.MNIST, "_load_data", fail)
    assert message(IDX["mnist"]) == f"data set 'mnist' in {data} cannot be read (AssertionError:)" and not downloads


def test_a_home_folder_is_expanded(data: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write_replica(IDX["mnist"], data)
    monkeypatch.setenv("HOME", str(data.parent))
    monkeypatch.setenv("GTN_BENCH_DATA", "~/data")
    assert len(IDX["mnist"]()()["test"]) == SIZES[2]
    monkeypatch.setenv("GTN_BENCH_DATA", "~nobody-here/data")
    assert message(IDX["mnist"]).startswith("~nobody-here/data: there is no user 'nobody-here'")
