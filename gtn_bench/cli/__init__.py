"""The command line."""

from gtn_bench.cli.app import app, command_line, main
from gtn_bench.cli.options import Kind

__all__ = ["Kind", "app", "command_line", "main"]
