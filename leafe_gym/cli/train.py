"""`leafe train DIR --model M --out DIR`: distil rows into a model; the same command resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from leafe_gym.cli.options import JsonOut
from leafe_gym.cli.screen import out, plain, progress_bar, write_json
from leafe_gym.errors import UsageError
from leafe_gym.evals.meta import machine_meta
from leafe_gym.types import Json

Text = str | None
Count = int | None
Number = float | None


def _option(name: str, text: str, **more: Any) -> Any:
    return typer.Option(name, help=text, **more)


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Rows: shards, TRL or JSON lines (leafe distill).")
    ],
    model: Annotated[
        str, _option("--model", "Checkpoint: a folder, a name, or a config for a fresh model.")
    ],
    out_dir: Annotated[Path, _option("--out", "Folder of the training.", metavar="DIR")],
    recipe: Annotated[str, _option("--recipe", "paper (128, 1e-6, 2 epochs) or none.")] = "paper",
    epochs: Annotated[Count, _option("--epochs", "Passes over the rows.", min=1)] = None,
    lr: Annotated[Number, _option("--lr", "Learning rate.", min=0)] = None,
    batch: Annotated[Count, _option("--batch", "Rows of an optimiser step.", min=1)] = None,
    micro_batch: Annotated[Count, _option("--micro-batch", "Rows computed at once.", min=1)] = None,
    beta: Annotated[Number, _option("--beta", "Weight of rehearsal; default 1.", min=0)] = None,
    normalise: Annotated[Text, _option("--normalise", "Mean over: token or row.")] = None,
    packing: Annotated[Text, _option("--packing", "tree computes shared prefixes once.")] = None,
    pack_length: Annotated[
        Count, _option("--pack-length", "Most tokens of a packed sequence.", min=2)
    ] = None,
    order: Annotated[Text, _option("--order", "shuffled, or task.")] = None,
    schedule: Annotated[Text, _option("--schedule", "constant, linear or cosine.")] = None,
    warmup: Annotated[Count, _option("--warmup", "Steps of warming up.", min=0)] = None,
    lora: Annotated[bool, _option("--lora", "Train adapters only.")] = False,
    lora_rank: Annotated[Count, _option("--lora-rank", "Their rank.", min=1)] = None,
    attention: Annotated[Text, _option("--attention", "sdpa, eager or flex_attention.")] = None,
    bf16: Annotated[
        bool | None, typer.Option("--bf16/--no-bf16", help="Compute in 16 bits.")
    ] = None,
    activation_checkpointing: Annotated[
        bool, _option("--activation-checkpointing", "Less memory, more time.")
    ] = False,
    save_every: Annotated[Count, _option("--save-every", "Steps a checkpoint.", min=1)] = None,
    seed: Annotated[int, _option("--seed", "Order of rows, fresh weights.", min=0)] = 0,
    fresh: Annotated[bool, _option("--fresh", "Begin anew instead of resuming.")] = False,
    report_to: Annotated[
        list[str] | None, _option("--report-to", "Also report to this, such as wandb.")
    ] = None,
    json_path: JsonOut = None,
) -> None:
    """Distil rows into a model (L_cf + beta L_reh). Killed at any moment, the same command goes on.

    Several GPUs: accelerate launch --config_file examples/accelerate_fsdp2.yaml -m leafe_gym.cli
    train DIR ...
    """
    from leafe_gym.distill.training.config import TrainConfig
    from leafe_gym.distill.training.train import train

    if recipe not in ("paper", "none"):
        raise UsageError(f"--recipe={recipe!r}: expected paper or none")
    given = {
        "epochs": epochs, "lr": lr, "batch": batch, "micro_batch": micro_batch, "beta": beta,
        "normalise": normalise, "packing": packing, "pack_length": pack_length, "order": order,
        "schedule": schedule, "warmup": warmup, "lora": lora, "lora_rank": lora_rank,
        "attention": attention, "bf16": bf16, "save_every": save_every, "seed": seed,
        "report_to": report_to,
        "activation_checkpointing": activation_checkpointing,
    }  # fmt: skip
    config = TrainConfig.paper(**{name: one for name, one in given.items() if one is not None})
    with progress_bar() as bar:
        line = bar.add_task("training", total=None, note="")

        def tick(step: Json, steps: int) -> None:
            note = f"loss {step['loss']:.4f}"
            bar.update(line, completed=step["step"], total=steps, note=note)

        result = train(
            folder,
            model=model,
            out=out_dir,
            config=config,
            fresh=fresh,
            progress=tick,
        )
    last = {name: result.last.get(name) for name in ("loss", "loss_cf", "loss_reh")}
    figures = {"steps": result.steps, "resumed_from": result.resumed_from, "tokens": result.tokens}
    if json_path:
        write_json(
            {**figures, **last, "model": str(result.model), "meta": machine_meta()}, json_path
        )
    if json_path == "-":
        return
    table = Table(title=f"{out_dir}", show_header=False, box=SIMPLE_HEAD)
    for name, value in {**figures, **last}.items():
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        table.add_row(name.replace("_", " "), shown)
    out.print(table)
    out.print(plain(f"The model: {result.model}"))
