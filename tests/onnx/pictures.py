"""Operators on pictures as ONNX's own tests do not try them (older operator sets, combinations of attributes, sizes that are symbols), on both
backends against ONNX Runtime. The seed of the random operands is an argument, or new, and printed.
"""
import itertools

import numpy as np

from cases import Case as AnyCase
from cases import arguments, compare

binary, random, only = arguments()


def draw(*shape, low=-2.0, high=2.0):
    return random.uniform(low, high, shape).astype(np.float32)


def Case(*arguments, **attributes):
    """Channels stay as they are."""
    return AnyCase(*arguments, symbols=lambda axis: axis != 1, **attributes)


def resizes():
    f = lambda *v: np.array(v, np.float32)
    picture = draw(2, 3, 7, 9)
    ways = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    # Places that do not lie near where rounding decides. With scales, ONNX Runtime aligns corners over the size that is rounded down, ONNX does not.
    scales, sizes = f(1, 1, 0.61, 1.57), np.array([2, 3, 11, 4])
    for way, (given, other) in itertools.product(ways, ((scales, None), (None, sizes))):
        if way == "align_corners" and given is not None:
            continue
        for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
            yield Case("Resize", 13, [picture, None, given, other], (2, 3), coordinate_transformation_mode=way, nearest_mode=nearest)
        for mode in ("linear", "cubic"):
            yield Case("Resize", 13, [picture, None, given, other], (2, 3), mode=mode, coordinate_transformation_mode=way)
            yield Case("Resize", 11, [picture, f(), f() if given is None else given, other], (1, 2, 3), mode=mode,
                       coordinate_transformation_mode=way)
    yield Case("Resize", 13, [picture, None, scales], (2,), mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5)
    for mode, (given, other) in itertools.product(("linear", "cubic"), ((f(0.6, 0.3), None), (None, np.array([3, 19])))):
        yield Case("Resize", 18, [picture, None, given, other], (2, 3), mode=mode, antialias=1, axes=[2, 3])
    for mode in ("nearest", "linear"):
        yield Case("Resize", 13, [picture, f(0, 0, 0.2, 0.4, 1, 1, 0.9, 1.3), None, sizes], (1, 3), mode=mode,
                   coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=7.5)
        for policy in ("not_larger", "not_smaller"):
            yield Case("Resize", 18, [picture, None, None, np.array([5, 17])], (3,), mode=mode, axes=[2, 3],
                       keep_aspect_ratio_policy=policy)
    yield Case("Resize", 18, [draw(2, 3, 4, 5, 6), None, f(1, 1, 1.5, 0.7, 2)], (2,), mode="linear")
    yield Case("Resize", 13, [random.randint(0, 255, (1, 3, 6, 6)).astype(np.uint8), None, f(1, 1, 2, 3)], (2,))
    for mode in ("nearest", "linear"):
        yield Case("Resize", 10, [picture, f(1, 1, 0.6, 0.4)], (1,), mode=mode)
        yield Case("Resize", 10, [picture, f(1, 1, 2, 1.3)], (1,), mode=mode)
        yield Case("Upsample", 9, [picture, f(1, 1, 2, 3)], (1,), mode=mode)
        yield Case("Upsample", 7, [picture], mode=mode, scales=[1, 1, 2.5, 2])


def samples():
    corners = (0, 1)
    for mode, padding, corner in itertools.product(("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), corners):
        # Away from where rounding decides.
        grid = (np.floor(draw(2, 5, 6, 2, low=-40, high=40)) + 0.3).astype(np.float32) / 16
        yield Case("GridSample", 16, [draw(2, 3, 4, 7), grid], mode=mode, padding_mode=padding, align_corners=corner)
    for mode, padding, corner in itertools.product(("linear", "nearest"), ("zeros", "border", "reflection"), corners):
        grid = (np.floor(draw(2, 3, 2, 4, 3, low=-40, high=40)) + 0.3).astype(np.float32) / 16
        yield Case("GridSample", 20, [draw(2, 3, 4, 5, 6), grid], mode=mode, padding_mode=padding, align_corners=corner)
    for mode, padding in itertools.product(("linear", "nearest", "cubic"), ("zeros", "border")):
        grid = (np.floor(draw(2, 3, 2, 2, low=-40, high=40)) + 0.3).astype(np.float32) / 16
        yield Case("GridSample", 20, [draw(2, 70, 4, 5), grid], mode=mode, padding_mode=padding)
    for corner in corners:
        yield Case("AffineGrid", 20, [draw(2, 2, 3), np.array([2, 3, 4, 5])], (1,), align_corners=corner)
        yield Case("AffineGrid", 20, [draw(2, 3, 4), np.array([2, 3, 4, 5, 2])], (1,), align_corners=corner)
    corner = draw(6, 2, low=-3, high=9)
    boxes = np.concatenate([corner, corner + draw(6, 2, low=1, high=12)], 1)
    malformed = np.concatenate([corner, corner + draw(6, 2, low=-4, high=4)], 1)
    of = np.array([0, 1, 1, 0, 0, 1])
    for mode, ratio in itertools.product(("avg", "max"), (0, 2, 3)):
        options = dict(mode=mode, sampling_ratio=ratio, output_height=3, output_width=2, spatial_scale=0.5)
        yield Case("RoiAlign", 10, [draw(2, 3, 8, 10), malformed, of], **options)
        yield Case("RoiAlign", 16, [draw(2, 70, 8, 10), boxes, of], **options)
        for way in ("half_pixel", "output_half_pixel"):
            yield Case("RoiAlign", 16, [draw(2, 3, 8, 10), boxes, of], coordinate_transformation_mode=way, **options)


def windows():
    shapes = {1: (2, 3, 13), 2: (2, 3, 9, 11), 3: (1, 2, 6, 7, 8)}
    for rank, shape in shapes.items():
        each = lambda *values: [values[i % len(values)] for i in range(rank)]
        padded = dict(kernel_shape=each(3, 2, 4), strides=each(2, 3, 1), pads=each(1, 0, 2) + each(1, 1, 0))
        for ceil in (0, 1):
            yield Case("MaxPool", 12, [draw(*shape)], results=2, ceil_mode=ceil, **padded)
            yield Case("AveragePool", 11, [draw(*shape)], ceil_mode=ceil, **padded)
            yield Case("AveragePool", 19, [draw(*shape)], ceil_mode=ceil, count_include_pad=1, **padded)
            yield Case("AveragePool", 19, [draw(*shape)], ceil_mode=ceil, dilations=each(2, 1), **padded)
            yield Case("LpPool", 18, [draw(*shape)], ceil_mode=ceil, p=3, **padded)
        yield Case("MaxPool", 12, [draw(*shape)], dilations=each(2, 1), **padded)
        if rank > 1:
            yield Case("MaxPool", 8, [draw(*shape)], results=2, storage_order=1, **padded)
        for opset in (1, 7, 10):
            yield Case("MaxPool", opset, [draw(*shape)], **padded)
            yield Case("AveragePool", opset, [draw(*shape)], **padded)
        yield Case("LpPool", 2, [draw(*shape)], p=1, **padded)
        yield Case("GlobalLpPool", 2, [draw(*shape)], p=3)
        for pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
            plain = dict(kernel_shape=each(3, 2, 4), strides=each(2, 3, 1), auto_pad=pad)
            for op, opset in (("MaxPool", 11), ("AveragePool", 11), ("LpPool", 11)):
                yield Case(op, opset, [draw(*shape)], **plain)
            weight = draw(4, shape[1], *each(3, 2, 4))
            yield Case("Conv", 11, [draw(*shape), weight, draw(4)], (1, 2), **plain)
            # With strides beyond the window ONNX Runtime answers less than the extent times the stride.
            plain["strides"] = each(2, 1, 3)
            yield Case("ConvTranspose", 11, [draw(*shape), draw(shape[1], 2, *each(3, 2, 4))], (1,), **plain)
    for dtype in (np.uint8, np.int8):
        yield Case("MaxPool", 12, [random.randint(-100, 100, (1, 2, 6, 6)).astype(dtype)], results=2, kernel_shape=[2, 3], pads=[1, 1, 0, 1])


def transposes():
    for _ in range(24):
        rank, groups = random.randint(1, 4), random.randint(1, 3)
        size, strides, dilations = random.randint(1, 4, rank), random.randint(1, 4, rank), random.randint(1, 3, rank)
        pads = random.randint(0, 2, 2 * rank)
        extra = random.randint(0, strides)
        x, weight = draw(2, 2 * groups, *random.randint(3, 6, rank)), draw(2 * groups, 3, *size)
        options = dict(strides=strides.tolist(), dilations=dilations.tolist(), group=groups)
        full = (np.array(x.shape[2:]) - 1) * strides + (size - 1) * dilations + 1
        if np.all(full + extra - pads[:rank] - pads[rank:] > 0):
            yield Case("ConvTranspose", 11, [x, weight, draw(3 * groups)], (1, 2), pads=pads.tolist(), output_padding=extra.tolist(), **options)
        wanted = np.maximum(full + np.minimum(random.randint(-2, 2, rank), strides - 1), 1)
        if np.any(wanted < full - (size - 1) * dilations - 1):
            continue
        yield Case("ConvTranspose", 11, [x, weight], (1,), output_shape=wanted.tolist(), **options)


def movements():
    x = draw(2, 3, 5, 7)
    for mode in ("constant", "edge", "reflect", "wrap"):
        for pads in ([0, 0, 1, 2, 0, 0, 3, 4], [0, 1, -1, 2, 0, 0, 2, -3]):
            value = np.array(1.5, np.float32) if mode == "constant" else None
            yield Case("Pad", 19, [x, np.array(pads), value], (1, 2), mode=mode)
            yield Case("Pad", 19, [x, np.array(pads), value], (2,), mode=mode)
            if mode != "wrap":
                yield Case("Pad", 2, [x], mode=mode, pads=pads)
        yield Case("Pad", 19, [x, np.array([1, 2, 2, 1]), None, np.array([-1, 2])], (1, 3), mode=mode)
        yield Case("Pad", 19, [x, np.array([1, 2, 2, 1]), None, np.array([-1, 2])], (), mode=mode)
    for shape in ([3, 4], [9, 4], [6, 9]):
        yield Case("CenterCropPad", 18, [x, np.array(shape)], (1,), axes=[2, 3])
        yield Case("CenterCropPad", 18, [x, np.array(shape)], (), axes=[-1, 2])
    yield Case("Col2Im", 18, [draw(2, 3 * 6, 24), np.array([8, 9]), np.array([2, 3])], (1, 2), strides=[2, 1], pads=[1, 0, 1, 1], dilations=[2, 2])
    yield Case("DepthToSpace", 13, [draw(2, 12, 3, 4)], blocksize=2, mode="CRD")
    yield Case("DepthToSpace", 11, [draw(2, 12, 3, 4)], blocksize=2)
    yield Case("SpaceToDepth", 1, [draw(2, 3, 6, 4)], blocksize=2)
    for size in (1, 3, 9):
        yield Case("LRN", 13, [draw(2, 7, 3, 4)], size=size, alpha=0.3, beta=0.6, bias=1.5)
    pooled, places = draw(2, 3, 4, 4), random.permutation(2 * 3 * 64)[: 2 * 3 * 16].reshape(2, 3, 4, 4)
    yield Case("MaxUnpool", 9, [pooled, places], kernel_shape=[2, 2], strides=[2, 2])
    for kept, center in itertools.product((0, 3, 100), (0, 1)):
        corners = draw(2, 40, 2, low=0, high=6)
        boxes = np.concatenate([corners, draw(2, 40, 2, low=1, high=4) if center else corners + draw(2, 40, 2, low=-3, high=3)], 2)
        scores = np.round(draw(2, 3, 40, low=0, high=1) * 16) / 16
        for least in (None, np.array([0.4], np.float32)):
            operands = [boxes, scores.astype(np.float32), np.array([kept]), np.array([0.3], np.float32), least]
            yield Case("NonMaxSuppression", 11, operands, (2,), center_point_box=center)
            yield Case("NonMaxSuppression", 10, operands, (), center_point_box=center)


compare(binary, itertools.chain(resizes(), samples(), windows(), transposes(), movements()), only)
