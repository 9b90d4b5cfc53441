"""Inference: the frozen classifier under attack, its optimization for speed, and its views for attack libraries."""
