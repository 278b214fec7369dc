"""`train`: rows in, a trained checkpoint out.

Resumable; runs in one process, or in several under `accelerate launch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leafe_gym._models import of_training
from leafe_gym._optional import require
from leafe_gym.arguments import require_instance, require_path
from leafe_gym.distill.data.dataset import Rows
from leafe_gym.distill.data.row_types import Encoded
from leafe_gym.distill.training.adapters import is_adapter
from leafe_gym.distill.training.checkpoints import (
    RESULT,
    TrainResult,
    checkpoint_step,
    claim_folder,
    hold_folder,
    last_checkpoint,
    named_write_errors,
    read_result,
    trim_metrics,
)
from leafe_gym.distill.training.config import TrainConfig, TrainProgress
from leafe_gym.distill.training.encoded_rows import open_rows
from leafe_gym.distill.training.job import TrainingJob, check_rows
from leafe_gym.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def train(
    data: Sequence[Encoded] | Rows | str | Path,
    *,
    model: str | Path | PreTrainedModel,
    out: str | Path,
    config: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
    fresh: bool = False,
    progress: TrainProgress | None = None,
) -> TrainResult:
    """Distil rows into a model (paper: Stage 2); the same call with the same `out` resumes.

    Minimizes L_cf + beta L_reh: each term is the mean loss of its own rows' target tokens, so that
    neither depends on how many rows the other has.

    Args:
        data: encoded rows; `Rows`, which are encoded with the model's tokenizer; or a folder that
            `Rows.to_shards`, `to_trl().save_to_disk`, `to_jsonl` or `leafe distill` wrote.
        model: folder or name of a checkpoint, an adapter that an earlier training gave
            (`TrainConfig.earlier_adapter`), a config for a fresh model, or a model. A result has
            the floating-point type of the checkpoint it began as; adapters stay in 32 bits.
        out: folder of this training.
        config: how to train.
        fresh: delete an earlier training in `out` instead of resuming it.
        progress: called after each optimizer step.

    Returns:
        The folder of the trained model, steps and last figures; see `TrainResult`.

    Raises:
        MissingExtra: without the extra "train".
        UsageError: for rows or a model that cannot be used, or if another process trains in `out`.
        ConfigMismatch: if `out` holds a training with another configuration or other rows.
        TrainingDiverged: if the loss is no longer finite; the last good weights are saved.
        StoreError: if the folder cannot be written, such as on a full disk; the same call resumes.
    """
    require_instance("config", config, TrainConfig)
    folder = require_path("out", out)
    if not isinstance(model, (str, Path)) and not hasattr(model, "forward"):
        raise UsageError(f"model={model!r}: expected a folder, a name or a model")
    if isinstance(model, (str, Path)):
        model = of_training(Path(model)) if Path(model).is_dir() else model
    if progress is not None and not callable(progress):
        raise UsageError(f"progress={progress!r}: expected a function")
    _require_extras(config, model)
    rows, manifest = open_rows(data, model)
    longest, largest_id = check_rows(rows, config)
    job = TrainingJob(
        rows=rows,
        manifest=manifest,
        model=model,
        out=folder,
        config=config,
        longest=longest,
        largest_id=largest_id,
        progress=progress,
    )
    with hold_folder(folder):
        claim_folder(folder, job.identity(), fresh=fresh)
        if (folder / "model" / RESULT).is_file():
            return read_result(folder, resumed_from=0)
        return _run(job)


def _run(job: TrainingJob) -> TrainResult:
    """Train, from the last checkpoint where there is one."""
    from leafe_gym.distill.training.assemble import assemble, save_result

    trainer, resolved, loaded = assemble(job)
    trainer.accelerator.wait_for_everyone()
    start = last_checkpoint(job.out / "checkpoints")
    done = checkpoint_step(start) if start else 0
    if trainer.is_world_process_zero():
        trim_metrics(job.out / "metrics.jsonl", done)
    with named_write_errors(job.out):
        trainer.train(resume_from_checkpoint=str(start) if start else None)
        save_result(trainer, job, resolved, loaded)
    return read_result(job.out, resumed_from=done)


def _require_extras(config: TrainConfig, model: str | Path | PreTrainedModel) -> None:
    for name in ("torch", "transformers", "accelerate"):
        require(name, "train", "training")
    if config.lora or (isinstance(model, (str, Path)) and is_adapter(model)):
        require("peft", "train", "lora")
    for name in config.report_to:
        check_reporter(name)


def check_reporter(name: str) -> None:
    """Check that metrics can be sent to a place.

    Args:
        name: as transformers calls it, such as "trackio" or "wandb".

    Raises:
        UsageError: if transformers does not know it, or its package is not installed.
    """
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    try:
        for callback in get_reporting_integration_callbacks([name]):
            callback()
    except (RuntimeError, ImportError) as error:
        raise UsageError(
            f"report_to {name!r} needs its package: pip install {name} ({error})"
        ) from error
    except ValueError as error:
        raise UsageError(f"report_to {name!r}: {error}") from None
