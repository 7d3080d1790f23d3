"""Operators on tensors as ONNX's own tests do not try them: older operator sets, operands that are constants or computed, sizes that are
symbols, awkward shapes. On both backends against ONNX Runtime, or where it has no kernel ONNX's reference. The seed of the random
operands is an argument, or new, and printed.
"""
import itertools

import numpy as np

from cases import Case, arguments, compare

binary, random, only = arguments()


def draw(*shape, low=-2.0, high=2.0):
    return random.uniform(low, high, shape).astype(np.float32)


def integers(*shape, low=-5, high=6, dtype=np.int64):
    return random.randint(low, high, shape).astype(dtype)


def both(op, opset, operands, parameters, **attributes):
    """The same node with its parameters as inputs and as constants."""
    yield Case(op, opset, operands, **attributes)
    yield Case(op, opset, operands, [i for i in parameters if operands[i] is not None], **attributes)


def reductions():
    x = draw(2, 3, 4)
    for op in ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"):
        yield Case(f"Reduce{op}", 11, [x], axes=[-1, 0], keepdims=0)
        yield Case(f"Reduce{op}", 1, [x], axes=[1])
        yield Case(f"Reduce{op}", 11, [x])
        for axes, keep in itertools.product(([1], [0, -1], [-3, 2, 1]), (0, 1)):
            yield from both(f"Reduce{op}", 18, [x, np.array(axes)], [1], keepdims=keep)
        yield from both(f"Reduce{op}", 18, [x, np.array([], np.int64)], [1], noop_with_empty_axes=0)
        yield Case(f"Reduce{op}", 18, [x], keepdims=0)
    for op in ("Max", "Mean", "Min", "Prod", "Sum", "SumSquare"):
        yield from both(f"Reduce{op}", 18, [integers(3, 4, dtype=np.int32), np.array([-1])], [1])
    yield Case("ReduceLogSum", 18, [draw(2, 3, 4, low=0.5), np.array([1])])
    yield from both("ReduceSum", 13, [x, np.array([], np.int64)], [1], noop_with_empty_axes=1)
    yield Case("ReduceSum", 13, [draw(2, 0, 3), np.array([1])])
    for exclusive, reverse in itertools.product((0, 1), (0, 1)):
        for axis in (np.array(1), np.array(-3, np.int32)):
            yield from both("CumSum", 14, [x, axis], [1], exclusive=exclusive, reverse=reverse)
            yield Case("CumProd", 26, [x, axis], exclusive=exclusive, reverse=reverse, symbols=lambda axis: False)
            yield Case("CumProd", 26, [x, axis], [1], exclusive=exclusive, reverse=reverse, symbols=lambda d: d == 0 and axis == 1)
    for op in ("ArgMax", "ArgMin"):
        few = integers(4, 5, low=0, high=3).astype(np.float32)
        yield Case(op, 12, [few], axis=-1, keepdims=0, select_last_index=0)
        yield Case(op, 12, [few], axis=0, keepdims=1, select_last_index=1, symbols=lambda axis: axis != 0)


def shapes():
    x = draw(2, 1, 4, 1)
    yield Case("Squeeze", 11, [x], axes=[-1, 1])
    yield Case("Squeeze", 13, [x], symbols=lambda axis: False)
    for axes in ([1], [-1, -3]):
        yield from both("Squeeze", 13, [x, np.array(axes)], [1], symbols=lambda axis: axis % 2 == 0)
    yield Case("Unsqueeze", 1, [draw(3, 4)], axes=[0, 3])
    for axes in ([0], [-1, 1], [4, 0, -2]):
        yield from both("Unsqueeze", 13, [draw(3, 4), np.array(axes)], [1])
    x = draw(7, 5, 6)
    yield Case("Slice", 1, [x], starts=[1, -3], ends=[5, 99], axes=[0, 2])
    yield Case("Slice", 1, [x], starts=[1, -3], ends=[5, 99])
    for starts, ends, axes, steps in (([1, -1], [9, -9], [0, -1], [2, -2]), ([5], [-99], [1], [-1]), ([0, 0, 2], [7, 0, 4], None, None)):
        operands = [np.array(v) if v is not None else None for v in (starts, ends, axes, steps)]
        yield from both("Slice", 13, [x, *operands], [1, 2, 3, 4])
        yield Case("Slice", 10, [x, *operands], [3])
    yield Case("Split", 2, [x], results=3, split=[1, 2, 4])
    yield Case("Split", 11, [x], results=2, axis=-1, symbols=lambda axis: axis != 2)
    for sizes in ([2, 0, 5], [1, 1, 5]):
        yield from both("Split", 13, [x, np.array(sizes)], [1], results=3, axis=0)
    yield Case("Split", 18, [x], results=3, num_outputs=3, axis=0)
    for repeats in ([1, 2, 3], [2, 1, 1], [0, 1, 2]):
        yield from both("Tile", 13, [x, np.array(repeats)], [1])
    for extents in ([5, 1], [3, 2, 1, 6], [1]):
        yield from both("Expand", 13, [draw(2, 1, 6), np.array(extents)], [1])
    yield from both("ConstantOfShape", 9, [np.array([2, 3])], [0], symbols=lambda axis: False)
    yield from both("ConstantOfShape", 20, [np.array([], np.int64)], [0], symbols=lambda axis: False)


def generated():
    for limits in ((1.0, 10.5, 2.0), (3.0, -4.0, -0.75), (1.0, 0.0, 2.0)):
        yield from both("Range", 11, [np.array(v, np.float32) for v in limits], [0, 1, 2])
    for limits in ((2, 11, 4), (5, -6, -3), (5, 5, 1), (-7, 8, 5)):
        yield from both("Range", 11, [np.array(v) for v in limits], [0, 1, 2])
        yield Case("Range", 11, [np.array(v, np.int32) for v in limits], [2])
    for axis in (-1, 0, 1):
        for depth in (np.array(5), np.array([5.0], np.float32)):
            yield from both("OneHot", 11, [integers(3, 4, low=-6, high=7), depth, draw(2)], [1], axis=axis)
    for upper, k in itertools.product((0, 1), (None, np.array(-2), np.array(1), np.array(9))):
        yield from both("Trilu", 14, [draw(2, 4, 5), k], [1], upper=upper)
    yield Case("EyeLike", 9, [draw(3, 5)], k=1)
    yield Case("EyeLike", 9, [draw(4, 2)], k=-1, dtype=7)
    for op in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        for periodic in (0, 1):
            yield from both(op, 17, [np.array(11)], [0], periodic=periodic)
        yield Case(op, 17, [np.array(8, np.int32)], output_datatype=11)
    for bins, length, rate, low, high in ((8, 16, 8000, 0.0, 4000.0), (20, 128, 16000, 20.0, 7600.0)):
        operands = [np.array(v) for v in (bins, length, rate)] + [np.array(v, np.float32) for v in (low, high)]
        yield from both("MelWeightMatrix", 17, operands, [0, 1, 2, 3, 4])


def indexed():
    x, few = draw(4, 5, 6), integers(4, 7, low=0, high=4).astype(np.float32)
    yield Case("TopK", 1, [x], results=2, k=3, axis=1)
    for largest, k in itertools.product((0, 1), (1, 4)):
        yield from both("TopK", 11, [few, np.array([k])], [1], results=2, axis=-1, largest=largest)
        yield Case("TopK", 10, [x, np.array([k])], results=2, axis=0)
    for batch, indices in ((0, integers(3, 2, low=-4, high=4)), (1, integers(4, 2, 2, low=-5, high=5)), (2, integers(4, 5, 3, 1, low=-6, high=6)),
                           (0, integers(2, 1, 3, low=-4, high=4)), (1, integers(4, 1, low=0, high=5))):
        yield Case("GatherND", 13, [x, indices], batch_dims=batch)
    yield Case("GatherND", 11, [x, integers(3, 1, low=0, high=4)])
    for reduction in ("none", "add", "mul", "max", "min"):
        places = random.permutation(20)[:6]
        at = np.stack([places // 5, places % 5], -1) if reduction == "none" else integers(6, 2, low=-4, high=4)
        yield Case("ScatterND", 18, [x, at.reshape(2, 3, 2), draw(2, 3, 6)], reduction=reduction)
        along = np.argsort(draw(4, 5, 6), 1)[:, :3] if reduction == "none" else integers(4, 7, 6, low=-5, high=5)
        yield Case("ScatterElements", 18, [x, along, draw(*along.shape)], axis=1, reduction=reduction)
    yield Case("ScatterND", 11, [x, np.array([[2], [0]]), draw(2, 5, 6)])
    yield Case("ScatterElements", 16, [integers(5), np.array([1, -2, 3], np.int32), integers(3)], reduction="add")
    yield Case("Scatter", 9, [x, np.argsort(draw(4, 5, 6), 2)[:2, :5, :4], draw(2, 5, 4)], axis=2)
    cache, update = draw(3, 2, 7, 4), draw(3, 2, 3, 4)
    yield Case("TensorScatter", 24, [cache, update, np.array([0, 4, 2])], axis=-2)
    yield Case("TensorScatter", 24, [cache, update, np.array([6, 4, 5])], mode="circular")
    yield Case("ReverseSequence", 10, [x, np.array([2, 5, 1, 3])], batch_axis=0, time_axis=1)
    yield Case("ReverseSequence", 10, [x, np.array([2, 4, 1, 3, 4])], batch_axis=1, time_axis=0)


def selected():
    x = integers(3, 4, low=-1, high=2).astype(np.float32)
    yield Case("NonZero", 13, [x])
    yield Case("NonZero", 9, [draw(2, 3, 2) > 0])
    yield Case("NonZero", 13, [np.zeros((2, 3), np.float32)])
    yield Case("NonZero", 13, [np.zeros((0, 3), np.float32)])
    for condition, axis in (([True, False, True], 0), ([False, True], -1), ([False], 1)):
        yield from both("Compress", 11, [x, np.array(condition)], [1], axis=axis)
    yield Case("Compress", 9, [x, draw(10) > 0])
    for values in (integers(17, low=0, high=6), integers(3, 5, low=0, high=4).astype(np.float32), np.zeros(0, np.int64), draw(1, 1)):
        for order in (0, 1):
            yield Case("Unique", 11, [values], results=4, sorted=order)
    rows = integers(6, 2, 2, low=0, high=2).astype(np.float32)
    for axis in (0, 1, -1):
        yield Case("Unique", 11, [rows], results=4, sorted=1, axis=axis)
    yield Case("Unique", 11, [rows], results=4, sorted=0, axis=0)


def products():
    sizes = dict(a=2, b=3, c=4, d=5, e=1)
    for equation in ("ab,bc->ac", "ab,bc", "ba,ca->bc", "abc,abd->acd", "bca,dbc->ad", "ab,cd->abcd", "ab,ab->", "ab,ab->ab", "a,a,a->a", "aab->b", "abab->ba",
                     "abc->ca", "abc->", "ab,bc,cd->da", "cab,b,da->dc", "ae,eb->ab", "abcd,abed->ac", "ab,b->a", ",ab->ba", "a,->a", "Ab,bA->Ab"):
        left = equation.replace("A", "a").split("->")[0]
        yield Case("Einsum", 12, [draw(*(sizes[label] for label in term)) for term in left.split(",")], equation=equation)
    for equation, extents in (("...ab,...bc->...ac", ((2, 5, 3, 4), (2, 5, 4, 2))), ("a...b->b...a", ((2, 3, 4, 5),)), ("...,...", ((2, 3), (2, 3))),
                              ("...ii->...i", ((2, 3, 3),)), ("b...,b...->...", ((2, 3, 4), (2, 3, 4))), ("a ... , a -> ...", ((3, 2), (3,)))):
        yield Case("Einsum", 12, [draw(*shape) for shape in extents], equation=equation, symbols=lambda axis: False)
    yield Case("Einsum", 12, [integers(3, 4, dtype=np.int32), integers(4, 2, dtype=np.int32)], equation="ij,jk->ik")
    for size, batch in ((1, ()), (2, (3,)), (5, (2, 2)), (9, ())):
        yield Case("Det", 11, [draw(*batch, size, size)])
    yield Case("Det", 11, [np.array([[0, 2, 1], [3, 0, 0], [0, 0, 4]], np.float32)])
    yield Case("Det", 11, [np.array([[1, 2], [2, 4]], np.float32)])


def normalized():
    x = draw(2, 3, 4, 5)
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for opset, axis in itertools.product((1, 11, 13), (0, 2, 3)):
            yield Case(op, opset, [x], axis=axis)
        yield Case(op, 11, [x])
        yield Case(op, 13, [x])
        yield Case(op, 11, [x], axis=-2)
    for p, axis in itertools.product((1, 2), (0, -1)):
        yield Case("LpNormalization", 1, [x], p=p, axis=axis)
    yield Case("MeanVarianceNormalization", 13, [x])
    yield Case("MeanVarianceNormalization", 9, [x], axes=[1, 2, 3])
    scale, bias, mean, variance = draw(3), draw(3), draw(3), draw(3, low=0.5)
    for opset in (7, 9, 14, 15):
        yield Case("BatchNormalization", opset, [x, scale, bias, mean, variance], epsilon=1e-3, symbols=lambda axis: axis != 1)
    yield Case("BatchNormalization", 14, [x, scale, bias, mean, variance], results=3, training_mode=1, momentum=0.7, symbols=lambda axis: axis != 1)
    each = [draw(3, 4, 5), draw(3, 4, 5), draw(3, 4, 5), draw(3, 4, 5, low=0.5)]
    yield Case("BatchNormalization", 7, [x, *each], spatial=0)


def transformed():
    for n in (1, 2, 7, 30, 64, 131):
        real, pairs = draw(2, n, 1), draw(2, n, 2)
        for inverse in (0, 1):
            yield Case("DFT", 17, [pairs], axis=1, inverse=inverse, reference=True)
        yield Case("DFT", 17, [real], axis=1, onesided=1, reference=True)
        yield Case("DFT", 20, [real, None, np.array(1)], onesided=1, reference=True)
    for n, length in ((6, None), (6, 10), (6, 7), (4, 10)):
        length = np.array(length) if length else None
        yield from both("DFT", 20, [draw(2, n, 3, 2), length, np.array(1)], [1, 2], inverse=1, onesided=1, reference=True)
    for length in (5, 8, 12):
        for axis in (1, -3):
            yield from both("DFT", 20, [draw(2, 8, 3, 1), np.array(length), np.array(axis)], [1, 2], onesided=1)
        yield from both("DFT", 17, [draw(2, 8, 3, 2), np.array(length)], [1], axis=2)
    signal, step, window = draw(2, 50, 1), np.array(7), draw(16)
    for operands in ([signal, step, window, None], [signal, step, None, np.array(16)], [signal, step, window, np.array(16)]):
        yield from both("STFT", 17, operands, [1, 3], symbols=lambda axis: axis != 2)
    yield Case("STFT", 17, [signal, step, window], onesided=0)
    yield Case("STFT", 17, [draw(1, 40, 2), step, window], onesided=0)
    tokens = integers(3, 9, low=1, high=5, dtype=np.int32)
    pool = dict(ngram_counts=[0, 3, 9], ngram_indexes=[2, 0, 1, 5, 4, 3, 7, 6], pool_int64s=[1, 2, 3, 1, 2, 2, 1, 3, 3, 1, 2, 3, 4, 4, 4])
    for mode, shortest, longest, skips in itertools.product(("TF", "IDF", "TFIDF"), (1, 2), (2, 3), (0, 3)):
        yield Case("TfIdfVectorizer", 9, [tokens], mode=mode, min_gram_length=shortest, max_gram_length=longest, max_skip_count=skips,
                   weights=[0.5, 1.0, 2.0, 3.0, 0.25, 0.125, 4.0, 1.5], **pool)
    yield Case("TfIdfVectorizer", 9, [tokens[0]], mode="TF", min_gram_length=1, max_gram_length=2, max_skip_count=1, **pool)


families = (reductions, shapes, generated, indexed, selected, products, normalized, transformed)
compare(binary, itertools.chain.from_iterable(family() for family in families), only, reference=True)
