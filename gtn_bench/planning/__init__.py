"""Planning: a suite becomes cells, each with its content key and its seeds."""
