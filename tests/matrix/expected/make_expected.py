#!/usr/bin/env python3
"""Writes cases.txt: small cases of every op with what NumPy (or plain Python) says that they are.

    python3 tests/matrix/expected/make_expected.py > tests/matrix/expected/cases.txt

Needs NumPy. Nothing here shares code with the engine: what an op means is written down a second time.
"""
import itertools
import math

import numpy as np

NAMES = {np.dtype(k): v for k, v in {
    np.float64: "f64", np.float32: "f32", np.float16: "f16", np.int8: "i8", np.int16: "i16", np.int32: "i32",
    np.int64: "i64", np.uint8: "u8", np.uint16: "u16", np.uint32: "u32", np.uint64: "u64", np.bool_: "bool"}.items()}
NAN, INF = math.nan, math.inf


def number(x):
    if isinstance(x, (bool, np.bool_)):
        return "1" if x else "0"
    if isinstance(x, (int, np.integer)):
        return str(int(x))
    return repr(float(x)) if math.isfinite(x) else "nan" if math.isnan(x) else "inf" if x > 0 else "-inf"


class Narrow:
    """A tensor of a dtype that NumPy has not, given by its values."""

    def __init__(self, name, values):
        self.name, self.values = name, np.array(values, np.float64)


def tensor(x):
    if isinstance(x, Narrow):
        shape = ",".join(map(str, x.values.shape))
        return " ".join([f"{x.name}[{shape}]"] + [number(v) if x.name[0] == "f" else str(int(v)) for v in x.values.reshape(-1)])
    x = np.asarray(x)
    shape = ",".join(map(str, x.shape))
    return " ".join([f"{NAMES[x.dtype]}[{shape}]"] + [number(v) for v in x.reshape(-1)])


def attribute(x):
    if isinstance(x, bool):
        return "true" if x else "false"
    if isinstance(x, (list, tuple)):
        return "[" + ",".join(map(str, x)) + "]"
    return str(x)


class Known:
    """An operand that is a constant before shapes are bound."""

    def __init__(self, values):
        self.values = np.array(values, np.int64)


def case(op, inputs, outputs, **attributes):
    print(" ".join([op] + [f"{k}={attribute(v)}" for k, v in attributes.items()]))
    for x in inputs:
        print("  known " + tensor(x.values) if isinstance(x, Known) else "  " + tensor(x))
    for y in outputs:
        print("  -> " + tensor(y))


def f64(values):
    return np.array(values, np.float64)


# --- element-wise -----------------------------------------------------------------------------------------------------
def elementwise():
    x = f64([-2.5, -1.5, -0.5, 0.0, 0.25, 0.5, 1.5, 2.5, 3.0])
    special = f64([NAN, INF, -INF, 1e300, -1e300])
    both = np.concatenate([x, special])
    vectorize = lambda f: lambda v: f64([f(e) for e in v])
    with np.errstate(all="ignore"):
        for op, f, v in [
                ("neg", np.negative, both), ("abs", np.abs, both), ("sign", np.sign, both), ("exp", np.exp, both),
                ("expm1", np.expm1, both), ("log", np.log, both), ("log1p", np.log1p, both), ("sqrt", np.sqrt, both),
                ("rsqrt", lambda v: 1 / np.sqrt(v), both), ("reciprocal", lambda v: 1 / v, both),
                ("sin", np.sin, x), ("cos", np.cos, x), ("tan", np.tan, x), ("asin", np.arcsin, x / 3),
                ("acos", np.arccos, x / 3), ("atan", np.arctan, both), ("sinh", np.sinh, x), ("cosh", np.cosh, x),
                ("tanh", np.tanh, both), ("erf", vectorize(math.erf), both),
                ("sigmoid", lambda v: 1 / (1 + np.exp(-v)), both), ("floor", np.floor, both), ("ceil", np.ceil, both),
                ("round", np.rint, both), ("is_nan", np.isnan, both), ("is_inf", np.isinf, both),
                ("relu", lambda v: np.maximum(v, 0), both), ("silu", lambda v: v / (1 + np.exp(-v)), x),
                ("hard_swish", lambda v: v * np.clip(v / 6 + 0.5, 0, 1), 3 * x)]:
            case(op, [v], [f(v)])
    i8 = np.array([-128, -127, -7, -1, 0, 1, 7, 127], np.int8)
    u64 = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    i64 = np.array([-2**63, -2**53 - 1, -1, 0, 1, 2**53 + 1, 2**63 - 1], np.int64)
    with np.errstate(all="ignore"):
        case("neg", [i8], [-i8])
        case("neg", [u64], [np.uint64(0) - u64])
        case("abs", [i8], [np.array([-128, 127, 7, 1, 0, 1, 7, 127], np.int8)])
        case("abs", [i64], [np.abs(i64)])
        case("sign", [i8], [np.sign(i8)])
        case("sign", [u64], [np.array([0, 1, 1, 1], np.uint64)])
        case("relu", [i8], [np.maximum(i8, np.int8(0))])
    case("logical_not", [np.array([True, False])], [np.array([False, True])])
    case("bit_not", [i8], [~i8])
    case("bit_not", [u64], [~u64])

    gelu = lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2)))
    tanh = lambda v: 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))
    case("gelu", [x], [f64([gelu(v) for v in x])], tanh_approximation=False)
    case("gelu", [x], [f64([tanh(v) for v in x])], tanh_approximation=True)

    a = f64([-7.5, -2.0, -0.5, 0.0, 0.5, 2.0, 7.5])[:, None]
    b = f64([-3.0, -0.5, 1.0, 2.5])
    with np.errstate(all="ignore"):
        for op, f in [("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("div", np.divide),
                      ("rem", np.fmod), ("pow", np.power), ("maximum", np.maximum), ("minimum", np.minimum),
                      ("atan2", np.arctan2), ("eq", np.equal), ("ne", np.not_equal), ("lt", np.less),
                      ("le", np.less_equal), ("gt", np.greater), ("ge", np.greater_equal)]:
            case(op, [a, b], [f(a, b)])
            case(op, [f64([NAN, 1.0, INF, INF, 0.0, 5.0]), f64([1.0, NAN, INF, -INF, 0.0, 0.0])],
                 [f(f64([NAN, 1.0, INF, INF, 0.0, 5.0]), f64([1.0, NAN, INF, -INF, 0.0, 0.0]))])

    # Integers wrap, division and remainder truncate, by zero they are 0.
    def wrap(value, dtype):
        bits = np.iinfo(dtype).bits
        value %= 1 << bits
        return value - (1 << bits) if np.issubdtype(dtype, np.signedinteger) and value >> (bits - 1) else value

    def quotient(p, q):
        return 0 if q == 0 else abs(p) // abs(q) * (1 if (p < 0) == (q < 0) else -1)

    exact = {
        "add": lambda p, q: p + q, "sub": lambda p, q: p - q, "mul": lambda p, q: p * q, "div": quotient,
        "rem": lambda p, q: 0 if q == 0 else p - q * quotient(p, q), "maximum": max, "minimum": min,
        "bit_and": lambda p, q: p & q, "bit_or": lambda p, q: p | q, "bit_xor": lambda p, q: p ^ q}
    compare = {"eq": lambda p, q: p == q, "ne": lambda p, q: p != q, "lt": lambda p, q: p < q,
               "le": lambda p, q: p <= q, "gt": lambda p, q: p > q, "ge": lambda p, q: p >= q}
    for values in (i8, np.array([0, 1, 2, 7, 254, 255], np.uint8), i64, u64):
        dtype = values.dtype
        pairs = [(int(p), int(q)) for p in values for q in values]
        left, right = (np.array(side, dtype) for side in zip(*pairs))
        for op, f in exact.items():
            case(op, [left, right], [np.array([wrap(f(p, q), dtype) for p, q in pairs], dtype)])
        for op, f in compare.items():
            case(op, [left, right], [np.array([f(p, q) for p, q in pairs])])
        bits = np.iinfo(dtype).bits
        for op in ("shift_left", "shift_right"):
            shifted, amounts, results = [], [], []
            for p, by in itertools.product(map(int, values), (0, 1, bits - 1, bits, bits + 5)):
                shifted.append(p)
                amounts.append(by)
                results.append(wrap(p << by if op == "shift_left" else p >> by, dtype))
            case(op, [np.array(shifted, dtype), np.array(amounts, dtype)], [np.array(results, dtype)])
    # A negative amount is past every width.
    case("shift_left", [np.array([1, -1], np.int32), np.array([-1, -1], np.int32)], [np.array([0, 0], np.int32)])
    case("shift_right", [np.array([1, -1], np.int32), np.array([-1, -1], np.int32)], [np.array([0, -1], np.int32)])

    p, q = np.array([False, False, True, True]), np.array([False, True, False, True])
    for op, f in [("logical_and", np.logical_and), ("logical_or", np.logical_or), ("logical_xor", np.logical_xor),
                  ("eq", np.equal), ("ne", np.not_equal)]:
        case(op, [p, q], [f(p, q)])

    case("select", [np.array([[True], [False]]), f64([1, NAN, 3]), f64(-1)],
         [f64([[1, NAN, 3], [-1, -1, -1]])])

    # Casts: floats to integers truncate and saturate, NaN is 0; integers wrap; bool is "not zero".
    floats = f64([NAN, INF, -INF, -1.9, -0.5, 0.5, 1.9, 127.5, 200.0, 255.9, 300.0, -200.0, 1e30, -1e30])
    for dtype, name in [(np.int8, "i8"), (np.uint8, "u8"), (np.int32, "i32"), (np.int64, "i64"), (np.uint64, "u64")]:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        cut = [0 if math.isnan(v) else low if v <= low else high if v >= high else int(v) for v in floats]
        case("cast", [floats], [np.array(cut, dtype)], dtype=name)
    case("cast", [floats], [np.array([v != 0 for v in floats])], dtype="bool")
    for dtype, name in [(np.int8, "i8"), (np.uint16, "u16"), (np.uint64, "u64")]:
        case("cast", [i64], [np.array([wrap(int(v), dtype) for v in i64], dtype)], dtype=name)
    # Once to nearest even, not through a double.
    big = np.array([2**24 + 1, 2**24 + 3, 2**60 + 2**36 + 1, -2**63], np.int64)
    case("cast", [big], [np.array([2**24, 2**24 + 4, 2**60 + 2**37, -2.0**63], np.float32)], dtype="f32")
    case("cast", [u64], [u64.astype(np.float64)], dtype="f64")
    with np.errstate(all="ignore"):
        halves = f64([1 / 3, 65504, 65519.9, 65520, 1e-8, 6e-8, 2049, 2051, NAN, -INF])
        case("cast", [halves], [halves.astype(np.float32).astype(np.float16)], dtype="f16")
    case("cast", [np.array([True, False])], [f64([1, 0])], dtype="f64")
    narrow()


# Exponent and mantissa bits, bias, values at the top that are NaN or infinite, and what is past the largest.
FORMATS = {"f8e4m3fn": (4, 3, 7, 1, NAN), "f8e4m3fnuz": (4, 3, 8, 0, NAN), "f8e5m2": (5, 2, 15, 4, INF),
           "f8e5m2fnuz": (5, 2, 16, 0, NAN), "f4e2m1": (2, 1, 1, 0, 6.0)}


def narrow_values(name):
    """All magnitudes, by their bits."""
    exponent_bits, mantissa_bits, bias, specials, _ = FORMATS[name]
    values = []
    for code in range(2 ** (exponent_bits + mantissa_bits) - specials):
        exponent, mantissa = divmod(code, 2**mantissa_bits)
        scale = 2.0 ** (max(exponent, 1) - bias)
        values.append(scale * (mantissa / 2**mantissa_bits + (1 if exponent else 0)))
    return values


def to_narrow(name, x):
    if math.isnan(x):
        return 0.0 if name == "f4e2m1" else NAN
    values, past = narrow_values(name), FORMATS[name][4]
    # One value past the largest, as the format would go on, decides what is over.
    steps = values + [2 * values[-1] - values[-2]]
    if abs(x) > steps[-1]:
        result = past
    else:
        code = min(range(len(steps)), key=lambda c: (abs(steps[c] - abs(x)), c % 2))
        result = values[code] if code < len(values) else past
    result = math.copysign(result, x)
    return 0.0 if result == 0 and name.endswith("fnuz") else result


def narrow():
    x = np.array([0.0, 0.25, 0.26, 0.75, 1.0625, 1.1875, 2.5, 3.5, 5.0, 7.0, 17.0, 19.0, 243.0, 247.0, 248.0, 455.0, 464.0, 465.0,
                  57344.0, 61439.0, 61440.0, 1e9, 2.0**-9, 1.5 * 2.0**-10, 2.0**-11, 2.0**-16, 2.0**-17, 2.0**-18, 2.0**-19,
                  NAN, INF], np.float32)
    x = np.concatenate([x, -x])
    for name in FORMATS:
        y = Narrow(name, [to_narrow(name, float(v)) for v in x])
        case("cast", [x], [y], dtype=name)
        case("cast", [y], [y.values.astype(np.float32)], dtype="f32")
        case("cast", [np.array([-500, -3, 0, 7, 100], np.int32)], [Narrow(name, [to_narrow(name, v) for v in (-500.0, -3.0, 0.0, 7.0, 100.0)])],
             dtype=name)
        case("eq", [y, y], [y.values == y.values])
    # Exponents alone: to the nearest power of two, ties up; what has none is NaN.
    x = np.array([1.0, 1.25, 1.5, 3.0, 5.0, 0.7, 2.0**-127, 2.0**-126 * 0.75, 2.0**127, 1.4 * 2.0**127, 1.6 * 2.0**127, 0.0, -1.0,
                  2.0**-128, INF, NAN], np.float32)
    powers = [1, 1, 2, 4, 4, 0.5, 2.0**-127, 2.0**-126, 2.0**127, 2.0**127, NAN, NAN, NAN, NAN, NAN, NAN]
    case("cast", [x], [Narrow("f8e8m0", powers)], dtype="f8e8m0")
    case("cast", [Narrow("f8e8m0", powers)], [np.array(powers, np.float32)], dtype="f32")
    for name, low, high in [("i4", -8, 7), ("u4", 0, 15), ("i2", -2, 1), ("u2", 0, 3)]:
        floats = f64([NAN, INF, -INF, -100.0, -8.9, -2.5, -1.5, -0.5, 0.5, 1.9, 3.5, 7.9, 15.5, 1e30])
        case("cast", [floats], [Narrow(name, [0 if math.isnan(v) else int(min(max(v, low), high)) for v in floats])], dtype=name)
        integers = np.arange(-20, 21, dtype=np.int64)
        wrapped = [(v - low) % (high - low + 1) + low for v in integers]
        case("cast", [integers], [Narrow(name, wrapped)], dtype=name)
        case("cast", [Narrow(name, wrapped)], [np.array(wrapped, np.int8)], dtype="i8")


# --- reductions -------------------------------------------------------------------------------------------------------
def reductions():
    x = f64(np.arange(24).reshape(2, 3, 4)) * 0.75 - 7.5
    n = np.array([[3, -5, 100], [120, 7, -128]], np.int8)
    for op, f in [("reduce_sum", np.sum), ("reduce_prod", np.prod), ("reduce_max", np.max), ("reduce_min", np.min),
                  ("reduce_mean", np.mean)]:
        for axes, keep in (([0], False), ([1], True), ([0, 2], False), ([0, 1, 2], False)):
            case(op, [x], [f(x, axis=tuple(axes), keepdims=keep)], axes=axes, keep_dims=keep)
        case(op, [x], [x], axes=[], keep_dims=False)
    case("reduce_sum", [n], [np.sum(n, axis=1, dtype=np.int8)], axes=[1], keep_dims=False)
    case("reduce_prod", [n], [np.prod(n, axis=1, dtype=np.int8)], axes=[1], keep_dims=False)
    case("reduce_max", [n], [np.max(n, axis=0)], axes=[0], keep_dims=False)
    case("reduce_min", [n], [np.min(n, axis=0)], axes=[0], keep_dims=False)
    empty = np.zeros((2, 0))
    for op, value in [("reduce_sum", 0), ("reduce_prod", 1), ("reduce_max", -INF), ("reduce_min", INF),
                      ("reduce_mean", NAN)]:
        case(op, [empty], [f64([value, value])], axes=[1], keep_dims=False)
    for dtype in (np.int8, np.uint8, np.int64, np.uint64):
        none = np.zeros((2, 0), dtype)
        case("reduce_max", [none], [np.full(2, np.iinfo(dtype).min, dtype)], axes=[1], keep_dims=False)
        case("reduce_min", [none], [np.full(2, np.iinfo(dtype).max, dtype)], axes=[1], keep_dims=False)
    odd = f64([[1, NAN, 3, NAN], [INF, -INF, 0, 0]])
    for op, f in [("reduce_max", np.max), ("reduce_min", np.min), ("reduce_sum", np.sum)]:
        with np.errstate(all="ignore"):
            case(op, [odd], [f(odd, axis=1)], axes=[1], keep_dims=False)
    for op, f in [("argmax", np.argmax), ("argmin", np.argmin)]:
        case(op, [x], [f(x, axis=1)], axis=1, keep_dims=False)
        case(op, [odd], [f(odd, axis=1, keepdims=True)], axis=1, keep_dims=True)
        case(op, [f64([2, 7, 1, 7, 1])], [f(f64([2, 7, 1, 7, 1]))], axis=0, keep_dims=False)
        case(op, [np.array([2**64 - 1, 0, 2**63], np.uint64)], [np.int64(0 if op == "argmax" else 1)], axis=0,
             keep_dims=False)
    v = f64([[1, 2, 4], [8, 16, 32]])
    case("cumsum", [v], [np.cumsum(v, axis=1)], axis=1, exclusive=False, reverse=False)
    case("cumsum", [v], [np.cumsum(v, axis=0)], axis=0, exclusive=False, reverse=False)
    case("cumsum", [v], [f64([[0, 1, 3], [0, 8, 24]])], axis=1, exclusive=True, reverse=False)
    case("cumsum", [v], [f64([[7, 6, 4], [56, 48, 32]])], axis=1, exclusive=False, reverse=True)
    case("cumsum", [v], [f64([[6, 4, 0], [48, 32, 0]])], axis=1, exclusive=True, reverse=True)
    case("cumsum", [np.array([100, 100, 100], np.int8)], [np.array([100, -56, 44], np.int8)], axis=0, exclusive=False,
         reverse=False)


# --- movement ---------------------------------------------------------------------------------------------------------
def movement():
    x = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    case("reshape", [x], [x.reshape(4, 6)], dims=[4, 6])
    case("reshape", [x], [x.reshape(3, 8)], dims=[3, -1])
    case("reshape", [x], [x.reshape(2, 12)], dims=[-2, -1])
    case("broadcast_to", [x[:, :1]], [np.broadcast_to(x[:, :1], (5, 2, 3, 4))], shape=[5, 2, 3, 4])
    case("transpose", [x], [x.transpose(2, 0, 1)], order=[2, 0, 1])
    case("slice", [x], [x[1:, ::2, 1:4:2]], starts=[1, 0, 1], ends=[2, 3, 4], strides=[1, 2, 2])
    case("slice", [x], [x[-1:, :-1, -99:99]], starts=[-1, 0, -99], ends=[99, -1, 99], strides=[1, 1, 1])
    case("slice", [x], [x[:, 2:1]], starts=[0, 2, 0], ends=[2, 1, 4], strides=[1, 1, 1])
    case("reverse", [x], [x[::-1, :, ::-1]], axes=[0, 2])
    spread = np.full((2 + 1 + 1 + 2, 3 + 2), -7, np.int32)
    spread[2:4:1, 0:5:2] = x[:, :, 0]
    case("pad", [x[:, :, 0]], [spread], low=[2, 0], high=[2, 0], interior=[0, 1], value=-7.0)
    case("pad", [np.zeros((0, 2), np.int32)], [np.full((3, 2), 9, np.int32)], low=[1, 0], high=[2, 0], interior=[4, 0],
         value=9.0)
    case("pad", [np.array([5], np.uint8)], [np.array([255, 5, 255], np.uint8)], low=[1], high=[1], interior=[0],
         value=1e300)
    case("concat", [x[:, :1], x[:, 1:], x[:, :0]], [x], axis=1)
    case("concat", [x, x], [np.concatenate([x, x], 2)], axis=2)
    case("iota", [], [np.broadcast_to(np.arange(3)[:, None], (2, 3, 2))], dtype="i64", shape=[2, 3, 2], axis=1)
    case("iota", [], [np.arange(258, dtype=np.int64).astype(np.uint8)], dtype="u8", shape=[258], axis=0)
    case("iota", [], [f64([[0, 1, 2]])], dtype="f64", shape=[1, 3], axis=1)


def bit_casts():
    x = np.array([0.0, -0.0, 1.5, -2.0, INF, 1e-40], np.float32)
    case("bit_cast", [x], [x.view(np.int32)], dtype="i32")
    case("bit_cast", [x.view(np.uint32)], [x], dtype="f32")
    case("bit_cast", [np.array([[-1, 5]], np.int8)], [np.array([[255, 5]], np.uint8)], dtype="u8")
    case("bit_cast", [np.array([0x7e, 0xf0, 0x08], np.uint8)], [Narrow("f8e4m3fn", [448, -128, 2.0**-6])], dtype="f8e4m3fn")
    case("bit_cast", [Narrow("f4e2m1", [0.5, -6, 3])], [Narrow("u4", [1, 15, 5])], dtype="u4")
    case("bit_cast", [Narrow("u4", [0, 7, 8, 15])], [Narrow("i4", [0, 7, -8, -1])], dtype="i4")


def fourier():
    random = np.random.RandomState(11)
    pairs = lambda z: np.stack([z.real, z.imag], -1)
    for n in (1, 2, 5, 12, 90, 131, 257):
        z = random.uniform(-1, 1, (2, n)) + 1j * random.uniform(-1, 1, (2, n))
        real = z.real[..., None]
        case("dft", [pairs(z)], [pairs(np.fft.fft(z))], inverse=False, onesided=False)
        case("dft", [pairs(z)], [pairs(np.fft.ifft(z))], inverse=True, onesided=False)
        case("dft", [real], [pairs(np.fft.rfft(z.real))], inverse=False, onesided=True)


# --- indexing ---------------------------------------------------------------------------------------------------------
def indexing():
    x = f64(np.arange(24).reshape(2, 3, 4))
    i = np.array([[2, -1], [0, -3]], np.int64)
    case("gather", [x, i], [np.take(x, i, axis=1)], axis=1)
    case("gather", [x, np.int32(1)], [x[1]], axis=0)
    updates = f64(np.arange(32).reshape(2, 2, 2, 4)) + 100
    scattered = x.copy()
    for a, b in np.ndindex(2, 2):
        scattered[:, i[a, b]] += updates[:, a, b]
    case("scatter", [x, i, updates], [scattered], axis=1, reduction=1)
    j = np.array([[0, -1, 2], [1, 1, -4]], np.int64)
    flat = x[:, 0]
    case("gather_elements", [flat, j], [np.take_along_axis(flat, j % 4, 1)], axis=1)
    added = flat.copy()
    for a, b in np.ndindex(2, 3):
        added[a, j[a, b]] += 10.0 * (a + 1) + b
    case("scatter_elements", [flat, j, f64([[10, 11, 12], [20, 21, 22]])], [added], axis=1, reduction=1)
    # Reductions: the last write, sum, product, maximum, minimum; NaN wins the last two.
    base, at = np.array([2.0, 3, 5, 7]), np.array([1, -3, 3, 1], np.int64)
    written, flags = f64([4, 6, -1, 5]), np.array([True, False, True, True])
    for reduction, result in enumerate([[2, 5, 5, -1], [2, 18, 5, 6], [2, 360, 5, -7], [2, 6, 5, 7], [2, 3, 5, -1]]):
        case("scatter", [base, at, written], [f64(result)], axis=0, reduction=reduction)
        case("scatter_elements", [base, at, written], [f64(result)], axis=0, reduction=reduction)
        case("scatter", [base.astype(np.int8), at, written.astype(np.int8)],
             [np.array(result).astype(np.int16).astype(np.int8)], axis=0, reduction=reduction)
    for reduction in (3, 4):
        case("scatter_elements", [f64([NAN, 1]), np.array([0, 1, 1], np.int64), f64([1, NAN, 2])], [f64([NAN, NAN])],
             axis=0, reduction=reduction)
    case("scatter", [np.array([False, True, True, False]), at, flags], [np.array([False, True, True, True])], axis=0,
         reduction=0)
    # Out of range reads zero, and drops the write.
    out = np.array([0, 3, -4, -3], np.int64)
    rows = f64([[1, 2], [3, 4], [5, 6]])
    case("gather", [rows, out], [f64([[1, 2], [0, 0], [0, 0], [1, 2]])], axis=0)
    case("scatter", [rows, out, f64(np.ones((4, 2)))], [f64([[3, 4], [3, 4], [5, 6]])], axis=0, reduction=1)
    case("scatter", [rows, out, f64(np.ones((4, 2)))], [f64([[1, 1], [3, 4], [5, 6]])], axis=0, reduction=0)
    case("gather_elements", [rows, np.array([[0, 2], [-5, -2]], np.int32)], [f64([[1, 0], [0, 3]])], axis=1)
    case("scatter_elements", [rows, np.array([[5, 1]], np.int64), f64([[7, 7]])], [f64([[1, 9], [3, 4], [5, 6]])],
         axis=1, reduction=1)

    s = f64([[3, 1, 2, 1], [0, NAN, -INF, 5]])
    case("sort", [s], [f64([[1, 1, 2, 3], [-INF, 0, 5, NAN]]), np.array([[1, 3, 2, 0], [2, 0, 3, 1]])], axis=1,
         descending=False)
    case("sort", [s], [f64([[3, 2, 1, 1], [NAN, 5, 0, -INF]]), np.array([[0, 2, 1, 3], [1, 3, 0, 2]])], axis=1,
         descending=True)
    case("sort", [s], [f64([[0, 1, -INF, 1], [3, NAN, 2, 5]]), np.array([[1, 0, 1, 0], [0, 1, 0, 1]])], axis=0,
         descending=False)
    case("top_k", [s], [f64([[3, 2], [NAN, 5]]), np.array([[0, 2], [1, 3]])], k=2, axis=1, largest=True)
    case("top_k", [s], [f64([[1, 1, 2], [-INF, 0, 5]]), np.array([[1, 3, 2], [2, 0, 3]])], k=3, axis=1, largest=False)


# --- detection --------------------------------------------------------------------------------------------------------
def share(a, b):
    """Of what two boxes cover, the part that both do."""
    low = np.maximum(np.minimum(a[:2], a[2:]), np.minimum(b[:2], b[2:]))
    high = np.minimum(np.maximum(a[:2], a[2:]), np.maximum(b[:2], b[2:]))
    both = np.prod(np.maximum(high - low, 0))
    area = lambda c: abs((c[2] - c[0]) * (c[3] - c[1]))
    return both / (area(a) + area(b) - both) if both > 0 else 0.0


def detection():
    random = np.random.RandomState(11)
    corners = np.round(random.uniform(0, 8, (2, 9, 2)) * 4) / 4
    boxes = np.concatenate([corners, corners + np.round(random.uniform(-4, 4, (2, 9, 2)) * 4) / 4], 2)
    boxes[0, 3], boxes[0, 4] = boxes[0, 2], boxes[0, 2][[2, 1, 0, 3]]
    scores = np.round(random.uniform(0, 1, (2, 3, 9)) * 8) / 8
    for overlap, least, most in [(0.25, 0.125, -1), (0.5, 0.5, 3), (0.0, -1.0, 4)]:
        k = 9 if most < 0 else most
        indices, counts = np.zeros((2, 3, k), np.int64), np.zeros((2, 3), np.int64)
        for b, c in np.ndindex(2, 3):
            kept = []
            for i in sorted(range(9), key=lambda i: (-scores[b, c, i], i)):
                covered = any(share(boxes[b, i], boxes[b, j]) > overlap for j in kept)
                if scores[b, c, i] > least and not covered and len(kept) < k:
                    kept.append(i)
            indices[b, c, :len(kept)], counts[b, c] = kept, len(kept)
        case("non_max_suppression", [boxes, scores, f64(overlap), f64(least)], [indices, counts], most=most)


# --- contractions -----------------------------------------------------------------------------------------------------
def places(y, size, strides, low, dilations):
    """Where the window of output position y lies in the input, with the position in the window."""
    for k in np.ndindex(*size):
        yield k, tuple(i * s - l + d * t for i, s, l, d, t in zip(y, strides, low, dilations, k))


def inside(at, extents):
    return all(0 <= a < e for a, e in zip(at, extents))


def products(x_shape, w_shape, y_shape, strides, low, dilations, groups):
    """Positions of x, w and y of every product that a convolution adds up."""
    per_group = y_shape[1] // groups
    for n, o in np.ndindex(*y_shape[:2]):
        for y in np.ndindex(*y_shape[2:]):
            for c in range(w_shape[1]):
                for k, at in places(y, w_shape[2:], strides, low, dilations):
                    if inside(at, x_shape[2:]):
                        yield (n, o // per_group * w_shape[1] + c) + at, (o, c) + k, (n, o) + y


def convolutions():
    random = np.random.RandomState(7)
    for x_shape, w_shape, y_shape, strides, low, high, dilations, groups in [
            ((2, 2, 5), (3, 2, 3), (2, 3, 3), [1], [0], [0], [1], 1),
            ((1, 4, 5, 6), (6, 2, 3, 2), (1, 6, 3, 3), [2, 2], [1, 0], [1, 1], [1, 2], 2),
            ((1, 3, 4, 4), (3, 1, 3, 3), (1, 3, 4, 4), [1, 1], [1, 1], [1, 1], [1, 1], 3),
            ((1, 2, 3, 4, 3), (2, 2, 2, 2, 2), (1, 2, 2, 2, 3), [1, 2, 1], [0, 0, 1], [0, 0, 0], [1, 1, 1], 1)]:
        x, w, y = (random.randint(-8, 9, s) / 4 for s in (x_shape, w_shape, y_shape))
        bias = random.randint(-8, 9, w_shape[0]) / 4
        windows = dict(strides=strides, pad_low=low, pad_high=high, dilations=dilations, groups=groups)
        all_products = list(products(x_shape, w_shape, y_shape, strides, low, dilations, groups))
        forward, dx, dw = np.zeros(y_shape), np.zeros(x_shape), np.zeros(w_shape)
        for i, j, k in all_products:
            forward[k] += x[i] * w[j]
            dx[i] += y[k] * w[j]
            dw[j] += x[i] * y[k]
        case("convolution", [x, w], [forward], **windows)
        case("convolution", [x, w, bias], [forward + bias.reshape((-1,) + (1,) * (x.ndim - 2))], **windows)
        case("convolution_input_gradient", [y, w], [dx], **windows, extents=list(x_shape[2:]))
        case("convolution_weight_gradient", [x, y], [dw], **windows, extents=list(w_shape[2:]))
    # Integers wrap.
    x, w = np.array([[[100000, -7, 3, 2**31 - 1]]], np.int32), np.array([[[50000, 2]]], np.int32)
    sums = [int(p) * 50000 + int(q) * 2 + 1 for p, q in zip(x[0, 0], x[0, 0, 1:])]
    case("convolution", [x, w, np.array([1], np.int32)],
         [np.array([[[(s + 2**31) % 2**32 - 2**31 for s in sums]]], np.int32)],
         strides=[1], pad_low=[0], pad_high=[0], dilations=[1], groups=1)


def matmuls():
    random = np.random.RandomState(3)
    a, b = random.randint(-8, 9, (2, 1, 3, 4)) / 4, random.randint(-8, 9, (5, 4, 2)) / 4
    swap = lambda v: np.swapaxes(v, -1, -2)
    case("matmul", [a, b], [a @ b], transpose_a=False, transpose_b=False)
    case("matmul", [swap(a), b], [a @ b], transpose_a=True, transpose_b=False)
    case("matmul", [a, swap(b)], [a @ b], transpose_a=False, transpose_b=True)
    case("matmul", [swap(a), swap(b)], [a @ b], transpose_a=True, transpose_b=True)
    case("matmul", [np.zeros((2, 0)), np.zeros((0, 3))], [np.zeros((2, 3))], transpose_a=False, transpose_b=False)
    n = np.array([[100, 100], [-128, 1]], np.int8)
    case("matmul", [n, n], [(n.astype(int) @ n.astype(int)).astype(np.int8)], transpose_a=False, transpose_b=False)
    big = np.array([[2**63, 3], [5, 2**64 - 1]], np.uint64)
    exact = [[sum(int(big[i, k]) * int(big[k, j]) for k in range(2)) % 2**64 for j in range(2)] for i in range(2)]
    case("matmul", [big, big], [np.array(exact, np.uint64)], transpose_a=False, transpose_b=False)


# --- pooling ----------------------------------------------------------------------------------------------------------
def pooling():
    random = np.random.RandomState(11)
    for x_shape, y_shape, size, strides, low, high, dilations in [
            ((1, 2, 7), (1, 2, 3), [3], [2], [0], [0], [1]),
            ((2, 1, 4, 5), (2, 1, 3, 3), [2, 3], [2, 2], [1, 1], [1, 1], [1, 1]),
            ((1, 1, 6, 5), (1, 1, 4, 2), [2, 2], [1, 1], [0, 0], [0, 0], [2, 3]),
            ((1, 1, 3, 4, 3), (1, 1, 2, 2, 2), [2, 2, 2], [1, 2, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1])]:
        x = random.randint(0, 5, x_shape) / 2  # ties on purpose
        dy, values = random.randint(-8, 9, y_shape) / 4, random.randint(-8, 9, x_shape) / 4
        windows = dict(strides=strides, pad_low=low, pad_high=high, dilations=dilations)
        best, dx, chosen = np.zeros(y_shape), np.zeros(x_shape), np.zeros(y_shape)
        mean = {True: np.zeros(y_shape), False: np.zeros(y_shape)}
        dmean = {True: np.zeros(x_shape), False: np.zeros(x_shape)}
        for n, c in np.ndindex(*y_shape[:2]):
            for y in np.ndindex(*y_shape[2:]):
                held = [(n, c) + at for _, at in places(y, size, strides, low, dilations) if inside(at, x_shape[2:])]
                at = (n, c) + y
                first = max(held, key=lambda p: x[p])
                best[at], chosen[at] = x[first], values[first]
                dx[first] += dy[at]
                for counting in (True, False):
                    count = math.prod(size) if counting else len(held)
                    mean[counting][at] = sum(x[p] for p in held) / count
                    for p in held:
                        dmean[counting][p] += dy[at] / count
        case("max_pool", [x], [best], size=size, **windows)
        case("max_pool_gradient", [x, dy], [dx], size=size, **windows)
        case("max_pool_select", [x, values], [chosen], size=size, **windows)
        for counting in (True, False):
            case("average_pool", [x], [mean[counting]], size=size, **windows, count_padding=counting)
            case("average_pool_gradient", [dy], [dmean[counting]], size=size, **windows, count_padding=counting,
                 extents=list(x_shape[2:]))
    case("max_pool", [f64([[[1, NAN, 2, 3]]])], [f64([[[NAN, 3]]])], size=[2], strides=[2], pad_low=[0], pad_high=[0],
         dilations=[1])
    case("max_pool", [np.array([[[-100, -128]]], np.int8)], [np.array([[[-100, -100, -128]]], np.int8)], size=[2],
         strides=[1], pad_low=[1], pad_high=[1], dilations=[1])


# --- networks ---------------------------------------------------------------------------------------------------------
def networks():
    x = f64([[0.5, -1.25, 3.0], [1000.0, 1001.0, -1000.0]])
    e = np.exp(x - x.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    case("softmax", [x], [p], axis=1)
    case("softmax", [x.T.copy()], [p.T], axis=0)
    log_p = x - x.max(1, keepdims=True) - np.log(e.sum(1, keepdims=True))
    case("log_softmax", [x], [log_p], axis=1)
    lse = x.max(1) + np.log(e.sum(1))
    case("cross_entropy", [x, np.array([2, 1], np.int64)], [f64([-log_p[0, 2], -log_p[1, 1]]), lse])


# y = (x - mean) rstd scale + bias. `rows` maps x to rows that are normalized together, `per_parameter` says which
# parameter each element of such a row has.
def norm(op, x, rows, parameter_shape, spread, statistics, variance, **attributes):
    """rows(x): [rows, n]; spread(p): a parameter seen as x."""
    random = np.random.RandomState(5)
    epsilon = attributes["epsilon"]
    scale, bias = random.randint(1, 9, parameter_shape) / 4, random.randint(-8, 9, parameter_shape) / 4
    dy = random.randint(-8, 9, x.shape) / 4
    places_of = rows(np.arange(x.size).reshape(x.shape))
    flat = x.reshape(-1)
    normal, mean, var, rstd = np.zeros(x.size), [], [], []
    dx = np.zeros(x.size)
    g = (dy * spread(scale)).reshape(-1)
    for row in places_of:
        m = sum(flat[row]) / len(row)
        v = sum((flat[row] - m)**2) / len(row)
        r = 1 / math.sqrt(v + epsilon)
        normal[row] = (flat[row] - m) * r
        mean, var, rstd = mean + [m], var + [v], rstd + [r]
        # The whole Jacobian: d normal_i / d x_j = r (delta_ij - 1/n - normal_i normal_j / n).
        n = len(row)
        jacobian = r * (np.eye(n) - 1 / n - np.outer(normal[row], normal[row]) / n)
        dx[row] = jacobian.T @ g[row]
    normal, dx = normal.reshape(x.shape), dx.reshape(x.shape)
    mean, var, rstd = (f64(v).reshape(statistics) for v in (mean, var, rstd))
    residuals = [mean, var, rstd] if variance else [mean, rstd]
    case(op, [x], [normal] + residuals, **attributes)
    case(op, [x, scale, bias], [normal * spread(scale) + spread(bias)] + residuals, **attributes)
    owner = spread(np.arange(math.prod(parameter_shape)).reshape(parameter_shape)) + np.zeros(x.shape, int)
    per = lambda terms: np.bincount(owner.reshape(-1), terms.reshape(-1)).reshape(parameter_shape)
    case(op + "_gradient", [dy, x, mean, rstd, scale], [dx, per(dy * normal), per(dy)], **attributes)
    return scale, bias, mean, var


def norms():
    random = np.random.RandomState(13)
    x = random.randint(-16, 17, (2, 4, 3)) / 4
    channel = lambda p: p.reshape(1, -1, 1)
    scale, bias, mean, var = norm("batch_norm", x, lambda v: v.transpose(1, 0, 2).reshape(4, -1), (4,), channel, (4,),
                                  True, epsilon=1e-3)
    y = (x - channel(mean)) / np.sqrt(channel(var) + 1e-3)
    case("batch_norm_inference", [x, mean, var], [y], epsilon=1e-3)
    case("batch_norm_inference", [x, mean, var, scale, bias], [y * channel(scale) + channel(bias)], epsilon=1e-3)
    norm("layer_norm", x, lambda v: v.reshape(8, 3), (3,), lambda p: p, (2, 4, 1), False, axis=2, epsilon=1e-3)
    norm("layer_norm", x, lambda v: v.reshape(2, 12), (4, 3), lambda p: p, (2, 1, 1), False, axis=1, epsilon=1e-3)
    norm("group_norm", x, lambda v: v.reshape(4, 6), (4,), channel, (2, 2), False, groups=2, epsilon=1e-3)


# --- random numbers ---------------------------------------------------------------------------------------------------
def philox(counter, key):
    """Philox4x32-10, from the paper (Salmon et al., SC 2011)."""
    counter, key = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        low = 2**32 - 1
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & low, (a >> 32) ^ counter[3] ^ key[1], a & low]
        key = [(key[0] + 0x9E3779B9) & low, (key[1] + 0xBB67AE85) & low]
    return counter


# The known answers of the authors' Random123 library.
assert philox([0] * 4, [0] * 2) == [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]
assert philox([2**32 - 1] * 4, [2**32 - 1] * 2) == [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
assert philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
              [0xa4093822, 0x299f31d0]) == [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]


def bits(key, counter, count):
    words = []
    for block in range((count + 3) // 4):
        at = (counter + block) % 2**64
        words += philox([at % 2**32, at >> 32, 0, 0], [key % 2**32, key >> 32])
    return words[:count], np.array([key, (counter + (count + 3) // 4) % 2**64], np.uint64)


def random_numbers():
    states = [(0, 0), (0x299f31d0a4093822, 2**64 - 1), (42, 2**32 - 1)]
    for key, counter in states:
        state = np.array([key, counter], np.uint64)
        words, after = bits(key, counter, 7)
        case("random_bits", [state], [np.array(words, np.uint32), after], shape=[7])
        case("random_uniform", [state], [np.array([(w >> 8) / 2**24 for w in words], np.float32), after], dtype="f32",
             shape=[7])
        case("random_uniform", [state], [np.array([(w >> 21) / 2**11 for w in words], np.float16), after], dtype="f16",
             shape=[7])
        words, after = bits(key, counter, 10)
        doubles = [((words[2 * i + 1] << 32 | words[2 * i]) >> 11) / 2**53 for i in range(5)]
        case("random_uniform", [state], [f64(doubles), after], dtype="f64", shape=[5])
        words, after = bits(key, counter, 12)
        u = [((words[2 * i + 1] << 32 | words[2 * i]) >> 11) / 2**53 for i in range(6)]
        radius = [math.sqrt(-2 * math.log(1 - v)) for v in u[:3]]
        normal = [r * math.cos(2 * math.pi * v) for r, v in zip(radius, u[3:])]
        normal += [r * math.sin(2 * math.pi * v) for r, v in zip(radius, u[3:])]
        case("random_normal", [state], [f64(normal[:5]), after], dtype="f64", shape=[5])
        words, after = bits(key, counter, 6)
        mask = np.array([(w >> 8) / 2**24 >= 0.25 for w in words])
        x = f64([1, -2, 3, -4, 5, -6])
        case("dropout", [x, state], [np.where(mask, x / 0.75, 0), mask, after], rate=0.25)
        words, after = bits(key, counter, 6)
        case("dropout", [x, state], [np.zeros(6), np.zeros(6, bool), after], rate=1.0)


# --- sequences --------------------------------------------------------------------------------------------------------
def attend(q, k, v, bias, seen, scale, softcap):
    """One query at a time, over the keys that it sees."""
    y, logs = np.zeros(q.shape[:3] + v.shape[3:]), np.full(q.shape[:3], -INF)
    group = q.shape[1] // k.shape[1]
    for b, h, i in np.ndindex(*q.shape[:3]):
        scores = {}
        for j in range(k.shape[2]):
            if not seen(b, h, i, j):
                continue
            s = scale * float(q[b, h, i] @ k[b, h // group, j])
            scores[j] = (softcap * math.tanh(s / softcap) if softcap else s) + (bias[b, h, i, j] if bias is not None else 0)
        total = sum(math.exp(s) for s in scores.values())
        if total > 0:
            logs[b, h, i] = math.log(total)
            y[b, h, i] = sum(math.exp(s) / total * v[b, h // group, j] for j, s in scores.items())
    return y, logs


def attentions():
    random = np.random.RandomState(7)
    draw = lambda *shape: random.randint(-8, 9, shape) / 4
    q, k, v, few_k, few_v = draw(2, 4, 3, 2), draw(2, 4, 5, 2), draw(2, 4, 5, 3), draw(2, 2, 5, 2), draw(2, 2, 5, 3)
    everything = lambda b, h, i, j: True
    wide = lambda x: np.broadcast_to(x, (2, 4, 3, 5))
    plain = dict(scale=0.5, softcap=0.0)
    case("attention", [q, k, v], attend(q, k, v, None, everything, 0.5, 0), **plain, causal=False)
    case("attention", [q, few_k, few_v], attend(q, few_k, few_v, None, everything, 0.5, 1.5), scale=0.5, softcap=1.5,
         causal=False)
    case("attention", [q, few_k, few_v], attend(q, few_k, few_v, None, lambda b, h, i, j: j <= i + 2, 0.5, 0), **plain,
         causal=True)
    bias = draw(4, 3, 1)
    case("attention", [q, k, v, bias], attend(q, k, v, wide(bias), everything, 0.5, 2), scale=0.5, softcap=2.0,
         causal=False)
    hiding = draw(3, 5)
    hiding[0, :3] = hiding[1] = -INF
    case("attention", [q, k, v, hiding], attend(q, k, v, wide(hiding), everything, 0.5, 0), **plain, causal=False)
    mask = np.array([[0, 1, 1, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    case("attention", [q, k, v, mask], attend(q, k, v, None, lambda b, h, i, j: mask[i, j], 0.5, 0), **plain,
         causal=False)
    for dtype, count in itertools.product((np.int32, np.int64), ([4, 0], [-3, 9], [1, 2])):
        counts = np.array(count, dtype)
        case("attention", [q, k, v, counts], attend(q, k, v, None, lambda b, h, i, j: j < count[b], 0.5, 0), **plain,
             causal=False)
        end = np.maximum(count, 0)
        case("attention", [q, k, v, bias, counts],
             attend(q, k, v, wide(bias), lambda b, h, i, j: j <= end[b] - 3 + i, 0.5, 0), **plain, causal=True)


def recurrences():
    random = np.random.RandomState(11)
    draw = lambda *shape: random.randint(-8, 9, shape) / 8
    sigmoid = lambda x: 1 / (1 + np.exp(-x))

    def lstm(x, r, states, _):
        h, c = states
        i, o, f, g = np.split(x + r @ h, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    def gru(x, r, states, bias):
        (h,) = states
        n = len(h)
        z, reset = sigmoid(x[:n] + r[:n] @ h), sigmoid(x[n:2 * n] + r[n:2 * n] @ h)
        memory = r[2 * n:] @ (reset * h) if bias is None else reset * (r[2 * n:] @ h + bias)
        return ((1 - z) * np.tanh(x[2 * n:] + memory) + z * h,)

    steps, batch, hidden = 3, 2, 2
    for op, cell, gates, count in (("lstm", lstm, 4, 2), ("gru", gru, 3, 1)):
        for directions, reverse, biased, lengths in itertools.product((1, 2), (False, True), (False, True),
                                                                      (None, [2, 0], [5, -1])):
            if (directions == 2 and reverse) or (biased and op == "lstm"):
                continue
            x, r = draw(steps, batch, directions, gates * hidden), draw(directions, gates * hidden, hidden)
            states, bias = [draw(directions, batch, hidden) for _ in range(count)], draw(directions, hidden)
            y, after = np.zeros((steps, batch, directions, hidden)), [s.copy() for s in states]
            for d, b in np.ndindex(directions, batch):
                turns = range(steps) if lengths is None else range(min(max(lengths[b], 0), steps))
                for t in reversed(turns) if reverse or d == 1 else turns:
                    now = cell(x[t, b, d], r[d], [s[d, b] for s in after], bias[d] if biased else None)
                    y[t, b, d] = now[0]
                    for s, value in zip(after, now):
                        s[d, b] = value
            optional = ([bias] if biased else []) + ([np.array(lengths, np.int64)] if lengths else [])
            case(op, [x, r] + states + optional, [y] + after, reverse=reverse)


# --- optimizers -------------------------------------------------------------------------------------------------------
def optimizers():
    w, g, v = f64([1, -2, 0.5]), f64([0.25, -0.5, 3]), f64([0.125, 0, -1])
    for nesterov, decay in itertools.product((False, True), (0.0, 0.125)):
        total = g + decay * w
        velocity = 0.875 * v + total
        step = total + 0.875 * velocity if nesterov else velocity
        case("sgd_momentum_update", [w, g, v, f64(0.5)], [w - 0.5 * step, velocity], momentum=0.875,
             weight_decay=decay, nesterov=nesterov)
    m, s = f64([0.5, -0.25, 0]), f64([0.25, 0, 4])
    for decoupled, decay in itertools.product((False, True), (0.0, 0.125)):
        rate, step, beta1, beta2 = 0.0625, 3, 0.875, 0.96875
        parameter = w * (1 - rate * decay) if decoupled else w
        total = g if decoupled else g + decay * w
        first, second = beta1 * m + (1 - beta1) * total, beta2 * s + (1 - beta2) * total**2
        corrected = np.sqrt(second / (1 - beta2**step)) + 1e-8
        parameter = parameter - rate * (first / (1 - beta1**step)) / corrected
        case("adam_update", [w, g, m, s, f64(rate), np.int64(step)], [parameter, first, second], beta1=beta1,
             beta2=beta2, epsilon=1e-8, weight_decay=decay, decoupled=decoupled)


# --- shape arithmetic -------------------------------------------------------------------------------------------------
def dynamic():
    x = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    case("shape_of", [x], [np.array([2, 3, 4])])
    case("reshape_to", [x, Known([0, -1])], [x.reshape(2, 12)], allow_zero=False)
    case("reshape_to", [x[:, :0], Known([0, 5])], [np.zeros((0, 5), np.int32)], allow_zero=True)
    case("expand_to", [x[:, :1], Known([3, 1])], [np.broadcast_to(x[:, :1], (2, 3, 4))])
    case("slice_by", [x, Known([-1, 0]), Known([-5, 9]), Known([-2, 3])], [x[:, ::-2, ::3]], axes=[1, 2])
    case("slice_by", [x, Known([5]), Known([-2**63]), Known([-1])], [x[::-1]], axes=[0])
    case("transpose_by", [x, Known([2, -3, 1])], [x.transpose(2, 0, 1)])


# --- quantization -----------------------------------------------------------------------------------------------------
def quantization():
    x = f64([[0.0, 0.5, 1.5, 2.5, -0.5], [100.0, -100.0, 1e9, NAN, 3.2]])
    scale = f64([0.5, 2.0])

    def integers(values, low, high):
        return [[0 if math.isnan(v) else int(min(max(v, low), high)) for v in row] for row in values]

    by_row = np.rint(x / scale[:, None])
    case("quantize", [x, f64(0.75), np.uint8(128)],
         [np.array(integers(np.rint(x / 0.75) + 128, 0, 255), np.uint8)], dtype="u8", axis=0, block=0, saturate=True)
    case("quantize", [x, scale, np.array([-3, 4], np.int8)],
         [np.array(integers(by_row + [[-3], [4]], -128, 127), np.int8)], dtype="i8", axis=0, block=0, saturate=True)
    case("quantize", [x, scale], [Narrow("i4", integers(by_row, -8, 7))], dtype="i4", axis=0, block=0, saturate=True)
    # Two scales for five elements: the first is for three of them.
    blocks = f64([[1, 2], [4, 0.25]])
    spread = np.repeat(blocks, 3, axis=1)[:, :5]
    case("quantize", [x, blocks, np.array([[1, 2], [3, 4]], np.uint16)],
         [np.array(integers(np.rint(x / spread) + np.repeat([[1, 2], [3, 4]], 3, axis=1)[:, :5], 0, 65535), np.uint16)],
         dtype="u16", axis=1, block=3, saturate=True)
    floats = f64([0.3, -500.0, 1e9, NAN, -INF, 17.0])
    for name, largest in (("f8e4m3fn", 448.0), ("f4e2m1", 6.0)):
        clipped = [to_narrow(name, min(max(v / 2, -largest), largest) if v == v else v) for v in floats]
        case("quantize", [floats, f64(2.0)], [Narrow(name, clipped)], dtype=name, axis=0, block=0, saturate=True)
    case("quantize", [floats, f64(2.0)], [Narrow("f8e5m2", [to_narrow("f8e5m2", v / 2) for v in floats])],
         dtype="f8e5m2", axis=0, block=0, saturate=False)

    q = np.array([[0, 255, 128], [1, 2, 130]], np.uint8)
    case("dequantize", [q, f64(0.5), np.uint8(128)], [(q.astype(np.float64) - 128) * 0.5], axis=0, block=0)
    case("dequantize", [q, f64([1.0, 2.0, 3.0])], [q * f64([1.0, 2.0, 3.0])], axis=1, block=0)
    case("dequantize", [q, f64([[1.0, 2.0], [3.0, 4.0]]), np.array([[1, 2], [3, 4]], np.uint8)],
         [(q.astype(np.float64) - [[1, 1, 2], [3, 3, 4]]) * f64([[1, 1, 2], [3, 3, 4]])], axis=1, block=2)
    case("dequantize", [np.array([-2**31, 7], np.int32), f64(0.25)], [f64([-2**29, 1.75])], axis=0, block=0)
    case("dequantize", [Narrow("f8e4m3fn", [448, -0.5, NAN]), f64(3)], [f64([1344, -1.5, NAN])], axis=0, block=0)
    case("dequantize", [Narrow("i2", [-2, -1, 0, 1]), f64(3), Narrow("i2", 1)], [f64([-9, -6, -3, 0])], axis=0, block=0)


if __name__ == "__main__":
    for family in (elementwise, reductions, movement, bit_casts, fourier, indexing, detection, convolutions, matmuls, pooling,
                   networks, norms, attentions, recurrences, random_numbers, optimizers, dynamic, quantization):
        family()
