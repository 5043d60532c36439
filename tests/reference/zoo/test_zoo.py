"""The main job: what it leaves, that it can be stopped and gone on with, what the page holds."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from core.data import catalogue, load
from core.errors import GenzooError, InputError, Interrupted
from core.optim import Diverged
from reference import FAMILIES, MODELS
from reference.judges import two_sample
from reference.zoo import cli, figures, pictures, report, runs
from reference.zoo import job as zoo

NAMES = ["bernoulli-mixture", "fvsbn", "vae", "gan"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A quick zoo of four models, one of each way to be scored, on real digits."""
    out = tmp_path_factory.mktemp("zoo")
    return out, zoo.run(out, names=NAMES, data="digits", quick=True)


@pytest.fixture
def cheap(monkeypatch):
    """No random forests, where distances are not the point."""
    monkeypatch.setattr(
        two_sample, "classifier_accuracy", lambda x, y, seed: two_sample.Accuracy(0.5, 0.1)
    )


# results.json


def test_results_hold_the_figures_of_every_model(finished):
    out, results = finished
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))
    entries = {entry["model"]: entry for entry in results["models"]}
    assert list(entries) == NAMES
    for name, entry in entries.items():
        assert entry["kind"] == MODELS[name].kind
        assert entry["rows"] == list(MODELS[name].rows)
        assert (entry["data"], entry["seed"]) == ("digits", 0)
        assert entry["parameters"] > 0
        assert entry["seconds"] >= 0
        assert {"count", "mmd2", "null_95", "p_value", "accuracy"} <= set(entry["distance"])
        assert {"frechet", "recall", "classes", "copied"} <= set(entry["fidelity"])
        assert entry["fidelity"]["baseline"] == entries["gan"]["fidelity"]["baseline"] or (
            entry["domain"] == "binary"
        )
    baselines = [entries[name]["distance"]["baseline"] for name in NAMES[:3]]
    assert baselines[0] == baselines[1] == baselines[2]


def test_absent_figures_are_absent(finished):
    entries = {entry["model"]: entry for entry in finished[1]["models"]}
    likelihood = {"test_nats", "test_nats_se", "bits_per_dim"}
    assert likelihood <= set(entries["fvsbn"])
    assert "bound" not in entries["fvsbn"]
    assert likelihood | {"bound"} <= set(entries["vae"])
    assert not (likelihood | {"bound", "scored_as"}) & set(entries["gan"])
    assert zoo.present({"a": None, "b": math.nan, "c": {"d": math.inf, "e": 0}, "f": 0.0}) == {
        "c": {"e": 0},
        "f": 0.0,
    }


def test_scores_are_those_of_the_command_line(finished, monkeypatch, capsys):
    out, results = finished
    entry = results["models"][1]
    monkeypatch.setattr("sys.argv", ["genzoo", "score", str(out / entry["folder"])])
    with pytest.raises(SystemExit):
        cli.main()
    assert f"{entry['test_nats']:.3f} ± {entry['test_nats_se']:.3f}" in capsys.readouterr().out


def test_baselines_are_computed_not_typed(finished):
    rows = {row["name"]: row for row in finished[1]["baselines"]}
    assert rows["uniform"]["test_nats"] == pytest.approx(64 * math.log(2))
    assert rows["independent Bernoulli"]["test_nats"] == pytest.approx(25.20, abs=0.01)


def test_machine_names_what_the_figures_depend_on():
    machine = zoo.machine()
    assert {"cores", "python", "numpy", "blas", "threads", "env"} <= set(machine)
    assert machine["numpy"] == np.__version__
    assert machine["cores"] >= 1


# Stopping and going on


def listen_to(news):
    def finished(job, entry, kept):
        news.append((job.row.name, kept))

    return zoo.Watcher(finished=finished)


def test_finished_models_are_kept(finished, tmp_path):
    out, results = finished
    news = []
    again = zoo.run(out, names=NAMES, data="digits", quick=True, watcher=listen_to(news))
    assert news == [(name, True) for name in NAMES]
    assert again["models"] == results["models"]


def test_another_configuration_is_trained_again(cheap, tmp_path):
    news = []
    watcher = listen_to(news)
    first = zoo.run(tmp_path, names=["naive-bayes"], watcher=watcher)
    zoo.run(tmp_path, names=["naive-bayes"], quick=True, watcher=watcher)
    zoo.run(tmp_path, names=["naive-bayes"], seed=1, watcher=watcher)
    assert zoo.run(tmp_path, names=["naive-bayes"], watcher=watcher)["models"] == first["models"]
    assert [kept for _, kept in news] == [False, False, False, True]
    result = tmp_path / "naive-bayes-digits" / "result.json"
    stored = json.loads(result.read_text())
    stored["config"]["arguments"]["alpha"] = 7.0
    result.write_text(json.dumps(stored))
    zoo.run(tmp_path, names=["naive-bayes"], watcher=watcher)
    assert news[-1] == ("naive-bayes", False)
    result.write_text("{")
    zoo.run(tmp_path, names=["naive-bayes"], watcher=watcher)
    assert news[-1] == ("naive-bayes", False)


def test_ctrl_c_keeps_what_is_finished_and_goes_on_to_the_same_bits(finished, tmp_path):
    names = NAMES[:2]

    def press(at):
        if (at.epoch, at.step) == (1, 7):
            os.kill(os.getpid(), signal.SIGINT)

    watcher = zoo.Watcher(progress=press)
    with pytest.raises(Interrupted, match="saved in"):
        zoo.run(tmp_path, names=names, data="digits", quick=True, watcher=watcher)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [entry["model"] for entry in results["models"]] == names[:1]
    assert "Bernoulli mixture" in (tmp_path / "report.html").read_text()

    steps, news = [], []
    watcher = zoo.Watcher(
        progress=lambda at: steps.append(at.step), finished=listen_to(news).finished
    )
    whole = zoo.run(tmp_path, names=names, data="digits", quick=True, watcher=watcher)
    assert news == [(names[0], True), (names[1], False)]
    assert steps[0] == 8
    for entry, uninterrupted in zip(whole["models"], finished[1]["models"], strict=False):
        for figure in ("test_nats", "distance", "parameters"):
            assert entry[figure] == uninterrupted[figure]


def test_damaged_beginnings_are_begun_again(cheap, tmp_path):
    out = tmp_path / "zoo"
    zoo.run(out, names=["fvsbn"], quick=True)
    (folder,) = out.glob("fvsbn-*")
    (folder / "result.json").unlink()
    (folder / "state.safetensors").write_bytes(b"damage")
    zoo.run(out, names=["fvsbn"], quick=True)
    assert (folder / "result.json").exists()


def test_one_failure_does_not_stop_the_others(cheap, tmp_path, monkeypatch):
    train = runs.train

    def diverge(config, *args, **kwargs):
        if config["model"] == "naive-bayes":
            raise Diverged("training diverged in epoch 1")
        return train(config, *args, **kwargs)

    monkeypatch.setattr(runs, "train", diverge)
    with pytest.raises(GenzooError, match="1 of 2 models failed: naive-bayes on digits: training"):
        zoo.run(tmp_path, names=["naive-bayes", "markov-table"])
    results = json.loads((tmp_path / "results.json").read_text())
    assert [entry["model"] for entry in results["models"]] == ["markov-table"]
    assert "training diverged" in (tmp_path / "report.html").read_text()


# Choosing


def test_unknown_names(tmp_path):
    with pytest.raises(InputError, match="did you mean nade"):
        zoo.run(tmp_path, names=["nadde"])
    with pytest.raises(InputError, match="did you mean digits"):
        zoo.run(tmp_path, data="digitss")


def test_models_that_data_do_not_suit_are_skipped_unless_named(cheap, tmp_path, monkeypatch):
    chosen = {name: MODELS[name] for name in ("histogram", "naive-bayes", "markov-table")}
    monkeypatch.setattr(zoo, "MODELS", chosen)
    x = (np.random.default_rng(0).random((300, 6)) < 0.3).astype(np.uint8)
    np.save(tmp_path / "rows.npy", x)
    heard = []
    watcher = zoo.Watcher(skipped=lambda name, reason: heard.append(name))
    data = str(tmp_path / "rows.npy")
    results = zoo.run(tmp_path / "zoo", data=data, watcher=watcher)
    assert "markov-table" in [entry["model"] for entry in results["models"]]
    assert "naive-bayes" in heard
    assert [row["model"] for row in results["skipped"]] == heard
    assert "needs labels" in (tmp_path / "zoo" / "report.html").read_text()
    with pytest.raises(InputError, match="needs labels"):
        zoo.run(tmp_path / "zoo", names=["naive-bayes"], data=data)


def test_demos_are_on_data_that_come_with_the_install():
    installed = {entry.name for entry in catalogue() if entry.where == "installed"}
    for row in MODELS.values():
        for demo in row.demos:
            assert demo.full or demo.data in installed
    for name in ("gan", "ddpm"):
        assert [demo.data for demo in MODELS[name].demos] == ["digits", "eight-gaussians"]


def test_what_takes_longer_is_trained_only_if_asked_for():
    row = MODELS["transformer"]
    assert [demo.data for demo in zoo._demos(row, None, False, False)] == ["sums"]
    assert zoo._demos(row, None, True, False) == row.demos
    assert [demo.data for demo in zoo._demos(row, "names", False, False)] == ["names"]
    assert zoo._options([], None, False, True, 3) == ["--full", "--seed", "3"]


# The page


class Page(HTMLParser):
    """Checks that tags are balanced; collects attributes and text."""

    VOID = frozenset({"meta", "link", "img", "br", "hr"})

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def external(page):
    """Addresses that a browser would fetch."""
    keys = ("src", "href", "srcset", "data", "poster", "action", "xlink:href")
    values = [attrs[key] for _, attrs in page.tags for key in keys if key in attrs]
    return [value for value in values if not value.startswith(("data:", "#"))]


@pytest.fixture(scope="module")
def html(finished):
    return (finished[0] / "report.html").read_text(encoding="utf-8")


def test_page_is_one_file_without_scripts(html):
    page = Page(html)
    assert external(page) == []
    assert not page.all("script")
    assert not re.search(r"@import|url\(|https?://", html)
    assert external(Page('<img src="http://x/y.png">')) == ["http://x/y.png"]


def test_page_is_accessible(html):
    page = Page(html)
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("title")
    assert len(page.all("h1")) == 1
    for image in page.all("img"):
        assert image["alt"]
    for drawing in page.all("svg"):
        assert drawing.get("aria-label") or drawing.get("aria-hidden") == "true"
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in cell for cell in page.all("th"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert link["href"].removeprefix("#") in ids


def test_page_shows_every_model_beside_its_data(finished, html):
    page = Page(html)
    for entry in finished[1]["models"]:
        assert {"id": entry["folder"], "class": "card"} in page.all("article")
    alone = 1 + 2  # the GAN's samples over time; the VAE's lines and walks among codes
    assert len(page.all("img")) == 2 * len(NAMES) + alone
    text = " ".join(page.text)
    assert re.search(r"Last state: (healthy|collapsing|diverging)", re.sub(r"\s+", " ", text))
    for words in ("25.20", "44.36", "independent Bernoulli", "Fresh real data", "≤"):
        assert words in text


def test_ranking_is_by_likelihood(finished, html):
    table = html[html.index('id="likelihood"') : html.index('id="distance"')]
    shown = [float(n) for n in re.findall(r'class="num strong">(?:≤ )?(\d+\.\d+)', table)]
    assert shown == sorted(shown)
    assert len(shown) == 3 + 2


def test_page_can_be_made_again_without_training(finished):
    out = finished[0]
    results = json.loads((out / "results.json").read_text())
    assert report.page(results, out) == (out / "report.html").read_text(encoding="utf-8")


def test_names_from_outside_are_escaped(finished):
    out, results = finished
    hostile = {"model": "<script>", "data": "<img src=x>", "reason": "a & b"}
    page = report.page({**results, "skipped": [hostile]}, out)
    assert "<script>" not in page
    assert "<img src=x>" not in page
    assert "a &amp; b" in page


def test_family_tree_has_every_model_and_is_well_formed():
    drawing = figures.family_tree(list(MODELS.values()), {"nade": "nade-digits"})
    tree = ET.fromstring(drawing)
    words = [text.text for text in tree.iter("text")]
    for row in MODELS.values():
        assert row.title in words
        assert str(row.year) in words
    assert set(FAMILIES) <= set(words)
    assert [link.get("href") for link in tree.iter("a")] == ["#nade-digits"]


def test_every_parent_is_an_older_row():
    for row in MODELS.values():
        for parent in row.parents:
            assert MODELS[parent].year <= row.year


@pytest.mark.parametrize(
    "values",
    [[3.0, 2.0, 1.5], [1e6, 2.0, 1.9], [-3.0, -4.0, -4.1], [2.0, 2.0], [math.nan, 1.0], [0.001, 0]],
)
def test_loss_curves_stay_in_their_frame(values):
    epochs = list(range(1, len(values) + 1))
    drawing = figures.loss_curve(epochs, {"training": values, "validation": values}, "nats", 2)
    ET.fromstring(drawing)
    assert "nan" not in drawing.replace("nats", "")
    for x, y in re.findall(r"(-?\d+\.\d),(-?\d+\.\d)", drawing):
        assert 0 <= float(x) <= 420
        assert 0 <= float(y) <= 190


def test_nice_ticks_enclose_the_range():
    for low, high in [(0, 1), (16.2, 24.9), (-3, -2.999), (5, 5), (0, 0), (1e-7, 3e-7), (0, 1e9)]:
        ticks = figures._nice_ticks(low, high)
        assert ticks[0] <= low <= high <= ticks[-1]
        assert 2 <= len(ticks) <= 8


# Pictures


def pixels(png):
    import io

    from matplotlib.image import imread

    return imread(io.BytesIO(png))


def test_image_grid_puts_images_in_rows():
    x = np.zeros((3, 6))
    x[0, 0] = x[1, 5] = x[2, 2] = 1.0
    ink = 1 - pixels(pictures.image_grid(x, (2, 3), low=0, high=1, columns=2))[..., 0]
    assert ink.shape == (1 + 2 * 3, 1 + 2 * 4)
    assert set(zip(*np.nonzero(ink), strict=True)) == {(1, 1), (2, 7), (4, 3)}
    assert pixels(pictures.image_grid(x, (2, 3), low=0, high=1, scale=4)).shape[:2] == (28, 36)


def test_image_grid_clips_and_scales():
    x = np.array([[-5.0, -1.0, 0.0, 1.0, 9.0, 1.0]])
    ink = 1 - pixels(pictures.image_grid(x, (2, 3), low=-1, high=1))[..., 0]
    np.testing.assert_allclose(ink[1:3, 1:4], [[0, 0, 0.5], [1, 1, 1]], atol=0.01)


def test_scatter_shows_points_where_they_are():
    image = pixels(pictures.scatter(np.array([[0.5, 0.5]]), box=(-1, 1, -1, 1)))
    rows, columns = np.nonzero(image[..., 3] > 0.3)
    assert image.shape == (480, 480, 4)
    assert rows.mean() == pytest.approx(120, abs=3)
    assert columns.mean() == pytest.approx(360, abs=3)


def test_pictures_name_what_does_not_fit():
    with pytest.raises(InputError, match=r"\(N, 6\) for 2×3 images, got \(1, 5\)"):
        pictures.image_grid(np.zeros((1, 5)), (2, 3), low=0, high=1)
    with pytest.raises(InputError, match=r"\(N, 2\) to be scattered"):
        pictures.scatter(np.zeros((4, 3)), box=(0, 1, 0, 1))


def test_square_box_holds_the_data():
    x = load("eight-gaussians", n=500).train.x
    left, right, bottom, top = pictures.square_box(x)
    assert right - left == pytest.approx(top - bottom)
    assert left < x[:, 0].min() <= x[:, 0].max() < right
    assert bottom < x[:, 1].min() <= x[:, 1].max() < top
