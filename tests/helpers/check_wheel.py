"""Check the content of a wheel: the package and its YAML files, no script of studies or timings.

Usage: check_wheel.py FOLDER
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

REQUIRED = (
    "gtn_bench/cli/app.py",
    "gtn_bench/data/digits.npz",
    "gtn_bench/perturbations/libraries/art.py",
    "gtn_bench/perturbations/libraries/constructors.json",
    "gtn_bench/py.typed",
    "gtn_bench/reference/published_curves.csv",
    "gtn_bench/reporting/html/report.html.j2",
    "gtn_bench/reporting/html/static/chart.js",
    "gtn_bench/reporting/html/static/page.css",
    "gtn_bench/reporting/report.md.j2",
    "gtn_bench/shipped/suites/demo.yaml",
    "gtn_bench/shipped/teachers/digits.yaml",
    "gtn_bench/zoo/mnist-base_larger.safetensors",
)


def main(folder: Path) -> int:
    """Return 0 if the wheel in the folder holds what it should and nothing else."""
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    missing = [name for name in REQUIRED if name not in names]
    root = Path(__file__).parents[2]
    modules = {str(path.relative_to(root)) for path in (root / "gtn_bench").rglob("*.py")}
    missing += sorted(modules - {*names})
    foreign = [name for name in names if not name.startswith("gtn_bench/") and ".dist-info/" not in name]
    foreign += [name for name in names if name.startswith("gtn_bench/shipped/") and not name.endswith(".yaml")]
    for problem, found in (("missing", missing), ("unexpected", foreign)):
        if found:
            print(f"{wheel.name}: {problem}: {', '.join(found)}")
    return 1 if missing or foreign else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
