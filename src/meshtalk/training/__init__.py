"""Training: corpus → features → regression, stage 1, stage 2 → model folder."""
