"""Quality checks of a corpus: lags, jumps, duplicates, leaks between splits, units."""
