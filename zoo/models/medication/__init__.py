"""Models that predict the set of drugs of a visit."""
