"""The embedded corpus: a head, people, voices, and the articulation that joins them into clips."""
