"""Decoder of image files, in folders and in parquet files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gtn_bench.config.errors import ConfigError
from gtn_bench.data.reading.pixels import Array
from gtn_bench.data.stored_files import kind_of, kind_of_bytes
from gtn_bench.store.progress import advance

if TYPE_CHECKING:
    from PIL.Image import Image

Size = tuple[int, int]

_GRAY = ("1", "L", "LA", "La")
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # modes of more than 8 bits per channel
_EVERY = 50  # images between reports of progress


class Picture(NamedTuple):
    """An encoded image.

    Attributes:
        name: Its origin, for messages.
        content: The path of its file, or its bytes.
    """

    name: str
    content: Path | bytes


def decode(pictures: Sequence[Picture], size: Size | None) -> Array:
    """Decode images. They become gray if all of them are gray, else RGB.

    The orientation that cameras write into files is applied. Images with transparent pixels or more than 8 bits per
    channel are refused.

    Args:
        pictures: The encoded images.
        size: Height and width to resize all images to; None to keep them.

    Returns:
        Images (N, C, H, W) uint8.

    Raises:
        ConfigError: If an image is damaged or refused, or without `size` two images have different sizes.
    """
    found = [_inspect(picture) for picture in pictures]
    other = next((number for number, (_, shape) in enumerate(found) if shape != found[0][1]), None)
    if size is None and other is not None:
        (_, one), (_, two) = found[0], found[other]
        raise ConfigError(
            f"{pictures[other].name}: has {two[0]} x {two[1]} pixels (height x width), {pictures[0].name} has "
            f"{one[0]} x {one[1]}; set size: [HEIGHT, WIDTH] to resize all images"
        )
    channels = 1 if all(gray for gray, _ in found) else 3
    height, width = size or found[0][1]
    levels = np.empty((len(pictures), channels, height, width), np.uint8)
    for number, picture in enumerate(pictures):
        with _opened(picture) as image:
            pixels = to_array(image, picture.name, "L" if channels == 1 else "RGB")
        levels[number] = pixels if pixels.shape[1:] == (height, width) else resize(pixels[None], (height, width))[0]
        if number % _EVERY == 0 or number + 1 == len(pictures):
            advance("decoding", number + 1, len(pictures))
    return levels


def to_array(image: Image, name: str, mode: str | None = None) -> Array:
    """Return a decoded image as an array (C, H, W) uint8.

    Args:
        image: The image.
        name: Its origin, for messages.
        mode: "L" for one channel, "RGB" for three; None for what the image has.

    Raises:
        ConfigError: If it has transparent pixels, or more than 8 bits per channel.
    """
    from PIL import ImageOps

    if image.mode in _DEEP:
        raise ConfigError(f"{name}: has more than 8 bits per channel (mode {image.mode}); convert it to 8 bits")
    gray = is_gray(image)
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            raise ConfigError(f"{name}: has transparent pixels; put it on a background")
        image = image.convert("RGB")
    mode = mode or ("L" if gray else "RGB")
    if mode == "L" and image.mode not in ("1", "L"):
        image = image.convert("RGB").getchannel(0)  # all three are the same
    pixels = np.asarray(image.convert(mode))
    return np.ascontiguousarray(pixels[None] if mode == "L" else pixels.transpose(2, 0, 1))


def is_gray(image: Image) -> bool:
    """Check that an image is stored in gray levels, or that all colors of its palette are gray.

    Args:
        image: The image.
    """
    if image.mode != "P":
        return image.mode in _GRAY
    palette = np.asarray(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def resize(images: Array, size: Size) -> Array:
    """Resize images as Pillow does, bilinearly with antialiasing. The ratio of height and width is not kept.

    Args:
        images: Images (N, C, H, W), uint8 or float32.
        size: Height and width of the result.
    """
    from PIL import Image

    count, channels, *old = images.shape
    if tuple(old) == tuple(size):
        return images
    height, width = size
    result = np.empty((count, channels, height, width), images.dtype)
    for number, channel in np.ndindex(count, channels):
        plane = Image.fromarray(np.ascontiguousarray(images[number, channel]))
        result[number, channel] = np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR))
    return result


def _inspect(picture: Picture) -> tuple[bool, Size]:
    """Return whether an image is gray, and its height and width, from the header of its file."""
    from PIL.ExifTags import Base

    with _opened(picture) as image:
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # of which cameras write several sizes
            raise ConfigError(f"{picture.name}: holds {image.n_frames} frames; save each image as a file")
        if any(";16" in str(tile[3]) for tile in image.tile):  # of which Pillow would drop half the bits
            raise ConfigError(f"{picture.name}: has 16 bits per channel; convert it to 8 bits")
        turned = image.getexif().get(Base.Orientation, 1) >= 5
        return is_gray(image), (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def _opened(picture: Picture) -> Iterator[Any]:
    """Open an image; whatever Pillow raises about it in the block becomes one line."""
    from PIL import Image

    name, content = picture
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            yield image
    except ConfigError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise ConfigError(f"{name}: cannot be read ({error.strerror})") from None
        kind = kind_of_bytes(content[:100]) if isinstance(content, bytes) else kind_of(content)
        problem = f"is {kind}" if kind else "is no image, or damaged"
        raise ConfigError(f"{name}: {problem}; replace or delete it") from None
