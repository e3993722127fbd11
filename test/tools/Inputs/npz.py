"""Archives of arrays that are not what they say: npz.py FOLDER."""
import io
import pathlib
import sys
import zipfile
import zlib

import numpy as np

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def archive(name, member="image.npy", data=npy(np.zeros((2, 3), np.float32)),
            method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(folder / name, "w", method) as z:
        z.writestr(member, data)
    return bytearray((folder / name).read_bytes())


def patched(name, found, put, **how):
    data = archive(name, **how)
    assert found in data
    (folder / name).write_bytes(data.replace(found, put))


patched("nul.npz", b"im-ge.npy", b"im\0ge.npy", member="im-ge.npy")

crc = zlib.crc32(npy(np.zeros((2, 3), np.float32))).to_bytes(4, "little")
patched("damaged.npz", crc, b"abcd", method=zipfile.ZIP_STORED)

# The directory names one member 1000 times: 10 MB each.
b = archive("overlap.npz", data=npy(np.zeros(10 << 17)))
at = b.index(b"PK\1\2")
end = b.index(b"PK\5\6")
entry = bytes(b[at:end])
tail = b[end:]
tail[8:12] = (1000).to_bytes(2, "little") * 2
tail[12:16] = (1000 * len(entry)).to_bytes(4, "little")
(folder / "overlap.npz").write_bytes(b[:at] + entry * 1000 + tail)

header = b"\x93NUMPY\x02\0" + (10**6).to_bytes(4, "little") + b"x" * 10**6
(folder / "header.npy").write_bytes(header)
