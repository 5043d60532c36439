"""What is seen of an adversarial training while it runs: a monitor's words, samples over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core import Array
from core.checkpoint import load_arrays, save_arrays, write_atomic
from core.data import Dataset
from core.samples import rows
from core.train import Watch
from reference import Model
from reference.adversarial.monitor import Monitor
from reference.judges.fidelity import as_images
from reference.judges.likelihood import takes_condition
from reference.judges.trained import has_judge, judge_of
from reference.zoo.news import say
from reference.zoo.pictures import image_grid


def watcher_of(
    row: Model, model: Any, data: Dataset, out: Path, epochs: int, data_dir: Path | None
) -> Watch | None:
    """Who looks on as a model of this row is trained: a monitor, if it is adversarial."""
    if row.kind != "adversarial":
        return None
    return Watched(model, data, out, epochs, data_dir=data_dir)


ROWS, COLUMNS = 8, 10
"""Of the picture of samples over time: epochs, and samples of always the same latents."""


class Watched:
    """For `core.train.fit`: what `Monitor` says of each epoch, and a picture in the run's folder.

    over-time.png shows the same latents at ROWS times, the earliest on top, for data that are
    images. The samples behind it are in over-time.safetensors: a training that is gone on with goes
    on with its picture.
    """

    def __init__(
        self, model: Any, data: Dataset, out: Path, epochs: int, *, data_dir: Path | None = None
    ) -> None:
        part = data.validation if len(data.validation) > 1 else data.train
        classify = _classifier(data, data_dir)
        self.monitor = Monitor(model, part.x, part.y, classify=classify, classes=data.classes)
        self.model, self.out, self.shape = model, out, data.image_shape
        self.marks = set(np.linspace(1, epochs, ROWS).round().astype(int).tolist())
        self.given = {"y": np.arange(COLUMNS) % data.classes} if takes_condition(model) else {}

    def __call__(
        self, entries: Sequence[Mapping[str, Any]], entry: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The monitor's words; at some epochs, another row of the picture."""
        if self.shape is not None and entry["epoch"] in self.marks:
            self._draw(entry["epoch"], self.shape)
        return self.monitor(entries, entry)

    def _draw(self, epoch: int, shape: tuple[int, ...]) -> None:
        """Rows of later epochs go: they were lost when the training stopped before a checkpoint."""
        file = self.out / "over-time.safetensors"
        kept = load_arrays(file)[0] if file.exists() else {}
        kept = {name: x for name, x in kept.items() if int(name) < epoch}
        kept[f"{epoch:06d}"] = np.asarray(self.model.sample(COLUMNS, seed=0, **self.given))
        save_arrays(file, kept)
        x = np.concatenate([kept[name] for name in sorted(kept)])
        picture = image_grid(x, shape, low=-1.0, high=1.0, columns=COLUMNS, scale=3)
        write_atomic(self.out / "over-time.png", picture)


def _classifier(data: Dataset, data_dir: Path | None) -> Callable[[Array], Any] | None:
    """From samples to their digits; None where these are none."""
    if not has_judge(data):
        return None
    judge = judge_of(data.source, data_dir=data_dir, tell=say).classifier
    return lambda x: judge.predict(as_images(data, rows(x)))
