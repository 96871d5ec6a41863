"""What may be wrong with a corpus: measured clip by clip, judged against the rest of it, told on a page."""
