"""Suites drawn around a valid one, for hypothesis."""

from __future__ import annotations

import yaml
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

_VALID = {
    "name": "drawn",
    "dataset": "digits",
    "teachers": [
        {"name": "cgtn", "label": "t", "architecture": "linear", "inner_steps": 3, "batch_size": 20,
         "meta_batch_size": 10, "meta_steps": 2},
    ],
    "architectures": ["linear", {"name": "base", "label": "b", "convolutions": [{"channels": 2, "kernel": 3}]}],
    "modes": ["gtn", {"name": "vanilla", "epochs": 2}],
    "controls": [{"name": "vanilla", "label": "more", "steps": 3}],
    "seeds": [0, 1],
    "perturbations": [
        {"name": "fgsm", "steps": 2, "samples": 20, "beta": [0, "8/255"]},
        {"name": "pgd", "samples": 20, "beta": {"linspace": [0.01, 0.1, 3]}},
        {"name": "noise", "label": "n", "beta": [0.5]},
        {"name": "foolbox.LinfPGD", "params": {"steps": 3}, "samples": 5, "beta": [0.1]},
    ],
    "certify": [{"name": "interval", "samples": 5}],
    "units": "pixel",
    "acceptance": 0.5,
    "checks": "basic",
}  # fmt: skip

_WORDS = ["noise", "fgsm", "gtn", "linear", "digits", "files", "name", "label", "beta", "linspace", "search", "minimal"]
_WORDS += ["torchvision.resnet18", "resnt18", "checkpoint", "~nosuchuser/x", "/dev/zero", "a" * 6_000, "[/x]", "8/255"]
_WORDS += ["\0", "\ud800", "\x1b[31m", "a\nb", "{seed}", "https://x/y", "../..", "normalized", "published", "null"]
_SCALARS: SearchStrategy[object] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**18, -(10**18), 2**63, 10**400, 1e308, 5e-324, float("inf"), float("nan"), -0.0]),
    st.floats(),
    st.sampled_from(_WORDS),
    st.text(max_size=20),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inside: st.one_of(
        st.lists(inside, max_size=5), st.dictionaries(st.sampled_from(_WORDS) | st.text(max_size=8), inside, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def suites(draw: DrawFn) -> str:
    """Draw the text of a suite: some values and keys of a valid one are replaced, then some of its characters."""
    data = _changed(draw, _VALID, draw(st.integers(1, 4)))
    try:
        text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=draw(st.booleans()))
    except (yaml.YAMLError, ValueError):  # an integer of too many digits
        text = repr(draw(_SCALARS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 12))
        inserted = draw(
            st.sampled_from(["", "- ", ": ", "\n", "&a ", "*a", "<<: *a", "!!int ", "[", "}", "'", "\t", "?"])
        )
        text = text[:at] + inserted * draw(st.integers(1, 60)) + text[at + cut :]
    return text


def _changed(draw: DrawFn, value: object, times: int) -> object:
    """Return a value of which some parts are replaced, left out or repeated."""
    for _ in range(times):
        value = _once(draw, value)
    return value


def _once(draw: DrawFn, value: object) -> object:
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value, key=str)))
        match draw(st.integers(0, 9)):
            case 0:
                return {other: inside for other, inside in value.items() if other != key}
            case 1:
                return {**value, draw(st.sampled_from(_WORDS)): draw(_VALUES)}
        return {**value, key: _once(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        at = draw(st.integers(0, len(value) - 1))
        match draw(st.integers(0, 9)):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value + [value[at]] * draw(st.integers(1, 300))
        return [*value[:at], _once(draw, value[at]), *value[at + 1 :]]
    return draw(_VALUES)
