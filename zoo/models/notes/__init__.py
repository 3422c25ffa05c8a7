"""Models that read notes, alone or beside codes."""
