"""Everything that a suite can name, table by table."""

from __future__ import annotations

from collections.abc import Mapping

from gtn_bench.datasets import DATASETS
from gtn_bench.description import Description, lookup, plugin_names
from gtn_bench.learners import LEARNERS
from gtn_bench.modes import MODES
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack, Perturbation
from gtn_bench.perturbations.library import RADIUS
from gtn_bench.teaching import OPTIMIZERS, TEACHERS

TABLES: dict[str, tuple[str, Mapping[str, type[Description]]]] = {
    "datasets": ("dataset", DATASETS),
    "teachers": ("teacher", TEACHERS),
    "optimizers": ("optimizer", OPTIMIZERS),
    "learners": ("architecture", LEARNERS),
    "modes": ("mode", MODES),
    "perturbations": ("perturbation", PERTURBATIONS),
}


_SAID = ("beta", "attack")  # by an entry's strengths and name


def _with_default(cls: type[Description], field: str) -> str:
    """A parameter as a suite would write it; those that have to be given, by their names alone."""
    about = cls.model_fields[field]
    if about.is_required() or about.default_factory:
        return field
    default = about.default.name if isinstance(about.default, Description) else about.default
    shown = {None: "null", True: "true", False: "false"}.get(default) if isinstance(default, bool | None) else default
    return f"{field}: {list(shown) if isinstance(shown, tuple) else shown}"


def catalogue(table: str) -> list[dict[str, str]]:
    """Name, summary, parameters and source of all that one of `TABLES` holds, plug-ins included."""
    kind, known = TABLES[table]
    plugins = {name: lookup(known, kind, name) for name in plugin_names(kind)}
    rows = []
    for name, cls in {**known, **plugins}.items():
        row = {"name": f"{name}.<Class>" if issubclass(cls, LibraryAttack) else name, "about": cls.summary()}
        if issubclass(cls, LibraryAttack):
            row |= {"library": cls.packages[0], "beta": cls.meaning}
        elif issubclass(cls, Perturbation):
            access = "white box" if cls.uses_gradient else "-"
            row |= {"library": "gtn-bench", "norm": cls.norm, "access": access, "beta": cls.meaning}
        row["parameters"] = ", ".join(_with_default(cls, field) for field in cls.model_fields if field not in _SAID)
        rows.append({**row, "source": cls.source})
        if issubclass(cls, LibraryAttack):
            rows += [
                {
                    "name": f"{name}.{attack}",
                    "about": "",
                    "library": cls.packages[0],
                    "norm": known.norm or "-",
                    "access": "-" if known.access == "none" else f"{known.access} box",
                    "beta": f"{known.norm} distance found" if known.drives == RADIUS else known.drives,
                    "parameters": "its own",
                    "source": cls.source,
                }
                for attack, known in cls.known.items()
            ]
    return rows
