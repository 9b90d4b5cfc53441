"""The report of a teacher: its meta-training, its curriculum and the accuracy of its learners."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gtn_bench.analysis.manifest import FIGURES
from gtn_bench.analysis.reading import read_table
from gtn_bench.config.errors import ConfigError
from gtn_bench.config.paths import user_path
from gtn_bench.reporting.markdown import code, markdown_table
from gtn_bench.reporting.page import write_page
from gtn_bench.reporting.pages import check_pages, publish_pages
from gtn_bench.store.files import read_tensors
from gtn_bench.store.one_writer import one_writer
from gtn_bench.store.publishing import staged
from gtn_bench.store.storing import storing
from gtn_bench.teaching.encoding import decode_images, facts


def teacher_report(folder: str | Path, *, accept_changes: bool = False) -> Path:
    """Write `figures/` and `report.md` into the folder of a teacher.

    Args:
        folder: The folder. It holds `teacher.safetensors` and `provenance.json`.
        accept_changes: Whether files are replaced that no report has written, or that have changed since then.

    Returns:
        Path of the report.

    Raises:
        ConfigError: If the folder is not that of a teacher, or holds files in the way of the report.
    """
    folder = user_path(folder)
    for name in ("teacher.safetensors", "provenance.json"):
        if not (folder / name).is_file():
            raise ConfigError(f"{folder}: expects the folder of a teacher, found no {name} in it")
    facts(folder / "teacher.safetensors")  # raises if the file is not a teaching set
    tensors, metadata = read_tensors(folder / "teacher.safetensors")
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    table = folder / "accuracy.csv"
    accuracy = read_table(table) if table.is_file() else None
    context = {
        "metadata": metadata,
        "provenance": provenance,
        "accuracy": markdown_table(accuracy) if accuracy is not None else "",
        "architectures": ", ".join(code(architecture["name"]) for architecture in metadata["teacher"]["architecture"]),
        "validated": bool(metadata["history"]["checks"]),
    }
    with one_writer(folder), staged(folder) as stage, storing(folder):
        _draw(stage / FIGURES, tensors, metadata["history"])
        write_page(stage, "teacher.md.j2", context)
        pages = {"report.md", *(f"{FIGURES}/{path.name}" for path in (stage / FIGURES).iterdir())}
        check_pages(folder, pages, accept_changes=accept_changes)
        return publish_pages(stage, folder, {})


def _draw(folder: Path, tensors: dict[str, Any], history: dict[str, Any]) -> None:
    from gtn_bench.reporting import figures, teacher_figures

    folder.mkdir(parents=True, exist_ok=True)
    images = decode_images(tensors["images"], tensors["range"])
    figures.save(teacher_figures.learning_figure(history), folder / "learning")
    figures.save(teacher_figures.curriculum_figure(images, tensors["labels"]), folder / "curriculum")
    figures.save(teacher_figures.rates_figure(tensors["lr"], tensors["momentum"]), folder / "rates")
