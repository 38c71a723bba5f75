"""Layers that teachers and search spaces share, and the initial values of networks."""
