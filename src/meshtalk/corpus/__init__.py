"""The corpus format: clips on disk with a manifest, splits, merging."""
