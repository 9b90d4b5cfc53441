"""Analysis: tables in, tables out, without torch."""
