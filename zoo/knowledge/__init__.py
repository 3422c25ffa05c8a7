"""What is known apart from any dataset: code systems, vital signs, and fact tables with their sources."""
