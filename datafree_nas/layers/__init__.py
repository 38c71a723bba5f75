"""Layers that teachers and search spaces share."""
