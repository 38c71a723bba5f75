"""Every operation of the table against PyTorch's own, on tensors whose axes lie in any order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from datafree_nas.teachers.graph.network import is_tensor_op
from datafree_nas.teachers.graph.ops import TABLE, find
from datafree_nas.teachers.graph.ops.elementwise import random
from datafree_nas.teachers.graph.tensor import Tensor

INF = float("inf")
UNSET = {"empty.memory_format", "empty_like", "new_empty"}  # their values are whatever lies there
_RANDOM = torch.Generator().manual_seed(0)


def r(*shape):
    """Random numbers of both signs."""
    return torch.randn(shape, generator=_RANDOM)


def whole(*shape, below=5):
    return torch.randint(below, shape, generator=_RANDOM)


def case(name, *args, **kwargs):
    """An operation, `.default` unless the name says otherwise, and PyTorch's arguments."""
    return pytest.param(name, args, kwargs, id=name)


X = r(2, 6, 7, 9)  # images
Y = r(2, 6, 7, 9)
S = r(2, 6, 11)  # sequences
D = r(2, 3, 5, 6, 4)  # volumes
M = r(3, 4)
V = r(2, 3, 4)
ONES = r(1, 3, 1, 4, 1)
POSITIVE = r(2, 3, 4).abs() + 0.1
INTS, OTHER_INTS = whole(2, 3, 4) - 2, whole(3, 1) + 1
BOOLS, OTHER_BOOLS = r(2, 3, 4) > 0, r(3, 1) > 0
STRANGE = torch.tensor([[1.0, INF, -INF], [float("nan"), 0.0, -2.0]])
QUERIES, KEYS, VALUES = r(2, 3, 5, 4), r(2, 3, 7, 4), r(2, 3, 7, 6)

ELEMENTWISE = [
    *(
        case(name, 3 * V)
        for name in (
            *("relu", "relu6", "silu", "sigmoid", "hardswish", "hardsigmoid", "tanh", "mish"),
            *("log_sigmoid", "selu", "exp", "expm1", "reciprocal", "square", "abs", "neg"),
            *("sin", "cos", "tan", "atan", "erf", "sign", "floor", "ceil", "round", "trunc"),
            *("logical_not", "isnan", "isinf"),
        )
    ),
    *(case(name, POSITIVE) for name in ("log", "log1p", "log2", "sqrt", "rsqrt")),
    case("round", torch.arange(-3, 4) / 2),
    case("logical_not", INTS),
    case("bitwise_not", BOOLS),
    case("bitwise_not", INTS),
    case("isnan", STRANGE),
    case("isinf", STRANGE),
    case("sign", STRANGE[:, :2].nan_to_num()),
    *(
        case(name, V, other)
        for name in ("maximum", "minimum", "max.other", "min.other", "atan2", "floor_divide")
        for other in (r(2, 3, 4), r(3, 1))
    ),
    *(
        case(f"{name}.{kind}", INTS, other)
        for name in ("eq", "ne", "lt", "le", "gt", "ge")
        for kind, other in (("Tensor", OTHER_INTS), ("Scalar", 1))
    ),
    *(case(f"logical_{name}", BOOLS, OTHER_BOOLS) for name in ("and", "or", "xor")),
    case("logical_and", INTS, V),
    case("bitwise_and.Tensor", BOOLS, OTHER_BOOLS),
    case("bitwise_and.Scalar", INTS, 3),
    case("bitwise_or.Tensor", INTS, OTHER_INTS),
    case("remainder.Tensor", V, r(3, 1)),
    case("remainder.Scalar", V, -0.7),
    case("remainder.Tensor", INTS, OTHER_INTS),
    case("floor_divide", INTS, OTHER_INTS),
    *(
        case(f"{name}.{kind}", V, other)
        for name in ("add", "sub", "subtract", "rsub", "mul", "multiply")
        for kind, other in (("Tensor", r(3, 1)), ("Scalar", 1.5))
    ),
    *(case(f"{name}.Tensor", V, r(5, 1, 3, 4), alpha=2.5) for name in ("add", "sub", "rsub")),
    case("add.Tensor", INTS, V),
    case("mul.Tensor", BOOLS, V),
    *(
        case(f"{name}.{kind}", V, other)
        for name in ("div", "divide", "true_divide")
        for kind, other in (("Tensor", r(3, 1)), ("Scalar", 1.5))
    ),
    *(
        case("div.Tensor_mode", x, other, rounding_mode=mode)
        for x, other in ((V, r(3, 1)), (INTS, OTHER_INTS))
        for mode in ("floor", "trunc", None)
    ),
    *(case("div.Scalar_mode", V, -0.3, rounding_mode=mode) for mode in ("floor", "trunc")),
    case("div.Tensor", INTS, OTHER_INTS),
    case("pow.Tensor_Scalar", V, 2),
    case("pow.Tensor_Scalar", V, 3.0),
    case("pow.Tensor_Scalar", POSITIVE, -0.5),
    case("pow.Tensor_Scalar", INTS, 2),
    case("pow.Tensor_Tensor", POSITIVE, r(3, 1)),
    case("pow.Scalar", 2, V),
    case("addcmul", V, r(3, 1), r(4)),
    case("addcmul", V, r(3, 1), r(4), value=-2),
    case("lerp.Scalar", V, r(3, 1), 0.3),
    case("lerp.Tensor", V, r(3, 1), r(4)),
    case("where.self", BOOLS, V, r(3, 1)),
    case("where.self", OTHER_BOOLS, V, r(5, 1, 1, 1)),
    case("where.ScalarOther", BOOLS, V, -INF),
    case("where.ScalarSelf", BOOLS, 0.5, V),
    case("where.Scalar", BOOLS, 1.0, 0.0),
    case("masked_fill.Scalar", V, OTHER_BOOLS, -2),
    case("masked_fill.Tensor", V, BOOLS, torch.tensor(3.0)),
    case("clamp", V, -0.5, 0.25),
    case("clamp", V, None, 0.25),
    case("clamp", V, min=0),
    case("clamp", INTS, 0, 1),
    case("clamp.Tensor", V, r(3, 1), None),
    case("clamp.Tensor", V, r(3, 1), r(2, 3, 4)),
    case("clip", V, -0.5),
    case("hardtanh", V),
    case("hardtanh", 5 * V, 0, 6),
    case("clamp_min", V, 0.1),
    case("clamp_min.Tensor", V, r(3, 1)),
    case("clamp_max", V, 0.1),
    case("clamp_max.Tensor", V, r(3, 1)),
    case("gelu", 2 * V),
    case("gelu", 2 * V, approximate="tanh"),
    case("leaky_relu", V),
    case("leaky_relu", V, 0.3),
    case("elu", V),
    case("elu", V, 0.5, 1.5, 2),
    case("celu", V, 0.4),
    case("softplus", 5 * V),
    case("softplus", 5 * V, 2, 1.5),
    case("softplus", 500 * V),
    case("prelu", X, r(6)),
    case("prelu", X, r(1)),
    case("prelu", M, r(4)),
    case("_prelu_kernel", X, r(1, 6, 1, 1)),
    case("threshold", V, 0.2, -7),
    case("glu", V),
    case("glu", X, -3),
    *(case(f"{name}dropout", V, 0.5, False) for name in ("", "feature_", "alpha_", "native_")),
    *(
        case(name, V)
        for name in (
            *("contiguous", "clone", "detach", "alias"),
            *("lift", "lift_fresh", "lift_fresh_copy"),
        )
    ),
    case("to.dtype", 3 * V, torch.int64),
    case("to.dtype", INTS, torch.float32),
    case("to.dtype", INTS, torch.bool),
    case("to.other", BOOLS, INTS),
    case("_to_copy", BOOLS, dtype=torch.float32),
    case("_to_copy", V),
    case("type_as", INTS, V),
]

SHAPES = [
    case("sym_size.int", X, -1),
    case("size.int", X, 1),
    case("numel", X),
    case("sym_numel", X),
    case("view", X, [2, 3, 2, 63]),
    case("reshape", X, [2, -1, 3, 3]),
    case("_unsafe_view", X, [-1]),
    case("view", r(1), []),
    case("flatten.using_ints", X),
    case("flatten.using_ints", X, 1, -2),
    case("flatten.using_ints", X, -2),
    case("unflatten.int", X, -3, [2, -1]),
    case("permute", X, [0, -1, 1, -2]),
    case("transpose.int", X, -1, 1),
    case("swapaxes", X, 0, -2),
    case("t", M),
    case("t", r(4)),
    case("movedim.int", X, 1, -1),
    case("movedim.int", X, -1, 0),
    case("movedim.intlist", X, [0, -1], [-2, 0]),
    case("movedim.intlist", X, [2, 0], [0, 1]),
    case("squeeze", ONES),
    case("squeeze.dim", ONES, -1),
    case("squeeze.dim", ONES, 1),
    case("squeeze.dims", ONES, [0, -2, 2]),
    *(case("unsqueeze", V, dim) for dim in (0, 2, 3, -1, -2)),
    case("cat", [r(2, 3), r(2, 1), r(2, 4)], -1),
    case("cat", [r(2, 6, 7, 9), r(2, 1, 7, 9)], 1),
    case("cat", [r(0), r(2, 3)]),
    case("concat", [r(2, 3), r(1, 3)]),
    *(case("stack", [r(2, 3), r(2, 3)], dim) for dim in (0, 1, -1)),
    case("split.Tensor", X, 4, 1),
    case("split.Tensor", X, 3, -1),
    case("split.sizes", X, [1, 2, 3], -3),
    case("split_with_sizes", X, [4, 3], 2),
    case("chunk", X, 4, -1),
    case("chunk", X, 5, 1),
    case("unbind.int", V, -2),
    case("slice.Tensor", X, 1, -4, None),
    case("slice.Tensor", X, -1, None, 1 << 63 - 1),
    case("slice.Tensor", X, -1, 1, 100, 3),
    case("slice.Tensor", X, 2, -100, -2, 2),
    case("slice.Tensor", X, 2, 5, 3),
    case("narrow", X, -1, 2, 5),
    case("narrow", X, -1, -3, 3),
    case("select.int", X, 1, -1),
    case("select.int", X, -1, 3),
    case("slice_scatter", r(4, 6), r(4, 2), 1, -5, 5, 2),
    case("slice_scatter", r(4, 6), r(3, 6), 0, 1),
    case("select_scatter", r(4, 6), r(4), 1, -2),
    case("copy", r(4, 6), r(6)),
    case("fill.Scalar", r(4, 6), 2.5),
    case("expand", r(3, 1), [2, -1, 5]),
    case("expand", r(1, 6, 1, 1), [4, 6, 7, -1]),
    case("expand_as", r(3, 1), V),
    case("repeat", M, [2, 1, 3]),
    case("repeat", M, [2, 1, 1, 3]),
    case("tile", V, [2]),
    case("tile", M, [2, 1, 3]),
    case("repeat_interleave.self_int", V, 3, -2),
    case("repeat_interleave.self_int", V, 2),
    case("roll", V, [1], [-1]),
    case("roll", V, [1, -2], [0, 2]),
    case("roll", V, [5]),
    case("flip", V, [0, -1]),
    case("pad", X, [1, 2]),
    case("pad", X, [1, -2, -1, 3, 0, 2], "constant", 0.5),
    case("pad", X, [2, 1, 3, 0], "reflect"),
    case("pad", X, [2, 1, 3, 0], "replicate"),
    case("pad", X, [2, 1, 3, 0], "circular"),
    case("constant_pad_nd", X, [-1, -1, 0, 1], -INF),
    case("constant_pad_nd", BOOLS, [1, 1], True),
    case("reflection_pad1d", S, [3, 2]),
    case("reflection_pad2d", X, [3, 2, 1, 0]),
    case("replication_pad1d", S, [3, 2]),
    case("replication_pad2d", X, [3, 2, 1, 0]),
    case("pixel_shuffle", r(2, 12, 3, 5), 2),
    case("pixel_unshuffle", r(2, 3, 4, 6), 2),
    case("channel_shuffle", X, 3),
    case("as_strided", X, [2, 3, 4], [11, 1, 5], 7),
    case("as_strided", X, [2, 3], [1, 0]),
    case("as_strided", X, [2, 3], [1, 2], None),
    case("index.Tensor", X, [None, whole(5) - 2]),
    case("index.Tensor", X, [None, None, whole(4, 1), whole(3)]),
    case("index.Tensor", X, [whole(4, below=2), None, whole(4)]),
    case("index_select", X, -1, whole(4)),
    case("gather", V, -1, whole(2, 3, 5, below=4)),
    case("gather", V, 1, whole(1, 5, 2, below=3)),
    case("unfold", X, -2, 3, 2),
    case("unfold", X, 1, 2, 1),
    case("im2col", X, [3, 2], [1, 2], [1, 0], [2, 1]),
    case("im2col", X, [2, 3], [2, 1], [0, 2], [1, 3]),
    case("col2im", r(2, 12, 4 * 5), [7, 5], [2, 3], [2, 1], [1, 1], [2, 1]),
    case("col2im", r(2, 8, 6), [5, 7], [2, 2], [1, 1], [0, 0], [2, 2]),
    case("tril", V),
    case("tril", M, 1),
    case("triu", V, -1),
    case("zeros", [2, 3]),
    case("zeros", [2, 3], dtype=torch.int64),
    case("empty.memory_format", [2, 3]),
    case("ones", [2, 3]),
    case("full", [2, 3], 2.5),
    case("full", [2, 3], 2),
    case("full", [], True),
    case("full", [2], 2, dtype=torch.float32),
    case("scalar_tensor", 2.5),
    case("scalar_tensor", 2, dtype=torch.int64),
    case("zeros_like", V),
    case("zeros_like", V, dtype=torch.bool),
    case("empty_like", V),
    case("ones_like", INTS),
    case("full_like", V, -INF),
    case("full_like", INTS, 3),
    case("new_zeros", V, [2]),
    case("new_empty", INTS, [2]),
    case("new_ones", INTS, [2, 1]),
    case("new_full", V, [2, 1], 3, dtype=torch.int64),
    case("new_full", V, [2, 1], 3),
    case("arange", 5),
    case("arange.start", -2, 3.5),
    case("arange.start_step", 7, 0, -2),
    case("arange.start_step", 0, 2, 0.25),
    case("arange", 5, dtype=torch.float32),
    case("linspace", -1, 1, 5),
    case("linspace", 0, 3, 1),
    case("meshgrid", [r(2), r(3), r(4)]),
    case("meshgrid.indexing", [r(2), r(3)], indexing="xy"),
    case("broadcast_tensors", [V, r(3, 1), r(5, 1, 1, 1)]),
]

REDUCTIONS = [
    *(
        case(f"{name}.{overload}", X, *how)
        for name, overload in (("mean", "dim"), ("sum", "dim_IntList"))
        for how in (([-1],), ([0, -2], True), (None,), ([],))
    ),
    *(case(name, V) for name in ("mean", "sum", "prod", "amax", "amin", "max", "min")),
    case("sum", BOOLS),
    case("prod.dim_int", V, -2, True),
    *(
        case(name, V, *how)
        for name in ("amax", "amin")
        for how in (([1, -1],), ([-3], True), ([],))
    ),
    *(
        case(f"{name}{overload}", x, *how)
        for name in ("any", "all")
        for overload, how in (("", ()), (".dim", (-1, True)), (".dims", ([0, -1],)))
        for x in (BOOLS, INTS)
    ),
    *(case(f"{name}.dim", V, *how) for name in ("max", "min") for how in ((-2,), (2, True))),
    case("argmax", V, 1),
    case("argmax", V, -1, True),
    case("argmax", V),
    *(
        case(name, V, *how, **named)
        for base in ("var", "std", "var_mean")
        for name, how, named in (
            (base, (), {}),
            (base, (False,), {}),
            (f"{base}.dim", ([0, -1], False, True), {}),
            (f"{base}.dim", ([1],), {}),
            (f"{base}.correction", ([-1],), {"correction": 0}),
            (f"{base}.correction", ([0, 2],), {"correction": 1, "keepdim": True}),
            (f"{base}.correction", (None,), {}),
        )
    ),
    case("norm.Scalar", V),
    *(case("norm.ScalarOpt_dim", V, p, [-1], True) for p in (None, 1, 2, 3, INF)),
    *(case("linalg_vector_norm", V, p, [0, -1]) for p in (1, 2, 0.5, INF)),
    case("linalg_vector_norm", V),
    case("softmax.int", X, 1),
    case("softmax.int", STRANGE[:1, :1].expand(2, 3), -1),
    case("_softmax", X, -1, False),
    case("log_softmax.int", X, -3),
    case("_log_softmax", X, 2, False),
    case("logsumexp", X, [1, -1]),
    case("logsumexp", X, [-2], True),
    case("cumsum", V, -2),
    case("cumsum", BOOLS, 2),
    case("topk", V, 2),
    case("topk", V, 2, -2, False),
]

WINDOWS = [
    case("max_pool1d", S, [3]),
    case("max_pool1d", S, [3], [2], [1], [2], True),
    case("max_pool2d", X, [2, 3]),
    case("max_pool2d", X, [3]),
    case("max_pool2d", X, [3, 2], [2, 1], [1, 0]),
    case("max_pool2d", X, [3, 2], [2, 3], [1, 1], [1, 1], True),
    case("max_pool2d", X, [2, 3], [1, 2], [1, 1], [2, 3]),
    case("max_pool2d", X, [2, 2], [3, 4], [0, 1], [2, 1], True),
    case("max_pool2d_with_indices", X, [3, 3], [2, 2], [1, 1]),
    case("avg_pool1d", S, [3], [2], [1], True),
    case("avg_pool1d", S, [4], [3], [2], True, False),
    case("avg_pool2d", X, [2, 3]),
    case("avg_pool2d", X, [3, 2], [2, 1], [1, 1]),
    case("avg_pool2d", X, [3, 2], [2, 2], [1, 0], True),
    case("avg_pool2d", X, [2, 3], [4, 3], [1, 1], True),
    case("avg_pool2d", X, [3, 2], [2, 2], [1, 1], False, False),
    case("avg_pool2d", X, [3, 2], [3, 2], [1, 1], True, False),
    case("avg_pool2d", X, [3, 2], [3, 2], [1, 1], True, True, 5),
    case("max_pool2d", X, [2560, 900], [2560, 900], [0, 0], [1, 1], True),
    case("avg_pool2d", X, [2560, 3], [2560, 3], [0, 1], True),
    case("avg_pool2d", X, [2560, 8], [4, 8], [1278, 3], False, False),
    case("adaptive_avg_pool1d", S, [4]),
    *(case("adaptive_avg_pool2d", X, sizes) for sizes in ([1, 1], [3, 4], [7, 1], [10, 9])),
    case("_adaptive_avg_pool2d", X, [5, 2]),
    case("adaptive_max_pool1d", S, [4]),
    *(case("adaptive_max_pool2d", X, sizes) for sizes in ([1, 1], [3, 4], [9, 5])),
    case("upsample_nearest1d", S, [17]),
    case("upsample_nearest1d", S, [17], 1.6),
    case("upsample_nearest1d.vec", S, None, [0.7]),
    case("upsample_nearest1d", r(1, 2, 4), [82]),  # where float64 rounds to other pixels
    case("upsample_nearest1d.vec", r(1, 2, 31), None, [1.3]),
    *(case("upsample_nearest2d", X, sizes) for sizes in ([14, 18], [3, 4], [10, 31])),
    case("upsample_nearest2d", X, [10, 20], 1.5, 2.3),
    case("upsample_nearest2d.vec", X, None, [1.3, 0.6]),
    case("upsample_nearest2d.vec", X, [5, 20], None),
    *(
        case(f"{kind}{overload}", X, sizes, corners, *factors)
        for kind in (
            *("upsample_bilinear2d", "upsample_bicubic2d"),
            *("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"),
        )
        for corners in (False, True)
        for overload, sizes, *factors in (
            ("", [14, 18]),
            ("", [3, 5]),
            ("", [1, 10]),
            ("", [10, 20], 1.5, 2.3),
            (".vec", None, [0.7, 1.3]),
            (".vec", [9, 4], None),
        )
    ),
]

LAYERS = [
    case("conv1d", S, r(4, 6, 3), r(4), [2], [1], [2]),
    case("conv1d.padding", S, r(4, 3, 4), None, [1], "same", [1], 2),
    case("conv2d", X, r(4, 6, 3, 2)),
    case("conv2d", X, r(4, 6, 3, 2), r(4), [2, 1], [1, 2], [1, 3]),
    case("conv2d", X, r(9, 2, 2, 3), r(9), [1, 2], [0, 1], [2, 1], 3),
    case("conv2d", X, r(6, 1, 3, 2), r(6), [2, 1], [1, 2], [1, 3], 6),
    case("conv2d", X, r(6, 1, 2, 3), None, [1, 2], [0, 0], [2, 1], 6),
    case("conv2d", X, r(12, 1, 3, 3), r(12), [1, 1], [1, 1], [1, 1], 6),
    case("conv2d", X[:, :1], r(1, 1, 3, 3), r(1)),
    case("conv3d", D, r(4, 3, 3, 2, 1), r(4), [1, 2, 1], [1, 0, 1]),
    case("conv2d.padding", X, r(4, 6, 3, 2), r(4), [1, 1], "same", [2, 3]),
    case("conv2d.padding", X, r(6, 1, 4, 3), None, [1, 1], "same", [1, 1], 6),
    case("conv2d.padding", X, r(4, 6, 3, 2), None, [2, 1], "valid"),
    case("convolution", X, r(4, 3, 3, 2), r(4), [2, 1], [1, 0], [1, 2], False, [0, 0], 2),
    case("convolution", S, r(4, 6, 3), None, [2], [1], [1], False, [0], 1),
    case("convolution", D, r(4, 3, 1, 3, 3), None, [1] * 3, [0, 1, 1], [1] * 3, False, [0] * 3, 1),
    case("convolution", X, r(6, 2, 3, 2), r(4), [2, 3], [1, 0], [1, 2], True, [1, 2], 2),
    case("conv_transpose2d.input", X, r(6, 4, 3, 2), r(4)),
    case("conv_transpose2d.input", X, r(6, 4, 3, 2), None, [2, 3], [1, 1], [1, 2]),
    case("conv_transpose2d.input", X, r(6, 2, 2, 3), r(6), [2, 1], [0, 2], [1, 0], 3, [2, 1]),
    case("conv_transpose2d.input", X, r(6, 1, 1, 1), r(6), [2, 2], [0, 0], [1, 1], 6),
    case("linear", X, r(5, 9), r(5)),
    case("linear", M, r(5, 4)),
    case("addmm", r(5), M, r(4, 5)),
    case("addmm", r(3, 5), M, r(4, 5), beta=0.5, alpha=-2),
    case("matmul", M, r(4, 5)),
    case("matmul", V, r(4)),
    case("matmul", r(3), V),
    case("matmul", V, r(5, 1, 4, 2)),
    case("mm", M, r(4, 5)),
    case("bmm", V, r(2, 4, 5)),
    case("baddbmm", r(1, 5), V, r(2, 4, 5), beta=2, alpha=0.5),
    case("einsum", "bchw,dc->bdhw", [X, r(4, 6)]),
    case("einsum", "bij,bjk->ik", [V, r(2, 4, 5)]),
    case("scaled_dot_product_attention", QUERIES, KEYS, VALUES),
    case("scaled_dot_product_attention", QUERIES, KEYS, VALUES, r(5, 7), scale=0.3),
    case("scaled_dot_product_attention", QUERIES, KEYS, VALUES, r(2, 1, 5, 7)),
    case("scaled_dot_product_attention", QUERIES, KEYS, VALUES, r(3, 5, 7) > -0.5),
    case("layer_norm", X, [9], r(9), r(9)),
    case("layer_norm", X, [7, 9], r(7, 9), r(7, 9), 0.1),
    case("layer_norm", X, [7, 9]),
    case("native_layer_norm", X, [7, 9], r(7, 9), None, 1e-3),
    case("rms_norm", X, [9]),
    case("rms_norm", X, [7, 9], r(7, 9), 0.1),
    case("group_norm", X, 3, r(6), r(6)),
    case("group_norm", X, 2, None, None, 0.1),
    case("group_norm", S, 2, r(6)),
    case("native_group_norm", X, r(6), None, 2, 6, 63, 3, 1e-3),
    case("instance_norm", X, r(6), r(6), None, None, True, 0.1, 1e-3, False),
    case("cosine_similarity", X, Y),
    case("cosine_similarity", V, r(2, 3, 4), -1, 0.1),
    case("cosine_similarity", V, r(3, 1), -1),
]

CASES = [*ELEMENTWISE, *SHAPES, *REDUCTIONS, *WINDOWS, *LAYERS]
WITH_GRADIENTS = {  # that JAX or XLA derives by rules of its own, or that have kinks and borders
    *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "clamp"),
    *("upsample_bilinear2d", "_upsample_bicubic2d_aa", "upsample_nearest2d", "conv2d"),
    *("conv_transpose2d", "group_norm", "scaled_dot_product_attention", "hardswish"),
    *("softplus", "col2im"),
}


def base(name):
    return name.partition(".")[0]


def overloaded(name):
    """Returns PyTorch's operation, and its whole name as a graph has it."""
    packet, _, overload = name.partition(".")
    overload = overload or "default"
    return getattr(getattr(torch.ops.aten, packet), overload), f"{packet}.{overload}"


def mapped(value, function):
    """Applies a function to all tensors of an argument."""
    if isinstance(value, list):
        return [mapped(each, function) for each in value]
    return function(value) if isinstance(value, torch.Tensor) else value


def by_name(operation, args, kwargs):
    """Returns the arguments as a graph has them: by PyTorch's names, `x` first, types as texts."""
    names = [argument.name for argument in operation._schema.arguments]
    named = dict(zip(names, args, strict=False)) | kwargs
    return {
        "x" if name in ("self", "input") else name: str(value).removeprefix("torch.")
        if isinstance(value, torch.dtype)
        else value
        for name, value in named.items()
    }


def function_of(name, args, kwargs):
    """Returns the table's function as one of arrays, and the arrays, with axes in random order."""
    operation, whole_name = overloaded(name)
    arguments = by_name(operation, args, kwargs)
    generator, orders, arrays = np.random.default_rng(len(whole_name)), [], []

    def put(tensor):
        orders.append(tuple(int(dim) for dim in generator.permutation(tensor.ndim)))
        arrays.append(tensor.detach().numpy().transpose(orders[-1]))
        return tensor

    for value in arguments.values():
        mapped(value, put)

    def call(arrays):
        tensors = iter([Tensor(*each) for each in zip(arrays, orders, strict=True)])
        result = find(whole_name)(
            **{key: mapped(value, lambda _: next(tensors)) for key, value in arguments.items()}
        )
        several = isinstance(result, tuple) and not isinstance(result, Tensor)
        return [
            each.plain() if isinstance(each, Tensor) else each
            for each in (result if several else (result,))
        ]

    return call, [jnp.asarray(array) for array in arrays], orders


def compiled(function):
    """Compiles without optimization, as each program runs once."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def close(found, expected):
    """Of the same shape and kind, and within 1e-5 of the largest number."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype.kind == expected.dtype.kind
    finite = np.abs(expected[np.isfinite(expected)], dtype=np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * finite.max(initial=0))


def compare(name, found, expected):
    """Compares all outputs of an operation, those left out as None."""
    expected = expected if isinstance(expected, (tuple, list)) else [expected]
    if name != "native_dropout":  # whose mask no evaluation needs
        assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=False):
        if name in UNSET:
            assert one.shape == other.shape
        elif one is not None:
            close(one, other.detach() if isinstance(other, torch.Tensor) else other)


def has_gradient(each):
    name, args, _ = each.values
    return base(name) in WITH_GRADIENTS and args[0].is_floating_point()


@pytest.mark.parametrize(
    ("name", "args", "kwargs"), [each for each in CASES if not has_gradient(each)]
)
def test_an_operation_computes_what_pytorchs_does(name, args, kwargs):
    call, arrays, _ = function_of(name, args, kwargs)
    compare(name, compiled(call)(arrays), overloaded(name)[0](*args, **kwargs))


@pytest.mark.parametrize(("name", "args", "kwargs"), filter(has_gradient, CASES))
def test_an_operation_and_its_gradient_are_pytorchs(name, args, kwargs):
    call, arrays, orders = function_of(name, args, kwargs)
    leaves = []

    def leaf(tensor):
        leaves.append(tensor.clone().requires_grad_(tensor.is_floating_point()))
        return leaves[-1]

    expected = overloaded(name)[0](*(mapped(value, leaf) for value in args), **kwargs)
    result = expected[0] if isinstance(expected, tuple) else expected
    direction = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    (result * direction).sum().backward()
    places = [place for place, each in enumerate(leaves) if each.requires_grad]

    def projected(chosen):
        given = [*arrays]
        for place, array in zip(places, chosen, strict=True):
            given[place] = array
        outputs = call(given)
        return jnp.sum(outputs[0] * direction.numpy()), outputs

    gradients, found = compiled(jax.grad(projected, has_aux=True))([arrays[i] for i in places])
    compare(name, found, expected)
    for place, gradient in zip(places, gradients, strict=True):
        close(Tensor(gradient, orders[place]).plain(), leaves[place].grad)


@pytest.mark.parametrize("affine", [True, False])
def test_batches_normalize_themselves(affine):
    """A BatchNorm without running statistics, of which a graph keeps these arguments alone."""
    weight, bias = (r(6), r(6)) if affine else (None, None)
    expected = torch.nn.functional.batch_norm(X, None, None, weight, bias, True, eps=1e-3)
    order = (2, 0, 3, 1)
    found = find("batch_norm")(
        x=Tensor(jnp.asarray(X.numpy().transpose(order)), order),
        weight=weight if weight is None else Tensor(jnp.asarray(weight.numpy()), (0,)),
        bias=bias if bias is None else Tensor(jnp.asarray(bias.numpy()), (0,)),
        eps=1e-3,
    )
    close(found.plain(), expected)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_a_window_beyond_the_image_is_no_work(name):
    """transformers' EfficientNet pools with windows as wide as it has channels, 1280 and more."""
    sizes = ([1280, 1280], [1280, 1280], [0, 0])
    call, arrays, _ = function_of(name, (X, *sizes), {"ceil_mode": True})
    operations = jax.jit(call).lower(arrays).compile().cost_analysis()["flops"]
    assert operations < 3 * X.numel()


def test_random_numbers_are_refused():
    for name in ("rand", "randn_like.default", "bernoulli.p"):
        with pytest.raises(ValueError, match="draws random numbers"):
            find(name)(size=(2, 3))


def test_dropping_out_is_refused():
    with pytest.raises(ValueError, match="at random"):
        find("dropout.default")(x=Tensor(jnp.ones(2), (0,)), p=0.5, train=True)


def test_every_operation_has_a_case():
    names = {overloaded(each.values[0])[1] for each in CASES}
    tested = {name if name in TABLE else base(name) for name in names} | {"batch_norm"}
    wanted = {
        name for name, function in TABLE.items() if is_tensor_op(name) and function is not random
    }
    assert tested == wanted
