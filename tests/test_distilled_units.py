"""What the numbers of distilled images mean."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import pytest
import torch
from helpers.distilled import MEAN, STD, X, Y, Z
from torch import Tensor

from gtn_bench.config.errors import ConfigError
from gtn_bench.data import DATASETS, Dataset
from gtn_bench.data.digits import Digits
from gtn_bench.data.torchvision import CIFAR10
from gtn_bench.modes.distillation.units import check_units, in_pixels, meaning, per_channel
from gtn_bench.modes.distilled import Distilled

PLAIN = [cls() for cls in DATASETS.values() if not any(field.is_required() for field in cls.model_fields.values())]
CONDENSATION = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # of DC, DSA, DM and MTT for CIFAR-10


def constants(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    return per_channel(mean), per_channel(std)


def test_every_unit_gives_the_pixels_that_it_means() -> None:
    mean, std = constants((MEAN,), (STD,))
    for images, units in ((Z, "normalized"), (X, "pixel"), (X * 255, "levels"), ((X * 255).round().long(), None)):
        found = in_pixels(images, meaning(images, units), mean, std)  # type: ignore[arg-type]
        assert torch.allclose(found, X, atol=0.5 / 255 if units is None else 1e-6) and found.dtype == torch.float32


def test_numbers_without_units_are_normalized_and_integers_are_levels() -> None:
    assert meaning(Z, None) == "normalized" and meaning((X * 255).long(), None) == "levels"


@pytest.mark.parametrize("dataset", PLAIN, ids=lambda dataset: dataset.name)
@pytest.mark.parametrize("width", [0.4, 1.0, 2.0])
def test_wrong_units_are_found_on_every_data_set_and_right_ones_never_refused(dataset: Dataset, width: float) -> None:
    """Distilled images vary less than real ones when they are averages, and more when they are learned."""
    usual = mean, std = constants(dataset.mean, dataset.std)
    concentration = mean * (1 - mean) / std**2 - 1
    beta = torch.distributions.Beta(mean * concentration, (1 - mean) * concentration)  # in [0, 1]
    sample = beta.sample((10, *dataset.input_shape[1:])).flatten(3)  # (10, H, W, C)
    pixels = mean + width * (sample.permute(0, 3, 1, 2) - mean)
    normalized = (pixels - mean) / std
    images = {"normalized": normalized, "pixel": pixels, "levels": pixels * 255}
    for units, numbers in images.items():
        check_units(numbers, units, usual, usual)  # type: ignore[arg-type]
    for units, numbers in images.items():
        narrow = units == "normalized" and width < 1  # such images could be pixels of low contrast around black
        for wrong in {"pixel", "levels"} - {units} - ({"pixel"} if narrow else set()):
            with pytest.raises(ValueError, match=f"which are not '{wrong}'; did you mean 'units: "):
                check_units(numbers, wrong, usual, usual)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="which are not 'normalized'; did you mean 'units: levels'"):
        check_units(images["levels"], "normalized", usual, usual)
    in_range = pixels.clamp(-0.1, 1.5)
    with pytest.raises(ValueError, match="which are not 'normalized'; did you mean 'units: pixel'"):
        check_units(in_range, "normalized", usual, usual)


def check(images: Tensor, folder: Path, dataset: Dataset, **fields: object) -> list[str]:
    """Return the warnings of a check."""
    torch.save([images, Y[: len(images)]], folder / "set.pt")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Distilled(file=folder / "set.pt", **fields).check(dataset, None)  # type: ignore[arg-type]
    return [str(warning.message).replace(str(folder), "") for warning in caught]


def test_values_outside_of_the_range_are_kept_and_reported_with_the_numbers(tmp_path: Path) -> None:
    assert check(Z, tmp_path, Digits()) == []
    assert check(X, tmp_path, Digits(), units="pixel") == []
    assert check(X + 0.001, tmp_path, Digits(), units="pixel") == []  # rounding
    pixels = X.clone()
    pixels[0, 0, 0] = torch.tensor([-0.5, 1.25, 0, 0, 0, 0, 0, 0])
    normalized = (pixels - MEAN) / STD
    share = f"{100 * 2 / pixels.numel():.3g}"
    said = f"/set.pt has {share} % of its pixel values outside of [0, 1], from -0.5 to 1.25; they are kept"
    assert check(pixels, tmp_path, Digits(), units="pixel") == [said]
    hint = "; set 'mean' and 'std' if its code normalized with others"
    assert check(normalized, tmp_path, Digits()) == [said + hint]


def test_the_normalization_of_the_file_is_undone_and_not_that_of_the_data_set(tmp_path: Path) -> None:
    """DC and MTT divide the pixels of CIFAR-10 by smaller standard deviations than those of the data set."""
    pixels = torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    pixels[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    mean, std = constants(*CONDENSATION)
    (said,) = check((pixels - mean) / std, tmp_path, CIFAR10())
    wrong = (pixels - mean) / std * per_channel(CIFAR10.std) + mean
    assert f"from {wrong.min():.3g} to {wrong.max():.3g}" in said and wrong.min() < -0.1 and wrong.max() > 1.1
    assert check((pixels - mean) / std, tmp_path, CIFAR10(), mean=CONDENSATION[0], std=CONDENSATION[1]) == []
    found = in_pixels((pixels - mean) / std, "normalized", mean, std)
    assert torch.allclose(found, pixels, atol=1e-6)


@pytest.mark.parametrize("units", ["pixel", "levels", "zca"])
def test_units_are_fields_of_the_mode(units: Literal["pixel", "levels", "zca"], tmp_path: Path) -> None:
    if units == "zca":
        assert check(torch.randn(20, 1, 8, 8) / 2, tmp_path, Digits(), units=units) == []
        with pytest.raises(ConfigError, match="did you mean 'units: levels'"):
            check(X * 255, tmp_path, Digits(), units=units)
    else:
        assert check(X * (255 if units == "levels" else 1), tmp_path, Digits(), units=units) == []
