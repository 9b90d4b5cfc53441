"""Data sets from files: what they read, against arrays that the tests know and Pillow's own decoding."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from gtn_bench.config import suite
from gtn_bench.config.errors import ConfigError
from gtn_bench.data import Files
from gtn_bench.data.reading import decoded
from gtn_bench.data.reading.pixels import as_levels
from gtn_bench.execution.teach import TeacherSpec
from gtn_bench.planning import planner
from gtn_bench.store import downloads, intact
from gtn_bench.store.progress import reporting_to

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 3, 6, 5), dtype=np.uint8)  # NCHW, not square
Y = np.arange(12) % 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty cache, and the folder of the test as the working folder."""
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "data"


def npz(name: str = "test.npz", **arrays: Any) -> str:
    np.savez(name, **(arrays or {"images": X, "labels": Y}))
    return name


def tensors(path: str, x: Array, y: Array) -> str:
    save_file({"x": np.ascontiguousarray(x), "y": y}, path)
    return path


def torch_file(path: str, content: Any) -> str:
    torch.save(content, path)
    return path


def pair(x: Array, y: Array) -> dict[str, str]:
    np.save("a.npy", x)
    np.save("b.npy", y)
    return {"images": "a.npy", "labels": "b.npy"}


CONTAINERS: dict[str, Callable[[Array, Array], Any]] = {
    "npz": lambda x, y: npz(images=x, labels=y),
    "compressed npz": lambda x, y: [np.savez_compressed("c.npz", X=x, targets=y), "c.npz"][1],
    "npz of Keras": lambda x, y: npz(x_train=x[::-1], y_train=y, x_test=x, y_test=y),
    "npz of MedMNIST": lambda x, y: npz(train_images=x[::-1], train_labels=y, test_images=x, test_labels=y),
    "pair of npy": pair,
    "pair of npz and pt": lambda x, y: {"images": npz(only=x), "labels": torch_file("y.pt", torch.from_numpy(y))},
    "safetensors": lambda x, y: tensors("t.safetensors", x, y),
    "mapping of tensors": lambda x, y: torch_file(
        "t.pt", {"data": torch.from_numpy(x.copy()), "targets": torch.from_numpy(y), "epoch": 3}
    ),
    "pair of tensors": lambda x, y: torch_file("t.pth", (torch.from_numpy(x.copy()), torch.from_numpy(y))),
    "list of tensors": lambda x, y: torch_file(
        "l.pt", {"images": [torch.from_numpy(image.copy()) for image in x], "labels": y.tolist()}
    ),
}


def test_split(**fields: Any) -> tuple[Array, Array, int]:
    split = Files(**fields)()["test"]
    assert split.labels.dtype == torch.int64
    return split.levels.numpy(), split.labels.numpy(), split.white


test_split.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC", None])
def test_every_container_gives_the_images_and_labels_that_were_saved(container: str, layout: str | None) -> None:
    x = X.transpose(0, 2, 3, 1) if layout == "NHWC" else X
    levels, labels, white = test_split(test=CONTAINERS[container](x, Y), layout=layout)
    assert np.array_equal(levels, X) and np.array_equal(labels, Y) and white == 255 and levels.dtype == np.uint8


PIXELS: dict[str, Array] = {
    "(N, C, H, W)": X,
    "(N, H, W, C)": X.transpose(0, 2, 3, 1),
    "float32": X / np.float32(255),
    "float64": X / 255,
    "float32 of ToTensor": torch.from_numpy(X).float().div(255).numpy(),
    "a view that is not contiguous": np.repeat(X, 2, axis=3)[:, :, :, ::2],
    "big-endian": (X / np.float32(255)).astype(">f4"),
}


@pytest.mark.parametrize("form", PIXELS)
def test_every_form_of_the_same_pixels_is_stored_as_the_same_bytes(form: str) -> None:
    files = Files(test=npz(images=PIXELS[form], labels=Y))
    x, y = files()["test"][:]
    assert np.array_equal(files()["test"].levels.numpy(), X) and np.array_equal(y, Y)
    assert np.array_equal(x.numpy(), X / np.float32(255))  # to the bit
    assert files.content() == Files(test=npz("other.npz")).content()


def test_every_multiple_of_1_over_255_is_stored_as_its_byte_and_its_neighbors_are_not() -> None:
    exact = np.arange(256, dtype=np.float32).reshape(1, 1, 16, 16) / np.float32(255)
    levels, white = as_levels(exact, None, "")
    assert levels.ravel().tolist() == list(range(256)) and white == 255
    for number in (1, 100, 254):
        near = exact.copy().reshape(-1)
        near[number] = np.nextafter(near[number], np.float32(2))
        levels, white = as_levels(near.reshape(exact.shape), None, "")
        assert white == 1 and np.array_equal(levels.ravel(), near)


def test_other_floats_stay_floats() -> None:
    x = RNG.random((12, 3, 6, 5)).astype(np.float32)
    levels, _, white = test_split(test=npz(images=x, labels=Y))
    assert white == 1 and levels.dtype == np.float32 and np.array_equal(levels, x)
    assert Files(test="test.npz").mean == pytest.approx(x.mean((0, 2, 3)), abs=1e-6)
    assert Files(test="test.npz").std == pytest.approx(x.std((0, 2, 3)), abs=1e-6)
    half, _, white = test_split(test=npz("half.npz", images=x.astype(np.float16), labels=Y))
    assert white == 1 and np.array_equal(half, x.astype(np.float16).astype(np.float32))
    over, _, _ = test_split(test=npz("over.npz", images=x * 0 + np.float32(1 + 5e-7) * (x > 0.5), labels=Y))
    assert set(np.unique(over)) == {0, 255}  # rounding


def test_gray_images_have_one_channel() -> None:
    levels, _, _ = test_split(test=npz(images=X[:, 0], labels=Y))
    assert np.array_equal(levels, X[:, :1])
    zeros_and_ones, _, white = test_split(test=npz("bool.npz", images=X[:, 0] > 99, labels=Y))
    assert np.array_equal(zeros_and_ones, 255 * (X[:, :1] > 99)) and white == 255


LABELS: dict[str, Array] = {
    "uint8": Y.astype(np.uint8),
    "column": Y.reshape(-1, 1),
    "floats": Y.astype(np.float32),
    "column of floats": Y.reshape(-1, 1).astype(np.float64),
    "one-hot": np.eye(4, dtype=np.int64)[Y],
    "one-hot floats": np.eye(4, dtype=np.float32)[Y],
    "one-hot bool": np.eye(4, dtype=bool)[Y],
    "big-endian": Y.astype(">i4"),
}


@pytest.mark.parametrize("form", LABELS)
def test_every_form_of_labels_becomes_class_numbers(form: str) -> None:
    files = Files(test=npz(images=X, labels=LABELS[form]))
    assert np.array_equal(files()["test"].labels, Y) and files.num_classes == 4


def test_one_hot_labels_tell_the_number_of_classes_though_the_last_ones_have_no_images() -> None:
    assert Files(test=npz(images=X, labels=np.eye(7)[Y])).num_classes == 7


def test_mean_and_std_are_those_of_the_training_images_unless_they_are_stated() -> None:
    train = npz("train.npz", images=X[:7], labels=Y[:7])
    files = Files(test=npz(), train=train)
    pixels = X[:7] / 255
    assert files.mean == pytest.approx(pixels.mean((0, 2, 3)), abs=1e-6)
    assert files.std == pytest.approx(pixels.std((0, 2, 3)), abs=1e-6)
    assert files.pixel_scale == pytest.approx(pixels.std((0, 2, 3)).mean(), abs=1e-6)
    assert Files(test=npz()).mean == pytest.approx((X / 255).mean((0, 2, 3)), abs=1e-6)
    stated = Files(test=npz(), train=train, mean=[0.5, 0.25, 0], std=(0.1, 0.2, 1))
    assert (stated.mean, stated.std) == ((0.5, 0.25, 0.0), (0.1, 0.2, 1.0))


@pytest.mark.parametrize(("share", "held_out"), [(0.1, 10), (0.0, 0), (0.5, 50), (0.001, 1)])
def test_validation_images_are_held_out_at_random_and_always_alike(share: float, held_out: int) -> None:
    x = np.arange(100, dtype=np.uint8).repeat(90).reshape(100, 3, 6, 5)
    labels = np.arange(100) // 10  # sorted by class
    files = Files(test=npz(), train=npz("train.npz", images=x, labels=labels), validation=share)
    splits = files()
    assert files.sizes == (100 - held_out, held_out, 12) == tuple(map(len, splits.values()))
    both = [splits[name].levels[:, 0, 0, 0].tolist() for name in ("train", "validation")]
    assert sorted(both[0] + both[1]) == list(range(100)) and both[0] != sorted(both[0])
    assert all(int(label) == level // 10 for level, label in zip(both[0], splits["train"].labels, strict=True))
    assert len(set(splits["train"].labels[:20].tolist())) > 5  # the first ones are of many classes
    again = Files(test="test.npz", train="train.npz", validation=share)()
    assert torch.equal(again["train"].levels, splits["train"].levels)


def test_without_training_images_nothing_can_train() -> None:
    files = Files(test=npz())
    assert files.sizes == (0, 0, 12)
    splits = files()
    assert splits["train"].levels.shape == splits["validation"].levels.shape == (0, 3, 6, 5)
    with pytest.raises(ConfigError) as caught:
        planner.plan(suite.parse(SUITE.format(dataset="{name: files, test: test.npz}")))
    message = "needs training images, data set 'files' has none; set 'train'"
    assert str(caught.value) == f"colors: modes[0]: mode 'vanilla' {message}"
    teacher = {"name": "cgtn", "architecture": "linear", "inner_steps": 1, "meta_steps": 1, "batch_size": 4}
    dataset = {"name": "files", "test": npz(images=X[:, 0, :4, :4], labels=Y)}
    with pytest.raises(ValueError, match=f"teacher 'cgtn' {message}"):
        TeacherSpec.model_validate({"name": "t", "dataset": dataset, "teacher": teacher})
    with pytest.raises(ValueError, match="teacher 'cgtn' needs validation images, data set 'files' has none"):
        TeacherSpec.model_validate(
            {"name": "t", "dataset": {**dataset, "train": "test.npz", "validation": 0.0}, "teacher": teacher}
        )


# Image files


def picture(path: str, pixels: Array, mode: str | None = None, **options: Any) -> Image.Image:
    """Save an image, after a conversion to a mode of Pillow."""
    image = Image.fromarray(pixels)
    image = image.convert(mode) if mode else image
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return image


def reference(path: Path | str, mode: str) -> Array:
    """Decode an image as Pillow's documentation does."""
    with Image.open(path) as image:
        return np.array(image.convert(mode))


COLOR = RNG.integers(0, 256, (10, 8, 9, 3), dtype=np.uint8)


def color_folder(root: str, classes: tuple[str, ...] = ("cat", "dog")) -> None:
    for number, pixels in enumerate(COLOR):
        picture(f"{root}/{classes[number % len(classes)]}/{number}.{'png' if number % 3 else 'jpg'}", pixels)


def by_content(levels: Array, labels: Array) -> list[tuple[bytes, int]]:
    return sorted((image.tobytes(), int(label)) for image, label in zip(levels, labels, strict=True))


def test_folders_hold_the_images_that_pillow_decodes_under_the_names_of_their_classes() -> None:
    color_folder("test")
    picture("test/cat/deep/er/x.BMP", COLOR[0][::-1].copy())
    for ignored in ("test/.DS_Store", "test/cat/._0.png", "test/cat/readme.txt", "test/cat/Thumbs.db"):
        Path(ignored).write_text("no image")
    Path("test/__MACOSX/cat").mkdir(parents=True)
    files = Files(test="test")
    levels, labels, white = test_split(test="test")
    paths = [path for path in Path("test").rglob("[!.]*.*") if path.suffix.lower() in (".png", ".jpg", ".bmp")]
    expected = [(reference(path, "RGB").transpose(2, 0, 1), path.parts[1] == "dog") for path in paths]
    assert len(expected) == 11 and white == 255 and files.classes == ("cat", "dog") and files.num_classes == 2
    assert by_content(levels, labels) == sorted((pixels.tobytes(), label) for pixels, label in expected)
    assert labels.tolist() != sorted(labels)  # the first images are of all classes


def test_stated_classes_set_the_order_of_folders() -> None:
    color_folder("train")
    color_folder("test", ("dog",))
    files = Files(test="test", train="train", classes=["dog", "cat"], validation=0.0)
    splits = files()
    assert set(splits["test"].labels.tolist()) == {0} and files.classes == ("dog", "cat")
    default = Files(test="test", train="train", validation=0.0)
    assert set(default()["test"].labels.tolist()) == {1} and default.content() != files.content()
    assert torch.equal(default()["train"].labels, 1 - splits["train"].labels)


MODES: dict[str, tuple[str, dict[str, Any]]] = {
    "gray": ("L", {}),
    "palette": ("P", {}),
    "opaque RGBA": ("RGBA", {}),
    "gray with alpha": ("LA", {}),
    "black and white": ("1", {}),
    "gray palette": ("gray P", {}),
}


@pytest.mark.parametrize("form", MODES)
def test_images_of_other_modes_among_color_images_become_rgb(form: str) -> None:
    color_folder("test")
    mode, options = MODES[form]
    gray = COLOR[0, :, :, 0].copy()
    image = picture("test/cat/other.png", gray, "L").quantize() if mode == "gray P" else Image.fromarray(COLOR[0])
    image = image if mode == "gray P" else image.convert(mode)
    image.save("test/cat/other.png", **options)
    levels, labels, _ = test_split(test="test")
    expected = reference("test/cat/other.png", "RGB").transpose(2, 0, 1)
    assert any(np.array_equal(level, expected) and label == 0 for level, label in zip(levels, labels, strict=True))
    assert levels.shape == (11, 3, 8, 9)


def test_folders_of_gray_images_have_one_channel_however_they_are_saved() -> None:
    for number, pixels in enumerate(COLOR[..., 0]):
        picture(f"test/{number % 2}/{number}.png", pixels.copy(), ("L", "LA", "L")[number % 3])
    picture("test/0/palette.png", COLOR[0, :, :, 0].copy()).quantize().save("test/0/palette.png")
    levels, labels, _ = test_split(test="test")
    expected = [(reference(path, "L"), int(path.parent.name)) for path in Path("test").rglob("*.png")]
    assert levels.shape == (11, 1, 8, 9)
    assert by_content(levels, labels) == sorted((pixels.tobytes(), label) for pixels, label in expected)


def test_the_orientation_that_cameras_write_is_applied() -> None:
    for number in range(4):
        image = Image.fromarray(COLOR[number])
        exif = image.getexif()
        exif[0x0112] = 6  # turn it by 90 degrees clockwise
        Path(f"test/{number % 2}").mkdir(parents=True, exist_ok=True)
        image.save(f"test/{number % 2}/{number}.png", exif=exif)
    levels, labels, _ = test_split(test="test")
    expected = [(np.rot90(COLOR[n], -1).transpose(2, 0, 1).tobytes(), n % 2) for n in range(4)]
    assert levels.shape == (4, 3, 9, 8) and by_content(levels, labels) == sorted(expected)


def test_images_are_resized_as_pillow_does_only_if_the_size_is_stated() -> None:
    color_folder("test")
    picture("test/cat/large.png", RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    levels, labels, _ = test_split(test="test", size=[4, 6])
    expected = []
    for path in Path("test").rglob("*.*"):
        with Image.open(path) as image:
            small = image.convert("RGB").resize((6, 4), Image.Resampling.BILINEAR)
        expected.append((np.array(small).transpose(2, 0, 1).tobytes(), int(path.parent.name == "dog")))
    assert by_content(levels, labels) == sorted(expected)


def test_arrays_are_resized_like_images() -> None:
    levels, _, white = test_split(test=npz(images=X, labels=Y), size=[3, 8])
    for image, level in zip(X, levels, strict=True):
        expected = Image.fromarray(image.transpose(1, 2, 0)).resize((8, 3), Image.Resampling.BILINEAR)
        assert np.array_equal(np.array(expected).transpose(2, 0, 1), level) and white == 255
    floats = RNG.random((12, 3, 6, 5)).astype(np.float32)
    small, _, white = test_split(test=npz("floats.npz", images=floats, labels=Y), size=[3, 5])
    resized = torch.nn.functional.interpolate(torch.from_numpy(floats), (3, 5), mode="bilinear", antialias=True)
    assert white == 1 and np.allclose(small, resized, atol=1e-6)


def encoded(pixels: Array, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def parquet(
    path: str = "test.parquet",
    images: Any = None,
    labels: Any = None,
    names: Any = None,
    columns: tuple[str, str] = ("image", "label"),
) -> str:
    if images is None:
        images = [{"bytes": encoded(pixels), "path": None} for pixels in COLOR]
    table = pa.table(
        {columns[0]: images, columns[1]: [n % 2 for n in range(len(images))] if labels is None else labels}
    )
    if names is not None:
        features = {columns[0]: {"_type": "Image"}, columns[1]: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=4)
    return path


@pytest.mark.parametrize("columns", [("image", "label"), ("img", "label"), ("img", "fine_label"), ("images", "labels")])
@pytest.mark.parametrize("form", ["struct", "binary"])
def test_parquet_files_hold_their_images_in_order(columns: tuple[str, str], form: str) -> None:
    images = [encoded(pixels) for pixels in COLOR]
    structs = [{"bytes": content, "path": "x.png"} for content in images]
    path = parquet(images=structs if form == "struct" else images, names=["a", "b"], columns=columns)
    levels, labels, _ = test_split(test=path)
    assert np.array_equal(levels, COLOR.transpose(0, 3, 1, 2)) and labels.tolist() == [0, 1] * 5
    assert Files(test=path).classes == ("a", "b")


def test_names_of_classes_in_parquet_tell_their_number() -> None:
    assert Files(test=parquet(names=["a", "b", "c"])).num_classes == 3
    by_number = {str(number): chr(97 + number) for number in (1, 0, 10, 2, 3, 4, 5, 6, 7, 8, 9)}
    assert Files(test=parquet(names=by_number)).classes == tuple("abcdefghijk")
    assert Files(test=parquet(), classes=["a", "b", "c"]).classes == ("a", "b", "c")
    assert Files(test=parquet()).classes == () and Files(test=parquet()).num_classes == 2


JPEG = Path(os.environ.get("GTN_BENCH_DATA", "")) / "cifar10-jpeg"
needs_jpeg = pytest.mark.skipif(not (JPEG / "test.parquet").is_file(), reason="cifar10-jpeg is not in GTN_BENCH_DATA")


@needs_jpeg
def test_cifar10_jpeg_has_the_pixels_and_labels_that_pillow_and_pyarrow_read() -> None:
    files = Files(test="cifar10-jpeg/test.parquet")
    rows = pq.read_table(JPEG / "test.parquet").to_pylist()
    expected = np.stack([reference(io.BytesIO(row["image"]["bytes"]), "RGB") for row in rows])  # type: ignore[arg-type]
    split = files()["test"]
    assert files.sizes == (0, 0, 4000) and files.input_shape == (3, 32, 32)
    assert np.array_equal(split.levels.numpy(), expected.transpose(0, 3, 1, 2))
    assert split.labels.tolist() == [row["label"] for row in rows]
    assert files.classes[:4] == ("airplane", "automobile", "bird", "cat") and files.num_classes == 10
    pixels = expected.reshape(-1, 3) / 255
    assert files.mean == pytest.approx(pixels.mean(0), abs=1e-6)
    assert files.std == pytest.approx(pixels.std(0), abs=1e-6)


# The cache


def test_later_constructions_read_only_the_header(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Files(test=npz(), train=npz("train.npz", images=X[:6], labels=Y[:6]))
    assert len(list(cache.glob("*.safetensors"))) == 2

    def fail(*_: Any) -> Any:
        raise AssertionError("images are read")

    with monkeypatch.context() as patched:
        for name in ("_read", "read_tensors"):
            patched.setattr(decoded, name, fail)
        again = Files(test="test.npz", train="train.npz")
    assert again == first and hash(again) == hash(first) and again.content() == first.content()
    assert (again.sizes, again.input_shape, again.mean) == (first.sizes, first.input_shape, first.mean)


def test_construction_does_not_import_torch() -> None:
    color_folder("test")
    code = "import sys; from gtn_bench.data import Files; Files(test={!r}); sys.exit('torch' in sys.modules)"
    for source in ("test", npz(), parquet(), tensors("x.safetensors", X, Y)):
        assert subprocess.run([sys.executable, "-c", code.format(source)]).returncode == 0, source


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "missing", "other"])
def test_damaged_files_of_the_cache_are_decoded_again(
    damage: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(test=npz())
    (path,) = cache.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[:-10])
    elif damage == "flipped":
        content[-100] ^= 1
        path.write_bytes(content)
    elif damage == "other":
        save_file({"levels": X[:1]}, str(path))
    else:
        path.write_bytes(b"") if damage == "empty" else path.unlink()
    monkeypatch.setattr(intact, "_older", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert np.array_equal(files()["test"].levels.numpy(), X)
    assert [str(each.message).rpartition(" ")[2] for each in caught] == ["recomputed"] * (damage != "missing")
    assert path.with_name(f"{path.name}.corrupt").exists() == (damage in ("truncated", "flipped", "empty", "other"))
    assert np.array_equal(test_split(test="test.npz")[0], X)
    assert np.array_equal(decoded.read_tensors(path)[0]["levels"], X)


def test_a_source_that_changes_after_the_check_is_refused(cache: Path) -> None:
    files = Files(test=npz())
    path = npz(images=X[::-1], labels=Y)
    next(cache.glob("*.safetensors")).unlink()
    with pytest.raises(
        ConfigError, match=r"test.npz: the file has changed since it was checked; run the command again$"
    ):
        files()
    assert np.array_equal(test_split(test=path)[0], X[::-1])  # a new construction reads the new content


def test_processes_can_decode_at_the_same_time(cache: Path) -> None:
    color_folder("test")
    code = "import json; from gtn_bench.data import Files; print(json.dumps(Files(test='test').content()))"
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = [json.loads(process.communicate()[0]) for process in processes]
    assert len(list(cache.iterdir())) == 1  # no temporary file is left
    assert found == [Files(test="test").content()] * 3


def test_descriptions_survive_pickling_and_keep_their_hash() -> None:
    files = Files(test=pair(X, Y), classes=["a", "b", "c", "d"])
    copy = pickle.loads(pickle.dumps(files))
    assert copy == files and hash(copy) == hash(files) and copy.sizes == files.sizes
    assert torch.equal(copy()["test"].levels, files()["test"].levels)


def test_content_follows_pixels_labels_and_statistics_not_files(tmp_path: Path) -> None:
    base = Files(test=npz()).content()
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert Files(test=pair(X.transpose(0, 2, 3, 1), Y)).content() == base
    assert Files(test="test.npz", classes=["a", "b", "c", "d"]).content() == base
    assert Files(test="test.npz", num_classes=4, mean=Files(test="test.npz").mean).content() == base
    different = [
        Files(test=npz("0.npz", images=X[::-1], labels=Y)),
        Files(test=npz("1.npz", images=X, labels=Y[::-1])),
        Files(test="test.npz", num_classes=5),
        Files(test="test.npz", mean=[0.5, 0.5, 0.5]),
        Files(test="test.npz", std=[0.5, 0.5, 0.5]),
        Files(test="test.npz", size=[6, 6]),
        Files(test="test.npz", train="test.npz"),
        Files(test="test.npz", train="test.npz", validation=0.2),
    ]
    contents = [json.dumps(files.content()) for files in different] + [json.dumps(base)]
    assert len(set(contents)) == len(contents)


def test_renaming_a_class_or_adding_an_image_changes_the_checksum_of_a_folder() -> None:
    color_folder("test")
    sums = {Files(test="test").test.sha256}
    Path("test/dog").rename("test/wolf")
    sums.add(Files(test="test").test.sha256)
    picture("test/wolf/more.png", COLOR[0])
    sums.add(Files(test="test").test.sha256)
    Path("test/notes.txt").write_text("no image")
    assert len(sums) == 3 and Files(test="test").test.sha256 in sums
    with pytest.raises(ConfigError, match=f"expects the sha256 {'0' * 64} of test, got "):
        planner.plan(suite.parse(SUITE.format(dataset=f"{{name: files, test: 'test#sha256={'0' * 64}'}}")))


def test_progress_is_reported_to_whoever_asks() -> None:
    parquet(images=[{"bytes": encoded(COLOR[n % 10]), "path": None} for n in range(120)])
    calls: list[tuple[str, int, int]] = []
    with reporting_to(lambda *call: calls.append(call)):
        Files(test="test.parquet")
        assert calls[0] == ("decoding", 1, 120) and calls[-1] == ("decoding", 120, 120)
        seen = len(calls)
        Files(test="test.parquet")
    assert len(calls) == seen  # it is in the cache


def test_files_are_downloaded_from_urls_with_a_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    npz()
    sha256 = Files(test="test.npz").test.sha256
    content = Path("test.npz").read_bytes()
    asked = []

    def urlopen(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(content)

    monkeypatch.setattr(downloads.urllib.request, "urlopen", urlopen)
    url = "https://example.org/test.npz?download=1"
    files = Files(test=f"{url}#sha256={sha256}")
    assert np.array_equal(files()["test"].levels.numpy(), X) and set(asked) <= {url}
    with pytest.raises(ValueError, match="needs the checksum of https://example"):
        Files(test="https://example.org/test.npz")


# Suites

SUITE = """
name: colors
dataset: {dataset}
architectures: [linear]
modes: [{{name: vanilla, steps: 2}}]
seeds: [0]
units: normalized
perturbations: [{{name: noise, beta: [0, 0.5]}}]
"""


def test_a_suite_with_files_plans_alike_after_it_is_written_out(tmp_path: Path) -> None:
    color_folder("train")
    color_folder("test")
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE.format(dataset="{name: files, train: train, test: test}"))
    plan = planner.plan(planner.load(path))
    again = planner.plan(suite.parse(plan.suite.to_yaml()))
    assert again.suite.to_yaml() == plan.suite.to_yaml()
    keys = [[cell.key("cpu", cell.learner.key("cpu")) for cell in each.cells] for each in (plan, again)]
    assert keys[0] == keys[1] and len(set(keys[0])) == 2
    strength = plan.cells[1].perturbation.beta
    assert strength == pytest.approx(0.5 * np.mean(plan.cells[0].learner.dataset.std)) and strength != 0.5
    picture("train/cat/more.png", COLOR[1])
    changed = planner.plan(planner.load(path))
    assert changed.cells[0].learner.key("cpu") != plan.cells[0].learner.key("cpu")


@pytest.mark.parametrize(
    ("labels", "covering"), [([0, 0, 1, 1, 2, 2], 5), ([2, 2, 1, 1, 0, 0], 5), ([0, 1, 0, 1, 2, 2], 0)]
)
def test_few_images_of_a_sorted_data_set_are_refused(labels: list[int], covering: int) -> None:
    dataset = f"{{name: files, train: test.npz, test: {npz(images=X[:6], labels=labels)}}}"
    for samples in range(1, 7):
        text = SUITE.format(dataset=dataset).replace("beta: [0, 0.5]", f"beta: [0.5], samples: {samples}")
        if samples >= covering:
            assert planner.plan(suite.parse(text)).cells[0].samples == samples
            continue
        with pytest.raises(ConfigError) as caught:
            planner.plan(suite.parse(text))
        assert str(caught.value) == (
            f"colors: perturbations[0].samples: the test images are sorted by class, and the first {samples} are not "
            "of all classes; shuffle images and labels alike, or evaluate all 6 images"
        )


def test_paths_start_at_the_suite_then_at_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, data = tmp_path / "home", tmp_path / "data"
    for folder in (home, data):
        folder.mkdir()
    npz(str(data / "train.npz"))
    npz(str(home / "test.npz"), images=X[:8], labels=Y[:8])
    (home / "mine.yaml").write_text(SUITE.format(dataset="{name: files, train: train.npz, test: test.npz}"))
    monkeypatch.setenv("GTN_BENCH_DATA", str(data))
    dataset = planner.plan(planner.load(home / "mine.yaml")).cells[0].learner.dataset
    assert dataset.sizes == (10, 2, 8)
