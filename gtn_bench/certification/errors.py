"""Error type of the certifiers."""

from __future__ import annotations

from gtn_bench.config.errors import ConfigError


class UnsupportedLayerError(ConfigError):
    """A network has a layer for which there are no bounds."""
