"""Models that fuse signals, notes and codes."""
