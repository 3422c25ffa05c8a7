"""Models that read a history of visits with codes."""
