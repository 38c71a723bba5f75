"""Operations on dimensions: reshaping, permuting, cutting, joining, padding."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from datafree_nas.teachers.graph.ops.elementwise import Number
from datafree_nas.teachers.graph.ops.table import op
from datafree_nas.teachers.graph.tensor import Order, Tensor, aligned, plain, reshaped, with_ndim

_END = 1 << 62


@op("sym_size", "size")
def size(x: Tensor, dim: int) -> int:
    """Returns the length of a dimension."""
    return x.shape[dim]


@op("numel", "sym_numel")
def numel(x: Tensor) -> int:
    """Returns the number of elements."""
    return math.prod(x.shape)


@op("view", "reshape", "_unsafe_view")
def view(x: Tensor, size: Sequence[int] = (), shape: Sequence[int] = ()) -> Tensor:
    """Changes the shape; `reshape` calls the sizes `shape`."""
    return reshaped(x, size or shape)


@op("flatten")
def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merges dimensions."""
    start, end = start_dim % x.ndim, end_dim % x.ndim
    merged = math.prod(x.shape[start : end + 1])
    return reshaped(x, (*x.shape[:start], merged, *x.shape[end + 1 :]))


@op("unflatten")
def unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Splits a dimension."""
    dim %= x.ndim
    known = math.prod(side for side in sizes if side != -1)
    sizes = [x.shape[dim] // known if side == -1 else side for side in sizes]
    return reshaped(x, (*x.shape[:dim], *sizes, *x.shape[dim + 1 :]))


@op("permute")
def permute(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Reorders dimensions; the array stays as it lies."""
    new = [dim % x.ndim for dim in dims]
    return Tensor(x.array, tuple(new.index(dim) for dim in x.order))


@op("transpose", "swapaxes")
def transpose(
    x: Tensor, dim0: int = 0, dim1: int = 1, axis0: int | None = None, axis1: int | None = None
) -> Tensor:
    """Swaps two dimensions."""
    first, second = (dim0 if axis0 is None else axis0), (dim1 if axis1 is None else axis1)
    dims = list(range(x.ndim))
    dims[first], dims[second] = dims[second], dims[first]
    return permute(x, dims)


@op("t")
def t(x: Tensor) -> Tensor:
    """Transposes a matrix."""
    return permute(x, (1, 0)) if x.ndim == 2 else x


@op("movedim")
def movedim(x: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Moves dimensions to other places."""
    sources = [s % x.ndim for s in ((source,) if isinstance(source, int) else source)]
    targets = [
        d % x.ndim for d in ((destination,) if isinstance(destination, int) else destination)
    ]
    dims = [dim for dim in range(x.ndim) if dim not in sources]
    for target, dim in sorted(zip(targets, sources, strict=True)):
        dims.insert(target, dim)
    return permute(x, dims)


@op("squeeze")
def squeeze(x: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Removes dimensions of length 1."""
    dims = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    gone = {d % x.ndim for d in dims} & {d for d, side in enumerate(x.shape) if side == 1}
    return reshaped(x, [side for d, side in enumerate(x.shape) if d not in gone])


@op("unsqueeze")
def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """Inserts a dimension of length 1."""
    dim %= x.ndim + 1
    return reshaped(x, (*x.shape[:dim], 1, *x.shape[dim:]))


@op("cat", "concat")
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joins tensors along a dimension."""
    kept = [each for each in tensors if each.shape != (0,)]
    order = kept[0].order
    axis = kept[0].axis(dim)
    return Tensor(jnp.concatenate([each.arranged(order) for each in kept], axis), order)


@op("stack")
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joins tensors along a new dimension."""
    dim %= tensors[0].ndim + 1
    return cat([unsqueeze(each, dim) for each in tensors], dim)


@op("split", "split_with_sizes")
def split(
    x: Tensor,
    split_size: int | Sequence[int] = (),
    dim: int = 0,
    split_sizes: Sequence[int] = (),
) -> tuple[Tensor, ...]:
    """Cuts a dimension into parts of given sizes, or of one size and a rest."""
    length, sizes = x.shape[dim], split_sizes or split_size
    if isinstance(sizes, int):
        sizes = [min(sizes, length - start) for start in range(0, length, sizes)]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    parts = [slice_(x, dim, end - side, end) for side, end in zip(sizes, ends, strict=True)]
    return tuple(parts)


@op("chunk")
def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cuts a dimension into at most so many equal parts."""
    return split(x, -(-x.shape[dim] // chunks), dim)


@op("unbind")
def unbind(x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Takes a dimension apart."""
    return tuple(select(x, dim, index) for index in range(x.shape[dim]))


@op("slice")
def slice_(
    x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """Takes a range of a dimension."""
    places: list[Any] = [slice(None)] * x.ndim
    places[x.axis(dim)] = slice(start, None if end is None or end >= _END else end, step)
    return x.with_array(x.array[tuple(places)])


@op("narrow")
def narrow(x: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Takes `length` places of a dimension; a negative start counts from its end."""
    start += x.shape[dim] if start < 0 else 0
    return slice_(x, dim, start, start + length)


@op("select")
def select(x: Tensor, dim: int, index: int) -> Tensor:
    """Takes one place of a dimension, which disappears."""
    axis, dim = x.axis(dim), dim % x.ndim
    order = tuple(d - (d > dim) for d in x.order if d != dim)
    return Tensor(jnp.take(x.array, index, axis), order)


@op("expand")
def expand(x: Tensor, size: Sequence[int], implicit: bool = False) -> Tensor:
    """Repeats dimensions of length 1; -1 keeps a length."""
    x = with_ndim(x, len(size))
    shape = [old if new == -1 else new for old, new in zip(x.shape, size, strict=True)]
    return x.with_array(jnp.broadcast_to(x.array, [shape[dim] for dim in x.order]))


@op("expand_as")
def expand_as(x: Tensor, other: Tensor) -> Tensor:
    """Repeats dimensions of length 1 to another tensor's shape."""
    return expand(x, other.shape)


@op("repeat", "tile")
def repeat(x: Tensor, repeats: Sequence[int] = (), dims: Sequence[int] = ()) -> Tensor:
    """Repeats whole dimensions; `tile` calls the numbers `dims`."""
    times = tuple(repeats or dims)
    times = (1,) * (x.ndim - len(times)) + times
    x = with_ndim(x, len(times))
    return x.with_array(jnp.tile(x.array, [times[dim] for dim in x.order]))


@op("repeat_interleave")
def repeat_interleave(
    x: Tensor, repeats: int, dim: int | None = None, output_size: int | None = None
) -> Tensor:
    """Repeats every place of a dimension."""
    x, dim = (flatten(x), 0) if dim is None else (x, dim)
    return x.with_array(jnp.repeat(x.array, repeats, x.axis(dim)))


@op("roll")
def roll(x: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] = ()) -> Tensor:
    """Shifts dimensions around their ends; the tensor as one row if none are given."""
    if dims == () or dims == []:
        return reshaped(roll(flatten(x), shifts, (0,)), x.shape)
    return x.with_array(jnp.roll(x.array, shifts, x.axes(dims)))


@op("flip")
def flip(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Turns dimensions around."""
    return x.with_array(jnp.flip(x.array, x.axes(dims)))


@op("pad", "constant_pad_nd")
def pad(
    x: Tensor, pad: Sequence[int], mode: str = "constant", value: Number | None = None
) -> Tensor:
    """Pads the last dimensions; `pad` lists before and after of the last one first.

    Negative numbers cut off, as in PyTorch, where the mode is `constant`.
    """
    widths = [(0, 0)] * x.ndim
    for index in range(len(pad) // 2):
        widths[x.axis(-1 - index)] = (pad[2 * index], pad[2 * index + 1])
    array = x.array
    for axis, (before, after) in enumerate(widths):
        if before < 0 or after < 0:
            cut = slice(max(-before, 0), array.shape[axis] - max(-after, 0))
            array = array[(slice(None),) * axis + (cut,)]
    widths = [(max(before, 0), max(after, 0)) for before, after in widths]
    if mode == "constant":
        return x.with_array(jnp.pad(array, widths, constant_values=value or 0))
    modes = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    return x.with_array(jnp.pad(array, widths, modes[mode]))


@op("reflection_pad1d", "reflection_pad2d")
def reflection_pad(x: Tensor, padding: Sequence[int]) -> Tensor:
    """Pads by the mirrored image."""
    return pad(x, padding, "reflect")


@op("replication_pad1d", "replication_pad2d")
def replication_pad(x: Tensor, padding: Sequence[int]) -> Tensor:
    """Pads by the pixels at the border."""
    return pad(x, padding, "replicate")


@op("pixel_shuffle")
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """Moves channels into blocks of pixels."""
    batch, channels, height, width = x.shape
    r = upscale_factor
    x = reshaped(x, (batch, channels // r**2, r, r, height, width))
    return reshaped(
        permute(x, (0, 1, 4, 2, 5, 3)), (batch, channels // r**2, height * r, width * r)
    )


@op("pixel_unshuffle")
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """Moves blocks of pixels into channels."""
    batch, channels, height, width = x.shape
    r = downscale_factor
    x = reshaped(x, (batch, channels, height // r, r, width // r, r))
    return reshaped(
        permute(x, (0, 1, 3, 5, 2, 4)), (batch, channels * r**2, height // r, width // r)
    )


@op("channel_shuffle")
def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleaves groups of channels."""
    batch, channels, *pixels = x.shape
    split_up = reshaped(x, (batch, groups, channels // groups, *pixels))
    return reshaped(transpose(split_up, 1, 2), x.shape)


@op("as_strided")
def as_strided(
    x: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """Reads elements at given distances, as if the tensor lay in PyTorch's order."""
    places: Any = storage_offset or 0
    for dim, (length, step) in enumerate(zip(size, stride, strict=True)):
        offsets = step * jnp.arange(length)
        places = places + offsets.reshape((-1,) + (1,) * (len(size) - 1 - dim))
    return plain(x.plain().ravel()[places])


@op("index")
def index(x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """Takes the places that index tensors name, as NumPy does."""
    places = tuple(slice(None) if each is None else each.plain() for each in indices)
    return plain(x.plain()[places])


@op("index_select")
def index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Takes several places of a dimension."""
    return x.with_array(jnp.take(x.array, index.plain(), x.axis(dim)))


@op("gather")
def gather(x: Tensor, dim: int, index: Tensor, sparse_grad: bool = False) -> Tensor:
    """Takes one place of a dimension for each element of the index."""
    places = index.plain()
    kept = [slice(side) for side in places.shape]  # the index may be shorter than x
    kept[dim] = slice(None)
    return plain(jnp.take_along_axis(x.plain()[tuple(kept)], places, dim))


@op("unfold")
def unfold(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Cuts a dimension into windows; their contents become the last dimension."""
    dim = dimension % x.ndim
    starts = jnp.arange(0, x.shape[dim] - size + 1, step)
    places = starts[:, None] + jnp.arange(size)
    windows = jnp.take(x.plain(), places, dim)  # [..., windows, size, ...]
    return plain(jnp.moveaxis(windows, dim + 1, -1))


@op("im2col")
def im2col(
    x: Tensor,
    kernel_size: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    stride: Sequence[int] = (1, 1),
) -> Tensor:
    """Lists the pixels of every window as channels, `[b, c·k·k, windows]`."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = kernel_size, dilation, padding, stride
    array = jnp.pad(x.plain(), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    batch, channels, height, width = array.shape
    rows = (height - dh * (kh - 1) - 1) // sh + 1
    columns = (width - dw * (kw - 1) - 1) // sw + 1
    windows = [
        array[:, :, i * dh : i * dh + sh * rows : sh, j * dw : j * dw + sw * columns : sw]
        for i in range(kh)
        for j in range(kw)
    ]
    stacked = jnp.stack([w[:, :, :rows, :columns] for w in windows], 2)
    return plain(stacked.reshape(batch, channels * kh * kw, rows * columns))


@op("col2im")
def col2im(
    x: Tensor,
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    stride: Sequence[int] = (1, 1),
) -> Tensor:
    """Adds up windows, `[b, c·k·k, windows]`, where they lie in an image: `im2col` transposed."""
    batch, channels = x.shape[0], x.shape[1] // math.prod(kernel_size)

    def windows(image: Any) -> Any:
        return im2col(plain(image), kernel_size, dilation, padding, stride).plain()

    image = jnp.zeros((batch, channels, *output_size), x.array.dtype)
    return plain(jax.linear_transpose(windows, image)(x.plain())[0])


@op("tril")
def tril(x: Tensor, diagonal: int = 0) -> Tensor:
    """Keeps the lower triangle."""
    return plain(jnp.tril(x.plain(), diagonal))


@op("triu")
def triu(x: Tensor, diagonal: int = 0) -> Tensor:
    """Keeps the upper triangle."""
    return plain(jnp.triu(x.plain(), diagonal))


@op("broadcast_tensors")
def broadcast_tensors(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Repeats dimensions of length 1 to a common shape."""
    arrays, order = aligned(*tensors)
    return tuple(Tensor(array, order) for array in jnp.broadcast_arrays(*arrays))


def order_without(x: Tensor, dims: Sequence[int]) -> Order:
    """Returns the order of the axes that stay when some dimensions disappear."""
    gone = {dim % x.ndim for dim in dims}
    kept = sorted(set(range(x.ndim)) - gone)
    return tuple(kept.index(dim) for dim in x.order if dim not in gone)
