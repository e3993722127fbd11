"""Holds the mocks of NVIDIA's libraries against what the real ones said.

    calibrate.py MOCKS TRANSCRIPT

MOCKS is the folder of the mocks, TRANSCRIPT what `test/bench/cuda.sh run` wrote
on a machine with a GPU: every call of a library with its arguments, its status
and what it filled in. Each call is made again, of the mocks, and where they
answer otherwise is said, with the line. Calls on what a mock refused to make
are left out and counted. Exit status 1 if anything differs.
"""
import argparse
import collections
import ctypes
import json
import pathlib
import sys

LIBRARIES = {"cublasLt": "libcublasLt.so.13", "cusparseLt": "libcusparseLt.so.0"}
STRUCTURE, RESULT, ALGORITHM, MANY = 512, 96, 64, 64
SHOWN = 3  # of one kind of difference


class Missing(Exception):
    """Something that this call refers to was not made."""


class Driver:
    """Memory and a stream of the mock driver."""

    def __init__(self, mocks):
        self.lib = ctypes.CDLL(str(mocks / "libcuda.so.1"), ctypes.RTLD_GLOBAL)
        context = ctypes.c_void_p()
        self.stream = ctypes.c_void_p()
        self.must("cuInit", 0)
        self.must("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.must("cuCtxPushCurrent_v2", context)
        self.must("cuStreamCreate", ctypes.byref(self.stream), 1)
        self.pieces = {}

    def must(self, name, *args):
        code = getattr(self.lib, name)(*args)
        if code:
            sys.exit(f"{name} of the mock driver gave {code}")

    def alloc(self, number, size):
        p = ctypes.c_uint64()
        self.must("cuMemAlloc_v2", ctypes.byref(p), ctypes.c_size_t(size))
        self.must("cuMemsetD32Async", p, 0, ctypes.c_size_t(size // 4), None)
        self.pieces[number] = p.value

    def address(self, place):
        if place is None:
            return 0
        if place[0] not in self.pieces:
            raise Missing
        return self.pieces[place[0]] + place[1]

    def capture(self, begins):
        if begins:
            self.must("cuStreamBeginCapture_v2", self.stream, 0)
            return
        graph = ctypes.c_void_p()
        if self.lib.cuStreamEndCapture(self.stream, ctypes.byref(graph)) == 0:
            self.must("cuGraphDestroy", graph)


class Arguments:
    """What numbers in a transcript stand for, here."""

    def __init__(self, mocks):
        self.driver = Driver(mocks)
        self.handles, self.structures, self.algorithms = {-1: 0}, {}, {}

    def structure(self, number):
        if number == -1:
            return 0
        if number not in self.structures:
            room = ctypes.create_string_buffer(STRUCTURE + 16)
            at = (ctypes.addressof(room) + 15) // 16 * 16
            self.structures[number] = room, at
        return self.structures[number][1]

    @staticmethod
    def room(kind, size):
        """Where a result goes."""
        if kind == "V":
            return ctypes.create_string_buffer(size)
        if kind in "rR":
            return ctypes.create_string_buffer(RESULT * MANY)
        return {"H": ctypes.c_void_p, "I": ctypes.c_int,
                "Z": ctypes.c_size_t}[kind]()

    def argument(self, kind, said, size):
        """What is passed, and where the result goes, if there is one."""
        if kind == "h":
            if said not in self.handles:
                raise Missing
            return ctypes.c_void_p(self.handles[said]), None
        if kind == "s":
            return ctypes.c_void_p(self.structure(said)), None
        if kind == "p":
            return ctypes.c_void_p(self.driver.address(said)), None
        if kind == "a":
            if said not in self.algorithms:
                raise Missing
            return ctypes.create_string_buffer(self.algorithms[said],
                                               ALGORITHM), None
        if kind == "v":
            raw = (self.driver.address(said).to_bytes(8, "little")
                   if isinstance(said, list) else bytes.fromhex(said))
            return ctypes.create_string_buffer(raw, len(raw)), None
        if kind == "f":
            return ctypes.byref(ctypes.c_float(said)), None
        if kind == "q":
            return self.driver.stream, None
        if kind == "Q":
            return ctypes.byref(self.driver.stream), None
        if kind in "ilz":
            return {"i": ctypes.c_int, "l": ctypes.c_int64,
                    "z": ctypes.c_size_t}[kind](said), None
        out = self.room(kind, size)
        return ctypes.byref(out), out


class Replay(Arguments):
    def __init__(self, mocks):
        super().__init__(mocks)
        self.libraries = {k: ctypes.CDLL(str(mocks / f))
                          for k, f in LIBRARIES.items()}

    def results(self, said, raw, count):
        """Of a heuristic: bytes of workspace and states; the algorithms are
        from now on the mock's."""
        found = []
        for i in range(count):
            row = raw[RESULT * i:RESULT * (i + 1)]
            space = int.from_bytes(row[ALGORITHM:ALGORITHM + 8], "little")
            state = int.from_bytes(row[ALGORITHM + 8:ALGORITHM + 12], "little")
            if i < len(said):
                self.algorithms[said[i][0]] = row[:ALGORITHM]
            found.append([space, state])
        return found

    def compare(self, line, outs, status):
        """Pairs of what was said and what the mock says, by name."""
        if status != line["status"]:
            yield "status", line["status"], status
        for i, (kind, said, out) in enumerate(outs):
            if kind == "H" and status == 0:
                self.handles[said] = out.value
            elif status or line["status"]:
                continue
            elif kind in "IZ" and out.value != said:
                yield f"argument {i}", said, out.value
            elif kind == "V" and out.raw.hex() != said:
                yield f"argument {i}", said, out.raw.hex()
            elif kind in "rR":
                count = outs[i + 1][2].value if kind == "r" else 1
                got = self.results(said, out.raw, count)
                if got != [row[1:] for row in said]:
                    yield "results", [row[1:] for row in said], got

    def call(self, line):
        name, kinds, said = line["call"], line["kinds"], line["args"]
        library = self.libraries[
            "cublasLt" if name.startswith("cublasLt") else "cusparseLt"]
        passed, outs = [], []
        for i, kind in enumerate(kinds):
            size = said[i + 1] if kind in "vV" else 0
            value, out = self.argument(kind, said[i], size)
            passed.append(value)
            outs.append((kind, said[i], out))
        return list(self.compare(line, outs, getattr(library, name)(*passed)))


def replay(mocks, lines):
    """Differences by (call, what), and how many calls were left out."""
    r = Replay(mocks)
    found, left_out = collections.defaultdict(list), 0
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
        except ValueError as e:
            sys.exit(f"line {number} of the transcript: {e}")
        if "alloc" in line:
            r.driver.alloc(line["alloc"], line["size"])
        elif "capture" in line:
            r.driver.capture(line["capture"])
        else:
            try:
                for what, said, got in r.call(line):
                    found[line["call"], what].append((number, said, got))
            except Missing:
                left_out += 1
    return found, left_out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("mocks", type=pathlib.Path)
    p.add_argument("transcript", type=pathlib.Path)
    known = p.parse_args()
    lines = known.transcript.read_text().splitlines()
    found, left_out = replay(known.mocks.resolve(), lines)
    for (call, what), places in found.items():
        print(f"{call}: {what} differs {len(places)} times")
        for number, said, got in places[:SHOWN]:
            print(f"  line {number}: the library {said}, the mock {got}")
    print(f"{len(lines)} lines, {sum(map(len, found.values()))} differences, "
          f"{left_out} calls left out")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
