"""Sequential sampling in Numba (MISSION K3): the same tokens as the readable loops.

test_kernels.py puts small calls of every kind, and the wrong twins, through the table's check.
Here: long runs, the tie rule, batches and threads, the models, and the alias method's law.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import value
from core.errors import InputError
from core.operation import backend
from kernels import OPS
from kernels.sampling import rows as sampling_rows
from kernels.sampling import twin_numba as twin
from kernels.sampling.rows import ties
from reference.autoregressive.fvsbn import FVSBN
from reference.autoregressive.made import MADE
from reference.autoregressive.nade import NADE
from reference.counting.homogeneous_chain import HomogeneousChain
from reference.operations.alias import alias_draw, alias_table

TAU = 64 * np.finfo(np.float32).eps
LONG = {"n": 1700, "D": 60, "H": 24, "L": 2}  # 102 000 tokens
NAMES = ("nade", "made", "fvsbn")


def call(name, dims, dtype, seed=0):
    """Arguments of one call, with uniforms of core.random's 31 bits."""
    return OPS[f"{name}_sample"].make(np.random.default_rng(seed), dims, dtype)


def trace(name, arguments):
    if name == "made":
        plan = twin.made_plan(arguments["layers"], arguments["order"])
        return twin.made_draw(arguments["u"], plan)
    return getattr(twin, f"{name}_trace")(**arguments)


def probabilities(name, x, arguments):
    rest = {k: v for k, v in arguments.items() if k != "u"}
    return getattr(sampling_rows, f"{name}_probabilities")(x, **rest)


@pytest.mark.parametrize("name", NAMES)
def test_float64_tokens_are_identical(name):
    arguments = call(name, LONG, "float64")
    x, p = trace(name, arguments)
    expected = OPS[f"{name}_sample"].load()(**arguments)
    assert x.dtype == p.dtype == np.float64
    assert 0.2 < x.mean() < 0.8
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_allclose(p, probabilities(name, x, arguments), atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_million_float64_tokens_are_identical(name):
    arguments = call(name, {**LONG, "n": 17_000}, "float64", seed=3)
    x, _ = trace(name, arguments)
    np.testing.assert_array_equal(x, OPS[f"{name}_sample"].load()(**arguments))


@pytest.mark.parametrize("name", NAMES)
def test_float32_tokens_follow_the_tie_rule(name):
    arguments = call(name, LONG, "float32", seed=1)
    x, p = trace(name, arguments)
    forced = probabilities(name, x, arguments)
    assert x.dtype == p.dtype == forced.dtype == np.float32
    assert np.abs(p - forced).max() < TAU
    assert ties(x, arguments["u"], forced) <= 1
    np.testing.assert_array_equal(x, arguments["u"] < p)


def test_the_tie_rule_rejects_wrong_tokens_and_counts_ties():
    u = np.full((2, 3), 0.5, np.float32)
    p = np.array([[0.7, 0.2, 0.9], [0.1, 0.6, np.float32(0.5) + TAU / 4]], np.float32)
    x = (u < p).astype(np.float32)
    assert ties(x, u, p) == 0
    x[1, 2] = 0
    assert ties(x, u, p) == 1
    x[0, 0] = 0
    with pytest.raises(AssertionError, match="a token is wrong"):
        ties(x, u, p)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sample_does_not_see_its_batch_nor_the_threads(name, dtype):
    import numba

    arguments = call(name, {"n": 43, "D": 30, "H": 17, "L": 2}, dtype, seed=2)
    x, p = trace(name, arguments)
    for rows in (slice(0, 1), slice(9, 10), slice(3, 9), slice(20, 43)):
        part, part_p = trace(name, {**arguments, "u": arguments["u"][rows]})
        np.testing.assert_array_equal(part, x[rows])
        np.testing.assert_array_equal(part_p, p[rows])
    kept = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(trace(name, arguments)[1], p)
    finally:
        numba.set_num_threads(kept)


MODELS = [
    (NADE, {"hidden": 9}),
    (MADE, {"hidden": [14]}),
    (MADE, {"hidden": [20, 13, 9], "masks": 3}),
    (FVSBN, {}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("cls", "arguments"), MODELS)
def test_models_sample_the_same_under_the_back_end(cls, arguments, dtype):
    model = cls(12, order=np.random.default_rng(4).permutation(12), dtype=dtype, **arguments)
    rng = np.random.default_rng(5)
    for parameter in (v for v in vars(model).values() if hasattr(v, "backward")):
        value(parameter)[...] = rng.normal(size=parameter.shape)
    expected = model.sample(64, seed=0)
    with backend("numba"):
        own = model.sample(64, seed=0)
        assert model.sample(0).shape == (0, 12)
    assert own.dtype == dtype
    np.testing.assert_array_equal(own, expected)


def test_a_chain_samples_the_same_under_the_back_end():
    rng = np.random.default_rng(0)
    model = HomogeneousChain(40, levels=27).fit(rng.integers(0, 27, (50, 40)) ** 2 // 27)
    expected = model.sample(300, seed=3)
    with backend("numba"):
        np.testing.assert_array_equal(model.sample(300, seed=3), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_of_hundreds_are_survived(dtype):
    """Weights that push units beyond any exponential, and back."""
    arguments = call("nade", {"n": 40, "D": 60, "H": 9}, dtype, seed=7)
    arguments["W"][:, :3] *= 400
    arguments["c"][2] = -3000
    x, p = trace("nade", arguments)
    forced = probabilities("nade", x, arguments)
    tau = 64 * np.finfo(dtype).eps * 400  # a's own rounding
    assert np.abs(p - forced).max() < tau
    assert np.mean(x != OPS["nade_sample"].load()(**arguments)) < 0.02


def test_a_weight_beyond_any_exponential_is_survived():
    """Its factor alone leaves the range: the unit that it met would look like any other."""
    W, V = np.float32([[-100], [43], [0]]), np.float32([[0], [0], [20]])
    b, c, u = np.float32([50, 50, -10]), np.float32([57]), np.float32([[0.3, 0.3, 0.7]])
    arguments = {"u": u, "W": W, "V": V, "b": b, "c": c, "order": np.arange(3)}
    x, p = trace("nade", arguments)
    assert x.tolist() == [[1, 1, 0]]
    np.testing.assert_allclose(p[0, 2], 0.5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_uniform_of_0_is_below_every_probability_but_0(dtype):
    end = math.log(np.finfo(dtype).max)
    b = np.array([-2 * end, -end * (1 + 1e-5), -end * (1 - 1e-5), -end / 2, 0], dtype)
    D = b.size
    call = {"u": np.zeros((1, D), dtype), "W": np.zeros((D, D), dtype), "b": b}
    x = twin.fvsbn_sample(**call, order=np.arange(D))
    assert x.tolist() == [[0, 0, 1, 1, 1]]
    np.testing.assert_array_equal(x, OPS["fvsbn_sample"].load()(**call, order=np.arange(D)))


def test_nothing_to_draw():
    """No variables, no units, no samples."""
    none, one = np.zeros((2, 0)), np.ones((2, 0))
    assert twin.nade_sample(none, *2 * (np.zeros((0, 5)),), np.zeros(0), np.zeros(5), []).size == 0
    assert (
        twin.nade_sample(none.T, *2 * (np.zeros((2, 5)),), *map(np.zeros, (2, 5)), [0, 1]).size == 0
    )
    layers = [(one, np.zeros(0)), (one.T, np.array([1e3, -1e3]))]
    u = np.full((3, 2), 0.5)
    np.testing.assert_array_equal(twin.made_sample(u, layers, [1, 0]), [[1, 0]] * 3)
    np.testing.assert_array_equal(OPS["made_sample"].load()(u, layers, [1, 0]), [[1, 0]] * 3)


# MADE in one pass


def test_units_are_sorted_by_when_they_are_known():
    """Three inputs in the order 2, 0, 1; units that see (2), (2, 0) and nothing."""
    W = np.array([[0.0, 5.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    V = np.array([[7.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    plan = twin.made_plan([(W, np.arange(3.0)), (V, np.zeros(3))], [2, 0, 1])
    flat, b, begin, order = plan
    # The blind unit, then 0, then 1: W (2x − 1) + b = 2W x + b − Σ W.
    np.testing.assert_array_equal(b[3:6], [2 - 0, 0 - 1, 1 - 5])
    np.testing.assert_array_equal(begin[1], [0, 1, 2, 3, 3])
    np.testing.assert_array_equal(flat[:3], [0, 2, 0])  # of input 2, the first known
    np.testing.assert_array_equal(order, [2, 0, 1])


def test_layers_that_see_the_future_are_refused():
    with pytest.raises(InputError, match="logit of variable 1 sees itself or the future"):
        twin.made_plan([(np.eye(3)[[0, 1, 2]] * [0, 1, 0], np.zeros(3))], [0, 1, 2])


def test_a_plan_serves_many_draws():
    arguments = call("made", {"n": 5, "D": 20, "H": 9, "L": 2}, "float64")
    plan = twin.made_plan(arguments["layers"], arguments["order"])
    for seed in range(3):
        u = np.random.default_rng(seed).random((7, 20))
        x = twin.made_sample(u, arguments["layers"], arguments["order"])
        np.testing.assert_array_equal(twin.made_draw(u, plan)[0], x)


# The alias method


def mass(threshold, other):
    """The probability of each value, from the table alone."""
    return (threshold + np.bincount(other, 1 - threshold, len(other))) / len(other)


def has_the_probabilities(table, p):
    threshold, other = table(p)
    assert ((threshold >= 0) & (threshold <= 1)).all()
    np.testing.assert_allclose(mass(threshold, other), p / p.sum(), atol=1e-14)


def only_the_height(p):
    """Forgets that a large value gave something away."""
    threshold = np.minimum(p * len(p), 1)
    return threshold, np.full(len(p), p.argmax())


def off_by_one(p):
    threshold, other = alias_table(p)
    return threshold, (other + 1) % len(p)


P = st.lists(st.floats(0, 1) | st.sampled_from([0.0, 1e-300, 1e-12, 1.0]), min_size=1, max_size=60)


@given(P.filter(lambda p: sum(p) > 1e-3))
def test_the_table_holds_exactly_p(p):
    p = np.array(p) / sum(p)
    has_the_probabilities(alias_table, p)
    threshold, other = alias_table(p)
    u = np.random.default_rng(len(p)).random((200, 2))
    own = twin.alias_draw(u, threshold, other)
    np.testing.assert_array_equal(own, alias_draw(u, threshold, other))
    assert (p[own] > 0).all()


@pytest.mark.parametrize("wrong", [only_the_height, off_by_one])
def test_a_wrong_table_is_rejected(wrong):
    with pytest.raises(AssertionError):
        has_the_probabilities(wrong, np.array([0.1, 0.45, 0.3, 0.15]))


# Bad input


NADE_CALL = call("nade", {"n": 3, "D": 4, "H": 2}, "float32")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": np.zeros(4, np.float32)}, "^u must .*got float32 of shape"),
        ({"u": np.zeros((3, 4), np.int64)}, "^u must .*got int64"),
        ({"u": np.zeros((3, 5), np.float32)}, "^W must .*got float32 of shape"),
        ({"V": NADE_CALL["V"].astype(np.float64)}, "^V must .*got float64"),
        ({"b": NADE_CALL["b"][:3]}, "^b must .*got float32 of shape"),
        ({"order": [0, 1, 2, 2]}, "^order must hold each of 0, …, 3 once"),
        ({"order": [0, 1, 2, 3.5]}, "^order must hold each of 0, …, 3 once, got float64"),
        ({"order": None}, "^order must hold each of 0, …, 3 once"),
        ({"u": np.ones((3, 4), np.float32)}, r"^u must lie in .*got 1.0..1.0"),
        ({"u": np.full((3, 4), np.nan)}, r"^u must lie in .*got nan..nan"),
        ({"u": np.full((3, 4), -1e-9)}, r"^u must lie in .*got -1e-09.*"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(InputError, match=message):
        twin.nade_sample(**{**NADE_CALL, **change})


@pytest.mark.parametrize(
    ("u", "other", "message"),
    [
        (np.ones((3, 2)), [0, 1], "u must lie in \\[0, 1\\)"),
        (np.zeros((3, 1)), [0, 1], "^u, threshold and other must have shapes"),
        (np.zeros((3, 2)), [0, 2], "^other must .*got int64"),
        (np.zeros((3, 2)), [0.5, 0.7], "^other must .*got float64"),
        (np.zeros((3, 2), np.float16), [0, 1], "^u must .*got float16"),
        (np.zeros((3, 2), ">f8"), [0, 1], "^u must .*got >f8"),
    ],
)
def test_bad_tables_are_named(u, other, message):
    with pytest.raises(InputError, match=message):
        twin.alias_draw(u, np.ones(2), np.array(other))


def test_bad_layers_are_named():
    whole = np.zeros((2, 2), np.int64)
    for layers, message in (
        ([], "layers must hold at least one"),
        ([(whole, whole[0])], "layers must be float32 or float64, got int64"),
    ):
        with pytest.raises(InputError, match=message):
            twin.made_sample(np.zeros((1, 2)), layers, [0, 1])


def test_a_chain_of_no_values_is_named():
    with pytest.raises(InputError, match=r"^first must hold at least one probability"):
        twin.chain_sample(np.zeros((2, 3)), np.zeros(0), np.zeros((0, 0)))


@pytest.mark.parametrize("p", [[], [0.5, 0.6], [1.5, -0.5], [[1.0]], [np.nan, 1.0]])
def test_what_is_no_distribution_is_named(p):
    with pytest.raises(InputError, match=r"^p must"):
        alias_table(p)
