"""Errors in the usage of the command line, one line each."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Sequence
from typing import Any, cast

import typer

from gtn_bench.config.errors import did_you_mean, shown

# The base of the exceptions of click, which typer either depends on or contains.
UnusableCommand = cast(type[Exception], typer.BadParameter.__mro__[2])


def line_about(error: Any, arguments: Sequence[str]) -> str:
    """Return an error in the usage of the command line as one line, with the nearest right thing.

    Args:
        error: An exception of type `UnusableCommand`.
        arguments: The arguments of the command line.
    """
    context = getattr(error, "ctx", None)
    command = " ".join(["gtn-bench", *arguments[:1]]) if context is None else context.command_path
    text = _problem(error, context, command, arguments)
    return f"{text}{'' if text.endswith('?') else '.'} See {command} --help"


def _problem(error: Any, context: Any, command: str, arguments: Sequence[str]) -> str:
    kind, message = type(error).__name__, " ".join(error.format_message().split()).rstrip(".")
    parameter = getattr(error, "param", None)
    if kind == "NoSuchOption" and context:
        return _unknown_option(error.option_name, context, arguments)
    if (found := re.match(r"No such command '(.*?)'", message)) and context:
        known = context.command.list_commands(context)
        near = did_you_mean(found[1], known) or f"; known: {', '.join(sorted(known))}"
        return f"no command '{found[1]}'{near}"
    if kind == "MissingParameter" and parameter and context:
        missing = [parameter, *_missing_options(parameter, context, arguments)]
        return f"{command} needs {_and([_title(each) for each in missing])}"
    if found := re.match(r"Option '(.*)' requires an argument", message):
        return f"{found[1]} expects a value, got none"
    if found := re.match(r"Option '(.*)' does not take a value", message):
        return f"{found[1]} takes no value"
    if found := re.match(r"Got unexpected extra argument(?:\(s\)|s)? \((.*)\)", message):
        return f"{command} does not take the argument {shown(found[1])}"
    if kind == "BadParameter" and parameter:
        return _wrong_value(parameter, str(error.message), arguments)
    return message[:1].lower() + message[1:]


def _unknown_option(option: str, context: Any, arguments: Sequence[str]) -> str:
    if len(option) == 2:  # click reads -abc as -a -b -c
        option = next((text for text in arguments if text.startswith(option) and text[:2] != "--"), option)
    known = ["--help", *(name for parameter in context.command.params for name in parameter.opts if name[:2] == "--")]
    if re.sub("^-+", "--", option) in known:
        return f"no option '{option}'; did you mean '{re.sub('^-+', '--', option)}'?"
    return f"no option '{option}'{_near_option(option, known)}"


def _near_option(option: str, known: Sequence[str]) -> str:
    """Return the suggestion of an option. The dashes that all options have say nothing about their nearness."""
    names = {name.lstrip("-").casefold(): name for name in known}
    bare = option.lstrip("-").casefold()
    near = difflib.get_close_matches(bare, names, n=1) if len(bare) <= 100 else []
    return f"; did you mean '{names[near[0]]}'?" if near else ""


def _missing_options(missing: Any, context: Any, arguments: Sequence[str]) -> list[Any]:
    """Return the other required options that are not given."""
    given = {text.partition("=")[0] for text in arguments}
    options = (each for each in context.command.params if each.required and each.param_type_name == "option")
    return [each for each in options if each is not missing and not given & set(each.opts)]


def _wrong_value(parameter: Any, message: str, arguments: Sequence[str]) -> str:
    """Return the line about a value of the wrong type. The messages of all versions of typer are understood."""
    message = " ".join(message.removeprefix("Value error, ").split()).rstrip(".")
    title = _title(parameter)
    before, one_of, after = message.partition(" is not one of ")
    if one_of:
        choices = re.findall(r"'([^']*)'", after)
        near = did_you_mean(before.strip("'"), choices)
        return f"{title} expects one of {', '.join(choices)}, got {before}{near if near.startswith('; did') else ''}"
    got = _given(parameter, arguments)
    least = re.search(r"(?:equal to|>=) ?(\d+)", message)
    if least or "integer" in message:
        return f"{title} expects an integer{f' of at least {least[1]}' if least else ''}{got and f', got {shown(got)}'}"
    return f"{title}: {message[:1].lower()}{message[1:]}"


def _given(parameter: Any, arguments: Sequence[str]) -> str:
    """Return the last value of an option; an empty text for an argument."""
    values = [text.partition("=")[2] for text in arguments if text.partition("=")[0] in parameter.opts and "=" in text]
    values += [after for text, after in itertools.pairwise(arguments) if text in parameter.opts]
    return values[-1] if values and parameter.param_type_name == "option" else ""


def _title(parameter: Any) -> str:
    """Return the name of a parameter as users write it."""
    if parameter.param_type_name == "option":
        return str(parameter.opts[0])
    return str(parameter.metavar or parameter.name.upper())


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
