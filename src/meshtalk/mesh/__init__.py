"""Meshes: topology, the packaged head, files, units, surfaces, landmarks."""
