"""Reports: figures and a page from an output folder. Never imports torch."""

from gtn_bench.reporting.page import report

__all__ = ["report"]
