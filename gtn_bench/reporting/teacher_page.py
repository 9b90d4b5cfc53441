"""A teacher's page: how it learned, what it teaches, how well learners do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from gtn_bench.cache import read_tensors
from gtn_bench.description import Mistake
from gtn_bench.reporting.page import write_page
from gtn_bench.reporting.tables import markdown_table
from gtn_bench.teaching import decoded
from gtn_bench.teaching.zoo import facts


def teacher_report(folder: str | Path) -> Path:
    """Write `figures/` and `report.md` into a teacher's folder; the path of the page."""
    folder = Path(folder)
    for name in ("teacher.safetensors", "provenance.json"):
        if not (folder / name).is_file():
            raise Mistake(f"{folder}: expects the folder of a teacher, found no {name} in it")
    facts(folder / "teacher.safetensors")  # says so if it is none
    tensors, about = read_tensors(folder / "teacher.safetensors")
    provenance = json.loads((folder / "provenance.json").read_text())
    accuracy = pd.read_csv(folder / "accuracy.csv") if (folder / "accuracy.csv").is_file() else None
    _draw(folder / "figures", tensors, about["history"])
    context = {
        "about": about,
        "provenance": provenance,
        "accuracy": markdown_table(accuracy) if accuracy is not None else "",
        "architectures": ", ".join(f"`{one['name']}`" for one in about["teacher"]["architecture"]),
        "checked": bool(about["history"]["checks"]),
    }
    return write_page(folder, "teacher.md.j2", context)


def _draw(folder: Path, tensors: dict[str, Any], history: dict[str, Any]) -> None:
    from gtn_bench.reporting import figures, teacher_figures

    folder.mkdir(parents=True, exist_ok=True)
    figures.style([])
    images = decoded(tensors["images"], tensors["range"])
    figures.save(teacher_figures.learning_figure(history), folder / "learning")
    figures.save(teacher_figures.lessons_figure(images, tensors["labels"]), folder / "lessons")
    figures.save(teacher_figures.rates_figure(tensors["lr"], tensors["momentum"]), folder / "rates")
