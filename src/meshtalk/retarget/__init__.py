"""Retargeting to any face mesh: the packaged head is fitted to it once, and motion is transferred frame by frame."""
