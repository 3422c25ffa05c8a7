"""Models that are no networks: counts of codes, linear models, trees."""
