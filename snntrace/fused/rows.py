"""Rows of synapses: weights gathered at events, and traces brought up to date at events.

The synapses of one presynaptic unit are a row. Its traces e, S numbers a synapse, are touched at the end of a
window in which the unit had events, and otherwise once in `RING` windows. With ``Phi`` the unit's own
transition since the row was last touched, ``mu`` what the learning signals of that time give for each state
it began with, and ``post`` the signals at the steps of this window,

    G   += sum_q mu_q e_q + sum_s x^s post_0^s
    e_q <- sum_r Phi_qr e_r + sum_s x^s post_q^s
"""

from __future__ import annotations

from typing import Any

from snntrace.events.rows import compiled

RING = 32
"""Windows after which a silent row is brought up to date."""
BLOCK = 512
"""Columns that are worked on together, so that a window's signals stay in the cache."""


@compiled
def copy_within(w: Any, to: int, at: int, n: int) -> None:
    """Copy numbers from one place to another."""
    y, x = w[to : to + n], w[at : at + n]
    for i in range(n):
        y[i] = x[i]


@compiled
def add_within(w: Any, to: int, at: int, n: int) -> None:
    """Add numbers at one place to those at another."""
    y, x = w[to : to + n], w[at : at + n]
    for i in range(n):
        y[i] += x[i]


@compiled
def fill(w: Any, at: int, n: int, value: Any) -> None:
    """Set numbers."""
    y = w[at : at + n]
    for i in range(n):
        y[i] = value


@compiled
def add_two(y: Any, a: Any, b: Any, p: Any, q: Any) -> None:
    """Add multiples of two rows."""
    for i in range(y.size):
        y[i] += p * a[i] + q * b[i]


@compiled
def add_four(y: Any, a: Any, b: Any, c: Any, d: Any, p: Any, q: Any, r: Any, s: Any) -> None:
    """Add multiples of four rows."""
    for i in range(y.size):
        y[i] += (p * a[i] + q * b[i]) + (r * c[i] + s * d[i])


@compiled
def add_events(
    w: Any, to: int, n: int, source: Any, at: int, m: Any, units: int, sizes: int, first: int, stop: int
) -> None:
    """Add multiples of a matrix's rows, those of the events from `first` to `stop` of a list."""
    y = w[to : to + n]
    e = first
    while e + 4 <= stop:
        a, b = at + m[units + e] * n, at + m[units + e + 1] * n
        c, d = at + m[units + e + 2] * n, at + m[units + e + 3] * n
        add_four(
            y, source[a : a + n], source[b : b + n], source[c : c + n], source[d : d + n],
            w[sizes + e], w[sizes + e + 1], w[sizes + e + 2], w[sizes + e + 3],
        )  # fmt: skip
        e += 4
    while e < stop:
        a, x = at + m[units + e] * n, w[sizes + e]
        row = source[a : a + n]
        for i in range(n):
            y[i] += x * row[i]
        e += 1


@compiled
def add_signal(w: Any, to: int, signal: Any, matrix: Any, at: int, n: int) -> None:
    """Add the product of a signal (K,) and a matrix (K, n) that begins at a place."""
    y, k = w[to : to + n], 0
    while k + 4 <= signal.size:
        p, q, r, s = signal[k], signal[k + 1], signal[k + 2], signal[k + 3]
        if p != 0 or q != 0 or r != 0 or s != 0:
            a = at + k * n
            b, c, d = a + n, a + 2 * n, a + 3 * n
            add_four(
                y, matrix[a : a + n], matrix[b : b + n], matrix[c : c + n], matrix[d : d + n], p, q, r, s
            )
        k += 4
    while k < signal.size:
        p, row = signal[k], matrix[at + k * n : at + k * n + n]
        for i in range(n):
            y[i] += p * row[i]
        k += 1


@compiled
def add_to_rows(
    g: Any, at: int, n: int, w: Any, row: int, m: Any, units: int, sizes: int, first: int, stop: int
) -> None:
    """Add multiples of a row to the matrix rows of some events."""
    x = w[row : row + n]
    for e in range(first, stop):
        to, size = at + m[units + e] * n, w[sizes + e]
        y = g[to : to + n]
        for i in range(n):
            y[i] += size * x[i]


@compiled
def list_events(x: Any, w: Any, m: Any, units: int, sizes: int, position: int) -> int:
    """Append the numbers of a row that are not zero to a list; return its end."""
    for begin in range(0, x.size, 32):
        end = min(begin + 32, x.size)
        some = False
        for i in range(begin, end):
            some |= x[i] != 0
        if some:
            for i in range(begin, end):
                if x[i] != 0:
                    m[units + position] = i
                    w[sizes + position] = x[i]
                    position += 1
    return position


@compiled
def sort_events(
    w: Any,
    m: Any,
    pointers: int,
    units: int,
    sizes: int,
    steps: int,
    n_pre: int,
    starts: int,
    when: int,
    size: int,
) -> None:
    """Sort a window's events by their unit.

    Those of unit u are at ``m[starts + u]`` to ``m[starts + u + 1]``, the step of each at ``m[when]`` and its
    size at ``w[size]``, in the order of time.
    """  # fmt: skip
    first, stop = m[pointers], m[pointers + steps]
    for u in range(n_pre + 2):
        m[starts + u] = 0
    for e in range(first, stop):
        m[starts + m[units + e] + 2] += 1
    for u in range(n_pre):
        m[starts + u + 2] += m[starts + u + 1]
    for t in range(steps):
        for e in range(m[pointers + t], m[pointers + t + 1]):
            u = m[units + e]
            place = m[starts + u + 1]
            m[starts + u + 1] = place + 1
            m[when + place] = t
            w[size + place] = w[sizes + e]


@compiled
def settle_one(
    w: Any, g: Any, to: int, e_at: int, slot: int, n: int, p: int, q: int, shift: int, x: Any, y: Any, k: int
) -> None:
    """Bring k columns of a row with one state up to date, and add two events of posts at p and q."""
    e, mu = w[e_at : e_at + k], w[slot + n : slot + n + k]
    gradient, a, b = g[to : to + k], w[p : p + k], w[q : q + k]
    for i in range(k):
        gradient[i] += mu[i] * e[i] + (x * a[i] + y * b[i])
    phi, c, d = w[slot : slot + k], w[p + shift : p + shift + k], w[q + shift : q + shift + k]
    for i in range(k):
        e[i] = phi[i] * e[i] + (x * c[i] + y * d[i])


@compiled
def settle_more(
    w: Any, g: Any, to: int, e_at: int, slot: int, n: int, spare: int, n_states: int, k: int
) -> None:
    """Bring k columns of a row with several states up to date; `spare` is room for their new values."""
    gradient = g[to : to + k]
    for r in range(n_states):
        mu = w[slot + (n_states * n_states + r) * n : slot + (n_states * n_states + r) * n + k]
        e = w[e_at + r * n : e_at + r * n + k]
        for i in range(k):
            gradient[i] += mu[i] * e[i]
    for q in range(n_states):
        y = w[spare + q * k : spare + q * k + k]
        phi = w[slot + q * n_states * n : slot + q * n_states * n + k]
        e = w[e_at : e_at + k]
        for i in range(k):
            y[i] = phi[i] * e[i]
        for r in range(1, n_states):
            phi = w[slot + (q * n_states + r) * n : slot + (q * n_states + r) * n + k]
            e = w[e_at + r * n : e_at + r * n + k]
            for i in range(k):
                y[i] += phi[i] * e[i]
    for q in range(n_states):
        copy_within(w, e_at + q * n, spare + q * k, k)


@compiled
def add_posts(
    w: Any,
    g: Any,
    to: int,
    e_at: int,
    n: int,
    post: int,
    shift: int,
    n_states: int,
    k: int,
    m: Any,
    when: int,
    size: int,
    first: int,
    stop: int,
) -> None:
    """Add events of a window to k columns of a row's gradient and traces."""  # fmt: skip
    e = first
    while e < stop:
        left = stop - e
        s0, x0 = post + m[when + e] * n, w[size + e]
        s1, x1 = (post + m[when + e + 1] * n, w[size + e + 1]) if left > 1 else (s0, 0 * x0)
        if left > 2:
            s2, x2 = post + m[when + e + 2] * n, w[size + e + 2]
            s3, x3 = (post + m[when + e + 3] * n, w[size + e + 3]) if left > 3 else (s2, 0 * x2)
        for c in range(n_states + 1):
            y = g[to : to + k] if c == 0 else w[e_at + (c - 1) * n : e_at + (c - 1) * n + k]
            a, b = w[s0 : s0 + k], w[s1 : s1 + k]
            if left > 2:
                add_four(y, a, b, w[s2 : s2 + k], w[s3 : s3 + k], x0, x1, x2, x3)
                s2 += shift
                s3 += shift
            else:
                add_two(y, a, b, x0, x1)
            s0 += shift
            s1 += shift
        e += 4


@compiled
def fade(w: Any, at: int, n: int, tiny: Any) -> bool:
    """Set numbers below `tiny` to zero; tell whether none is left."""
    y = w[at : at + n]
    some = False
    for i in range(n):
        large = abs(y[i]) >= tiny
        y[i] = y[i] if large else 0
        some |= large
    return not some


@compiled
def settle_row(
    w: Any,
    g: Any,
    to: int,
    e_at: int,
    slot: int,
    n: int,
    spare: int,
    n_states: int,
    post: int,
    shift: int,
    k: int,
    m: Any,
    when: int,
    size: int,
    first: int,
    stop: int,
) -> None:
    """Bring k columns of a row up to date, and add the events of this window."""  # fmt: skip
    if n_states == 1:
        if first == stop:
            zero = 0 * w[slot]
            settle_one(w, g, to, e_at, slot, n, slot, slot, 0 * n, zero, zero, k)
            return
        p, x = post + m[when + first] * n, w[size + first]
        q, y = p, 0 * x
        if stop - first > 1:
            q, y = post + m[when + first + 1] * n, w[size + first + 1]
        settle_one(w, g, to, e_at, slot, n, p, q, shift, x, y, k)
        first = min(first + 2, stop)
    else:
        settle_more(w, g, to, e_at, slot, n, spare, n_states, k)
    add_posts(w, g, to, e_at, n, post, shift, n_states, k, m, when, size, first, stop)


@compiled
def settle_window(
    w: Any,
    g: Any,
    m: Any,
    gradient: int,
    traces: int,
    stamps: int,
    starts: int,
    when: int,
    size: int,
    ring: int,
    spare: int,
    post: int,
    shift: int,
    n_pre: int,
    n: int,
    n_states: int,
    window: int,
    tiny: Any,
) -> None:
    """Bring the rows up to date that had events in a window, and those whose turn it is.

    A row's stamp is the window from whose beginning on nothing has been added to its traces; -1: they are
    zero.
    """  # fmt: skip
    share = (n_pre + RING - 1) // RING
    begin = (window % RING) * share
    end = min(begin + share, n_pre)
    length = n_states * n_states + n_states
    for column in range(0, n, BLOCK):
        k = min(BLOCK, n - column)
        for u in range(n_pre):
            first, stop = m[starts + u], m[starts + u + 1]
            stamp = m[stamps + u]
            if first == stop and (stamp < 0 or u < begin or u >= end):
                continue
            # A row without traces may take any slot: this window's.
            slot = ring + ((stamp if stamp >= 0 else window) % RING) * length * n + column
            settle_row(
                w, g, gradient + u * n + column, traces + u * n_states * n + column, slot, n, spare, n_states,
                post + column, shift, k, m, when, size, first, stop,
            )  # fmt: skip
    for u in range(n_pre):
        first, stop = m[starts + u], m[starts + u + 1]
        if first != stop:
            m[stamps + u] = window + 1
        elif m[stamps + u] >= 0 and begin <= u < end:
            faded = fade(w, traces + u * n_states * n, n_states * n, tiny)
            m[stamps + u] = -1 if faded else window + 1


@compiled
def settle_all(
    w: Any,
    g: Any,
    m: Any,
    gradient: int,
    traces: int,
    stamps: int,
    ring: int,
    spare: int,
    n_pre: int,
    n: int,
    n_states: int,
    window: int,
) -> None:
    """Bring every row up to date with the beginning of a window."""  # fmt: skip
    # Not a literal: functions are compiled anew for each literal argument.
    length, zero = n_states * n_states + n_states, 0 * n
    for u in range(n_pre):
        stamp = m[stamps + u]
        if stamp < 0 or stamp == window:
            continue
        for column in range(0, n, BLOCK):
            k = min(BLOCK, n - column)
            settle_row(
                w, g, gradient + u * n + column, traces + u * n_states * n + column,
                ring + (stamp % RING) * length * n + column, n, spare, n_states,
                zero, zero, k, m, zero, zero, zero, zero,
            )  # fmt: skip
        m[stamps + u] = window


HELPERS: dict[str, Any] = {
    f.__name__: f for f in (copy_within, add_within, fill, add_events, add_signal, add_to_rows, list_events)
}
"""What generated kernels call."""
