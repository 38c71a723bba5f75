"""What programs use that export PyTorch's networks: `forks.run(..., after="tests.with_torch")`.

Importing all of it and exporting a first network takes many seconds.
"""

import importlib

import torch

from tests.teachers import originals  # makes torchvision importable, which timm imports

assert originals.torchvision
importlib.import_module("timm")
torch.export.export(torch.nn.ReLU(), (torch.zeros(2),))
