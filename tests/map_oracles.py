"""Convolutions and poolings as plain matrices, entry by entry, for the oracles of dense layers."""

import itertools

import numpy as np


def pads(places, reach, stride, padding):
    """Return the zeros before each axis, and the number of places behind the window."""
    before, counts = [], []
    for axis, (n, r, s) in enumerate(zip(places, reach, stride, strict=True)):
        if padding == "SAME":
            out = -(-n // s)
            low = max((out - 1) * s + r - n, 0) // 2
        else:
            low, high = (0, 0) if padding == "VALID" else padding[axis]
            out = (n + low + high - r) // s + 1
        before.append(low)
        counts.append(out)
    return before, counts


def windows(places, window, stride, dilation, padding):
    """Yield (place behind the window, place of the window, place of the map), all as tuples."""
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    before, counts = pads(places, reach, stride, padding)
    for out in itertools.product(*map(range, counts)):
        for inside in itertools.product(*map(range, window)):
            seen = tuple(
                o * s - b + i * d for o, s, b, i, d in zip(out, stride, before, inside, dilation, strict=True)
            )
            if all(0 <= at < n for at, n in zip(seen, places, strict=True)):
                yield out, inside, seen


def shape_behind(places, window, stride, dilation, padding):
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    return tuple(pads(places, reach, stride, padding)[1])


class SharedWeights:
    """A kernel's place in the matrix that does what its convolution does.

    ``table[i, j]`` is the flat place in the kernel of the weight from input i to unit j, or -1.
    """

    def __init__(self, in_size, window, channels, stride, dilation, padding, groups=1):
        places, inputs = in_size[:-1], in_size[-1]
        self.kernel_shape = (*window, inputs // groups, channels)
        self.out_size = (*shape_behind(places, window, stride, dilation, padding), channels)
        self.table = np.full((np.prod(in_size), np.prod(self.out_size)), -1)
        for out, inside, seen in windows(places, window, stride, dilation, padding):
            for group, c, k in itertools.product(
                range(groups), range(inputs // groups), range(channels // groups)
            ):
                pre = np.ravel_multi_index((*seen, group * (inputs // groups) + c), in_size)
                channel = group * (channels // groups) + k
                post = np.ravel_multi_index((*out, channel), self.out_size)
                self.table[pre, post] = np.ravel_multi_index((*inside, c, channel), self.kernel_shape)

    def matrix(self, kernel):
        """Spread a kernel out."""
        return np.where(self.table >= 0, kernel.ravel()[self.table], 0.0)

    def gather(self, gradient):
        """Sum the gradients of all places that share a weight."""
        found = np.zeros(np.prod(self.kernel_shape))
        np.add.at(found, self.table[self.table >= 0], gradient[self.table >= 0])
        return found.reshape(self.kernel_shape)


def pooling(in_size, window, stride, padding="VALID"):
    """Return the matrix of a sum over windows, and the map behind it."""
    ones = (1,) * len(window)
    out_size = (*shape_behind(in_size[:-1], window, stride, ones, padding), in_size[-1])
    matrix = np.zeros((np.prod(in_size), np.prod(out_size)))
    for out, _, seen in windows(in_size[:-1], window, stride, ones, padding):
        for c in range(in_size[-1]):
            matrix[np.ravel_multi_index((*seen, c), in_size), np.ravel_multi_index((*out, c), out_size)] = 1.0
    return matrix, out_size
