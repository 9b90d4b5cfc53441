"""The content-addressed store: one safetensors file for each teacher, learner and cell.

A key is the hash of everything that determines the numbers - descriptions, keys of what they
build on, the code that computes them, library versions, the kind of device - and of nothing else.
The code is hashed as syntax, so that comments and docstrings may change freely.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import sys
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from gtn_bench.description import Mistake

if TYPE_CHECKING:
    from torch import Tensor


def cache_folder() -> Path:
    """`GTN_BENCH_CACHE`, else the user's cache folder."""
    folder = os.environ.get("GTN_BENCH_CACHE")
    return Path(folder).expanduser() if folder else platformdirs.user_cache_path("gtn-bench")


def digest(content: Any) -> str:
    """SHA-256 of plain data, independent of the order of keys; 32 hexadecimal digits of it."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seed_for(*content: Any) -> int:
    """A seed in [0, 2^63) from plain data: the same content, the same seed, whatever else exists."""
    return int(digest(list(content))[:16], 16) >> 1


@functools.cache
def fingerprint(module: str) -> str:
    """Hash of a module's code without comments and docstrings; of all its modules for a package.

    Of code that is in no file (a notebook's) nothing is known in another process: it has a
    fingerprint for this process alone.
    """
    loaded = sys.modules.get(module)
    spec = None if loaded else importlib.util.find_spec(module)
    file = getattr(loaded, "__file__", None) or (spec and spec.origin)
    if not file or not file.endswith(".py"):
        return uuid.uuid4().hex
    source = Path(file)
    files = sorted(source.parent.glob("*.py")) if source.name == "__init__.py" else [source]
    return digest([_code(file) for file in files])


@functools.cache
def with_imports(module: str) -> frozenset[str]:
    """The module and those of its own package that it imports, or names from them, directly or through each other."""
    package = module.rpartition(".")[0]
    found, waiting = set(), {module}
    while waiting:
        name = waiting.pop()
        found.add(name)
        spec = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
        if package and spec and spec.origin and spec.origin.endswith(".py"):
            imported = _imported(Path(spec.origin), spec.parent or package)
            waiting |= {other for other in imported if _is_in(package, other)} - found
    return frozenset(found)


def _imported(file: Path, package: str) -> set[str]:
    """What a file of the package imports, by full names: modules, and what may be modules or names in them."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def _is_in(package: str, name: str) -> bool:
    """Whether a full name is that of one of the package's modules; none of them is imported to find out."""
    if not name.startswith(f"{package}."):
        return False
    parts = name.removeprefix(f"{package}.").split(".")
    places = [Path(folder, *parts) for folder in sys.modules[package].__path__]
    return any(place.with_suffix(".py").is_file() or (place / "__init__.py").is_file() for place in places)


def _code(file: Path) -> str:
    """A module's syntax tree as text, the docstrings cut out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            del body[0]
    return ast.dump(tree)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@functools.cache
def installed(package: str) -> str:
    """The version of an installed package; `absent` if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def key_for(content: Mapping[str, Any], *, code: Iterable[str], packages: Iterable[str] = (), device: str) -> str:
    """The key of what `content` describes, computed by the modules `code` with the given packages."""
    return digest(
        {
            "content": content,
            "code": {module: fingerprint(module) for module in code},
            "packages": {package: installed(package) for package in ("torch", *packages)},
            "device": device,
        }
    )


@dataclass(frozen=True)
class Store:
    """Files `<folder>/<kind>/<key>.safetensors`: named tensors with provenance, complete or absent."""

    folder: Path

    def path(self, kind: str, key: str) -> Path:
        return self.folder / kind / key[:2] / f"{key}.safetensors"

    def holds(self, kind: str, key: str) -> bool:
        """Whether it is there, whole; a damaged file, as a full disk or a lost connection leaves it, is removed."""
        path = self.path(kind, key)
        try:
            with safe_open(path, framework="np"):  # which compares the length with what the header says
                return True
        except FileNotFoundError:
            return False
        except SafetensorError:
            path.unlink(missing_ok=True)
            return False

    def save(self, kind: str, key: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Keep tensors and plain data."""
        write_tensors(self.path(kind, key), tensors, about)

    def load(self, kind: str, key: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What `save` was given, on the CPU."""
        return read_tensors(self.path(kind, key), framework="pt")


class Site(NamedTuple):
    """Where work is done, and where its results are kept."""

    store: Store
    device: str


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor | np.ndarray[Any, Any]], about: Mapping[str, Any] | None = None
) -> None:
    """A safetensors file with plain data beside the tensors; it appears whole or not at all."""
    content = {name: np.ascontiguousarray(_array(value)) for name, value in tensors.items()}
    write_atomically(path, save(content, {"about": json.dumps(about or {})}))


def read_tensors(path: Path, framework: Literal["np", "pt"] = "np") -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of a file, as NumPy arrays or torch tensors, and the data beside them."""
    with safe_open(path, framework=framework) as file:
        names = list(file.keys())
        return {name: file.get_tensor(name) for name in names}, json.loads(file.metadata()["about"])


def _array(value: Tensor | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()


def make_folder(folder: Path) -> None:
    """The folder with its parents, if it is not there. Raises `Mistake` where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Mistake(f"{folder}: expects a folder that can be written to ({error.strerror})") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path`, then rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
