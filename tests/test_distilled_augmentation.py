"""The parts of DSA: each image by itself, in NumPy, from the same draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from gtn_bench.modes.distillation import augmentation
from gtn_bench.modes.distillation.fields import _DSA, DSA

SHAPES = [(40, 3, 32, 32), (40, 1, 28, 28), (40, 3, 9, 14)]
Images = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def images(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def draws(count: int, number: int) -> list[Images]:
    """Return uniform numbers for each image, several times."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(count, generator=generator).numpy() for _ in range(number)]


def changed(part: str, x: torch.Tensor) -> Images:
    return augmentation.PARTS[part](x, torch.Generator().manual_seed(0)).numpy()


def test_parts_are_those_that_a_suite_can_name() -> None:
    assert tuple(augmentation.PARTS) == _DSA == DSA.__args__


@pytest.mark.parametrize("shape", SHAPES)
def test_color_changes_brightness_then_saturation_then_contrast(shape: tuple[int, ...]) -> None:
    x = images(shape)
    found = changed("color", x)
    for index, (brightness, saturation, contrast) in enumerate(zip(*draws(len(x), 3), strict=True)):
        image = x[index].numpy() + (brightness - 0.5)  # from -0.5 to 0.5
        gray = image.mean(0, keepdims=True)
        image = (image - gray) * 2 * saturation + gray  # from 0 to 2
        image = (image - image.mean()) * (contrast + 0.5) + image.mean()  # from 0.5 to 1.5
        assert np.allclose(found[index], image, atol=1e-5)


def integers(count: int, *ranges: tuple[int, int]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(least, most + 1, (count,), generator=generator).tolist() for least, most in ranges]


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_shifts_by_up_to_an_eighth_and_fills_with_zeros(shape: tuple[int, ...]) -> None:
    x = images(shape)
    found = changed("crop", x)
    height, width = shape[2:]
    most = [int(size * 0.125 + 0.5) for size in (height, width)]
    for index, (down, right) in enumerate(zip(*integers(len(x), *((-size, size) for size in most)), strict=True)):
        padded = np.pad(x[index].numpy(), ((0, 0), (most[0],) * 2, (most[1],) * 2))
        row, column = most[0] + down, most[1] + right
        assert np.array_equal(found[index], padded[:, row : row + height, column : column + width])


@pytest.mark.parametrize("shape", SHAPES)
def test_cutout_removes_half_of_height_and_width_around_any_point(shape: tuple[int, ...]) -> None:
    x = images(shape)
    found = changed("cutout", x)
    sides = [int(size * 0.5 + 0.5) for size in shape[2:]]
    ranges = [(0, size - side % 2) for size, side in zip(shape[2:], sides, strict=True)]
    for index, center in enumerate(zip(*integers(len(x), *ranges), strict=True)):
        image = x[index].numpy().copy()
        start = [at - side // 2 for at, side in zip(center, sides, strict=True)]
        for row in range(shape[2]):
            for column in range(shape[3]):
                if 0 <= row - start[0] < sides[0] and 0 <= column - start[1] < sides[1]:
                    image[:, row, column] = 0
        assert np.array_equal(found[index], image)


def test_flip_mirrors_half_of_the_images() -> None:
    x = images(SHAPES[0])
    found = changed("flip", x)
    flipped = [bool(draw < 0.5) for draw in draws(len(x), 1)[0]]
    for index, mirrored in enumerate(flipped):
        image = x[index].numpy()
        assert np.array_equal(found[index], image[..., ::-1] if mirrored else image)
    assert 10 < sum(flipped) < 30


def resampled(image: Images, matrix: Images) -> Images:
    """Sample an image bilinearly at the coordinates that a matrix gives, which are -1 and 1 at its borders."""
    sizes = np.array(image.shape[1:])
    rows, columns = np.meshgrid(*(np.arange(size) for size in sizes), indexing="ij")
    y, x = (2 * rows + 1) / sizes[0] - 1, (2 * columns + 1) / sizes[1] - 1
    from_x, from_y = matrix[0, 0] * x + matrix[0, 1] * y, matrix[1, 0] * x + matrix[1, 1] * y
    places = [((from_y + 1) * sizes[0] - 1) / 2, ((from_x + 1) * sizes[1] - 1) / 2]
    return np.stack([ndimage.map_coordinates(np.pad(plane, 2), [p + 2 for p in places], order=1) for plane in image])


@pytest.mark.parametrize("shape", SHAPES)
def test_scale_changes_height_and_width_by_up_to_a_fifth(shape: tuple[int, ...]) -> None:
    x = images(shape)
    found = changed("scale", x)
    least = 1 / 1.2
    for index, (width, height) in enumerate(zip(*draws(len(x), 2), strict=True)):
        matrix = np.diag([width * (1.2 - least) + least, height * (1.2 - least) + least])
        assert np.allclose(found[index], resampled(x[index].numpy(), matrix), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_rotation_turns_by_up_to_fifteen_degrees(shape: tuple[int, ...]) -> None:
    x = images(shape)
    found = changed("rotate", x)
    for index, draw in enumerate(draws(len(x), 1)[0]):
        angle = math.radians(15) * (2 * float(draw) - 1)
        matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        assert np.allclose(found[index], resampled(x[index].numpy(), matrix), atol=1e-4)


def test_one_part_is_drawn_per_batch() -> None:
    x = images(SHAPES[2])
    names = list(augmentation.PARTS)
    chosen = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        part = names[int(torch.randint(len(names), (1,), generator=generator))]
        chosen.append(part)
        expected = augmentation.PARTS[part](x, generator)
        assert torch.equal(augmentation.augment(x, names, torch.Generator().manual_seed(seed)), expected)
    assert set(chosen) == set(names)


@pytest.mark.parametrize("part", augmentation.PARTS)
def test_augmentation_depends_on_the_generator_alone(part: str) -> None:
    x = images(SHAPES[1])
    torch.manual_seed(5)
    first = changed(part, x)
    torch.manual_seed(6)
    assert np.array_equal(changed(part, x), first) and not np.array_equal(first, x.numpy())
