"""Learners: the networks that are trained and attacked."""

from gtn_bench.learners.architectures import (
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

LEARNERS: dict[str, type[Architecture]] = {
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

__all__ = ["LEARNERS", "Architecture"]
