"""Checks of a network before its evaluation: whether attacks on it can be meaningful, in seconds."""
