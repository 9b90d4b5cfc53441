"""Hostile suites: strategies that write YAML which is deep, long, large, damaged or wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st

VALID: dict[str, Any] = {
    "name": "three",
    "dataset": "digits",
    "architectures": ["linear"],
    "modes": ["vanilla"],
    "seeds": [0],
    "perturbations": [{"name": "noise", "samples": 20, "beta": [0.2]}],
}

_KEYS = (
    *VALID,
    *("teachers", "controls", "certify", "acceptance", "checks", "attack", "units", "protocol", "precision"),
    *("label", "samples", "beta", "search", "steps", "file", "params", "of", "linspace", "hidden", "epochs", "weights"),
)

_NAMES = (
    *("pgd", "noise", "distilled", "checkpoint", "trained", "files"),
    *("art.FastGradientMethod", "foolbox.LinfPGD", "cgtn"),
)

_SCALARS = (
    *("", " ", "~", "~nosuchuser/x", "[/x]", r"\[/x]", "a/b", "$x$", "\x1b[31m", "\u202e", "ß", "no", "08", "1e1"),
    *("0x10", "1_000", "2026-01-01", "8/255", "1/0", "-0", "9" * 400, "1e999", ".nan", "-.inf", "null"),
    *("x" * 6000, "/" * 6000, "../" * 1000, "a" * 300 + ".npz", "/dev/zero", "/dev/stdin", "/proc/self/mem"),
    *("http://[", "file:///etc/passwd", "linspace(0, 1, 1000000)", "{{x}}", "%s%n", "\x00"),
    "!!python/object/apply:os.system [false]",
)


def _scalars() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.sampled_from(_SCALARS),
        st.sampled_from(_NAMES),
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([10**6, 10**12, 10**400, -1, 2**63]),
        st.floats(),
        st.text(max_size=20),
        st.dates(),
        st.binary(max_size=8),
    )


def _values() -> st.SearchStrategy[Any]:
    return st.recursive(
        _scalars(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
        max_leaves=8,
    )


@st.composite
def changed_suites(draw: st.DrawFn) -> bytes:
    """Draw a valid suite of which one to four parts, at any depth, are replaced, added or removed."""
    suite = yaml.safe_load(yaml.safe_dump(VALID))
    for _ in range(draw(st.integers(1, 4))):
        where: Any = suite
        while isinstance(where, dict | list) and where and draw(st.booleans()):
            keys = list(where) if isinstance(where, dict) else list(range(len(where)))
            inner = where[draw(st.sampled_from(keys))]
            if not isinstance(inner, dict | list):
                break
            where = inner
        if isinstance(where, list):
            where.append(draw(_values()))
        else:
            key = draw(st.sampled_from(_KEYS))
            if draw(st.integers(0, 4)):
                where[key] = draw(_values())
            else:
                where.pop(key, None)
    return yaml.safe_dump(suite, allow_unicode=True, sort_keys=False).encode(errors="surrogatepass")


@st.composite
def damaged_suites(draw: st.DrawFn) -> bytes:
    """Draw the text of a valid suite with a piece removed, doubled, or replaced by other bytes."""
    text = yaml.safe_dump(VALID, sort_keys=False).encode()
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    pieces = st.sampled_from([b"", text[start:end] * 3]) | st.binary(max_size=30)
    middle = draw(pieces | st.text("[]{}:,&*!|>#%@`-?\t\n").map(str.encode))
    return text[:start] + middle + text[end:]


@st.composite
def large_suites(draw: st.DrawFn) -> bytes:
    """Draw a suite that is large, or that is small and describes something large."""
    size = draw(st.sampled_from([10, 100, 5_000, 100_000, 1_000_000]))
    kind = draw(st.sampled_from(list(_LARGE)))
    return _LARGE[kind](size).encode()


def _bomb(size: int) -> str:
    """Return aliases of aliases: ten times as many leaves per level."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels = min(size, 30)
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join([*lines, f"name: *a{levels - 1}\n"])


def _merged(size: int) -> str:
    """Return merge keys of merge keys."""
    lines = ["m0: &m0 {a: 1, b: 2}"]
    lines += [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}], k{n}: 1}}" for n in range(1, min(size, 20))]
    return "\n".join(lines) + "\n"


def _with(**parts: str) -> str:
    """Return a suite of which some lines are replaced."""
    lines = {
        "name": "x",
        "dataset": "digits",
        "architectures": "[linear]",
        "modes": "[vanilla]",
        "seeds": "[0]",
        "perturbations": "[{name: noise, samples: 20, beta: [0.2]}]",
    }
    return "".join(f"{key}: {value}\n" for key, value in {**lines, **parts}.items())


_LARGE: dict[str, Callable[[int], str]] = {
    "aliases": _bomb,
    "merge keys": _merged,
    "brackets": lambda size: "name: " + "[" * size + "]" * size,
    "open brackets": lambda size: "{[" * size,
    "braces": lambda size: "{a: " * min(size, 100_000) + "}" * min(size, 100_000),
    "block": lambda size: "".join(f"{' ' * n}a:\n" for n in range(min(size, 3_000))),
    "dashes": lambda size: "- " * size + "x",
    "keys": lambda size: "".join(f"k{n}: 1\n" for n in range(size)),
    "same key": lambda size: "name: x\n" * size,
    "seeds": lambda size: _with(seeds=f"[{', '.join(map(str, range(size)))}]"),
    "betas": lambda size: _with(perturbations=f"[{{name: noise, beta: [{', '.join(['0.1'] * size)}]}}]"),
    "linspace": lambda size: _with(perturbations=f"[{{name: noise, beta: {{linspace: [0, 1, {size}]}}}}]"),
    "samples": lambda size: _with(perturbations=f"[{{name: noise, samples: {10**12 * size}, beta: [0.1]}}]"),
    "modes": lambda size: _with(modes=f"[{', '.join(f'{{name: vanilla, label: m{n}}}' for n in range(size // 10))}]"),
    "product": lambda size: _with(
        seeds=f"[{', '.join(map(str, range(min(size, 9000))))}]",
        perturbations=f"[{{name: noise, beta: {{linspace: [0, 1, {min(size, 9000)}]}}}}]",
    ),
    "hidden": lambda size: _with(architectures=f"[{{name: base, hidden: {size * 10**6}}}]"),
    "name": lambda size: _with(name="x" * size),
    "digits": lambda size: _with(seeds=f"[{'9' * size}]"),
    "comment": lambda size: "#" * size + "\n" + _with(),
    "documents": lambda size: "---\n" * size,
    "anchors": lambda size: "".join(f"a{n}: &x{n} 1\n" for n in range(size // 10)),
    "quotes": lambda size: 'name: "' + "\\" * size,
    "unicode": lambda size: _with(name='"' + "\\u0301" * min(size, 100_000) + '"'),
}


def suites() -> st.SearchStrategy[bytes]:
    """Return a strategy for hostile suites of every kind."""
    return st.one_of(changed_suites(), damaged_suites(), large_suites())
