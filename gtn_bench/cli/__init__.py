"""The command line."""

from gtn_bench.cli.app import app, main
from gtn_bench.cli.options import Kind

__all__ = ["Kind", "app", "main"]
