"""Every law on every model of its kind, and every law on models broken on purpose.

A broken model is a working one with a single fault. The law named beside it must reject it; that
is the proof that a passing law says something.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import value
from core.samples import take
from core.state import parameters
from reference import KINDS, MODELS
from reference.conditional.encoder_decoder import Encoded
from tests.laws import (
    arguments,
    autoencoders,
    autoregressive,
    classifiers,
    conditional,
    counting,
    everything,
    explicit,
    flows,
    implicit,
    latent,
)
from tests.laws.laws import LAWS
from tests.laws.subject import Subject, loss_of, make

OWED = [(law, row) for row in MODELS.values() for law, kinds in LAWS.items() if row.kind in kinds]


def run(law: Callable[..., None], subject: Subject, folder: Path) -> None:
    law(subject, folder) if law is everything.save_and_load_give_the_same_model else law(subject)


@pytest.mark.parametrize(
    ("law", "row"), OWED, ids=[f"{row.name}-{law.__name__}" for law, row in OWED]
)
def test_law(law, row, tmp_path):
    run(law, make(row), tmp_path)


def test_every_kind_owes_laws_and_has_a_model():
    assert {row.kind for row in MODELS.values()} == set(KINDS)
    assert {kind for kinds in LAWS.values() for kind in kinds} == set(KINDS)


# Models broken on purpose: (law, model, fault). A fault changes one thing and returns the model.

Fault = Callable[[Any], Any]
BROKEN: list[tuple[Callable[..., None], str, Fault]] = []


def breaks(law: Callable[..., None], *names: str) -> Callable[[Fault], Fault]:
    def note(fault: Fault) -> Fault:
        BROKEN.extend((law, name, fault) for name in names)
        return fault

    return note


def _replace(model: Any, name: str, wrap: Callable[[Any], Any]) -> Any:
    setattr(model, name, wrap(getattr(model, name)))
    return model


@breaks(explicit.normalises, "histogram", "categorical-naive-bayes", "homogeneous-chain")
@breaks(
    explicit.normalises,
    "naive-bayes",
    "kernel-naive-bayes",
    "bernoulli-mixture",
    "nade",
    "real-nvp",
)
def forgets_a_constant(model):
    return _replace(model, "log_prob", lambda f: lambda x: f(x) + 0.01)


@breaks(classifiers.probabilities_of_classes_sum_to_one, "naive-bayes", "logistic-regression")
def forgets_to_normalise_the_classes(model):
    return _replace(model, "predict_proba", lambda f: lambda x: f(x) * 1.001)


@breaks(classifiers.predicts_the_most_probable_class, "kernel-naive-bayes", "logistic-regression")
def predicts_the_next_class(model):
    return _replace(model, "predict", lambda f: lambda x: (f(x) + 1) % model.classes)


@breaks(classifiers.knows_more_than_the_frequencies, "categorical-naive-bayes")
@breaks(classifiers.knows_more_than_the_frequencies, "logistic-regression")
def classifies_without_a_look(model):
    uniform = np.full(model.classes, 1 / model.classes)
    return _replace(model, "predict_proba", lambda f: lambda x: np.tile(uniform, (len(x), 1)))


@breaks(classifiers.obeys_bayes_rule, "naive-bayes", "shared-variance-naive-bayes")
def has_a_prior_of_its_own(model):
    return _replace(model, "log_prior", lambda f: lambda: f() + np.arange(model.classes))


@breaks(classifiers.obeys_bayes_rule, "gaussian-naive-bayes")
def scores_a_class_that_is_not_given(model):
    return _replace(model, "log_prob", lambda f: lambda x, y=None: f(x))


@breaks(classifiers.knows_nothing_of_x, "logistic-regression")
def invents_samples(model):
    model.sample = lambda n, seed=0: np.zeros((n, 2))
    return model


@breaks(explicit.normalises, "fvsbn", "markov-mlp")
def scores_one_variable_twice(model):
    return _replace(model, "log_prob", lambda f: lambda x: f(x) + 0.5 * (x[:, 0] - 1))


@breaks(explicit.samples_follow_log_prob, "naive-bayes", "bernoulli-mixture", "made", "markov-mlp")
def samples_have_their_variables_reversed(model):
    return _replace(model, "sample", lambda f: lambda n, seed=0: f(n, seed=seed)[:, ::-1])


@breaks(explicit.samples_follow_log_prob, "histogram", "real-nvp", "rnade")
def samples_are_shrunk(model):
    return _replace(model, "sample", lambda f: lambda n, seed=0: f(n, seed=seed) * 0.95)


@breaks(explicit.codes_are_as_long_as_its_log_prob, "naive-bayes", "bernoulli-mixture")
@breaks(explicit.codes_are_as_long_as_its_log_prob, "fvsbn", "markov-table", "lstm")
def is_a_little_too_sure(model):
    return _replace(model, "log_prob", lambda f: lambda x: f(x) + 0.1)


@breaks(explicit.codes_are_as_long_as_its_log_prob, "fvsbn", "nade", "markov-table")
def writes_with_the_next_variable_in_sight(model):
    def ahead(x):
        return np.roll(2 * np.asarray(x) - 1, -1, axis=1)

    return _replace(model, "conditionals", lambda f: lambda x: f(x) + 2 * ahead(x))


def _with(model, **methods):
    model.__class__ = type(type(model).__name__, (type(model),), methods)
    return model


@breaks(counting.parts_merge_into_the_whole, "histogram", "markov-table", "homogeneous-chain")
@breaks(counting.parts_merge_into_the_whole, "naive-bayes", "kernel-naive-bayes")
def keeps_only_itself(model):
    return _with(model, merge=lambda self, other: self)


@breaks(counting.parts_merge_into_the_whole, "gaussian-naive-bayes", "shared-variance-naive-bayes")
def averages_the_variances_of_the_parts(model):
    def merge(self, other):
        squares = self.squares + other.squares
        type(self).__mro__[1].merge(self, other)
        self.squares = squares
        return self

    return _with(model, merge=merge)


@breaks(counting.parts_merge_into_the_whole, "categorical-naive-bayes", "histogram")
def forgets_what_came_before(model):
    def partial_fit(self, x, y=None):
        return self.fit(x, y)

    return _with(model, partial_fit=partial_fit)


@breaks(explicit.loss_is_negative_log_prob, "nade", "real-nvp")
def trains_on_the_sum(model):
    right = loss_of(model)
    model.loss = lambda x, y, rng: right(x, y, rng) * len(x)
    return model


@breaks(autoregressive.conditionals_see_only_the_past, "fvsbn", "nade", "made")
def conditionals_see_themselves(model):
    return _replace(model, "conditionals", lambda f: lambda x: f(x) + 1e-9 * x)


@breaks(autoregressive.conditionals_see_only_the_past, "markov-mlp", "rnade", "pixelcnn")
@breaks(autoregressive.conditionals_see_only_the_past, "gated-pixelcnn")
def conditionals_see_what_comes_last(model):
    def wrap(f):
        def conditionals(x):
            theta = value(f(x))
            last = x.reshape(len(x), -1)[:, -1]
            return theta + 1e-9 * last.reshape(-1, *(1 for _ in theta.shape[1:]))

        return conditionals

    return _replace(model, "conditionals", wrap)


@breaks(autoregressive.conditionals_see_only_the_past, "nade", "rnade", "pixelcnn")
def conditionals_are_blind(model):
    return _replace(model, "conditionals", lambda f: lambda x: f(np.zeros_like(x)))


@breaks(autoregressive.log_prob_sums_the_conditionals, "rnade", "pixelcnn")
def log_prob_forgets_a_constant(model):
    return _replace(model, "log_prob", lambda f: lambda x: f(x) + 1e-6)


@breaks(autoregressive.log_prob_sums_the_conditionals, "fvsbn", "nade", "markov-mlp")
def log_prob_is_not_that_of_the_conditionals(model):
    return _replace(model, "log_prob", lambda f: lambda x: f(x) + 1e-6 * (x[:, 0] - 0.5))


@breaks(autoregressive.sampling_inverts_the_conditionals, "rnade", "gated-pixelcnn")
def samples_the_next_one(model):
    return _replace(model, "sample", lambda f: lambda n, seed=0: f(n + 1, seed=seed)[1:])


@breaks(autoregressive.sampling_inverts_the_conditionals, "fvsbn", "nade")
def samples_the_wrong_side(model):
    return _replace(model, "sample", lambda f: lambda n, seed=0: 1 - f(n, seed=seed))


@breaks(autoregressive.conditionals_see_only_the_past, "transformer")
@breaks(autoregressive.sampling_inverts_the_conditionals, "transformer")
def attends_to_what_comes_later(model):
    class Leaks(type(model.blocks[0])):
        def __call__(self, x, mask=None):
            return super().__call__(x)

    for block in model.blocks:
        block.__class__ = Leaks
    return model


@breaks(autoregressive.conditionals_see_only_the_past, "rnn", "transformer")
@breaks(autoregressive.sampling_inverts_the_conditionals, "lstm")
def predicts_the_token_that_it_reads(model):
    def logits(x):
        after = np.concatenate([x[:, 1:], x[:, -1:]], axis=1)
        return original(after)

    original = model.logits
    model.logits = logits
    return model


@breaks(autoregressive.conditionals_see_only_the_past, "gru", "transformer")
@breaks(autoregressive.sampling_inverts_the_conditionals, "rnn")
def is_shifted_by_two(model):
    return _replace(model, "logits", lambda f: lambda x: f(np.roll(x, 1, axis=1) * (x >= 0)))


@breaks(explicit.normalises, "rnn", "lstm", "gru", "transformer")
@breaks(autoregressive.log_prob_sums_the_conditionals, "transformer")
def counts_no_end(model):
    def log_prob(x):
        ended = (np.asarray(x) == model.end).any(axis=1)
        first = np.argmax(np.asarray(x) == model.end, axis=1)
        each = model.log_conditionals(x)
        return original(x) - np.where(ended, each[range(len(x)), first], 0.0)

    original = model.log_prob
    model.log_prob = log_prob
    return model


@breaks(explicit.samples_follow_log_prob, "rnn", "lstm", "gru", "transformer")
def goes_on_after_the_end(model):
    def sample(n, seed=0):
        model.end = None
        x = original(n, seed=seed)
        model.end = 0
        return x

    original = model.sample
    model.sample = sample
    return model


@breaks(explicit.samples_follow_log_prob, "transformer", "gru")
@breaks(autoregressive.sampling_inverts_the_conditionals, "transformer")
def draws_at_another_temperature(model):
    return _replace(model, "sample", lambda f: lambda n, seed=0: f(n, seed=seed, temperature=0.8))


@breaks(conditional.is_a_chain_given_anything, "translator", "captioner")
def peeks_at_what_comes_later(model):
    class Peeks(type(model.blocks[0])):
        def __call__(self, x, context, mask=None, context_mask=None):
            return super().__call__(x, context, None, context_mask)

    for block in model.blocks:
        block.__class__ = Peeks
    return model


@breaks(conditional.is_a_chain_given_anything, "translator")
def draws_for_nothing_given(model):
    return _replace(model, "sample", lambda f: lambda n, seed=0, y=None, **how: f(n, seed=seed))


@breaks(conditional.what_is_given_is_seen, "translator", "captioner")
def looks_at_nothing_given(model):
    return _replace(model, "given", lambda f: lambda y, n: f(None, n))


@breaks(conditional.what_is_given_is_seen, "translator")
def sees_the_first_element_only(model):
    def encode(y, n):
        h, lengths = original(y, n)
        return Encoded(h, np.minimum(lengths, 1))

    original = model.encode
    for block in model.encoder:
        block.attention.o.W[...] = 0.0
    model.encode = encode
    return model


@breaks(conditional.padding_is_not_seen, "translator")
def decodes_with_the_padding(model):
    def encode(y, n):
        h, lengths = original(y, n)
        return Encoded(h, np.full_like(lengths, h.shape[1]))

    original = model.encode
    model.encode = encode
    return model


@breaks(conditional.padding_is_not_seen, "translator")
def encodes_with_the_padding(model):
    class SeesAll(type(model.encoder[0])):
        def __call__(self, x, mask=None):
            return super().__call__(x)

    for block in model.encoder:
        block.__class__ = SeesAll
    return model


@breaks(conditional.each_row_is_told_of_its_own, "translator", "captioner")
def tells_all_of_the_first(model):
    return _replace(model, "given", lambda f: lambda y, n: f(take(y, np.zeros(n, int)), n))


@breaks(flows.inverse_undoes_forward, "real-nvp")
def inverts_without_the_shift(model):
    return _replace(model, "inverse", lambda f: lambda x: (f(x)[0] + 1e-6, f(x)[1]))


@breaks(flows.inverse_undoes_forward, "real-nvp")
def is_the_identity(model):
    for p in parameters(model).values():
        p[...] = 0.0
    return model


@breaks(flows.log_det_is_that_of_the_jacobian, "real-nvp")
def forgets_half_of_the_log_det(model):
    return _replace(model, "forward", lambda f: lambda z: (f(z)[0], f(z)[1] * 0.5))


@breaks(flows.dequantised_bound_is_below_log_p, "glow")
def scores_the_best_of_a_few_noises(model):
    return _replace(
        model, "elbo", lambda f: lambda x, rng: np.max([value(f(x, rng=rng)) for _ in range(9)], 0)
    )


@breaks(flows.dequantised_bound_is_below_log_p, "glow")
def does_not_spread_the_pixels(model):
    model.elbo = lambda x, rng: model.flow.log_prob(x + 0.01)
    return model


@breaks(flows.pixels_are_as_frequent_as_their_probability, "glow", "multi-scale-real-nvp")
def forgets_the_jacobian_of_the_logit(model):
    logit = model.flow.bijections[-1]
    _replace(model.flow, "log_prob", lambda f: lambda x: f(x) - logit.inverse(x)[1])
    return model


@breaks(flows.pixels_are_as_frequent_as_their_probability, "glow")
def scores_the_next_pixel(model):
    _replace(model.flow, "log_prob", lambda f: lambda x: f(x[..., ::-1]))
    return model


@breaks(latent.bounds_are_ordered, "vae")
def elbo_has_the_sign_of_the_kl_wrong(model):
    def elbo(x, y=None, rng=None):
        mu, log_var = model.encode(x)
        kl = 0.5 * np.sum(mu * mu + np.exp(log_var) - 1 - log_var, axis=-1)
        return original(x, y, rng) + 2 * kl

    original = model.elbo
    model.elbo = elbo
    return model


@breaks(latent.bounds_are_ordered, "vae", "gaussian-vae", "logistic-vae", "conditional-vae")
def weighted_bound_adds_instead_of_averaging(model):
    return _replace(
        model,
        "importance_log_prob",
        lambda f: lambda x, y=None, rng=None, *, k: f(x, y, rng, k=k) + np.log(k),
    )


@breaks(latent.importance_estimate_sums_to_one, "vae", "gaussian-vae", "mixture-vae")
def weights_forget_the_prior(model):
    def bound(x, rng, k):
        mu, _ = model.encode(x)
        return original(x, rng=rng, k=k) + 0.5 * np.sum(mu * mu, axis=-1)

    original = model.importance_log_prob
    model.importance_log_prob = bound
    return model


@breaks(latent.importance_estimate_sums_to_one, "conditional-vae")
@breaks(latent.bounds_are_ordered, "conditional-vae")
def sums_over_the_classes_instead_of_averaging(model):
    return _replace(
        model,
        "log_weights",
        lambda f: lambda x, rng, k, y=None: f(x, rng, k, y) + (y is None) * np.log(model.classes),
    )


@breaks(latent.samples_follow_the_integral, "mixture-vae", "conv-vae", "logistic-vae")
def samples_codes_of_another_prior(model):
    prior = model.prior
    right = prior.draw
    prior.draw = lambda n, seed, dtype: 1.3 * right(n, seed, dtype)
    return model


@breaks(latent.samples_follow_the_integral, "conditional-vae")
def samples_one_class_only(model):
    return _replace(model, "sample", lambda f: lambda n, seed=0: f(n, seed=seed, y=0))


@breaks(latent.samples_follow_the_integral, "vae", "gaussian-vae", "free-bits-vae")
def samples_means(model):
    def sample(n, seed=0):
        return model.mean(model.prior.draw(n, seed, np.float64)).round()

    model.sample = sample
    return model


@breaks(latent.codes_have_one_size, "logistic-vae")
def means_on_the_scale_of_the_network(model):
    return _replace(model, "reconstruct", lambda f: lambda x, y=None: f(x, y) - 1)


@breaks(latent.codes_have_one_size, "conv-vae")
def makes_rows_of_images(model):
    return _replace(model, "reconstruct", lambda f: lambda x, y=None: f(x, y).reshape(len(x), -1))


@breaks(autoencoders.knows_no_distribution, "autoencoder", "denoising-autoencoder")
def gives_its_error_for_a_bound(model):
    model.elbo = lambda x, y=None, rng=None: -np.sum((x - value(model.reconstruct(x))) ** 2, axis=1)
    return model


@breaks(autoencoders.reconstructs_from_the_code_alone, "autoencoder", "denoising-autoencoder")
def lets_data_past_the_code(model):
    return _replace(model, "reconstruct", lambda f: lambda x: f(x) + 0.01 * x)


@breaks(autoencoders.reconstructs_from_the_code_alone, "denoising-autoencoder")
def reconstructs_with_the_others_in_sight(model):
    return _replace(model, "encode", lambda f: lambda x: f(x) - np.mean(f(x), axis=0))


@breaks(autoencoders.reconstructs_from_the_code_alone, "autoencoder")
def has_an_idle_code(model):
    model.decoder.layers[0].W[0] = 0.0
    return model


@breaks(implicit.has_no_log_prob, "gan", "ddpm")
def invents_a_likelihood(model):
    model.log_prob = lambda x: np.zeros(len(x))
    return model


@breaks(implicit.noise_schedule_ends_in_noise, "ddpm")
def keeps_a_third_of_the_signal(model):
    class Unscaled(type(model)):
        alphas_cumprod = np.linspace(0.999, 0.36, 8)

    model.__class__ = Unscaled
    return model


@breaks(everything.gradient_matches_differences, "fvsbn", "nade", "made", "vae", "real-nvp", "ddpm")
def loss_loses_part_of_its_graph(model):
    right = loss_of(model)

    def loss(x, y, rng):
        whole = right(x, y, rng)
        return whole + 0.01 * value(whole) ** 2

    model.loss = loss
    return model


@breaks(everything.every_parameter_has_a_gradient, "fvsbn", "vae", "real-nvp", "ddpm")
def has_an_idle_parameter(model):
    from core import Tensor

    model.idle = Tensor(np.ones(2))
    return model


@breaks(everything.save_and_load_give_the_same_model, "fvsbn", "vae", "gan", "ddpm", "naive-bayes")
def keeps_something_outside_its_state(model):
    original = model.sample
    model.hidden_offset = 1e-3
    model.sample = lambda n, seed=0: original(n, seed=seed) + model.hidden_offset
    return model


@breaks(everything.samples_are_reproducible, "nade", "gan", "ddpm", "vae")
def ignores_the_seed(model):
    return _replace(model, "sample", lambda f: lambda n, seed=0: f(n, seed=0))


@breaks(everything.samples_are_reproducible, "nade", "gan", "ddpm", "histogram")
def noise_depends_on_the_batch(model):
    return _replace(model, "sample", lambda f: lambda n, seed=0: f(n, seed=seed + n))


@breaks(arguments.methods_name_what_is_wrong, "fvsbn", "real-nvp", "naive-bayes")
def lets_nan_travel(model):
    def wrap(f):
        def log_prob(x):
            return np.full(len(x), np.nan) if np.isnan(x).any() else f(x)

        return log_prob

    return _replace(model, "log_prob", wrap)


@pytest.mark.parametrize(
    ("law", "name", "fault"), BROKEN, ids=[f"{n}-{f.__name__}" for _, n, f in BROKEN]
)
def test_law_rejects_a_broken_model(law, name, fault, tmp_path):
    subject = make(MODELS[name])
    broken = Subject(subject.row, fault(subject.model))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run(law, broken, tmp_path)


def test_every_law_has_met_a_broken_model():
    untested = set(LAWS) - {law for law, _, _ in BROKEN} - {everything.keeps_float32}
    assert not untested


def test_keeps_float32_rejects_a_model_that_widens(monkeypatch):
    row = MODELS["fvsbn"]
    cls = row.load()

    class Widens(cls):
        def sample(self, n, *, seed=0):
            return super().sample(n, seed=seed).astype(np.float64)

    monkeypatch.setattr(type(row), "load", lambda self: Widens)
    with pytest.raises(AssertionError):
        everything.keeps_float32(make(row))
