"""The page report.html: one file that needs no network."""

from gtn_bench.reporting.html.header import plain
from gtn_bench.reporting.html.page import write

__all__ = ["plain", "write"]
