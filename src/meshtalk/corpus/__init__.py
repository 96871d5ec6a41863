"""The embedded corpus: a head, voices, articulation, and what builds clips from them."""
