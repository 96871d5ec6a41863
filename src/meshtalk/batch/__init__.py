"""Thousands of recordings animated in one go, which may be broken off and gone on with."""

from meshtalk.batch.run import Report, animate_all

__all__ = ["Report", "animate_all"]
