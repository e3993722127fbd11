"""Progress is for people: shown at a terminal, and only when it takes long.

usage: progress.py COMMAND..."""
import os
import pty
import subprocess
import sys


def at_terminal(command):
    """What the command shows at a terminal."""
    main, side = pty.openpty()
    with subprocess.Popen(command, stderr=side, stdout=subprocess.DEVNULL):
        os.close(side)
        shown = b""
        while True:
            try:
                more = os.read(main, 4096)
            except OSError:  # the other side is closed
                return shown
            if not more:
                return shown
            shown += more


def main():
    command = sys.argv[1:]
    long = at_terminal(command + ["--test-sleep", "--cse", "--dce"])
    assert b"[2/3] cse" in long and b"[3/3] dce" in long, long
    assert long.endswith(b"\r\033[K"), long
    short = at_terminal(command + ["--cse", "--dce"])
    assert short == b"", short
    piped = subprocess.run(command + ["--test-sleep", "--cse"], check=True,
                           capture_output=True)
    assert piped.stderr == b"", piped.stderr
    print("shown where it should be")


if __name__ == "__main__":
    main()
