"""The GPU kernels in Triton; `stacked.py` calls them and says what they compute.

Maps are (B, H, W, S * C) in memory: member s of S owns channels s * C to (s + 1) * C - 1 of every pixel. Sizes are
numbers at run time, so that few variants are compiled; what is in capitals is an address or fixed for a variant.
Sums are partial sums in a fixed order, never atomic, so that equal input gives equal bits.

VECTOR is the power of two, at most 8, that divides the number of channels: `channels // VECTOR * VECTOR` is the same
number, but tells the compiler how many neighbours it may load at once.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

# The interpreter has no bfloat16 products; float32 gives the same ones.
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def _product(a, b, total):
    if INTERPRETED:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total)
    return tl.dot(a, b, total, input_precision="tf32")


@triton.jit
def _divisible(number, VECTOR: tl.constexpr):
    return number // VECTOR * VECTOR


@triton.jit
def _greater(value, best):
    """Whether max pooling takes `value` instead of an earlier one: NaN wins."""
    return (value > best) | (value != value)


@triton.jit
def _entries(step, part: tl.constexpr, K: tl.constexpr, CP: tl.constexpr, BK: tl.constexpr):
    """Place in the kernel, its row and column, and channel, of BK entries of a patch, whose channels are padded to CP.

    A step is one place if that has BK entries, of which `part` is taken, else the places of BK entries.
    """
    if BK <= CP:
        tap = step
        channel = part * BK + tl.arange(0, BK)
        down = step // K
        right = step % K
    else:
        entry = tl.arange(0, BK)
        tap = step * (BK // CP) + entry // CP
        channel = entry % CP
        down = (tap // K)[None, :]
        right = (tap % K)[None, :]
    return tap, down, right, channel


@triton.jit(
    do_not_specialize=[
        *("n_pixels", "height", "width", "out_height", "out_width", "channels", "out_channels", "members"),
        *("padding", "x_image", "x_row", "x_column", "x_channel"),
    ]
)
def convolve(
    X,
    ARGMAX_IN,
    WEIGHT,
    BIAS,
    Y,
    ARGMAX,
    n_pixels,
    height,
    width,
    out_height,
    out_width,
    channels,
    out_channels,
    members,
    padding,
    x_image,
    x_row,
    x_column,
    x_channel,
    K: tl.constexpr,
    CP: tl.constexpr,
    OP: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
    VECTOR: tl.constexpr,
    OUT_VECTOR: tl.constexpr,
    IS_DENSE: tl.constexpr,
    PADS: tl.constexpr,
    IS_BACKWARD: tl.constexpr,
    UNPOOLS: tl.constexpr,
    POOLS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):
    """A convolution as a product of matrices: BM output pixels of one member a program.

    IS_BACKWARD: the gradient of x, a convolution of dy with the turned weights. UNPOOLS: X was pooled, ARGMAX_IN says
    where each value came from. POOLS: n_pixels, out_height and out_width are those after pooling.
    """
    member = tl.program_id(0) % members
    pixel = tl.program_id(0) // members * BM + tl.arange(0, BM)
    column = pixel % out_width
    rest = pixel // out_width
    row = rest % out_height
    image = rest // out_height
    if POOLS:
        row *= 2
        column *= 2
    channels = _divisible(channels, VECTOR)
    out_channels = _divisible(out_channels, OUT_VECTOR)
    x_row = _divisible(x_row, VECTOR)
    x_column = _divisible(x_column, VECTOR)
    if IS_DENSE:
        x_channel = 1
    base = image.to(tl.int64) * _divisible(x_image, VECTOR) + member * channels * x_channel
    out = tl.arange(0, OP)
    is_out = out < out_channels
    first = member * channels
    first_out = member * out_channels * (K * K * channels)
    STEPS: tl.constexpr = K * K if BK <= CP else (K * K * CP + BK - 1) // BK
    PARTS: tl.constexpr = 1 if BK >= CP else CP // BK
    if HAS_BIAS:
        bias = tl.load(BIAS + member * out_channels + out, mask=is_out, other=0.0)
    for place in tl.static_range(4 if POOLS else 1):
        top = row + place // 2 - padding
        left = column + place % 2 - padding
        corner = base + top * x_row + left * x_column
        total = tl.zeros([BM, OP], tl.float32)
        for step in tl.range(0, STEPS):
            for part in tl.static_range(PARTS):
                tap, down, right, channel = _entries(step, part, K, CP, BK)
                is_entry = (tap < K * K) & (channel < channels)
                is_read = (pixel < n_pixels)[:, None] & is_entry[None, :]
                h = top[:, None] + down
                w = left[:, None] + right
                if PADS:
                    is_read &= (h >= 0) & (h < height) & (w >= 0) & (w < width)
                if UNPOOLS:
                    offset = base[:, None] + (h >> 1) * x_row + (w >> 1) * x_column + channel[None, :]
                    x = tl.load(X + offset, mask=is_read, other=0.0)
                    at = tl.load(ARGMAX_IN + offset, mask=is_read, other=0)
                    x = tl.where(at == (h & 1) * 2 + (w & 1), x, tl.zeros_like(x))
                else:
                    within = down * x_row + right * x_column + channel[None, :] * x_channel
                    x = tl.load(X + corner[:, None] + within, mask=is_read, other=0.0)
                if IS_BACKWARD:
                    turned = K * K - 1 - tap
                    where = (first * K * K + channel * (K * K) + turned)[:, None] * out_channels + out[None, :]
                else:
                    where = (first_out + out * (K * K * channels))[None, :] + (channel + tap * channels)[:, None]
                weight = tl.load(WEIGHT + where, mask=is_entry[:, None] & is_out[None, :], other=0.0)
                total = _product(x, weight.to(x.dtype), total)
        if HAS_BIAS:
            total += bias[None, :]
        value = total.to(Y.dtype.element_ty)
        if POOLS:
            wide = value.to(tl.float32)
            if place == 0:
                best = wide
                argmax = tl.zeros([BM, OP], tl.int32)
            else:
                is_greater = _greater(wide, best)
                best = tl.where(is_greater, wide, best)
                argmax = tl.where(is_greater, place, argmax)
    offset = (pixel.to(tl.int64) * (members * out_channels) + member * out_channels)[:, None] + out[None, :]
    is_written = (pixel < n_pixels)[:, None] & is_out[None, :]
    if POOLS:
        tl.store(Y + offset, best.to(Y.dtype.element_ty), mask=is_written)
        tl.store(ARGMAX + offset, argmax.to(tl.uint8), mask=is_written)
    else:
        tl.store(Y + offset, value, mask=is_written)


@triton.jit(
    do_not_specialize=[
        *("n_images", "height", "width", "out_height", "out_width", "channels", "out_channels", "members", "padding"),
        *("x_image", "x_row", "x_column", "x_channel", "n_blocks", "group", "n_tiles", "groups_at_once", "size"),
    ]
)
def convolve_weights(
    X,
    DY,
    ARGMAX,
    PARTIALS,
    n_images,
    height,
    width,
    out_height,
    out_width,
    channels,
    out_channels,
    members,
    padding,
    x_image,
    x_row,
    x_column,
    x_channel,
    n_blocks,
    group,
    n_tiles,
    groups_at_once,
    size,
    K: tl.constexpr,
    CP: tl.constexpr,
    OP: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
    VECTOR: tl.constexpr,
    OUT_VECTOR: tl.constexpr,
    IS_DENSE: tl.constexpr,
    PADS: tl.constexpr,
    UNPOOLS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):
    """Partial sums of the gradients of weight and bias: BK entries of the patches of one member a program.

    The pixels of a group of images are cut into blocks of BM; a program adds up the same block of `groups_at_once`
    groups, so that positions are computed once. `size`: values of all gradients, the distance of partial sums.
    """
    program = tl.program_id(0)
    member = program % members
    program //= members
    tile = program % n_tiles
    part = program // n_tiles
    slot = part % n_blocks * BM + tl.arange(0, BM)
    first = part // n_blocks * groups_at_once
    column = slot % out_width
    rest = slot // out_width
    row = rest % out_height
    image = rest // out_height

    channels = _divisible(channels, VECTOR)
    out_channels = _divisible(out_channels, OUT_VECTOR)
    x_image = _divisible(x_image, VECTOR)
    x_row = _divisible(x_row, VECTOR)
    x_column = _divisible(x_column, VECTOR)
    if IS_DENSE:
        x_channel = 1
    # A tile is a step here: its entries are all channels of one place, or of several.
    tap, down, right, channel = _entries(tile, 0, K, CP, BK)
    is_entry = (tap < K * K) & (channel < channels)
    top = row - padding
    left = column - padding
    x_from = image.to(tl.int64) * x_image + member * channels * x_channel + top * x_row + left * x_column
    within = down * x_row + right * x_column + channel[None, :] * x_channel
    x_from = X + x_from[:, None] + within
    is_read = is_entry[None, :] & (image < group)[:, None]
    if PADS:
        h = top[:, None] + down
        w = left[:, None] + right
        is_read &= (h >= 0) & (h < height) & (w >= 0) & (w < width)

    out = tl.arange(0, OP)
    step = members * out_channels
    is_dy = (out < out_channels)[None, :] & (image < group)[:, None]
    if UNPOOLS:
        pooled_height = out_height // 2
        pooled_width = out_width // 2
        dy_image = pooled_height * pooled_width * step
        pixel = (row // 2) * pooled_width + column // 2
        is_dy &= ((row // 2 < pooled_height) & (column // 2 < pooled_width))[:, None]
        place = ((row & 1) * 2 + (column & 1))[:, None]
    else:
        dy_image = out_height * out_width * step
        pixel = row * out_width + column
    dy_from = (image.to(tl.int64) * dy_image + pixel * step + member * out_channels)[:, None] + out[None, :]

    total = tl.zeros([BK, OP], tl.float32)
    if HAS_BIAS:
        of_bias = tl.zeros([BM, OP], tl.float32)
    for g in tl.range(0, groups_at_once):
        start = ((first + g) * group).to(tl.int64)
        is_there = (start + image < n_images)[:, None]
        x = tl.load(x_from + start * x_image, mask=is_read & is_there, other=0.0)
        dy = tl.load(DY + start * dy_image + dy_from, mask=is_dy & is_there, other=0.0)
        if UNPOOLS:
            at = tl.load(ARGMAX + start * dy_image + dy_from, mask=is_dy & is_there, other=0)
            dy = tl.where(at == place, dy, tl.zeros_like(dy))
        total = _product(tl.trans(x), dy, total)
        if HAS_BIAS:
            of_bias += dy.to(tl.float32)
    to = PARTIALS + part.to(tl.int64) * size
    where = ((member * out_channels + out) * (K * K * channels))[None, :] + (channel + tap * channels)[:, None]
    tl.store(to + where, total, mask=is_entry[:, None] & (out < out_channels)[None, :])
    if HAS_BIAS:
        to += members * out_channels * (K * K * channels) + member * out_channels
        tl.store(to + out, tl.sum(of_bias, 0), mask=(out < out_channels) & (tile == 0))


@triton.jit(do_not_specialize=["n_parts", "size"])
def add_up(PARTIALS, TOTAL, n_parts, size, BP: tl.constexpr, BN: tl.constexpr):
    """The sum of n_parts vectors."""
    at = tl.program_id(0) * BN + tl.arange(0, BN)
    total = tl.zeros([BP, BN], tl.float32)
    for first in tl.range(0, n_parts, BP):
        part = first + tl.arange(0, BP)
        offset = part.to(tl.int64)[:, None] * size + at[None, :]
        total += tl.load(PARTIALS + offset, mask=(part < n_parts)[:, None] & (at < size)[None, :], other=0.0)
    tl.store(TOTAL + at, tl.sum(total, 0), mask=at < size)


@triton.jit
def _activation(z, slope, KIND: tl.constexpr):
    """Identity (0), leaky ReLU with `slope` below zero (1), or SiLU (2)."""
    if KIND == 1:
        below = tl.where(slope == 0, tl.where(z != z, z, 0.0), slope * z)
        return tl.where(z > 0, z, below)
    if KIND == 2:
        return z / (1.0 + tl.exp(-z))
    return z


@triton.jit
def _steepness(z, slope, KIND: tl.constexpr):
    """The derivative of the activation at z."""
    if KIND == 1:
        return tl.where(z > 0, 1.0, slope)
    if KIND == 2:
        sigmoid = 1.0 / (1.0 + tl.exp(-z))
        return sigmoid * (1.0 + z * (1.0 - sigmoid))
    return tl.full(z.shape, 1.0, tl.float32)


@triton.jit(do_not_specialize=["n_rows", "channels", "rows_at_once", "n_parts"])
def statistics(
    X, PARTIALS, n_rows, channels, rows_at_once, n_parts, BR: tl.constexpr, BC: tl.constexpr, VECTOR: tl.constexpr
):
    """Mean and sum of squared deviations of each channel over `rows_at_once` rows.

    The deviations are first taken from the mean of the first BR rows, so that large means cost no digits.
    """
    part = tl.program_id(1)
    channels = _divisible(channels, VECTOR)
    channel = tl.program_id(0) * BC + tl.arange(0, BC)
    first = part * rows_at_once
    last = tl.minimum(first + rows_at_once, n_rows)
    row = first + tl.arange(0, BR)
    is_read = (row < last)[:, None] & (channel < channels)[None, :]
    x_from = X + row.to(tl.int64)[:, None] * channels + channel[None, :]
    x = tl.load(x_from, mask=is_read, other=0.0).to(tl.float32)
    shift = tl.sum(x, 0) / tl.minimum(BR, last - first)
    deviation = tl.where(is_read, x - shift[None, :], 0.0)
    total = deviation
    squares = deviation * deviation
    for start in tl.range(BR, rows_at_once, BR):
        row = first + start + tl.arange(0, BR)
        is_read = (row < last)[:, None] & (channel < channels)[None, :]
        x_from = X + row.to(tl.int64)[:, None] * channels + channel[None, :]
        x = tl.load(x_from, mask=is_read, other=0.0).to(tl.float32)
        deviation = tl.where(is_read, x - shift[None, :], 0.0)
        total += deviation
        squares += deviation * deviation
    count = (last - first).to(tl.float32)
    off = tl.sum(total, 0) / count
    spread = tl.sum(squares, 0) - count * off * off
    to = PARTIALS + part * channels + channel
    tl.store(to, shift + off, mask=channel < channels)
    tl.store(to + n_parts * channels, tl.where(spread < 0, 0.0, spread), mask=channel < channels)


@triton.jit(
    do_not_specialize=[
        *("n_images", "height", "width", "channels", "rows_at_once", "n_parts", "rows_to_write"),
        *("momentum", "eps", "slope"),
    ]
)
def norm(
    X,
    PARTIALS,
    WEIGHT,
    BIAS,
    RUNNING_MEAN,
    RUNNING_VAR,
    Y,
    ARGMAX,
    SAVED,
    n_images,
    height,
    width,
    channels,
    rows_at_once,
    n_parts,
    rows_to_write,
    momentum,
    eps,
    slope,
    KIND: tl.constexpr,
    POOLS: tl.constexpr,
    IS_AFFINE: tl.constexpr,
    HAS_AVERAGES: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
    BP: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Join the statistics, normalise, apply the activation, and pool; SAVED: mean and 1 / standard deviation."""
    channels = _divisible(channels, VECTOR)
    channel = tl.program_id(0) * BC + tl.arange(0, BC)
    is_channel = channel < channels
    n_rows = n_images * height * width
    total = tl.zeros([BP, BC], tl.float32)
    for first in tl.range(0, n_parts, BP):
        part = first + tl.arange(0, BP)
        is_read = (part < n_parts)[:, None] & is_channel[None, :]
        count = tl.minimum(rows_at_once, n_rows - part * rows_at_once).to(tl.float32)[:, None]
        means = tl.load(PARTIALS + part[:, None] * channels + channel[None, :], mask=is_read, other=0.0)
        total += tl.where(is_read, means * count, 0.0)
    mean = tl.sum(total, 0) / n_rows
    total = tl.zeros([BP, BC], tl.float32)
    for first in tl.range(0, n_parts, BP):
        part = first + tl.arange(0, BP)
        is_read = (part < n_parts)[:, None] & is_channel[None, :]
        count = tl.minimum(rows_at_once, n_rows - part * rows_at_once).to(tl.float32)[:, None]
        means = tl.load(PARTIALS + part[:, None] * channels + channel[None, :], mask=is_read, other=0.0)
        spreads = tl.load(PARTIALS + (part + n_parts)[:, None] * channels + channel[None, :], mask=is_read, other=0.0)
        off = means - mean[None, :]
        total += tl.where(is_read, spreads + count * off * off, 0.0)
    spread = tl.sum(total, 0)
    rstd = 1.0 / tl.sqrt_rn(spread / n_rows + eps)
    if tl.program_id(1) == 0:
        tl.store(SAVED + channel, mean, mask=is_channel)
        tl.store(SAVED + channels + channel, rstd, mask=is_channel)
        if HAS_AVERAGES:
            average = tl.load(RUNNING_MEAN + channel, mask=is_channel, other=0.0)
            tl.store(RUNNING_MEAN + channel, (1 - momentum) * average + momentum * mean, mask=is_channel)
            average = tl.load(RUNNING_VAR + channel, mask=is_channel, other=0.0)
            variance = spread / (n_rows - 1)
            tl.store(RUNNING_VAR + channel, (1 - momentum) * average + momentum * variance, mask=is_channel)
    mean = mean[None, :]
    scale = rstd[None, :]
    if IS_AFFINE:
        scale *= tl.load(WEIGHT + channel, mask=is_channel, other=0.0)[None, :]
        bias = tl.load(BIAS + channel, mask=is_channel, other=0.0)[None, :]
    else:
        bias = 0.0

    out_height, out_width = height, width
    if POOLS:
        out_height = height // 2
        out_width = width // 2
    n_out = n_images * out_height * out_width
    start = tl.program_id(1) * rows_to_write
    for first in tl.range(0, rows_to_write, BR):
        row = start + first + tl.arange(0, BR)
        is_read = (row < n_out)[:, None] & is_channel[None, :]
        to = row.to(tl.int64)[:, None] * channels + channel[None, :]
        if POOLS:
            rest = row // out_width
            corner = (rest // out_height * height + rest % out_height * 2) * width + row % out_width * 2
            x_from = X + corner.to(tl.int64)[:, None] * channels + channel[None, :]
            for place in tl.static_range(4):
                x = tl.load(x_from + (place // 2 * width + place % 2) * channels, mask=is_read, other=0.0)
                z = (x.to(tl.float32) - mean) * scale + bias
                value = _activation(z, slope, KIND).to(Y.dtype.element_ty).to(tl.float32)
                if place == 0:
                    best = value
                    argmax = tl.zeros([BR, BC], tl.int32)
                else:
                    is_greater = _greater(value, best)
                    best = tl.where(is_greater, value, best)
                    argmax = tl.where(is_greater, place, argmax)
            tl.store(ARGMAX + to, argmax.to(tl.uint8), mask=is_read)
            tl.store(Y + to, best.to(Y.dtype.element_ty), mask=is_read)
        else:
            x = tl.load(X + to, mask=is_read, other=0.0).to(tl.float32)
            y = _activation((x - mean) * scale + bias, slope, KIND)
            tl.store(Y + to, y.to(Y.dtype.element_ty), mask=is_read)


@triton.jit(
    do_not_specialize=["n_images", "height", "width", "channels", "rows_at_once", "n_parts", "slope"],
)
def norm_sums(
    X,
    DY,
    ARGMAX,
    WEIGHT,
    BIAS,
    SAVED,
    PARTIALS,
    n_images,
    height,
    width,
    channels,
    rows_at_once,
    n_parts,
    slope,
    KIND: tl.constexpr,
    POOLS: tl.constexpr,
    IS_AFFINE: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Partial sums for the gradients of batch norm's bias and weight."""
    part = tl.program_id(1)
    channels = _divisible(channels, VECTOR)
    channel = tl.program_id(0) * BC + tl.arange(0, BC)
    is_channel = channel < channels
    mean = tl.load(SAVED + channel, mask=is_channel, other=0.0)[None, :]
    rstd = tl.load(SAVED + channels + channel, mask=is_channel, other=0.0)[None, :]
    if IS_AFFINE:
        weight = tl.load(WEIGHT + channel, mask=is_channel, other=0.0)[None, :]
        bias = tl.load(BIAS + channel, mask=is_channel, other=0.0)[None, :]
    out_height, out_width = height, width
    if POOLS:
        out_height = height // 2
        out_width = width // 2
    of_bias = tl.zeros([BR, BC], tl.float32)
    of_weight = tl.zeros([BR, BC], tl.float32)
    start = part * rows_at_once
    last = tl.minimum(start + rows_at_once, n_images * out_height * out_width)
    for first in tl.range(0, rows_at_once, BR):
        row = start + first + tl.arange(0, BR)
        is_read = (row < last)[:, None] & is_channel[None, :]
        offset = row.to(tl.int64)[:, None] * channels + channel[None, :]
        dy = tl.load(DY + offset, mask=is_read, other=0.0).to(tl.float32)
        if POOLS:
            place = tl.load(ARGMAX + offset, mask=is_read, other=0).to(tl.int32)
            rest = row // out_width
            corner = (rest // out_height * height + rest % out_height * 2) * width + row % out_width * 2
            offset = corner.to(tl.int64)[:, None] * channels + channel[None, :]
            offset += ((place >> 1) * width + (place & 1)) * channels
        x = tl.load(X + offset, mask=is_read, other=0.0).to(tl.float32)
        normal = (x - mean) * rstd
        z = normal
        if IS_AFFINE:
            z = normal * weight + bias
        dz = tl.where(is_read, dy * _steepness(z, slope, KIND), 0.0)
        of_bias += dz
        of_weight += tl.where(is_read, dz * normal, 0.0)
    to = PARTIALS + part * channels + channel
    tl.store(to, tl.sum(of_bias, 0), mask=is_channel)
    tl.store(to + n_parts * channels, tl.sum(of_weight, 0), mask=is_channel)


@triton.jit(
    do_not_specialize=["n_images", "height", "width", "channels", "n_parts", "rows_to_write", "slope"],
)
def norm_backward(
    X,
    DY,
    ARGMAX,
    WEIGHT,
    BIAS,
    SAVED,
    PARTIALS,
    DX,
    DWEIGHT,
    DBIAS,
    n_images,
    height,
    width,
    channels,
    n_parts,
    rows_to_write,
    slope,
    KIND: tl.constexpr,
    POOLS: tl.constexpr,
    IS_AFFINE: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
    BP: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Add up the partial sums, write the gradients of weight and bias, and those of x."""
    channels = _divisible(channels, VECTOR)
    channel = tl.program_id(0) * BC + tl.arange(0, BC)
    is_channel = channel < channels
    sums = tl.zeros([BP, BC], tl.float32)
    products = tl.zeros([BP, BC], tl.float32)
    for first in tl.range(0, n_parts, BP):
        part = first + tl.arange(0, BP)
        is_read = (part < n_parts)[:, None] & is_channel[None, :]
        sums += tl.load(PARTIALS + part[:, None] * channels + channel[None, :], mask=is_read, other=0.0)
        products += tl.load(PARTIALS + (part + n_parts)[:, None] * channels + channel[None, :], mask=is_read, other=0.0)
    of_bias = tl.sum(sums, 0)
    of_weight = tl.sum(products, 0)
    mean = tl.load(SAVED + channel, mask=is_channel, other=0.0)[None, :]
    rstd = tl.load(SAVED + channels + channel, mask=is_channel, other=0.0)[None, :]
    scale = rstd
    if IS_AFFINE:
        if tl.program_id(1) == 0:
            tl.store(DBIAS + channel, of_bias, mask=is_channel)
            tl.store(DWEIGHT + channel, of_weight, mask=is_channel)
        weight = tl.load(WEIGHT + channel, mask=is_channel, other=0.0)[None, :]
        bias = tl.load(BIAS + channel, mask=is_channel, other=0.0)[None, :]
        scale = rstd * weight
    n_rows = n_images * height * width
    of_bias = of_bias[None, :] / n_rows
    of_weight = of_weight[None, :] / n_rows
    start = tl.program_id(1) * rows_to_write
    for first in tl.range(0, rows_to_write, BR):
        row = start + first + tl.arange(0, BR)
        is_read = (row < n_rows)[:, None] & is_channel[None, :]
        offset = row.to(tl.int64)[:, None] * channels + channel[None, :]
        x = tl.load(X + offset, mask=is_read, other=0.0).to(tl.float32)
        if POOLS:
            out_height = height // 2
            out_width = width // 2
            w = row % width
            h = row // width % height
            pooled = (row // width // height * out_height + (h >> 1)) * out_width + (w >> 1)
            pooled = pooled.to(tl.int64)[:, None] * channels + channel[None, :]
            is_pooled = is_read & (((h >> 1) < out_height) & ((w >> 1) < out_width))[:, None]
            dy = tl.load(DY + pooled, mask=is_pooled, other=0.0).to(tl.float32)
            place = tl.load(ARGMAX + pooled, mask=is_pooled, other=0).to(tl.int32)
            dy = tl.where(place == ((h & 1) * 2 + (w & 1))[:, None], dy, 0.0)
        else:
            dy = tl.load(DY + offset, mask=is_read, other=0.0).to(tl.float32)
        normal = (x - mean) * rstd
        z = normal
        if IS_AFFINE:
            z = normal * weight + bias
        dz = dy * _steepness(z, slope, KIND)
        dx = scale * (dz - of_bias - normal * of_weight)
        tl.store(DX + offset, dx.to(DX.dtype.element_ty), mask=is_read)


@triton.jit(do_not_specialize=["n_images", "height", "width", "channels"])
def pool(X, Y, ARGMAX, n_images, height, width, channels, BR: tl.constexpr, BC: tl.constexpr, VECTOR: tl.constexpr):
    """2 x 2 max pooling."""
    channels = _divisible(channels, VECTOR)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    out_height = height // 2
    out_width = width // 2
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    is_read = (row < n_images * out_height * out_width)[:, None] & (channel < channels)[None, :]
    rest = row // out_width
    corner = (rest // out_height * height + rest % out_height * 2) * width + row % out_width * 2
    x_from = X + corner.to(tl.int64)[:, None] * channels + channel[None, :]
    best = tl.load(x_from, mask=is_read, other=0.0).to(tl.float32)
    argmax = tl.zeros([BR, BC], tl.int32)
    for place in tl.static_range(1, 4):
        x = tl.load(x_from + (place // 2 * width + place % 2) * channels, mask=is_read, other=0.0).to(tl.float32)
        is_greater = _greater(x, best)
        best = tl.where(is_greater, x, best)
        argmax = tl.where(is_greater, place, argmax)
    to = row.to(tl.int64)[:, None] * channels + channel[None, :]
    tl.store(Y + to, best.to(Y.dtype.element_ty), mask=is_read)
    tl.store(ARGMAX + to, argmax.to(tl.uint8), mask=is_read)


@triton.jit(do_not_specialize=["n_images", "height", "width", "channels"])
def pool_backward(
    DY, ARGMAX, DX, n_images, height, width, channels, BR: tl.constexpr, BC: tl.constexpr, VECTOR: tl.constexpr
):
    """The gradient of each value: that of its window if it was the maximum, else 0."""
    channels = _divisible(channels, VECTOR)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    is_written = (row < n_images * height * width)[:, None] & (channel < channels)[None, :]
    out_height = height // 2
    out_width = width // 2
    w = row % width
    h = row // width % height
    pooled = (row // width // height * out_height + (h >> 1)) * out_width + (w >> 1)
    pooled = pooled.to(tl.int64)[:, None] * channels + channel[None, :]
    is_read = is_written & (((h >> 1) < out_height) & ((w >> 1) < out_width))[:, None]
    dy = tl.load(DY + pooled, mask=is_read, other=0.0)
    place = tl.load(ARGMAX + pooled, mask=is_read, other=0)
    dx = tl.where(place == ((h & 1) * 2 + (w & 1))[:, None], dy, tl.zeros_like(dy))
    tl.store(DX + row.to(tl.int64)[:, None] * channels + channel[None, :], dx, mask=is_written)


@triton.jit
def _mixed(x):
    """The mixing function "lowbias32" of Wellons (2018)."""
    x = (x ^ (x >> 16)) * tl.full([], 0x7FEB352D, tl.uint32)
    x = (x ^ (x >> 15)) * tl.full([], 0x846CA68B, tl.uint32)
    return x ^ (x >> 16)


@triton.jit(do_not_specialize=["size", "group", "members", "low", "high", "scale"])
def drop(X, SEEDS, Y, size, group, members, low, high, scale, BN: tl.constexpr):
    """Dropout of `size` values of each member, `group` of which are neighbours in memory.

    A value is kept if the hash of its position and its member's seed is at least high * 65536 + low.
    """
    member = tl.program_id(0) % members
    position = tl.program_id(0) // members * BN + tl.arange(0, BN)
    seed = tl.load(SEEDS + member).to(tl.uint32)
    draw = _mixed(_mixed(position.to(tl.uint32)) ^ seed)
    threshold = (high.to(tl.uint32) << 16) | low.to(tl.uint32)
    at = (position // group).to(tl.int64) * (members * group) + member * group + position % group
    x = tl.load(X + at, mask=position < size, other=0.0).to(tl.float32)
    y = tl.where(draw >= threshold, x * scale, 0.0)
    tl.store(Y + at, y.to(Y.dtype.element_ty), mask=position < size)


@triton.jit
def _pixel(IMAGE, h, w, height, width, is_read, fill):
    is_inside = is_read & (h >= 0) & (h < height) & (w >= 0) & (w < width)
    return tl.where(is_inside, tl.load(IMAGE + h * width + w, mask=is_inside, other=0).to(tl.float32), fill)


@triton.jit(do_not_specialize=["members", "n_images", "channels", "height", "width"])
def batch(
    IMAGES,
    ROWS,
    MATRICES,
    FIELD,
    FILL,
    SCALE,
    OFFSET,
    Y,
    members,
    n_images,
    channels,
    height,
    width,
    WARPS: tl.constexpr,
    HAS_FIELD: tl.constexpr,
    HAS_FILL: tl.constexpr,
    IS_NEAREST: tl.constexpr,
    BN: tl.constexpr,
):
    """One image of a member's batch a program, BN pixels of it: selected, warped and normalised."""
    image = tl.program_id(0) // members
    member = tl.program_id(0) % members
    of_member = member * n_images + image
    pixels = height * width
    pixel = tl.program_id(1) * BN + tl.arange(0, BN)
    is_read = pixel < pixels
    h = pixel // width
    w = pixel % width
    if WARPS:
        middle_x = 0.5 * (width - 1)
        middle_y = 0.5 * (height - 1)
        matrix = MATRICES + of_member * 6
        x = w.to(tl.float32) - middle_x
        y = h.to(tl.float32) - middle_y
        at_x = tl.load(matrix) * x + (tl.load(matrix + 1) * y + tl.load(matrix + 2) + middle_x)
        at_y = tl.load(matrix + 3) * x + (tl.load(matrix + 4) * y + tl.load(matrix + 5) + middle_y)
        if HAS_FIELD:
            field = FIELD + (of_member.to(tl.int64) * pixels + pixel) * 2
            at_x += tl.load(field, mask=is_read, other=0.0)
            at_y += tl.load(field + 1, mask=is_read, other=0.0)
        # Beyond one pixel outside of the image there is only background.
        at_x = tl.where(at_x > -1.0, tl.where(at_x < width, at_x, width), -1.0)
        at_y = tl.where(at_y > -1.0, tl.where(at_y < height, at_y, height), -1.0)
        if IS_NEAREST:  # adding 1.5 * 2**23 rounds half to even
            at_x = (at_x + 12582912.0) - 12582912.0
            at_y = (at_y + 12582912.0) - 12582912.0
        left = tl.floor(at_x)
        top = tl.floor(at_y)
        right = at_x - left
        down = at_y - top
        w = left.to(tl.int32)
        h = top.to(tl.int32)
    first = tl.load(ROWS + of_member) * channels
    for channel in tl.range(0, channels):
        source = IMAGES + (first + channel) * pixels
        fill = 0.0
        if HAS_FILL:
            fill = tl.load(FILL + channel)
        value = _pixel(source, h, w, height, width, is_read, fill)
        if WARPS and not IS_NEAREST:
            upper = value + right * (_pixel(source, h, w + 1, height, width, is_read, fill) - value)
            value = _pixel(source, h + 1, w, height, width, is_read, fill)
            lower = value + right * (_pixel(source, h + 1, w + 1, height, width, is_read, fill) - value)
            value = upper + down * (lower - upper)
        of_channel = member * channels + channel
        value = value * tl.load(SCALE + of_channel) + tl.load(OFFSET + of_channel)
        to = Y + (image * members * channels + of_channel).to(tl.int64) * pixels
        tl.store(to + pixel, value.to(Y.dtype.element_ty), mask=is_read)
