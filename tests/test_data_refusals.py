"""Files that are no data set: each is refused by one line that says what to do."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from gtn_bench.config.description import build
from gtn_bench.config.errors import ConfigError
from gtn_bench.data import Files

Fields = dict[str, Any]
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (8, 3, 6, 5), dtype=np.uint8)
Y = np.arange(8) % 4
HTML = b"<!DOCTYPE html>\n<html><body>Log in</body></html>"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use an empty cache, and the folder of the test as the working folder."""
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GTN_BENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def npz(images: Any = X, labels: Any = Y, name: str = "a.npz", **more: Any) -> Fields:
    np.savez(name, images=images, labels=labels)
    return {"test": name, **more}


def arrays(**named: Any) -> Fields:
    np.savez("a.npz", **named)
    return {"test": "a.npz"}


def written(name: str, content: bytes) -> Fields:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content)
    return {"test": name}


def saved(content: Any, name: str = "a.pt") -> Fields:
    torch.save(content, name)
    return {"test": name}


def cut(fields: Fields, keep: float) -> Fields:
    path = Path(fields["test"])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return fields


def png(name: str, shape: tuple[int, ...] = (4, 4), image: Image.Image | None = None, **options: Any) -> Fields:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    (image or Image.fromarray(np.arange(np.prod(shape), dtype=np.uint8).reshape(shape))).save(name, **options)
    return {"test": "d"}


def folder(*names: str, extra: Callable[[], Any] = lambda: None, **more: Any) -> Fields:
    for name in names or ("a/1.png", "a/2.png", "b/1.png"):
        png(f"d/{name}")
    extra()
    return {"test": "d", **more}


def encoded(size: int = 4) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((size, size), 99, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def parquet(name: str = "a.parquet", names: list[str] | None = None, **columns: Any) -> Fields:
    whole = {"image": [{"bytes": encoded(), "path": ""}] * 4, "label": [0, 1, 0, 1]} | columns
    table = pa.table({name: values for name, values in whole.items() if values is not None})
    if names:
        info = {"info": {"features": {"label": {"names": names}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, name)
    return {"test": name}


def transparent() -> Image.Image:
    pixels = np.full((4, 4, 4), 255, np.uint8)
    pixels[0, 0, 3] = 0
    return Image.fromarray(pixels, "RGBA")


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.full((4, 4), 4000, np.uint16))


def animation() -> None:
    frames = [Image.fromarray(np.full((4, 4), level, np.uint8)) for level in (1, 200)]
    frames[0].save("d/a/z.gif", save_all=True, append_images=frames[1:])


class Code:
    """Something that torch.load would have to execute."""


FORMATS = (
    "a file that ends in .npz, .safetensors, .pt, .pth or .parquet, or a folder with one folder of images per class"
)
SAVE = "save tensors alone: torch.save({'images': x, 'labels': y}, FILE)"
SHAPES = "expects images of shape (N, C, H, W), (N, H, W, C) or (N, H, W)"
DIVIDE = "divide them by 255, or save them as uint8"

# What is in the files, and the message; "@" stands for the folder of the test.
REFUSED: dict[str, tuple[Callable[[], Fields], str]] = {
    # pixels
    "16 bits": (
        lambda: npz(X.astype(np.uint16) * 257),
        "@/a.npz: holds uint16 pixels from 0 to 65535; divide them by the level of white, such as 65535, and save them "
        "as float32",
    ),
    "int64 bytes": (
        lambda: npz(X.astype(np.int64)),
        "@/a.npz: holds int64 pixels from 0 to 255; save them as uint8: images.astype('uint8')",
    ),
    **{
        f"zeros and ones, {kind}": (
            lambda kind=kind: npz((X % 2).astype(kind)),  # type: ignore[misc]
            f"@/a.npz: holds {kind} pixels from 0 to 1; if 1 is white, save them as float32: images.astype('float32')",
        )
        for kind in ("int64", "int32", "uint16")
    },
    "few levels": (
        lambda: npz((X % 17).astype(np.int64)),
        "@/a.npz: holds int64 pixels from 0 to 16; save them as uint8 if 255 is white, else divide them by the level "
        "of white and save them as float32",
    ),
    "int8": (
        lambda: npz(X.astype(np.int8)),
        "@/a.npz: holds int8 pixels from -128 to 127; save them as uint8, or as float32 from 0 to 1",
    ),
    "bytes in float": (
        lambda: npz(X.astype(np.float32)),
        f"@/a.npz: holds pixels from 0 to 255, expects 0 to 1; {DIVIDE}",
    ),
    "16 levels": (
        lambda: npz(X / np.float32(16)),
        "@/a.npz: holds pixels from 0 to 15.9375, expects 0 to 1; divide them by the level of white",
    ),
    "normalized": (
        lambda: npz((X / 255 - 0.5) / 0.25),
        "@/a.npz: holds pixels from -2 to 2, expects 0 to 1; undo their normalization: images * std + mean",
    ),
    "divided twice": (
        lambda: npz(X / 255 / 255),
        "@/a.npz: holds pixels of at most 0.00392157, expects 0 to 1; they were divided by 255 twice",
    ),
    "zeros and ones in uint8": (
        lambda: npz(X // 200),
        "@/a.npz: holds uint8 pixels of at most 1, expects 0 to 255; save zeros and ones as float32",
    ),
    "NaN": (
        lambda: npz(np.where(X == 0, np.nan, X / 255)),
        f"@/a.npz: holds {(X == 0).sum()} pixels that are NaN or infinite",
    ),
    "infinite": (
        lambda: npz(np.where(X == 0, np.inf, 0)),
        f"@/a.npz: holds {(X == 0).sum()} pixels that are NaN or infinite",
    ),
    "complex": (
        lambda: npz(X * 1j),
        "@/a.npz: holds images of type complex128; save one array of uint8 or float32",
    ),
    "objects": (
        lambda: npz(np.array([None, {}])),
        "@/a.npz: holds Python objects; save one array of uint8 or float32",
    ),
    "bfloat16": (
        lambda: [
            save_file({"images": torch.rand(8, 1, 4, 4).bfloat16(), "labels": torch.arange(8)}, "a.safetensors"),
            {"test": "a.safetensors"},
        ][1],
        "@/a.safetensors: holds 'images' of type BF16; save it as uint8 or float32",
    ),
    "constant channel": (
        lambda: npz(np.full((8, 4, 4), 7, np.uint8)),
        "std expects numbers above 0, got [0.0]; all pixels of a channel are equal; set std",
    ),
    # shapes
    "no images": (lambda: npz(X[:0], Y[:0]), "@/a.npz: holds no images, its array has the shape (0, 3, 6, 5)"),
    "flat": (
        lambda: npz(X[:, 0, :5, :5].reshape(8, 25)),
        f"@/a.npz: {SHAPES}, got (8, 25); if they are square and gray: images.reshape(-1, 5, 5)",
    ),
    "five axes": (lambda: npz(X[None]), f"@/a.npz: {SHAPES}, got (1, 8, 3, 6, 5)"),
    "a number": (lambda: npz(np.uint8(7)), f"@/a.npz: {SHAPES}, got ()"),
    "ambiguous": (
        lambda: npz(X[..., :3]),
        "@/a.npz: images of shape (8, 3, 6, 3) can be NCHW or NHWC; set layout to what they are",
    ),
    "neither": (
        lambda: npz(np.repeat(X, 3, 1)),
        "@/a.npz: images of shape (8, 9, 6, 5) can be NCHW or NHWC; set layout to what they are",
    ),
    "NHWC as NCHW": (
        lambda: npz(X.transpose(0, 2, 3, 1), layout="NCHW", mean=[0.5] * 3, std=[0.2] * 3),
        "@/a.npz: images of shape (8, 6, 5, 3) have 6 channels in the layout NCHW; did you mean layout NHWC, with 3?",
    ),
    "NCHW as NHWC": (
        lambda: npz(X, layout="NHWC", mean=[0.5] * 3, std=[0.2] * 3),
        "@/a.npz: images of shape (8, 3, 6, 5) have 5 channels in the layout NHWC; did you mean layout NCHW, with 3?",
    ),
    "a wrong layout that can be right": (
        lambda: npz(X[:, :, :, :4].transpose(0, 3, 2, 1), layout="NCHW", std=[0.2] * 3),
        "std expects one number for each of 4 channels, got [0.2, 0.2, 0.2]; images of 4 x 6 x 3 may have another "
        "layout than the one that is set",
    ),
    "two shapes": (
        lambda: {**npz(), "train": npz(X[:, :, 1:], name="b.npz")["test"]},
        "expects images of one shape, got train images (3, 5, 5) and test images (3, 6, 5) as (C, H, W); set size, or "
        "convert them",
    ),
    # labels
    "fewer labels": (lambda: npz(X, Y[:5]), "@/a.npz: expects one label for each of its 8 images, got 5 labels"),
    "one label": (
        lambda: npz(X, np.int64(5)),
        "@/a.npz: expects one label for each of its 8 images, got a single number",
    ),
    "soft labels": (
        lambda: npz(X, np.full((8, 4), 0.25)),
        "@/a.npz: expects one class number per image, got labels of shape (8, 4); take the most probable class: "
        "labels.argmax(1)",
    ),
    "two numbers": (
        lambda: npz(X, np.full((8, 2), 3)),
        "@/a.npz: expects one class number per image, got labels of shape (8, 2)",
    ),
    "fractions": (lambda: npz(X, Y + 0.5), "@/a.npz: expects class numbers as labels, got 0.5"),
    "NaN label": (lambda: npz(X, np.where(Y == 1, np.nan, Y)), "@/a.npz: expects class numbers as labels, got nan"),
    "texts": (
        lambda: npz(X, np.array(["cat"] * 8)),
        "@/a.npz: expects class numbers as labels, got texts; number the classes from 0",
    ),
    "unlabeled": (
        lambda: npz(X, Y - 1),
        "@/a.npz: expects class numbers from 0, got -1 (-1 often marks images without a label; leave them out)",
    ),
    "negative": (lambda: npz(X, Y - 5), "@/a.npz: expects class numbers from 0, got -5"),
    "huge": (lambda: npz(X, Y + 2.0**40), "@/a.npz: expects class numbers, got 1.09951e+12"),
    "from 1": (
        lambda: npz(X, Y + 1),
        "@/a.npz: has class numbers from 1 to 4, expects 0 to 3; subtract 1 from the labels, or set num_classes: 5 if "
        "class 0 has no images",
    ),
    "from 1 with num_classes": (
        lambda: npz(X, Y + 1, num_classes=4),
        "@/a.npz: has class numbers from 1 to 4, expects 0 to 3; subtract 1 from the labels",
    ),
    "gap": (
        lambda: npz(X, Y * 2),
        "@/a.npz: has no images of class 1 and 2 more; set num_classes: 7 if there are such classes, else number the "
        "classes from 0",
    ),
    "one class": (
        lambda: npz(X, Y * 0),
        "@/a.npz: expects at least two classes, got one; set num_classes if there are more",
    ),
    "too large": (
        lambda: npz(X, Y, num_classes=3),
        "@/a.npz: has class numbers from 0 to 3, expects 0 to 2; increase num_classes to at least 4",
    ),
    "too few names": (
        lambda: npz(X, Y, classes=["a", "b"]),
        "@/a.npz: has class numbers from 0 to 3, expects 0 to 1; name the other classes",
    ),
    "names and number": (
        lambda: npz(X, Y, classes=["a", "b", "c", "d"], num_classes=5),
        "num_classes expects one class per name, which are 4, got 5",
    ),
    "same names": (
        lambda: npz(X, Y, classes=["a", "b", "a", "c"]),
        "classes expects different names, got 'a' again",
    ),
    "one-hot and number": (
        lambda: npz(X, np.eye(4)[Y], num_classes=6),
        "@/a.npz: has one-hot labels of 4 classes, expects 6",
    ),
    # fields
    "two means": (lambda: npz(mean=[0.5, 0.5]), "mean expects one number for each of 3 channels, got [0.5, 0.5]"),
    "zero std": (
        lambda: npz(std=[0.5, 0.5, 0]),
        "std expects numbers above 0, got [0.5, 0.5, 0.0]; set std to numbers above 0",
    ),
    "mean in bytes": (
        lambda: npz(mean=[125.3, 0.5, 0.5]),
        "mean[0]: 'files' expects a number at most 1, got 125.3",
    ),
    "one size": (lambda: npz(size=32), "size: expects [height, width], got 32"),
    "three sizes": (lambda: npz(size=[3, 32, 32]), "size: expects [height, width], got [3, 32, 32]"),
    "validation of nothing": (
        lambda: npz(validation=0.2),
        "'files' does not use 'validation': there are no training images; leave it out",
    ),
    "all for validation": (
        lambda: {**npz(), "train": npz(name="b.npz")["test"], "validation": 0.99},
        "validation 0.99 leaves no training images of 8",
    ),
    "layout of pictures": (
        lambda: folder(layout="NHWC"),
        "'files' does not use 'layout': image files have no such choice; leave it out",
    ),
    "unknown layout": (
        lambda: npz(layout="HWC"),
        "layout: 'files' expects one of NCHW, NHWC, got 'HWC'; did you mean 'NHWC'?",
    ),
    # files of arrays
    "missing file": (lambda: {"test": "b.npz"}, "test: b.npz: no such file in @"),
    "no test": (lambda: {"train": npz()["test"]}, "test: 'files' needs this key"),
    "a number as path": (lambda: {"test": 3}, "test: expects the path of a file, got 3"),
    "csv": (lambda: written("a.csv", b"1,2"), f"test: @/a.csv: expects {FORMATS}"),
    "archive": (lambda: written("a.tar.gz", b"1"), f"test: @/a.tar.gz: expects {FORMATS}; unpack the archive"),
    "an image": (
        lambda: {"test": str(Path(png("d/1.png")["test"]) / "1.png")},
        f"test: @/d/1.png: expects {FORMATS}; name the folder of the image, not the image",
    ),
    "one npy": (
        lambda: [np.save("a.npy", X), {"test": "a.npy"}][1],
        "test: @/a.npy: holds one array; write {images: IMAGES.npy, labels: LABELS.npy}",
    ),
    "half a pair": (
        lambda: {"test": {"images": "a.npy"}},
        "test: expects the files {images: ..., labels: ...}, got no labels",
    ),
    "misspelt pair": (
        lambda: {"test": {"images": "a.npy", "label": "b.npy"}},
        "test: does not know the key 'label'; did you mean 'labels'?",
    ),
    "pair of csv": (
        lambda: {"test": {"images": written("a.csv", b"1")["test"], "labels": "a.csv"}},
        "test: @/a.csv: expects a file of one array that ends in .npy, .npz, .safetensors, .pt, .pth",
    ),
    "only images": (lambda: arrays(images=X), "@/a.npz: expects 'labels', got 'images'; rename what holds them"),
    "other names": (
        lambda: arrays(arr_0=X, arr_1=Y),
        "@/a.npz: expects 'images', got 'arr_0', 'arr_1'; rename what holds them",
    ),
    "nothing": (lambda: arrays(), "@/a.npz: expects 'images', got nothing; rename what holds them"),
    "two of a kind": (lambda: arrays(x=X, data=X, y=Y), "@/a.npz: holds x and data; keep one of them"),
    "html": (
        lambda: written("a.npz", HTML),
        "@/a.npz: is an HTML page, expected data; copy or download it again",
    ),
    "empty": (lambda: written("a.pt", b""), "@/a.pt: is empty; copy or download it again"),
    "pointer": (
        lambda: written("a.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        "@/a.safetensors: is a Git LFS pointer, expected its content; copy or download it again",
    ),
    "cut npz": (lambda: cut(npz(), 0.5), "@/a.npz: is damaged or no npz file; copy or download it again"),
    "cut pt": (
        lambda: cut(saved({"x": torch.from_numpy(X), "y": torch.from_numpy(Y)}), 0.5),
        "@/a.pt: is damaged or no pt file; copy or download it again",
    ),
    "cut safetensors": (
        lambda: [
            save_file({"x": torch.from_numpy(X), "y": torch.from_numpy(Y)}, "a.safetensors"),
            cut({"test": "a.safetensors"}, 0.9),
        ][1],
        "@/a.safetensors: is damaged or no safetensors file; copy or download it again",
    ),
    "npy as npz": (
        lambda: [np.save("a.npy", X), written("a.npz", Path("a.npy").read_bytes())][1],
        "@/a.npz: is damaged or no npz file; copy or download it again",
    ),
    "code": (lambda: saved({"images": Code(), "labels": 1}), f"@/a.pt: holds Python objects; {SAVE}"),
    "data set of torch": (
        lambda: saved(torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))),
        f"@/a.pt: holds Python objects; {SAVE}",
    ),
    "one tensor": (
        lambda: saved(torch.from_numpy(X)),
        "@/a.pt: expects a mapping, or a pair of images and labels, got one value",
    ),
    "three tensors": (
        lambda: saved([torch.from_numpy(X)] * 3),
        "@/a.pt: expects a mapping, or a pair of images and labels, got 3 values",
    ),
    "a text": (lambda: saved("images"), "@/a.pt: expects a mapping or a pair of tensors, got str"),
    "images of two sizes": (
        lambda: saved({"images": [torch.rand(3, 4, 4), torch.rand(3, 4, 5)], "labels": [0, 1]}),
        "@/a.pt: expects arrays of one shape, got (3, 4, 4) and (3, 4, 5); resize the images",
    ),
    "sparse": (
        lambda: saved((torch.eye(4).to_sparse(), torch.arange(4))),
        "@/a.pt: expects a dense tensor, got one of layout torch.sparse_coo",
    ),
    # folders
    "empty folder": (
        lambda: [os.mkdir("d"), {"test": "d"}][1],
        "@/d: holds no images; expects a folder with one folder of images per class",
    ),
    "folder of parquet": (
        lambda: [os.mkdir("d"), parquet("d/x.parquet"), {"test": "d"}][2],
        "@/d: holds no images; expects a folder with one folder of images per class; name one file, such as "
        "@/d/x.parquet",
    ),
    "no classes": (
        lambda: folder("1.png", "2.png"),
        "@/d: 1.png has no label; move it to a folder with the name of its class",
    ),
    "parts": (
        lambda: folder("train/a/1.png", "test/a/1.png"),
        "@/d: expects one folder per class, got the folder 'test'; name @/d/test",
    ),
    "class without images": (
        lambda: folder(extra=lambda: os.mkdir("d/c")),
        "@/d: the class 'c' has no images; delete its folder, or add images",
    ),
    "html in place of png": (
        lambda: folder(extra=lambda: written("d/a/3.png", HTML)),
        "@/d/a/3.png: is an HTML page, expected data; replace or delete it",
    ),
    "empty png": (
        lambda: folder(extra=lambda: written("d/a/3.png", b"")),
        "@/d/a/3.png: is empty; replace or delete it",
    ),
    "cut png": (
        lambda: folder(extra=lambda: cut({**png("d/a/3.png", (4, 4)), "test": "d/a/3.png"}, 0.6)),
        "@/d/a/3.png: is no image, or damaged; replace or delete it",
    ),
    "text as jpg": (
        lambda: folder(extra=lambda: written("d/a/3.jpg", b"no image")),
        "@/d/a/3.jpg: is no image, or damaged; replace or delete it",
    ),
    "transparent": (
        lambda: folder(extra=lambda: png("d/a/3.png", image=transparent())),
        "@/d/a/3.png: has transparent pixels; put it on a background",
    ),
    "16-bit png": (
        lambda: folder(extra=lambda: png("d/a/3.png", image=sixteen_bits())),
        "@/d/a/3.png: has 16 bits per channel; convert it to 8 bits",
    ),
    "animation": (lambda: folder(extra=animation), "@/d/a/z.gif: holds 2 frames; save each image as a file"),
    "strange class in test": (
        lambda: {**folder("cat/1.png", "dog/1.png"), **png("e/cat/1.png"), **png("e/Dog/1.png"), "train": "e"},
        "@/d: has the class 'dog', @/e has Dog, cat",
    ),
    "classes of other folders": (
        lambda: folder("cat/1.png", "dog/1.png", classes=["dog", "wolf"]),
        "@/d: has the class 'cat', classes has dog, wolf",
    ),
    "numbers as texts": (
        lambda: folder(*(f"{n}/1.png" for n in range(11))),
        "@/d: the folders 0, 1, 10, 2, 3 and 6 more have another order as numbers; set classes in their order",
    ),
    "link to itself": (
        lambda: folder(extra=lambda: os.symlink("..", "d/a/up")),
        "test: @/d/a/up: links to a folder that contains it; remove the link",
    ),
    # parquet
    "cut parquet": (
        lambda: cut(parquet(), 0.9),
        "@/a.parquet: is damaged or no parquet file; copy or download it again",
    ),
    "html as parquet": (
        lambda: written("a.parquet", HTML),
        "@/a.parquet: is an HTML page, expected data; copy or download it again",
    ),
    "no label column": (
        lambda: parquet(label=None),
        "@/a.parquet: expects 'labels', got 'image'; rename what holds them",
    ),
    "image as list": (
        lambda: parquet(image=[[1, 2]] * 4),
        "@/a.parquet: expects encoded images in column 'image', got values of type list<element: int64>",
    ),
    "images elsewhere": (
        lambda: parquet(
            image=pa.array(
                [{"bytes": None, "path": "a.png"}] * 4, pa.struct({"bytes": pa.binary(), "path": pa.string()})
            )
        ),
        "@/a.parquet: column 'image' lacks 4 of 4 values; its images may be in other files",
    ),
    "missing label": (
        lambda: parquet(label=[0, 1, None, 1]),
        "@/a.parquet: column 'label' lacks 1 of 4 values",
    ),
    "labels as texts": (
        lambda: parquet(label=["a", "b", "a", "b"]),
        "@/a.parquet: expects class numbers as labels, got texts; number the classes from 0",
    ),
    "no rows": (
        lambda: parquet(image=pa.array([], pa.binary()), label=pa.array([], pa.int64())),
        "@/a.parquet: holds no images",
    ),
    "damaged row": (
        lambda: parquet(image=[encoded(), encoded(), b"no image", encoded()]),
        "@/a.parquet, image 2: is no image, or damaged; replace or delete it",
    ),
    "sizes of rows": (
        lambda: parquet(image=[encoded(), encoded(), encoded(6), encoded()]),
        "@/a.parquet, image 2: has 6 x 6 pixels (height x width), @/a.parquet, image 0 has 4 x 4; set size: [HEIGHT, "
        "WIDTH] to resize all images",
    ),
    "names in another order": (
        lambda: {**parquet(names=["a", "b"]), "classes": ["b", "a"]},
        "@/a.parquet: numbers its classes a, b; classes has b, a",
    ),
    "names of two files": (
        lambda: {**parquet(names=["a", "b"]), "train": parquet("b.parquet", names=["b", "a"])["test"]},
        "@/a.parquet: numbers its classes a, b; @/b.parquet has b, a",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_each_refusal_has_its_exact_message(case: str, tmp_path: Path) -> None:
    make, message = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        build(Files, make(), "")
    assert str(caught.value).replace(str(tmp_path), "@") == message


def test_images_of_two_sizes_are_refused_by_naming_the_first_of_each(tmp_path: Path) -> None:
    folder(*(f"{name}/{number}.png" for name in "ab" for number in range(9)), extra=lambda: png("d/b/9.png", (6, 4)))
    with pytest.raises(ConfigError) as caught:
        build(Files, {"test": "d"}, "")
    first, second = str(caught.value).replace(str(tmp_path), "@").split(" pixels (height x width), ")
    assert {"@/d/b/9.png: has 6 x 4" in first, "@/d/b/9.png has 6 x 4" in second} == {True, False}
    assert second.endswith("; set size: [HEIGHT, WIDTH] to resize all images")
    assert build(Files, {"test": "d", "size": [6, 4]}, "").input_shape == (1, 6, 4)


def test_a_cache_that_cannot_be_written_to_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"/file/data: expects a folder that can be written to \(Not a directory\)$"):
        build(Files, npz(), "")


@pytest.mark.parametrize("covered", [{"num_classes": 7}, {"classes": list("abcdefg")}])
def test_gaps_are_accepted_if_the_number_of_classes_covers_them(covered: Fields) -> None:
    files = build(Files, npz(X, Y * 2, **covered), "")
    assert files.num_classes == 7 and files()["test"].labels.tolist() == (Y * 2).tolist()
    assert build(Files, npz(X, Y + 1, num_classes=5), "").num_classes == 5
