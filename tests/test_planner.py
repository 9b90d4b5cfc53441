"""Plans: which learners and cells a suite means, what their keys cover, where their seeds come from."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from helpers.architectures import AVAILABLE, instance
from helpers.suites import TINY
from torch import Tensor, nn

import gtn_bench.inference
from gtn_bench.config import suite
from gtn_bench.config.description import Description, lookup
from gtn_bench.config.errors import ConfigError
from gtn_bench.data import DATASETS
from gtn_bench.data.digits import Digits
from gtn_bench.execution import loading, tasks
from gtn_bench.inference.classifier import Classifier
from gtn_bench.models import ARCHITECTURES
from gtn_bench.modes import MODES
from gtn_bench.modes.training import train
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack
from gtn_bench.planning import planner
from gtn_bench.planning.catalog import TABLES, catalog
from gtn_bench.planning.cells import Cell, Learner, Plan, TaughtBy
from gtn_bench.store import keys
from gtn_bench.store.cache import Context, Store
from gtn_bench.store.hashing import seed_for
from gtn_bench.store.keys import fingerprint, imports_of, key_for
from gtn_bench.teaching import TEACHERS


def plan(*replace: tuple[str, str]) -> Plan:
    text = TINY
    for old, new in replace:
        assert old in text
        text = text.replace(old, new, 1)
    return planner.plan(suite.parse(text))


def cells(plan: Plan) -> dict[tuple[Any, ...], tuple[str, str, int]]:
    """Return key, learner key and noise seed of every cell, by its labels."""
    found = {}
    for cell in plan.cells:
        learner = cell.learner
        name = (learner.mode_label, learner.seed, cell.perturbation_label, cell.beta)
        learner_key = learner.key("cpu")
        found[name] = (cell.key("cpu", learner_key), learner_key, cell.noise_seed)
    return found


def test_plan_has_a_learner_per_architecture_mode_and_seed_and_a_cell_per_strength() -> None:
    tiny = plan()
    assert len(tiny.learners) == 3 * 2 and len(tiny.cells) == 6 * 7 and len(tiny.teachers) == 1
    assert [cell.samples for cell in tiny.cells[:7]] == [20, 20, 20, 360, 360, 100, 100]
    assert {learner.teacher_label for learner in tiny.learners} == {"t", "none"}


def test_modes_with_equal_lr_factor_share_a_trajectory() -> None:
    other_rates = "  - {name: gtn, label: slow, lr_factor: 0.5}\n"
    learners = plan(("modes:\n", "modes:\n" + other_rates)).learners
    passes = {(learner.mode_label, learner.seed): learner.trajectory for learner in learners}
    assert passes["2_gtn", 0] == passes["gtn", 0] != passes["slow", 0]
    assert len(set(passes.values())) == 3 * 2


def test_cell_keys_are_unique() -> None:
    found = [key for key, _, _ in cells(plan()).values()]
    assert len(set(found)) == len(found)


def test_keys_and_seeds_do_not_depend_on_other_parts_of_the_suite() -> None:
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
def test_keys_change_with_the_fields_that_determine_the_numbers(
    change: tuple[str, str], expected: tuple[bool, bool, bool]
) -> None:
    def keys_of(plan: Plan) -> tuple[str, str, str]:
        learners = {learner.mode_label: learner.key("cpu") for learner in plan.learners}
        return plan.teachers[0].key("cpu"), learners["2_gtn"], learners["vanilla"]

    assert tuple(a != b for a, b in zip(keys_of(plan()), keys_of(plan(change)), strict=True)) == expected


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


def test_bfloat16_applies_only_to_native_gradient_attacks_without_search() -> None:
    text = TINY.replace("acceptance: 0.0", "precision: bfloat16")
    text += """  - {name: lbfgs, beta: [1]}
  - {name: pgd, label: searched, search: minimal, beta: [0.1]}
  - {name: pgd, label: bisected, search: bisection, beta: [0.1]}
  - {name: torchattacks.PGD, beta: [0.1]}
"""
    found = {cell.perturbation_label: cell.precision for cell in planner.plan(suite.parse(text)).cells}
    in_bfloat16 = {name for name, precision in found.items() if precision == "bfloat16"}
    assert in_bfloat16 == {"fgsm", "lbfgs-penalty"} and len(found) == 8


def edit(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Let a module have another fingerprint, as if its code were edited."""
    monkeypatch.setattr(keys, "fingerprint", lambda name: "edited" if name == module else fingerprint(name))
    monkeypatch.setattr(keys, "_code_texts", {})


def covered(monkeypatch: pytest.MonkeyPatch, key: Callable[[], str]) -> set[str]:
    """Return the modules whose code a key covers."""
    found = set()

    def record(module: str) -> str:
        found.add(module)
        return fingerprint(module)

    with monkeypatch.context() as patched:
        patched.setattr(keys, "fingerprint", record)
        patched.setattr(keys, "_code_texts", {})
        key()
    return found


# Modules that keys do not cover: they decide what is computed, which is content of the key, or schedule and store it.
UNCOVERED = ("gtn_bench.planning", "gtn_bench.execution", *keys.INFRASTRUCTURE)


def executed(task: Callable[[], object]) -> set[str]:
    """Return the modules of the package whose functions a task calls, except `UNCOVERED`."""
    found: set[str] = set()

    def record(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            found.add(frame.f_globals.get("__name__") or "")

    sys.setprofile(record)
    try:
        task()
    finally:
        sys.setprofile(None)
    mine = {module for module in found if module.startswith("gtn_bench.")}
    return {module for module in mine if not f"{module}.".startswith(tuple(f"{home}." for home in UNCOVERED))}


class Fields(NamedTuple):
    """Fields with which every teacher and every mode can be built and trained in a moment, by name."""

    teachers: dict[str, dict[str, Any]]
    modes: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    folder = tmp_path_factory.mktemp("files")
    small: dict[str, Any] = {
        "architecture": "linear",
        "inner_steps": 2,
        "batch_size": 10,
        "meta_batch_size": 10,
        "meta_steps": 1,
    }
    teaching_set = str(folder / "set.safetensors")
    TEACHERS["cgtn"](**small)(Digits(), Digits()(), device="cpu").save(Path(teaching_set))
    x, y = Digits()()["train"][:10]
    torch.save({"images": x, "labels": y}, folder / "set.pt")
    weights = str(folder / "weights.pt")
    torch.save(ARCHITECTURES["base_larger4"]()(Digits(), 0).state_dict(), weights)
    teachers: dict[str, dict[str, Any]] = {
        **{name: small for name in TEACHERS},
        "real-init-cgtn": {**small, "imitation_steps": 1},
        "continued-cgtn": {**small, "imitation_steps": 1, "start": teaching_set},
        "trained": {"teaching_set": teaching_set},
    }
    modes: dict[str, dict[str, Any]] = {
        **{name: {"steps": 1} for name in MODES},
        "10_gtn": {"inner_steps": 2},
        "gtn": {"inner_steps": 1},
        "distilled": {"file": str(folder / "set.pt"), "steps": 1},
        "pretrained": {},
        "checkpoint": {"files": weights},
    }
    return Fields(teachers, modes)


def taught_by(name: str, fields: Fields) -> TaughtBy:
    return TaughtBy(name, TEACHERS[name](**fields.teachers[name]), Digits())


def learner(name: str, fields: Fields, *, architecture: str = "linear", dataset: str = "digits") -> Learner:
    mode = MODES[name](**fields.modes[name])
    teacher = taught_by("cgtn", fields) if mode.needs_teacher else None
    return Learner(DATASETS[dataset](), teacher, architecture, instance(architecture), name, mode, seed=0)


INFERENCE = [gtn_bench.inference.__name__] + [
    f"{gtn_bench.inference.__name__}.{module.name}" for module in pkgutil.iter_modules(gtn_bench.inference.__path__)
]


@pytest.mark.parametrize("module", INFERENCE)
def test_editing_inference_changes_keys_of_cells_but_not_of_teachers_and_learners(
    module: str, fields: Fields, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[TaughtBy | Learner] = [taught_by(name, fields) for name in TEACHERS]
    trained += [learner(mode, fields, architecture=architecture) for mode in MODES for architecture in AVAILABLE]
    whole = [
        name for name, cls in DATASETS.items() if not any(field.is_required() for field in cls.model_fields.values())
    ]
    trained += [learner("vanilla", fields, dataset=name) for name in whole]
    evaluated = {
        cell.perturbation_label: cell
        for cell in planner.plan(suite.parse(TINY + "  - {name: foolbox.LinfPGD, samples: 5, beta: [0.1]}\n")).cells
    }
    before = [part.key("cpu") for part in trained]
    cells_before = {label: cell.key("cpu", "learner") for label, cell in evaluated.items()}
    clean_before = evaluated["noise"].clean_key("cpu", "learner")
    edit(monkeypatch, module)
    assert len(trained) > 60 and [part.key("cpu") for part in trained] == before
    if module == gtn_bench.inference.__name__:
        return  # it holds no code
    changed = {label for label, cell in evaluated.items() if cell.key("cpu", "learner") != cells_before[label]}
    only_libraries = module == "gtn_bench.inference.views"
    assert changed == ({"foolbox.LinfPGD"} if only_libraries else set(evaluated))
    assert (evaluated["noise"].clean_key("cpu", "learner") != clean_before) is not only_libraries


def test_keys_change_with_every_module_that_they_cover(fields: Fields, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = plan().cells[0]
    for key, least in (
        (lambda: taught_by("real-init-cgtn", fields).key("cpu"), "gtn_bench.teaching.initialized"),
        (lambda: learner("adversarial", fields).key("cpu"), "gtn_bench.modes.real_data"),
        (lambda: cell.key("cpu", "learner"), "gtn_bench.perturbations.ascent"),
        (lambda: cell.key("cpu", "learner"), "gtn_bench.config.threat"),
    ):
        modules = covered(monkeypatch, key)
        assert least in modules and len(modules) > 15
        before = key()
        for module in modules:
            with monkeypatch.context() as patched:
                edit(patched, module)
                assert key() != before, module


@pytest.mark.parametrize("name", TEACHERS)
def test_keys_of_teachers_cover_all_code_that_meta_training_executes(
    name: str, fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, context = taught_by(name, fields), Context(Store(tmp_path), "cpu")
    loading.splits.cache_clear()
    run = executed(lambda: tasks.meta_train(context, "teacher", teacher, lambda steps: None))
    assert {"gtn_bench.data.digits", "gtn_bench.teaching.teaching_set"} <= run
    assert run <= covered(monkeypatch, lambda: teacher.key("cpu"))


@pytest.mark.parametrize("name", MODES)
def test_keys_of_learners_cover_all_code_that_training_executes(
    name: str, fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, context = learner(name, fields, architecture="base_larger4"), Context(Store(tmp_path), "cpu")
    teacher_key = None
    if one.taught_by:
        teacher_key = "teacher"
        tasks.meta_train(context, teacher_key, one.taught_by, lambda steps: None)
    loading.splits.cache_clear()
    run = executed(lambda: tasks.train_learners(context, {"learner": one}, teacher_key))
    assert {"gtn_bench.data.digits", "gtn_bench.models.layers", "gtn_bench.modes.training"} <= run
    assert run <= covered(monkeypatch, lambda: one.key("cpu"))


def test_keys_of_cells_cover_all_code_that_evaluation_executes(
    tmp_path: Path, fields: Fields, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TINY[: TINY.index("perturbations:")] + "perturbations:\n"
    for name, cls in PERTURBATIONS.items():
        if not issubclass(cls, LibraryAttack):
            steps = "steps: 2, " if "steps" in cls.model_fields else ""
            text += f"  - {{name: {name}, {steps}samples: 3, beta: [1]}}\n"
    text += "  - {name: foolbox.LinfPGD, samples: 3, beta: [0.1]}\n"
    text += "  - {name: torchattacks.PGD, samples: 3, beta: [0.1]}\n"
    text += "  - {name: art.BasicIterativeMethod, samples: 3, beta: [0.1]}\n"
    for search in ("minimal", "bisection"):
        text += f"  - {{name: pgd, label: {search}, steps: 2, search: {search}, samples: 3, beta: [0.1]}}\n"
    one, context = learner("vanilla", fields), Context(Store(tmp_path), "cpu")
    tasks.train_learners(context, {"learner": one}, None)
    found = {cell.perturbation_label: cell for cell in planner.plan(suite.parse(text)).cells if cell.learner.seed == 0}
    assert len(found) == len(PERTURBATIONS) + 2
    for label, cell in found.items():
        same = Cell(one, label, cell.perturbation, cell.beta, cell.samples, cell.precision, cell.protocol)
        loading.classifier_of.cache_clear()
        loading.clean_prediction.cache_clear()
        run = executed(partial(tasks.evaluate_sweep, context, "learner", {"cell": same}))
        assert "gtn_bench.evaluation.evaluate" in run and context.store.holds("cells", "cell")
        of_cell = covered(monkeypatch, partial(same.key, "cpu", "learner"))
        assert run <= of_cell | covered(monkeypatch, partial(one.key, "cpu")), label


LOADED = """
import sys
import gtn_bench.data, gtn_bench.models, gtn_bench.modes, gtn_bench.teaching
from gtn_bench.data.digits import Digits
before = set(sys.modules)
{task}
folders = "gtn_bench.data.", "gtn_bench.models.", "gtn_bench.teaching.", "gtn_bench.modes."
print(*(name for name in sys.modules if name.startswith(folders) and name not in before))
"""
TRAIN = """
from gtn_bench.models.architectures import Base
from gtn_bench.modes.real_data import Vanilla
from gtn_bench.modes.training import train
train([Vanilla(steps=1)], Base()(Digits(), 0), Digits(), Digits()()["train"], None, seed=0)
"""
META_TRAIN = """
from gtn_bench.teaching.teachers import CurriculumGTN
size = dict(inner_steps=2, batch_size=10, meta_batch_size=10, meta_steps=1)
CurriculumGTN(architecture="base", **size)(Digits(), Digits()(), device="cpu")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("task", "name"), [(TRAIN, "vanilla"), (META_TRAIN, "cgtn")], ids=["learner", "teacher"])
def test_keys_cover_all_modules_that_training_loads_when_it_needs_them(
    task: str, name: str, fields: Fields, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules that the packages load with their tables do not count: most of them belong to other entries."""
    part = taught_by(name, fields) if name in TEACHERS else learner(name, fields)
    done = subprocess.run([sys.executable, "-c", LOADED.format(task=task)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"gtn_bench.models.layers", "gtn_bench.models.pooling", "gtn_bench.teaching.teaching_set"} <= loaded
    assert loaded <= covered(monkeypatch, lambda: part.key("cpu"))


def test_keys_change_with_the_type_of_device_the_code_and_the_version_of_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = plan().learners[0]
    found = {one.key("cpu"), one.key("cuda")}
    monkeypatch.setattr(keys, "fingerprint", lambda module: module + ("!" if "modes" in module else ""))
    monkeypatch.setattr(keys, "_code_texts", {})
    found.add(one.key("cpu"))
    monkeypatch.setattr(keys, "installed", lambda package: "another version")
    found.add(one.key("cpu"))
    assert len(found) == 4


def test_cell_keys_cover_all_modules_that_a_perturbation_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both the imports of its module and what those import in turn count."""
    package = "gtn_bench.perturbations"
    lbfgs, fgsm, noise = (imports_of(frozenset({f"{package}.{name}"})) for name in ("lbfgs", "fgsm", "noise"))
    assert lbfgs >= {f"{package}.{name}" for name in ("base", "optim.lbfgsb", "optim.line_search")}
    assert f"{package}.ascent" in fgsm - noise
    suite_ = suite.parse(TINY + "  - {name: lbfgs, beta: [1]}\n")
    found = {cell.perturbation_label: cell for cell in planner.plan(suite_).cells}
    before = {name: cell.key("cpu", "learner") for name, cell in found.items()}
    edit(monkeypatch, "gtn_bench.perturbations.optim.line_search")
    assert [name for name, cell in found.items() if cell.key("cpu", "learner") != before[name]] == ["lbfgs"]


Write = Callable[[dict[str, str]], None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Yield a function that writes modules of new packages: texts by path without suffix."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(texts: dict[str, str]) -> None:
        for name, text in texts.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        imports_of.cache_clear()
        keys._reads.clear()
        keys._code_texts.clear()

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    imports_of.cache_clear()
    keys._reads.clear()
    keys._code_texts.clear()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from .beside import f", {"plugin.beside"}),
        ("from . import beside", {"plugin", "plugin.beside"}),
        ("from plugin import beside", {"plugin", "plugin.beside"}),
        ("import plugin.beside", {"plugin.beside"}),
        ("def g():\n    from plugin.beside import f", {"plugin.beside"}),
    ],
)
def test_imports_of_a_plug_in_are_found_in_every_form(line: str, found: set[str], package: Write) -> None:
    texts = {"__init__": "", "beside": "def f(): ...\n", "main": f"import os\n{line}\n"}
    package({f"plugin/{name}": text for name, text in texts.items()})
    assert imports_of(frozenset({"plugin.main"})) == {"plugin.main", *found}
    assert "plugin.beside" not in sys.modules  # found without executing it


def test_relative_imports_start_at_the_package_of_their_module(package: Write) -> None:
    texts = {"__init__": "", "main": "from .inner.one import f\n", "inner/__init__": "", "inner/two": ""}
    texts["inner/one"] = "from . import two\nfrom .. import main\n"
    package({f"nested/{name}": text for name, text in texts.items()})
    found = imports_of(frozenset({"nested.main"}))
    assert found == {"nested", "nested.main", "nested.inner.one", "nested.inner", "nested.inner.two"}


def test_keys_change_with_code_behind_two_re_exports(package: Write) -> None:
    def key() -> str:
        return key_for({}, code=["outer.main"], device="cpu")

    texts = {
        "outer/__init__": "",
        "outer/main": "from outer.a import f\n",
        "outer/a/__init__": "from outer.a.b import f\n",
        "outer/a/b/__init__": "from .c import f\n",
        "outer/a/b/c": "def f():\n    return 1\n",
        "outer/a/b/unused": "def f():\n    return 1\n",
    }
    package(texts)
    before = key()
    package({"outer/a/b/unused": "def f():\n    return 2\n"})
    assert key() == before
    package({"outer/a/b/c": "def f():\n    return 2\n"})
    assert key() != before


def test_imports_under_type_checking_are_not_followed(package: Write) -> None:
    main = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from typed.names import A\n    if A:\n        import typed.more\n"
        "else:\n    from typed.real import A\n"
    )
    package({"typed/__init__": "", "typed/names": "A = 1\n", "typed/more": "", "typed/real": "A = 1\n"})
    package({"typed/main": main})
    assert imports_of(frozenset({"typed.main"})) == {"typed.main", "typed.real"}


def test_fingerprints_ignore_comments_and_docstrings(package: Write) -> None:
    variants = {
        "one": 'def f(x):\n    """Double."""\n    return 2 * x\n',
        "commented": '"""Module."""\n\n\ndef f(x):  # twice\n    """Twice."""\n    return (2 * x)\n',
        "another": "def f(x):\n    return 3 * x\n",
    }
    package({f"fingerprinted_{name}": text for name, text in variants.items()})
    prints = {name: fingerprint(f"fingerprinted_{name}") for name in variants}
    assert prints["one"] == prints["commented"] != prints["another"]


PLUG_IN = '''
import torch
from gtn_bench.modes.real_data import Vanilla
from gtn_bench.perturbations.noise import Noise


class Brief(Vanilla):
    """Two steps on noisy images."""

    name = "brief"
    steps: int | None = 2

    def prepare_batch(self, network, x, y, generator):
        return x + torch.rand(x.shape, generator=generator)


class Double(Noise):
    """Twice the noise."""

    name = "double"

    def __call__(self, classifier, x, y, seeds):
        return x + 2 * (super().__call__(classifier, x, y, seeds) - x)
'''


def test_seeds_and_results_do_not_depend_on_the_module_of_a_description(
    package: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    package({"here": PLUG_IN, "elsewhere/__init__": "", "elsewhere/deep/__init__": "", "elsewhere/deep/there": PLUG_IN})
    seeds: list[tuple[int, int, int]] = []
    results: list[tuple[dict[str, Tensor], Tensor]] = []
    x, y = Digits()()["test"][:5]
    for module in ("here", "elsewhere.deep.there"):
        plug_in = importlib.import_module(module)
        monkeypatch.setitem(MODES, "brief", plug_in.Brief)
        monkeypatch.setitem(PERTURBATIONS, "double", plug_in.Double)
        changed = plan(("name: vanilla, epochs: 2", "name: brief"), ("name: noise", "name: double"))
        (cell,) = (
            cell
            for cell in changed.cells
            if (cell.learner.mode_label, cell.learner.seed, cell.perturbation_label, cell.beta)
            == ("brief", 1, "double", 0.5)
        )
        assert type(cell.perturbation).__module__ == type(cell.learner.mode).__module__ == module
        one = cell.learner
        seeds.append((one.initial_seed, one.training_seed, cell.noise_seed))
        network: nn.Module = one.architecture(one.dataset, one.initial_seed)
        (state,) = train([one.mode], network, one.dataset, Digits()()["train"], None, seed=one.training_seed)
        network.load_state_dict(state)
        classifier = Classifier(network.eval(), (1, 8, 8), 10)
        results.append((state, cell.perturbation(classifier, x, y, cell.noise_seed + torch.arange(5))))
    assert seeds[0] == seeds[1] and len(set(seeds[0])) == 3
    assert all(torch.equal(results[0][0][name], results[1][0][name]) for name in results[0][0])
    assert torch.equal(results[0][1], results[1][1]) and not torch.equal(results[0][1], x)


def test_seeds_depend_only_on_content() -> None:
    assert seed_for("a", {"x": 1, "y": 2}) == seed_for("a", {"y": 2, "x": 1}) != seed_for("b", {"x": 1, "y": 2})
    assert 0 <= seed_for("a") < 2**63
    assert seed_for("a", 1) == 697930202312019326  # published numbers depend on the seeds


def test_modes_of_a_seed_share_initial_weights_and_noise() -> None:
    by_seed: dict[int, set[tuple[int, int]]] = {}
    for cell in plan().cells:
        if cell.perturbation_label == "noise":
            by_seed.setdefault(cell.learner.seed, set()).add((cell.learner.initial_seed, cell.noise_seed))
    assert all(len(seeds) == 1 for seeds in by_seed.values()) and by_seed[0] != by_seed[1]


def test_limit_keeps_at_least_one_image_and_refuses_other_values() -> None:
    assert {cell.samples for cell in planner.plan(suite.parse(TINY), limit=1e-9).cells} == {1}
    for limit in (0, -5, 0.0, 1.5):
        with pytest.raises(ConfigError, match=r"^limit expects .*, got"):
            planner.plan(suite.parse(TINY), limit=limit)


def test_limit_caps_samples_and_normalized_units_scale_strengths() -> None:
    limited = planner.plan(suite.parse(TINY), limit=10)
    assert {cell.samples for cell in limited.cells} == {10}
    normalized = plan(("acceptance: 0.0", "units: normalized"))
    cell = next(cell for cell in normalized.cells if cell.perturbation_label == "fgsm" and cell.beta == 0.05)
    assert cell.perturbation.beta == pytest.approx(0.05 * 0.3761)
    assert (
        normalized.axes["fgsm"] == "step size, normalized value"
        and normalized.axes["blur"] == "standard deviation, pixels"
    )


def test_perturbations_added_to_the_table_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Invert(PERTURBATIONS["noise"]):  # type: ignore[misc]
        """A mix of the image and its negative."""

        name = "invert"

        def __call__(self, classifier: Any, x: Any, y: Any, seeds: Any) -> Any:
            return (1 - self.beta) * x + self.beta * (1 - x)

    monkeypatch.setitem(PERTURBATIONS, "invert", Invert)
    assert plan(("name: noise", "name: invert")).cells[3].perturbation == Invert(beta=0.0)


def test_perturbations_of_installed_packages_are_found_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "third-party"

        def load(self) -> type[Description]:
            return PERTURBATIONS["noise"]

    def entry_points(group: str, name: str | None = None) -> list[Entry]:
        return [Entry()] if group == "gtn_bench.perturbations" and name in (None, "third-party") else []

    monkeypatch.setattr("gtn_bench.config.description.entry_points", entry_points)
    assert lookup(PERTURBATIONS, "perturbation", "third-party") is PERTURBATIONS["noise"]
    with pytest.raises(ConfigError, match="did you mean 'third-party'"):
        lookup(PERTURBATIONS, "perturbation", "third_party")


@pytest.mark.parametrize("table", TABLES)
def test_catalog_lists_every_entry_with_summary_and_parameters(table: str) -> None:
    rows = catalog(table)
    known = TABLES[table][1]
    attacks = sum(len(cls.known) for cls in known.values() if issubclass(cls, LibraryAttack))
    assert len(rows) == len(known) + attacks
    rows = [row for row in rows if row["summary"]]  # library attacks have none
    assert len(rows) == len(known)
    assert all(row["name"] and row["summary"].endswith(".") and row["parameters"] is not None for row in rows)
