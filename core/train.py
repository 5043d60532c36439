"""The training loop: one for every model, stoppable at any step and resumable to the same bits.

A learner (core.learners) knows what a step is; `fit` knows the rest: shuffled batches, schedule,
validation, early stopping, log, checkpoints, Ctrl-C and SIGTERM.

All randomness comes from counters (core.random): the order of the rows is a function of seed and
epoch, and what the losses draw continues one Generator. So the position in training and the arrays
of model and learner decide all that follows, and a checkpoint holds just these.
"""

import json
import math
import os
import signal
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from core.checkpoint import Arrays, PathLike, Run
from core.errors import CheckpointError, DataError, InputError, Interrupted
from core.learners import (
    HUGE,
    SCHEDULES,
    CountLearner,
    EMLearner,
    GradientLearner,
    Learner,
    TrainSettings,
    can_validate,
    learner_of,
    mean_loss,
)
from core.optim import Diverged
from core.random import Generator, permutation
from core.samples import arrays, take
from core.state import flaw, join, load_state, part, state

if TYPE_CHECKING:
    from core.data import Dataset, Split

__all__ = [
    "CountLearner",
    "Diverged",
    "EMLearner",
    "GradientLearner",
    "History",
    "Learner",
    "Progress",
    "TrainSettings",
    "fit",
    "mean_loss",
]

Watch = Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any]], Mapping[str, Any]]
"""(the log so far, the entry to come) → what is to be kept of them, as JSON has it."""

_MAY_CHANGE = ("epochs", "patience", "checkpoint_seconds")  # between a run and its continuation


@dataclass(frozen=True)
class Progress:
    """Where training stands, for a progress bar: told after every step and every epoch.

    epoch counts from 1; train_loss is the mean over the rows seen in this epoch; steps is what all
    epochs take together; seconds includes those before a resume.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    train_loss: float
    validation_loss: float | None
    seconds: float


@dataclass(frozen=True)
class History:
    """What happened: the entries of log.jsonl, and the epoch whose model was kept (from 1)."""

    entries: list[dict[str, Any]]
    best_epoch: int

    @property
    def train(self) -> list[float]:
        """Training loss of each epoch: the mean over its rows while it ran."""
        return [entry["train"] for entry in self.entries]

    @property
    def validation(self) -> list[float | None]:
        """Validation loss after each epoch; None where there was nothing to validate on."""
        return [entry.get("validation") for entry in self.entries]


def fit(
    model: Any,
    data: "Dataset",
    *,
    settings: TrainSettings | None = None,
    out: PathLike | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    watch: Watch | None = None,
) -> History:
    """Train on data.train; leave in the model the parameters of the epoch that validated best.

    model: what counts (has `fit`), climbs (`em_step`) or has a gradient (`loss` or `log_prob`), or
    a Learner of one. settings: those of the Learner, or the default, unless given. Without
    validation rows (or a validation loss) the parameters of the last epoch are kept.

    out: the run's folder, written to as training goes on; with `resume` training continues from the
    checkpoint there, if there is one, to the same bits as if it had never stopped. patience and
    checkpoint_seconds may differ from then, and epochs; with the cosine schedule, stretched over
    all epochs, other epochs are no longer the same bits: a warning says so. on_progress is called
    after every step and epoch. watch(entries, entry) is called at the end of an epoch, when the
    model has the parameters that would be kept, with the log so far and what will be added to it:
    what it answers stands there as "monitor". It must leave the model as it is.

    Raises Interrupted after Ctrl-C or SIGTERM, when the step is finished and the state saved (a
    second one stops at once); Diverged if a loss is NaN or beyond 1e15, or a gradient or parameter
    NaN or infinite (the checkpoint from before is kept); DataError if there are no rows, or NaN in
    them; CheckpointError if `out` holds another training, or can't be read or written.
    """
    if resume and out is None:
        raise InputError("resume needs out, the run's folder")
    learner = learner_of(model, settings)
    settings = settings or learner.settings
    if settings != learner.settings:
        raise InputError("settings must be the ones that the learner was made with")
    run = None if out is None else _open_run(Path(out), learner, settings)
    training = _Training(learner, data, settings, run, on_progress, watch)
    if run is not None and (run.has_state() or run.has_model()):
        if not resume:
            raise CheckpointError(f"{out} already holds a training: resume it, or choose another")
        training.restore(run)
    if run is not None:
        run.write_log(
            map(_loggable, training.at.entries)
        )  # without the lines of epochs that are lost
    with _CtrlC() as training.ctrl_c:
        while not training.finished():
            training.epoch()
        return training.finish()


def _open_run(path: Path, learner: Learner, settings: TrainSettings) -> Run:
    if os.path.exists(path / "config.json"):
        return Run.open(path)
    name = type(learner.model).__qualname__
    return Run.create(path, {"model": name, "seed": settings.seed, "train": asdict(settings)})


@dataclass
class _Position:
    """Where training stands, in numbers that JSON can hold: `epoch`s done, then `batch`es."""

    settings: dict[str, Any]
    data: int  # checksum
    rng: dict[str, Any]
    epoch: int = 0
    batch: int = 0
    step: int = 0
    rows: int = 0  # seen in this epoch, and below the sums of their losses
    totals: list[float] = field(default_factory=list)
    seconds: float = 0.0
    best_epoch: int = 0
    best: float | None = None
    entries: list[dict[str, Any]] = field(default_factory=list)


class _Training:
    """One training under way: the position, and the arrays of the best epoch so far."""

    ctrl_c: "_CtrlC"

    def __init__(
        self,
        learner: Learner,
        data: "Dataset",
        settings: TrainSettings,
        run: Run | None,
        on_progress: Callable[[Progress], None] | None,
        watch: Watch | None,
    ) -> None:
        self.watch = watch
        self.learner, self.model, self.settings = learner, learner.model, settings
        self.train = _checked("train", data.train)
        self.validation = _checked("validation", data.validation)
        if len(self.train) == 0:
            raise DataError("data.train has no rows")
        self.run, self.on_progress = run, on_progress
        self.rng = Generator(settings.seed, stream="train")
        described = json.loads(json.dumps(asdict(settings)))
        self.at = _Position(described, _checksum(self.train), self.rng.state)
        self.best_arrays: Arrays = {}
        self.unsaved = True  # best_arrays are not in model.safetensors
        self.batch_size = learner.batch_size or len(self.train)
        all_steps = learner.epochs * -(-len(self.train.x) // self.batch_size)
        self.steps = min(all_steps, settings.steps or all_steps)
        self.multiplier = SCHEDULES[settings.schedule](self.steps, settings.warmup)
        self.started = self.saved = time.monotonic()
        if settings.patience and not (len(self.validation) and can_validate(self.model)):
            raise InputError("patience needs validation rows and a model with a validation loss")

    # one epoch

    def finished(self) -> bool:
        """Whether all steps are done, or too many epochs without a better validation loss."""
        at, patience = self.at, self.settings.patience or math.inf
        done = at.epoch >= self.learner.epochs or (at.step >= self.steps and at.batch == 0)
        return done or at.epoch - at.best_epoch >= patience

    def epoch(self) -> None:
        """The (remaining) batches of an epoch, then validation."""
        n, size = len(self.train.x), self.batch_size
        order: Any = slice(None)
        if self.learner.batch_size is not None:
            order = permutation(self.settings.seed, n, step=self.at.epoch)
        first, left = self.at.batch * size, self.steps - self.at.step
        for start in range(first, min(n, first + left * size), size):
            rows = order if size >= n else order[start : start + size]
            self._step(rows)
            self._tell()
            self._pause()
        self._end_epoch()
        self._tell()
        self._pause(end_of_epoch=True)

    def _step(self, rows: Any) -> None:
        at = self.at
        x, y = self.train.x[rows], take(self.train.y, rows)
        if at.step == 0:
            self.learner.start(x, self.rng)
        try:
            losses = self.learner.step(x, y, self.rng, self.multiplier(at.step))
        except Diverged as error:
            raise self._diverged(str(error)) from error
        for loss in losses:
            if _is_lost(loss):
                raise self._diverged(f"the loss is {loss:.3g}")
        totals = at.totals or [0.0] * len(losses)
        at.totals = [t + len(x) * v for t, v in zip(totals, losses, strict=True)]
        at.batch, at.step, at.rows = at.batch + 1, at.step + 1, at.rows + len(x)

    def _end_epoch(self) -> None:
        at = self.at
        self._check_finite()
        entry: dict[str, Any] = {"epoch": at.epoch + 1, "step": at.step, "seconds": self._seconds()}
        with self.learner.averaged():
            validation = self._validate()
            if validation is None or at.best is None or validation < at.best:
                at.best, at.best_epoch = validation, at.epoch + 1
                self.best_arrays, self.unsaved = state(self.model), True
            entry |= self._losses() | ({} if validation is None else {"validation": validation})
            if self.watch is not None:
                entry["monitor"] = dict(self.watch(at.entries, entry))
        at.epoch, at.batch, at.rows, at.totals = at.epoch + 1, 0, 0, []
        at.entries.append(entry)
        if self.run is not None:
            self.run.append_log(_loggable(at.entries[-1]))

    def _validate(self) -> float | None:
        x, y = self.validation.x, self.validation.y
        loss = mean_loss(self.model, x, y, seed=self.settings.seed)
        if loss is not None and _is_lost(loss):
            raise self._diverged(f"the validation loss is {loss:.3g}")
        return loss

    def _losses(self) -> dict[str, Any]:
        """Mean over the rows of this epoch; of several objectives, the sum and each."""
        losses = [total / self.at.rows for total in self.at.totals]
        several = {"losses": losses} if len(losses) > 1 else {}
        return {"train": math.fsum(losses), **several} if losses else {}

    def _check_finite(self) -> None:
        if found := flaw(self.model):
            raise self._diverged(found)

    def _diverged(self, why: str) -> Diverged:
        return Diverged(f"training diverged after step {self.at.step} of {self.steps}: {why}")

    # between the steps

    def _tell(self) -> None:
        if self.on_progress is None:
            return
        at, last = self.at, self.at.entries[-1] if self.at.entries else {}
        losses = self._losses() if at.rows else last
        self.on_progress(
            Progress(
                epoch=min(at.epoch + 1, self.learner.epochs) if at.rows else at.epoch,
                epochs=self.learner.epochs,
                step=at.step,
                steps=self.steps,
                train_loss=losses.get("train", math.nan),
                validation_loss=last.get("validation"),
                seconds=self._seconds(),
            )
        )

    def _pause(self, end_of_epoch: bool = False) -> None:
        """Save if it is time to; stop if Ctrl-C was pressed."""
        interval = self.settings.checkpoint_seconds
        due = time.monotonic() - self.saved >= interval and (end_of_epoch or interval > 0)
        if self.run is not None and (due or self.ctrl_c.pressed):
            self._save(self.run)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if not self.ctrl_c.pressed:
            return
        where = f"stopped after step {self.at.step} of {self.steps}"
        if self.run is None:
            raise Interrupted(f"{where}; nothing is saved, for training had no folder")
        raise Interrupted(f"{where}; saved in {self.run.path}, from where training can resume")

    def finish(self) -> History:
        """Save, and give the model the parameters that are kept."""
        if self.run is not None:
            self._save(self.run)
        load_state(self.model, self.best_arrays)
        self._stop_if_asked()
        return History(self.at.entries, self.at.best_epoch)

    def _seconds(self) -> float:
        return time.monotonic() - self.started

    # to the disk and back

    def _save(self, run: Run) -> None:
        """First all that is needed to go on, then the model: killed in between, nothing is lost."""
        self._check_finite()
        self.at.rng, self.at.seconds = self.rng.state, self._seconds()
        arrays = {
            "model": state(self.model),
            "best": self.best_arrays,
            "learner": self.learner.state_dict(),
        }
        run.save_state(join(arrays), {"position": json.dumps(asdict(self.at))})
        if self.unsaved:
            run.save_model(self.model, self.best_arrays or self._averaged_state())
            self.unsaved = not self.best_arrays
        self.saved = time.monotonic()

    def _averaged_state(self) -> Arrays:
        with self.learner.averaged():
            return state(self.model)

    def restore(self, run: Run) -> None:
        """Go back to where the run's checkpoint was made."""
        if not run.has_state():
            return
        file = run.path / "state.safetensors"
        arrays, metadata = run.load_state()
        at = _read_position(file, metadata, like=self.at)
        _check_continues(file, at, self.at)
        before, now = at.settings["epochs"], self.settings.epochs
        if before != now and self.settings.schedule == "cosine" and self.batch_size is not None:
            warnings.warn(
                f"the cosine schedule of {before} epochs goes on as one of {now} epochs: the bits "
                f"won't be those of {now} epochs in one go",
                stacklevel=3,
            )
        load_state(self.model, part("model", arrays), source=str(file))
        try:
            self.learner.load_state_dict(part("learner", arrays))
        except CheckpointError as error:
            raise CheckpointError(f"{file}: {error}") from error
        self.best_arrays, self.rng = part("best", arrays), Generator.from_state(at.rng)
        at.settings, self.at = self.at.settings, at
        self.started -= at.seconds


def _read_position(file: Path, metadata: Mapping[str, str], like: _Position) -> _Position:
    try:
        at = _Position(**json.loads(metadata["position"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} holds no state of a training") from error
    for name, own in asdict(like).items():
        if own is not None and type(getattr(at, name)) is not type(own):
            raise CheckpointError(f"{file} holds no state of a training: {name} is wrong")
    return at


def _check_continues(file: Path, stored: _Position, own: _Position) -> None:
    """The same settings, but for those that may change, and the same rows."""
    for name, mine in own.settings.items():
        if name not in _MAY_CHANGE and mine != stored.settings.get(name):
            theirs = stored.settings.get(name)
            raise CheckpointError(f"{file} was trained with {name} = {theirs!r}, not {mine!r}")
    if own.data != stored.data:
        raise CheckpointError(f"{file} was trained on other data")


def _is_lost(loss: float) -> bool:
    """NaN, or so large that nothing can be learned from it; +∞ is −log 0, as counting can say."""
    return math.isnan(loss) or (abs(loss) > HUGE and loss != math.inf)


def _loggable(entry: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity, which −log 0 is: null."""
    infinite = {k: None for k, v in entry.items() if isinstance(v, float) and math.isinf(v)}
    return {**entry, **infinite}


def _checked(name: str, split: "Split") -> "Split":
    for what in ("x", "y"):
        for array in arrays(getattr(split, what)):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DataError(f"data.{name}.{what} holds NaN or infinity")
    return split


def _checksum(split: "Split") -> int:
    checksum = 0
    for array in (*arrays(split.y), *arrays(split.x)):
        checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return checksum


class _CtrlC:
    """Makes of the first Ctrl-C or SIGTERM a note that training reads between steps.

    The next acts as ever.
    """

    def __enter__(self) -> Self:
        self.pressed = False
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                # Not where the signal is ignored or not Python's.
                if callable(before) or (number == signal.SIGTERM and before == signal.SIG_DFL):
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        self._restore()

    def _restore(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def __exit__(self, *exception: object) -> None:
        self._restore()
