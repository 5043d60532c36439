"""The command line, end to end on real models, and everything a user can get wrong with it."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from core.checkpoint import load_arrays, save_arrays
from core.data import load
from core.errors import GenzooError, InputError
from core.train import TrainSettings
from reference import MODELS
from reference.zoo import cli, commands, printing, progress, runs, showing

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def genzoo(monkeypatch, capsys):
    """Run a command line in this process: genzoo("train", …) → (exit status, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["genzoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


def fails(result, *words):
    """It failed with status 1, printed nothing but one line, and that has the words in it."""
    status, out, err = result
    assert (status, out) == (1, "")
    assert err.startswith("genzoo: ")
    assert err.count("\n") == 1
    for word in words:
        assert str(word) in err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of one explicit, one bounded and one implicit model, barely trained."""
    folder = tmp_path_factory.mktemp("runs")
    for name, data in (("fvsbn", "digits"), ("vae", "digits"), ("gan", "digits")):
        command = ["genzoo", "train", name, "--data", data, "--epochs", "1"]
        sys.argv = [*command, "--out", str(folder / name)]
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the FVSBN run, to be damaged."""
    folder = tmp_path / "run"
    folder.mkdir()
    for file in (trained / "fvsbn").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


# Help and lists


def test_help_answers_at_once():
    """Half a second is promised; the best of five, for other work may be going on."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        command = [sys.executable, "-m", "reference", "--help"]
        out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5
    for command in ("list", "train", "sample", "score", "data", "zoo"):
        assert command in out.stdout


def test_help_loads_nothing_heavy():
    code = (
        "import sys; import reference.zoo.cli; from typer.testing import CliRunner; "
        "assert CliRunner().invoke(reference.zoo.cli.app, ['--help']).exit_code == 0; "
        "print(sorted({'rich', 'scipy', 'core.data', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["list", "train", "sample", "score", "data", "zoo"])
def test_every_command_explains_itself(genzoo, command):
    status, out, _ = genzoo(command, "--help")
    assert status == 0
    assert "Usage" in out


def test_version(genzoo):
    from importlib.metadata import version

    assert genzoo("--version") == (0, f"genzoo {version('genzoo')}\n", "")


def test_list_has_every_model_and_what_it_can_do(genzoo):
    status, out, _ = genzoo("list")
    lines = {line.split("\t")[0]: line.split("\t") for line in out.splitlines()[1:]}
    assert status == 0
    assert set(lines) == set(MODELS)
    assert lines["nade"][2:] == ["autoregressive", "log p, sample", "A2", "2011"]
    assert lines["naive-bayes"][3] == "log p, sample, classify"
    assert lines["vae"][3] == "bound, sample, reconstruct"
    assert lines["gan"][3] == "sample"


def test_data_list_and_fetch(genzoo):
    status, out, _ = genzoo("data", "list")
    assert status == 0
    assert re.search(r"^digits\t.*installed$", out, re.MULTILINE)
    assert genzoo("data", "fetch", "digits") == (0, "digits: comes with the install\n", "")
    fails(genzoo("data", "fetch", "mnsit"), "unknown data set 'mnsit'", "did you mean mnist")


# Train → score → sample → resume


def test_train_sample_score(genzoo, trained, tmp_path):
    status, out, _ = genzoo("score", trained / "fvsbn")
    assert status == 0
    nats = float(re.search(r"nats per sample +(\d+\.\d+) ± \d", out)[1])
    bits = float(re.search(r"bits per dimension +(\d\.\d+)", out)[1])
    assert 15 < nats < 44
    assert bits == pytest.approx(nats / 64 / np.log(2), abs=1e-3)

    status, out, _ = genzoo("sample", trained / "fvsbn", "-n", 9, "--out", tmp_path / "x.png")
    assert (status, out) == (0, f"9 samples are in {tmp_path / 'x.png'}\n")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert genzoo("sample", trained / "fvsbn", "--out", tmp_path / "x.npy")[0] == 0
    samples = np.load(tmp_path / "x.npy")
    assert samples.shape == (64, 64)
    assert set(np.unique(samples)) == {0, 1}
    genzoo("sample", trained / "fvsbn", "--out", tmp_path / "y.npy")
    np.testing.assert_array_equal(samples, np.load(tmp_path / "y.npy"))


def test_score_names_split_and_rows(genzoo, trained):
    assert (
        "validation, 200 samples" in genzoo("score", trained / "fvsbn", "--split", "validation")[1]
    )
    assert "test, 7 samples" in genzoo("score", trained / "fvsbn", "-n", 7)[1]
    fails(genzoo("score", trained / "fvsbn", "--split", "tset"), "--split must be")


def test_a_bound_is_labelled_a_bound(genzoo, trained):
    status, out, _ = genzoo("score", trained / "vae", "-n", 20)
    assert status == 0
    assert "upper bound (importance-weighted, k = 100)" in out
    assert re.search(r"nats per sample +≤ \d", out)


def test_an_implicit_model_says_so_and_is_scored_by_its_samples(genzoo, trained):
    status, out, _ = genzoo("score", trained / "gan")
    assert status == 0
    assert "an implicit model: it has samples, but no likelihood" in out
    assert out.count("MMD²") == 2
    assert "250 samples" in out
    found = {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines()}
    assert found[""][:2] == ["Fréchet", "precision"]
    assert float(found["samples"][0]) > 3 * float(found["fresh rows"][0])
    status, again, _ = genzoo("score", trained / "gan", "--distance")
    assert status == 0
    assert again == out.split("\n", 1)[1]


def test_the_judge_of_digits_says_how_good_it_is(genzoo):
    status, out, _ = genzoo("judge", "digits")
    assert status == 0
    assert re.search(r"right on 9[789]\.\d+ % of the test digits of digits; in .*digits.safe", out)
    fails(genzoo("judge", "fashion-mnist"), "name must be one of digits, mnist")


def test_gap_to_the_truth_of_points_in_the_plane(genzoo, tmp_path):
    command = ["train", "histogram", "--data", "eight-gaussians", "--out", tmp_path / "h"]
    assert genzoo(*command, "--set", "bins=20")[0] == 0
    gap = re.search(r"gap to the truth +(\d\.\d+) ± 0\.0", genzoo("score", tmp_path / "h")[1])
    assert 0 < float(gap[1]) < 0.5
    genzoo("sample", tmp_path / "h", "-n", 50)
    assert (tmp_path / "h" / "samples.png").exists()


def press_ctrl_c(monkeypatch, step):
    """Ctrl-C once, after that training step."""

    def listen(self, at):
        if at.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(progress._Lines, "listen", listen)


def test_ctrl_c_saves_and_resume_gives_the_same_bits(genzoo, monkeypatch, tmp_path):
    train = ["train", "made", "--seed", 5, "--epochs", 2, "--set", "hidden=[9]"]
    assert genzoo(*train, "--out", tmp_path / "whole")[0] == 0
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, step=16)
        status, out, err = genzoo(*train, "--out", tmp_path / "parts")
    assert (status, out) == (130, "")
    assert re.search(rf"stopped after step 16 of \d+; saved in {tmp_path}/parts", err)
    fails(genzoo(*train, "--out", tmp_path / "parts"), "already holds a run")
    status, _, err = genzoo("train", "made", "--resume", "--out", tmp_path / "parts")
    assert status == 0
    assert "epoch 2/2" in err
    whole, _ = load_arrays(tmp_path / "whole" / "model.safetensors")
    parts, _ = load_arrays(tmp_path / "parts" / "model.safetensors")
    assert whole.keys() == parts.keys()
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name])


def test_resume_trains_on_for_more_epochs(genzoo, run):
    status, _, err = genzoo("train", "fvsbn", "--resume", "--epochs", 3, "--out", run)
    assert status == 0
    assert "cosine schedule of 1 epochs goes on as one of 3" in err.splitlines()[0]
    config = json.loads((run / "config.json").read_text())
    assert (config["seed"], config["train"]["epochs"]) == (0, 3)
    log = (run / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in log] == [1, 2, 3]


def test_a_resume_to_the_same_end_is_silent_and_so_is_a_constant_schedule(genzoo, tmp_path):
    train = ["train", "nade", "--out", tmp_path / "run", "--set", "hidden=3", "--epochs"]
    assert genzoo(*train, 1)[0] == 0
    assert "schedule" not in genzoo(*train, 1, "--resume")[2]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    data = TrainSettings(**{**config["train"], "schedule": "constant"})
    loaded = load("digits", domain="binary")
    how = runs.configuration(
        MODELS["nade"], loaded, source="digits", arguments={}, settings=data, seed=0
    )
    runs.train(how, loaded, data, tmp_path / "constant")
    longer = TrainSettings(**{**how["train"], "epochs": 2})
    how = {**how, "train": {**how["train"], "epochs": 2}}
    runs.train(how, loaded, longer, tmp_path / "constant", resume=True)  # a warning is an error


def test_an_unknown_training_setting_in_a_config_is_named(genzoo, run):
    config = json.loads((run / "config.json").read_text())
    edit_config(run, train={**config["train"], "momentum": 0.9})
    again = ["train", "fvsbn", "--resume", "--epochs", 3, "--out", run]
    fails(genzoo(*again), "config.json", "train must have the keys batch_size", "momentum")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_help_and_scores_on_any_console(trained, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for command in (["sample", "--help"], ["score", str(trained / "fvsbn")], ["list"]):
        done = subprocess.run(
            [sys.executable, "-m", "reference", *command],
            cwd=ROOT, env=environment, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_what_was_trained_is_not_trained_over(genzoo, run):
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    fails(genzoo("train", "fvsbn", "--epochs", 1, "--out", run), "already holds a run", "resume")
    fails(genzoo("train", "nade", "--out", run, "--resume"), "holds a run of fvsbn, not of nade")
    again = ["train", "fvsbn", "--out", run, "--resume"]
    fails(genzoo(*again, "--seed", 9), "seed = 0, not 9")
    fails(genzoo(*again, "--data", "eight-gaussians"), "can't be read as binary")
    fails(genzoo(*again, "--lr", 0.5, "--epochs", 3), "lr", "0.5")
    fails(genzoo("train", "fvsbn", "--out", run.parent / "new", "--resume"), "is not a run")
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


def test_overwrite_replaces_a_run(genzoo, run):
    train = ["train", "fvsbn", "--epochs", 1, "--out", run]
    fails(genzoo(*train, "--overwrite", "--resume"), "--resume and --overwrite")
    before = (run / "model.safetensors").read_bytes()
    assert genzoo(*train, "--seed", 3, "--overwrite")[0] == 0
    assert (run / "model.safetensors").read_bytes() != before
    assert json.loads((run / "config.json").read_text())["seed"] == 3


def test_a_resume_past_the_end_says_so(genzoo, run):
    for epochs in ([], ["--epochs", 1]):
        status, out, _ = genzoo("train", "fvsbn", "--resume", "--out", run, *epochs)
        assert status == 0
        assert (
            out == f"{run} is trained to its end, 1 epochs: nothing was left to do; --epochs more\n"
        )
    assert "is in" in genzoo("train", "fvsbn", "--resume", "--out", run, "--epochs", 2)[1]


def test_sigterm_saves_as_ctrl_c_does(genzoo, monkeypatch, tmp_path):
    def listen(self, at):
        if at.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    train = ["train", "nade", "--epochs", 2, "--set", "hidden=3", "--out", tmp_path / "run"]
    with monkeypatch.context() as patch:
        patch.setattr(progress._Lines, "listen", listen)
        status, _, err = genzoo(*train)
    assert status == 130
    assert "stopped after step 5" in err
    assert "saved in" in err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert genzoo(*train, "--resume")[0] == 0


@pytest.mark.parametrize(
    ("text", "hidden"), [("hidden=7", [7]), ("hidden=7,5", [7, 5]), ("hidden=[7]", [7])]
)
def test_one_number_is_a_list_where_a_list_is_meant(genzoo, tmp_path, text, hidden):
    train = ["train", "made", "--epochs", 1, "--set", text, "--out", tmp_path / "run"]
    assert genzoo(*train)[0] == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["arguments"]["hidden"] == hidden


def test_list_of_a_model_has_its_arguments(genzoo):
    status, out, _ = genzoo("list", "made")
    assert status == 0
    assert out.splitlines()[0].startswith("MADE (2015), autoregressive: log p, sample")
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines()[2:]}
    assert rows["dim"] == ["int", "from the data"]
    assert rows["hidden"][0] == "Sequence[int]"
    assert not {"seed", "dtype"} & set(rows)
    fails(genzoo("list", "mdae"), "unknown model 'mdae'", "did you mean made")


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_tables_fit_the_terminal_and_cut_no_name(monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    rows = [(m.name, m.title, m.kind, "log p, sample", " ".join(m.rows)) for m in MODELS.values()]
    printing.print_table(("name", "model", "kind", "can", "rows"), rows)
    out = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)  # bold
    assert all(len(line) <= width for line in out.splitlines())
    words = out.split()
    for name, title, *_ in rows:
        assert name in words
        assert set(title.split()) <= set(words)


def test_an_infinite_loss_is_said_with_its_cure(genzoo, tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3))
    np.savetxt(tmp_path / "x.csv", x, delimiter=",")
    train = ["train", "histogram", "--data", tmp_path / "x.csv", "--out", tmp_path / "run"]
    err = genzoo(*train)[2]
    assert "gives some held-out rows probability 0, an infinite loss; --set alpha=0.5" in err
    assert "alpha=0.5 gives it some" in genzoo("score", tmp_path / "run")[1]
    assert "infinite" not in genzoo(*train, "--overwrite", "--set", "alpha=0.5")[2]
    assert re.search(r"nats per sample +\d+\.\d+ ±", genzoo("score", tmp_path / "run")[1])


def test_a_config_of_something_else_is_not_overwritten(genzoo, tmp_path):
    (tmp_path / "config.json").write_text('{"mine": 1}')
    fails(genzoo("train", "fvsbn", "--epochs", 1, "--out", tmp_path), "already holds another run")
    assert (tmp_path / "config.json").read_text() == '{"mine": 1}'


# Names and arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["xyzzy"], ["unknown model 'xyzzy'", "known: histogram"]),
        (["nadde"], ["unknown model 'nadde'", "did you mean nade"]),
        (["FVSBN"], ["did you mean fvsbn"]),
        (["nade", "--data", "digit"], ["unknown data set 'digit'", "did you mean digits"]),
        (["nade", "--data", "no/such.csv"], ["no/such.csv", "no such file"]),
        (["nade", "--data", "eight-gaussians"], ["can't be read as binary"]),
        (["nade", "--epochs", "0"], ["epochs must be an int >= 1, got 0"]),
        (["nade", "--batch-size", "-3"], ["batch_size must be an int >= 1, got -3"]),
        (["nade", "--lr", "nan"], ["lr", "nan"]),
        (["nade", "--seed", "-1"], ["seed", "-1"]),
        (["nade", "--set", "hiden=3"], ["nade has no argument 'hiden'; it takes dim, hidden"]),
        (["nade", "--set", "hidden"], ["--set must be KEY=VALUE, got 'hidden'"]),
        (["nade", "--set", "hidden=many"], ["hidden", "'many'"]),
        (["nade", "--set", "hidden=-4"], ["-4"]),
        (["nade", "--set", "dtype=float64"], ["no argument 'dtype'"]),
        (["histogram", "--data", "digits", "--set", "bins=40"], ["cells"]),
    ],
)
def test_bad_arguments_are_one_line(genzoo, tmp_path, arguments, words):
    fails(genzoo("train", *arguments, "--out", tmp_path / "run"), *words)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_labels_that_are_not_there(genzoo, tmp_path):
    np.save(tmp_path / "x.npy", (np.arange(600).reshape(100, 6) % 3 == 0).astype(np.uint8))
    command = ["train", "naive-bayes", "--data", tmp_path / "x.npy", "--out", tmp_path / "run"]
    fails(genzoo(*command), "needs labels")


def test_nan_in_data(genzoo, tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 2))
    x[31, 1] = np.nan
    np.savetxt(tmp_path / "x.csv", x, delimiter=",")
    command = ["train", "real-nvp", "--data", tmp_path / "x.csv", "--out", tmp_path / "run"]
    fails(genzoo(*command), "x.csv", "nan")


def test_a_folder_that_can_not_be_written(genzoo, tmp_path):
    (tmp_path / "file").write_text("")
    fails(genzoo("train", "fvsbn", "--epochs", 1, "--out", tmp_path / "file" / "run"), "file/run")
    fails(genzoo("zoo", "--models", "fvsbn", "--out", tmp_path / "file"), "file")


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    argv = ["genzoo", "train", "nadde", "--out", str(tmp_path), "--debug"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(InputError, match="unknown model"):
        cli.main()


def test_a_bug_is_not_a_users_error(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main()


# Runs that are damaged, or made to harm


def test_things_that_are_not_runs(genzoo, tmp_path):
    fails(genzoo("sample", tmp_path / "nowhere"), "nowhere is not a run")
    fails(genzoo("score", tmp_path), "is not a run")
    (tmp_path / "config.json").write_text("{")
    fails(genzoo("score", tmp_path), "config.json is not JSON")
    (tmp_path / "config.json").write_text("[]")
    fails(genzoo("score", tmp_path), "JSON object")


def test_truncated_model(genzoo, run):
    file = run / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    fails(genzoo("sample", run), "model.safetensors", "not a whole safetensors file")


def test_model_of_another_class(genzoo, run, trained):
    (run / "model.safetensors").write_bytes((trained / "vae" / "model.safetensors").read_bytes())
    fails(genzoo("score", run), "class VAE, not FVSBN")


def test_model_with_nan(genzoo, run):
    arrays, metadata = load_arrays(run / "model.safetensors")
    name = next(iter(arrays))
    arrays[name].flat[0] = np.nan
    save_arrays(run / "model.safetensors", arrays, metadata)
    fails(genzoo("score", run), name, "NaN")


def test_model_that_was_never_finished(genzoo, run):
    (run / "model.safetensors").unlink()
    fails(genzoo("sample", run), "no model yet")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04\x95cos\nsystem\n(S'touch hacked'\ntR.",  # a pickle
        struct.pack("<Q", 2**62) + b"{}",  # a header said to be longer than the file
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 60) + b'{"W":{"dtype":"F32","shape":[9e9],"data_offsets":[0,8]}}    ',
    ],
)
def test_hostile_model_files(genzoo, run, data):
    (run / "model.safetensors").write_bytes(data)
    fails(genzoo("sample", run), "model.safetensors")
    fails(genzoo("train", "fvsbn", "--out", run / "x", "--resume"), "is not a run")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "os:system"}, ["names no known model"]),
        ({"model": ["fvsbn"]}, ["names no known model"]),
        ({"arguments": {"dim": 10**12}}, ["does not fit"]),
        ({"arguments": {"dim": 10**5}}, ["does not fit"]),
        ({"arguments": {"dim": -1}}, ["config.json", "-1"]),
        ({"arguments": {"dim": "64"}}, ["config.json"]),
        ({"arguments": {"dim": 63}}, ["model.safetensors", "(63,"]),
        ({"arguments": {}}, ["config.json", "dim"]),
        ({"arguments": {"dim": 64, "__class__": 1}}, ["no argument '__class__'"]),
        ({"arguments": None}, ["must hold arguments"]),
        ({"seed": "0"}, ["must hold", "seed"]),
        ({"seed": -1}, ["seed"]),
    ],
)
def test_hostile_configs(genzoo, run, changes, words):
    edit_config(run, **changes)
    fails(genzoo("sample", run), *words)


@pytest.mark.parametrize(
    "show",
    [
        None,
        {"image_shape": [10**9, 10**9], "low": 0, "high": 1},
        {"image_shape": [8, 8]},
        {"image_shape": [8, 8], "low": "0", "high": 1},
        {"vocabulary": []},
        {"box": [0, 1]},
        {"rate": "8000"},
        {"rate": 10**12},
        {"image_shape": [2, 1, 4, 8], "low": 0, "high": 1, "fps": 0},
        {"image_shape": [5, 4, 4], "low": 0, "high": 1},
    ],
)
def test_hostile_pictures(genzoo, run, show):
    edit_config(run, show=show)
    fails(genzoo("sample", run, "--seed", 1), "how to show samples")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"show": {"units": [{"name": "a"}]}}, "config.json: units must be those of columns"),
        ({"show": {"units": 7}}, "config.json: units must be those of columns"),
        ({"data": "/no/such.csv", "checksum": "0"}, "the data of this run have moved"),
    ],
)
def test_hostile_tables(genzoo, run, changes, words):
    edit_config(run, **changes)
    fails(genzoo("score", run), words)


def test_hostile_classes(genzoo, run, tmp_path):
    edit_config(run, classes=[1, 2])
    fails(genzoo("sample", run, "--out", tmp_path / "s.csv"), "classes must be a list of names")


def test_damaged_training_state(genzoo, run):
    file = run / "state.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    before = (run / "model.safetensors").read_bytes()
    again = ["train", "fvsbn", "--out", run, "--resume", "--epochs", 3]
    fails(genzoo(*again), "state.safetensors")
    assert (run / "model.safetensors").read_bytes() == before
    assert genzoo("score", run)[0] == 0


# The parts


def test_settings_are_json_or_words():
    parsed = commands.parse_settings(
        ["hidden=[64, 64]", "loss=minimax", "eta=0.5", "clip=null", "s=a=b"]
    )
    assert parsed == {"hidden": [64, 64], "loss": "minimax", "eta": 0.5, "clip": None, "s": "a=b"}


def test_a_run_remembers_the_defaults_it_was_built_with():
    row = MODELS["nade"]
    complete = runs.complete(row, {"dim": 3})
    assert complete["dim"] == 3
    assert isinstance(complete["hidden"], int)
    assert not {"seed", "dtype"} & set(complete)


def test_ids_are_shown_as_text():
    how = {"vocabulary": ["a", "b", "\n"], "end": 2}
    assert showing.show(np.array([[0, 1, 2, 0], [1, 1, 0, 1]]), how) == "ab\nbbab"
    with pytest.raises(IndexError):
        showing.show(np.array([[7]]), how)


def test_sample_passes_the_models_own_settings(genzoo, trained):
    fails(genzoo("sample", trained / "fvsbn", "--set", "tempo=2"), "no argument 'tempo'")
    fails(genzoo("sample", trained / "fvsbn", "--set", "n=2"), "no argument 'n'")


def test_errors_keep_to_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        cli._stop(GenzooError("two\nlines"))
    assert stop.value.code == 1
    assert capsys.readouterr().err == "genzoo: two lines\n"


def test_settings_of_the_demos_are_valid():
    for row in MODELS.values():
        for demo in row.demos:
            TrainSettings(**demo.quick)
            runs.complete(row, demo.arguments)


def test_blas_gets_one_thread_unless_told():
    """The variable works only if nothing imported NumPy before the command line sets it."""
    code = """
import os, sys
os.environ.pop("OPENBLAS_NUM_THREADS", None)
import reference.zoo.cli
assert "numpy" not in sys.modules
reference.zoo.cli._pin_threads({n})
import numpy
from threadpoolctl import threadpool_info
print([i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"])
"""
    for n, threads in ((None, "[1]"), (2, "[2]")):
        if n is not None and (os.cpu_count() or 1) < n:
            continue
        done = subprocess.run(
            [sys.executable, "-c", code.format(n=n)], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == threads
