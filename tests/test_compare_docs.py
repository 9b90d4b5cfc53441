"""The workflow and the notebook of the documentation run as they are printed."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.M | re.S)


def shell(command: str, folder: Path, summary: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as GitHub does, with the `gtn-bench` of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    cache = str(folder / "cache")
    environment = {**os.environ, "PATH": path, "GITHUB_STEP_SUMMARY": str(summary), "GTN_BENCH_CACHE": cache}
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_workflow_passes_without_a_change_and_fails_with_one(tmp_path: Path) -> None:
    suite, workflow = (yaml.safe_load(text) for text in blocks("compare.md", "yaml"))
    (printed,) = (text for text in blocks("compare.md", "yaml") if "jobs:" not in text)
    (tmp_path / "robustness.yaml").write_text(printed)
    assert suite["name"] == "robustness" and workflow["on" if "on" in workflow else True] == "pull_request"
    steps = [step["run"] for step in workflow["jobs"]["compare"]["steps"] if "run" in step]
    assert steps[0] == "pip install gtn-bench" and len(steps) == 4
    (baseline,) = (text.strip() for text in blocks("compare.md", "") if "--out baseline" in text)
    summary = tmp_path / "summary.md"
    for command in (baseline, *steps[1:]):
        done = shell(command, tmp_path, summary)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr
    assert "no difference seen on 2 of 2 curves" in summary.read_text()
    assert (tmp_path / "compare.html").stat().st_size < 200_000

    assert "beta: [0, 0.02, 0.04]" in printed and "steps: 5," in printed  # the change: an attack with more steps
    (tmp_path / "robustness.yaml").write_text(printed.replace("steps: 5,", "steps: 40,"))
    codes = [shell(command, tmp_path, summary).returncode for command in (steps[1], steps[-1])]
    assert codes == [0, 3]
    assert "vanilla is less robust than in the baseline under fgsm" in summary.read_text()


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell and return the value of its last expression, as a notebook does."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if isinstance(last, ast.Expr) else None


def test_the_notebook_runs_and_shows_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    names: dict[str, Any] = {}
    shown = []
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            shown.append(run_cell("".join(cell["source"]), names))
    _, study, table, figure, modes, by_class, comparison, fields = shown
    assert "<table" in study._repr_html_() and figure._repr_png_()[0].startswith(b"\x89PNG")
    assert list(table.index) == ["vanilla", "short"] and table.columns.tolist() == [0, 0.01, 0.02, 0.04]
    assert len(modes.sentences) == 2 and "<table" in modes._repr_html_() and "under fgsm" in str(modes)
    assert by_class.between(0, 1).all() and len(by_class) == 10
    assert "<table" in comparison._repr_html_() and [each.field for each in fields] == ["perturbations[fgsm].steps"]


def test_the_page_shows_the_cells_of_the_notebook() -> None:
    sys.path.insert(0, str(DOCS))
    try:
        import hooks
    finally:
        sys.path.remove(str(DOCS))
    page = hooks.expand((DOCS / "notebook.md").read_text(encoding="utf-8"))
    assert page.startswith("# In a notebook") and page.count("\n# ") == 0
    assert 'study.compare("short", "vanilla")' in page and "<!--" not in page
