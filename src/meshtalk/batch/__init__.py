"""Batch animation of many recordings, interruptible and resumable."""

from meshtalk.batch.run import Report, animate_all

__all__ = ["Report", "animate_all"]
