"""Two results.json: what is the same, what differs, what is missing."""

import json

import pytest

from reference.zoo.compare import main

ROW = {
    "model": "nade",
    "data": "digits",
    "seed": 0,
    "kind": "autoregressive",
    "test_nats": 16.5,
    "seconds": 3.0,
    "distance": {"mmd2": 0.25, "baseline": {"mmd2": 0.5}},
}


@pytest.fixture
def compare(tmp_path, capsys):
    def run(*rows, within=0.0):
        for name, models in zip(("a", "b"), rows, strict=True):
            (tmp_path / f"{name}.json").write_text(json.dumps({"models": models}))
        paths = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
        return main([*paths, "--within", str(within)]), capsys.readouterr().out.strip()

    return run


def test_the_same_figures_pass_whatever_the_time(compare):
    assert compare([ROW], [{**ROW, "seconds": 9.0}]) == (0, "every figure is the same")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test_nats": 16.5000001}, "test_nats 16.5 -> 16.5000001"),
        ({"distance": {"mmd2": 0.25, "baseline": {"mmd2": 0.6}}}, "distance.baseline.mmd2"),
        ({"kind": "flow"}, "kind autoregressive -> flow"),
        ({"bits_per_dim": 0.3}, "bits_per_dim None -> 0.3"),
        ({"model": "made"}, "nade on digits, seed 0: only in the first"),
    ],
)
def test_any_other_difference_is_said(compare, change, said):
    status, out = compare([ROW], [{**ROW, **change}])
    assert status == 1
    assert said in out


def test_a_share_may_be_allowed(compare):
    assert compare([ROW], [{**ROW, "test_nats": 16.6}], within=0.01)[0] == 0
    assert compare([ROW], [{**ROW, "test_nats": 16.7}], within=0.01)[0] == 1
