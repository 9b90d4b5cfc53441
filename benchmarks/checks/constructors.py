"""Write the constructor parameters of the installed attack libraries to the file that the package contains.

    python benchmarks/checks/constructors.py

Run it with the newest versions of ART, foolbox and torchattacks, and with numba, without which ART lacks an attack.
"""

from __future__ import annotations

import json
from typing import Any

from gtn_bench.perturbations import PERTURBATIONS
from gtn_bench.perturbations.libraries.base import LibraryAttack
from gtn_bench.perturbations.libraries.constructors import SHIPPED, encoded, source_hash
from gtn_bench.perturbations.libraries.named import read_parameters
from gtn_bench.store.keys import installed


def main() -> None:
    lines = []
    for name in ("art", "foolbox", "torchattacks"):
        library = PERTURBATIONS[name]
        assert issubclass(library, LibraryAttack)
        packages = {known.package for known in library.known.values() if known.package}
        missing = {package for package in packages if installed(package) == "absent"}
        if missing:
            raise SystemExit(f"{name} lacks attacks without: {', '.join(sorted(missing))}")
        head: dict[str, Any] = {"version": installed(library.packages[0]), "source": source_hash(library.namespace)}
        classes = [
            f"{json.dumps(key)}: {json.dumps(value)}" for key, value in encoded(read_parameters(library)).items()
        ]
        lines.append(f'"{name}": {json.dumps(head)[:-1]}, "classes": {{\n' + ",\n".join(classes) + "\n}}")
    SHIPPED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
