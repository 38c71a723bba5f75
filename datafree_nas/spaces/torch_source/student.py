"""The class around a network: weights from a file, and images as bytes."""

import json
from pathlib import Path

import torch
from torch import nn

# mean and standard deviation per channel, of pixels in [0, 1]
MEAN = (0.5,)
STD = (0.25,)


class Network(nn.Module):
    """Stands for the network of a space, whose source takes the place of this class."""


class Student(Network):
    """From images to logits `[b k]`.

    Images are bytes `[b h w c]`, or normalized floats `[b c h w]`.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Computes the logits; bytes are normalized first."""
        if images.dtype == torch.uint8:
            images = (images.permute(0, 3, 1, 2) / 255 - self.mean) / self.std
        return super().forward(images)

    @classmethod
    def load(cls, path: str) -> "Student":
        """Builds the student with the weights of `student.safetensors`, ready to classify."""
        student, tensors = cls(), read_safetensors(path)
        for name in [name for name in tensors if name.startswith("auxiliary_head.")]:
            del tensors[name]  # of a head that was there for the training alone
        student.load_state_dict(tensors)
        return student.eval()


def read_safetensors(path: str) -> dict[str, torch.Tensor]:
    """Reads the tensors of a file, which are all float32."""
    content = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    tensors = {}
    for name, entry in json.loads(content[8:start]).items():
        if name != "__metadata__":
            begin, end = (start + offset for offset in entry["data_offsets"])
            flat = torch.frombuffer(content[begin:end], dtype=torch.float32)
            tensors[name] = flat.view(entry["shape"])
    return tensors
