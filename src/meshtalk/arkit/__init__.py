"""ARKit blendshape weights of any motion: names, rigs, the solver."""
