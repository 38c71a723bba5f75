"""PyTorch's files and names: checkpoints in and out."""
