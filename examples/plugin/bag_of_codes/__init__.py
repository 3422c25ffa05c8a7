"""A model for zoo in a package of its own."""
