"""What the benchmarks share: running a tool while watching it, the machine's
name, and tables in Markdown."""
import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path += [os.path.join(ROOT, "scripts"), os.path.join(ROOT, "test",
                                                         "scripts")]
BIN = os.environ.get("PRUNE_BIN", os.path.join(ROOT, "build", "bin"))
MB = 1 << 20


class Failed(Exception):
    pass


class Run:
    """A finished process: seconds, peak private and resident bytes, output."""

    def __init__(self, command, poll=0.001):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            start = time.perf_counter()
            child = subprocess.Popen(command, stdout=out, stderr=err,
                                     stdin=subprocess.DEVNULL)
            self.private, self.peak = (self.watch(child.pid, poll)
                                       if poll else (0, 0))
            _, status, usage = os.wait4(child.pid, 0)
            self.seconds = time.perf_counter() - start
            child.returncode = self.code = os.waitstatus_to_exitcode(status)
            self.cpu = usage.ru_utime + usage.ru_stime
            self.out, self.err = read(out), read(err)

    @staticmethod
    def watch(pid, poll):
        """Peaks of the anonymous memory, which the process has for itself,
        and of all resident memory, mapped files included. The first is
        sampled, so that spikes shorter than POLL seconds can be missed.
        (What wait4 tells includes the memory of the process that forked.)"""
        private = peak = 0
        with open(f"/proc/{pid}/status", "rb", buffering=0) as status:
            while True:
                status.seek(0)
                try:
                    text = status.read()
                except OSError:
                    return private, peak
                if b"RssAnon:" not in text:  # it has ended
                    return private, peak
                private = max(private, kilobytes(text, b"RssAnon:"))
                peak = kilobytes(text, b"VmHWM:")
                time.sleep(poll)


def kilobytes(text, key):
    """The bytes that line KEY of a status file tells in kB."""
    return int(text[text.find(key) + len(key):].split(None, 1)[0]) * 1024


def read(file):
    file.seek(0)
    return file.read().decode(errors="replace")


def tool(name, *args, poll=0.001):
    """Run one of our tools; its failure is the benchmark's."""
    command = [os.path.join(BIN, name), *map(str, args)]
    if not os.path.exists(command[0]):
        raise Failed(f"{command[0]} is not built")
    run = Run(command, poll)
    if run.code:
        raise Failed(f"{name}: exit code {run.code}: {first_error(run.err)}")
    return run


def first_error(text):
    """The first error of a tool's standard error, without folders."""
    lines = text.strip().splitlines() or ["nothing was said"]
    line = next((x for x in lines if "error: " in x), lines[-1])
    return re.sub(r"(?<![\w.])/\S*/", "", line)[:200]


def copy_seconds(path, to):
    """How long cp takes, for comparison with what a tool writes."""
    seconds = Run(["cp", path, to], poll=0).seconds
    os.remove(to)
    return seconds


def best(runs):
    return min(runs, key=lambda r: r.seconds)


def scratch():
    """A folder that disappears; TMPDIR says where."""
    return tempfile.TemporaryDirectory(prefix="prune-bench-")


def shared():
    """The folder with the models, or None."""
    folder = os.environ.get("PRUNE_SHARED", "")
    return folder if os.path.isdir(os.path.join(folder, "models")) else None


def machine():
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return (f"{model}, {os.cpu_count()} logical cores, "
            f"Linux {platform.machine()}")


def stamp():
    """When and where; a load above 1 means that others ran as well, which
    stretches wall times but hardly CPU times."""
    return (f"{datetime.date.today()}, {machine()}, load average "
            f"{os.getloadavg()[0]:.1f}")


def table(rows):
    """The first row is the head; numbers are right-aligned by Markdown."""
    head, *body = [[str(c) for c in row] for row in rows]
    lines = ["| " + " | ".join(head) + " |",
             "|" + "|".join("---" for _ in head) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in body]
    return "\n".join(lines) + "\n"


def verdict(value, limit, unit=""):
    """`value (limit …: met|missed)`, for figures that have a goal."""
    word = "met" if value <= limit else "**missed**"
    return f"{value:.3g}{unit} (≤ {limit:.3g}{unit}: {word})"
