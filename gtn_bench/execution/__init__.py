"""Running a plan: scheduling, tasks, tables, the output folder."""
