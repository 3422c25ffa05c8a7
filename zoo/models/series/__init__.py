"""Models that read measurements in time."""
