"""What is wrong with a corpus: lags, jumps, duplicates, leaks between splits, units."""
