"""Start-up: what planning imports, memos of signatures and code, trials of library attacks before a run."""

from __future__ import annotations

import ast
import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.suites import TINY

import gtn_bench
from gtn_bench.config import suite
from gtn_bench.config.errors import ConfigError
from gtn_bench.inference.classifier import Classifier
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack
from gtn_bench.perturbations.libraries import constructors, namespaces
from gtn_bench.perturbations.libraries import named as named_attacks
from gtn_bench.perturbations.libraries.named import attack_classes, attack_parameters
from gtn_bench.perturbations.libraries.signatures import annotation_text
from gtn_bench.store import keys, memo, parsing

LIBRARIES: list[type[LibraryAttack]] = [PERTURBATIONS[name] for name in ("art", "foolbox", "torchattacks")]  # type: ignore[misc]
ATTACKS = """perturbations:
  - {name: art.ProjectedGradientDescent, params: {eps_step: 0.02, max_iter: 2}, samples: 20, beta: [0.05, 0.1]}
  - {name: foolbox.DDNAttack, label: ddn, params: {steps: 2}, samples: 20, beta: [0.3]}
  - {name: torchattacks.Square, label: square, params: {n_queries: 4}, samples: 20, beta: [0.1]}
"""


def with_perturbations(perturbations: str) -> str:
    return TINY[: TINY.index("perturbations:")] + perturbations


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty cache folder; nothing that a test stores stays in this process."""
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "cache"))
    clear()
    yield tmp_path / "cache"
    clear()


def clear() -> None:
    """Forget what this process has read, as a new process does."""
    attack_parameters.cache_clear()
    parsing._stored.cache_clear()
    parsing._said.clear()
    parsing._unsaved.clear()
    keys._reads.clear()
    keys._code_texts.clear()
    keys.imports_of.cache_clear()


def signatures(cache: Path, library: type[LibraryAttack]) -> list[Path]:
    return sorted((cache / "memo").glob(f"signatures-{library.name}-*.json"))


def matches(library: type[LibraryAttack]) -> bool:
    """Return whether the package contains the parameters of the installed version of a library."""
    return constructors.shipped_parameters(library.name, library.namespace) is not None


def ignore_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constructors, "source_hash", lambda namespace: "another source")


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_shipped_parameters_are_those_that_the_library_has(
    library: type[LibraryAttack], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not matches(library):
        pytest.skip(f"another version of {library.name} is installed")
    with monkeypatch.context() as patched:
        patched.setattr(named_attacks, "attack_classes", lambda library: pytest.fail("imports the library"))
        shipped = attack_parameters(library)
    clear()
    ignore_shipped(monkeypatch)
    monkeypatch.setattr(constructors, "recall", lambda kind, stamp: None)
    read = attack_parameters(library)
    assert constructors.encoded(shipped) == constructors.encoded(read) and list(shipped) == list(read)
    missing = set(constructors.shipped_parameters(library.name, library.namespace) or ()) - {*read}
    assert {library.known[name].package for name in missing} <= {"numba"}


def test_shipped_parameters_of_another_source_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "somelibrary").mkdir()
    source = tmp_path / "somelibrary" / "__init__.py"
    source.write_text("first")
    content = {
        "some": {"version": "1", "source": constructors.source_hash("somelibrary.attacks"), "classes": {"A": []}}
    }
    monkeypatch.setattr(constructors, "SHIPPED", tmp_path / "constructors.json")
    constructors.SHIPPED.write_text(json.dumps(content))
    assert constructors.shipped_parameters("some", "somelibrary.attacks") == {"A": []}
    assert constructors.shipped_parameters("other", "somelibrary.attacks") is None
    source.write_text("other")  # of the same size
    assert constructors.shipped_parameters("some", "somelibrary.attacks") is None
    assert "somelibrary" not in sys.modules


@pytest.mark.parametrize("shipped", [True, False])
@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_stored_parameters_are_those_of_the_constructors(
    library: type[LibraryAttack], shipped: bool, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shipped:
        ignore_shipped(monkeypatch)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    first = attack_parameters(library)
    clear()
    monkeypatch.setattr(named_attacks, "attack_classes", lambda library: pytest.fail("imports the library"))
    again = attack_parameters(library)
    assert list(first) == list(again) == list(attack_classes(library))
    for name, cls in attack_classes(library).items():
        theirs = inspect.signature(cls.__init__).parameters.values()
        expected = {one.name: one for one in theirs if one.name != "self" and one.kind in named}
        assert list(again[name]) == list(first[name]) == list(expected)
        for one, true in zip(again[name].values(), expected.values(), strict=True):
            assert one.kind == true.kind
            if isinstance(one.default, constructors.UnnamedDefault):
                assert not isinstance(true.default, bool | int | float | str | tuple | list | None)
            else:
                assert (type(one.default), one.default) == (type(true.default), true.default)
            if library.name != "torchattacks":  # whose docstrings tell types
                assert one.annotation == annotation_text(true)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[" * 100_000,
        lambda text: "\udcff",
        lambda text: "[]",
        lambda text: text.replace('"eps"', '"epsilon"'),
        lambda text: json.dumps({**json.loads(text), "content": {}}),
        lambda text: json.dumps({**json.loads(text), "stamp": {}}),
    ],
    ids=["empty", "truncated", "nested", "no UTF-8", "a list", "edited", "without content", "of another stamp"],
)
def test_damaged_memos_are_computed_again(damage: Any, cache: Path) -> None:
    library = PERTURBATIONS["torchattacks"]
    assert issubclass(library, LibraryAttack)
    before = attack_parameters(library)
    (path,) = signatures(cache, library)
    intact = path.read_bytes()
    path.write_bytes(damage(intact.decode()).encode(errors="surrogateescape"))
    assert path.read_bytes() != intact
    clear()
    with pytest.warns(RuntimeWarning, match=r"memo/\S+: its checksum does not match; it was renamed to \S+ and"):
        assert attack_parameters(library) == before
    assert path.read_bytes() == intact and path.with_name(f"{path.name}.corrupt").exists()


def test_versions_do_not_mix(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = PERTURBATIONS["torchattacks"]
    assert issubclass(library, LibraryAttack)
    whole = attack_parameters(library)
    classes = {name: cls for name, cls in attack_classes(library).items() if name == "PGD"}
    with monkeypatch.context() as patched:
        patched.setattr(named_attacks, "attack_classes", lambda library: classes)
        patched.setattr(constructors, "installed", lambda package: "another version")
        ignore_shipped(patched)
        clear()
        assert list(attack_parameters(library)) == ["PGD"]
    clear()
    assert attack_parameters(library) == whole and len(signatures(cache, library)) == 2


def test_stamp_changes_with_files_and_optional_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "somelibrary"
    package.mkdir()
    (package / "__init__.py").write_text("")
    code = [named_attacks.__name__]
    stamps = [constructors.library_stamp("somelibrary.attacks", ["numba"], code)]
    (package / "attacks.py").write_text("class A: ...\n")
    stamps.append(constructors.library_stamp("somelibrary.attacks", ["numba"], code))
    monkeypatch.setattr(constructors, "installed", lambda package: "absent")
    stamps.append(constructors.library_stamp("somelibrary.attacks", ["numba"], code))
    assert None not in stamps and len({json.dumps(stamp) for stamp in stamps}) == 3
    assert "somelibrary" not in sys.modules
    assert constructors.library_stamp("absentlibrary.attacks", [], code) is None


def test_plug_ins_are_not_stored(cache: Path) -> None:
    class Own(LibraryAttack):
        """A library of a plug-in, whose code can change at any time."""

        name = "own"
        namespace = "torchattacks"
        base_class = "torchattacks.attack:Attack"
        packages = ("torchattacks",)
        handled = ("model",)
        known = {}
        others = {}

    assert "PGD" in attack_parameters(Own) and not (cache / "memo").exists()


def test_cache_that_cannot_be_written_to_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GTN_BENCH_CACHE", str(tmp_path / "file" / "folder"))
    assert "PGD" in attack_parameters(LIBRARIES[2])
    memo.remember("code", {}, [1])
    assert memo.recall("code", {}) is None


@pytest.mark.slow
def test_planning_library_attacks_imports_no_library_whose_signatures_are_known(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(with_perturbations(ATTACKS))
    code = (
        "import sys, gtn_bench; from gtn_bench.planning.keys import keys_of;"
        "from gtn_bench.perturbations.libraries import constructors;"
        "constructors.source_hash = constructors.source_hash if sys.argv[2:] else lambda namespace: 'another source';"
        "keys_of(gtn_bench.plan(gtn_bench.load(sys.argv[1])), 'cpu');"
        "print(*sorted({'torch', 'art', 'foolbox', 'torchattacks', 'pandas', 'scipy', 'matplotlib'} & {*sys.modules}))"
    )

    def imported(*arguments: str) -> set[str]:
        command = [sys.executable, "-c", code, str(path), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
        assert done.returncode == 0, done.stderr
        return set(done.stdout.split())

    if all(map(matches, LIBRARIES)):
        assert imported("shipped") == set()
        shutil.rmtree(cache)
    assert imported() >= {"torch", "art", "foolbox", "torchattacks"}  # to read the signatures
    assert imported() == set()


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_names_that_the_source_of_a_library_lacks_are_no_attacks_of_it(library: type[LibraryAttack]) -> None:
    names = namespaces.names_in(library.namespace)
    assert names is not None and names >= {*attack_classes(library), *library.known} and "Nope" not in names


def test_names_that_cannot_be_known_from_a_source_are_not_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {"plain": "class A: pass", "stars": "from math import *", "any_name": "def __getattr__(name): return 1"}
    sources |= {"writes": "globals()['B'] = 1", "broken": "class"}
    for package, source in sources.items():
        (tmp_path / package / "attacks").mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')")
        (tmp_path / package / "attacks" / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    absent = {package: namespaces.is_absent("B", f"{package}.attacks") for package in (*sources, "not_installed")}
    assert absent == {"plain": True} | dict.fromkeys(("stars", "any_name", "writes", "broken", "not_installed"), False)
    assert not namespaces.is_absent("A", "plain.attacks")


@pytest.mark.parametrize(
    "attack, hint",
    [
        ("torchattacks.Nope", ""),
        ("torchattacks.PDGL2", "; did you mean 'torchattacks.PGDL2'?"),
        ("art.PGD", "; did you mean 'art.ProjectedGradientDescent'?"),
        ("foolbox.LinfPDG", "; did you mean 'foolbox.LinfPGD'?"),
    ],
)
def test_an_unknown_attack_is_refused_without_importing_its_library(attack: str, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(with_perturbations(f"perturbations: [{{name: {attack}, beta: [0.1]}}]"))
    code = (
        "import sys, gtn_bench\n"
        "try: gtn_bench.plan(gtn_bench.load(sys.argv[1]))\n"
        "except gtn_bench.ConfigError as error: print(error)\n"
        "print(*sorted({'torch', 'art', 'foolbox', 'torchattacks'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, env={**os.environ})
    assert done.stdout.splitlines() == [f"mine.yaml: perturbations[0]: unknown attack '{attack}'{hint}", ""]


def test_code_memo_gives_the_same_keys_without_parsing(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    plan = gtn_bench.plan(suite.parse(TINY))
    from gtn_bench.planning.keys import keys_of

    first = keys_of(plan, "cpu")
    (path,) = (cache / "memo").glob("code-*.json")
    clear()
    with monkeypatch.context() as patched:
        patched.setattr(ast, "parse", lambda text: pytest.fail("parses"))
        assert keys_of(plan, "cpu") == first
    path.write_text("{}")
    clear()
    with pytest.warns(RuntimeWarning, match="its checksum does not match; it was renamed"):
        assert keys_of(plan, "cpu") == first
    assert path.read_text() != "{}"


@pytest.mark.parametrize("package", ["inner", "other"])
def test_what_a_text_says_depends_on_text_and_package_alone(package: str, tmp_path: Path) -> None:
    text = (
        '"""Docstring."""\nfrom . import beside\nif TYPE_CHECKING:\n    import never\ntry:\n    import json.decoder\n'
    )
    source = tmp_path / "main.py"
    source.write_text(text + "except ImportError:\n    pass\n")
    names, code = parsing.what_it_says(source, f"{package}.main")
    assert names == {package, f"{package}.beside", "json.decoder"}
    source.write_text(text.replace("Docstring", "Other words") + "except ImportError:  # comment\n    pass\n")
    assert parsing.what_it_says(source, f"{package}.main") == (names, code)
    source.write_text(text + "except ImportError:\n    raise\n")
    assert parsing.what_it_says(source, f"{package}.main")[1] != code


REFUSED = "  - {name: art.SquareAttack, params: {max_iter: 10, p_init: 1.5}, samples: 20, beta: [0.1]}\n"


def test_run_tries_library_attacks_before_any_training(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(with_perturbations(ATTACKS + REFUSED))
    plan = gtn_bench.plan(gtn_bench.load(path))
    with pytest.raises(ConfigError) as refused:
        gtn_bench.run(plan, tmp_path / "out", workers=1)
    assert str(refused.value) == (
        "mine.yaml: perturbations[3]: attack 'art.SquareAttack' refuses its parameters: ValueError: The argument "
        "p_init has to be either of type int or float and in range [0, 1]."
    )
    assert {folder.name for folder in cache.iterdir()} <= {"memo"}


def test_finished_cells_are_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = gtn_bench.plan(suite.parse(with_perturbations(ATTACKS).replace("seeds: [0, 1]", "seeds: [0]")))
    tried = []
    real = LibraryAttack.try_out

    def record(self: LibraryAttack, dataset: Any) -> None:
        tried.append((self.title, self.beta))
        real(self, dataset)

    monkeypatch.setattr(LibraryAttack, "try_out", record)
    gtn_bench.run(plan, tmp_path / "out", workers=1)
    titles = ["art.ProjectedGradientDescent", "foolbox.DDNAttack", "torchattacks.Square"]
    assert tried == [(titles[0], 0.1), (titles[0], 0.05), (titles[1], 0.3), (titles[2], 0.1)]  # the middle one first
    gtn_bench.run(plan, tmp_path / "out", workers=1)
    assert len(tried) == 4


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_table_of_untargeted_attacks_agrees_with_the_library(
    library: type[LibraryAttack], classifier: Classifier
) -> None:
    """Only torchattacks says which attacks have a targeted mode."""
    if library.name != "torchattacks":
        assert not hasattr(next(iter(attack_classes(library).values())), "set_mode_targeted_by_label")
        return
    from gtn_bench.inference.views import as_torchattacks
    from gtn_bench.perturbations.libraries.torchattacks import _UNTARGETED

    untargeted = set()
    for name in library.known:
        parameters = attack_parameters(library)[name].values()
        required = {one.name: 1 for one in parameters if one.default is one.empty and one.name != "model"}
        made = attack_classes(library)[name](as_torchattacks(classifier), **required)
        untargeted |= set() if "targeted" in made.supported_mode else {name}
    assert untargeted | {"FAB"} == set(_UNTARGETED)
