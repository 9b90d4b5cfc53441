"""Weights from files: reading without executing code, and matching with a network."""
