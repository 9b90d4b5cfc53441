"""Optimizers that attacks use: box-constrained L-BFGS."""
