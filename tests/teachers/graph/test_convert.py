"""Small networks as graphs: PyTorch's logits, or one line that says why not."""

import re

import jax
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from datafree_nas import teachers
from datafree_nas.runtime.errors import UserError
from tests.tiers import full

SIZE = (8, 8, 3)
SETTINGS = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
DYNAMIC = {0: torch.export.Dim.DYNAMIC}


class _Net(nn.Module):
    """Convolution, BatchNorm and a linear layer; members change what is between them."""

    def __init__(self, classes=5, **members):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, x):
        return self.head(self.body(self.norm(self.conv(x))))

    def body(self, x):
        return F.relu(x)

    def head(self, x):
        return self.fc(x.mean((2, 3)))


def _net(body=None, head=None, classes=5, forward=None, **members):
    """A network with other methods."""
    given = {"body": body, "head": head, "forward": forward}
    kind = type("Net", (_Net,), {name: method for name, method in given.items() if method})
    torch.manual_seed(0)
    return _random(kind(classes, **members))


def _random(module):
    """Gives statistics and weights of BatchNorms values that can be told apart."""
    for part in module.modules():
        for name, value in [*part.named_buffers(recurse=False), *part.named_parameters("", False)]:
            if isinstance(part, nn.modules.batchnorm._NormBase) and value.is_floating_point():
                value.data = torch.rand_like(value) + (0.5 if name != "bias" else 0.0)
    return module.eval()


def _export(module, path, images=2, size=SIZE, dynamic=DYNAMIC, core=False):
    height, width, channels = size
    shapes = (dynamic,) if dynamic else None
    program = torch.export.export(
        module, (torch.zeros(images, channels, height, width),), dynamic_shapes=shapes
    )
    torch.export.save(program.run_decompositions() if core else program, path)
    return path


def _logits(module, images):
    with torch.no_grad():
        answer = module(torch.from_numpy(images.transpose(0, 3, 1, 2)).contiguous())
    return answer.numpy()


def _check(made, module, wanted=_logits, size=SIZE):
    """Compares the logits with PyTorch's."""
    teacher, variables = made
    images = np.random.default_rng(0).normal(size=(5, *size)).astype(np.float32)
    expected = wanted(module, images)
    found = jax.jit(teacher.model.apply)(variables, images)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert teacher.num_classes == expected.shape[1]


def _port(module, size=SIZE):
    return teachers.from_torch(module, image_size=size, **SETTINGS)


def _file(path):
    return teachers.from_exported(path, **SETTINGS)


@pytest.fixture
def check(tmp_path):
    """Compares the logits of a module with those of its export."""
    return lambda module: _check(_file(_export(module, tmp_path / "a.pt2")), module)


def _refusal(make):
    with pytest.raises(UserError) as raised:
        make()
    line = str(raised.value)
    assert line.isprintable()
    return line


# in-place operations


def _in_place(self, x):
    return x.relu_().add_(1).mul_(x.sigmoid())


def _residual(self, x):
    y = F.relu_(x)
    y = self.more(y)
    y += x  # after the ReLU, which was written into it
    return y * x


def _through_view(self, x):
    y = x.view(x.shape[0], -1)
    y.relu_()
    return y.view(x.shape)


def _view_first(self, x):
    flat = x.flatten(2)
    x.relu_()
    return x + flat.view(x.shape)


def _slice(self, x):
    x[:, :2] = 0
    return x + 1


def _place(self, x):
    x[:, 1, :, ::2] = x[:, 0, :, 1::2]
    return x * 2


def _slice_added(self, x):
    x[:, :2].add_(1)
    return x + 1


def _input_written(self, x):
    x = x.clone()
    x -= 0.5
    return self.head(self.body(self.norm(self.conv(x))))


@pytest.mark.parametrize("body", [_in_place, *full(_residual, _through_view)])
def test_operations_in_place(body, check):
    module = _net(body, more=nn.Conv2d(4, 4, 1))
    check(module)


def test_an_image_that_is_changed_in_place(check):
    module = _net(forward=_input_written)
    check(module)


@pytest.mark.parametrize("body", [_slice, *full(_view_first, _place, _slice_added)])
def test_writing_into_a_part_is_refused_from_a_file_and_works_from_a_module(body, tmp_path):
    module = _net(body)
    file = _export(module, tmp_path / "a.pt2")
    assert "run_decompositions" in _refusal(lambda: _file(file))
    _check(_port(module), module)


# normalization


def test_an_export_in_training_is_refused(tmp_path):
    module = _net().train()
    file = _export(module, tmp_path / "a.pt2")
    assert "call model.eval() before torch.export.export" in _refusal(lambda: _file(file))
    file = _export(module, tmp_path / "b.pt2", core=True)
    assert "call model.eval() before torch.export.export" in _refusal(lambda: _file(file))


@pytest.mark.parametrize("norm", [nn.Identity(), nn.GroupNorm(2, 4)])
def test_networks_without_batch_norm_are_refused(norm):
    assert "has no BatchNorm with running statistics" in _refusal(lambda: _port(_net(norm=norm)))


def test_batch_norm_without_weights(check):
    module = _net(norm=nn.BatchNorm2d(4, affine=False))
    check(module)


def test_group_norm_beside_batch_norm(check):
    module = _net(lambda self, x: self.more(x), more=nn.GroupNorm(2, 4))
    check(module)


def test_batch_norm_after_a_linear_layer():
    module = _net(
        head=lambda self, x: self.fc(self.flat(self.first(x.mean((2, 3))))),
        first=nn.Linear(4, 4),
        flat=nn.BatchNorm1d(4),
    )
    teacher, variables = _port(module)
    assert variables["batch_stats"].keys() == {"norm", "flat"}
    _check((teacher, variables), module)


def test_modules_that_are_called_twice(check):
    module = _net(lambda self, x: self.norm(self.more(self.norm(self.more(x)))))
    module.more = nn.Conv2d(4, 4, 3, padding=1)
    check(module)


def _standardized(self, x):
    weight = F.batch_norm(
        self.more.weight.view(1, 4, -1), None, None, self.gain, training=True, eps=1e-4
    )
    return F.conv2d(x, weight.view(4, 4, 3, 3), self.more.bias)


def test_weights_that_batch_norm_standardizes(check):
    module = _net(_standardized, more=nn.Conv2d(4, 4, 3), gain=nn.Parameter(torch.rand(4)))
    check(module)


# inputs and outputs


def _two(self, x):
    x = self.norm(self.conv(x))
    return x, self.head(x)


def _dict(self, x):
    x = self.norm(self.conv(x))
    return {"features": x, "logits": self.head(x)}


@pytest.mark.parametrize("forward", [_dict, *full(_two)])
def test_logits_among_other_outputs(forward):
    module = _net(forward=forward)

    def wanted(module, images):
        with torch.no_grad():
            answer = module(torch.from_numpy(images.transpose(0, 3, 1, 2)))
        return (answer["logits"] if isinstance(answer, dict) else answer[1]).numpy()

    _check(_port(module), module, wanted)


def test_two_outputs_that_may_both_be_logits_are_refused():
    module = _net(forward=lambda self, x: (self.head(self.norm(self.conv(x))), x.mean((2, 3))))
    line = _refusal(lambda: _port(module))
    assert "has to return logits [b, k], and returns tensors of these shapes: " in line


def test_logits_with_sides_are_refused():
    module = _net(head=lambda self, x: self.more(x).mean((2, 3), True), more=nn.Conv2d(4, 5, 1))
    line = _refusal(lambda: _port(module))
    assert "[2, 5, 1, 1]" in line
    assert "export a module whose forward returns the logits alone" in line


def test_one_output_is_refused():
    assert "put a row of zeros before the head's weight" in _refusal(lambda: _port(_net(classes=1)))


def test_images_of_other_ranks_are_refused(tmp_path):
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.fc = nn.BatchNorm1d(4), nn.Linear(4, 5)

        def forward(self, x):
            return self.fc(self.norm(x).flatten(2).mean(2))

    volume = _net(forward=lambda self, x: self.head(self.norm(self.conv(x[:, :, 0]))))
    for module, shape in ((Flat().eval(), (2, 4, 8)), (volume, (2, 3, 1, 8, 8))):
        torch.export.save(torch.export.export(module, (torch.zeros(shape),)), tmp_path / "a.pt2")
        assert "images are [b, c, h, w]" in _refusal(lambda: _file(tmp_path / "a.pt2"))


def test_two_inputs_are_refused(tmp_path):
    module = _net(forward=lambda self, x, y: self.head(self.norm(self.conv(x + y))))
    images = torch.zeros(2, 3, 8, 8)
    torch.export.save(torch.export.export(module, (images, images)), tmp_path / "a.pt2")
    assert "the network takes 2 tensors" in _refusal(lambda: _file(tmp_path / "a.pt2"))


# numbers of images, and their sizes


def _flat(self, x):
    x = F.adaptive_avg_pool2d(x, 2)
    return self.fc(x.reshape(x.shape[0], 4, 4).permute(0, 2, 1).reshape(x.shape[0], 4, 4).sum(1))


@pytest.mark.parametrize("images", [1, *full(4)])
def test_an_export_for_a_fixed_number_of_images(images, tmp_path):
    module = _net(head=_flat)
    _check(_file(_export(module, tmp_path / "a.pt2", images, dynamic=None)), module)


def test_a_number_of_images_that_cannot_be_freed(tmp_path):
    module = _net(lambda self, x: x + torch.arange(x.shape[0]).reshape(-1, 1, 1, 1))
    line = _refusal(lambda: _file(_export(module, tmp_path / "a.pt2", 4, dynamic=None)))
    assert "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)" in line


def test_an_export_for_any_size(tmp_path):
    module = _net(lambda self, x: F.interpolate(F.max_pool2d(x, 2), x.shape[2:]))
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    made = _file(_export(module, tmp_path / "a.pt2", dynamic=free))
    _check(made, module)
    _check(made, module, size=(12, 20, 3))


def test_a_network_that_depends_on_the_size_has_a_graph_for_half_of_it():
    module = _net(
        lambda self, x: F.interpolate(x[:, :, ::2], (2 * x.shape[2], x.shape[3] + 1))[:, :, 1:]
    )
    made = _port(module)
    assert [size for size, _ in made[0].model.at_sizes] == [(4, 4)]
    _check(made, module)
    _check(made, module, size=(4, 4, 3))


def test_a_network_for_any_size_has_one_graph():
    assert _port(_net())[0].model.at_sizes == ()


# operations


def _many(self, x):
    x = F.hardswish(F.avg_pool2d(x, 2))
    left, right = x.chunk(2, 1)
    return torch.cat([right, left * left.mean((2, 3), keepdim=True).sigmoid()], 1)


def test_the_core_form_gives_the_same_logits(tmp_path):
    module = _net(_many)
    _check(_file(_export(module, tmp_path / "a.pt2")), module)
    _check(_file(_export(module, tmp_path / "b.pt2", core=True)), module)


class _Odd(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x) + torch.special.i1(x)


def test_all_unknown_operations_are_named_with_their_modules():
    line = _refusal(lambda: _port(_net(lambda self, x: self.odd(x), odd=nn.Sequential(_Odd()))))
    assert re.search(r"special_bessel_j0\S* \(in odd\.0\), special_i1\S* \(in odd\.0\)", line)
    assert "add them to datafree_nas/teachers/graph/ops" in line


# parameters and names


class _Scaled(nn.Module):
    """Parameters and buffers of its own, with names that layers here give to others."""

    def __init__(self):
        super().__init__()
        for name, shape in {"scale": (4, 1, 1), "kernel": (4, 4), "weight": (4, 4)}.items():
            setattr(self, name, nn.Parameter(torch.rand(shape)))
        self.register_buffer("mean", torch.rand(4, 1, 1))
        self.register_buffer("var", torch.rand(4, 1, 1))

    def forward(self, x):
        x = (x - self.mean) / self.var.sqrt() * self.scale
        return (x.transpose(1, 3) @ self.kernel @ self.weight).transpose(1, 3)


def _raw(self, x):
    return self.more((x - self.mean) * self.scale[:, None, None]) @ self.kernel @ self.weight


def test_parameters_and_buffers_without_a_layer(tmp_path):
    module = _net(_raw, more=_Scaled())
    for name, shape in {"scale": (4,), "kernel": (8, 8), "weight": (8, 8)}.items():
        setattr(module, name, nn.Parameter(torch.rand(shape)))
    module.register_buffer("mean", torch.rand(4, 1, 1))
    teacher, variables = _port(module)
    _check((teacher, variables), module)
    teachers.export(tmp_path / "a.safetensors", teacher, variables)
    _check_exported(tmp_path / "a.safetensors", module)


def _check_exported(file, module):
    """The file's tensors are those of the state dict, by PyTorch's names."""
    from safetensors.torch import load_file

    found = load_file(file)
    wanted = {k: v for k, v in module.state_dict().items() if "num_batches" not in k}
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(found[key].numpy(), value.numpy(), key)


def test_a_buffer_of_whole_numbers_as_an_index(check):
    module = _net(lambda self, x: x[:, self.order])
    module.register_buffer("order", torch.tensor([3, 1, 0, 2]))
    check(module)


NAMES = [
    *("graph", "at_sizes", "path", "init", "variables", "scope"),
    *("name", "params", "batch_stats", "constants"),
]


class _Named(nn.Module):
    """Modules and parameters whose names Linen uses itself."""

    def __init__(self):
        super().__init__()
        for number, name in enumerate(NAMES):
            kinds = [nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.PReLU(4), _Value()]
            self.add_module(name, kinds[number % 4])
        self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 5)

    def forward(self, x):
        x = self.conv(x)
        for name in NAMES:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))


class _Value(nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("graph", "shapes", "name", "scope", "path", "init"):
            self.register_parameter(name, nn.Parameter(torch.rand(1)))

    def forward(self, x):
        return x * self.graph + self.shapes + self.name - self.scope * self.path + self.init


def test_names_that_linen_uses_itself(tmp_path):
    torch.manual_seed(0)
    module = _random(_Named())
    teacher, variables = _port(module)
    _check((teacher, variables), module)
    teachers.save(tmp_path / "teacher", teacher, variables, {})
    _check(teachers.load(tmp_path / "teacher"), module)
    teachers.export(tmp_path / "a.safetensors", teacher, variables)
    _check_exported(tmp_path / "a.safetensors", module)
