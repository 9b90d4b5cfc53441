"""`python -m gtn_bench` is `gtn-bench`."""

from gtn_bench.cli import command_line

if __name__ == "__main__":
    command_line()
