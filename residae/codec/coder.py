"""Entropy coding: a plane of symbols to bytes and back, with the range coder of `constriction`.

`residae.codec.context` defines the coded stream.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from residae.codec.context import for_each_pass
from residae.codec.tables import ESCAPE, Integers, Symbols, Tables, index_distance, symbol_index
from residae.errors import CodecError

CHUNK = 1 << 14  # symbols in one call of the range coder, whose float32 frequencies then take 8 MB


def encode(symbols: Symbols, plane_index: int, level: int, tables: Tables) -> bytes:
    """Encode one plane.

    Args:
        symbols: (C, h, w), any int32 values.
        plane_index: Index of the plane in `PLANES`.
        level: Quality in hundredths, 0 .. MAX_LEVEL, at which the symbols were quantized.
        tables: The codec's tables.

    Returns:
        The coded plane; its length is a multiple of 4 bytes.
    """
    from constriction import stream  # type: ignore[import-untyped]  # imported here because `info` does not need it

    family, half = stream.model.Categorical(perfect=False), stream.model.Uniform(1 << 16)
    encoder = stream.queue.RangeEncoder()
    flat = symbols.ravel()

    def coder(cells: Integers, nearest: Integers, table: Integers) -> Integers:
        values = flat[cells].astype(np.int64)
        index = symbol_index(values, nearest).astype(np.int32)
        for part in _chunks(len(cells)):
            encoder.encode(index[part], family, tables.frequencies[table[part]])
        escaped = values[index == ESCAPE]
        if len(escaped):
            encoder.encode((escaped >> 16 & 0xFFFF).astype(np.int32), half)
            encoder.encode((escaped & 0xFFFF).astype(np.int32), half)
        return values

    for_each_pass(symbols.shape, plane_index, level, tables, coder)
    return bytes(encoder.get_compressed().astype("<u4").tobytes())


def decode(data: bytes, shape: tuple[int, int, int], plane_index: int, level: int, tables: Tables) -> Symbols:
    """Decode one plane.

    Args:
        data: The coded plane, as `encode` returns it.
        shape: (C, h, w) of the plane.
        plane_index: As in `encode`.
        level: As in `encode`.
        tables: As in `encode`.

    Returns:
        (C, h, w) int32.

    Raises:
        CodecError: `data` is damaged.
    """
    from constriction import stream

    if len(data) % 4:
        raise CodecError("The file is damaged: its symbols do not end where they should.")
    family, half = stream.model.Categorical(perfect=False), stream.model.Uniform(1 << 16)
    decoder = stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    symbols = np.empty(shape, np.int32)
    flat = symbols.reshape(-1)

    def coder(cells: Integers, nearest: Integers, table: Integers) -> Integers:
        parts = [decoder.decode(family, tables.frequencies[table[part]]) for part in _chunks(len(cells))]
        index = np.concatenate(parts).astype(np.int64)
        values = nearest + index_distance(index)
        escaped = np.flatnonzero(index == ESCAPE)
        if len(escaped):
            upper = decoder.decode(half, len(escaped)).astype(np.int64)
            lower = decoder.decode(half, len(escaped)).astype(np.int64)
            values[escaped] = (upper << 16 | lower).astype(np.uint32).view(np.int32)
        flat[cells] = values
        return values

    try:
        for_each_pass(shape, plane_index, level, tables, coder)
    except (AssertionError, ValueError) as error:  # constriction raises these on a stream that no symbols encode to
        raise CodecError("The file is damaged: its symbols make no sense.") from error
    if not decoder.maybe_exhausted():
        raise CodecError("The file is damaged: its symbols do not end where they should.")
    return symbols


def table_indices(symbols: Symbols, plane_index: int, level: int, tables: Tables) -> tuple[Integers, Integers]:
    """The frequency table of each symbol, and its index in the alphabet.

    Args:
        symbols: (C, h, w), any int32 values.
        plane_index: As in `encode`.
        level: As in `encode`.
        tables: As in `encode`.

    Returns:
        (C, h, w) of the tables, each as spread * OFFSETS + offset, and (C, h, w) of indices 0 .. ESCAPE; both int64.
    """
    flat = symbols.ravel()
    chosen, index = np.empty(flat.shape, np.int64), np.empty(flat.shape, np.int64)

    def coder(cells: Integers, nearest: Integers, table: Integers) -> Integers:
        values = flat[cells].astype(np.int64)
        chosen[cells], index[cells] = table, symbol_index(values, nearest)
        return values

    for_each_pass(symbols.shape, plane_index, level, tables, coder)
    return chosen.reshape(symbols.shape), index.reshape(symbols.shape)


def ideal_bits(symbols: Symbols, plane_index: int, level: int, tables: Tables) -> NDArray[np.float64]:
    """The ideal code length of each channel under these tables and contexts: (C,), in bits.

    Args:
        symbols: (C, h, w), any int32 values.
        plane_index: As in `encode`.
        level: As in `encode`.
        tables: As in `encode`.
    """
    bits: NDArray[np.float64] = tables.bits[table_indices(symbols, plane_index, level, tables)].sum(
        (1, 2), dtype=np.float64
    )
    return bits


def static_bits(planes: Iterable[Symbols]) -> float:
    """The order-0 entropy of planes, in bits: the code length with the best static table for each channel.

    The tables themselves are not counted. It is the baseline against which the gain of the context model is measured.

    Args:
        planes: (C, h, w) of the same plane of several pictures.
    """
    bits = 0.0
    for values in zip(*planes, strict=True):
        pooled = np.concatenate([v.ravel() for v in values])
        count = np.unique(pooled, return_counts=True)[1]
        bits += float(count @ np.log2(pooled.size / count))
    return bits


def _chunks(length: int) -> Iterator[slice]:
    for start in range(0, length, CHUNK):
        yield slice(start, start + CHUNK)
