"""What convolutions multiply with, as matrices."""
import numpy as np


def window_of(kernel, strides=None, dilations=None, pads=None, same=0,
              groups=1):
    n = len(kernel)
    ones, pads = (1,) * n, pads or (0,) * 2 * n
    return (kernel, strides or ones, dilations or ones, pads[:n], pads[n:],
            same, groups)


def im2col(x, window):
    """[places of the output, channels * places of the kernel]."""
    kernel, strides, dilations, begins, ends, same, _ = window
    pads = list(zip(begins, ends))
    for i, k in enumerate(kernel):
        if same:
            size = x.shape[2 + i]
            more = max((-(-size // strides[i]) - 1) * strides[i] +
                       (k - 1) * dilations[i] + 1 - size, 0)
            pads[i] = ((more // 2, more - more // 2) if same == 1 else
                       (more - more // 2, more // 2))
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    taps = []
    for at in np.ndindex(*kernel):
        cut = [slice(None)] * 2
        for i, k in enumerate(at):
            extent = (kernel[i] - 1) * dilations[i]
            cut.append(slice(k * dilations[i],
                             x.shape[2 + i] - extent + k * dilations[i],
                             strides[i]))
        taps.append(x[tuple(cut)])
    columns = np.stack(taps, 2)  # batch, channel, tap, places
    columns = columns.reshape(columns.shape[0], -1,
                              int(np.prod(columns.shape[3:])))
    return columns.transpose(0, 2, 1).reshape(-1, columns.shape[1])
