#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times the kernels of a CUDA library, beside PyTorch's where it is installed.

  bench/cuda/kernels.py LIBRARY --rows FILE [--seconds N] [--quick]

Writes a line of JSON per row, the most important rows first, and none after N seconds; cuda/check
makes a table of them. --quick takes the first shape of each kind. Where the library works on no
device, as the simulator's does, sizes are tiny and the times mean nothing. Figures count a matrix
product as 2 m n k; attention as 4 batch heads queries keys size (half of it if causal), its
backward as 2.5 times that; fast weights as products in chunks of 64, the backward likewise; a read
of the nearest slots as its scores alone; feedback memory as its weights, read once a step;
cross-entropy as its products alone (2 rows classes width, the backward twice that); everything else
as its inputs read once and its outputs written once. Peaks are measured in the same run: a copy of
1 GiB, and cuBLAS on 8192^3.
"""
import argparse
import os
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import measure  # noqa: E402
import ponder  # noqa: E402
from attention import attention, masks  # noqa: E402
from measure import gradients, leaves, torch  # noqa: E402
from memory import fast_weights, feedback, recurrent, sampling, top_k_read  # noqa: E402

if torch:
    import torch.nn.functional as F


# ---- peaks and products -------------------------------------------------------------------------


def peaks(bench):
    count = bench.size(256 << 20)
    x, y = bench.numbers((count,), "F32"), bench.empty((count,), "F32")
    row = bench.row("copy", f"{x.bytes >> 20} MiB", "F32", (2 * x.bytes, "GB/s"),
                    lambda: bench.library.copy(y, x, x.bytes),
                    {"PyTorch": lambda: lambda: y.tensor.copy_(x.tensor)}, [y])
    if row:
        bench.peaks["GB/s"] = max([row["ours"], *row["rivals"].values()])
    bench.release()
    for dtype, n in (("BF16", 8192), ("F32", 8192), ("F64", 4096)) if torch else ():
        n = bench.size(n)
        a, b = bench.numbers((n, n), dtype), bench.numbers((n, n), dtype)
        with_cublas = bench.in_turn({"cuBLAS": lambda: torch.matmul(a.tensor, b.tensor)})
        bench.peaks[f"TFLOP/s {dtype}"] = 2 * n**3 / with_cublas["cuBLAS"][0] / 1e12
        bench.release()
    bench.write(peaks=bench.peaks)


PRODUCTS = [  # dtype, rows, cols, inner, a transposed, b transposed
    ("BF16", 8192, 8192, 8192, 0, 0), ("F32", 4096, 4096, 4096, 0, 1),
    ("F64", 4096, 4096, 4096, 0, 0), ("BF16", 4096, 4096, 4096, 0, 1),
    ("BF16", 4096, 4096, 4096, 1, 0), ("BF16", 2048, 768, 3072, 0, 1),
    ("F32", 4096, 4096, 4096, 1, 0), ("F32", 2048, 768, 3072, 0, 1), ("F32", 512, 512, 512, 0, 0)]


def matmul(bench):
    for dtype, rows, cols, inner, turn_a, turn_b in bench.some(PRODUCTS):
        rows, cols, inner = map(bench.size, (rows, cols, inner))
        a = bench.numbers((inner, rows) if turn_a else (rows, inner), dtype)
        b = bench.numbers((cols, inner) if turn_b else (inner, cols), dtype)
        y = bench.empty((rows, cols), dtype)

        def rival():
            left = a.tensor.t() if turn_a else a.tensor
            right = b.tensor.t() if turn_b else b.tensor
            return lambda: torch.matmul(left, right)

        bench.row(f"matmul {'NT'[turn_a]}{'NT'[turn_b]}", f"{rows} x {cols} x {inner}", dtype,
                  (2 * rows * cols * inner, "TFLOP/s"),
                  lambda: bench.library.matmul(bench.dtype(dtype), y, a, b, 1, rows, cols, inner,
                                               turn_a, turn_b),
                  {"cuBLAS": rival}, [y], ("ratio", 0.95))
        bench.release()


# ---- what fuses around them ---------------------------------------------------------------------

LOSSES = [("F32", 8192, 32768, 1024, (None, None)), ("BF16", 8192, 32768, 1024, (600, 550))]


def cross_entropy(bench):
    for dtype, rows, classes, width, target in bench.some(LOSSES):
        rows, classes, width = map(bench.size, (rows, classes, width))
        x, weight = bench.numbers((rows, width), dtype), bench.numbers((classes, width), dtype, -4)
        labels, dloss = bench.indices((rows,), classes), bench.numbers((rows,), dtype)
        loss, lse = bench.empty((rows,), dtype), bench.empty((rows,), dtype)
        dx, dweight = bench.empty(x.shape, dtype), bench.empty(weight.shape, dtype)
        text = f"rows {rows}, classes {classes}, width {width}"

        def forward():
            bench.library.cross_entropy(bench.dtype(dtype), loss, lse, x, weight, labels, rows,
                                        classes, width)

        def backward():
            bench.library.cross_entropy_backward(bench.dtype(dtype), dx, dweight, dloss, x, weight,
                                                 labels, lse, rows, classes, width)

        def losses(compiled):
            def mean(x, weight, labels):
                return F.cross_entropy(x @ weight.t(), labels, reduction="none")

            return torch.compile(mean, dynamic=False) if compiled else mean

        def rivals(backwards):
            def make(compiled):
                inputs = leaves(x, weight) if backwards else [x.tensor, weight.tensor]
                run, where = losses(compiled), labels.tensor.long()
                if backwards:
                    return gradients(lambda: run(*inputs, where), inputs, dloss.tensor)
                return lambda: run(*inputs, where)

            return {"PyTorch": lambda: make(False), "torch.compile": lambda: make(True)}

        product = 2 * rows * classes * width
        bench.row("cross_entropy", text, dtype, (product, "TFLOP/s"), forward, rivals(False),
                  [loss], target[0])
        bench.row("cross_entropy_backward", text, dtype, (2 * product, "TFLOP/s"), backward,
                  rivals(True), [dx, dweight], target[1])
        bench.release()


def optimisers(bench):
    n, dtype = bench.size(64 << 20), "F32"
    parameter, first, gradient = (bench.numbers((n,), dtype) for _ in range(3))
    second = bench.numbers((n,), dtype, positive=True)
    rate, scale = bench.constant(dtype, 1e-3), bench.constant(dtype, 1.0)
    step = bench.constant("I32", 10)

    def rival(optimiser):
        def make():
            other = parameter.tensor.clone()
            other.grad = gradient.tensor
            return optimiser(other).step

        return {"PyTorch fused": make}

    bench.row("adamw", f"{n}", dtype, (7 * parameter.bytes, "GB/s"),
              lambda: bench.library.adamw(bench.dtype(dtype), parameter, first, second, gradient,
                                          rate, step, scale, n, 0.9, 0.999, 1e-8, 0.01),
              rival(lambda x: torch.optim.AdamW([x], 1e-3, weight_decay=0.01, fused=True)),
              target=("share", 0.9))
    bench.row("sgd", f"{n}", dtype, (5 * parameter.bytes, "GB/s"),
              lambda: bench.library.sgd(bench.dtype(dtype), parameter, first, gradient, rate, scale,
                                        n, 0.9, 0.01),
              rival(lambda x: torch.optim.SGD([x], 1e-3, momentum=0.9, weight_decay=0.01,
                                              fused=True)), target=("share", 0.9))
    bench.release()


def rows(bench):
    """Norms, softmax and sums over rows."""
    lib, dtype = bench.library, "F32"
    count, cols = bench.size(32768), bench.size(1024)
    kind, text = bench.dtype(dtype), f"{count} x {cols}"
    x, dy = bench.numbers((count, cols), dtype), bench.numbers((count, cols), dtype)
    y, dx = bench.empty(x.shape, dtype), bench.empty(x.shape, dtype)
    gain, bias = bench.numbers((cols,), dtype), bench.numbers((cols,), dtype)
    dgain, dbias = bench.empty((cols,), dtype), bench.empty((cols,), dtype)
    mean, scale = bench.empty((count,), dtype), bench.empty((count,), dtype)

    def rival(forward, *parameters):
        return {"PyTorch": lambda: lambda: forward(x.tensor, *(p.tensor for p in parameters)),
                "torch.compile": lambda: compiled_forward(forward, parameters)}

    def compiled_forward(forward, parameters):
        run = torch.compile(forward, dynamic=False)
        return lambda: run(x.tensor, *(p.tensor for p in parameters))

    def backward_rival(forward, *parameters):
        def make():
            inputs = leaves(x, *parameters)
            return gradients(lambda: forward(*inputs), inputs, dy.tensor)

        return {"PyTorch": make}

    def norm(x, gain, bias):
        return F.layer_norm(x, (cols,), gain, bias, 1e-5)

    def rms(x, gain):
        return F.rms_norm(x, (cols,), gain, 1e-5)

    def softmax(x):
        return F.softmax(x, -1)

    def row(kernel, arrays, run, rivals, outputs):
        bench.row(kernel, text, dtype, (arrays * x.bytes, "GB/s"), run, rivals, outputs)

    row("layer_norm", 2, lambda: lib.layer_norm(kind, y, mean, scale, x, gain, bias, count, cols,
                                                1e-5), rival(norm, gain, bias), [y])
    row("layer_norm_backward", 3,
        lambda: lib.layer_norm_backward(kind, dx, dgain, dbias, dy, x, gain, mean, scale, count,
                                        cols),
        backward_rival(norm, gain, bias), [dx, dgain, dbias])
    row("rms_norm", 2, lambda: lib.rms_norm(kind, y, scale, x, gain, count, cols, 1e-5),
        rival(rms, gain), [y])
    row("rms_norm_backward", 3,
        lambda: lib.rms_norm_backward(kind, dx, dgain, dy, x, gain, scale, count, cols),
        backward_rival(rms, gain), [dx, dgain])
    row("softmax", 2, lambda: lib.softmax(kind, y, x, count, cols), rival(softmax), [y])
    row("softmax_backward", 3, lambda: lib.softmax_backward(kind, dx, dy, y, count, cols),
        backward_rival(softmax), [dx])
    row("sum", 1, lambda: lib.sum(kind, mean, x, count, cols, 1),
        rival(lambda x: torch.sum(x, -1)), [mean])
    bench.release()


def elements(bench):
    """Elements by themselves, moved, and drawn at random."""
    lib, dtype = bench.library, "F32"
    n, side = bench.size(64 << 20), bench.size(8192)
    kind = bench.dtype(dtype)
    a, b, y = bench.numbers((n,), dtype), bench.numbers((n,), dtype), bench.empty((n,), dtype)
    counter = bench.numbers((1,), "F64")  # eight bytes, whatever they are

    def row(kernel, arrays, run, forward, outputs):
        bench.row(kernel, f"{n}", dtype, (arrays * a.bytes, "GB/s"), run,
                  {"PyTorch": lambda: forward}, outputs)

    row("add", 3, lambda: lib.add(kind, y, a, b, 1, 1, n), lambda: a.tensor + b.tensor, [y])
    row("exp", 2, lambda: lib.exp(kind, y, a, n), lambda: torch.exp(a.tensor), [y])
    row("gelu", 2, lambda: lib.gelu(kind, y, a, n), lambda: F.gelu(a.tensor, approximate="tanh"),
        [y])
    row("gelu_backward", 3, lambda: lib.gelu_backward(kind, y, b, a, n),
        lambda: torch.ops.aten.gelu_backward(b.tensor, a.tensor, approximate="tanh"), [y])
    row("uniform", 1, lambda: lib.uniform(kind, y, counter, n, 0, 1),
        lambda: torch.rand(n, device=bench.torch_device), [None])
    bench.release()
    x, y = bench.numbers((side, side), dtype), bench.empty((side, side), dtype)
    bench.row("swap_axes", f"{side} x {side}", dtype, (2 * x.bytes, "GB/s"),
              lambda: lib.swap_axes(kind, y, x, 1, side, 1, side, 1),
              {"PyTorch": lambda: lambda: x.tensor.t().contiguous()}, [y])
    bench.release()


def index(bench):
    dtype = "F32"
    places, count, cols = map(bench.size, (32768, 65536, 1024))
    kind, text = bench.dtype(dtype), f"{count} of {places}, {cols} columns"
    table, which = bench.numbers((places, cols), dtype), bench.indices((count,), places)
    y = bench.empty((count, cols), dtype)
    bench.row("gather", text, dtype, (2 * y.bytes, "GB/s"),
              lambda: bench.library.gather(kind, y, table, which, count, places, cols),
              {"PyTorch": lambda: lambda: F.embedding(which.tensor, table.tensor)}, [y])
    x, total = bench.numbers(y.shape, dtype), bench.empty(table.shape, dtype)

    def scattered():
        return torch.zeros_like(total.tensor).index_add_(0, which.tensor, x.tensor)

    bench.row("scatter_add", text, dtype, (x.bytes + total.bytes, "GB/s"),
              lambda: bench.library.scatter_add(kind, total, x, which, count, places, cols),
              {"PyTorch": lambda: scattered}, [total])
    bench.release()


# ---- a step -------------------------------------------------------------------------------------


def step(bench):
    """Norm, two products with gelu between them, backward and AdamW, as one graph."""
    import ctypes
    lib, dtype = bench.library, "F32"
    kind = bench.dtype(dtype)
    count, width, wide = map(bench.size, (4096, 768, 3072))
    x, dy = bench.numbers((count, width), dtype), bench.numbers((count, width), dtype)
    gain, bias = bench.numbers((width,), dtype), bench.numbers((width,), dtype)
    up, down = (bench.numbers((wide, width), dtype, -5), bench.numbers((width, wide), dtype, -5))
    norm, y, dnorm, dx = (bench.empty(x.shape, dtype) for _ in range(4))
    inner, active, dinner, dactive = (bench.empty((count, wide), dtype) for _ in range(4))
    mean, scale = bench.empty((count,), dtype), bench.empty((count,), dtype)
    dgain, dbias = bench.empty((width,), dtype), bench.empty((width,), dtype)
    dup, ddown = bench.empty(up.shape, dtype), bench.empty(down.shape, dtype)
    moments = [bench.numbers(up.shape, dtype, -20, positive=True) for _ in range(4)]
    rate, one, at = (bench.constant(dtype, 1e-5), bench.constant(dtype, 1.0),
                     bench.constant("I32", 10))

    def product(to, a, b, rows, cols, inner, turn_a, turn_b):
        return lambda: lib.matmul(kind, to, a, b, 1, rows, cols, inner, turn_a, turn_b)

    def update(parameter, gradient, first, second):
        return lambda: lib.adamw(kind, parameter, first, second, gradient, rate, at, one,
                                 parameter.count, 0.9, 0.999, 1e-8, 0.01)

    calls = [
        lambda: lib.layer_norm(kind, norm, mean, scale, x, gain, bias, count, width, 1e-5),
        product(inner, norm, up, count, wide, width, 0, 1),
        lambda: lib.gelu(kind, active, inner, inner.count),
        product(y, active, down, count, width, wide, 0, 1),
        product(ddown, dy, active, width, wide, count, 1, 0),
        product(dactive, dy, down, count, wide, width, 0, 0),
        lambda: lib.gelu_backward(kind, dinner, dactive, inner, inner.count),
        product(dup, dinner, norm, wide, width, count, 1, 0),
        product(dnorm, dinner, up, count, width, wide, 0, 0),
        lambda: lib.layer_norm_backward(kind, dx, dgain, dbias, dnorm, x, gain, mean, scale, count,
                                        width),
        update(up, dup, *moments[:2]), update(down, ddown, *moments[2:])]

    def rival(compiled):
        inputs = leaves(x, gain, bias)
        weights = [w.tensor.clone().requires_grad_() for w in (up, down)]
        optimiser = torch.optim.AdamW(weights, 1e-5, weight_decay=0.01, fused=True)

        def forward(x, gain, bias, up, down):
            hidden = F.layer_norm(x, (width,), gain, bias, 1e-5) @ up.t()
            return F.gelu(hidden, approximate="tanh") @ down.t()

        run = torch.compile(forward, dynamic=False) if compiled else forward

        def whole():
            found = torch.autograd.grad(run(*inputs, *weights), inputs + weights, dy.tensor)
            for weight, gradient in zip(weights, found[3:]):
                weight.grad = gradient
            optimiser.step()

        return whole

    text = f"rows {count}, width {width}, inner {wide}"
    if bench.spent("graph of a step", text):
        return
    for call in calls:
        call()
    graph = ctypes.c_void_p()
    lib.synchronize()
    lib.record()
    for call in calls:
        call()
    lib.recorded(ctypes.byref(graph))
    flops = 6 * 2 * count * width * wide
    bench.row("graph of a step", text, dtype, (flops, "TFLOP/s"), lambda: lib.launch(graph),
              {"PyTorch": lambda: rival(False), "torch.compile": lambda: rival(True)})
    alone = statistics.median(sum(bench.clock.between(calls, bench.flush))
                              for _ in range(1 if bench.tiny else 9))
    times = bench.in_turn({"ours": lambda: lib.launch(graph)})
    bench.judge("graph of a step, over its calls", text, dtype, (alone, "x"), times, 1.15)
    lib.release_graph(graph)
    bench.release()


SECTIONS = [peaks, attention, matmul, masks, recurrent, fast_weights, sampling, top_k_read,
            feedback, optimisers, cross_entropy, rows, index, elements, step]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--rows", required=True, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=600, metavar="N")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    os.environ["PONDER_CUBLASLT"] = "0"  # ours alone: cuBLAS is a rival
    with open(options.rows, "w", encoding="utf-8") as file:
        try:
            library = ponder.Library(options.library)
        except (OSError, ponder.Refused) as error:
            sys.exit(f"{options.library}: {error}")
        bench = measure.Bench(library, file, options.seconds, options.quick)
        versions = {"library": bench.library.name()}
        if torch:
            versions["torch"] = torch.__version__
        bench.write(versions=versions)
        for section in SECTIONS:
            if bench.spent(section.__name__, ""):
                continue
            try:
                section(bench)
            except Exception as error:  # the next section may hold
                bench.write(kernel=section.__name__, shape="", result="failed",
                            note=f"{type(error).__name__}: {error}"[:300])
                try:
                    bench.release()
                except ponder.Refused:
                    break  # the device has failed


if __name__ == "__main__":
    main()
