"""Teachers as graphs: any PyTorch classifier that `torch.export` takes, as data and run in JAX."""
