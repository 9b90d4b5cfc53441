"""Fractions as numbers in suites, and L-inf radii and steps that exceed the range of pixel values."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import jsonschema
import pytest
from helpers.suites import TINY

import gtn_bench
from gtn_bench.config import suite
from gtn_bench.config.description import Description, PositiveFloat, Probability, build
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.numbers import parse_fraction, with_numbers
from gtn_bench.config.sweeps import sweep
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.planning.schema import suite_schema

HEAD = TINY[: TINY.index("perturbations:")]


def entry(text: str, more: str = "") -> str:
    """Return a suite with one perturbation."""
    return f"{HEAD}{more}perturbations:\n  - {text}\n"


@pytest.mark.parametrize(
    "text",
    ["8/255", "8 / 255", " 8/255 ", "8 /255", "0/255", "255/255", "0.5/255", "16.0/255", ".5/3", "1e-1/3", "+8/2"],
)
def test_fractions_are_quotients(text: str) -> None:
    numerator, denominator = (float(part) for part in text.split("/"))
    assert parse_fraction(text) == numerator / denominator


def test_fraction_of_levels_is_the_quotient_of_python() -> None:
    for level in range(256):
        found = parse_fraction(f"{level}/255")
        assert found == level / 255
        assert abs(Fraction(found) - Fraction(level, 255)) <= Fraction(1, 2**53)
    assert parse_fraction("-8/255") == -8 / 255


@pytest.mark.parametrize(
    "text",
    [
        *("", "8", "8/", "/255", "8/0", "0/0", "8/0.0", "a/b", "8/b", "1/2/3", "8//255", "1e999/1", "1/1e-999"),
        *("nan/1", "inf/2", "1/inf", "0x8/255", "1_0/2", "8\\255", "8 255", "٣/4", "8/-255", "1e400/1e400"),
    ],
)
def test_other_texts_are_no_fractions(text: str) -> None:
    assert parse_fraction(text) is None and with_numbers(text) == text


def test_fractions_in_lists_are_numbers_too() -> None:
    assert with_numbers(["1/2", [0.5, "a/b"], ("1/4",), 3, None]) == [0.5, [0.5, "a/b"], (0.25,), 3, None]


@pytest.mark.parametrize(
    "value, expected",
    [
        (["8/255", "2/255"], (2 / 255, 8 / 255)),
        ([0, "8 / 255", 0.1], (0.0, 8 / 255, 0.1)),
        (("1/2",), (0.5,)),
        ({"linspace": [0, "8/255", 2]}, (0.0, 8 / 255)),
        ({"linspace": ["0/1", "8/255", 3]}, (0.0, 0.0156862745098, 8 / 255)),
        ({"geomspace": ["1/255", "16/255", 2]}, (1 / 255, 16 / 255)),
        ({"linspace": ["8/255", 1, 1]}, (8 / 255,)),
    ],
)
def test_strengths_may_be_fractions(value: Any, expected: tuple[float, ...]) -> None:
    assert sweep(value) == expected


def test_ends_of_a_sweep_are_exact() -> None:
    """Numbers between them are rounded to 12 digits, so that 0.4 is not 0.4000000000000001."""
    assert sweep({"linspace": [1 / 3, 2 / 3, 2]}) == (1 / 3, 2 / 3)
    assert sweep({"linspace": [0, 1, 6]}) == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert sweep({"linspace": ["8/255", 0, 2]}) == (0.0, 8 / 255)


class Fields(Description):
    """A description with fields of all kinds."""

    name = "fields"

    number: float = 0.0
    positive: PositiveFloat | None = None
    share: Probability = 0.5
    several: tuple[float, ...] = ()
    either: Literal["learned", "1/2"] | float = 1.0
    integer: int = 0
    integers: tuple[int, ...] = ()
    text: str = ""
    text_or_number: str | float = ""


def test_fields_that_are_numbers_take_fractions_and_no_others_do() -> None:
    one = Fields(number="8/255", positive="1/3", share="7/10", several=("1/4", 2.0), either="3/4")  # type: ignore[arg-type]
    assert (one.number, one.positive, one.share) == (8 / 255, 1 / 3, 0.7)
    assert (one.several, one.either) == ((0.25, 2.0), 0.75)
    assert Fields(text="8/255", text_or_number="8/255").text == "8/255"
    assert Fields(text_or_number="8/255").text_or_number == "8/255"
    assert one.identity()["number"] == 8 / 255


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"number": "8/0"}, "number: 'fields' expects a number, got '8/0'"),
        ({"number": "a/b"}, "number: 'fields' expects a number, got 'a/b'"),
        ({"number": "1/2/3"}, "number: 'fields' expects a number, got '1/2/3'"),
        ({"share": "3/2"}, "share: 'fields' expects a number at most 1, got 1.5"),
        ({"positive": "-1/2"}, "positive: 'fields' expects a number greater than 0, got -0.5"),
        ({"several": ("1/0",)}, "several.0: 'fields' expects a number, got '1/0'"),
        ({"integer": "8/2"}, "integer: 'fields' expects an integer, got '8/2'"),
        ({"integers": ("8/2",)}, "integers.0: 'fields' expects an integer, got '8/2'"),
    ],
)
def test_what_is_no_fraction_is_refused_in_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(Fields, fields, "")
    assert str(refused.value).replace("[0]", ".0") == message


def test_suites_with_fractions_write_numbers() -> None:
    fractions = """perturbations:
  - {name: fgsm, steps: 3, epsilon: 8/255, beta: [1/255, 2 / 255]}
  - {name: lbfgs-penalty, step_size: 1/50, beta: [20]}
  - {name: occlusion, color: 1/2, beta: {linspace: [0, 8/2, 3]}}
  - {name: torchattacks.PGD, params: {alpha: 2/255}, beta: [8/255]}
  - {name: art.ProjectedGradientDescent, params: {eps_step: 2/255}, beta: [8/255]}
  - {name: foolbox.LinfPGD, params: {abs_stepsize: 2/255, steps: 3}, beta: [8/255]}
"""
    numbers = fractions
    for text, value in [("2 / 255", 2 / 255), ("8/255", 8 / 255), ("2/255", 2 / 255), ("1/255", 1 / 255)]:
        numbers = numbers.replace(text, repr(value))
    numbers = numbers.replace("1/50", "0.02").replace("1/2", "0.5").replace("8/2", "4")
    assert "/" not in numbers
    one, other = (
        gtn_bench.plan(suite.parse(HEAD.replace("acceptance: 0.0", f"acceptance: {share}") + text)).suite
        for text, share in ((fractions, "7/10"), (numbers, "0.7"))
    )
    assert one == other and one.acceptance == 0.7
    written = one.to_yaml()
    assert "/" not in written and f"{8 / 255!r}" in written
    assert gtn_bench.plan(suite.parse(written)).suite == one


BAD: list[tuple[str, str]] = [  # entry, message
    ("{name: pgd, beta: [8/0]}", ".beta: expects finite strengths of at least 0, got '8/0'"),
    ("{name: pgd, beta: [0.1, a/b]}", ".beta: expects finite strengths of at least 0, got 'a/b'"),
    ("{name: pgd, beta: [1/2/3]}", ".beta: expects finite strengths of at least 0, got '1/2/3'"),
    ("{name: pgd, beta: [-8/255]}", f".beta: expects finite strengths of at least 0, got {-8 / 255}"),
    ("{name: pgd, beta: [8/255, 16/510]}", ".beta: expects each strength once, got 0.0313725 again"),
    (
        "{name: pgd, beta: 8/255}",
        ".beta: expects a list of strengths, or a linspace or geomspace, got '8/255'",
    ),
    (
        "{name: pgd, beta: {linspace: [0, 8/255, 4/2]}}",
        ".beta: expects linspace: [first, last, count], got [0, '8/255', '4/2']",
    ),
    (
        "{name: pgd, beta: {linspace: [0, 8/0, 4]}}",
        ".beta: expects linspace: [first, last, count], got [0, '8/0', 4]",
    ),
    ("{name: pgd, beta: [0.1], steps: 8/2}", ".steps: 'pgd' expects an integer, got '8/2'"),
    ("{name: pgd, beta: [0.1], samples: 8/2}", ".samples: expects an integer, got '8/2'"),
    (
        "{name: pgd, beta: [0.1], relative_step_size: 1/0}",
        ".relative_step_size: 'pgd' expects a number, got '1/0'",
    ),
    (
        "{name: torchattacks.PGD, beta: [0.1], params: {steps: 8/2}}",
        ": attack 'torchattacks.PGD': 'steps' expects an integer, got '8/2'",
    ),
    (
        "{name: torchattacks.PGD, beta: [0.1], params: {alpha: 2/0}}",
        ": attack 'torchattacks.PGD': 'alpha' expects a number, got '2/0'",
    ),
    # Radii and steps in pixel values.
    (
        "{name: pgd, beta: [8]}",
        ".beta: linf radius 8 exceeds the range of pixel values, 0 to 1; did you mean 8/255?",
    ),
    (
        "{name: pgd, beta: [0.1, 4, 8]}",
        ".beta: linf radius 4 exceeds the range of pixel values, 0 to 1; did you mean 4/255?",
    ),
    ("{name: pgd, beta: [1.5]}", ".beta: linf radius 1.5 exceeds the range of pixel values, 0 to 1"),
    ("{name: pgd, beta: [300]}", ".beta: linf radius 300 exceeds the range of pixel values, 0 to 1"),
    (
        "{name: pgd, beta: [4, 8], search: minimal}",
        ".beta: linf radius 4 exceeds the range of pixel values, 0 to 1; did you mean 4/255?",
    ),
    (
        "{name: fgsm, steps: 3, beta: [2]}",
        ".beta: step size 2 exceeds the range of pixel values, 0 to 1; did you mean 2/255?",
    ),
    (
        "{name: fgsm, steps: 3, beta: [0.1], epsilon: 8}",
        ".epsilon: linf radius 8 exceeds the range of pixel values, 0 to 1; did you mean 8/255?",
    ),
    (
        "{name: lbfgs-penalty, beta: [20], step_size: 2}",
        ".step_size: step size 2 exceeds the range of pixel values, 0 to 1; did you mean 2/255?",
    ),
    *(
        (
            f"{{name: {name}, beta: [8]}}",
            ".beta: linf radius 8 exceeds the range of pixel values, 0 to 1; did you mean 8/255?",
        )
        for name in ("torchattacks.PGD", "foolbox.LinfPGD", "art.FastGradientMethod", "foolbox.LInfFMNAttack")
    ),
    (
        "{name: noise, beta: [0.1, 25]}",
        ".beta: standard deviation 25 exceeds the range of pixel values, 0 to 1; did you mean 25/255?",
    ),
    (
        "{name: brightness, beta: [64]}",
        ".beta: shift 64 exceeds the range of pixel values, 0 to 1; did you mean 64/255?",
    ),
    *(
        (
            f"{{name: {name}, beta: [128]}}",
            ".beta: l2 radius 128 exceeds the distance from black to white of images of 1 x 8 x 8, 8; "
            "did you mean 128/255?",
        )
        for name in (
            *("pgd, norm: l2", "apgd, norm: l2", "square, norm: l2", "lbfgs", "lbfgs, target: next"),
            *("torchattacks.PGDL2", "torchattacks.CW", "foolbox.L2PGD", "foolbox.L2DeepFoolAttack"),
            "art.ProjectedGradientDescentPyTorch, params: {norm: 2, max_iter: 2}",
        )
    ),
    (
        "{name: pgd, norm: l2, beta: [4, 128], search: minimal}",
        ".beta: l2 radius 128 exceeds the distance from black to white of images of 1 x 8 x 8, 8; "
        "did you mean 128/255?",
    ),
    (
        "{name: pgd, norm: l2, beta: [8.5]}",
        ".beta: l2 radius 8.5 exceeds the distance from black to white of images of 1 x 8 x 8, 8",
    ),
    (
        "{name: torchattacks.PGDL2, beta: [1], params: {alpha: 51}}",
        ".params.alpha: step size 51 exceeds the distance from black to white of images of 1 x 8 x 8, 8; "
        "did you mean 51/255?",
    ),
    (
        "{name: foolbox.L1PGD, beta: [2000]}",
        ".beta: l1 radius 2000 exceeds the distance from black to white of images of 1 x 8 x 8, 64; "
        "did you mean 2000/255?",
    ),
    (
        "{name: foolbox.L0FMNAttack, beta: [200]}",
        ".beta: l0 radius 200 exceeds the number of values of images of 1 x 8 x 8, 64",
    ),
    (
        "{name: torchattacks.PGD, beta: [0.1], params: {alpha: 2}}",
        ".params.alpha: step size 2 exceeds the range of pixel values, 0 to 1; did you mean 2/255?",
    ),
    (
        "{name: art.BasicIterativeMethod, beta: [0.1], params: {eps_step: 2, max_iter: 2}}",
        ".params.eps_step: step size 2 exceeds the range of pixel values, 0 to 1; did you mean 2/255?",
    ),
    (
        "{name: torchattacks.PGD, beta_parameter: alpha, beta: [2/255], params: {eps: 8}}",
        ".params.eps: linf radius 8 exceeds the range of pixel values, 0 to 1; did you mean 8/255?",
    ),
]


@pytest.mark.parametrize("text, message", BAD, ids=[row[0] for row in BAD])
def test_wrong_strengths_are_found_before_training(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        gtn_bench.plan(suite.parse(entry(text)))
    lines = str(refused.value).splitlines()
    assert f"tiny: perturbations[0]{message}" in lines
    assert len(lines) == 1 or "eps_step" in text  # ART refuses a step that exceeds the radius, too


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "{name: pgd, beta: [8]}",
            ".beta: linf radius 8 standard deviations is 3.01 in pixel values, which exceeds their range, 0 to 1; "
            "expects at most 2.66, or 8/255 with units: pixel",
        ),
        (
            "{name: noise, beta: [8]}",
            ".beta: standard deviation 8 normalized units is 3.01 in pixel values, which exceeds their range, 0 "
            "to 1; expects at most 2.66, or 8/255 with units: pixel",
        ),
        (
            "{name: pgd, norm: l2, beta: [25]}",
            ".beta: l2 radius 25 standard deviations is 9.4 in pixel values, which exceeds the distance from "
            "black to white of images of 1 x 8 x 8, 8; expects at most 21.3, or 25/255 with units: pixel",
        ),
        (
            "{name: pgd, beta: [4.5]}",
            ".beta: linf radius 4.5 standard deviations is 1.69 in pixel values, which exceeds their range, 0 to 1"
            "; expects at most 2.66",
        ),
        (
            "{name: fgsm, steps: 2, beta: [0.1], epsilon: 3}",
            ".epsilon: linf radius 3 standard deviations is 1.13 in pixel values, which exceeds their range, 0 to "
            "1; expects at most 2.66, or 3/255 with units: pixel",
        ),
    ],
)
def test_normalized_strengths_are_compared_in_pixel_values(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        gtn_bench.plan(suite.parse(entry(text, "units: normalized\n")))
    assert str(refused.value) == f"tiny: perturbations[0]{message}"
    gtn_bench.plan(suite.parse(entry("{name: pgd, beta: [2.6]}", "units: normalized\n")))


@pytest.mark.parametrize(
    "text",
    [
        "{name: pgd, beta: [1]}",
        "{name: pgd, beta: [255/255]}",
        "{name: pgd, norm: l2, beta: [8]}",
        "{name: fgsm, steps: 30, beta: [0.3]}",  # the ball of radius 9 contains all images
        "{name: noise, beta: [1]}",
        "{name: brightness, beta: [1]}",
        "{name: rotation, beta: [90]}",
        "{name: blur, beta: [8]}",
        "{name: lbfgs, beta: [8]}",
        "{name: lbfgs-penalty, beta: [200], step: gradient, step_size: 5}",
        "{name: torchattacks.PGDL2, beta: [8], params: {alpha: 2}}",
        "{name: torchattacks.CW, beta: [8]}",
        "{name: foolbox.L1PGD, beta: [8]}",
        "{name: art.PixelAttack, beta: [8], params: {max_iter: 2}}",
    ],
)
def test_strengths_up_to_the_distance_from_black_to_white_are_accepted(text: str) -> None:
    assert gtn_bench.plan(suite.parse(entry(text))).cells


def test_a_radius_above_one_is_found_beside_other_problems() -> None:
    text = entry("{name: pgd, beta: [8], target: 10}") + "  - {name: fgsm, beta: [8]}\n"
    with pytest.raises(ConfigError) as refused:
        gtn_bench.plan(suite.parse(text))
    assert [line.partition(": ")[2].partition(":")[0] for line in str(refused.value).splitlines()] == [
        "perturbations[0]",
        "perturbations[0].beta",
        "perturbations[1].steps",
    ]


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_sizes_in_pixel_values_are_fields(name: str) -> None:
    cls = PERTURBATIONS[name]
    fields = {"steps": 2} if name == "fgsm" else {}
    if name in ("art", "foolbox", "torchattacks"):
        fields = {"attack": {"art": "BasicIterativeMethod", "foolbox": "LinfPGD", "torchattacks": "PGD"}[name]}  # type: ignore[dict-item]
    one = cls(beta=0.5, **fields)
    sizes = one.pixel_sizes
    assert set(sizes) <= {"beta", "epsilon", "step_size", "params.alpha", "params.eps_step"}
    lengths = (
        *("fgsm", "pgd", "apgd", "square", "strong", "lbfgs", "noise", "brightness"),
        *("art", "foolbox", "torchattacks"),
    )
    assert ("beta" in sizes) == (name in lengths)


def test_schema_accepts_fractions_where_numbers_are() -> None:
    validator = jsonschema.Draft202012Validator(suite_schema())

    def problems(perturbation: dict[str, Any], **more: Any) -> int:
        text = {
            "name": "x",
            "dataset": "digits",
            "architectures": ["linear"],
            "modes": [{"name": "vanilla"}],
            "seeds": [0],
            "perturbations": [perturbation],
            **more,
        }
        return len(list(validator.iter_errors(text)))

    fgsm: dict[str, Any] = {"name": "fgsm", "steps": 2}
    for beta in ([0.1, "8/255"], {"linspace": [0, " 8 / 255 ", 3]}, {"geomspace": ["1/255", 0.5, 3]}):
        assert problems({**fgsm, "beta": beta}) == 0
    assert problems({**fgsm, "beta": [0.1], "epsilon": "8/255"}, acceptance="7/10") == 0
    assert problems({"name": "occlusion", "beta": [1], "color": "1/2"}) == 0
    assert problems({"name": "torchattacks.PGD", "beta": [0.1], "params": {"alpha": "2/255"}, "target": 3}) == 0
    for wrong in (
        {**fgsm, "beta": ["8"]},
        {**fgsm, "beta": ["a/b"]},
        {**fgsm, "beta": {"linspace": [0, 1, "4/2"]}},
        {**fgsm, "beta": [0.1], "epsilon": "big"},
        {**fgsm, "beta": [0.1], "steps": "4/2"},
        {**fgsm, "beta": [0.1], "target": "nearest"},
        {**fgsm, "beta": [0.1], "target": -1},
    ):
        assert problems(wrong) > 0
