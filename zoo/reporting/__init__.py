"""Tables and pages about datasets, tasks, models and what was measured on them."""
