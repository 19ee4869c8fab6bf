# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
"""All blocks of a model for the new token of each sequence, in one call.

In a model of many thin layers calls from Python and starts of parallel loops weigh beside the work, so threads are
started once a token here, and each goes through all blocks:

    norm | q k v | attention | out, added | norm | up | gate | down, added | norm of the next block | ...

Each part is cut into units. A thread takes the next unit by counting a ticket up, and goes on to the next part when all
units of this one are done. So nothing hangs on how many threads there really are, and a thread that was kept from
running leaves its units to the others. Who computes a unit changes no number.

    bf16      one sequence: matrices as they lie (N, C), sums in fp32
    8, 4 bit  any number of sequences: strips (`compiled_tiles`), activations rounded per group (`compiled_groups`)

Covered: RMSNorm before attention and MLP, SwiGLU, rotary positions or none, norms of q and k, biases; `blocks.py`
decides.
The residual stream is fp32 within a block and bf16 between two, as between separate calls.

Legend: M sequences, C model width, H query heads, K key/value heads, D head width, F MLP width, G groups of 32 columns.
"""

from __future__ import annotations

import platform
import sys
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.core.errors import NumbaError
from torch import Tensor

from ziggurat.model.cpu import compiled_groups
from ziggurat.model.cpu.compiled_decoding import attend_heads
from ziggurat.model.cpu.compiled_groups import room, round_row, strips_times_rows
from ziggurat.model.cpu.compiled_numbers import (
    bits,
    exp,
    intrinsic,
    inverse_rms,
    narrow,
    narrow_for,
    share_threads,
    widen,
)
from ziggurat.model.cpu.compiled_tiles import BITS8, GROUP, STRIP, at_address, carray
from ziggurat.model.cpu.groups import strip_bytes

BF16 = 16
"""The kind of a matrix that is no strips of 8 or 4 bits."""
NORM1, NORM2, GAINS, TURN, MATRICES = range(5)
"""Columns of a layer's table: addresses of fp32 gains (0: none), which rotary table (0: none), then the matrices."""
KIND, ADDRESS, STRIP_BYTES, FINE, BIAS, MATRIX_COLUMNS = range(6)
QKV, OUT, UP, DOWN = (MATRICES + MATRIX_COLUMNS * place for place in range(4))
COLUMNS = MATRICES + 4 * MATRIX_COLUMNS
PARTS = 9
"""Of a block, each waited for."""
UNITS_A_THREAD = 6
"""Of a matrix: more share it more evenly, fewer read longer pieces of memory."""
SPINS = 2000
"""How often a thread looks whether the others are done before it lets another program run."""


# --- tickets ----------------------------------------------------------------------------------------------------------


@intrinsic
def _add(_typing: Any, _address: Any, _number: Any) -> Any:
    """Adds to an int64 that threads share; what it was before."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        where = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", where, arguments[1], "acq_rel")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _look(_typing: Any, _address: Any) -> Any:
    """An int64 that threads share; what was written before it was counted up is seen afterwards."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        where = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(where, "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def _rest(_typing: Any, _yields: Any) -> Any:
    """Between two looks: a hint to the processor, or with `yields` the rest of this thread's time to others."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        nothing = ir.FunctionType(ir.VoidType(), [])
        if platform.machine() in ("x86_64", "AMD64"):
            builder.call(cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.pause"), [])
        if sys.platform != "win32":
            with builder.if_then(arguments[0]):
                give = ir.FunctionType(ir.IntType(32), [])
                builder.call(cgutils.get_or_insert_function(builder.module, give, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(types.boolean), generate


@njit(nogil=True, cache=True)
def _take(tickets, part):
    """The next unit of this part; `tickets`: the address of 64 bytes for each part: the next unit, units done."""
    return _add(tickets + 64 * part, 1)


@njit(nogil=True, cache=True)
def _wait(tickets, part, mine, units):
    """Until all units of this part are done, of which this thread did `mine`."""
    done = tickets + 64 * part + 8
    if mine:
        _add(done, mine)
    spins = 0
    while _look(done) < units:
        spins += 1
        _rest(spins % SPINS == 0)


# --- what the parts share ---------------------------------------------------------------------------------------------


class Digits(NamedTuple):
    """Rows of activations, rounded per group (`compiled_groups.round_row`)."""

    digits: Any  # (tiles, G, 8, 32) int8
    steps: Any  # (tiles, G, 8) fp32
    offsets: Any  # as steps, int32
    shares: Any  # as steps


class Desk(NamedTuple):
    """What all threads read and write."""

    tickets: Any  # their address (`_take`)
    workers: Any  # threads that are asked for
    rounds: Any  # whether the matrices have 8 or 4 bits
    eps: Any
    stream: Any  # (M, C) fp32, the residual stream
    normed: Any  # (M, C) fp32
    qkv: Any  # (M, (H + 2 K) D) bf16
    mixed: Any  # (M, H D) bf16
    wide: Any  # the same in fp32
    gate_up: Any  # (M, 2 F) fp32
    hidden: Any  # (M, F) fp32
    written: Any  # (M, C) fp32, what attention or MLP adds to the stream
    scores: Any  # (M H, keys) fp32
    heads: Any  # (M H, 3, D) fp32, what a unit of attention works on


@njit(nogil=True, cache=True)
def _round_groups(x, m, first, last, fine, rows):
    round_row(x[m], m, first, last, fine != 0, rows.digits, rows.steps, rows.offsets, rows.shares)


# --- the parts of a block ---------------------------------------------------------------------------------------------


@njit(fastmath=True, nogil=True, cache=True)
def _add_written(desk, m, ends_block):
    """The stream of a sequence gets what was written, and is rounded where a block ends."""
    stream, written = desk.stream[m], desk.written[m]
    for c in range(len(stream)):
        stream[c] += written[c]
    if ends_block:
        for c in range(len(stream)):
            stream[c] = widen(narrow(stream[c]))


@njit(fastmath=True, nogil=True, cache=True)
def _norm(desk, part, gain_address, adds, ends_block, fine, rows):
    """A unit is a sequence: what the last part wrote is added, then normalised."""
    M, C = desk.stream.shape
    gain = carray(at_address(gain_address), (C,), np.float32)
    mine, m = 0, _take(desk.tickets, part)
    while m < M:
        if adds:
            _add_written(desk, m, ends_block)
        stream, normed = desk.stream[m], desk.normed[m]
        scale = inverse_rms(stream, desk.eps)
        for c in range(C):
            normed[c] = stream[c] * scale * gain[c]
        if desk.rounds:
            _round_groups(desk.normed, m, 0, rows.steps.shape[1], fine, rows)
        mine, m = mine + 1, _take(desk.tickets, part)
    _wait(desk.tickets, part, mine, M)


@njit(fastmath=True, nogil=True, cache=True)
def _rows_times_one(matrix, C, first, last, x, bias, y):
    """y (N) from `first` to `last` - 1: rows of the bf16 matrix (N, C) at an address times x (C), fp32."""
    weight = carray(at_address(matrix), (last, C), np.int16)
    for n in range(first, last):
        row, total = weight[n], np.float32(0)
        for c in range(C):
            total += x[c] * widen(row[c])
        y[n] = narrow_for(y, total + bias[n] if len(bias) else total)


@njit(nogil=True, cache=True)
def _product(desk, part, layer, at, x, rows, y):
    """A unit is some strips: the matrix at column `at` of the layer's table times x (1, C) or the rows of digits."""
    N = y.shape[1]
    kind, matrix, bias_address = layer[at + KIND], layer[at + ADDRESS], layer[at + BIAS]
    bias = carray(at_address(bias_address), (N if bias_address else 0,), np.float32)
    strips = (N + STRIP - 1) // STRIP
    size = max(1, strips // (UNITS_A_THREAD * desk.workers))
    units = (strips + size - 1) // size
    mine, unit = 0, _take(desk.tickets, part)
    while unit < units:
        first, last = unit * size, min(strips, (unit + 1) * size)
        if kind == BF16:
            _rows_times_one(matrix, x.shape[1], first * STRIP, min(N, last * STRIP), x[0], bias, y[0])
        else:
            strips_times_rows(
                kind, matrix, layer[at + STRIP_BYTES], first, last, layer[at + FINE] != 0,
                rows.digits, rows.steps, rows.offsets, rows.shares, bias, y,
            )  # fmt: skip
        mine, unit = mine + 1, _take(desk.tickets, part)
    _wait(desk.tickets, part, mine, units)


@njit(nogil=True, cache=True)
def _attention(desk, part, layer, turns, keys, values, lengths, rows):
    """A unit is the heads of a sequence that share a key head; with few sequences, one head."""
    M, K, D = len(lengths), keys.shape[1], keys.shape[3]
    H = desk.mixed.shape[1] // D
    together = H // K if 2 * desk.workers <= M * K else 1
    gains_address = layer[GAINS]
    gains = carray(at_address(gains_address), (H + K, D if gains_address else 0), np.float32)
    units = M * H // together
    whole_groups = together * D % GROUP == 0
    mine, unit = 0, _take(desk.tickets, part)
    while unit < units:
        m, head = unit * together // H, unit * together % H
        attend_heads(
            desk.qkv[m], gains, desk.eps, turns[m], keys[m], values[m], lengths[m], head, head + together,
            desk.scores[unit], desk.heads[unit], desk.mixed[m],
        )  # fmt: skip
        for n in range(head * D, (head + together) * D):
            desk.wide[m, n] = widen(desk.mixed[m, n])
        if desk.rounds and whole_groups:
            _round_groups(
                desk.wide, m, head * D // GROUP, (head + together) * D // GROUP, layer[OUT + FINE], rows
            )
        mine, unit = mine + 1, _take(desk.tickets, part)
    _wait(desk.tickets, part, mine, units)
    if desk.rounds and not whole_groups:
        mine, m = 0, _take(desk.tickets, part + 1)
        while m < M:
            _round_groups(desk.wide, m, 0, rows.steps.shape[1], layer[OUT + FINE], rows)
            mine, m = mine + 1, _take(desk.tickets, part + 1)
        _wait(desk.tickets, part + 1, mine, M)


@njit(fastmath=True, nogil=True, cache=True)
def _gate(desk, part, fine, rows):
    """A unit is some groups of a sequence: hidden = silu(gate) * up."""
    M, F = desk.hidden.shape
    G = rows.steps.shape[1]
    size = G if desk.workers <= M else max(1, G // (2 * desk.workers))
    pieces = (G + size - 1) // size
    mine, unit = 0, _take(desk.tickets, part)
    while unit < M * pieces:
        m, first = unit // pieces, unit % pieces * size
        last = min(G, first + size)
        gate_up, hidden = desk.gate_up[m], desk.hidden[m]
        for f in range(first * GROUP, min(F, last * GROUP)):
            hidden[f] = gate_up[f] / (np.float32(1) + exp(-gate_up[f])) * gate_up[F + f]
        if desk.rounds:
            _round_groups(desk.hidden, m, first, last, fine, rows)
        mine, unit = mine + 1, _take(desk.tickets, part)
    _wait(desk.tickets, part, mine, M * pieces)


@njit(nogil=True, cache=True)
def _work(
    layers, first, rotary, window_rotary, keys, values, lengths, tickets, workers, rounds, eps,
    stream, normed, qkv, mixed, wide, gate_up, hidden, written, scores, heads,
    digits, steps, offsets, shares, h_digits, h_steps, h_offsets, h_shares, f_digits, f_steps, f_offsets, f_shares,
):  # fmt: skip
    """What one thread does of every block."""
    desk = Desk(
        tickets,
        workers,
        rounds,
        eps,
        stream,
        normed,
        qkv,
        mixed,
        wide,
        gate_up,
        hidden,
        written,
        scores,
        heads,
    )
    of_stream, of_heads = (
        Digits(digits, steps, offsets, shares),
        Digits(h_digits, h_steps, h_offsets, h_shares),
    )
    of_hidden = Digits(f_digits, f_steps, f_offsets, f_shares)
    for number in range(len(layers)):
        layer, part, held = layers[number], number * PARTS, first + number
        turns = window_rotary if layer[TURN] == 2 else rotary
        if layer[TURN] == 0:
            turns = rotary[:, :, :0]
        _norm(desk, part, layer[NORM1], number > 0, True, layer[QKV + FINE], of_stream)
        _product(desk, part + 1, layer, QKV, normed, of_stream, qkv)
        _attention(desk, part + 2, layer, turns, keys[held], values[held], lengths, of_heads)
        _product(desk, part + 4, layer, OUT, wide, of_heads, written)
        _norm(desk, part + 5, layer[NORM2], True, False, layer[UP + FINE], of_stream)
        _product(desk, part + 6, layer, UP, normed, of_stream, gate_up)
        _gate(desk, part + 7, layer[DOWN + FINE], of_hidden)
        _product(desk, part + 8, layer, DOWN, hidden, of_hidden, written)


@njit(parallel=True, nogil=True, cache=True)
def _through(
    x, layers, first, F, qkv_rows, heads_width, eps, rotary, window_rotary, keys, values, lengths, workers, y
):
    (M, C), D = x.shape, keys.shape[4]
    H = heads_width // D
    rounds = layers[0, QKV + KIND] != BF16
    tickets = np.zeros((len(layers) * PARTS, 8), np.int64)
    stream, normed, written = (
        np.empty((M, C), np.float32),
        np.empty((M, C), np.float32),
        np.empty((M, C), np.float32),
    )
    qkv, mixed = np.empty((M, qkv_rows), np.int16), np.empty((M, heads_width), np.int16)
    wide, gate_up, hidden = (
        np.empty((M, heads_width), np.float32), np.empty((M, 2 * F), np.float32), np.empty((M, F), np.float32),
    )  # fmt: skip
    scores, heads = np.empty((M * H, np.max(lengths) + 1), np.float32), np.empty((M * H, 3, D), np.float32)
    digits, steps, offsets, shares = room(2 * M, C)
    h_digits, h_steps, h_offsets, h_shares = room(2 * M, heads_width)
    f_digits, f_steps, f_offsets, f_shares = room(2 * M, F)
    for m in range(M):
        for c in range(C):
            stream[m, c] = widen(x[m, c])
    for _ in prange(workers):
        _work(
            layers, first, rotary, window_rotary, keys, values, lengths, tickets.ctypes.data, workers, rounds, eps,
            stream, normed, qkv, mixed, wide, gate_up, hidden, written, scores, heads,
            digits, steps, offsets, shares, h_digits, h_steps, h_offsets, h_shares,
            f_digits, f_steps, f_offsets, f_shares,
        )  # fmt: skip
    for m in range(M):
        for c in range(C):
            y[m, c] = narrow(stream[m, c] + written[m, c])


def through(
    x: Tensor,
    layers: npt.NDArray[np.int64],
    first: int,
    F: int,
    heads: tuple[int, int],
    eps: float,
    rotary: Tensor,
    window_rotary: Tensor,
    keys: Tensor,
    values: Tensor,
    lengths: npt.NDArray[np.int64],
) -> Tensor:
    """x (M, C) bf16 -> what the last of these blocks writes, (M, C).

    layers: tables of the blocks from `first` on (n, COLUMNS); heads H and K; rotary tables' rows (M, 2, D) bf16, or
    (M, 2, 0); keys and values (all layers, slots, K, capacity, D) bf16, of which slots 0..M-1 hold `lengths` tokens and
    get one more. `blocks.py` keeps what the addresses point to.
    """
    (H, K), D = heads, keys.shape[4]
    y = torch.empty_like(x)
    share_threads()
    _through(
        bits(x), layers, first, F, (H + 2 * K) * D, H * D, np.float32(eps), bits(rotary), bits(window_rotary),
        bits(keys), bits(values), lengths, numba.get_num_threads(), bits(y),
    )  # fmt: skip
    return y


def work() -> bool:
    """Whether they compile and run here: two sequences through two blocks that write nothing."""
    if not compiled_groups.work():
        return False
    C, heads, F, D = 40, (4, 2), 48, 16
    x, turn = torch.linspace(-3, 3, 2 * C).view(2, C).bfloat16(), torch.zeros(2, 2, 0, dtype=torch.bfloat16)
    gains, layers = torch.ones(C), np.zeros((2, COLUMNS), np.int64)
    layers[:, [NORM1, NORM2]] = gains.data_ptr()
    kept = []
    for at, columns, N in ((QKV, C, 128), (OUT, 64, C), (UP, C, 2 * F), (DOWN, F, C)):
        strips = torch.zeros(-(-N // STRIP), strip_bytes(columns, BITS8)[0], dtype=torch.uint8)
        layers[:, at : at + MATRIX_COLUMNS] = np.array(
            [BITS8, strips.data_ptr(), strips.shape[1], at == UP, 0]
        )
        kept.append(strips)
    keys, values = (torch.ones(2, 2, 2, 8, D, dtype=torch.bfloat16) for _ in range(2))
    try:
        y = through(x, layers, 0, F, heads, 1e-6, turn, turn, keys, values, np.array([3, 0]))
    except (NumbaError, OSError):
        return False
    return (
        torch.equal(y, x)
        and not keys[:, 0, :, 3].any()
        and not values[:, 1, :, 0].any()
        and bool(keys[:, 0, :, :3].all())
    )
