"""Search strategies: they know batches, a space and a labelling function, nothing else."""
