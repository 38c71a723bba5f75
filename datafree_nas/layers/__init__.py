"""Layers that teachers and search spaces share, and what networks begin with."""
