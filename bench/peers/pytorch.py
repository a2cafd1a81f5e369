# SPDX-License-Identifier: Apache-2.0
"""Times PyTorch on one row of the suite's table.

Reads a request as JSON from the standard input: subject, type, sizes, threads, and how long to
measure. Writes the samples as JSON to the standard output: time of a run by the clock and by the
processor, and what disturbed it. One process times one row, as one fork of JMH does.
"""

import json
import os
import resource
import sys
import time


def steal_nanos():
    with open("/proc/stat") as stat:
        words = stat.readline().split()
    return int(words[8]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK") if len(words) > 8 else 0


def switches():
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def iteration(run, seconds):
    """Runs for so long, at least once, and returns the sample."""
    runs = 0
    before = switches(), steal_nanos(), time.process_time_ns()
    start = time.perf_counter_ns()
    while runs == 0 or time.perf_counter_ns() - start < seconds * 1e9:
        run()
        runs += 1
    wall = time.perf_counter_ns() - start
    return {
        "wall_nanos": wall / runs,
        "cpu_nanos": (time.process_time_ns() - before[2]) / runs,
        "seconds": wall * 1e-9,
        "switches": switches() - before[0],
        "steal_nanos": steal_nanos() - before[1],
    }


class Sizes(dict):
    """The sizes of a row by name."""

    def __call__(self, name, default=None):
        text = self.get(name, default)
        if text is None:
            raise SystemExit(f"the row has no {name}")
        return float(text) if isinstance(text, str) and set(text) & set(".e") else int(text)


# ---- ops: a function of tensors, its inputs, and those that a derivative is taken by -------------


def attention(torch, s, random):
    batch, heads, size = s("batch", 1), s("heads"), s("head_size")
    q = random(batch, heads, s("q_steps"), size)
    k = random(batch, s("kv_heads"), s("k_steps"), size)
    v = random(batch, s("kv_heads"), s("k_steps"), size)
    learned = [q, k, v]
    mask = None
    if s.get("mask") == "given":
        mask = random(s("mask_batch"), s("mask_heads"), s("mask_steps"), s("k_steps"))
        if "learned" in s:
            learned.append(mask)
    causal = s("causal") != 0
    if s("window", 0) > 0:  # which it knows as a mask only
        behind = torch.arange(s("q_steps"))[:, None] - torch.arange(s("k_steps"))
        mask, causal = (behind >= 0) & (behind < s("window")), False

    def run():
        return torch.nn.functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            is_causal=causal,
            scale=s("scale"),
            enable_gqa=s("kv_heads") < heads,
        )

    return run, learned


def matmul(torch, s, random):
    a_transposed, b_transposed = s("a_transposed", 0), s("b_transposed", 0)
    a = random(s("inner"), s("rows")) if a_transposed else random(s("rows"), s("inner"))
    b = random(s("cols"), s("inner")) if b_transposed else random(s("inner"), s("cols"))
    left, right = (a.T if a_transposed else a), (b.T if b_transposed else b)
    return lambda: left @ right, [a, b]


def recurrent(torch, kind, s, random):
    """A scan without its input's products, which ours finds done: those of one number a step."""
    if s.get("resets") == "given":
        raise SystemExit("PyTorch's scans know no resets")
    batch, steps, width = s("batch", 1), s("steps"), s("width")
    module = kind(1, width, batch_first=True).to(random(1).dtype)
    x, first = random(batch, steps, 1), random(1, batch, width)
    states = [first] if kind is torch.nn.GRU else [first, random(1, batch, width)]
    packing = torch.nn.utils.rnn
    lengths = None
    if s.get("lengths") == "given":
        lengths = torch.randint(1, steps + 1, (batch,))

    def run():
        start = states[0] if len(states) == 1 else tuple(states)
        if lengths is None:
            return module(x, start)[0]
        packed = packing.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        hidden = module(packed, start)[0]
        return packing.pad_packed_sequence(hidden, batch_first=True, total_length=steps)[0]

    learned = [x, *states, module.weight_ih_l0, module.weight_hh_l0, module.bias_hh_l0]
    return run, learned


def gru(torch, s, random):
    return recurrent(torch, torch.nn.GRU, s, random)


def lstm(torch, s, random):
    return recurrent(torch, torch.nn.LSTM, s, random)


def cross_entropy(torch, s, random):
    x, weight = random(s("rows"), s("width")), random(s("classes"), s("width"))
    target = torch.randint(0, s("classes"), (s("rows"),))
    functional = torch.nn.functional
    return lambda: functional.cross_entropy(x @ weight.T, target, reduction="none"), [x, weight]


def softmax(torch, s, random):
    x = random(s("rows"), s("cols"))
    return lambda: torch.softmax(x, -1), [x]


def layer_norm(torch, s, random):
    x, gain, bias = random(s("rows"), s("cols")), random(s("cols")), random(s("cols"))
    shape = (s("cols"),)
    functional = torch.nn.functional
    return lambda: functional.layer_norm(x, shape, gain, bias, s("eps")), [x, gain, bias]


def rms_norm(torch, s, random):
    x, gain = random(s("rows"), s("cols")), random(s("cols"))
    shape = (s("cols"),)
    return lambda: torch.nn.functional.rms_norm(x, shape, gain, s("eps")), [x, gain]


def gelu(torch, s, random):
    x = random(s("n"))
    return lambda: torch.nn.functional.gelu(x), [x]


def silu(torch, s, random):
    x = random(s("n"))
    return lambda: torch.nn.functional.silu(x), [x]


def rotations(torch, steps, size, base):
    """The cosines and sines of every position and pair, [steps, 1, size / 2]."""
    rates = base ** (-torch.arange(0, size, 2) / size)
    angles = torch.arange(steps)[:, None] * rates
    return torch.cos(angles)[:, None, :], torch.sin(angles)[:, None, :]


def rotate(torch, x, cosines, sines):
    """x [.., steps, heads, size], its two halves turned against each other."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cosines - b * sines, b * cosines + a * sines), -1)


def rotary(torch, s, random):
    x = random(s("batch"), s("steps"), s("heads"), s("head_size"))
    cosines, sines = rotations(torch, s("steps"), s("head_size"), float(s("base")))
    return lambda: rotate(torch, x, cosines, sines), [x]


def gather(torch, s, random):
    table, index = random(s("rows"), s("cols")), torch.randint(0, s("rows"), (s("count"),))
    return lambda: torch.nn.functional.embedding(index, table), [table]


def scatter_add(torch, s, random):
    x, index = random(s("count"), s("cols")), torch.randint(0, s("rows"), (s("count"),))
    return lambda: torch.zeros(s("rows"), s("cols"), dtype=x.dtype).index_add_(0, index, x), [x]


def top_k_read(torch, s, random):
    batch, count = s("batch"), s("count")
    q = random(batch, s("queries"), s("key_size"))
    keys = random(batch, s("slots"), s("key_size"))
    values = random(batch, s("slots"), s("value_size"))
    rows = torch.arange(batch)[:, None, None]

    def run():
        scores, index = torch.topk(q @ keys.transpose(1, 2) * s("scale"), count)
        return (torch.softmax(scores, -1)[:, :, None, :] @ values[rows, index]).squeeze(2)

    return run, [q, keys, values]


def fast_weights(torch, s, random):
    """In chunks of 64: the writes of one from a triangular system (UT transform), if there is a
    rate; decays of a head as ratios."""
    batch, heads, steps = s("batch", 1), s("heads"), s("steps")
    c = min(64, steps)
    q, k = random(batch, heads, steps, s("keys")), random(batch, heads, steps, s("keys"))
    k = k / s("keys") ** 0.5
    v = random(batch, heads, steps, s("values"))
    rate = torch.rand(batch, heads, steps, 1).to(q.dtype) if s.get("rate") == "given" else None
    decay = (
        0.9 + 0.1 * torch.rand(batch, heads, steps, 1).to(q.dtype)
        if s.get("decay") == "given"
        else None
    )
    learned = [x for x in (q, k, v, rate, decay) if x is not None]

    def run():
        def chunked(x):
            return x.unflatten(2, (steps // c, c))

        qs, ks, vs = chunked(q), chunked(k), chunked(v)
        since, left, ratio, kept = qs, ks, 1, None
        if decay is not None:
            logs = chunked(decay).log().cumsum(3)
            ratio = (logs - logs.mT).tril().exp()
            since, left = qs * logs.exp(), ks * (logs[:, :, :, -1:] - logs).exp()
            kept = logs[:, :, :, -1:].exp()
        scores = (qs @ ks.mT).tril() * ratio
        written, lacks = vs, None
        if rate is not None:
            kr = ks * chunked(rate)
            system = (kr @ ks.mT).tril(-1) * ratio + torch.eye(c, dtype=q.dtype)
            reads = kr if decay is None else kr * logs.exp()
            both = torch.linalg.solve_triangular(
                system,
                torch.cat((vs * chunked(rate), reads), -1),
                upper=False,
                unitriangular=True,
            )
            written, lacks = both.split((s("values"), s("keys")), -1)
        state = torch.zeros(batch, heads, s("keys"), s("values"), dtype=q.dtype)
        out = []
        for i in range(steps // c):
            x = written[:, :, i] if lacks is None else written[:, :, i] - lacks[:, :, i] @ state
            out.append(since[:, :, i] @ state + scores[:, :, i] @ x)
            if kept is not None:
                state = state * kept[:, :, i]
            state = state + left[:, :, i].mT @ x
        return torch.cat(out, 2)

    return run, learned


def feedback(torch, s, random):
    """Step by step, as nothing else can be; keys and values in room made before, unless they are
    to be differentiated."""
    f = torch.nn.functional
    batch, steps, layers, width = s("batch"), s("steps"), s("layers"), s("width")
    heads, kv_heads, size = s("heads"), s("kv_heads"), s("head_size")
    inner, base, eps = s("inner"), s("base", 10000), s("eps", "1e-5")

    def weight(rows, cols):
        return random(rows, cols) / rows**0.5

    x = random(batch, steps, width)
    gains = [torch.ones(width, dtype=x.dtype) for _ in range(2 * layers + 1)]
    queries = [weight(width, heads * size) for _ in range(layers)]
    mixes = [weight(heads * size, width) for _ in range(layers)]
    wide = [weight(width, inner) for _ in range(layers)]
    narrow = [weight(inner, width) for _ in range(layers)]
    share = torch.full((layers + 1,), 1 / (layers + 1), dtype=x.dtype)
    key, value = weight(width, kv_heads * size), weight(width, kv_heads * size)
    rates = base ** (-torch.arange(size // 2, dtype=torch.float64) / (size // 2))
    angles = torch.arange(steps)[:, None] * rates
    cosines, sines = angles.cos().to(x.dtype), angles.sin().to(x.dtype)

    def turned(y, t):
        a, b = y.chunk(2, -1)
        return torch.cat((a * cosines[t] - b * sines[t], a * sines[t] + b * cosines[t]), -1)

    def split(y, n):
        return y.view(batch, n, 1, size)

    def run():
        recorded = torch.is_grad_enabled()
        room = [torch.empty(batch, kv_heads, steps, size, dtype=x.dtype) for _ in range(2)]
        keys = values = None
        states = []
        for t in range(steps):
            y = x[:, t]
            step = [y]
            for l in range(layers):
                if t > 0:
                    q = turned(split(f.rms_norm(y, (width,), gains[l], eps) @ queries[l], heads), t)
                    read = f.scaled_dot_product_attention(
                        q, keys, values, enable_gqa=heads != kv_heads
                    )
                    y = torch.addmm(y, read.reshape(batch, heads * size), mixes[l])
                n = f.rms_norm(y, (width,), gains[layers + l], eps)
                y = torch.addmm(y, f.gelu(n @ wide[l], approximate="tanh"), narrow[l])
                step.append(y)
            states.append(torch.stack(step, 1))
            z = f.rms_norm(share @ states[-1], (width,), gains[-1], eps)
            k, v = turned(split(z @ key, kv_heads), t), split(z @ value, kv_heads)
            if recorded:
                keys = k if keys is None else torch.cat((keys, k), 2)
                values = v if values is None else torch.cat((values, v), 2)
            else:
                room[0][:, :, t : t + 1], room[1][:, :, t : t + 1] = k, v
                keys, values = room[0][:, :, : t + 1], room[1][:, :, : t + 1]
        return torch.stack(states, 1)

    return run, [x, share, key, value, *gains, *queries, *mixes, *wide, *narrow]


def mask(torch, s, random):
    """Masks 80/10/10 with labels and weights, the usual way; Gumbel top-k by random and top-k."""
    shape = s("rows"), s("length")
    logits = random(*shape)
    tokens = torch.randint(0, s("vocabulary"), shape)
    rate, count = s("rate"), s("k") or round(s("rate") * s("length"))

    def chosen_and_inclusion():
        if s("scheme") == 0:
            return torch.rand(shape) < rate, torch.full(shape, rate)
        if s("scheme") == 1:
            inclusion = (count * torch.softmax(logits, -1)).clamp(max=1)
            return torch.bernoulli(inclusion).bool(), inclusion
        if s("scheme") != 2:
            raise SystemExit("no rival samples this scheme")
        keys = logits - torch.empty(shape).exponential_().log()
        top = torch.topk(keys, count + 1, dim=-1, sorted=True).values
        chosen = keys > top[:, -1:]
        inclusion = -torch.expm1(-torch.exp(logits - top[:, -1:]))
        return chosen, inclusion

    def run():
        chosen, inclusion = chosen_and_inclusion()
        weight = torch.where(chosen, 1 / inclusion, 0)
        label = torch.where(chosen, tokens, -1)
        corrupted = tokens.clone()
        masked = chosen & (torch.rand(shape) < s("mask_share"))
        corrupted[masked] = s("mask_token")
        share = s("random_share") / (1 - s("mask_share"))
        other = chosen & ~masked & (torch.rand(shape) < share)
        corrupted[other] = torch.randint(0, s("vocabulary"), shape)[other]
        return weight, label, corrupted

    return run, [logits]


OPS = [
    attention,
    fast_weights,
    feedback,
    matmul,
    cross_entropy,
    softmax,
    layer_norm,
    rms_norm,
    gelu,
    silu,
    rotary,
    gather,
    scatter_add,
    gru,
    lstm,
    top_k_read,
    mask,
]
OPS = {op.__name__: op for op in OPS}


def timed_op(torch, name, direction, s, dtype):
    def random(*shape):
        return torch.randn(*shape).to(dtype)

    run, learned = OPS[name](torch, s, random)
    if direction == "forward":

        def forward():
            with torch.no_grad():
                run()

        return forward
    for x in learned:
        x.requires_grad_()
    if direction == "both":

        def both():
            y = run()
            torch.autograd.grad(y, learned, torch.ones_like(y))

        return both
    y = run()
    seed = torch.ones_like(y)
    return lambda: torch.autograd.grad(y, learned, seed, retain_graph=True)


# ---- optimisers and whole steps ------------------------------------------------------------------


def timed_optimiser(torch, name, s):
    parameter = torch.nn.Parameter(torch.randn(1, s("n")))
    parameter.grad = torch.randn(1, s("n"))
    rule = (
        torch.optim.AdamW([parameter], lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
        if name == "adamw"
        else torch.optim.SGD([parameter], lr=1e-3, momentum=0.9, weight_decay=0.01, fused=True)
    )
    return rule.step


def timed_step(torch, s, dtype):
    """The engine's transformer: norms first, rotary positions, no bias, AdamW; bf16 is mixed."""
    nn, functional = torch.nn, torch.nn.functional
    layers, width, heads = s("layers"), s("width"), s("heads")
    batch, steps, vocabulary = s("batch"), s("steps"), s("vocabulary")
    cosines, sines = rotations(torch, steps, width // heads, 1e4)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2))
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.mix = nn.Linear(width, width, bias=False)
            self.wide = nn.Linear(width, 4 * width, bias=False)
            self.narrow = nn.Linear(4 * width, width, bias=False)

        def forward(self, x):
            parts = self.qkv(self.norms[0](x)).view(batch, steps, 3, heads, width // heads)
            q, k, v = parts.unbind(2)
            q, k = rotate(torch, q, cosines, sines), rotate(torch, k, cosines, sines)
            y = functional.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True
            )
            x = x + self.mix(y.transpose(1, 2).reshape(batch, steps, width))
            return x + self.narrow(functional.gelu(self.wide(self.norms[1](x))))

    model = nn.Sequential(
        nn.Embedding(vocabulary, width),
        *(Block() for _ in range(layers)),
        nn.RMSNorm(width),
        nn.Linear(width, vocabulary, bias=False),
    )
    rule = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    tokens = torch.randint(0, vocabulary, (batch, steps))

    def run():
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        rule.zero_grad()
        loss.backward()
        rule.step()
        return loss.item()

    return run


def main():
    request = json.load(sys.stdin)
    try:
        import torch
    except ImportError as missing:
        raise SystemExit(str(missing)) from None
    word = request["subject"].split()
    if word[0] == "version":
        json.dump({"version": torch.__version__}, sys.stdout)
        return
    torch.manual_seed(1)
    torch.set_num_threads(request["threads"])
    sizes = Sizes(request["sizes"])
    dtype = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16}[request["type"]]
    if word[0] == "op":
        run = timed_op(torch, word[1], word[2], sizes, dtype)
    elif word[0] == "optimiser":
        run = timed_optimiser(torch, word[1], sizes)
    else:
        run = timed_step(torch, sizes, dtype)
    for _ in range(request["warm_ups"]):
        iteration(run, request["warm_up_seconds"])
    samples = [iteration(run, request["seconds"]) for _ in range(request["iterations"])]
    json.dump({"samples": samples}, sys.stdout)


if __name__ == "__main__":
    main()
