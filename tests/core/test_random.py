"""core.random: published answers, an independent scalar derivation, layout, statistics, bad input.

Every check is a function of the generator it checks, so that planted wrong generators meet it too.
"""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core import random
from core.errors import InputError
from core.random import STREAMS, Generator, bits, integers, normal, permutation, philox, uniform

SEEDS = st.integers(0, 2**63 - 1)
EVENTS = st.lists(st.integers(0, 5), max_size=3).map(tuple)
ULP = 4

# The same generator again, one word at a time, in Python integers


def scalar_philox(c0, c1, c2, c3, seed, rounds=10, swap_key=False):
    k0, k1 = seed % 2**32, seed // 2**32
    if swap_key:
        k0, k1 = k1, k0
    for _ in range(rounds):
        high0, low0 = divmod(3528531795 * c0, 2**32)
        high1, low1 = divmod(3449720151 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 2654435769) % 2**32, (k1 + 3144134277) % 2**32
    return c0, c1, c2, c3


def scalar_word(seed, stream, step, sample, element):
    return scalar_philox(element // 4, sample, step, stream, seed)[element % 4]


def scalar_uniform(word):
    x = word - 2**32 if word >= 2**31 else word
    x = -x - 1 if x < 0 else x
    return np.float32(x) * np.float32(4.6566127342e-10)


def scalar_normal(seed, stream, step, sample, element):
    first = element - element % 2
    u1, u2 = (scalar_uniform(scalar_word(seed, stream, step, sample, first + i)) for i in (0, 1))
    r = math.sqrt(-2.0 * math.log(max(u1, np.float32(1e-7))))
    angle = float(np.float32(math.tau) * u2)
    return np.float32(r * (math.sin(angle) if element % 2 else math.cos(angle)))


# Checks: each raises AssertionError for a generator that is not this one


def check_known_answers(philox):
    """The vectors published with Salmon et al. 2011, in the authors' Random123."""
    ones = 2**32 - 1
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), 0x299F31D0A4093822
    for counter, seed, answer in (
        ((0, 0, 0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ones,) * 4, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (*pi, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ):
        assert [f"{int(w):08x}" for w in philox(*counter, seed)] == answer.split()


def check_layout(bits):
    """Sample k of a batch is sample k drawn alone; elements don't see the shape they stand in."""
    batch = bits(7, (100, 3, 5), step=2, stream="noise", first=0)
    for k in (0, 1, 41, 99):
        alone = bits(7, (1, 3, 5), step=2, stream="noise", first=k)
        np.testing.assert_array_equal(batch[k], alone[0])
    flat = bits(7, (100, 15), step=2, stream="noise", first=0)
    np.testing.assert_array_equal(batch.reshape(100, 15), flat)
    longer = bits(7, (100, 23), step=2, stream="noise", first=0)
    np.testing.assert_array_equal(longer[:, :15], flat)


def check_uniform_words(bits):
    """Each byte of the words takes its 256 values equally often, and so does each bit."""
    words = bits(11, (64, 1024), step=0, stream="test", first=0)
    for byte in words.reshape(-1, 1).view(np.uint8).T:
        assert stats.chisquare(np.bincount(byte, minlength=256)).pvalue > 1e-4
    ones = np.unpackbits(words.view(np.uint8)).mean()
    assert abs(ones - 0.5) * 2 * math.sqrt(32 * words.size) < 4.5


def check_independence(bits):
    """No two of: neighbours in seed, stream, step, sample, lane, counter, have common bits."""
    here = {"seed": 11, "shape": (64, 256), "step": 5, "stream": "test", "first": 0}
    words = bits(**here)
    pairs = {
        name: (words, bits(**(here | {name: changed})))
        for name, changed in (("seed", 12), ("stream", "noise"), ("step", 6), ("first", 64))
    }
    pairs["sample"] = words[1:], words[:-1]
    pairs["high seed"] = words, bits(**(here | {"seed": 11 + 2**32}))
    for distance in (1, 2, 3, 4, 8):
        pairs[f"element {distance}"] = words[:, distance:], words[:, :-distance]
    for name, (a, b) in pairs.items():
        assert abs(correlation(a, b)) < 4.5, name
        differing = np.unpackbits((a ^ b).view(np.uint8)).mean()
        assert abs(differing - 0.5) * 2 * math.sqrt(32 * a.size) < 4.5, name


def correlation(a, b):
    """Pearson's coefficient in units of its standard error."""
    return np.corrcoef(a.ravel(), b.ravel())[0, 1] * math.sqrt(a.size)


def check_normal(draw):
    """Standard normal: distribution, moments, and no dependence within a pair or a sample."""
    z = draw((2000, 32))
    n = z.size
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-4
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - mean) < 4.5 * math.sqrt(variance / n), power
    for a, b in ((z[:, ::2], z[:, 1::2]), (z[:, :16], z[:, 16:]), (z[1:], z[:-1])):
        assert abs(correlation(a, b)) < 4.5
        assert abs(correlation(a**2, b**2)) < 4.5


def check_integers(draw):
    """Three values in four rejections: without them, residue 0 is twice as frequent."""
    counts = np.bincount(draw(3 * 2**30) % 3, minlength=3)
    assert stats.chisquare(counts).pvalue > 1e-4


def check_permutation(draw):
    """Every order of three equally often."""
    counts = Counter(tuple(draw(3, step)) for step in range(4000))
    assert sorted(counts) == [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


# The generator passes


def test_known_answers():
    check_known_answers(philox)
    check_known_answers(scalar_philox)


def test_layout():
    check_layout(bits)


def test_words_are_uniform():
    check_uniform_words(bits)


def test_words_are_independent():
    check_independence(bits)


def test_uniform_distribution():
    u = uniform(3, (400, 100), stream="test", dtype=np.float64)
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-4
    assert abs(u.mean() - 1 / 2) < 4.5 * math.sqrt(1 / 12 / u.size)
    assert abs(((u - 1 / 2) ** 2).mean() - 1 / 12) < 4.5 * math.sqrt(1 / 180 / u.size)


def test_normal_distribution():
    check_normal(lambda shape: normal(3, shape, stream="test", dtype=np.float64))


def test_integers_are_unbiased():
    check_integers(lambda n: integers(3, 0, n, (30_000,), stream="test"))


def test_permutations_are_uniform():
    check_permutation(lambda n, step: permutation(3, n, step=step))


# Wrong generators don't


@pytest.mark.parametrize("fault", [{"rounds": 9}, {"rounds": 11}, {"swap_key": True}])
def test_a_faulty_philox_is_rejected(fault):
    with pytest.raises(AssertionError):
        check_known_answers(lambda *c: scalar_philox(*c, **fault))


def keyed_by_flat_index(seed, shape, step, stream, first):
    n = math.prod(shape)
    return bits(seed, (1, n), step=step, stream=stream, first=first).reshape(shape)


def one_lane(seed, shape, step, stream, first):
    return bits(seed, shape, step=step, stream=stream, first=first)[..., :: -1 if first else 1] // 2


def repeated_lane(seed, shape, step, stream, first):
    half = bits(seed, (*shape[:-1], -(-shape[-1] // 2)), step=step, stream=stream, first=first)
    return np.repeat(half, 2, axis=-1)[..., : shape[-1]]


def blind(**fixed):
    return lambda **arguments: bits(**(arguments | fixed))


def low_key_only(seed, shape, step, stream, first):
    return bits(seed % 2**32, shape, step=step, stream=stream, first=first)


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        (check_layout, keyed_by_flat_index),
        (check_uniform_words, one_lane),
        (check_independence, repeated_lane),
        (check_independence, low_key_only),
        (check_independence, blind(seed=1)),
        (check_independence, blind(step=1)),
        (check_independence, blind(stream=1)),
        (check_independence, blind(first=1)),
    ],
)
def test_a_wrong_layout_of_the_counter_is_rejected(check, wrong):
    with pytest.raises(AssertionError):
        check(lambda seed, shape, **rest: wrong(seed=seed, shape=shape, **rest))


def sum_of_uniforms(shape):
    u = uniform(3, (*shape, 3), stream="test", dtype=np.float64)
    return 2 * u.sum(-1) - 3


def one_uniform_twice(shape):
    u = uniform(3, (shape[0], shape[1] // 2), stream="test", dtype=np.float64)
    return np.concatenate(random.box_muller(u, u), axis=1)


def sine_twice(shape):
    z = normal(3, shape, stream="test", dtype=np.float64)
    return np.repeat(z[:, 1::2], 2, axis=1)


@pytest.mark.parametrize("wrong", [sum_of_uniforms, one_uniform_twice, sine_twice])
def test_a_wrong_normal_is_rejected(wrong):
    with pytest.raises(AssertionError):
        check_normal(wrong)


def test_integers_without_rejection_are_rejected():
    with pytest.raises(AssertionError):
        check_integers(lambda n: bits(3, (30_000,)).astype(np.uint64) * np.uint64(n) >> 32)


def test_the_naive_shuffle_is_rejected():
    def naive(n, step):
        order = list(range(n))
        for i, j in enumerate(integers(3, 0, n, (n,), step=step)):
            order[i], order[j] = order[j], order[i]
        return order

    with pytest.raises(AssertionError):
        check_permutation(naive)


# Bit by bit


@given(st.tuples(*[st.integers(0, 2**32 - 1)] * 4), st.integers(0, 2**64 - 1))
def test_philox_equals_the_scalar_derivation(counter, seed):
    assert [int(w) for w in philox(*counter, seed)] == list(scalar_philox(*counter, seed))


@given(
    seed=SEEDS,
    event=EVENTS,
    samples=st.integers(0, 4),
    first=st.integers(0, 2**32 - 4),
    step=st.integers(0, 2**32 - 1),
    stream=st.sampled_from(sorted(STREAMS)),
)
def test_draws_equal_the_scalar_derivation(seed, event, samples, first, step, stream):
    shape, where = (samples, *event), {"step": step, "stream": stream, "first": first}
    words = bits(seed, shape, **where)
    u, z = uniform(seed, shape, **where), normal(seed, shape, **where)
    assert words.shape == u.shape == z.shape == shape
    assert (words.dtype, u.dtype, z.dtype) == (np.uint32, np.float32, np.float32)
    flat = [a.reshape(samples, math.prod(event)) for a in (words, u, z)]
    for k in range(samples):
        for e in range(math.prod(event)):
            name = (seed, STREAMS[stream], step, first + k, e)
            assert flat[0][k, e] == scalar_word(*name)
            assert flat[1][k, e] == scalar_uniform(scalar_word(*name))
            np.testing.assert_array_max_ulp(flat[2][k, e], scalar_normal(*name), ULP)


@pytest.mark.parametrize("draw", [bits, uniform, normal])
@given(
    seed=SEEDS,
    event=EVENTS,
    samples=st.integers(1, 40),
    start=st.integers(0, 2**32 - 41),
    data=st.data(),
)
def test_a_sample_is_the_same_in_every_batch(draw, seed, event, samples, start, data):
    k = data.draw(st.integers(0, samples - 1))
    batch = draw(seed, (samples, *event), first=start)
    alone = draw(seed, (1, *event), first=start + k)
    assert batch[k].tobytes() == alone[0].tobytes()


def test_large_arrays_are_the_same_as_their_parts():
    wide, tall = bits(5, (2, 300_000)), bits(5, (40_000, 9))
    np.testing.assert_array_equal(wide[1], bits(5, (1, 300_000), first=1)[0])
    np.testing.assert_array_equal(tall[39_000:], bits(5, (1000, 9), first=39_000))
    for element in (0, 65_535, 65_536, 299_999):
        assert wide[1, element] == scalar_word(5, 0, 0, 1, element)
    z = normal(5, (3, 100_001))
    np.testing.assert_array_equal(z[2], normal(5, (1, 100_001), first=2)[0])


@pytest.mark.parametrize("draw", [uniform, normal])
def test_float64_is_float32_widened(draw):
    narrow, wide = draw(9, (50, 7)), draw(9, (50, 7), dtype=np.float64)
    assert (narrow.dtype, wide.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(narrow.astype(np.float64), wide)


def test_extreme_words():
    words = np.array([0, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    u = random._fold(words)
    assert [u[0], u[3]] == [0, 0]
    assert u[1] == u[2] == np.nextafter(np.float32(1), np.float32(0))
    z = np.concatenate(random.box_muller(u.repeat(4), np.tile(u, 4)))
    assert np.isfinite(z).all()
    assert 5.67 < np.abs(z).max() < 5.68


def test_a_single_number_and_no_number():
    assert normal(0, ()).shape == ()
    assert normal(0, ()) == normal(0, (1,))[0] == normal(0, 1)[0]
    for shape in ((0,), (0, 3), (3, 0), (2, 0, 5)):
        assert bits(0, shape).shape == uniform(0, shape).shape == normal(0, shape).shape == shape
        assert integers(0, 0, 9, shape).shape == shape


def test_arrays_are_the_callers_own():
    for draw in (bits, uniform, normal):
        a = draw(0, (5, 3))
        assert a.flags.writeable
        a[...] = 0
        assert draw(0, (5, 3)).any()


@given(
    seed=SEEDS,
    low=st.integers(-(2**62), 2**62),
    n=st.one_of(st.integers(1, 2**32), st.integers(2**31 + 1, 2**31 + 9)),
    first=st.integers(0, 99),
)
def test_integers_equal_the_scalar_derivation(seed, low, n, first):
    drawn = integers(seed, low, low + n, (5, 3), step=6, stream="data", first=first)
    assert drawn.dtype == np.int64
    for k, row in enumerate(drawn):
        for element, got in enumerate(row):
            attempt = 0
            while True:
                stream = STREAMS["data"] + attempt * 2**16
                high, low_part = divmod(n * scalar_word(seed, stream, 6, first + k, element), 2**32)
                if low_part >= 2**32 % n:
                    break
                attempt += 1
            assert got == low + high


@given(st.integers(0, 300), SEEDS)
def test_permutation_sorts_the_words(n, seed):
    order = permutation(seed, n)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))
    low, high = bits(seed, (1, 2 * n), stream="shuffle").reshape(n, 2).T.tolist()
    words = [a + b * 2**32 for a, b in zip(low, high, strict=True)]
    assert order.tolist() == sorted(range(n), key=words.__getitem__)


# The generator object


def test_generator_draws_one_step_a_call():
    rng = Generator(4, "latent")
    drawn = [rng.normal((3, 2)), rng.uniform((3, 2), dtype=np.float64), rng.bits(4)]
    drawn += [rng.integers(-5, 5, (3,)), rng.permutation(6)]
    assert rng.step == 5
    where = {"stream": "latent"}
    expected = [
        normal(4, (3, 2), step=0, **where),
        uniform(4, (3, 2), step=1, dtype=np.float64, **where),
        bits(4, 4, step=2, **where),
        integers(4, -5, 5, (3,), step=3, **where),
        permutation(4, 6, step=4, **where),
    ]
    for a, b in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_refused_call_takes_no_step():
    rng = Generator(4)
    with pytest.raises(InputError):
        rng.normal((-1,))
    assert rng.step == 0


def test_generator_state_survives_json():
    rng = Generator(2**63 - 1, "train")
    rng.uniform((8,))
    saved = json.loads(json.dumps(rng.state))
    expected = [rng.normal((2, 3)), rng.permutation(5)]
    again = Generator.from_state(saved)
    for a in expected:
        b = again.normal((2, 3)) if a.ndim == 2 else again.permutation(5)
        assert a.tobytes() == b.tobytes()
    assert again.state == rng.state
    assert repr(again) == f"Generator(seed={2**63 - 1}, stream='train', step=3)"


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"seed": 1, "stream": "train"},
        {"seed": 1, "stream": "train", "step": 0, "x": 0},
        {"seed": -1, "stream": "train", "step": 0},
        {"seed": 1, "stream": "trian", "step": 0},
        {"seed": 1, "stream": "train", "step": 0.5},
    ],
)
def test_a_bad_state_is_refused(state):
    with pytest.raises(InputError):
        Generator.from_state(state)


def test_stream_numbers_never_change():
    assert len(set(STREAMS.values())) == len(STREAMS)
    pinned = ["sample", "init", "train", "shuffle", "data", "latent", "noise", "dequantise"]
    pinned += ["dropout", "evaluate", "order", "bench", "test"]
    assert list(STREAMS)[: len(pinned)] == pinned
    assert [STREAMS[name] for name in pinned] == list(range(len(pinned)))
    np.testing.assert_array_equal(bits(0, 9, stream="noise"), bits(0, 9, stream=6))


# Bad input


@pytest.mark.parametrize("draw", [bits, uniform, normal])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, r"seed must be an int in \[0, 2\*\*63\), got -1"),
        ({"seed": 2**63}, r"seed must be an int in \[0, 2\*\*63\), got 9223372036854775808"),
        ({"seed": 1.0}, "seed must be an int, got 1.0"),
        ({"seed": True}, "seed must be an int, got True"),
        ({"seed": None}, "seed must be an int, got None"),
        ({"seed": "0"}, "seed must be an int, got '0'"),
        ({"step": -1}, r"step must be an int in \[0, 2\*\*32\), got -1"),
        ({"step": 2**32}, r"step must be an int in \[0, 2\*\*32\)"),
        ({"step": 0.5}, "step must be an int, got 0.5"),
        ({"stream": "smaple"}, "stream must be one of sample, init, .*, got 'smaple'"),
        ({"stream": 2**16}, r"stream must be an int in \[0, 2\*\*16\)"),
        ({"stream": None}, "stream must be an int, got None"),
        ({"shape": (2, -3)}, "a length in shape must be an int in .*, got -3"),
        ({"shape": (2.0,)}, "a length in shape must be an int, got 2.0"),
        ({"shape": None}, "a length in shape must be an int, got None"),
        ({"shape": (0, 2**34 + 1)}, r"at most 2\*\*34 elements a sample, got 17179869185"),
        ({"first": 2**32 - 1, "shape": (2, 3)}, r"first \+ shape\[0\] must be at most 2\*\*32"),
        ({"first": -1}, r"first must be an int in \[0, 2\*\*32\), got -1"),
        ({"shape": (2**32 + 1, 0)}, r"first \+ shape\[0\] must be at most 2\*\*32"),
    ],
)
def test_bad_arguments(draw, wrong, message):
    arguments = {"seed": 0, "shape": (2, 3)} | wrong
    with pytest.raises(InputError, match=message):
        draw(**arguments)


@pytest.mark.parametrize("dtype", [np.float16, np.int64, "complex64"])
def test_bad_dtype(dtype):
    for draw in (uniform, normal):
        with pytest.raises(InputError, match="dtype must be float32 or float64"):
            draw(0, 3, dtype=dtype)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (0, 0, r"high - low must be an int in \[1, 2\*\*32 \+ 1\), got 0"),
        (5, 3, "high - low .* got -2"),
        (0, 2**32 + 1, "high - low .* got 4294967297"),
        (2**63 - 1, 2**63 + 1, r"high must be an int in \[-9223372036854775808, 2\*\*63\)"),
        (0.5, 3, "low must be an int, got 0.5"),
        (0, None, "high must be an int, got None"),
    ],
)
def test_bad_ranges(low, high, message):
    with pytest.raises(InputError, match=message):
        integers(0, low, high, 3)


def test_bad_counters_and_sizes():
    with pytest.raises(InputError, match="c1 must hold integers"):
        philox(0, np.array([0, -1]), 0, 0, 0)
    with pytest.raises(InputError, match="c3 must hold integers"):
        philox(0, 0, 0, 2**32, 0)
    with pytest.raises(InputError, match="c0 must hold integers"):
        philox(0.0, 0, 0, 0, 0)
    with pytest.raises(InputError, match="n must be an int in"):
        permutation(0, -1)


def test_numpy_integers_are_integers():
    a = bits(np.int64(3), (np.int32(2), 3), step=np.uint8(1), first=np.int64(4))
    np.testing.assert_array_equal(a, bits(3, (2, 3), step=1, first=4))
    last = bits(2**63 - 1, (1, 4), step=2**32 - 1, first=2**32 - 1, stream=2**16 - 1)
    expected = scalar_philox(0, 2**32 - 1, 2**32 - 1, 2**16 - 1, 2**63 - 1)
    assert last[0].tolist() == list(expected)


def test_a_stream_of_ones_own_repeats_no_other():
    mine, other = (random.own_stream(name) for name in ("mine", "other"))
    assert mine == random.own_stream("mine") != other
    assert not {mine, other} & set(random.STREAMS.values())
    drawn = [random.uniform(0, (1, 50), stream=s) for s in (mine, other, *random.STREAMS)]
    assert len({d.tobytes() for d in drawn}) == len(drawn)
    for wrong in ("sample", "", 3, None):
        with pytest.raises(InputError, match=r"^name must be"):
            random.own_stream(wrong)
    names = (f"stream {i}" for i in range(100_000))  # more than there are numbers: two must meet
    with pytest.raises(InputError, match="has its number"):
        list(map(random.own_stream, names))
