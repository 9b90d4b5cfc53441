"""YAML as data: the core schema of YAML 1.2, without code and duplicate keys, with line numbers in errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml

from gtn_bench.config.errors import ConfigError, shortened, shown

_MAX_DEPTH = 50  # of nested lists and mappings
_MAX_SIZE = 300_000  # characters and values, after the expansion of aliases and merge keys
_MAX_DIGITS = 1_000  # of an integer; Python refuses to print longer ones
_MAX_VALUES = 20_000  # keys, scalars, lists and mappings in a file; composing more takes seconds
_MAX_LINE = 500  # characters of a message


@contextmanager
def errors_in(path: Path) -> Iterator[None]:
    """Prefix every error that the block raises about a file with the name of the file.

    Args:
        path: The file.

    Raises:
        ConfigError: For each `ConfigError` of the block, and for a file that cannot be read.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path.name}: {line}" for line in str(error).splitlines())) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name}: expects a text file in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be read ({error.strerror})") from None


def parse_mapping(text: str, what: str) -> dict[str, Any]:
    """Parse YAML text that holds a mapping.

    Args:
        text: The YAML text.
        what: The kind of file for messages, such as "a suite".

    Returns:
        The mapping as plain data.

    Raises:
        ConfigError: One line per problem, with the line number, if the text is invalid YAML or no mapping, or if a key
            of it occurs twice or is no text.
    """
    data, problems = salvage_mapping(text, what)
    if problems:
        raise ConfigError("\n".join(problems))
    return data


def salvage_mapping(text: str, what: str) -> tuple[dict[str, Any], list[str]]:
    """Parse YAML text that holds a mapping, and leave out the keys that are wrong.

    Args:
        text: The YAML text.
        what: The kind of file for messages, such as "a suite".

    Returns:
        The mapping as plain data, and one line for each key that occurs twice or is no text.

    Raises:
        ConfigError: If the text is invalid YAML or no mapping; the message gives the line.
    """
    if len(text) > _MAX_SIZE:
        raise ConfigError(f"expects at most {_MAX_SIZE} characters, got {len(text)}")
    loader = None
    try:
        loader = _CoreLoader(text)  # a character that YAML does not allow raises here
        data = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problem = error.problem or error.context or "is not YAML"
        if problem.startswith("but ") and error.context:
            problem = f"{error.context}, {problem}"
        raise ConfigError(shortened(f"{line}{problem}", _MAX_LINE)) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML: {' '.join(str(error).split())}") from None
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(data, dict):
        raise ConfigError(f"expects a mapping with the keys of {what}, got {type(data).__name__}")
    return data, [f"line {line}: {problem}" for line, problem in sorted(loader.problems)]


def to_yaml(data: dict[str, Any]) -> str:
    """Return plain data as YAML text, keys in their order. YAML 1.1 and YAML 1.2 read the text alike.

    Args:
        data: Mappings, lists and scalars.
    """
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)


class _Extent(NamedTuple):
    """The size of a node after the expansion of aliases: characters and values, and nested levels."""

    size: int
    depth: int


class _CoreLoader(yaml.SafeLoader):
    """A loader of plain data. It reads scalars as the core schema of YAML 1.2 does, and knows merge keys.

    PyYAML implements YAML 1.1, in which ``010`` is 8, ``12:30`` is 750 and ``no`` is false.

    Attributes:
        problems: Line number and problem of each key that is left out because it occurs twice or is no text.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # none of YAML 1.1
    yaml_constructors: ClassVar[dict[Any, Any]] = {  # of plain data only
        tag and f"tag:yaml.org,2002:{tag}": yaml.SafeLoader.yaml_constructors[tag and f"tag:yaml.org,2002:{tag}"]
        for tag in ("seq", "map", None)
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[tuple[int, str]] = []
        self._depth = self._merged = self._values = 0
        self._extents: dict[yaml.Node, _Extent] = {}  # of all nodes that are composed to their end

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        is_alias = isinstance(event, yaml.AliasEvent)
        if not is_alias and event.anchor in self.anchors:
            del self.anchors[event.anchor]  # YAML 1.2 allows to define an anchor again
        self._depth += 1
        self._values += 1
        if self._values > _MAX_VALUES:
            raise _error(f"more than {_MAX_VALUES} keys and values", event)
        if self._depth > _MAX_DEPTH:
            raise _error(f"lists and mappings are nested deeper than {_MAX_DEPTH} levels", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if not is_alias:
            self._extents[node] = self._measure(node, event)
        elif node not in self._extents:
            raise _error(f"alias '*{event.anchor}' stands inside of what it refers to", event)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, replace its merge key by the keys that it merges, and leave out keys that are wrong."""
        node = super().compose_mapping_node(anchor)
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        sources: list[yaml.Node] = []
        for key, value in node.value:
            merges = key.tag == _MERGE
            if not merges and key.tag != _TEXT:
                what = key.value if isinstance(key, yaml.ScalarNode) else _kind(key)
                self.problems.append((key.start_mark.line + 1, f"expects keys to be text, got {what}"))
            elif key.value in own or (merges and sources):
                self.problems.append((key.start_mark.line + 1, f"key '{key.value}' occurs twice"))
            elif merges:
                sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
            else:
                own[key.value] = (key, value)
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise _error(f"expects a mapping or a list of mappings under '<<', got {_kind(source)}", source)
            self._merged += len(source.value)
            if self._merged > _MAX_SIZE:
                raise _error(f"more than {_MAX_SIZE} merged keys", source)
            for key, value in source.value:
                own.setdefault(key.value, (key, value))  # an earlier mapping wins over a later one
        node.value = list(own.values())
        return node

    def _measure(self, node: yaml.Node, event: Any) -> _Extent:
        if isinstance(node, yaml.ScalarNode):
            extent = _Extent(1 + len(node.value), 0)
        else:
            values = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
            inside = [self._extents[value] for value in values]
            depth = 1 + max((extent.depth for extent in inside), default=0)
            extent = _Extent(1 + sum(extent.size for extent in inside), depth)
        if extent.size > _MAX_SIZE:
            raise _error(f"more than {_MAX_SIZE} characters after the expansion of aliases", event)
        if extent.depth > _MAX_DEPTH:
            raise _error(f"aliases are nested deeper than {_MAX_DEPTH} levels", event)
        return extent


_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"
_INTEGER = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_CORE_SCHEMA = (  # tag, form, first characters
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", _INTEGER, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
)


def _error(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a scalar"


def _text(loader: _CoreLoader, node: Any) -> str:
    """Return a text. Escapes can write characters that no file may hold as they are, such as a zero byte."""
    text: str = loader.construct_scalar(node)
    if found := _UNPRINTABLE.search(text):
        raise _error(f"expects text of printable characters, got U+{ord(found[0]):04X}", node)
    return text


# Control characters other than tabs and ends of lines, halves of characters, and no characters.
_UNPRINTABLE = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f\\ud800-\\udfff\\ufffe\\uffff]")


def _scalar(loader: _CoreLoader, node: Any, kind: str) -> str:
    """Return the text of a scalar that has the form of its kind; a tag can give it to any text."""
    text: str = loader.construct_scalar(node)
    if not _FORMS[kind].match(text):
        raise _error(f"expects {_KINDS[kind]}, got {shown(text)}", node)
    return text


def _null(loader: _CoreLoader, node: yaml.Node) -> None:
    _scalar(loader, node, "null")


def _bool(loader: _CoreLoader, node: yaml.Node) -> bool:
    return _scalar(loader, node, "bool").lower() == "true"


def _integer(loader: _CoreLoader, node: Any) -> int:
    """Return an integer as YAML 1.2 reads it: 010 is 10, 0o10 is 8, 0x10 is 16."""
    text: str = loader.construct_scalar(node)
    if not _INTEGER.match(text) or len(text) > _MAX_DIGITS:
        got = text if len(text) <= _MAX_DIGITS else f"{len(text)} characters"
        raise _error(f"expects an integer of at most {_MAX_DIGITS} digits, got {got}", node)
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _float(loader: _CoreLoader, node: yaml.Node) -> float:
    text = _scalar(loader, node, "float").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """A dumper that quotes every text that YAML 1.1 or YAML 1.2 would read as something else."""


_FORMS = {tag: form for tag, form, _ in _CORE_SCHEMA}
_KINDS = {"null": "null", "bool": "true or false", "float": "a number"}
for _name, _constructor in {"str": _text, "null": _null, "bool": _bool, "int": _integer, "float": _float}.items():
    _CoreLoader.add_constructor(f"tag:yaml.org,2002:{_name}", _constructor)
_CoreLoader.add_implicit_resolver(_MERGE, re.compile(r"^<<$"), ["<"])
for _tag, _form, _first in _CORE_SCHEMA:
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _form, _first)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _form, _first)
