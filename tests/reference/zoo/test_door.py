"""The data door, end to end: samples of every shape, with whatever comes with them, by path.

Models here are as small as can be; what is proven is that each is trained, scored, sampled and
shown from an .npz through the command line, and that the page shows it too.
"""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import wave

import numpy as np
import pytest

from core import Tensor
from core.data import Dataset, Padded, Split, load
from core.errors import InputError
from reference import MODELS, Model
from reference.table import dim_and_box, dim_and_classes
from reference.zoo import cli, pictures, showing
from reference.zoo import job as zoo

rng = np.random.default_rng(0)
LETTERS = np.array(list("abc"))


@pytest.fixture
def genzoo(monkeypatch, capsys):
    """Run a command line that must succeed; what it printed."""

    def run(*arguments, status=0):
        monkeypatch.setattr(sys, "argv", ["genzoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        assert (stop.value.code or 0) == status, err
        return out if status == 0 else err

    return run


@pytest.fixture
def table(monkeypatch):
    """Put a model in MODELS for one test."""

    def add(cls, shape, arguments, *, domain="continuous", kind="flow"):
        row = Model(
            cls.__name__.lower(), f"{__name__}:{cls.__name__}", kind, ("N1",), domain,
            title=cls.__name__, year=2026, parents=(), tiny={}, arguments=arguments, demos=(),
            shape=shape,
        )  # fmt: skip
        monkeypatch.setitem(MODELS, row.name, row)
        return row.name

    return add


def log_normal(x, mu):
    """log N(x; μ, 1) of each sample, over all its numbers."""
    d = x - mu
    axes = tuple(range(1, x.ndim))
    return np.sum(-0.5 * d * d - 0.9189385, axis=axes)


class Colours:
    """Each number of a (C, H, W) image: a unit Gaussian around a learned mean."""

    def __init__(self, shape, *, seed=0):
        self.mu = Tensor(np.zeros(shape, np.float32))

    def log_prob(self, x):
        assert x.shape[1:] == self.mu.shape
        return log_normal(x, self.mu)

    def loss(self, x, y=None, rng=None):
        return -np.mean(self.log_prob(x))

    def sample(self, n, *, seed=0):
        noise = np.random.default_rng(seed).normal(size=(n, *self.mu.shape))
        return (self.mu.data + 0.1 * noise).astype(np.float32)


class Letters:
    """Unigrams of sequences, each as long as one that training saw."""

    def __init__(self, vocabulary, longest, *, seed=0):
        self.logits = Tensor(np.zeros(vocabulary, np.float32))
        self.lengths = np.zeros(longest + 1, np.float32)  # counted, not learned

    def log_prob(self, x):
        log_p = self.logits - np.log(np.sum(np.exp(self.logits)))
        return np.sum(np.where(x.mask, log_p[x.data], 0.0), axis=1)

    def loss(self, x, y=None, rng=None):
        assert isinstance(x, Padded)
        self.lengths += np.bincount(x.lengths, minlength=len(self.lengths))
        return -np.mean(self.log_prob(x))

    def sample(self, n, *, seed=0):
        draw, p = np.random.default_rng(seed), np.exp(self.logits.data)
        sizes = draw.choice(len(self.lengths), n, p=self.lengths / self.lengths.sum())
        return Padded.of([draw.choice(len(p), size, p=p / p.sum()) for size in sizes])


class Answer:
    """x around a mean that an image, a caption's length and a sound's loudness move."""

    def __init__(self, dim, image, sound, vocabulary, *, seed=0):
        self.w = Tensor(np.zeros((3, dim), np.float32))

    def features(self, y):
        image, caption, sound = y["image"], y["caption"], y["sound"]
        loud = np.abs(sound.data).sum(axis=1) / np.maximum(sound.lengths, 1)
        bright = image.mean(axis=(1, 2, 3))
        return np.stack([bright, caption.lengths / 10, loud], axis=1).astype(np.float32)

    def log_prob(self, x, y=None):
        return log_normal(x, self.features(y) @ self.w)

    def loss(self, x, y=None, rng=None):
        return -np.mean(self.log_prob(x, y))

    def sample(self, n, *, seed=0, y=None):
        assert len(y["image"]) == len(y["caption"]) == n
        mu = self.features(y) @ self.w.data
        return (mu + np.random.default_rng(seed).normal(size=mu.shape)).astype(np.float32)


def steps(genzoo, name, path, folder, *options):
    """Train, score and sample through the command line; what `score` printed."""
    train = ["train", name, "--data", path, "--out", folder, "--epochs", 3, "--lr", 0.05]
    genzoo(*train, "--batch-size", 16)
    genzoo("sample", folder, "-n", 4, *options)
    return genzoo("score", folder)


def nats(out):
    return float(re.search(r"nats per sample +(-?\d+\.\d+)", out)[1])


def pixels(png):
    from matplotlib.image import imread

    return imread(io.BytesIO(png))[..., :3]


def page(tmp_path, name, path):
    """The zoo's page with one model on one file."""
    zoo.run(tmp_path / "zoo", names=[name], data=str(path))
    return (tmp_path / "zoo" / "report.html").read_text()


def test_colour_images(genzoo, table, tmp_path):
    """Red images stay red through a file, a training, a sample and a page."""
    x = rng.integers(0, 60, (80, 3, 4, 5)).astype(np.uint8)
    x[:, 0] += 190
    np.savez(tmp_path / "red.npz", x=x)
    name = table(Colours, "image", lambda data: {"shape": list(data.train.x.shape[1:])})
    out = steps(genzoo, name, tmp_path / "red.npz", tmp_path / "run")
    assert 60 * 0.9 < nats(out) < 60 * 1.6
    drawn = pixels((tmp_path / "run" / "samples.png").read_bytes())
    assert drawn.shape == (8 * (2 * 5 + 1), 8 * (2 * 6 + 1), 3)
    inside = drawn[8:40, 8:48]
    assert (inside[..., 0] > inside[..., 1:].max(axis=-1)).mean() > 0.95
    genzoo("sample", tmp_path / "run", "-n", 7, "--out", tmp_path / "s.npz")
    again = load(tmp_path / "s.npz", shape="image")
    assert again.train.x.shape == (7 - 2, 3, 4, 5)
    html = page(tmp_path, name, tmp_path / "red.npz")
    assert html.count('src="data:image/png;base64,') == 2


def test_text_of_several_lengths(genzoo, table, tmp_path):
    """Half of the letters are a: the entropy is that of ½, ¼, ¼, and lengths are kept."""
    lengths = rng.integers(1, 7, 200)
    ids = rng.choice(3, (200, 6), p=[0.5, 0.25, 0.25])
    keys = {"x.vocabulary": LETTERS, "x.lengths": lengths}
    np.savez(tmp_path / "words.npz", x=ids, **keys)
    arguments = lambda data: {  # noqa: E731
        "vocabulary": len(data.vocabulary), "longest": data.train.x.shape[1]
    }  # fmt: skip
    name = table(Letters, "sequence", arguments, domain="text", kind="autoregressive")
    out = steps(genzoo, name, tmp_path / "words.npz", tmp_path / "run")
    test = load(tmp_path / "words.npz").test.x
    per_letter = nats(out) / test.lengths.mean()
    assert 0.85 * 1.04 < per_letter < 1.2 * 1.1
    told = float(re.search(r"nats per token +(\d\.\d+)", out)[1])
    assert told == pytest.approx(per_letter, abs=1e-3)
    shown = genzoo("sample", tmp_path / "run", "-n", 30).splitlines()
    assert len(shown) == 30
    assert len({len(word) for word in shown}) > 2
    assert set("".join(shown)) <= set("abc")
    genzoo("sample", tmp_path / "run", "-n", 30, "--out", tmp_path / "s.npz")
    saved = np.load(tmp_path / "s.npz")
    assert saved["x.lengths"].tolist() == [len(word) for word in shown]
    err = genzoo("sample", tmp_path / "run", "--out", tmp_path / "s.npy", status=1)
    assert "--out must end in .npz or .txt" in err
    assert "<pre>" in page(tmp_path, name, tmp_path / "words.npz")
    err = genzoo("train", "made", "--data", tmp_path / "words.npz", "--out", "x", status=1)
    assert "text data can't be read as binary" in err


def test_strings_are_text(tmp_path):
    words = np.array(["ab", "", "cab", "b"] * 10)
    np.savez(tmp_path / "a.npz", x=words)
    data = load(tmp_path / "a.npz")
    everything = [row for part in (data.train, data.validation, data.test) for row in part.x]
    assert sorted("".join(data.vocabulary[i] for i in row) for row in everything) == sorted(words)


def many_things(n=60):
    """x, and an image, a caption and a sound with each."""
    return {
        "x": rng.normal(size=(n, 2)),
        "y.image": rng.integers(0, 256, (n, 3, 4, 4)).astype(np.uint8),
        "y.caption": np.array(["a cat", "two dogs", "red"] * (n // 3)),
        "y.caption.kind": "text",
        "y.sound": rng.integers(-9000, 9000, (n, 400)).astype(np.int16),
        "y.sound.rate": 4000,
        "y.sound.lengths": rng.integers(100, 400, n),
    }


def answer_arguments(data):
    given = data.given
    return {
        "dim": data.dim,
        "image": list(given["image"].shape),
        "sound": given["sound"].rate,
        "vocabulary": len(given["caption"].vocabulary),
    }


def test_an_image_a_caption_and_a_sound(genzoo, table, tmp_path):
    things = many_things()
    np.savez(tmp_path / "many.npz", **things)
    name = table(Answer, "flat", answer_arguments)
    run = tmp_path / "run"
    out = steps(genzoo, name, tmp_path / "many.npz", run)
    assert 1.5 < nats(out) < 6
    assert "of x, given image, caption, sound" in out
    files = {file.name for file in run.iterdir()}
    assert {"given-image.png", "given-sound.wav"} <= files
    told = genzoo("sample", run, "-n", 4, "--out", tmp_path / "s.png")
    for file in ("s.png", "s-given-image.png", "s-given-caption.txt", "s-given-sound.wav"):
        assert f"{tmp_path / file}" in told
        assert (tmp_path / file).exists()
    captions = (tmp_path / "s-given-caption.txt").read_text().splitlines()
    assert len(captions) == 4
    assert set(captions) <= {"a cat", "two dogs", "red"}
    with wave.open(str(tmp_path / "s-given-sound.wav")) as file:
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert file.getframerate() == 4000
    test = load(tmp_path / "many.npz").test.subset(4)
    assert len(frames) == test.y["sound"].lengths.sum() + 3 * 1000
    np.testing.assert_allclose(frames[:99] / 32767, test.y["sound"].data[0, :99], atol=1e-4)
    err = genzoo("sample", run, "-n", 99, status=1)
    assert "n must be at most 6, the test rows of many.npz" in err
    assert "told apart" in genzoo("score", run, "--distance")
    html = page(tmp_path, name, tmp_path / "many.npz")
    assert html.count("data:audio/wav;base64,") == 1
    assert all(f"Given: {thing}" in html for thing in ("image", "caption", "sound"))
    assert json.loads((run / "config.json").read_text())["show"]["given"]["sound"]["rate"] == 4000


def test_a_model_of_x_alone_passes_by_what_comes_with_x(genzoo, tmp_path):
    """It is trained, sampled, scored, compared and shown as if x had come alone."""
    np.savez(tmp_path / "many.npz", **many_things())
    run = tmp_path / "run"
    arguments = ["--epochs", 1, "--set", "hidden=8", "--set", "latent=2"]
    genzoo("train", "gan", "--data", tmp_path / "many.npz", "--out", run, *arguments)
    genzoo("sample", run, "-n", 99)
    assert not list(run.glob("given-*"))
    assert "told apart" in genzoo("score", run, "--distance")
    assert "Given:" not in page(tmp_path, "real-nvp", tmp_path / "many.npz")
    assert "given" not in genzoo("score", tmp_path / "zoo" / "real-nvp-many")


def test_a_model_that_lost_what_was_given_is_rejected(genzoo, table, tmp_path):
    """The same law with captions that went to other samples: the features don't follow."""
    things = many_things()
    np.savez(tmp_path / "many.npz", **things)
    data = load(tmp_path / "many.npz")
    parts = data.train, data.validation, data.test
    images = np.concatenate([part.y["image"] for part in parts])
    x = np.concatenate([part.x for part in parts])
    want = things["y.image"] * (2 / 255) - 1
    order = np.argsort(x[:, 0]), np.argsort(things["x"][:, 0])
    np.testing.assert_allclose(images[order[0]], want[order[1]], atol=1e-6)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(images[order[0]][1:], want[order[1]][:-1], atol=1e-6)


class ByLabel:
    """x around its label's own mean: p(x | y) of a label."""

    def __init__(self, dim, classes, *, seed=0):
        self.w = Tensor(np.zeros((classes, dim), np.float32))

    def log_prob(self, x, y=None):
        return log_normal(x, np.eye(self.w.shape[0], dtype=np.float32)[y] @ self.w)

    def sample(self, n, *, seed=0, y=None):
        return (self.w.data[np.broadcast_to(y, n)]).astype(np.float32)


def test_a_label_is_a_condition_too(genzoo, table, tmp_path):
    """Means 0, 4 and 8: scored with its label a row costs the entropy of one Gaussian."""
    y = np.array(["low", "mid", "top"])[np.arange(90) % 3]
    x = rng.normal(size=(90, 2)) + 4 * (np.arange(90) % 3)[:, None]
    np.savez(tmp_path / "a.npz", x=x, y=y)
    name = table(ByLabel, "flat", dim_and_classes)
    run = tmp_path / "run"
    genzoo("train", name, "--data", tmp_path / "a.npz", "--out", run, "--epochs", 60, "--lr", 0.1)
    scale = load(tmp_path / "a.npz", standardise=True).units.log_scale
    assert nats(genzoo("score", run)) < 2 * 0.919 + scale + 0.5
    genzoo("sample", run, "-n", 3, "--set", 'y=["low", "mid", "top"]', "--out", tmp_path / "s.csv")
    rows = [line.split(",") for line in (tmp_path / "s.csv").read_text().splitlines()]
    assert [row[-1] for row in rows] == ["y", "low", "mid", "top"]
    means = [float(row[0]) for row in rows[1:]]
    np.testing.assert_allclose(means, [0, 4, 8], atol=1)


def test_sounds_and_films_as_samples(genzoo, table, tmp_path):
    """WAV and GIF, of models that draw them."""
    from PIL import Image

    tones = np.sin(np.arange(200) * 0.1) * rng.uniform(0.2, 0.9, (40, 1))
    np.savez(tmp_path / "tones.npz", x=tones, **{"x.rate": 1000})
    name = table(Colours, "flat", lambda data: {"shape": list(data.train.x.shape[1:])})
    genzoo("train", name, "--data", tmp_path / "tones.npz", "--out", tmp_path / "t", "--epochs", 1)
    genzoo("sample", tmp_path / "t", "-n", 3)
    with wave.open(str(tmp_path / "t" / "samples.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (1000, 3 * 200 + 2 * 250)
    err = genzoo("sample", tmp_path / "t", "--out", tmp_path / "t.png", status=1)
    assert "--out must end in .wav" in err

    films = rng.integers(0, 256, (30, 5, 3, 4, 6)).astype(np.uint8)
    np.savez(tmp_path / "films.npz", x=films, **{"x.fps": 10})
    name = table(Colours, "film", lambda data: {"shape": list(data.train.x.shape[1:])})
    genzoo("train", name, "--data", tmp_path / "films.npz", "--out", tmp_path / "f", "--epochs", 1)
    genzoo("sample", tmp_path / "f", "-n", 4)
    with Image.open(tmp_path / "f" / "samples.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (5, 100)
        assert gif.size == (8 * (2 * 7 + 1), 8 * (2 * 5 + 1))
    html = page(tmp_path, name, tmp_path / "films.npz")
    gif = base64.b64encode((tmp_path / "zoo" / f"{name}-films" / "data.gif").read_bytes())
    assert f'src="data:image/gif;base64,{gif.decode()}"' in html


@pytest.mark.parametrize(
    ("shape", "x", "words"),
    [
        ("image", np.zeros((20, 7)), "rows of numbers can't be read as image"),
        ("grid", rng.integers(0, 9, (20, 3, 2, 2)), "images in colour can't be read as grid"),
        ("sequence", np.zeros((20, 4, 4)), "grey images can't be read as sequence"),
        ("film", rng.integers(0, 9, (20, 3, 2, 2)), "images in colour can't be read as film"),
    ],
)
def test_nobody_reshapes_by_guess(tmp_path, shape, x, words):
    np.savez(tmp_path / "a.npz", x=x)
    with pytest.raises(InputError, match=words):
        load(tmp_path / "a.npz", shape=shape)


def test_the_box_of_a_histogram_has_a_side_for_each_axis():
    """Columns of scale 1 and 1000, and one that never changes: each has its own edges."""
    x = rng.normal(size=(200, 3)).astype(np.float32) * [1, 1000, 0] + [0, 5, 7]
    parts = [Split(x.astype(np.float32))] * 3
    box = dim_and_box(Dataset("t", *parts, domain="continuous"))
    spans = np.array(box["high"]) - np.array(box["low"])
    np.testing.assert_allclose(spans, [1.5 * np.ptp(x[:, 0]), 1.5 * np.ptp(x[:, 1]), 1], rtol=1e-5)
    model = MODELS["histogram"].load()(**box, bins=3)
    assert np.isfinite(model.fit(x.astype(np.float32)).log_prob(x.astype(np.float32))).all()


def test_what_is_shown_of_labels_and_numbers():
    how = {"given": {"y": {"names": ["cat", "dog"]}}}
    assert showing.show_given(np.array([1, 0]), how) == {"y": "dog\ncat"}
    assert showing.show(np.array([[1.5, 2.0]]), {}) == "1.5 2"
    assert showing.show_given(None, {}) == {}


@pytest.mark.parametrize("rate", [0, -1, "8000", 1.5, 2**40])
def test_a_rate_counts_numbers_a_second(rate):
    with pytest.raises(InputError, match="rate must be an int"):
        pictures.sounds(np.zeros((1, 5)), rate)
