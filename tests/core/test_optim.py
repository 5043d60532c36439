"""Optimisers against torch and closed forms, schedules, clipping, averages; wrong ones rejected."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Tensor, value
from core.errors import CheckpointError, InputError
from core.optim import (
    EMA,
    SGD,
    Adam,
    AdamW,
    Diverged,
    clip_grad_norm,
    constant,
    cosine,
    linear_warmup,
    step_decay,
)

SHAPES = {"W": (7, 5), "b": (5,), "scale": (), "none": (0, 3), "large": (150, 130)}

CASES = [
    (SGD, "SGD", {}),
    (SGD, "SGD", {"momentum": 0.9}),
    (SGD, "SGD", {"momentum": 0.9, "nesterov": True}),
    (SGD, "SGD", {"momentum": 0.8, "weight_decay": 0.1}),
    (SGD, "SGD", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    (SGD, "SGD", {"weight_decay": 0.1}),
    (Adam, "Adam", {}),
    (Adam, "Adam", {"betas": (0.5, 0.9), "eps": 1e-3}),
    (Adam, "Adam", {"weight_decay": 0.1}),
    (AdamW, "AdamW", {}),
    (AdamW, "AdamW", {"betas": (0.5, 0.9), "weight_decay": 0.3}),
]


def draw(rng, shapes=SHAPES, dtype=np.float64):
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def tensors(arrays):
    return {name: Tensor(a.copy()) for name, a in arrays.items()}


def gradients(rng, step):
    """Gradients of one step; now and then a parameter has none."""
    found = draw(rng)
    if step % 4 == 2:
        found["b"] = None
    return found


def train(optimiser, params, steps=20):
    rng = np.random.default_rng(1)
    for step in range(steps):
        for name, g in gradients(rng, step).items():
            params[name].grad = g
        optimiser.step(scale=1 / (step + 1))
    return {name: p.data for name, p in params.items()}


def torch_train(torch, name, start, options, steps=20):
    params = {k: torch.nn.Parameter(torch.tensor(a)) for k, a in start.items()}
    optimiser = getattr(torch.optim, name)(params.values(), lr=0.05, **options)
    rng = np.random.default_rng(1)
    for step in range(steps):
        for k, g in gradients(rng, step).items():
            params[k].grad = None if g is None else torch.tensor(g)
        optimiser.param_groups[0]["lr"] = 0.05 / (step + 1)
        optimiser.step()
    return {k: p.detach().numpy() for k, p in params.items()}


def distance(a, b):
    return max(np.abs(a[k] - b[k]).max(initial=0) for k in a)


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_twenty_steps_equal_torch(ours, theirs, options):
    torch = pytest.importorskip("torch")
    start = draw(np.random.default_rng(0))
    params = tensors(start)
    got = train(ours(params, lr=0.05, **options), params)
    assert distance(got, torch_train(torch, theirs, start, options)) < 1e-12


class NoBiasCorrection(Adam):
    def _direction(self, g, m, v, *, scratch, lr, t):
        super()._direction(g, m, v, scratch=scratch, lr=lr, t=10**9)


class CoupledAdamW(AdamW):
    _decay = Adam._decay


class SharedCount(Adam):
    """Counts a skipped parameter's step all the same."""

    def _gather(self):
        found, small = super()._gather()
        self.t[[i for i in range(len(self.t)) if i not in found]] += 1
        return found, small


@pytest.mark.parametrize(
    ("wrong", "theirs"),
    [(NoBiasCorrection, "Adam"), (SharedCount, "Adam"), (CoupledAdamW, "AdamW")],
)
def test_wrong_optimisers_are_rejected(wrong, theirs):
    torch = pytest.importorskip("torch")
    start = draw(np.random.default_rng(0))
    params = tensors(start)
    got = train(wrong(params, lr=0.05, weight_decay=0.1), params)
    assert distance(got, torch_train(torch, theirs, start, {"weight_decay": 0.1})) > 1e-6


def descend(optimiser, w, steps):
    """Minimise ½(w − 1)² through the tape."""
    for _ in range(steps):
        optimiser.zero_grad()
        (0.5 * np.square(w - 1.0)).sum().backward()
        optimiser.step()
    return w.data


def test_sgd_on_a_quadratic_is_its_closed_form():
    w = Tensor(np.array([3.0, -2.0]))
    got = descend(SGD({"w": w}, lr=0.1), w, 30)
    np.testing.assert_allclose(got, 1 + 0.9**30 * np.array([2.0, -3.0]), rtol=1e-12)


def test_momentum_on_a_quadratic_is_its_recurrence():
    w = Tensor(np.array([3.0]))
    got = descend(SGD({"w": w}, lr=0.1, momentum=0.5), w, 30)
    # e_{k+1} = e_k − lr·v_{k+1}, v_{k+1} = μv_k + e_k: powers of a 2×2 matrix
    A = np.array([[1 - 0.1, -0.1 * 0.5], [1.0, 0.5]])
    error = (np.linalg.matrix_power(A, 30) @ np.array([2.0, 0.0]))[0]
    np.testing.assert_allclose(got, 1 + error, rtol=1e-12)


def test_adam_moves_by_lr_at_first_whatever_the_gradient():
    w = Tensor(np.zeros(3))
    optimiser = Adam({"w": w}, lr=0.01)
    w.grad = np.array([1e-3, -5.0, 1e4])
    optimiser.step()
    np.testing.assert_allclose(w.data, [-0.01, 0.01, -0.01], rtol=1e-4)


def test_adamw_decays_a_weight_without_gradient_geometrically():
    w = Tensor(np.array([2.0]))
    optimiser = AdamW({"w": w}, lr=0.1, weight_decay=0.5)
    for _ in range(10):
        w.grad = np.zeros(1)
        optimiser.step()
    np.testing.assert_allclose(w.data, 2 * 0.95**10, rtol=1e-12)


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_float32_stays_float32_and_in_place(ours, theirs, options):
    params = tensors(draw(np.random.default_rng(0), dtype=np.float32))
    own = {name: value(p) for name, p in params.items()}
    optimiser = ours(params, lr=0.05, **options)
    for p in params.values():
        p.grad = np.ones(p.shape, np.float32)
    optimiser.step(scale=0.5)
    assert all(value(p) is own[name] and p.dtype == np.float32 for name, p in params.items())
    dtypes = {a.dtype for name, a in optimiser.state_dict().items() if name != "t"}
    assert dtypes <= {np.dtype(np.float32)}


@pytest.mark.parametrize("layout", ["fortran", "strided", "reversed"])
def test_any_memory_layout_is_updated(layout):
    base = np.random.default_rng(0).standard_normal((6, 4))
    views = {"fortran": np.asfortranarray(base), "strided": base[::2, 1:], "reversed": base[::-1]}
    data = views[layout]
    w, copy = Tensor(data), Tensor(np.array(data, order="C"))
    for p in (w, copy):
        optimiser = AdamW({"w": p}, lr=0.1)
        for k in range(3):
            p.grad = np.sin(p.data.T + k).T
            optimiser.step()
    assert value(w) is data
    np.testing.assert_array_equal(w.data, copy.data)


def test_a_step_bumps_the_version_that_backward_checks():
    w = Tensor(np.ones(3))
    optimiser = SGD({"w": w}, lr=0.1)
    loss = np.sum(w * w)
    w.grad = np.ones(3)
    optimiser.step()
    with pytest.raises(RuntimeError, match="written"):
        loss.backward()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_gradient_is_named_and_nothing_moves(bad):
    params = tensors(draw(np.random.default_rng(0)))
    before = {name: p.data.copy() for name, p in params.items()}
    optimiser = AdamW(params, lr=0.1)
    for name, p in params.items():
        p.grad = np.zeros(p.shape)
        if name == "b":
            p.grad[3] = bad
    with pytest.raises(Diverged, match="gradient of b"):
        optimiser.step()
    assert distance(before, {name: p.data for name, p in params.items()}) == 0
    assert not optimiser.t.any()
    with pytest.raises(Diverged, match="gradient of b"):
        clip_grad_norm(params, 1.0)


def test_large_finite_gradients_are_no_divergence():
    w = Tensor(np.zeros(4, np.float32))
    w.grad = np.full(4, 1e30, np.float32)
    assert clip_grad_norm({"w": w}, 2.0) == pytest.approx(2e30)
    np.testing.assert_allclose(w.grad, 1.0, rtol=1e-6)
    w.grad = np.full(4, 1e30, np.float32)
    SGD({"w": w}, lr=1e-30).step()
    np.testing.assert_allclose(w.data, -1.0, rtol=1e-6)


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_state_restored_goes_on_to_the_same_bits(ours, theirs, options):
    start = draw(np.random.default_rng(0))
    straight = tensors(start)
    want = train(ours(straight, lr=0.05, **options), straight, steps=10)
    params, rng = tensors(start), np.random.default_rng(1)
    optimiser = ours(params, lr=0.05, **options)
    for step in range(10):
        if step == 5:
            saved = optimiser.state_dict()
            params = tensors({name: p.data for name, p in params.items()})
            optimiser = ours(params, lr=0.05, **options)
            optimiser.load_state_dict(saved)
        for name, g in gradients(rng, step).items():
            params[name].grad = g
        optimiser.step(scale=1 / (step + 1))
    assert distance(want, {name: p.data for name, p in params.items()}) == 0


def test_state_of_other_parameters_is_refused():
    optimiser = Adam({"w": Tensor(np.zeros(3))})
    for other in (Adam({"u": Tensor(np.zeros(3))}), Adam({"w": Tensor(np.zeros(4))})):
        with pytest.raises(CheckpointError, match="optimiser state"):
            optimiser.load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: SGD({}, lr=0.1), "at least one"),
        (lambda w: SGD({"w": w}, lr=-1.0), "lr"),
        (lambda w: SGD({"w": w}, lr=math.nan), "lr"),
        (lambda w: SGD({"w": w}, lr=0.1, momentum=1.0), "momentum"),
        (lambda w: SGD({"w": w}, lr=0.1, nesterov=True), "nesterov"),
        (lambda w: Adam({"w": w}, betas=(0.9, 1.0)), r"betas\[1\]"),
        (lambda w: Adam({"w": w}, eps=0.0), "eps"),
        (lambda w: Adam({"w": w}, betas=(0.9,)), "betas must be two numbers"),
        (lambda w: SGD({"w": w}, lr=True), "lr"),
        (lambda w: cosine(2.5), "total must be an int"),
        (lambda w: AdamW({"w": w}, weight_decay=-0.1), "weight_decay"),
        (lambda w: Adam({"w": w, "u": Tensor(np.zeros(2, np.float32))}), "float32 and float64"),
        (lambda w: EMA({"w": w}, 1.0), "decay"),
        (lambda w: clip_grad_norm({"w": w}, 0.0), "max_norm"),
        (lambda w: cosine(10, floor=2.0), "floor"),
        (lambda w: linear_warmup(-1), "n must"),
        (lambda w: step_decay(0), "every"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make(Tensor(np.zeros(2)))


# ------------------------------------------------------------------------------------- clipping


def test_clipping_scales_the_joint_norm_as_torch_does():
    torch = pytest.importorskip("torch")
    params, g = tensors(draw(np.random.default_rng(0))), draw(np.random.default_rng(1))
    theirs = {name: torch.nn.Parameter(torch.tensor(p.data)) for name, p in params.items()}
    for name in params:
        params[name].grad, theirs[name].grad = g[name].copy(), torch.tensor(g[name])
    norm = torch.nn.utils.clip_grad_norm_(theirs.values(), 3.0).item()
    assert clip_grad_norm(params, 3.0) == pytest.approx(norm, rel=1e-12)
    for name in params:  # torch divides by norm + 1e-6
        np.testing.assert_allclose(params[name].grad, theirs[name].grad.numpy(), rtol=1e-7)
    assert clip_grad_norm(params, 1e9) == pytest.approx(3.0)


MAGNITUDES = st.floats(-300, 300) | st.sampled_from([-300.0, -160.0, 0.0, 160.0, 300.0])


@given(log10=MAGNITUDES, dtype=st.sampled_from([np.float32, np.float64]), seed=st.integers(0, 99))
def test_clipping_at_any_magnitude(log10, dtype, seed):
    """The norm is that of Python's own hypot; what is clipped has the direction it had."""
    check_clipping(clip_grad_norm, log10, dtype, seed)


def check_clipping(clip, log10, dtype, seed):
    log10 = log10 if dtype == np.float64 else log10 / 9  # 1e-33 … 1e33
    g = draw(np.random.default_rng(seed), {"W": (3, 2), "b": (2,)})
    g = {name: (a * 10.0**log10).astype(dtype) for name, a in g.items()}
    flat = np.concatenate([a.ravel() for a in g.values()]).astype(np.float64)
    exact = math.hypot(*flat)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for max_norm in (0.5 * exact, 2 * exact, 1.0):
        params = {name: Tensor(np.zeros_like(a)) for name, a in g.items()}
        for name, a in g.items():
            params[name].grad = a
        assert clip(params, max_norm) == pytest.approx(exact, rel=tolerance, abs=0)
        found = np.concatenate([p.grad.ravel() for p in params.values()]).astype(np.float64)
        assert found.dtype == np.float64
        expected = flat * min(1.0, max_norm / exact)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=np.finfo(dtype).tiny)


def clips_by_squares(params, max_norm):
    """A planted fault: the norm of 1e200 is √∞."""
    norm = math.sqrt(sum(float(np.vdot(p.grad, p.grad)) for p in params.values()))
    for p in params.values():
        p.grad = p.grad * min(1.0, max_norm / norm if norm else 1.0)
    return norm


@pytest.mark.parametrize("log10", [-200.0, 200.0])
def test_a_norm_by_squares_is_rejected(log10):
    with pytest.raises(AssertionError):
        check_clipping(clips_by_squares, log10, np.float64, 0)


@given(
    log10=MAGNITUDES,
    dtype=st.sampled_from([np.float32, np.float64]),
    case=st.sampled_from([case for case in CASES if case[0] is not SGD]),
)
def test_adam_moves_after_a_gradient_of_any_magnitude(log10, dtype, case):
    check_steps(case[0], log10, dtype, case[2])


def check_steps(kind, log10, dtype, options):
    """The first step is lr (less where ε is larger than g), and no later one is stuck or NaN."""
    size = dtype(10.0 ** (log10 if dtype == np.float64 else log10 / 9))
    w = {"w": Tensor(np.zeros(3, dtype))}
    optimiser = kind(w, lr=0.01, **options)
    for step in range(3):
        before = w["w"].data.copy()
        w["w"].grad = np.array([size, -size, 0.0], dtype)
        optimiser.step()
        move = w["w"].data - before
        assert np.isfinite(move).all()
        assert all(np.isfinite(b).all() for b in optimiser.state_dict().values())
        assert move[2] == 0
        if size > 1e3 * optimiser.eps and step == 0:
            np.testing.assert_allclose(move[:2], [-0.01, 0.01], rtol=1e-2)
    w["w"].grad = np.array([size, size, size], dtype)
    before = w["w"].data.copy()
    optimiser.step()
    pull = optimiser.weight_decay * np.abs(before).max()  # of L2 decay, which is a gradient too
    if size > max(1e3 * optimiser.eps, 2 * pull):
        assert (w["w"].data[[0, 2]] < before[[0, 2]]).all()


class SquaresFirst(Adam):
    """A planted fault: g² is taken of whatever comes."""

    def _bound(self, g):
        pass


@pytest.mark.filterwarnings("ignore:overflow")
def test_an_adam_whose_v_overflows_is_rejected():
    with pytest.raises(AssertionError):
        check_steps(SquaresFirst, 200.0, np.float64, {})


@given(small=st.floats(1e-45, 1e-38))
def test_an_epsilon_too_small_for_the_dtype_is_no_division_of_nothing_by_nothing(small):
    w = {"w": Tensor(np.zeros(3, np.float32))}
    optimiser = Adam(w, eps=small)
    w["w"].grad = np.array([1.0, 0.0, -1.0], np.float32)
    optimiser.step()
    assert np.isfinite(w["w"].data).all()
    assert w["w"].data[1] == 0


def test_numbers_may_be_numpys():
    w = {"w": Tensor(np.ones(3, np.float32))}
    for make in (
        lambda f: SGD(w, lr=f(0.1), momentum=f(0.5), weight_decay=f(0.1)),
        lambda f: AdamW(w, lr=f(0.1), betas=(f(0.5), f(0.75)), eps=f(1e-3), weight_decay=f(0.1)),
    ):
        for f in (np.float32, np.float64):
            optimiser = make(f)
            w["w"].grad = np.ones(3, np.float32)
            optimiser.step()
            assert w["w"].dtype == np.float32
    assert cosine(np.int64(10), np.int32(2), np.float32(0.5))(10) == 0.5
    assert step_decay(np.int64(2), np.float64(0.5))(4) == 0.25


def test_clipping_scales_shared_memory_once():
    shared = np.array([3.0, 4.0])
    params = {"a": Tensor(np.zeros(2)), "b": Tensor(np.zeros(2)), "c": Tensor(np.zeros(2))}
    params["a"].grad, params["b"].grad = shared, shared
    clip_grad_norm(params, 1.0)
    np.testing.assert_allclose(params["a"].grad, shared / math.sqrt(50))
    np.testing.assert_allclose(params["b"].grad, shared / math.sqrt(50))
    assert params["c"].grad is None


# ------------------------------------------------------------------------------------- schedules


def test_schedules_at_their_corners():
    assert {constant()(k) for k in range(5)} == {1.0}
    assert [linear_warmup(4)(k) for k in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert linear_warmup(0)(0) == 1
    assert [step_decay(2, 0.5)(k) for k in range(5)] == [1, 1, 0.5, 0.5, 0.25]
    f = cosine(total=14, warmup=4, floor=0.1)
    assert [f(k) for k in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert f(9) == pytest.approx(0.55)
    assert f(14) == f(99) == pytest.approx(0.1)
    assert all(f(k) > f(k + 1) for k in range(4, 14))


def test_cosine_equals_torch():
    torch = pytest.importorskip("torch")
    w = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([w], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=20, eta_min=0.2)
    ours = cosine(20, floor=0.2)
    for k in range(21):
        assert ours(k) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimiser.step()
        schedule.step()


# ------------------------------------------------------------------------------------- averages


class LateEMA(EMA):
    """Off by one: the newest parameters weigh d(1 − d)."""

    def update(self):
        newest = {name: p.data.copy() for name, p in self.params.items()}
        for name, p in self.params.items():
            p[...] = getattr(self, "last", newest)[name]
        super().update()
        for name, p in self.params.items():
            p[...] = newest[name]
        self.last = newest


class PulledEMA(EMA):
    """No bias correction: the start keeps weight d^K."""

    def update(self):
        for name, p in self.params.items():
            self._average[name] += (1 - self.decay) * (p.data - self._average[name])


def ema_error(kind, d=0.9, K=12):
    w, θ = Tensor(np.zeros(3)), np.random.default_rng(0).standard_normal((K, 3)) + 5
    ema = kind({"w": w}, d)
    for θ_k in θ:
        w[...] = θ_k
        ema.update()
    weights = (1 - d) * d ** np.arange(K - 1, -1, -1) / (1 - d**K)
    with ema.swapped():
        return np.abs(w.data - weights @ θ).max()


def test_the_average_is_its_closed_form_and_wrong_ones_are_not():
    assert ema_error(EMA) < 1e-13
    assert ema_error(EMA, d=0.0) == 0
    assert ema_error(LateEMA) > 1e-2
    assert ema_error(PulledEMA) > 1e-2


def test_swapped_gives_the_own_weights_back_even_after_an_error():
    w = Tensor(np.array([1.0, 2.0], np.float32))
    ema = EMA({"w": w}, 0.5)
    ema.update()
    w[...] = [3.0, 4.0]
    with ema.swapped():
        np.testing.assert_array_equal(w.data, [1.0, 2.0])
    with pytest.raises(ZeroDivisionError), ema.swapped():
        1 / 0
    np.testing.assert_array_equal(w.data, [3.0, 4.0])
    assert {a.dtype for a in ema.state_dict().values()} == {np.dtype("f4"), np.dtype("i8")}


def test_average_restored_goes_on_to_the_same_bits():
    w = Tensor(np.zeros(3))
    ema, θ = EMA({"w": w}, 0.9), np.random.default_rng(0).standard_normal((8, 3))
    other = EMA({"w": w}, 0.9)
    for k, θ_k in enumerate(θ):
        w[...] = θ_k
        ema.update()
        if k == 4:
            other.load_state_dict(ema.state_dict())
        elif k > 4:
            other.update()
    want, got = ema.state_dict(), other.state_dict()
    assert all(np.array_equal(want[name], got[name]) for name in want)


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_a_list_of_tensors_says_what_to_give(kind):
    with pytest.raises(InputError, match=r"^params must be Tensors by name.*got list"):
        kind([Tensor(np.ones(2))], lr=0.1)
