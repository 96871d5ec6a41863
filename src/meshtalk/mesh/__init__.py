"""Meshes: topology, the packaged head, files, units and axes, surfaces, landmarks."""
