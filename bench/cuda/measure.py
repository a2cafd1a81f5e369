# SPDX-License-Identifier: Apache-2.0
"""How a kernel is timed: on data like its rival's, in turn with it, from memory and not from L2.

Rounds of calls to each contestant alternate; before every call a buffer larger than the L2 cache is
filled, which also gives the host time to queue the call. A figure is the median over the rounds of
each round's median; low and high are the best and the worst round. Clocks are as they are.
"""
import ctypes
import itertools
import json
import random
import statistics
import struct
import time

import ponder

try:
    import torch
except ImportError:
    torch = None

BYTES = {"F32": 4, "F64": 8, "I32": 4, "BF16": 2}
# What our outputs may differ from a rival's, by the norm: more is a wrong result, not a rounding.
APART = {"F32": 1e-3, "F64": 1e-9, "BF16": 3e-2}
COMPILED = ("FlexAttention", "torch.compile")  # rivals that take seconds to begin
FLUSHED = 1 << 30  # bytes, of which L2 keeps a small part


class DeviceClock:
    """Times by events on the library's stream, through the driver."""

    def __init__(self, library):
        self.driver = ctypes.CDLL("libcuda.so.1")
        self.stream = ctypes.c_void_p(library.stream_handle())
        self.library = library
        self.events = []

    def call(self, function, *arguments):
        status = getattr(self.driver, function)(*arguments)
        if status != 0:
            raise RuntimeError(f"{function} gave {status}")

    def event(self, number):
        while len(self.events) <= number:
            event = ctypes.c_void_p()
            self.call("cuEventCreate", ctypes.byref(event), 0)
            self.events.append(event)
        self.call("cuEventRecord", self.events[number], self.stream)

    def between(self, runs, before):
        """Returns the seconds of each run; `before` runs before the first, untimed."""
        before()
        self.event(0)
        for number, run in enumerate(runs):
            run()
            self.event(number + 1)
        self.library.synchronize()
        seconds = []
        for number in range(len(runs)):
            milliseconds = ctypes.c_float()
            self.call("cuEventElapsedTime", ctypes.byref(milliseconds), self.events[number],
                      self.events[number + 1])
            seconds.append(milliseconds.value / 1000)
        return seconds


class HostClock:
    """Times a library whose device is the processor."""

    def __init__(self, library):
        self.library = library

    def between(self, runs, before):
        before()
        seconds = []
        for run in runs:
            start = time.perf_counter()
            run()
            self.library.synchronize()
            seconds.append(time.perf_counter() - start)
        return seconds


class Array:
    """Numbers in the device's memory; a tensor where there is PyTorch."""

    def __init__(self, bench, shape, dtype):
        self.bench, self.shape, self.dtype = bench, shape, dtype
        self.count = 1
        for size in shape:
            self.count *= size
        self.bytes = self.count * BYTES[dtype]
        self.tensor = None
        if torch:
            kind = {"F32": torch.float32, "F64": torch.float64, "I32": torch.int32,
                    "BF16": torch.bfloat16}[dtype]
            self.tensor = torch.empty(shape, dtype=kind, device=bench.torch_device)
            self.pointer = self.tensor.data_ptr()
        else:
            memory = ctypes.c_void_p()
            bench.library.allocate(ctypes.byref(memory), self.bytes)
            self.pointer = memory.value
        # So ctypes takes it for a pointer.
        self._as_parameter_ = ctypes.c_void_p(self.pointer)

    def upload(self, data):
        self.bench.library.upload(self, data, self.bytes)
        return self

    def release(self):
        if self.tensor is None:
            self.bench.library.release(self)
        self.tensor = None


def spread(generator, count, dtype, exponent, positive):
    """Returns count numbers with random signs and mantissas, in [2^exponent / 2, 2^exponent)."""
    size = BYTES[dtype]
    # A prime number of elements is repeated, so that no two rows are alike.
    period = min(count, 1_000_003)
    data = bytearray(generator.randbytes(period * size))
    bits, bias = (52, 1023) if dtype == "F64" else (23, 127)
    if dtype == "BF16":
        bits = 7
    upper = (exponent - 1 + bias) << bits >> 8 * (size - 2)  # the two uppermost bytes
    kept = (1 << bits >> 8 * (size - 2)) - 1  # the mantissa's bits among them
    sign = 0 if positive else 0x80
    high, low = upper >> 8, upper & 0xff
    data[size - 1::size] = data[size - 1::size].translate(
        bytes((byte & sign) | high for byte in range(256)))
    data[size - 2::size] = data[size - 2::size].translate(
        bytes((byte & kept) | low for byte in range(256)))
    return bytes(data) * (count // period) + bytes(data[:count % period * size])


class Bench:
    """One run of the benchmark: the library, its clock, and where the rows go."""

    def __init__(self, library, rows, seconds, quick):
        self.library, self.quick, self.rows = library, quick, rows
        self.deadline = time.monotonic() + seconds
        on_device = ponder.is_on_device(library.name())
        self.tiny = not on_device  # sizes that a processor can do in the device's stead
        self.clock = DeviceClock(library) if on_device else HostClock(library)
        self.torch_device = "cpu"
        if torch and on_device:
            self.torch_device = "cuda"
            torch.cuda.set_stream(torch.cuda.ExternalStream(library.stream_handle()))
        if torch:
            torch.backends.cuda.matmul.allow_tf32 = False  # f32 is f32
            torch.backends.cudnn.allow_tf32 = False
        self.random = random.Random(1)
        self.arrays = []
        self.peaks = {}  # by name, in units of the rows that are shares of them
        flushed = 64 if self.tiny else FLUSHED
        self.flushed = Array(self, (flushed // 4,), "F32")

    # ---- data ----

    def size(self, number):
        """Returns a size of a shape: as it is, or tiny."""
        return min(number, 8) if self.tiny else number

    def empty(self, shape, dtype):
        array = Array(self, shape, dtype)
        self.arrays.append(array)
        return array

    def some(self, shapes):
        """Returns the shapes to measure, of which the first is the most important."""
        return shapes[:1] if self.quick and not self.tiny else shapes

    def dtype(self, name):
        if name not in ponder.DTYPES:
            raise ponder.Refused(ponder.UNSUPPORTED, f"ponder.h has no PND_{name}")
        return ponder.DTYPES[name]

    def numbers(self, shape, dtype, exponent=0, positive=False):
        array = self.empty(shape, dtype)
        return array.upload(spread(self.random, array.count, dtype, exponent, positive))

    def indices(self, shape, end):
        array = self.empty(shape, "I32")
        period = min(array.count, 1_000_003)
        data = struct.pack(f"<{period}i", *(self.random.randrange(end) for _ in range(period)))
        return array.upload(data * (array.count // period) + data[:array.count % period * 4])

    def constant(self, dtype, value):
        array = self.empty((1,), dtype)
        return array.upload(struct.pack({"F32": "<f", "F64": "<d", "I32": "<i"}[dtype], value))

    def release(self):
        """Gives back what a section took."""
        for array in self.arrays:
            array.release()
        self.arrays = []
        if torch and self.torch_device == "cuda":
            torch.cuda.empty_cache()

    # ---- time ----

    def left(self):
        return self.deadline - time.monotonic()

    def flush(self):
        self.library.fill(ponder.DTYPES["F32"], self.flushed, self.flushed.count, 0.0)

    def once(self, run):
        return self.clock.between([run], self.flush)[0]

    def in_turn(self, contestants):
        """Returns (median, low, high) in seconds for each of the named functions."""
        rounds, share = (2, 0) if self.tiny else (3, 0.01) if self.quick else (7, 0.03)
        calls = {}
        for name, run in contestants.items():
            run()
            self.library.synchronize()
            usual = statistics.median(self.once(run) for _ in range(1 if self.tiny else 3))
            calls[name] = max(1, min(20, int(share / max(usual, 1e-6))))
        medians = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, run in contestants.items():
                times = [self.once(run) for _ in range(calls[name])]
                medians[name].append(statistics.median(times))
        return {name: (statistics.median(found), min(found), max(found))
                for name, found in medians.items()}

    # ---- rows ----

    def write(self, **row):
        self.rows.write(json.dumps(row) + "\n")
        self.rows.flush()

    def spent(self, kernel, shape):
        """Returns whether the time is spent, and writes so."""
        if self.left() >= 1:
            return False
        self.write(kernel=kernel, shape=shape, note="skipped: the time is spent")
        return True

    def row(self, kernel, shape, dtype, work, ours, rivals=None, outputs=(), target=None):
        """Times ours and its rivals and writes a row.

        work is an amount and its unit: "TFLOP/s" or "GB/s" (flops or bytes), or "us/step" (steps)
        and "x" (seconds of something else), which are better when they are less. rivals are
        functions by name that make a rival: a function that runs it and returns its outputs, in the
        order of `outputs`, our arrays or None. target is a number in that unit, or ("share",
        number) or ("ratio", number). There is no figure without a rival that agrees with ours, if
        any ran.
        """
        if self.spent(kernel, shape):
            return None
        contestants, more = {"ours": ours}, {}
        try:
            ours()
            self.library.synchronize()
        except ponder.Refused as refusal:
            if refusal.status != ponder.UNSUPPORTED:
                raise
            more["note"] = f"not supported: {refusal}"
            del contestants["ours"]
        absent, apart_from = {}, {}
        for name, make in (rivals or {}).items() if torch else ():
            if name in COMPILED and (self.tiny or self.quick or self.left() < 60):
                absent[name] = "compiling it takes too long here"
                continue
            try:
                run = make()
                got = run()
            except Exception as error:  # whatever a rival cannot do is its own affair
                lines = str(error).strip().splitlines() or [type(error).__name__]
                absent[name] = lines[0][:200]
                continue
            wrong = apart(outputs, got) if "ours" in contestants else None
            if wrong:
                apart_from[name] = wrong
            else:
                contestants[name] = run
        if apart_from and len(contestants) == 1:
            name, wrong = apart_from.popitem()
            self.write(kernel=kernel, shape=shape, result="failed",
                       note=f"differs from {name} {wrong}")
            return None
        absent.update({name: f"it differs {wrong} from ours, which another rival agrees with"
                       for name, wrong in apart_from.items()})
        if absent:
            more["absent"] = absent
        return self.judge(kernel, shape, dtype, work, self.in_turn(contestants), target, **more)

    def judge(self, kernel, shape, dtype, work, seconds, target, **more):
        """Writes a row of what was timed, in seconds, and returns it."""
        amount, unit = work

        def figure(time):
            return {"TFLOP/s": amount / time / 1e12, "GB/s": amount / time / 1e9,
                    "us/step": time / amount * 1e6, "x": time / amount}[unit]

        figures = {name: figure(times[0]) for name, times in seconds.items()}
        row = {"kernel": kernel, "shape": shape, "dtype": dtype.lower(), "unit": unit,
               "rivals": {name: value for name, value in figures.items() if name != "ours"},
               **more}
        if row["rivals"]:
            row["rival"] = min(row["rivals"], key=lambda name: seconds[name][0])
        if "ours" in seconds:
            row["ours"] = figures["ours"]
            row["range"] = sorted(figure(time) for time in seconds["ours"][1:])
            row["seconds"] = seconds["ours"][0]
            if "rival" in row:
                row["ratio"] = seconds[row["rival"]][0] / seconds["ours"][0]
            peak = self.peaks.get(f"{unit} {dtype}" if unit == "TFLOP/s" else unit)
            if peak:
                row["share"] = row["ours"] / peak
        self.met(row, target)
        self.write(**row)
        return row

    def met(self, row, target):
        """Writes the target into the row, and whether it was met, where that is known."""
        if target is None:
            return
        kind, bound = target if isinstance(target, tuple) else ("ours", target)
        less = kind == "ours" and not row["unit"].endswith("/s")
        row["target"] = ("<= " if less else ">= ") + {
            "ours": f"{bound:g} {row['unit']}", "share": f"{bound:g} of the peak",
            "ratio": f"{bound:g} of the rival"}[kind]
        if kind in row and not self.tiny:
            row["met"] = row[kind] <= bound if less else row[kind] >= bound


def apart(outputs, got):
    """Returns how our outputs differ from a rival's, if they do by more than a rounding."""
    if not isinstance(got, (tuple, list)):
        got = (got,)
    for number, (ours, theirs) in enumerate(itertools.zip_longest(outputs, got)):
        if ours is None or theirs is None:
            continue
        x = ours.tensor.detach().double().reshape(-1)
        y = theirs.detach().double().reshape(-1)
        distance = float((x - y).norm() / y.norm().clamp_min(1e-30))
        if not distance <= APART[ours.dtype]:
            return f"by {distance:.2g} of the norm in output {number}"
    return None


def leaves(*arrays):
    return [array.tensor.detach().requires_grad_() for array in arrays]


def gradients(forward, inputs, adjoint):
    """Returns a function that runs the backward pass of forward, which it runs once."""
    y = forward()
    return lambda: torch.autograd.grad(y, inputs, adjoint, retain_graph=True)
