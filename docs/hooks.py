"""MkDocs hook: replace markers in the pages with Markdown generated from the code.

A marker is an HTML comment on a line of its own:

- `<!-- suite-reference -->`: the top-level keys of a suite.
- `<!-- table: KIND -->`: a table of the catalog. KIND is one that `gtn-bench list` accepts, or `library-attacks`.
- `<!-- cli -->`: all commands with their arguments and options.
- `<!-- checks -->`: the sanity checks of cells.
- `<!-- model-checks -->`: the checks of a model before its evaluation.
- `<!-- notebook -->`: the cells of notebook.ipynb, without outputs.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page
    from typer import Typer
    from typer.models import CommandInfo, ParameterInfo

    from gtn_bench.analysis.checks import Check

MARKER = re.compile(
    r"^<!-- (suite-reference|table|cli|checks|model-checks|notebook)(?:: ([a-z-]+))? -->$", re.MULTILINE
)
NATIVE = "gtn-bench"  # value of the catalog's column `library` for the perturbations of this package
HEADINGS = {"about": "description", "summary": "description"}  # of the catalog's columns
LONG = 150  # characters of parameters that are too many for a column


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the markers of one page.

    Args:
        markdown: Source of the page.
        page: The page, not used.
        config: Configuration of MkDocs, not used.
        files: Files of the site, not used.

    Returns:
        Markdown without markers.
    """
    return expand(markdown)


def expand(markdown: str) -> str:
    """Replace every marker in `markdown` with generated Markdown."""
    return MARKER.sub(lambda marker: GENERATORS[marker[1]](marker[2] or ""), markdown)


def suite_reference(_: str) -> str:
    """Return a table of the top-level keys of a suite: type, default and meaning."""
    from gtn_bench.config.suite import Suite
    from gtn_bench.planning.schema import suite_schema

    rows = []
    for key, schema in suite_schema()["properties"].items():
        field = Suite.model_fields[key]
        default = "required" if field.is_required() else code(field.get_default(call_default_factory=True))
        rows.append((f"`{key}`", schema_type(schema), default, field.description or ""))
    return table(("key", "type", "default", "meaning"), rows)


def notebook(_: str) -> str:
    """Return the cells of the notebook beside this file, without its first heading and without outputs."""
    content = json.loads(Path(__file__).with_name("notebook.ipynb").read_text(encoding="utf-8"))
    parts = []
    for cell in content["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
    return re.sub(r"^# .*\n+", "", "\n\n".join(parts))


def schema_type(schema: Mapping[str, Any]) -> str:
    """Describe a property of a JSON schema in a few words."""
    if "enum" in schema:
        return ", ".join(code(value) for value in schema["enum"])
    if "const" in schema:
        return code(schema["const"])
    if "anyOf" in schema:
        # A text with a pattern is another way to write a number: 8/255.
        options = [option for option in schema["anyOf"] if option.get("type") != "null" and "pattern" not in option]
        names = [option for option in options if "enum" in option]
        if any("$ref" in option or "anyOf" in option for option in options):
            return "name or mapping" if names else "mapping"
        return " or ".join(schema_type(option) for option in options)
    if schema.get("type") == "array":
        return f"list: {schema_type(schema.get('items', {}))}"
    return {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}.get(
        str(schema.get("type")), "mapping"
    )


def catalog_tables(kind: str) -> str:
    """Return a table of all entries that a suite can name.

    Args:
        kind: A kind that `gtn_bench.planning.catalog.catalog` accepts. For `perturbations`, attacks of the libraries
            are left out; `library-attacks` lists these, one table for each library.

    Returns:
        Markdown. If the entries have many parameters, these follow in a table of their own.
    """
    from gtn_bench.planning.catalog import catalog

    if kind == "library-attacks":
        return library_attacks(catalog("perturbations"))
    rows = [row for row in catalog(kind) if row.get("library", NATIVE) == NATIVE]
    if max(len(row["parameters"]) for row in rows) < LONG:
        return records(rows)
    short = records([{key: value for key, value in row.items() if key != "parameters"} for row in rows])
    return short if kind == "architectures" else f"{short}\n\n{parameters_of(rows)}"


def library_attacks(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the attacks of the libraries, under a heading for each library."""
    attacks: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        if row["library"] != NATIVE and "<" not in row["name"]:
            attacks.setdefault(row["name"].partition(".")[0], []).append(row)
    return "\n\n".join(f"### {library}\n\n{records(mine)}" for library, mine in attacks.items())


def parameters_of(rows: Sequence[Mapping[str, str]]) -> str:
    """Return a table of the parameters of several entries: each with its default and the entries that have it."""
    owners: dict[str, list[str]] = {}
    for row in rows:
        for parameter in split(row["parameters"]):
            owners.setdefault(parameter, []).append(row["name"])
    lines = []
    for parameter, names in owners.items():
        key, _, default = parameter.partition(": ")
        owned = among(names, [row["name"] for row in rows])
        lines.append((f"`{key}`", f"`{default}`" if default else "required", owned))
    return table(("parameter", "default", "parameter of"), lines)


def among(names: Sequence[str], everything: Sequence[str]) -> str:
    """Say which of `everything` is in `names`, as briefly as possible."""
    missing = [name for name in everything if name not in names]
    listed = ", ".join(f"`{name}`" for name in (missing if len(missing) < len(names) else names))
    if len(missing) < len(names):
        return f"all but {listed}" if missing else "all"
    return listed


def records(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows with equal keys as a table, without columns that are empty or the same in every row."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    shown = [column for column in columns if len({row.get(column, "") for row in rows}) > 1 or len(rows) == 1]
    cells = [[cell(column, row.get(column, "")) for column in shown] for row in rows]
    return table([HEADINGS.get(column, column) for column in shown], cells)


def cell(column: str, value: str) -> str:
    """Format one value of the catalog: names and parameters as code, URLs as links."""
    if column == "name":
        return f"`{value}`"
    if column == "parameters":
        return ", ".join(f"`{part}`" for part in split(value)) if value else ""
    return re.sub(r"(https?://[^\s,]+)", r"<\1>", value)


def split(parameters: str) -> list[str]:
    """Split `a: 1, b: [2, 3]` at the commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(parameters):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(parameters[start:position].strip())
            start = position + 1
    return [*parts, parameters[start:].strip()]


def cli(_: str) -> str:
    """Return a reference of all commands, read from the typer application."""
    from gtn_bench.cli import app

    return "\n\n".join(block for block in application_reference(app, "gtn-bench") if block)


def application_reference(app: Typer, path: str) -> Iterable[str]:
    """Yield Markdown blocks for an application: its commands, its own options, then each command.

    Args:
        app: The application, or one that is nested in another.
        path: The words that call it on the command line.
    """
    commands = {f"{path} {command.name or callback_name(command)}": command for command in app.registered_commands}
    nested = [(group.name, group.typer_instance) for group in app.registered_groups if group.typer_instance]
    groups = {f"{path} {name or inner.info.name}": inner for name, inner in nested}
    yield f"## {path}"
    yield paragraph(app.info.help)
    descriptions = {name: description(command) for name, command in commands.items()}
    descriptions |= {name: paragraph(inner.info.help) for name, inner in groups.items()}
    yield table(("command", "description"), [(f"`{name}`", text) for name, text in descriptions.items()])
    if app.registered_callback and app.registered_callback.callback:
        yield parameters_table(app.registered_callback.callback)
    for name, command in commands.items():
        yield from command_reference(command, name)
    for name, inner in groups.items():
        yield from application_reference(inner, name)


def command_reference(command: CommandInfo, path: str) -> Iterable[str]:
    """Yield Markdown blocks for one command: heading, usage, description, arguments and options."""
    from typer.models import ArgumentInfo

    assert command.callback is not None
    arguments = [name for name, info, _ in parameters(command.callback) if isinstance(info, ArgumentInfo)]
    yield f"## {path}"
    yield "```text\n" + " ".join([path, "[OPTIONS]", *arguments]) + "\n```"
    yield description(command)
    yield examples(command)
    yield parameters_table(command.callback)


def examples(command: CommandInfo) -> str:
    """Return the examples at the end of the help text of a command; an empty string if it has none."""
    lines = (command.epilog or "").split("\n\n")[1:]
    return "\n".join(["```", *lines, "```"]) if lines else ""


def parameters_table(callback: Callable[..., Any]) -> str:
    """Return the arguments and options of a command as a table; an empty string if it has none."""
    rows = [
        (f"`{name}`", type_name(annotation), default_value(info.default), paragraph(info.help))
        for name, info, annotation in parameters(callback)
    ]
    return table(("parameter", "type", "default", "meaning"), rows) if rows else ""


def parameters(callback: Callable[..., Any]) -> Iterable[tuple[str, ParameterInfo, Any]]:
    """Yield name, typer's information and type of every parameter of a command."""
    from typer.models import ArgumentInfo
    from typer.utils import get_params_from_function

    for name, parameter in get_params_from_function(callback).items():
        info = parameter.default
        if isinstance(info, ArgumentInfo):
            yield info.metavar or name.upper(), info, parameter.annotation
        else:
            yield ", ".join(info.param_decls or ("--" + name.replace("_", "-"),)), info, parameter.annotation


def type_name(annotation: Any) -> str:
    """Name the type of a command-line parameter: its choices, or one word."""
    options = [option for option in get_args(annotation) if option is not type(None)]
    if get_origin(annotation) is list:
        return f"{type_name(options[0])}, repeatable"
    if options:
        return type_name(options[0])
    if issubclass(annotation, Enum):
        return ", ".join(f"`{choice.value}`" for choice in annotation)
    words = {bool: "flag", int: "integer", float: "number", str: "text"}
    return words.get(annotation, str(annotation.__name__).lower())


def default_value(default: Any) -> str:
    """Format the default of a command-line parameter."""
    if default is ...:
        return "required"
    if default in (None, False):
        return ""
    return code(default.value if isinstance(default, Enum) else default)


def description(command: CommandInfo) -> str:
    """Return the help text of a command in one line."""
    return paragraph(command.help or inspect.getdoc(command.callback))


def callback_name(command: CommandInfo) -> str:
    """Return the name that typer derives from a function."""
    assert command.callback is not None
    return command.callback.__name__.replace("_", "-")


def checks(_: str) -> str:
    """Return a table of the checks of cells and, for each of them, its formula and what to do about it."""
    from gtn_bench.analysis.checks import CHECKS, percent

    known: list[Check] = list(CHECKS.values())
    overview = table(
        ("check", "meaning", "threshold", "extra attack"),
        [
            (f"[`{one.name}`](#{one.name})", meaning(one), percent(one.threshold), "yes" if one.active else "no")
            for one in known
        ],
    )
    return "\n\n".join([overview, *(check_reference(one) for one in known)])


def meaning(check: Check) -> str:
    """Return the sentence about a failed check, with its threshold in place of a measured share."""
    from gtn_bench.analysis.checks import percent

    text = check.text.format(measured=f"more than {percent(check.threshold)}" if check.threshold else "some")
    return text[0].upper() + text[1:]


def check_reference(check: Check) -> str:
    """Return the section of one check."""
    from gtn_bench.analysis.checks import percent

    limit = "is not `reliable`" if check.withholds else "is `suspect`"
    threshold = f"a cell {limit} above {percent(check.threshold)}"
    if check.tolerance is not None:
        threshold += f", and not `reliable` above {percent(check.tolerance)}"
    facts = {"Formula": check.formula, "Threshold": threshold, "Cost": check.cost, "Source": check.source}
    lines = [f"- {name}: {linked(str(value))}" for name, value in facts.items() if value not in ("", None)]
    return "\n".join([f"### {check.name}", "", meaning(check), "", *lines, "", check.action]).strip()


def model_checks(_: str) -> str:
    """Return a table of the checks of a model: severity, what is measured, threshold and fix."""
    from gtn_bench.checks.table import CHECKS

    rows = [
        (f"`{one.name}`", one.severity, one.formula, f"{one.threshold:.2g}", without_values(one.fix))
        for one in CHECKS.values()
    ]
    return table(("check", "severity", "measured", "fails above", "fix"), rows)


def without_values(text: str) -> str:
    """Return a text with placeholders in braces as the table of checks can show it, without the values of a finding."""
    return re.sub(r"\{\w+\}", "…", text) if not re.fullmatch(r"\{\w+\}", text) else "the sentence names it"


def linked(text: str) -> str:
    """Turn the URLs of a text into links."""
    return re.sub(r"(https?://[^\s,]+)", r"<\1>", text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(escape(str(value)) for value in line) + " |" for line in lines)


def escape(text: str) -> str:
    """Escape the pipes of a table cell outside of code spans."""
    return re.sub(r"(`+).+?\1|\|", lambda found: found[0] if found[1] else r"\|", text)


def code(value: object) -> str:
    """Format a value as JSON in a code span: `null`, `true`, `[]`, `0.7`, `pixel`."""
    return f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value, default=str)}`"


def paragraph(text: str | None) -> str:
    """Join the lines of a help text."""
    return " ".join((text or "").split())


GENERATORS: dict[str, Callable[[str], str]] = {
    "suite-reference": suite_reference,
    "table": catalog_tables,
    "cli": cli,
    "checks": checks,
    "model-checks": model_checks,
    "notebook": notebook,
}
