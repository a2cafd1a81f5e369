# SPDX-License-Identifier: Apache-2.0
"""ponder.h in Python: a library's functions, with the types that the header declares."""
import ctypes
import pathlib
import re

HEADER = pathlib.Path(__file__).resolve().parents[2] / "native/include/ponder.h"
NUMBERS = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "double": ctypes.c_double}
OK, UNSUPPORTED = 0, 3


def without_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


TEXT = without_comments(HEADER.read_text(encoding="utf-8"))
# The number of each type, such as F32.
DTYPES = {name: int(number) for name, number in re.findall(
    r"PND_(\w+) = (\d+)", re.search(r"enum pnd_dtype \{(.*?)\}", TEXT, re.S)[1])}


class Refused(Exception):
    """A call's status, if it is not PND_OK, and its sentence."""

    def __init__(self, status, sentence):
        super().__init__(sentence)
        self.status = status


class Library:
    """A library with one open context. Its methods are the header's functions, by their names
    without pnd_ and without the context; a function that the library lacks is refused."""

    def __init__(self, path):
        handle = ctypes.CDLL(str(path))
        self._context = ctypes.c_void_p()
        self._functions = {}
        for name, parameters in re.findall(r"PND_API int32_t pnd_(\w+)\(([^)]*)\);", TEXT):
            function = getattr(handle, "pnd_" + name)
            function.restype = ctypes.c_int32
            function.argtypes = [ctypes.c_void_p if "*" in parameter
                                 else NUMBERS[parameter.split()[0]]
                                 for parameter in parameters.split(",")]
            self._functions[name] = function
        self._check(self._functions["open"](ctypes.byref(self._context), 0, 0, 0))

    def _check(self, status):
        if status == OK:
            return
        text = ctypes.create_string_buffer(512)
        self._functions["message"](self._context, text, len(text))
        raise Refused(status, text.value.decode(errors="replace"))

    def __getattr__(self, name):
        function = self._functions.get(name)
        if function is None:
            raise Refused(UNSUPPORTED, f"ponder.h has no pnd_{name}")

        def call(*arguments):
            self._check(function(self._context, *arguments))

        setattr(self, name, call)
        return call

    def name(self):
        """Returns what pnd_build says, such as "cuda 13.0"."""
        text = ctypes.create_string_buffer(64)
        self.build(text, len(text))
        return text.value.decode()

    def stream_handle(self):
        """Returns the cudaStream_t of the calls, 0 on a CPU library."""
        handle = ctypes.c_void_p()
        self.stream(ctypes.byref(handle))
        return handle.value or 0


def is_on_device(name):
    """Returns whether a library of that name works on a device, and does not simulate one."""
    return re.fullmatch(r"cuda [\d.]+", name) is not None
