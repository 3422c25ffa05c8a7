"""What is known apart from any dataset: code systems, vital signs, and small fact tables with their sources."""
