"""Law → the kinds of model that owe it.

`test_laws.py` applies each law to every row of `MODELS` of its kinds, and to models that were
broken on purpose. The laws stand by kind in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Callable

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
from tests.laws.everything import EXPLICIT

IMPLICIT = ("adversarial", "diffusion")
CHAINS = ("autoregressive", "encoder-decoder")
TRAINED = (
    *(*CHAINS, "latent", "flow", "dequantised"),
    *("adversarial", "diffusion", "autoencoder"),
)
GENERATIVE = (*EXPLICIT, "latent", "dequantised", *IMPLICIT)
CLASSIFIERS = ("class-conditional", "discriminative")
ALL = (*GENERATIVE, "discriminative", "autoencoder")

LAWS: dict[Callable[..., None], tuple[str, ...]] = {
    explicit.normalises: EXPLICIT,
    explicit.samples_follow_log_prob: EXPLICIT,
    explicit.codes_are_as_long_as_its_log_prob: EXPLICIT,
    explicit.loss_is_negative_log_prob: (*CHAINS, "flow"),
    counting.parts_merge_into_the_whole: ("histogram", "class-conditional", "autoregressive"),
    autoregressive.conditionals_see_only_the_past: CHAINS,
    autoregressive.log_prob_sums_the_conditionals: CHAINS,
    autoregressive.sampling_inverts_the_conditionals: CHAINS,
    conditional.what_is_given_is_seen: ("encoder-decoder",),
    conditional.padding_is_not_seen: ("encoder-decoder",),
    conditional.each_row_is_told_of_its_own: ("encoder-decoder",),
    conditional.is_a_chain_given_anything: ("encoder-decoder",),
    flows.inverse_undoes_forward: ("flow", "dequantised"),
    flows.log_det_is_that_of_the_jacobian: ("flow", "dequantised"),
    flows.dequantised_bound_is_below_log_p: ("dequantised",),
    flows.pixels_are_as_frequent_as_their_probability: ("dequantised",),
    latent.bounds_are_ordered: ("latent",),
    latent.importance_estimate_sums_to_one: ("latent",),
    latent.samples_follow_the_integral: ("latent",),
    latent.codes_have_one_size: ("latent",),
    implicit.has_no_log_prob: IMPLICIT,
    implicit.noise_schedule_ends_in_noise: ("diffusion",),
    classifiers.probabilities_of_classes_sum_to_one: CLASSIFIERS,
    classifiers.predicts_the_most_probable_class: CLASSIFIERS,
    classifiers.knows_more_than_the_frequencies: CLASSIFIERS,
    classifiers.obeys_bayes_rule: ("class-conditional",),
    classifiers.knows_nothing_of_x: ("discriminative",),
    autoencoders.knows_no_distribution: ("autoencoder",),
    autoencoders.reconstructs_from_the_code_alone: ("autoencoder",),
    everything.gradient_matches_differences: TRAINED,
    everything.every_parameter_has_a_gradient: TRAINED,
    everything.save_and_load_give_the_same_model: ALL,
    everything.samples_are_reproducible: GENERATIVE,
    everything.keeps_float32: (*GENERATIVE, "autoencoder"),
    arguments.methods_name_what_is_wrong: ALL,
}
"""Law → the kinds of model that owe it."""
