"""Architectures of the networks that are trained and attacked, and their layers."""

from gtn_bench.models.architectures import (
    Architecture,
    Base,
    BaseFC,
    BaseLarger,
    BaseLarger2,
    BaseLarger3,
    BaseLarger3GlobalPooling,
    BaseLarger4,
    BaseLarger4GlobalPooling,
    Linear3,
)

ARCHITECTURES: dict[str, type[Architecture]] = {
    cls.name: cls
    for cls in (
        Base,
        BaseFC,
        Linear3,
        BaseLarger,
        BaseLarger2,
        BaseLarger3,
        BaseLarger3GlobalPooling,
        BaseLarger4,
        BaseLarger4GlobalPooling,
    )
}

__all__ = ["ARCHITECTURES", "Architecture"]
