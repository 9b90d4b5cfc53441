"""Plug-in files and plain functions: registration, keys, error messages."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import cloudpickle
import pytest
import torch

import gtn_bench
from gtn_bench.config.description import lookup
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.yaml import parse_mapping
from gtn_bench.data import Digits
from gtn_bench.models import ARCHITECTURES
from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.planning import plugins
from gtn_bench.planning.catalog import TABLES
from gtn_bench.planning.plugins import load_plugin

SUITE = """
name: plugged
dataset: digits
architectures: [my_net]
modes: [{name: vanilla, steps: 2}]
seeds: [0]
acceptance: 0
perturbations: [{name: my_noise, samples: 10, beta: [0.1]}]
"""
PLUGIN = """
    import torch
    import gtn_bench
    from parts import activation

    @gtn_bench.architecture
    def my_net(num_classes, width: int = 8):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width), activation(),
                                   torch.nn.Linear(width, num_classes))

    @gtn_bench.perturbation(norm="linf")
    def my_noise(model, x, y, beta, factor: float = 1.0):
        return x + factor * beta * torch.randn_like(x).sign()
"""
PARTS = "from torch.nn import {} as activation\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Yield a function that writes a plug-in file; what it registers is removed afterwards."""
    for _, table in TABLES.values():
        monkeypatch.setattr(plugins, "_loaded", {})
        for name in list(table):
            monkeypatch.setitem(table, name, table[name])  # type: ignore[misc]
    before, known = set(sys.modules), {id(table): set(table) for _, table in TABLES.values()}
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write_file(text: str, name: str = "my_models.py", **others: str) -> Path:
        for other, content in others.items():
            (tmp_path / f"{other}.py").write_text(content)
        (tmp_path / name).write_text(textwrap.dedent(text))
        return tmp_path / name

    yield write_file
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    for _, table in TABLES.values():
        for name in set(table) - known[id(table)]:
            del table[name]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_functions_of_a_plug_in_run_in_a_suite(write: Write, tmp_path: Path) -> None:
    file = write(PLUGIN, parts=PARTS.format("ReLU"))
    (tmp_path / "suite.yaml").write_text(SUITE)
    command = [sys.executable, "-m", "gtn_bench", "run", "suite.yaml", "--plugin", file.name, "--workers", "2"]
    done = subprocess.run(
        [*command, "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**__import__("os").environ, "GTN_BENCH_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    results = gtn_bench.Results(tmp_path / "results" / "plugged")
    assert results.summary["status"].tolist() == ["done"]
    linf = results.samples["linf"]
    assert linf.max() == pytest.approx(0.1, abs=1e-6) and linf.min() > 0.09


@pytest.mark.slow
def test_keys_cover_the_modules_beside_a_plug_in(write: Write, tmp_path: Path) -> None:
    """Changing the activation in an imported file changes the key of the learner."""
    script = textwrap.dedent("""
        import gtn_bench
        from gtn_bench.planning.plugins import load_plugin
        load_plugin("my_models.py")
        (learner,) = gtn_bench.plan(gtn_bench.load("suite.yaml")).learners
        print(learner.key("cpu"))
    """)

    def key(activation: str) -> str:
        write(PLUGIN, parts=PARTS.format(activation))
        (tmp_path / "suite.yaml").write_text(SUITE)
        run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    first = key("ReLU")
    assert first == key("ReLU") != key("Tanh")


def test_classes_of_a_plug_in_enter_their_tables(write: Write) -> None:
    text = """
        from gtn_bench.modes.real_data import Vanilla
        from gtn_bench.data import Digits

        class Slow(Vanilla):
            \"\"\"Vanilla with a small learning rate.\"\"\"
            name = "slow"
            lr: float = 1e-4

        class Base(Vanilla):
            \"\"\"A base class without a name of its own.\"\"\"
    """
    module = load_plugin(str(write(text)))
    assert TABLES["modes"][1]["slow"] is module.Slow
    assert TABLES["datasets"][1]["digits"] is Digits
    assert module.Base not in TABLES["modes"][1].values()
    assert load_plugin(str(module.__file__)) is module


def test_network_classes_of_a_plug_in_are_architectures(write: Write) -> None:
    text = """
        import torch

        class Small(torch.nn.Module):
            def __init__(self, num_classes: int, width: int = 4) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(64, num_classes)

            def forward(self, x):
                return self.layer(x.flatten(1))

        class Block(torch.nn.Module):
            def __init__(self, channels) -> None:
                super().__init__()
    """
    load_plugin(str(write(text)))
    network = ARCHITECTURES["Small"](width=8)(Digits(), 0)  # type: ignore[call-arg]
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    assert "Block" not in ARCHITECTURES
    with pytest.raises(ConfigError) as error:
        lookup(ARCHITECTURES, "architecture", "Block")
    assert str(error.value).startswith("unknown architecture 'Block': architecture 'Block': parameter 'channels' needs")


def test_network_classes_of_a_module_beside_the_plug_in_are_architectures(write: Write) -> None:
    parts = """
        import torch

        class Beside(torch.nn.Module):
            def __init__(self):
                super().__init__()

            def forward(self, x):
                return x.flatten(1)[:, :10]
    """
    load_plugin(str(write("from torch.nn import Flatten\nfrom parts import Beside\n", parts=textwrap.dedent(parts))))
    assert ARCHITECTURES["Beside"]()(Digits(), 0)(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    assert "Flatten" not in ARCHITECTURES


@pytest.mark.slow
def test_workers_of_an_earlier_run_find_a_plug_in_that_is_loaded_later(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(architecture: str) -> list[str]:
        suite = gtn_bench.load({**parse_mapping(SUITE, "a suite"), "architectures": [architecture], "seeds": [0, 1]})
        options = {"cache": tmp_path / "cache", "workers": 2, "device": "cpu"}
        return gtn_bench.run(gtn_bench.plan(suite), tmp_path / architecture, **options).summary["status"].tolist()

    gtn_bench.perturbation(name="my_noise")(lambda model, x, y, beta: x)
    assert run("linear") == ["done", "done"]
    load_plugin(str(write(PLUGIN, parts=PARTS.format("ReLU"))))
    assert run("my_net") == ["done", "done"]


WRONG = {
    "a name that is taken": (
        "from gtn_bench.modes.real_data import Vanilla\nclass Mine(Vanilla):\n    name = 'gtn'\n",
        "my_models.py",
        "there is a mode 'gtn' already; rename it",
    ),
    "an error in the code": ("x = 1\ny = 1 / 0\n", "my_models.py", "line 2: ZeroDivisionError: division by zero"),
    "an error of syntax": ("x = 1\ny = (\n", "my_models.py", "line 2: SyntaxError: '(' was never closed"),
    "a missing import": ("import no_such_thing\n", "my_models.py", "line 1: ModuleNotFoundError"),
    "the name of another module": ("", "random.py", "another module is called 'random'; rename the file"),
    "no name of a module": ("", "my-models.py", "expects a name of letters, digits and '_'"),
    "another suffix": ("", "models.txt", "expects an existing Python file, FILE.py"),
}


@pytest.mark.parametrize(("text", "name", "message"), WRONG.values(), ids=WRONG)
def test_wrong_plug_ins_are_refused_with_one_line(text: str, name: str, message: str, write: Write) -> None:
    with pytest.raises(ConfigError) as error:
        load_plugin(str(write(text, name)))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_yaml_cannot_name_a_plug_in() -> None:
    with pytest.raises(ConfigError, match="does not know this key"):
        gtn_bench.load({"name": "x", "plugin": "my_models.py"})


@pytest.fixture
def tables() -> Iterator[None]:
    """Restore the tables of architectures and perturbations."""
    before = dict(ARCHITECTURES), dict(PERTURBATIONS)
    yield
    for table, known in zip((ARCHITECTURES, PERTURBATIONS), before, strict=True):
        table.clear()
        table.update(known)  # type: ignore[arg-type]


def test_parameters_of_a_function_become_fields(tables: None) -> None:
    @gtn_bench.perturbation(norm="l2")
    def shrink(model, x, y, beta, floor: float = 0.1, steps=3):  # type: ignore[no-untyped-def]
        return x

    one = PERTURBATIONS["shrink"](beta=0.5, floor=0.2)  # type: ignore[call-arg]
    assert one.identity() == {"name": "shrink", "beta": 0.5, "floor": 0.2, "steps": 3}
    assert one.threat_model == ("l2", 0.5)
    copy = cloudpickle.loads(cloudpickle.dumps(one))
    assert copy.identity() == one.identity() and copy.threat_model == one.threat_model


def test_an_architecture_from_a_function_has_the_shape_of_the_data_set_and_the_given_seed(tables: None) -> None:
    @gtn_bench.architecture(name="tiny")
    def build(input_shape, num_classes):  # type: ignore[no-untyped-def]
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(input_shape[1] * input_shape[2], num_classes))

    tiny = ARCHITECTURES["tiny"]()
    one, same, other = (tiny(Digits(), seed) for seed in (0, 0, 1))
    assert torch.equal(one[1].weight, same[1].weight) and not torch.equal(one[1].weight, other[1].weight)
    assert one(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_wrong_functions_are_refused_with_one_line(tables: None) -> None:
    with pytest.raises(ConfigError, match="expects a function of \\(model, x, y, beta\\), got one without 'beta'"):
        gtn_bench.perturbation(name="mine")(lambda model, x, y: x)
    with pytest.raises(ConfigError, match="expects a function with a name; pass name="):
        gtn_bench.perturbation(lambda model, x, y, beta: x)
    with pytest.raises(ConfigError, match="there is a perturbation 'fgsm' already"):
        gtn_bench.perturbation(name="fgsm")(lambda model, x, y, beta: x)
    with pytest.raises(ConfigError, match="parameter 'width' needs a type or a default"):

        @gtn_bench.architecture
        def net(width):  # type: ignore[no-untyped-def]
            return None
