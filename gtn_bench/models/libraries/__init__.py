"""Architectures of torchvision, timm and RobustBench, by name."""
