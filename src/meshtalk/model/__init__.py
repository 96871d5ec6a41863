"""The model: networks, prior, geometry, streaming audio encoders, checkpoints, and compiled kernels for CPUs."""
