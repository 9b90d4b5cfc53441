"""Texts that no suite should be: bombs, huge numbers, characters that no file may hold."""

from __future__ import annotations

SMALL = """name: small
dataset: digits
architectures: [linear]
modes: [vanilla]
seeds: [0]
perturbations:
  - {name: noise, beta: [0.1]}
"""


def with_value(key: str, value: str) -> str:
    """Return the small suite with another value of a key."""
    lines = [line for line in SMALL.splitlines() if not line.startswith(f"{key}:")]
    if key == "perturbations":
        lines = [line for line in lines if not line.startswith("  - ")]
    return "\n".join([*lines, f"{key}: {value}"]) + "\n"


def noise(beta: str, more: str = "") -> str:
    return f"{{name: noise, beta: {beta}{more}}}"


def many(count: int, entry: str) -> str:
    """Return a list of entries, in which ``@`` is the number of the entry."""
    return "[" + ", ".join(entry.replace("@", str(number)) for number in range(count)) + "]"


def aliases(depth: int, width: int, merge: bool = False) -> str:
    """Return lists or mappings that contain the one before several times."""
    lines = ["a0: &a0 " + ("{x: 1}" if merge else "[x]")]
    for level in range(1, depth):
        inside = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{inside}], k{level}: 1}}" if merge else f"[{inside}]"))
    return "\n".join(lines) + "\n" + SMALL


TEXTS: dict[str, str] = {
    "alias bomb": aliases(40, 9),
    "merge bomb": aliases(300, 20, merge=True),
    "a million strengths": with_value("perturbations", f"[{noise('{linspace: [0, 1, 1000000]}')}]"),
    "1e18 strengths": with_value("perturbations", f"[{noise('{geomspace: [0.1, 1, 1000000000000000000]}')}]"),
    "many sweeps": with_value("perturbations", many(1_500, noise("{linspace: [0, 1, 10000]}", ", label: n@"))),
    "shared sweep": with_value(
        "perturbations",
        f"[{noise('&b {linspace: [0, 1, 10000]}')}, {many(4000, noise('*b', ', label: n@'))[1:]}",
    ),
    "large grids": with_value(
        "perturbations", many(90, "{name: fgsm, steps: 3, search: minimal, label: n@, beta: {linspace: [0, 1, 1000]}}")
    ),
    "grids at the limit": with_value(
        "perturbations", many(190, "{name: fgsm, steps: 3, search: minimal, label: n@, beta: {linspace: [0, 1, 256]}}")
    ),
    "range of seeds": with_value("seeds", "{range: [0, 1000000000000000000]}"),
    "a million seeds": with_value("seeds", str(list(range(1_000_000)))),
    "the same seed": with_value("seeds", many(90_000, "1")),
    "many seeds": with_value("seeds", many(19_000, "@")),
    "seeds times modes": with_value("seeds", many(12_000, "@")).replace(
        "modes: [vanilla]", f"modes: {many(1_200, '{name: vanilla, label: m@}')}"
    ),
    "seeds times modes of files": with_value("seeds", many(12_000, "@")).replace(
        "modes: [vanilla]", f"modes: {many(1_200, '{name: pretrained, label: m@}')}"
    ),
    "seeds times certifiers": with_value("seeds", many(15_000, "@")).replace("noise", "pgd")
    + f"certify: {many(2_000, '{name: crown, label: c@}')}\n",
    "strengths times certifiers": with_value("perturbations", "[{name: pgd, beta: {linspace: [0.01, 0.5, 500]}}]")
    + f"certify: {many(3_500, '{name: crown, label: c@}')}\n",
    "cells above the limit": with_value("seeds", many(1_001, "@")).replace("[0.1]", "{linspace: [0, 1, 100]}"),
    "cells at the limit": with_value("seeds", many(1_000, "@")).replace("[0.1]", "{linspace: [0, 1, 100]}"),
    "many architectures": with_value("architectures", many(3_900, "{name: linear, label: a@}")),
    "wide architectures": with_value(
        "architectures", many(1_300, "{name: base, label: a@, convolutions: [{channels: 9@, kernel: 3}]}")
    ),
    "many unknown architectures": with_value("architectures", many(15_000, "resnt@")),
    "many unknown modes": with_value("modes", many(15_000, "vanila@")),
    "many unknown perturbations": with_value("perturbations", many(4_000, "{name: fgsn@, beta: [0.1]}")),
    "many unknown attacks": with_value("perturbations", many(3_000, "{name: torchattacks.Attack@, beta: [0.1]}")),
    "many equal labels": with_value("modes", many(19_000, "vanilla")),
    "many keys": SMALL + "".join(f"perturbation{number}: 1\n" for number in range(9_000)),
    "many anchors": SMALL + f"x: {many(15_000, '&a@ 1')}\n",
    "many documents": "---\n" * 60_000,
    "5000 brackets": "name: " + "[" * 5_000,
    "5000 pairs of brackets": "name: " + "[" * 5_000 + "]" * 5_000 + "\n" + SMALL,
    "5000 braces": "{a: " * 5_000 + "}" * 5_000,
    "5000 dashes": "- " * 5_000,
    "10 MB of text": SMALL + "description: " + "x" * 10_000_000,
    "10 MB of comments": SMALL + "#" + "x" * 10_000_000,
    "long lines": SMALL + "x: >\n" + "\n" * 250_000,
    "zero byte": SMALL + "description: 'a\0b'\n",
    "escaped zero byte": SMALL + 'description: "a\\0b"\n',
    "escaped terminal codes": with_value("dataset", '"\\e[31mred\\a"'),
    "lone surrogate": with_value("dataset", '{name: files, test: "\\ud800.npz"}'),
    "lone surrogate in a key": SMALL + '"\\ud800": 1\n',
    "markup": with_value("name", "'\\[/x]'"),
    "markup in a key": SMALL + "'[/x]': 1\n",
    "lines in a name": with_value("dataset", '"a\\r\\nerror: fake"'),
    "home of nobody": with_value("dataset", "{name: files, test: '~nosuchuser/x'}"),
    "6000 characters of folders": with_value("dataset", f"{{name: files, test: '{'a/' * 3_000}x.npz'}}"),
    "6000 characters of a file": with_value("modes", f"[{{name: checkpoint, files: '{'a' * 6_000}.pt'}}]"),
    "6000 characters of a template": with_value("modes", f"[{{name: checkpoint, files: '{'a' * 6_000}{{seed}}.pt'}}]"),
    "many files of a template": with_value("modes", "[{name: checkpoint, files: 'nowhere{seed}.pt'}]").replace(
        "seeds: [0]", f"seeds: {many(19_000, '@')}"
    ),
    "6000 characters of a name": with_value("name", "a" * 6_000),
    "devices": with_value("modes", "[{name: checkpoint, files: /dev/zero}]"),
    "memory of the process": with_value("modes", "[{name: checkpoint, files: /proc/self/mem}]"),
    "date": with_value("name", "2020-01-01"),
    "binary tag": SMALL + "description: !!binary aGVsbG8=\n",
    "python tag": SMALL + "description: !!python/object/apply:os.system ['exit 3']\n",
    "python tag by another name": "%TAG ! tag:yaml.org,2002:python/\n---\nname: !object/apply:os.system [x]\n",
    "tags of other types": SMALL + "eight_bit: !!bool maybe\n",
    "null of a text": SMALL + "description: !!null x\n",
    "number of a text": with_value("perturbations", f"[{noise('[!!float x]')}]"),
    "long tag": "!" * 5_000 + " x",
    "integer of 100000 digits": with_value("seeds", f"[{'9' * 100_000}]"),
    "seed of 900 digits": with_value("seeds", f"[{'9' * 900}]"),
    "steps of 900 digits": with_value("perturbations", f"[{{name: fgsm, steps: {'9' * 900}, beta: [0.1]}}]"),
    "epochs of 900 digits": with_value("modes", f"[{{name: vanilla, epochs: {'9' * 900}}}]"),
    "samples of 900 digits": with_value("perturbations", f"[{noise('[0.1]', ', samples: ' + '9' * 900)}]"),
    "beta 1e400": with_value("perturbations", f"[{noise('[1e400]')}]"),
    "beta of 200000 digits": with_value("perturbations", f"[{noise('[' + '9' * 200_000 + '.0]')}]"),
    "fractions": with_value("perturbations", "[{name: noise, beta: ['1/0', '1e999/1']}]"),
    "nested strengths": with_value("perturbations", f"[{noise('[' * 45 + '1' + ']' * 45)}]"),
}
BYTES: dict[str, bytes] = {
    **{name: SMALL.encode(name) for name in ("utf-16", "utf-16-be", "utf-32", "utf-8-sig")},
    "latin-1": (SMALL + "description: \xe9\n").encode("latin-1"),
    "encoded surrogate": SMALL.encode() + b"description: \xed\xa0\x80\n",
    "zeros": b"\0" * 200_000,
    "10 MB of no text": b"\xff" * 10_000_000,
    "nothing": b"",
}
VALID = {
    "grids at the limit",
    "strengths times certifiers",
    "many seeds",
    "cells at the limit",
    "many architectures",
    "date",
    "wide architectures",
    "utf-8-sig",
}
