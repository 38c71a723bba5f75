"""Neural architecture search with no training data."""
