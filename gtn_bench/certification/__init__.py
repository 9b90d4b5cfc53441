"""Certifiers: lower bounds on the accuracy that any attack in a ball can leave."""

from gtn_bench.certification.base import Certifier
from gtn_bench.certification.crown import Crown
from gtn_bench.certification.errors import UnsupportedLayerError
from gtn_bench.certification.interval import Interval
from gtn_bench.certification.smoothing import Smoothing

CERTIFIERS: dict[str, type[Certifier]] = {cls.name: cls for cls in (Interval, Crown, Smoothing)}

__all__ = ["CERTIFIERS", "Certifier", "UnsupportedLayerError"]
