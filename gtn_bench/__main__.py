"""`python -m gtn_bench` is `gtn-bench`."""

from gtn_bench.cli import main

if __name__ == "__main__":
    main()
