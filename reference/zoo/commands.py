"""`genzoo train`, `sample` and `score`: models on data sets, in run folders.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from reference.zoo import printing
from reference.zoo.news import say

DataDir = Annotated[
    Path | None, typer.Option(help="Folder with downloaded data sets (else $GENZOO_DATA).")
]
Seed = Annotated[int, typer.Option(help="Names all random numbers, 0 to 2**63 - 1.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A folder made by `genzoo train`.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="An argument of the model; can be repeated."),
]


def train(
    model: Annotated[str, typer.Argument(help="A name from `genzoo list`.")],
    out: Annotated[Path, typer.Option(help="Folder for the run.")],
    data: Annotated[
        str | None, typer.Option(help="A name from `genzoo data list`, or a file. [digits]")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(help="Of a text: characters, bytes or byte-pairs. [characters]")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows in a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without improvement.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Names all random numbers. [0]")] = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, as it was begun.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace whatever run is in --out.")
    ] = False,
    label: Annotated[
        str | None, typer.Option(help="The column with the labels, or none. [y, label or class]")
    ] = None,
    missing: Annotated[
        str | None, typer.Option(help="Missing values: error, drop the row, or the mean. [error]")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Train MODEL on a data set and keep it in the folder --out.

    For what is not given the zoo's settings for this model and data are taken, if it has some.
    """
    from core.errors import InputError
    from reference.zoo import choices, runs, sources
    from reference.zoo.progress import training_bar

    if resume and overwrite:
        raise InputError("--resume and --overwrite must not be given together, got both")
    row = runs.find_row(model)
    old = runs.stored_config(out, row) if resume else {}
    source = data or old.get("data", "digits")
    seed = old.get("seed", 0) if seed is None else seed
    numbers = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "patience": patience}
    given = {name: number for name, number in numbers.items() if number is not None}
    label, missing = label or old.get("label"), missing or old.get("missing", "error")
    table: Any = {"label": label, "missing": missing}
    as_before: Any = {"domain": old.get("domain"), "standardise": runs.units_of(old) or not resume}
    if row.domain == "text":
        as_before["tokens"] = sources.tokens_of(old) if resume else tokens or "characters"
    loaded = sources.read(source, row, seed=seed, data_dir=data_dir, **as_before, **table)
    demo = choices.defaults(row, loaded, source)
    how = choices.settings(old.get("train", {"seed": seed, **demo.train}) | given, out)
    arguments = {**old.get("arguments", demo.arguments), **parse_settings(settings or [])}
    config = runs.configuration(
        row, loaded, source=source, arguments=arguments, settings=how, seed=seed, **table
    )
    if "checksum" in config:
        print(loaded.summary, file=sys.stderr)
        if loaded.units is not None and loaded.domain == "continuous":
            print("losses are of standardised columns, scores in the file's units", file=sys.stderr)
    again: Any = {"resume": resume, "overwrite": overwrite, "data_dir": data_dir}
    done = runs.epochs_done(out) if resume else 0
    with training_bar(f"{row.title} · {loaded.name}") as on_progress:
        _, history = runs.train(config, loaded, how, out, on_progress=on_progress, **again)
    if resume and len(history.entries) == done:
        print(f"{out} is trained to its end, {done} epochs: nothing was left to do; --epochs more")
        return
    if history.validation[-1] == float("inf"):
        cure = "; --set alpha=0.5 gives it some" if "alpha" in config["arguments"] else ""
        said = "the model gives some held-out rows probability 0, an infinite loss"
        print(f"genzoo: {said}{cure}", file=sys.stderr)
    if (seen := history.entries[-1].get("monitor")) is not None:
        print(f"{seen['state']}: {seen['why']}")
    print(f"{row.title}, trained on {loaded.name}, is in {out}")


def sample(
    run: RunFolder,
    n: Annotated[int | None, typer.Option("-n", min=1, help="How many. [64]")] = None,
    seed: Seed = 0,
    prompt: Annotated[str | None, typer.Option(help="The text to go on with.")] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="One text, printed while it is drawn.")
    ] = False,
    label: Annotated[
        str | None, typer.Option(help="The class to draw, of a model that was told classes.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How far diffusion goes towards the label. [1]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A .csv, .npy, .npz, .png, .gif, .wav or .txt file.")
    ] = None,
    settings: Settings = None,
    given: Annotated[
        str, typer.Option(help="The part whose texts, images … samples are drawn for, if for some.")
    ] = "test",
    data_dir: DataDir = None,
) -> None:
    """Draw samples: PNG of images or points, GIF of films, WAV of sounds, or text.

    A model of x given a text, an image or a sound is given those of the data set it was trained on;
    they are left beside the samples. How tokens are decoded is said by --set: temperature=0.8,
    top_k=10, top_p=0.9, min_p=0.05, length=500, stop=";".
    """
    from core.errors import InputError
    from reference.zoo import labels, runs, saving, sources, texts

    opened = runs.open_run(run)
    asked = {"y": label, "guidance": guidance}
    told = [f"{name}={word}" for name, word in asked.items() if word is not None]
    how, y = parse_settings([*(settings or []), *told]), None
    how = texts.in_tokens(opened, how if prompt is None else {**how, "prompt": prompt})
    check_part("--given", given)
    if stream:
        if n not in (None, 1) or out is not None:
            raise InputError("--stream must come without -n and --out: it prints one text")
        texts.stream(opened, seed, how)
        return
    n = 64 if n is None else n
    if "y" in how:
        how["y"] = labels.label_codes(opened, how["y"])
    elif runs.needs_given(opened):
        loaded = sources.read_again(opened, None, seed=opened.config["seed"], data_dir=data_dir)
        how["y"] = y = runs.first_given(loaded, given, n)
    elif out is not None and out.suffix == ".csv":
        how |= labels.drawn_labels(opened, n, seed)
    x = runs.draw(opened, n, seed, how)
    units = runs.units_of(opened.config)
    if out is not None and out.suffix == ".csv":
        saving.save_table(x, out, units, labels.label_column(opened, how.get("y"), n))
        print(f"{n} samples are in {out}")
        return
    if out is not None and out.suffix in (".npy", ".npz"):
        saving.save_arrays(x if units is None else units.restore(x), out)
        print(f"{n} samples are in {out}")
        return
    for name, picture in runs.show_run(opened, x, y).items():
        if isinstance(picture, str) and out is None:
            print(picture)
        else:
            print(f"{n} {name} are in {saving.save_picture(picture, run, name, out)}")


def reconstruct(
    run: RunFolder,
    data: Annotated[str | None, typer.Option(help="Default: what it was trained on.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 32,
    out: Annotated[Path | None, typer.Option(help="A .png or .txt file.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Held-out data, and below each row what a model with codes makes of it again."""
    from reference.judges.reconstruction import reconstructed
    from reference.zoo import runs, saving, showing, sources

    check_part("--split", split)
    opened = runs.open_run(run)
    loaded = sources.read_again(opened, data, seed=opened.config["seed"], data_dir=data_dir)
    part = getattr(loaded, split).subset(n)
    again = reconstructed(opened.model, part)
    picture = showing.beside(part.x, again, opened.config["show"], scale=8)
    if isinstance(picture, str) and out is None:
        print(picture)
    else:
        path = saving.save_picture(picture, run, "reconstructions", out)
        print(f"{len(part)} {split} rows and their reconstructions are in {path}")


def score(
    run: RunFolder,
    data: Annotated[str | None, typer.Option(help="Default: what it was trained on.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    first: Annotated[
        int | None, typer.Option("-n", min=1, help="Only the first rows; a bound takes its time.")
    ] = None,
    distance: Annotated[
        bool, typer.Option("--distance", help="Compare samples with held-out data instead.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Default: the seed of the run.")] = None,
    data_dir: DataDir = None,
) -> None:
    """The log-likelihood of a data set, in nats per sample; or the distance of samples from it.

    Of a model that has samples only: their distance. Of one that only classifies: the accuracy, and
    the nats of the labels given x. Of one that only reconstructs: its squared error.
    """
    from core.errors import InputError
    from reference.zoo import runs, sources

    check_part("--split", split)
    opened = runs.open_run(run)
    seed = opened.config["seed"] if seed is None else seed
    loaded = sources.read_again(opened, data, seed=seed, data_dir=data_dir)
    if distance and not hasattr(opened.model, "sample"):
        raise InputError(f"{opened.row.name} has no samples whose distance could be measured")
    if opened.row.family == "classifies only":
        printing.print_classification(opened.model, loaded, split, first)
        return
    if opened.row.family == "reconstructs only":
        printing.print_reconstruction(opened.model, loaded, split, first)
        return
    if distance or opened.row.family == "samples only":
        if not distance:
            print(f"{opened.row.name} is an implicit model: it has samples, but no likelihood")
        printing.print_distance(opened.model, loaded, seed, data_dir)
        return
    printing.print_likelihood(opened.model, loaded, split, first, seed)


def judge(
    data: Annotated[str, typer.Argument(help="digits or mnist: whose digits it knows.")],
    data_dir: DataDir = None,
) -> None:
    """The classifier of digits that `score` looks at samples with: trained now, if it isn't yet."""
    from reference.judges.trained import judge_of

    found = judge_of(data, data_dir=data_dir, tell=say)
    print(f"right on {100 * found.accuracy:.2f} % of the test digits of {data}; in {found.path}")


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """["hidden=64,64", "loss=minimax"] → {"hidden": [64, 64], "loss": "minimax"}."""
    import json
    import re

    from core.errors import InputError

    parsed = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (equals and key.isidentifier()):
            raise InputError(f"--set must be KEY=VALUE, got {pair!r}")
        several = re.fullmatch(r"[-+.eE\d]+(,[-+.eE\d]+)+", value)
        try:
            parsed[key] = json.loads(f"[{value}]" if several else value)
        except ValueError:
            parsed[key] = value
    return parsed


def check_part(option: str, part: str) -> str:
    """One of a data set's parts; InputError names the option that it came by."""
    from core.errors import InputError

    if part not in ("train", "validation", "test"):
        raise InputError(f"{option} must be train, validation or test, got {part!r}")
    return part
