"""What models of text share: the chain rule over tokens, and one token after another.

    log p(x) = Σ_t log p(x_t | x_<t),       x_t one of V tokens (characters, bytes, byte pairs)

A text of any length has a probability because it can end: with an end token p is a distribution
over all strings, and a row (B, T) is one of them with its end and filled up with that token, or, if
it has none, the beginning of longer ones. Every row of T tokens together sums to 1 (MISSION row
F1). Without an end token a row is a piece of a stream, and begins anywhere.

Before the first token stands one that is no token of the text, so that the first is predicted from
something, as all others are. Training is given all of x_<t at once (teacher forcing), drawing goes
on from what was drawn. MISSION rows A5, A7, A9, A10.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from core import Array, no_grad, value
from core.checks import float_dtype, tokens, whole
from core.errors import InputError
from core.functional import cross_entropy
from core.model import Described, draws
from core.operation import chosen_backend
from core.random import uniform
from reference.operations.decoding import check_controls, decode, one_by_one

BLOCK = 64
"""Tokens that a twin draws before it is asked whether all rows have stopped."""


class Tokens:
    """What V logits mean: token k has p(k) ∝ e^logit_k.

    >>> Tokens(3).draw(np.zeros((1, 3)), np.array([[0.9]]))
    array([0])
    """

    uniforms = 1

    def __init__(self, levels: int) -> None:
        self.levels = whole("levels", levels, 1)

    def log_prob(self, x: Any, logits: Array) -> Array:
        """Nats (…) of tokens x (…), logits (…, V)."""
        return -cross_entropy(logits, x.astype(np.int64))

    def draw(self, logits: Array, u: Any, **controls: Any) -> Any:
        """Tokens (n,) of logits (n, V) and uniforms u (n, 1), as `decode` has them."""
        return decode(value(logits), u[:, 0], **controls)


class LanguageModel(Described):
    """A distribution over rows of tokens (B, T), each one of 0, …, levels − 1.

    dim: how many tokens a row of the data has, and a sample. levels: V. end: the token that ends a
    text; None: the data are pieces of a stream. A subclass gives `logits`, `start` and `step`.
    """

    def __init__(self, dim: int, levels: int, end: int | None, dtype: Any) -> None:
        self.dim, self.levels = whole("dim", dim, 1), whole("levels", levels, 1)
        self.head = Tokens(self.levels)
        self.end = None if end is None else whole("end", end, 0, self.levels - 1)
        self.dtype = float_dtype(dtype)

    def logits(self, x: Any) -> Array:
        """Of every token of x (B, T), int64, given those before it: (B, T, V)."""
        raise NotImplementedError

    def start(self, n: int) -> Any:
        """The state of n texts before their first token."""
        raise NotImplementedError

    def step(self, x: Any, state: Any) -> tuple[Array, Any]:
        """The logits (n, V) of what follows the tokens x (n, T), and the state after them."""
        raise NotImplementedError

    def draw(self, x: Any, state: Any, u: Any, **controls: Any) -> tuple[Any, Any]:
        """The tokens and state of `one_by_one`; a subclass whose loop has a twin asks for it."""
        return one_by_one(self.step, x, state, u, **controls)

    def begun(self, x: Any) -> Any:
        """x (B, T) with the token before the first, V, in front of it: (B, T + 1)."""
        return np.concatenate([np.full((len(x), 1), self.levels), x], axis=1)

    def conditionals(self, x: Array) -> Array:
        """Logits of every p(x_t | x_<t), (B, T, V), of x (B, T); after the end, only the end."""
        x = tokens(x, self.levels)
        filled = np.where(np.arange(self.levels) == self.end, 0.0, -np.inf).astype(self.dtype)
        return np.where(self._ended(x)[..., None], filled, self.logits(x))

    def log_conditionals(self, x: Array) -> Array:
        """log p(x_t | x_<t) in nats, (B, T), of x (B, T)."""
        x = tokens(x, self.levels)
        ended = self._ended(x)
        T = max(1, int(np.sum(~ended.all(axis=0))))  # no later token is in question
        log_p = self.head.log_prob(x[:, :T], self.logits(x[:, :T]))
        log_p = np.concatenate([log_p, np.zeros((len(x), x.shape[1] - T), self.dtype)], axis=1)
        filled = np.where(x == self.end, 0.0, -np.inf).astype(self.dtype)
        return np.where(ended, filled, log_p)

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats, (B,), of x (B, T)."""
        return np.sum(self.log_conditionals(x), axis=1)

    def _ended(self, x: Any) -> Any:
        """Where x (B, T) is beyond the end of its text, (B, T)."""
        return np.cumsum(x == self.end, axis=1) - (x == self.end) > 0

    @draws
    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        prompt: Any = None,
        length: int | None = None,
        stop: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
    ) -> Any:
        """n rows of `length` tokens, int64, `dim` beyond the prompt if not given.

        prompt: the tokens (T,) that all rows begin with. stop: the token after which a row is
        filled up with it, `end` if None. The rest is explained in `reference.operations.decoding`.
        """
        how: Any = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        prompt, length, stop = self._checked(prompt, length, stop, how)
        x, first = np.full((n, length), stop), len(prompt)
        x[:, :first] = prompt
        u = uniform(seed, (n, length), dtype=self.dtype)
        block = BLOCK if chosen_backend() else 1
        for t, token in enumerate(self._tokens(x[:, :first], u, stop, how, block), first):
            x[:, t] = token
        return x

    def stream(
        self,
        n: int,
        *,
        seed: int = 0,
        prompt: Any = None,
        length: int | None = None,
        stop: int | None = None,
        **controls: Any,
    ) -> Iterator[Any]:
        """The tokens (n,) of `sample` after the prompt, one after the other, until all stopped."""
        how = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None, **controls}
        prompt, length, stop = self._checked(prompt, length, stop, how)
        u = uniform(seed, (whole("n", n), length), dtype=self.dtype)
        return self._tokens(np.tile(prompt, (n, 1)), u, stop, how, block=1)

    def _tokens(self, x: Any, u: Any, stop: int, how: Any, block: int) -> Iterator[Any]:
        """The t-th token is made of u[:, t]. After `stop` a row is filled up with it."""
        state, stopped = self.start(len(x)), np.zeros(len(x), bool)
        for t in range(x.shape[1], u.shape[1], block):
            with no_grad():
                drawn, state = self.draw(x, state, u[:, t : t + block], **how)
            for token in drawn.T.copy():
                if stopped.all():
                    return
                token[stopped] = stop
                stopped |= token == stop
                yield token
            x = drawn[:, -1:]

    def _checked(self, prompt: Any, length: Any, stop: Any, how: Any) -> tuple[Any, int, int]:
        """Prompt, length, and the token that stops a row (−1: none does); or InputError."""
        check_controls(**how)
        prompt = np.zeros(0, np.int64) if prompt is None else np.asarray(prompt)
        if prompt.ndim != 1:
            raise InputError(f"prompt must be tokens of shape (T,), got {prompt.shape}")
        if len(prompt):
            prompt = tokens(prompt[None], self.levels, name="prompt")[0]
        if self.end is not None and self.end in prompt:
            raise InputError(f"prompt must not hold the end token {self.end}: nothing follows it")
        least = max(1, len(prompt))
        length = len(prompt) + self.dim if length is None else whole("length", length, least)
        if stop is None:
            return prompt, length, -1 if self.end is None else self.end
        return prompt, length, whole("stop", stop, 0, self.levels - 1)
