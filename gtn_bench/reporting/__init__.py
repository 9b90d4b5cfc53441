"""Reports: figures, tables and the page, from what a run has left on disk."""

from gtn_bench.reporting.page import report
from gtn_bench.reporting.teacher_page import teacher_report

__all__ = ["report", "teacher_report"]
