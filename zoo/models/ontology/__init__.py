"""Models that read codes through the trees of their classification."""
