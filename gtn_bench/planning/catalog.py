"""The catalog: everything that a suite can name, table by table."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import NamedTuple

from gtn_bench.certification import CERTIFIERS
from gtn_bench.config.description import Description, lookup, plugin_names
from gtn_bench.config.errors import ConfigError, did_you_mean, shown
from gtn_bench.data import DATASETS
from gtn_bench.models import ARCHITECTURES
from gtn_bench.modes import MODES
from gtn_bench.perturbations import PERTURBATIONS, LibraryAttack, Perturbation
from gtn_bench.perturbations.base import Corruption
from gtn_bench.teaching import OPTIMIZERS, TEACHERS

TABLES: dict[str, tuple[str, Mapping[str, type[Description]]]] = {
    "datasets": ("dataset", DATASETS),
    "teachers": ("teacher", TEACHERS),
    "optimizers": ("optimizer", OPTIMIZERS),
    "architectures": ("architecture", ARCHITECTURES),
    "modes": ("mode", MODES),
    "perturbations": ("perturbation", PERTURBATIONS),
    "certifiers": ("certifier", CERTIFIERS),
}


_SET_ELSEWHERE = ("beta", "attack")  # by the sweep and the name of an entry


def _with_default(cls: type[Description], field: str) -> str:
    """Return a parameter as a suite writes it: with its default, or the name alone if it is required."""
    info = cls.model_fields[field]
    if info.is_required() or info.default_factory:
        return field
    default = info.default.name if isinstance(info.default, Description) else info.default
    shown = {None: "null", True: "true", False: "false"}.get(default) if isinstance(default, bool | None) else default
    return f"{field}: {list(shown) if isinstance(shown, tuple) else shown}"


def _shown_name(name: str, cls: type[Description]) -> str:
    """Return a name, for one of a library with a placeholder behind the dot."""
    if issubclass(cls, LibraryAttack):
        return f"{name}.<Class>"
    return f"{name}.<name>" if cls.member_field else name


def _beta(cls: type[Perturbation]) -> str:
    """Return the meaning of beta with its unit."""
    return f"{cls.beta_meaning}, pixel value" if "beta" in cls.pixel_fields else cls.beta_meaning


def _access(cls: type[Perturbation]) -> str:
    """Return how a perturbation uses the classifier."""
    if issubclass(cls, Corruption):
        return "none"
    return "white" if cls.uses_gradient else "black"


class Parameter(NamedTuple):
    """A parameter of an entry of a suite.

    Attributes:
        name: Its key.
        default: Its default as a suite writes it; empty if it is required.
        meaning: One sentence or more.
    """

    name: str
    default: str
    meaning: str


def parameters(table: str, name: str) -> list[Parameter]:
    """Return the parameters of an entry of a table.

    Args:
        table: A key of `TABLES`.
        name: A name as `catalog` lists it. A name of a library, such as ``torchattacks.PGD``, has the parameters that
            all of the library have.

    Raises:
        ConfigError: If the table has no such name.
    """
    kind, known = TABLES[table]
    bare = name.partition(".")[0]
    if bare not in known and bare not in plugin_names(kind):
        raise ConfigError(f"unknown {kind} {shown(name)}{did_you_mean(name, [*known, *plugin_names(kind)])}")
    cls = lookup(known, kind, bare)
    meanings = _meanings(cls)
    found = []
    for field in cls.model_fields:
        if field not in (*_SET_ELSEWHERE, cls.member_field):
            default = _with_default(cls, field).partition(": ")[2]
            found.append(Parameter(field, default, meanings.get(field, "")))
    return found


def _meanings(cls: type[Description]) -> dict[str, str]:
    """Return what the docstrings of a class and of its bases say about its fields."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, section = (inspect.cleandoc(base.__doc__ or "")).partition("Attributes:\n")
        section = section.partition("\n\n")[0]
        for entry in re.split(r"\n(?= {4}\S)", "\n" + section):
            names, separator, text = entry.strip().partition(":")
            if separator and re.fullmatch(r"\w+(, \w+)*", names):
                found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found


def catalog(table: str) -> list[dict[str, str]]:
    """List the content of a table.

    Args:
        table: A key of `TABLES`.

    Returns:
        One row per description, plug-ins included: name, summary, parameters, source; for perturbations also library,
        norm, access and the meaning of beta.
    """
    kind, known = TABLES[table]
    plugins = {name: lookup(known, kind, name) for name in plugin_names(kind)}
    rows = []
    for name, cls in {**known, **plugins}.items():
        row = {"name": _shown_name(name, cls), "summary": cls.summary()}
        if issubclass(cls, LibraryAttack):
            row |= {"library": cls.packages[0], "beta": cls.beta_meaning}
        elif issubclass(cls, Perturbation):
            access = {"white": "white box", "black": "black box", "none": "-"}[_access(cls)]
            norm = ", ".join(cls.norms) or "-"
            row |= {"library": "gtn-bench", "norm": norm, "access": access, "beta": _beta(cls)}
        row["parameters"] = ", ".join(
            _with_default(cls, field) for field in cls.model_fields if field not in (*_SET_ELSEWHERE, cls.member_field)
        )
        rows.append({**row, "source": cls.source})
        if issubclass(cls, LibraryAttack):
            rows += [
                {
                    "name": f"{name}.{attack}",
                    "summary": "",
                    "library": cls.packages[0],
                    "norm": known.norm or "-",
                    "access": "-" if known.access == "none" else f"{known.access} box",
                    "beta": f"{known.norm} radius" if known.minimal_norm else known.beta_parameter,
                    "parameters": "its own",
                    "source": cls.source,
                }
                for attack, known in cls.known.items()
            ]
    return rows


def check_attack(name: str) -> None:
    """Check that an attack of a library can be named.

    Args:
        name: The name, ``torchattacks.PGD``.

    Raises:
        ConfigError: If the library has no such attack, or it does not apply to image classifiers.
    """
    library, _, attack = name.partition(".")
    found = PERTURBATIONS[library]
    assert issubclass(found, LibraryAttack)
    found.model_construct(attack=attack, params={}).parameters()
