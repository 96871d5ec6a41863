"""Synthesis of the embedded corpus: text-to-speech, alignment, coarticulation, articulation, upper face."""
