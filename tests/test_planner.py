from __future__ import annotations

import sys
from typing import Any

import pytest
from conftest import TINY

from gtn_bench import planner, suite
from gtn_bench.cache import fingerprint, seed_for, with_imports
from gtn_bench.catalogue import TABLES, catalogue
from gtn_bench.cells import Plan
from gtn_bench.description import Description, Mistake, lookup
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack


def plan(*replace: tuple[str, str]) -> Plan:
    text = TINY
    for old, new in replace:
        assert old in text
        text = text.replace(old, new, 1)
    return planner.plan(suite.parse(text))


def cells(plan: Plan) -> dict[tuple[Any, ...], tuple[str, str, int]]:
    """Key, learner key and noise seed of every cell, by what it is called."""
    found = {}
    for cell in plan.cells:
        learner = cell.learner
        name = (learner.mode_label, learner.seed, cell.perturbation_label, cell.beta)
        learner_key = learner.key("cpu")
        found[name] = (cell.key("cpu", learner_key), learner_key, cell.noise_seed)
    return found


def test_a_learner_for_every_architecture_mode_and_seed_and_a_cell_for_every_strength() -> None:
    tiny = plan()
    assert len(tiny.learners) == 3 * 2 and len(tiny.cells) == 6 * 7 and len(tiny.teachers) == 1
    assert [cell.samples for cell in tiny.cells[:7]] == [20, 20, 20, 360, 360, 100, 100]
    assert {learner.teacher_label for learner in tiny.learners} == {"t", "none"}


def test_learners_of_a_teacher_are_trained_in_one_pass_if_they_move_at_the_same_rates() -> None:
    other_rates = "  - {name: gtn, label: slow, lr_factor: 0.5}\n"
    learners = plan(("modes:\n", "modes:\n" + other_rates)).learners
    passes = {(learner.mode_label, learner.seed): learner.trajectory for learner in learners}
    assert passes["2_gtn", 0] == passes["gtn", 0] != passes["slow", 0]
    assert len(set(passes.values())) == 3 * 2


def test_every_cell_has_a_key_of_its_own() -> None:
    keys = [key for key, _, _ in cells(plan()).values()]
    assert len(set(keys)) == len(keys)


def test_keys_and_seeds_do_not_depend_on_what_else_is_in_the_suite() -> None:
    whole = cells(plan())
    for part in (
        plan(("  - {name: noise, beta: [0, 0.5]}\n", "")),
        plan(("seeds: [0, 1]", "seeds: [1]")),
        plan(("  - gtn\n", "")),
        plan(("name: tiny", "name: other"), ("acceptance: 0.0", "acceptance: 0.9")),
        plan(("beta: [0, 0.5]", "beta: [0.5, 0.7]")),
        plan(("label: t, ", "label: teacher, ")),
    ):
        mine = cells(part)
        shared = mine.keys() & whole.keys()
        assert len(shared) >= 21 and all(mine[name] == whole[name] for name in shared)


# A change, and whether teachers, learners of the teacher, vanilla learners and noise cells must change with it.
CHANGES = {
    "meta_steps": (("meta_steps: 2", "meta_steps: 3"), (True, True, False)),
    "a teacher's architecture": (("architecture: linear", "architecture: base"), (True, True, False)),
    "inner_steps of a mode": (("inner_steps: 2}", "inner_steps: 1}"), (False, True, False)),
    "epochs": (("epochs: 2", "epochs: 3"), (False, False, True)),
    "an architecture's width": (("[linear]", "[{name: linear, hidden: [8]}]"), (False, True, True)),
}


@pytest.mark.parametrize("change, expected", CHANGES.values(), ids=CHANGES)
def test_keys_change_with_what_determines_the_numbers(
    change: tuple[str, str], expected: tuple[bool, bool, bool]
) -> None:
    def keys(plan: Plan) -> tuple[str, str, str]:
        learners = {learner.mode_label: learner.key("cpu") for learner in plan.learners}
        return plan.teachers[0].key("cpu"), learners["2_gtn"], learners["vanilla"]

    assert tuple(a != b for a, b in zip(keys(plan()), keys(plan(change)), strict=True)) == expected


@pytest.mark.parametrize(
    "change",
    [
        ("steps: 2, samples: 20, beta: [0, 0.05]", "steps: 3, samples: 20, beta: [0, 0.05]"),
        ("steps: 2, samples: 20, beta: [0, 0.05]", "steps: 2, samples: 21, beta: [0, 0.05]"),
        ("acceptance: 0.0", "units: normalized"),
        ("acceptance: 0.0", "precision: bfloat16"),
    ],
)
def test_cell_keys_change_with_the_perturbation(change: tuple[str, str]) -> None:
    name = ("vanilla", 0, "fgsm", 0.05)
    one, other = cells(plan())[name], cells(plan(change))[name]
    assert one[0] != other[0] and one[1] == other[1]


def test_bfloat16_is_for_attacks_that_look_for_no_boundary() -> None:
    text = TINY.replace("acceptance: 0.0", "precision: bfloat16")
    text += """  - {name: lbfgs, beta: [1]}
  - {name: pgd, label: searched, search: minimal, beta: [0.1]}
  - {name: torchattacks.PGD, beta: [0.1]}
"""
    found = {cell.perturbation_label: cell.precision for cell in planner.plan(suite.parse(text)).cells}
    coarse = {name for name, precision in found.items() if precision == "bfloat16"}
    assert coarse == {"fgsm", "lbfgs-penalty"} and len(found) == 7


def test_keys_change_with_the_kind_of_device_and_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = plan().learners[0]
    keys = {learner.key("cpu"), learner.key("cuda")}
    monkeypatch.setattr("gtn_bench.cache.fingerprint", lambda module: module + ("!" if "modes" in module else ""))
    keys.add(learner.key("cpu"))
    monkeypatch.setattr("gtn_bench.cache.installed", lambda package: "another version")
    keys.add(learner.key("cpu"))
    assert len(keys) == 4


def test_cell_keys_know_all_code_that_a_perturbation_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its module imports of the package of perturbations, and what that imports in turn."""
    package = "gtn_bench.perturbations"
    assert with_imports(f"{package}.lbfgs") >= {f"{package}.{name}" for name in ("base", "box_lbfgs", "line_search")}
    assert f"{package}.ascent" in with_imports(f"{package}.fgsm") - with_imports(f"{package}.noise")
    suite_ = suite.parse(TINY + "  - {name: lbfgs, beta: [1]}\n")
    found = {cell.perturbation_label: cell for cell in planner.plan(suite_).cells}
    before = {name: cell.key("cpu", "learner") for name, cell in found.items()}
    changed = "gtn_bench.perturbations.line_search"
    monkeypatch.setattr("gtn_bench.cache.fingerprint", lambda name: "!" if name == changed else fingerprint(name))
    assert [name for name, cell in found.items() if cell.key("cpu", "learner") != before[name]] == ["lbfgs"]


@pytest.mark.parametrize(
    "line",
    ["from .beside import f", "from . import beside", "from plugin import beside", "import plugin.beside"],
)
def test_a_plug_in_is_computed_by_what_it_imports_however(
    line: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin").mkdir()
    for name, text in {"__init__": "", "beside": "def f(): ...\n", "main": f"import os\n{line}\n"}.items():
        (tmp_path / "plugin" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plugin", raising=False)
    monkeypatch.delitem(sys.modules, "plugin.beside", raising=False)
    with_imports.cache_clear()
    assert with_imports("plugin.main") == {"plugin.main", "plugin.beside"}
    assert "plugin.beside" not in sys.modules  # found without running it


def test_relative_imports_are_those_of_the_package_that_they_stand_in(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nested" / "inner").mkdir(parents=True)
    texts = {"__init__": "", "main": "from .inner.one import f\n", "inner/__init__": "", "inner/two": ""}
    for name, text in {**texts, "inner/one": "from . import two\nfrom .. import main\n"}.items():
        (tmp_path / "nested" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert with_imports("nested.main") == {"nested.main", "nested.inner.one", "nested.inner", "nested.inner.two"}


def test_fingerprints_see_code_and_not_comments(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    variants = {
        "one": 'def f(x):\n    """Double."""\n    return 2 * x\n',
        "commented": '"""Module."""\n\n\ndef f(x):  # twice\n    """Twice."""\n    return (2 * x)\n',
        "another": "def f(x):\n    return 3 * x\n",
    }
    prints = {}
    for name, text in variants.items():
        (tmp_path / f"fingerprinted_{name}.py").write_text(text)
        prints[name] = fingerprint(f"fingerprinted_{name}")
    assert prints["one"] == prints["commented"] != prints["another"]


def test_seeds_come_from_content() -> None:
    assert seed_for("a", {"x": 1, "y": 2}) == seed_for("a", {"y": 2, "x": 1}) != seed_for("b", {"x": 1, "y": 2})
    assert 0 <= seed_for("a") < 2**63


def test_modes_share_initial_weights_and_noise_but_seeds_do_not() -> None:
    by_seed: dict[int, set[tuple[int, int]]] = {}
    for cell in plan().cells:
        if cell.perturbation_label == "noise":
            by_seed.setdefault(cell.learner.seed, set()).add((cell.learner.initial_seed, cell.noise_seed))
    assert all(len(seeds) == 1 for seeds in by_seed.values()) and by_seed[0] != by_seed[1]


def test_a_limit_leaves_an_image() -> None:
    assert {cell.samples for cell in planner.plan(suite.parse(TINY), limit=1e-9).cells} == {1}
    for limit in (0, -5, 0.0, 1.5):
        with pytest.raises(Mistake, match=r"^limit expects .*, got"):
            planner.plan(suite.parse(TINY), limit=limit)


def test_limit_and_units() -> None:
    limited = planner.plan(suite.parse(TINY), limit=10)
    assert {cell.samples for cell in limited.cells} == {10}
    normalized = plan(("acceptance: 0.0", "units: normalized"))
    cell = next(cell for cell in normalized.cells if cell.perturbation_label == "fgsm" and cell.beta == 0.05)
    assert cell.perturbation.beta == pytest.approx(0.05 * 0.3761)
    assert (
        normalized.axes["fgsm"] == "step size, normalised value"
        and normalized.axes["blur"] == "standard deviation, pixels"
    )


def test_a_perturbation_of_ones_own_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Invert(PERTURBATIONS["noise"]):  # type: ignore[misc]
        """Negative images, mixed in with weight beta."""

        name = "invert"

        def __call__(self, classifier: Any, x: Any, y: Any, seeds: Any) -> Any:
            return (1 - self.beta) * x + self.beta * (1 - x)

    monkeypatch.setitem(PERTURBATIONS, "invert", Invert)
    assert plan(("name: noise", "name: invert")).cells[3].perturbation == Invert(beta=0.0)


def test_plug_ins_are_found_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "third-party"

        def load(self) -> type[Description]:
            return PERTURBATIONS["noise"]

    def entry_points(group: str, name: str | None = None) -> list[Entry]:
        return [Entry()] if group == "gtn_bench.perturbations" and name in (None, "third-party") else []

    monkeypatch.setattr("gtn_bench.description.entry_points", entry_points)
    assert lookup(PERTURBATIONS, "perturbation", "third-party") is PERTURBATIONS["noise"]
    with pytest.raises(Mistake, match="did you mean 'third-party'"):
        lookup(PERTURBATIONS, "perturbation", "third_party")


@pytest.mark.parametrize("table", TABLES)
def test_catalogues_name_everything(table: str) -> None:
    rows = catalogue(table)
    known = TABLES[table][1]
    attacks = sum(len(cls.known) for cls in known.values() if issubclass(cls, LibraryAttack))
    assert len(rows) == len(known) + attacks
    rows = [row for row in rows if row["about"]]  # an attack of a library has a line of facts instead
    assert len(rows) == len(known)
    assert all(row["name"] and row["about"].endswith(".") and row["parameters"] is not None for row in rows)
