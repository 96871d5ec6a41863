"""Measures of motion: pure functions of arrays and clips, each with its units."""
