from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leafe_gym.distill.data.row_types import Encoded
from leafe_gym.distill.training.batch_plan import BatchPlan
from leafe_gym.distill.training.config import TrainConfig
from leafe_gym.errors import (
    ConfigMismatch,
    MissingExtra,
    StoreError,
    TrainingDiverged,
    UsageError,
)

torch = pytest.importorskip("torch", reason="torch absent: pip install 'leafe-gym[train]'")
pytest.importorskip("transformers", reason="transformers absent: pip install 'leafe-gym[train]'")

from distill_toys import VOCAB, toy_config, toy_model, toy_rows, train  # noqa: E402

FAST = {"lr": 1e-3, "batch": 4, "epochs": 2, "save_every": 2, "micro_batch": 2}


class Stop(Exception):
    pass


def stop_at(step):
    def progress(line, steps):
        if line["step"] == step:
            raise Stop

    return progress


def weights(folder: Path):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def lines(out: Path):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def same(left, right, tolerance=0.0):
    assert left.keys() == right.keys()
    return max((left[name] - right[name]).abs().max().item() for name in left) <= tolerance


@pytest.mark.parametrize("packing", ["none", "tree"])
def test_resumed_is_bitwise_the_same_as_uninterrupted(tmp_path, packing):
    rows, how = toy_rows(14), {**FAST, "packing": packing, "schedule": "linear"}
    whole = train(rows, toy_model(attention_dropout=0.1), tmp_path / "a", **how)
    with pytest.raises(Stop):
        train(rows, toy_model(attention_dropout=0.1), tmp_path / "b", progress=stop_at(5), **how)
    assert not (tmp_path / "b" / "model").exists()
    (tmp_path / "b" / "checkpoints" / "checkpoint-99").mkdir()  # one that was cut off
    with (tmp_path / "b" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    other = toy_model(seed=5, attention_dropout=0.1)
    resumed = train(rows, other, tmp_path / "b", **how)
    assert (whole.steps, whole.resumed_from) == (8, 0)
    assert (resumed.steps, resumed.resumed_from) == (8, 4)
    assert same(weights(whole.model), weights(resumed.model))
    assert [line["loss"] for line in lines(whole.out)] == [
        line["loss"] for line in lines(resumed.out)
    ]
    again = train(rows, other, tmp_path / "b", **how)  # complete: nothing to do
    assert again.last == resumed.last


def test_batch_1_x_8_equals_8_x_1_and_packed_equals_unpacked(tmp_path):
    rows = toy_rows(16)
    results = {
        name: train(
            rows, toy_model(), tmp_path / name,
            **{**FAST, "batch": 8, "order": "task", "epochs": 1, "lr": 1e-2, **how},
        )
        for name, how in {
            "one": {"micro_batch": 1},
            "eight": {"micro_batch": 8},
            "tree": {"packing": "tree"},
            "parts": {"packing": "tree", "pack_length": 40},
        }.items()
    }  # fmt: skip
    first = [line["loss"] for line in lines(results["one"].out)]
    for result in results.values():
        assert [line["loss"] for line in lines(result.out)] == pytest.approx(first, rel=1e-4)
    assert lines(results["one"].out)[0]["loss"] == pytest.approx(
        lines(results["eight"].out)[0]["loss"], rel=1e-6
    )
    assert results["tree"].tokens < results["parts"].tokens < results["one"].tokens


def test_training_lowers_both_terms(tmp_path):
    rows = toy_rows(12)
    train(rows, toy_model(), tmp_path, **{**FAST, "epochs": 15, "batch": 12, "lr": 1e-2})
    first, *_, last = lines(tmp_path)
    assert last["loss_cf"] < first["loss_cf"] / 4
    assert last["loss_reh"] < first["loss_reh"] / 4
    assert last["loss"] == pytest.approx(last["loss_cf"] + last["loss_reh"], rel=1e-6)
    assert last["epoch"] == 15


def test_nan_stops_and_the_last_good_weights_are_kept(tmp_path):
    rows, model = toy_rows(14), toy_model()
    seen = {}

    def spoil(line, steps):
        if line["step"] == 3:
            seen.update({name: value.clone() for name, value in model.state_dict().items()})
            model.model.layers[0].mlp.register_forward_hook(
                lambda module, given, result: result * float("nan")
            )

    with pytest.raises(TrainingDiverged, match=r"step 4: loss nan.*checkpoint-3.*--lr") as error:
        train(rows, model, tmp_path, progress=spoil, **FAST)
    kept = Path(error.value.checkpoint)
    assert error.value.step == 4
    held = weights(kept)
    assert same(held, {name: seen[name] for name in held})
    assert all(torch.isfinite(value).all() for value in held.values())
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    healthy = train(rows, toy_model(), tmp_path, **FAST)
    assert healthy.resumed_from == 3
    clean = train(rows, toy_model(), tmp_path.parent / "clean", **FAST)
    assert same(weights(healthy.model), weights(clean.model))


def test_nan_at_the_first_step_says_what_is_left(tmp_path):
    model = toy_model()
    model.model.layers[0].mlp.register_forward_hook(lambda *a: a[-1] * float("nan"))
    with pytest.raises(TrainingDiverged, match="those the training began from"):
        train(toy_rows(6), model, tmp_path, **FAST)


@pytest.mark.parametrize("packing", ["none", "tree"])
def test_lora_trains_adapters_only(tmp_path, packing):
    pytest.importorskip("peft", reason="peft absent")
    result = train(
        toy_rows(8), toy_model(), tmp_path, lora=True, lora_rank=2, packing=packing, **FAST
    )
    assert (result.model / "adapter_model.safetensors").is_file()
    assert not (result.model / "model.safetensors").exists()
    assert lines(tmp_path)[-1]["grad_norm"] > 0


def test_a_config_gives_a_fresh_model_and_the_result_loads(tmp_path):
    from transformers import AutoModelForCausalLM

    toy_config(architectures=["Qwen2ForCausalLM"]).save_pretrained(tmp_path / "config")
    how = {**FAST, "epochs": 1}
    one = train(toy_rows(6), tmp_path / "config", tmp_path / "a", seed=3, **how)
    two = train(
        toy_rows(6), str(tmp_path / "config" / "config.json"), tmp_path / "b", seed=3, **how
    )
    assert same(weights(one.model), weights(two.model))
    three = train(toy_rows(6), one.model, tmp_path / "c", **how)
    model = AutoModelForCausalLM.from_pretrained(three.model)
    assert model.config.vocab_size == VOCAB
    card = (one.model / "README.md").read_text()
    assert "| beta | 1 |" in card
    assert "| counterfactual_rows |" in card


def test_the_card_holds_the_manifest(tmp_path):
    class Rows(list):
        manifest = {"dropped": {"leak": 3}, "note": "``` <b>"}  # noqa: RUF012

    train(Rows(toy_rows(6)), toy_model(), tmp_path, **{**FAST, "epochs": 1})
    card = (tmp_path / "model" / "README.md").read_text()
    assert '"leak": 3' in card
    assert "````json" in card


def test_the_tokenizer_goes_along_and_must_be_that_of_the_rows(tmp_path):
    from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer
    from leafe_gym.store.records import checksum, dump

    toy_config().save_pretrained(tmp_path / "config")
    none = train(toy_rows(4), tmp_path / "config", tmp_path / "none", **{**FAST, "epochs": 1})
    assert not list(none.model.glob("tokenizer*"))
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(tmp_path / "config")

    class Rows(list):
        manifest = {"tokenizer": {"vocabulary_hash": checksum(dump(tokenizer.get_vocab()))}}  # noqa: RUF012

    own = train(Rows(toy_rows(4)), tmp_path / "config", tmp_path / "a", **{**FAST, "epochs": 1})
    assert (own.model / "tokenizer.json").is_file()
    tokenizer.add_tokens(["more"])
    tokenizer.save_pretrained(tmp_path / "config")
    with pytest.raises(UsageError, match=r"vocabulary is not this model's.*--tokenizer"):
        train(Rows(toy_rows(4)), tmp_path / "config", tmp_path / "b", **FAST)


def bad(row: Encoded, **changes) -> list[Encoded]:
    return [row, dataclasses.replace(row, **changes)]


ROW = Encoded(ids=(1, 2, 3), target_start=1, kind="rehearsal", task="a")
LONG = bad(ROW, ids=tuple([1] * 600))


@pytest.mark.parametrize(
    ("rows", "how", "message"),
    [
        ([], {}, "no rows to train on"),
        (LONG, {}, r"600 tokens and the model's context is 512.*max_length=512"),
        (LONG, {"packing": "tree"}, r"600 tokens and the model's context is 512"),
        (bad(ROW, ids=(1, 2, 300)), {}, "token id 300 and the model knows 300"),
        (bad(ROW, ids=(1, -2, 3)), {}, "token id -2"),
        (bad(ROW, target_start=3), {}, "target_start=3"),
        (bad(ROW, kind="other"), {}, "kind 'other'"),
        ([ROW], {"lr": float("nan")}, "lr=nan"),
        ([ROW], {"batch": 0}, "batch=0"),
        ([ROW], {"packing": "bfd"}, "packing='bfd': input should be 'tree' or 'none'"),
        ([ROW], {"schedule": "step"}, "schedule='step'"),
        ([ROW], {"recipe": "best"}, "no field 'recipe'"),
        ([ROW], {"learning_rate": 1.0}, "no field 'learning_rate'"),
        ([ROW], {"packing": "tree", "pack_length": 2}, "raise pack_length"),
    ],
)
def test_bad_input_is_named(tmp_path, rows, how, message):
    with pytest.raises(UsageError, match=message):
        train(rows, toy_model(), tmp_path, **how)


def test_a_model_that_cannot_be_loaded_is_named(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot load the model"):
        train([ROW], tmp_path / "m", tmp_path / "out")
    assert train([ROW], toy_model(), tmp_path / "out", **FAST).steps == 2  # nothing was begun there
    with pytest.raises(UsageError, match="is a file"):
        train([ROW], toy_model(), tmp_path / "m" / "config.json")


def test_a_folder_of_another_training_is_refused(tmp_path):
    how = {**FAST, "epochs": 1}
    train(toy_rows(6), toy_model(), tmp_path, **how)
    with pytest.raises(
        ConfigMismatch, match=r"other rows, lr \(0.001 there, 0.5 here\): .*fresh=True"
    ):
        train(toy_rows(7), toy_model(), tmp_path, **{**how, "lr": 0.5})
    assert train(toy_rows(7), toy_model(), tmp_path, fresh=True, **how).steps == 2
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize(
    ("module", "how"),
    [("torch", {}), ("transformers", {}), ("accelerate", {}), ("peft", {"lora": True})],
)
def test_missing_extras_are_one_line(tmp_path, monkeypatch, module, how):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"leafe-gym\[train\]"):
        train([ROW], "model", tmp_path, **how)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wandb", "needs its package: pip install wandb"),
        ("trackio", "needs its package: pip install trackio"),
        ("trackoi", "'trackoi': trackoi is not supported, only"),
        ("none", "'none': none is not supported, only"),
    ],
)
def test_absent_reporter_is_named(tmp_path, monkeypatch, name, said):
    for module in ("wandb", "trackio"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=said):
        train([ROW], toy_model(), tmp_path, report_to=[name])


def test_the_recipe_of_the_paper():
    paper = TrainConfig.paper(lr=1e-5)
    assert (paper.batch, paper.epochs, paper.lr) == (128, 2, 1e-5)
    assert TrainConfig.paper().lr == 1e-6
    with pytest.raises(UsageError, match="no field 'leraning_rate'"):
        TrainConfig.paper(leraning_rate=1e-5)


@pytest.mark.parametrize("order", ["shuffled", "task"])
def test_every_epoch_sees_each_row_once_in_another_order(order):
    rows = toy_rows(50, tasks=7)
    plan = BatchPlan(rows, batch=8, epochs=3, order=order, seed=1)
    epochs = [[row for step in range(7) for row in plan[epoch * 7 + step]] for epoch in range(3)]
    assert len(plan) == 21
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    fresh = BatchPlan(rows, batch=8, epochs=3, order=order, seed=1)
    assert fresh[16] == plan[16]
    if order == "task":
        tasks = [rows[row].task for row in epochs[0]]
        assert sum(a != b for a, b in itertools.pairwise(tasks)) == 6
    with pytest.raises(IndexError):
        plan[21]


def test_the_package_does_not_load_torch():
    code = (
        "import sys, leafe_gym.distill.training.train;"
        "from leafe_gym.cli.app import build; build();"
        "print([m for m in ('torch', 'transformers', 'trl') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


RANK = """
import sys
sys.path.insert(0, {here!r})
from distill_toys import toy_model, toy_rows, train
train(toy_rows(14), toy_model(), {out!r}, lr=1e-3, batch=6, epochs=1, micro_batch=2, save_every=9)
"""


def test_two_processes_train_as_one(tmp_path):
    """14 rows, micro-batches of 2: the ranks get 3 and 1 of them, evened out."""
    how = {"lr": 1e-3, "batch": 6, "epochs": 1, "micro_batch": 2, "save_every": 9}
    one = train(toy_rows(14), toy_model(), tmp_path / "one", **how)
    script = tmp_path / "rank.py"
    here = str(Path(__file__).parent)
    script.write_text(RANK.format(here=here, out=str(tmp_path / "two")))
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *command], env=environ, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    both = lines(tmp_path / "two")
    for key in ("loss", "loss_cf", "loss_reh", "grad_norm"):
        assert [line[key] for line in both] == pytest.approx(
            [line[key] for line in lines(one.out)], rel=1e-5
        )
    assert same(weights(one.model), weights(tmp_path / "two" / "model"), 1e-4)


@pytest.mark.parametrize("limit", [2_000, 300_000, 500_000])
def test_a_full_disk_is_named_and_the_training_resumes(tmp_path: Path, limit: int) -> None:
    """The weights, the optimizer's state or its header do not fit."""
    resource = pytest.importorskip("resource", reason="no limits on this system")
    toy_model(0).save_pretrained(tmp_path / "model")
    given = (toy_rows(8), tmp_path / "model", tmp_path / "out")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(StoreError, match=r"out: cannot be written .* resumes"):
            train(*given, epochs=1, batch=4, save_every=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert train(*given, epochs=1, batch=4, save_every=1).steps == 2
