"""The networks that are kept: training and evaluation of the architecture found, and its rivals."""
