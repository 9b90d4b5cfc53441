"""Architectures of dataset distillation."""
