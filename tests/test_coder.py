"""Every plane of symbols is decoded exactly, the coded bytes never change, and damage is refused."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from residae.codec import coder
from residae.codec import tables as tables_module
from residae.codec.context import CLIP, Context
from residae.codec.tables import ESCAPE, MAX_DISTANCE, OFFSETS, ONE, TOTAL, Symbols, Tables
from residae.errors import CheckpointError, CodecError
from residae.quality import MAX_LEVEL

INT32 = np.iinfo(np.int32)


def _tables(channels: int) -> Tables:
    """Tables in which no weight is 0, and predictions have fractions."""
    plain = Tables.default(channels)
    mean = (np.arange(plain.mean_weights.size, dtype=np.int32) * 7919) % 601 - 300
    spread = (np.arange(plain.mean_weights.size, dtype=np.int32) * 104_729) % 701 + 40
    shape = plain.mean_weights.shape
    return replace(plain, mean_weights=mean.reshape(shape), spread_weights=spread.reshape(shape))


TABLES = {channels: _tables(channels) for channels in (1, 2, 3)}


def _pattern(shape: tuple[int, int, int]) -> Symbols:
    i = np.arange(np.prod(shape), dtype=np.int64)
    return ((i * i * 7 + 3 * i) % 11 - 5).reshape(shape).astype(np.int32)


@st.composite
def _planes(draw: st.DrawFn) -> Symbols:
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))
    some = st.one_of(
        st.integers(-3, 3), st.integers(-2 * MAX_DISTANCE, 2 * MAX_DISTANCE), st.integers(INT32.min, INT32.max)
    )
    return draw(arrays(np.int32, shape, elements=some))


@settings(max_examples=200, deadline=None)
@given(_planes(), st.integers(0, 2), st.integers(0, MAX_LEVEL))
def test_all_symbols_are_decoded_exactly(symbols: Symbols, plane_index: int, level: int) -> None:
    tables = TABLES[len(symbols)]
    data = coder.encode(symbols, plane_index, level, tables)
    assert np.array_equal(coder.decode(data, symbols.shape, plane_index, level, tables), symbols)
    ideal = coder.ideal_bits(symbols, plane_index, level, tables).sum() / 8
    assert ideal * 0.999 <= len(data) <= ideal * 1.001 + 5  # the coder ends on a word of 4 bytes


def test_another_decoder_from_the_docstring_reads_the_bytes() -> None:
    tables, symbols = TABLES[2], _pattern((2, 4, 5))
    words = np.frombuffer(coder.encode(symbols, 0, 5000, tables), "<u4").tolist()
    chosen, expected = (array.reshape(2, -1) for array in coder.table_indices(symbols, 0, 5000, tables))
    size, lower, point = 2**64 - 1, 0, words[0] << 32 | (words[1] if len(words) > 1 else 0)
    rest = words[2:]
    found = []
    cells = Context(symbols.shape).cells
    for table in [int(t) for plane in chosen for phase in cells for t in plane[phase]]:
        edges = [0, *np.cumsum(tables.counts.reshape(-1, tables_module.ALPHABET)[table]).tolist()]
        step = size >> 24
        index = int(np.searchsorted(edges, (point - lower) % 2**64 // step, side="right")) - 1
        found.append(index)
        lower, size = (lower + step * edges[index]) % 2**64, step * (edges[index + 1] - edges[index])
        if size < 2**32:
            size, lower = size << 32, (lower << 32) % 2**64
            point = (point << 32) % 2**64 + (rest.pop(0) if rest else 0)
    assert found == [int(i) for plane in expected for phase in cells for i in plane[phase]]
    assert rest == []


def test_extremes_beside_each_other() -> None:
    symbols = np.resize(np.array([INT32.min, INT32.max, 0, -1, 2**16, -(2**16)], np.int32), (3, 5, 7))
    data = coder.encode(symbols, 0, 1234, TABLES[3])
    assert np.array_equal(coder.decode(data, symbols.shape, 0, 1234, TABLES[3]), symbols)


def test_more_symbols_than_are_handed_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    symbols = _pattern((2, 9, 11))
    whole = coder.encode(symbols, 0, MAX_LEVEL, TABLES[2])
    monkeypatch.setattr(coder, "CHUNK", 7)
    assert coder.encode(symbols, 0, MAX_LEVEL, TABLES[2]) == whole
    assert np.array_equal(coder.decode(whole, symbols.shape, 0, MAX_LEVEL, TABLES[2]), symbols)


def test_the_format_stays() -> None:
    """These bytes must not change, or existing files can no longer be read."""
    symbols = _pattern((2, 3, 4))
    symbols[1, 2, 3] = -70_000
    assert coder.encode(symbols, 1, 3333, TABLES[2]).hex() == GOLDEN
    assert hashlib.sha256(tables_module.laplace_counts().tobytes()).hexdigest()[:16] == GOLDEN_COUNTS


def test_features_are_those_of_the_format() -> None:
    """The features of every cell, computed from the whole plane one by one, as the docstring defines them."""
    symbols = _pattern((2, 3, 4))
    symbols[0, 1, 1] = 10**6  # clipped in contexts
    context = Context(symbols.shape)
    for channel, plane in enumerate(symbols.reshape(2, -1)):
        for phase, cells in enumerate(context.cells):
            context.update(channel, phase, plane[cells])
    padded = np.pad(np.clip(symbols, -CLIP, CLIP).astype(int), ((0, 0), (1, 1), (1, 1)))
    for phase, cells in enumerate(context.cells):
        for i, cell in enumerate(cells):
            row, column = divmod(int(cell), 4)
            assert (row + column) % 2 == phase
            signed, absolute = [1], [1]
            for plane in padded:
                ring = [plane[row + 1 + y, column + 1 + x] for y, x in ((-1, 0), (1, 0), (0, -1), (0, 1))]
                here = plane[row + 1, column + 1]
                signed += [sum(ring), here]
                absolute += [sum(map(abs, ring)), abs(here)]
            assert context.signed[phase][:, i].tolist() == signed
            assert context.absolute[phase][:, i].tolist() == absolute


def test_a_good_prediction_saves_bytes() -> None:
    """A ramp takes fewer bits if the second pass predicts it from its neighbors than without a prediction."""
    plain = Tables.default(1)
    mean = plain.mean_weights.copy()
    mean[..., 1, 1] = ONE // 4
    spread = plain.spread_weights.copy()
    spread[..., 1, 0], spread[..., 1, 1] = ONE // 8, 0
    predicting = replace(plain, mean_weights=mean, spread_weights=spread)
    ramp = np.add.outer(np.arange(16), np.arange(24))[None].astype(np.int32)
    blind, seeing = (coder.ideal_bits(ramp, 0, 0, tables)[0] for tables in (plain, predicting))
    assert seeing < 0.9 * blind


def test_static_bits_are_the_order_0_entropy_of_each_channel() -> None:
    one = np.array([[[0, 0, 1, 1]], [[5, 5, 5, 5]]], np.int32)
    other = np.array([[[2, 2, 3, 3]], [[5, 5, 5, 5]]], np.int32)
    assert coder.static_bits([one]) == pytest.approx(4)
    assert coder.static_bits([one, other]) == pytest.approx(16)  # four symbols alike in the first channel


def test_bits_by_channel_add_up() -> None:
    symbols = np.zeros((3, 8, 8), np.int32)
    symbols[1] = _pattern((1, 8, 8))
    symbols[1, 0, 0] = INT32.max
    bits = coder.ideal_bits(symbols, 0, 0, Tables.default(3))
    assert bits.argmax() == 1
    assert len(coder.encode(symbols, 0, 0, Tables.default(3))) == pytest.approx(bits.sum() / 8, abs=5)


def test_random_words_are_refused_or_decoded() -> None:
    """Random bytes give symbols or CodecError, and no other exception."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        data = rng.bytes(4 * int(rng.integers(0, 40)))
        try:
            coder.decode(data, (3, 3, 4), 0, int(rng.integers(MAX_LEVEL + 1)), TABLES[3])
        except CodecError:
            refused += 1
    assert refused > 200
    data = coder.encode(_pattern((2, 9, 9)), 0, 0, TABLES[2])
    for wrong in (data[:-1], data + b"\0", data + bytes(8), data + b"long tail..."):
        with pytest.raises(CodecError):
            coder.decode(wrong, (2, 9, 9), 0, 0, TABLES[2])


def test_default_tables_are_laplacian() -> None:
    frequencies = tables_module.laplace_counts() / TOTAL
    distance = np.abs([(i + 1) // 2 * (-1) ** (i + 1) for i in range(ESCAPE)])
    middle = frequencies[20, OFFSETS // 2 - 1 : OFFSETS // 2 + 1].mean(0)[:ESCAPE]  # about 0
    spread = tables_module.THRESHOLDS[20] / ONE / 1.08
    assert middle @ distance == pytest.approx(spread, rel=0.05)
    mirrored = frequencies[20, ::-1][:, [0, 2, 1, 4, 3]]
    assert np.allclose(frequencies[20][:, :5], mirrored, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("gains", lambda a: a[::-1].copy(), "do not grow"),
        ("gains", lambda a: -a, "do not grow"),
        ("gains", lambda a: a * np.float32("nan"), "not finite"),
        ("gains", lambda a: a[0], "impossible shape"),
        ("gains", lambda a: a[:1], "impossible shape"),
        ("gains", lambda a: a.astype(np.float64), "gains of the wrong"),
        ("means", lambda a: a[:2], "means of the wrong"),
        ("means", lambda a: a + np.float32("inf"), "not finite"),
        ("mean_weights", lambda a: a[..., 1:], "mean_weights of the wrong"),
        ("spread_weights", lambda a: a.astype(np.int64), "spread_weights of the wrong"),
        ("counts", lambda a: a[1:], "counts of the wrong"),
        ("counts", lambda a: a + 1, "add up"),
        ("counts", lambda a: a - np.eye(tables_module.ALPHABET, dtype=np.int32)[3] * a + 0, "add up"),
    ],
)
def test_invalid_tables_are_refused(name: str, change: object, words: str) -> None:
    tables = TABLES[2]
    with pytest.raises(CheckpointError, match=words):
        replace(tables, **{name: change(getattr(tables, name))})  # type: ignore[operator]


def test_importing_the_codec_imports_neither_constriction_nor_torch() -> None:
    code = "import sys; from residae import codec; print({'constriction', 'torch', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


GOLDEN = "ff8affffec0089fd39820184ee231eff5c2a7f603530193f5a06bce7209cc2430064eaf2"
GOLDEN_COUNTS = "efc6046dbdb64cfe"
