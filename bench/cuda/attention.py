# SPDX-License-Identifier: Apache-2.0
"""Attention beside SDPA and FlexAttention, and what the gradient of a mask costs."""
from measure import gradients, leaves, torch

if torch:
    import torch.nn.functional as F


class Attention:
    """Queries, keys and values of as many steps, and perhaps a mask [1 or batch, heads, steps,
    steps]; what ours and the rivals do with them."""

    def __init__(self, bench, dtype, batch, heads, steps, size, causal=0, masks=0):
        self.bench, self.dtype, self.causal = bench, dtype, causal
        batch, heads, steps, size = map(bench.size, (batch, heads, steps, size))
        self.sizes = batch, heads, heads, steps, steps, size
        self.scale = size**-0.5
        self.options = 0, 0, self.scale, causal, 0  # no segments, no window, no gates
        shape = batch, steps, heads, size
        self.q, self.k, self.v, self.dout = (bench.numbers(shape, dtype) for _ in range(4))
        self.out, self.dq, self.dk, self.dv = (bench.empty(shape, dtype) for _ in range(4))
        sums = "F32" if dtype == "BF16" else dtype
        self.lse = bench.empty((batch, heads, steps), sums)
        self.mask = self.dmask = None
        if masks:
            mask_shape = min(masks, batch), heads, steps, steps
            self.mask, self.dmask = bench.numbers(mask_shape, dtype), bench.empty(mask_shape, dtype)
        self.flops = 4 * batch * heads * steps * steps * size / (2 if causal else 1)
        self.text = (f"batch {batch}, heads {heads}, steps {steps}, size {size}"
                     + (", causal" if causal else "")
                     + (f", mask of {'all' if masks > 1 else 'one'}" if masks else ""))

    def mask_sizes(self, masked):
        return self.mask.shape[:3] if masked else (1, 1, 1)

    def forward(self, masked=True):
        masked = masked and self.mask is not None
        self.bench.library.attention(
            self.bench.dtype(self.dtype), self.out, self.lse, self.q, self.k, self.v,
            self.mask if masked else None, None, None, None, *self.sizes, *self.mask_sizes(masked),
            *self.options)

    def backward(self, masked=True):
        masked = masked and self.mask is not None
        self.bench.library.attention_backward(
            self.bench.dtype(self.dtype), self.dq, self.dk, self.dv,
            self.dmask if masked else None, self.dout, self.q, self.k, self.v,
            self.mask if masked else None, None, None, None, self.out, self.lse, *self.sizes,
            *self.mask_sizes(masked), *self.options)

    def both(self, masked=True):
        self.forward(masked)
        self.backward(masked)

    # Rivals take [batch, heads, steps, size], which is a view of ours.

    def sdpa(self, inputs, backend):
        q, k, v = (x.transpose(1, 2) for x in inputs[:3])
        mask = inputs[3] if len(inputs) > 3 else None

        def run():
            return F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=bool(self.causal), scale=self.scale
            ).transpose(1, 2)

        def run_with_backend():
            with torch.nn.attention.sdpa_kernel(backend):
                return run()

        return run_with_backend if backend is not None else run

    def flex(self, inputs):
        from torch.nn.attention.flex_attention import flex_attention
        compiled = torch.compile(flex_attention, dynamic=False)
        q, k, v = (x.transpose(1, 2) for x in inputs[:3])
        mask, of_all = inputs[3], self.mask.shape[0] > 1

        def biased(score, b, h, i, j):
            return score + (mask[b, h, i, j] if of_all else mask[0, h, i, j])

        return lambda: compiled(q, k, v, score_mod=biased, scale=self.scale).transpose(1, 2)

    def rivals(self, way):
        """Returns what makes the rivals: `way` makes of a forward function, of inputs, what is
        timed."""
        found = {}
        for name, backend in backends(self.dtype, self.mask is not None).items():
            found[name] = lambda backend=backend: way(lambda i: self.sdpa(i, backend))
        if self.mask is not None:
            found["FlexAttention"] = lambda: way(self.flex)
        return found

    def inputs(self):
        return [self.q, self.k, self.v] + ([self.mask] if self.mask is not None else [])

    def timed_forward(self, forward):
        return forward([x.tensor for x in self.inputs()])

    def timed_backward(self, forward):
        inputs = leaves(*self.inputs())
        return gradients(forward(inputs), inputs, self.dout.tensor)

    def timed_both(self, forward):
        inputs = leaves(*self.inputs())
        run = forward(inputs)
        return lambda: torch.autograd.grad(run(), inputs, self.dout.tensor)


def backends(dtype, masked):
    """Returns the back ends of SDPA that serve; None is its own choice."""
    if not torch:
        return {}
    from torch.nn.attention import SDPBackend
    if masked:
        return {"SDPA": None}
    if dtype == "BF16":
        return {"SDPA flash": SDPBackend.FLASH_ATTENTION,
                "SDPA cuDNN": SDPBackend.CUDNN_ATTENTION}
    return {"SDPA": None}


ATTENTIONS = [  # the sizes, causal; the targets forward and backward in TFLOP/s
    (("BF16", 4, 16, 4096, 128, 0), (550, 420)), (("BF16", 2, 16, 8192, 128, 1), (500, 380)),
    (("BF16", 4, 32, 4096, 64, 0), (400, 320)), (("BF16", 4, 32, 4096, 64, 1), (None, None)),
    (("F32", 2, 16, 2048, 64, 0), (None, None)), (("F32", 2, 16, 2048, 64, 1), (None, None)),
    (("F32", 2, 16, 2048, 128, 0), (None, None)), (("F32", 8, 16, 256, 32, 1), (None, None))]


def attention(bench):
    for sizes, targets in bench.some(ATTENTIONS):
        case = Attention(bench, *sizes)
        bench.row("attention", case.text, case.dtype, (case.flops, "TFLOP/s"), case.forward,
                  case.rivals(case.timed_forward), [case.out], targets[0])
        bench.row("attention_backward", case.text, case.dtype, (2.5 * case.flops, "TFLOP/s"),
                  case.backward, case.rivals(case.timed_backward), [case.dq, case.dk, case.dv],
                  targets[1])
        bench.release()


MASKED = [  # the sizes and masks, one or as many as the batch; the target over no mask
    (("BF16", 4, 16, 2048, 128, 0, 1), 1.15), (("BF16", 4, 16, 2048, 128, 0, 4), 1.3),
    (("F32", 2, 16, 1024, 64, 0, 1), 1.15), (("F32", 2, 16, 1024, 64, 0, 2), 1.3)]


def masks(bench):
    for sizes, target in bench.some(MASKED):
        case = Attention(bench, *sizes)
        kernel = "attention, both ways, and dmask"
        row = bench.row(kernel, case.text, case.dtype, (3.5 * case.flops, "TFLOP/s"), case.both,
                        case.rivals(case.timed_both), [case.dq, case.dk, case.dv, case.dmask])
        if row and "ours" in row:
            times = bench.in_turn({"ours": case.both, "none": lambda: case.both(False)})
            bench.judge(kernel + ", over no mask", case.text, case.dtype, (times["none"][0], "x"),
                        {"ours": times["ours"]}, target)
        bench.release()
