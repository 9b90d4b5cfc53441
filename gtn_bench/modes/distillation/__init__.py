"""Distilled images: the formats of published files, and training on them."""
