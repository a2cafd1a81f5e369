# SPDX-License-Identifier: Apache-2.0
"""What kernels.py times of recurrent memory and of mask sampling."""
from measure import torch

# ---- recurrent memory ---------------------------------------------------------------------------

SCANS = [  # cell, dtype, batch, steps, width; the targets forward and both ways in us/step
    ("gru", "F32", 16, 512, 768, (1.5, 4)), ("gru", "BF16", 16, 512, 768, (1.5, 4)),
    ("gru", "F32", 64, 64, 256, (None, None)), ("gru", "F32", 1, 512, 256, (None, None)),
    ("lstm", "F32", 16, 512, 768, (None, None)), ("lstm", "BF16", 16, 512, 768, (None, None))]


def recurrent(bench):
    """Scans of GRU and LSTM, whose gates are three and four, beside PyTorch's layers."""
    lib = bench.library
    for cell, dtype, batch, steps, width, target in bench.some(SCANS):
        batch, steps, width = map(bench.size, (batch, steps, width))
        gates, with_cell = (4, True) if cell == "lstm" else (3, False)
        x = bench.numbers((batch, steps, width), dtype)
        w_in, w = (bench.numbers((gates * width, width), dtype, -5) for _ in range(2))
        sums = "F32" if dtype == "BF16" else dtype
        bias = bench.numbers((gates * width,), sums, -3)
        initial = bench.numbers((batch, width), dtype)
        first_cell = bench.numbers((batch, width), sums)
        products = bench.empty((batch, steps, gates, width), dtype)
        hidden, kept = bench.empty(x.shape, dtype), bench.empty((batch, steps, 4, width), dtype)
        cells = bench.empty(x.shape, sums)
        dhidden, dx = bench.numbers(x.shape, dtype), bench.empty(x.shape, dtype)
        dproducts, dw_in = bench.empty(products.shape, dtype), bench.empty(w_in.shape, dtype)
        dw, dbias = bench.empty(w.shape, dtype), bench.empty(bias.shape, sums)
        dinitial, dfirst_cell = bench.empty(initial.shape, dtype), bench.empty(initial.shape, sums)
        rows, cols, kind = batch * steps, gates * width, bench.dtype(dtype)

        def multiply():
            lib.matmul(kind, products, x, w_in, 1, rows, cols, width, 0, 1)

        def forward():
            if with_cell:
                lib.lstm(kind, hidden, cells, kept, products, w, bias, initial, first_cell, None,
                         None, batch, steps, width)
            else:
                lib.gru(kind, hidden, kept, products, w, bias, initial, None, None, batch, steps,
                        width)

        def backward():
            if with_cell:
                lib.lstm_backward(kind, dproducts, dw, dbias, dinitial, dfirst_cell, dhidden, None,
                                  w, initial, first_cell, hidden, cells, kept, None, None, batch,
                                  steps, width)
            else:
                lib.gru_backward(kind, dproducts, dw, dbias, dinitial, dhidden, w, initial, hidden,
                                 kept, None, None, batch, steps, width)

        def whole():
            multiply()
            forward()
            backward()
            lib.matmul(kind, dx, dproducts, w_in, 1, rows, width, cols, 0, 0)
            lib.matmul(kind, dw_in, dproducts, x, 1, cols, width, rows, 1, 0)

        def rival(both):
            layer = torch.nn.LSTM if with_cell else torch.nn.GRU
            module = layer(width, width, batch_first=True, dtype=x.tensor.dtype,
                           device=bench.torch_device)
            with torch.no_grad():
                module.weight_ih_l0.copy_(w_in.tensor)
                module.weight_hh_l0.copy_(w.tensor)
                module.bias_ih_l0.zero_()
                module.bias_hh_l0.copy_(bias.tensor)
            module.flatten_parameters()
            states = [s.tensor.detach()[None].to(x.tensor.dtype).requires_grad_(both)
                      for s in ((initial, first_cell) if with_cell else (initial,))]
            start = tuple(states) if with_cell else states[0]
            inputs = x.tensor.detach().requires_grad_(both)
            wanted = [inputs, module.weight_ih_l0, module.weight_hh_l0, module.bias_hh_l0, *states]

            def run():
                if not both:
                    with torch.no_grad():
                        return module(inputs, start)[0]
                return torch.autograd.grad(module(inputs, start)[0], wanted, dhidden.tensor)

            return run

        def multiplied():
            multiply()
            forward()

        def both_ways():
            forward()
            backward()

        text, name = f"batch {batch}, steps {steps}, width {width}", f"nn.{cell.upper()}"
        # PyTorch rounds to bf16 what here are sums in f32.
        slopes = [dx, dw_in, dw, dbias if sums == dtype else None, dinitial]
        if with_cell:
            slopes.append(dfirst_cell if sums == dtype else None)
        bench.row(cell, text, dtype, (steps, "us/step"), forward, target=target[0])
        bench.row(f"{cell}, both ways", text, dtype, (steps, "us/step"), both_ways,
                  target=target[1])
        bench.row(f"matmul, {cell}", text, dtype, (steps, "us/step"), multiplied,
                  {name: lambda: rival(False)}, [hidden])
        bench.row(f"matmul, {cell}, both ways", text, dtype, (steps, "us/step"), whole,
                  {name: lambda: rival(True)}, slopes)
        bench.release()


MEMORIES = [  # dtype, rule, batch, heads, steps, keys, values, chunk; the target forward
    ("BF16", "gated delta", 4, 16, 8192, 128, 128, 64, 240),
    ("BF16", "delta", 4, 16, 8192, 128, 128, 64, 240),
    ("BF16", "plain", 4, 16, 8192, 128, 128, 64, 240),
    ("BF16", "plain", 8, 16, 4096, 64, 64, 64, None),
    ("BF16", "gated", 8, 16, 4096, 64, 64, 64, None),
    ("BF16", "delta", 8, 16, 4096, 64, 64, 64, None),
    ("BF16", "delta", 4, 16, 2048, 128, 128, 0, None),
    ("F32", "delta", 4, 16, 2048, 128, 128, 0, None)]


def fast_weights(bench):
    """Work is that of chunks of 64, whatever they are."""
    lib = bench.library
    for dtype, rule, batch, heads, steps, keys, values, chunk, target in bench.some(MEMORIES):
        batch, heads, steps, keys, values = map(bench.size, (batch, heads, steps, keys, values))
        sums = "F32" if dtype == "BF16" else dtype
        tokens = (batch, steps, heads)
        q, k = (bench.numbers((*tokens, keys), dtype, power) for power in (0, -4))
        v, out = bench.numbers((*tokens, values), dtype), bench.empty((*tokens, values), dtype)
        last = bench.empty((batch, heads, keys, values), sums)
        rate = bench.numbers(tokens, sums, -1, positive=True) if "delta" in rule else None
        decay = bench.numbers(tokens, sums, -1, positive=True) if "gated" in rule else None
        dout = bench.numbers(v.shape, dtype)
        dq, dk = (bench.empty(q.shape, dtype) for _ in range(2))
        dv = bench.empty(v.shape, dtype)
        drate, ddecay = (x and bench.empty(tokens, sums) for x in (rate, decay))
        sizes = batch, heads, steps, keys, values, 1

        def forward():
            lib.fast_weights(bench.dtype(dtype), out, last, q, k, v, decay, rate, None, None, None,
                             None, None, *sizes, chunk, 1.0, 0, 0)

        def backward():
            lib.fast_weights_backward(bench.dtype(dtype), dq, dk, dv, ddecay, drate, None, None,
                                      None, dout, None, q, k, v, decay, rate, None, None, None,
                                      None, None, *sizes, 1.0, 0, 0)

        cells, squares = keys * values, 64 * (keys + values)
        flops = batch * heads * steps * ((6 if rate else 4) * cells + (4 if rate else 2) * squares)
        text = (f"{rule}, batch {batch}, heads {heads}, steps {steps}, keys {keys}, "
                f"values {values}, chunk {chunk}")
        bench.row("fast_weights", text, dtype, (flops, "TFLOP/s"), forward, target=target)
        bench.row("fast_weights_backward", text, dtype, (2.5 * flops, "TFLOP/s"), backward)
        bench.release()


READS = [  # dtype, batch, queries, slots, size, count; the share of a product's peak
    ("F32", 1, 256, 65536, 64, 32, 0.6), ("F32", 16, 1024, 65536, 64, 32, 0.6)]


def top_k_read(bench):
    for dtype, batch, queries, slots, size, count, share in bench.some(READS):
        batch, queries, slots, size, count = map(bench.size, (batch, queries, slots, size, count))
        q = bench.numbers((batch, queries, size), dtype)
        keys, values = (bench.numbers((batch, slots, size), dtype) for _ in range(2))
        out, p = bench.empty(q.shape, dtype), bench.empty((batch, queries, count), dtype)
        places = bench.empty(p.shape, "I32")

        def read():
            bench.library.top_k_read(bench.dtype(dtype), out, p, places, q, keys, values, None,
                                     batch, queries, slots, size, size, count, -1, 0.125)

        def rival():
            def run():
                near = torch.topk(torch.matmul(q.tensor, keys.tensor.mT) * 0.125, count)
                rows = torch.gather(values.tensor, 1,
                                    near.indices.flatten(1)[..., None].expand(-1, -1, size))
                weights = torch.softmax(near.values, -1)
                return (weights[..., None] * rows.unflatten(1, (queries, count))).sum(2)

            return run

        bench.row("top_k_read",
                  f"batch {batch}, queries {queries}, slots {slots}, size {size}, count {count}",
                  dtype, (2 * batch * queries * slots * size, "TFLOP/s"), read, {"PyTorch": rival},
                  [out], ("share", share))
        bench.release()


FEEDBACK = [  # batch, steps, layers, width, heads
    (16, 64, 4, 256, 8), (1, 64, 4, 256, 8), (64, 64, 4, 512, 8)]


def feedback(bench):
    lib, dtype, kind = bench.library, "F32", bench.dtype("F32")
    for batch, steps, layers, width, heads in bench.some(FEEDBACK):
        batch, steps, layers, width = map(bench.size, (batch, steps, layers, width))
        heads = min(heads, width // 2)
        size, wide = width // heads, 4 * width

        def weight(*shape):
            return bench.numbers(shape, dtype, -4), bench.empty(shape, dtype)

        x, dx = weight(batch, steps, width)
        gains, dgains = zip(*(weight(layers, width) for _ in range(2)))
        query, dquery = weight(layers, width, width)
        mix, dmix = weight(layers, width, width)
        up, dup = weight(layers, width, wide)
        down, ddown = weight(layers, wide, width)
        share, dshare = weight(layers + 1)
        gain, dgain = weight(width)
        key, dkey = weight(width, width)
        value, dvalue = weight(width, width)
        states, dstates = (bench.empty((batch, steps, layers + 1, width), dtype),
                           bench.numbers((batch, steps, layers + 1, width), dtype))
        keys, values = (bench.empty((batch, steps, width), dtype) for _ in range(2))
        weights = (gains[0], query, mix, gains[1], up, down, share, gain, key, value)
        slopes = (dgains[0], dquery, dmix, dgains[1], dup, ddown, dshare, dgain, dkey, dvalue)
        sizes = (batch, steps, layers, width, wide, heads, heads, size, 0, 1, 0, 1e-5, 1e4)

        def forward():
            lib.feedback(kind, states, keys, values, x, None, None, *weights, None, None, None,
                         *sizes)

        def backward():
            lib.feedback_backward(kind, dx, None, None, *slopes, dstates, None, None, states, keys,
                                  values, None, None, *weights, None, None, None, *sizes)

        text = f"batch {batch}, steps {steps}, layers {layers}, width {width}, heads {heads}"
        read = steps * sum(w.bytes for w in weights)
        bench.row("feedback", text, dtype, (read, "GB/s"), forward)
        bench.row("feedback_backward", text, dtype, (read, "GB/s"), backward)
        bench.release()


# ---- mask sampling ------------------------------------------------------------------------------

CHOICES = [  # name, scheme, dtype, rows, length, k, rate; the target
    ("Gumbel", 2, "F32", 64, 1024, 0, 0.15, ("us", 6)),
    ("Bernoulli", 0, "F32", 65536, 1024, 0, 0.15, ("share", 0.6)),
    ("Gumbel", 2, "F32", 65536, 1024, 0, 0.15, ("share", 0.6)),
    ("Poisson", 1, "F32", 65536, 1024, 0, 0.15, ("share", 0.6)),
    ("conditional", 4, "F64", 16384, 128, 19, 0, None),
    ("candidates", 5, "F32", 4096, 1024, 0, 0.15, None)]


def sampling(bench):
    """Choice, inclusion, weights, corrupted tokens, labels and log-probability in one call."""
    lib = bench.library
    for name, scheme, dtype, rows, length, k, rate, target in bench.some(CHOICES):
        rows, length, k = map(bench.size, (rows, length, k))
        shape = (rows, length)
        logits, tokens = bench.numbers(shape, dtype), bench.indices(shape, 50000)
        log_probability = bench.empty((rows,), dtype)
        inclusion, weight = (bench.empty(shape, dtype) for _ in range(2))
        corrupted, label = (bench.empty(shape, "I32") for _ in range(2))
        step = bench.numbers((1,), "F64")  # eight bytes, whatever they are
        count = k or int(rate * length + 0.5)

        def choose():
            lib.mask(bench.dtype(dtype), log_probability, inclusion, weight, corrupted, label,
                     logits, tokens, None, step, rows, length, 50000, k, 4, 103, 1, rate, 0.5, 0.8,
                     0.1, scheme)

        def rival():
            def run():
                drawn = logits.tensor - torch.log(-torch.log(torch.rand_like(logits.tensor)))
                places = torch.topk(drawn, count).indices
                labels = torch.full_like(tokens.tensor, -1)
                labels.scatter_(1, places, tokens.tensor.gather(1, places))
                return torch.where(labels >= 0, 103, tokens.tensor), labels

            return run

        moved = 3 * logits.bytes + 3 * tokens.bytes
        kind, bound = target or (None, None)
        bench.row(f"mask, {name}", f"{rows} x {length}", dtype,
                  (1, "us/step") if kind == "us" else (moved, "GB/s"), choose,
                  {"random + top-k": rival} if name == "Gumbel" else {}, [None, None],
                  bound if kind == "us" else target)
        bench.release()
