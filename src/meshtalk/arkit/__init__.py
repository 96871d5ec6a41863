"""Any motion as ARKit's blendshape weights: names, rigs, the solve, and the one place that decides where weights come from."""
