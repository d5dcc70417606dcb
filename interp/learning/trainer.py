"""The training loop: the same weights whether a run went through or was killed and went on.

Nothing that the weights depend on lives outside the recipe and the checkpoint: the batch of a
step is a function of seed and step, so there is no data stream to wind forward.
"""

import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp.core import HookedGPT, InputError, RunError
from interp.learning.checkpoints import (
    Checkpoint,
    checkpoint_paths,
    newest_checkpoint,
    refuse_other_recipe,
    write_checkpoint,
)
from interp.learning.recipes import Recipe
from interp.learning.run_log import RunLog
from interp.learning.tasks import NO_TARGET, Metrics, Task, task_of

Progress = Callable[[str, int, int], None]

OWN_COLUMNS = ["step", "tokens", "train_loss", "lr", "grad_norm", "seconds"]


def train(
    recipe: Recipe,
    out: Path | str,
    *,
    resume: bool = True,
    start: HookedGPT | None = None,
    extra_metrics: Metrics | None = None,
    progress: Progress | None = None,
) -> HookedGPT:
    """Train a model, or go on with a run that was interrupted.

    Writes `out/log.csv`: one row every `log_every` steps with `step` (updates done), `tokens`
    (predictions trained on), `train_loss` (nats, mean over the steps since the row before),
    `lr`, `grad_norm` (of the last step, before clipping), `seconds` (wall-clock of all sessions
    so far), and in the rows of an evaluation the behaviour metrics as well. Writes
    `out/checkpoints/`, the newest two.

    Ctrl-C and SIGTERM stop after the step at hand and save it; a run that is killed loses what it
    did since its last checkpoint. The same call goes on from there, and gives the same weights
    and log, but for the column `seconds`, as a run that was never stopped, on the same machine
    with the same number of threads.

    Args:
        recipe: what to train.
        out: the run's folder.
        resume: False starts again and replaces the run that is there.
        start: a model of the recipe's shape whose weights training begins from, where the recipe
            says `start_from`; without it the recipe's `init` and `seed` decide.
        extra_metrics: called at every evaluation; its numbers become columns of the log. What it
            draws from PyTorch's global generator is restored on resuming as well.
        progress: called as `progress(name, steps done, steps in all)` after every step.

    Returns:
        The trained model, on the CPU in evaluation mode and without gradients, with the
        language's tokenizer.

    Raises:
        InputError: if the recipe does not fit its task or `start`, or the folder holds a run of
            another one.
        RunError: if the loss is no longer finite, the disk refuses, every checkpoint is damaged,
            or the run was interrupted; the message says how to go on.

    Cost: `small` needs about 0.13 s a step of 2,048 tokens on one thread, of which sampling the
    data takes 5 %. The caller chooses the threads; models this small are fastest on one.
    """
    return carry_out(Run(recipe, Path(out), resume, start, extra_metrics), progress)


def carry_out(run: "Run", progress: Progress | None) -> nn.Module:
    """Every step that is left of a run; see `train`."""
    recipe = run.recipe
    # The caller's generator is left as it was; the run's own starts from its seed.
    with torch.random.fork_rng(devices=[]), _polite_stop() as stop:
        if run.step == 0:
            torch.manual_seed(recipe.seed)
            run.log_row()
        else:
            torch.set_rng_state(run.rng_state)
        while run.step < recipe.n_steps:
            run.advance()
            if progress is not None:
                progress(recipe.name, run.step, recipe.n_steps)
            if stop.is_set() and run.step < recipe.n_steps:
                run.save()
                raise RunError(
                    f"stopped at step {run.step} of {recipe.n_steps}, which is saved in "
                    f"{run.folder}; the same command goes on from there"
                )
    return run.finished_model()


def learning_rate(recipe: Recipe, step: int) -> float:
    """Learning rate of a step, counted from 1.

    Straight up to `lr` at step `warmup`, then half a cosine to `final_lr_fraction * lr` at step
    `n_steps`, or `lr` all along.
    """
    if step <= recipe.warmup:
        return recipe.lr * step / recipe.warmup
    if recipe.schedule == "constant":
        return recipe.lr
    done = (step - recipe.warmup) / (recipe.n_steps - recipe.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return recipe.lr * (recipe.final_lr_fraction + (1 - recipe.final_lr_fraction) * cosine)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices (embeddings among them), not on biases and norms."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    # On the CPU the fused update takes a third of the time of the others.
    return torch.optim.AdamW(
        groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.adam_eps, fused=True
    )


def training_step(
    model: HookedGPT,
    optimizer: torch.optim.Optimizer,
    tokens: Int[Tensor, "batch n_tokens"],
    clip: float,
    targets: Int[Tensor, "batch n_tokens"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """One update of the weights.

    Args:
        model: changed in place.
        optimizer: of its parameters; the learning rate is set in its groups.
        tokens: windows of at most `n_ctx + 1` tokens; every token but the first is a target. Where
            `targets` are given, windows of at most `n_ctx` tokens.
        clip: largest gradient norm.
        targets: what to say at each position, -100 where nothing is asked.

    Returns:
        The loss before the update in nats, and the gradient's norm before clipping.

    Raises:
        FloatingPointError: if one of them is not finite; the weights are then unchanged.
    """
    optimizer.zero_grad(set_to_none=True)
    inputs, targets = (tokens[:, :-1], tokens[:, 1:]) if targets is None else (tokens, targets)
    logits = model(inputs)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=NO_TARGET)
    return loss.detach(), descend(model, optimizer, loss, clip)


def descend(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Float[Tensor, ""], clip: float
) -> Float[Tensor, ""]:
    """One step down a loss; returns the gradient's norm before clipping.

    Raises:
        FloatingPointError: as `training_step`.
    """
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
    # A sum is not finite when one of its terms is not; reading one number costs nothing here.
    if not math.isfinite(loss.item() + norm.item()):
        raise FloatingPointError(f"loss {loss.item()}, gradient norm {norm.item()}")
    optimizer.step()
    return norm


class Run:
    """A training run between two steps: model, optimiser, sums of the log, files."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        resume: bool,
        start: HookedGPT | None,
        extra_metrics: Metrics | None,
    ) -> None:
        self.recipe, self.folder = recipe, out
        self.batch, self.evaluate, self.tokenizer = self.task()
        # Tells a generator that has changed since the run began: it would be another run.
        first = b"".join(part.tobytes() for part in self.batch(0))
        self.data = hashlib.sha256(first).hexdigest()[:16]
        self.extra_metrics = extra_metrics
        self.checkpoints = out / "checkpoints"
        self.model = self.first_model(start)
        self.model.name, self.model.tokenizer = recipe.name, self.tokenizer
        self.optimizer = make_optimizer(self.model, recipe)
        self.step, self.loss_sum, self.loss_count = 0, 0.0, 0
        self.grad_norm: float | None = None
        self.rng_state = torch.get_rng_state()
        self.log: RunLog | None = None
        self.clock = time.perf_counter()
        self._open(resume)

    def task(self) -> Task:
        """What the run trains on."""
        return task_of(self.recipe)

    def first_model(self, start: HookedGPT | None) -> nn.Module:
        """The model before the first step."""
        return _first_model(self.recipe, start)

    def update(self, *batch: Tensor) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """One update of the weights; loss and gradient norm before it."""
        inputs, targets = batch
        return training_step(self.model, self.optimizer, inputs, self.recipe.clip, targets)

    def _open(self, resume: bool) -> None:
        if self.checkpoints.is_symlink():
            raise InputError(
                f"{self.checkpoints} is a link; a run keeps its checkpoints in its own folder"
            )
        checkpoint = newest_checkpoint(self.checkpoints) if resume else None
        if checkpoint is not None:
            recipe = checkpoint.facts.get("recipe")
            if not isinstance(recipe, dict):
                raise self._unfit(checkpoint, "it holds no recipe")
            saved = recipe | {"data": checkpoint.facts.get("data")}
            asked = self.recipe.to_dict() | {"data": self.data}
            refuse_other_recipe(saved, asked, self.folder)
            self._load(checkpoint)
            return
        try:
            # A later resume must not pick up what an earlier run left behind.
            for path in checkpoint_paths(self.checkpoints):
                path.unlink()
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"could not prepare {self.folder}: {error.strerror or error}") from error

    def advance(self) -> None:
        """One step, and what is due after it."""
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, self.step + 1)
        batch = [torch.from_numpy(part.copy()) for part in self.batch(self.step)]
        try:
            loss, norm = self.update(*batch)
        except FloatingPointError as error:
            kept = [path.name for path in checkpoint_paths(self.checkpoints)]
            raise RunError(
                f"training diverged at step {self.step + 1} ({error}); "
                f"{f'the last good checkpoint is {kept[-1]}' if kept else 'nothing was saved yet'}"
                f"; a lower learning rate than {recipe.lr} or a longer warm-up may help"
            ) from error
        self.step += 1
        self.loss_sum += loss.item()
        self.loss_count += 1
        self.grad_norm = norm.item()
        last = self.step == recipe.n_steps
        if last or self.step % recipe.log_every == 0:
            self.log_row()
        if last or self.step % recipe.checkpoint_every == 0:
            self.save()

    def log_row(self) -> None:
        """Add the row of this step, with an evaluation where one is due."""
        recipe, trained = self.recipe, self.step > 0
        row: dict[str, float | int | None] = {
            "step": self.step,
            "tokens": self.step * recipe.tokens_per_step,
            "train_loss": self.loss_sum / self.loss_count if trained else None,
            "lr": self.optimizer.param_groups[0]["lr"] if trained else None,
            "grad_norm": self.grad_norm,
        }
        if self.step == recipe.n_steps or self.step % recipe.eval_every == 0:
            row |= self._evaluated()
        row["seconds"] = round(time.perf_counter() - self.clock, 3)
        if self.log is None:
            columns = [*OWN_COLUMNS, *(name for name in row if name not in OWN_COLUMNS)]
            self.log = RunLog(self.folder / "log.csv", columns, resume_at=None)
        elif len(row) > len(OWN_COLUMNS) and row.keys() != set(self.log.columns):
            differing = ", ".join(sorted(row.keys() ^ set(self.log.columns)))
            raise InputError(
                f"this run's log was begun with other metrics (they differ in {differing}); go on "
                "with the extra metrics that it was started with"
            )
        self.log.append(row)
        self.loss_sum, self.loss_count = 0.0, 0

    def _evaluated(self) -> dict[str, float]:
        self.model.eval()
        with torch.no_grad():
            metrics = self.evaluate(self.model)
            extra = self.extra_metrics(self.model) if self.extra_metrics else {}
        self.model.train()
        clash = sorted(extra.keys() & {*metrics, *OWN_COLUMNS})
        if clash:
            raise InputError(f"extra metrics repeat columns of the log: {', '.join(clash)}")
        return {name: float(value) for name, value in (metrics | extra).items()}

    def save(self) -> None:
        """Write the checkpoint of this step."""
        facts = {
            "recipe": self.recipe.to_dict(),
            "data": self.data,
            "columns": self.log.columns,
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
            "grad_norm": self.grad_norm,
            "seconds": time.perf_counter() - self.clock,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        tensors = {"rng": torch.get_rng_state()}
        for name, parameter in self.model.named_parameters():
            tensors[f"model.{name}"] = parameter
            for moment, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{name}.{moment}"] = value
        write_checkpoint(self.checkpoints, Checkpoint(self.step, tensors, facts))

    def _load(self, checkpoint: Checkpoint) -> None:
        facts, tensors = checkpoint.facts, checkpoint.tensors
        self._check(checkpoint)
        self.step = checkpoint.step
        self.loss_sum, self.loss_count = facts["loss_sum"], facts["loss_count"]
        self.grad_norm, self.rng_state = facts["grad_norm"], tensors["rng"]
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[f"model.{name}"])
                self.optimizer.state[parameter] = {
                    moment: tensors[f"optimizer.{name}.{moment}"]
                    for moment in ("step", "exp_avg", "exp_avg_sq")
                }
        self.log = RunLog(self.folder / "log.csv", facts["columns"], resume_at=self.step)
        self.clock = time.perf_counter() - facts["seconds"]

    def _check(self, checkpoint: Checkpoint) -> None:
        """Everything that the next step needs is there, in its shape; the hash says only whose."""
        wanted = {"rng": (torch.get_rng_state().shape, torch.uint8)}
        for name, parameter in self.model.named_parameters():
            same = (parameter.shape, parameter.dtype)
            wanted |= {f"model.{name}": same, f"optimizer.{name}.step": ((), torch.float32)}
            wanted |= {f"optimizer.{name}.exp_avg": same, f"optimizer.{name}.exp_avg_sq": same}
        for name, (shape, dtype) in wanted.items():
            tensor = checkpoint.tensors.get(name)
            if tensor is None or tensor.shape != shape or tensor.dtype != dtype:
                raise self._unfit(checkpoint, f"{name} is not {dtype} of shape {list(shape)}")
        facts = checkpoint.facts
        columns, numbers = facts.get("columns"), ("loss_sum", "loss_count", "grad_norm", "seconds")
        if not isinstance(columns, list) or not all(isinstance(one, str) for one in columns):
            raise self._unfit(checkpoint, "it does not name the log's columns")
        for name in numbers:
            if name not in facts or not isinstance(facts[name], int | float | None):
                raise self._unfit(checkpoint, f"{name} is no number")

    def _unfit(self, checkpoint: Checkpoint, why: str) -> InputError:
        return InputError(
            f"the checkpoint of step {checkpoint.step} in {self.checkpoints} does not fit this run "
            f"({why}); train into another folder, or start again with resume=False"
        )

    def finished_model(self) -> nn.Module:
        """The model, ready to be used, with a record of how it was made."""
        self.model.provenance = {
            "recipe": self.recipe.to_dict(),
            "steps": self.step,
            "tokens": self.step * self.recipe.tokens_per_step,
            "seconds": round(time.perf_counter() - self.clock, 1),
        }
        return self.model.eval().requires_grad_(False)


def _first_model(recipe: Recipe, start: HookedGPT | None) -> HookedGPT:
    """The model before the first step."""
    if (recipe.start_from is None) != (start is None):
        raise InputError(
            f"the recipe {recipe.name!r} starts from {recipe.start_from or 'random weights'}, but "
            f"{'no' if start is None else 'a'} model to start from was given"
        )
    model = HookedGPT(recipe.config, seed=recipe.seed, init=recipe.init)
    if start is not None:
        if start.config != recipe.config:
            raise InputError(f"{start.name} does not have the shape of the recipe {recipe.name!r}")
        with torch.no_grad():
            for mine, given in zip(model.parameters(), start.parameters(), strict=True):
                mine.copy_(given)
    return model


@contextmanager
def _polite_stop() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second one of them stops at once.

    Outside the main thread signals cannot be caught, and the event is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_signal(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
