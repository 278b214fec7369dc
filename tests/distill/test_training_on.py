"""Training on from a result: adapters that are continued, merged or stacked; types; the lock."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from row_toys import needs

from leafe_gym.errors import UsageError

pytestmark = [
    needs("torch", "transformers", "accelerate", "peft"),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]

torch = pytest.importorskip("torch", reason="torch absent: pip install 'leafe-gym[train]'")

from distill_toys import VOCAB, toy_model, toy_rows, train  # noqa: E402

FAST: dict[str, Any] = {"lr": 1e-2, "batch": 4, "epochs": 1, "micro_batch": 4}
LORA: dict[str, Any] = {**FAST, "lora": True}
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
    "initializer_range": 0.125,
}  # fmt: skip
KINDS = ("Llama", "Qwen2", "Gemma2")


def make_base(folder: Path, kind: str = "Qwen2", dtype: str = "float32") -> Path:
    import transformers

    torch.manual_seed(0)
    more = {"head_dim": 8, "tie_word_embeddings": True} if kind == "Gemma2" else {}
    config = getattr(transformers, f"{kind}Config")(**SIZES, **more)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def rounds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A base and the adapter that a first round gave."""
    folder = tmp_path_factory.mktemp(request.param)
    base = make_base(folder / "base", request.param)
    return base, train(toy_rows(8), base, folder / "one", lora_rank=2, **LORA).model


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter that a first round gave."""
    folder = tmp_path_factory.mktemp("adapter")
    base = make_base(folder / "base", "Llama")
    return train(toy_rows(8), base, folder / "one", lora_rank=2, **LORA).model  # type: ignore[no-any-return]


def logits(model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(
        model, attn_implementation="eager", dtype=torch.float32
    ).eval()
    with torch.inference_mode():
        return network(torch.arange(4, 68)[None] % VOCAB).logits


def far(left: Path, right: Path) -> float:
    """The largest difference between the logits of two models."""
    return float((logits(left) - logits(right)).abs().max())


def settings(folder: Path) -> Any:
    return json.loads((folder / "adapter_config.json").read_text())


def test_a_second_round_continues_the_adapter(rounds: Any, tmp_path: Path) -> None:
    base, one = rounds
    assert far(one, base) > 0.01
    still = train(toy_rows(8), one, tmp_path / "still", **{**LORA, "lr": 0.0})
    assert far(still.model, one) == 0.0
    assert settings(still.model)["r"] == 2
    assert "trained further" in still.began
    moved = train(toy_rows(8), one, tmp_path / "moved", **LORA)
    assert far(moved.model, one) > 0.01
    third = train(toy_rows(8), moved.model, tmp_path / "third", **{**LORA, "lr": 0.0})
    assert far(third.model, moved.model) == 0.0


@pytest.mark.parametrize(("how", "rank"), [("merge", 3), ("stack", 5)])
def test_a_new_adapter_on_or_beside_the_earlier_one(
    adapter: Path, tmp_path: Path, how: str, rank: int
) -> None:
    one = adapter
    fields = {**LORA, "lora_rank": 3, "earlier_adapter": how}
    still = train(toy_rows(8), one, tmp_path / "still", **{**fields, "lr": 0.0})
    assert far(still.model, one) < 1e-4
    assert settings(still.model)["r"] == rank
    moved = train(toy_rows(8), one, tmp_path / "moved", **fields)
    assert far(moved.model, one) > 0.01
    first = json.loads((moved.out / "metrics.jsonl").read_text().splitlines()[0])
    again = train(toy_rows(8), moved.model, tmp_path / "again", **{**LORA, "lr": 0.0})
    assert far(again.model, moved.model) == 0.0
    # What was trained is what was saved: the next round begins where this one ended.
    begun = json.loads((again.out / "metrics.jsonl").read_text().splitlines()[0])
    assert begun["loss"] < first["loss"]


def test_without_lora_the_adapter_is_merged_first(adapter: Path, tmp_path: Path) -> None:
    one = adapter
    still = train(toy_rows(8), one, tmp_path / "still", **{**FAST, "lr": 0.0})
    assert far(still.model, one) < 1e-4
    assert "merged into it" in still.began
    assert not (still.model / "adapter_config.json").exists()
    moved = train(toy_rows(8), one, tmp_path / "moved", **FAST)
    assert far(moved.model, one) > 0.01


def test_a_continued_training_resumes_bitwise(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    one = train(toy_rows(8), make_base(tmp_path / "base"), tmp_path / "one", **LORA).model
    for how in ("continue", "stack", "merge"):
        fields = {**LORA, "epochs": 2, "save_every": 1, "earlier_adapter": how}

        def stop(line: Any, steps: int) -> None:
            if line["step"] == 3:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            train(toy_rows(8), one, tmp_path / f"{how}-b", progress=stop, **fields)
        resumed = train(toy_rows(8), one, tmp_path / f"{how}-b", **fields)
        assert resumed.resumed_from > 0
        whole = train(toy_rows(8), one, tmp_path / f"{how}-a", **fields)
        left, right = (
            load_file(result.model / "adapter_model.safetensors") for result in (whole, resumed)
        )
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


def dtypes(folder: Path) -> set[str]:
    from safetensors.torch import load_file

    return {str(t.dtype) for path in folder.glob("*.safetensors") for t in load_file(path).values()}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_results_have_the_type_of_their_base(tmp_path: Path, dtype: str) -> None:
    base = make_base(tmp_path / "base", dtype=dtype)
    whole = train(toy_rows(4), base, tmp_path / "whole", **FAST)
    assert dtypes(whole.model) == {f"torch.{dtype}"}
    assert json.loads((whole.model / "config.json").read_text())["dtype"] == dtype
    still = train(toy_rows(4), base, tmp_path / "still", **{**FAST, "lr": 0.0})
    assert far(still.model, base) == 0.0
    one = train(toy_rows(4), base, tmp_path / "one", **LORA)
    assert dtypes(one.model) == {"torch.float32"}
    merged = train(toy_rows(4), one.model, tmp_path / "merged", **FAST)
    assert dtypes(merged.model) == {f"torch.{dtype}"}
    on = train(toy_rows(4), one.model, tmp_path / "on", earlier_adapter="merge", **LORA)
    assert dtypes(on.out / "base") == {f"torch.{dtype}"}
    assert Path(settings(on.model)["base_model_name_or_path"]) == on.out / "base"
    moved = on.out.rename(tmp_path / "elsewhere")
    again = train(toy_rows(4), moved, tmp_path / "again", **{**LORA, "lr": 0.0})
    assert again.began.startswith(str(moved / "base"))


def test_a_model_with_adapters_in_memory(tmp_path: Path) -> None:
    from leafe_gym.distill.training.adapters import add_lora

    def same() -> Any:
        torch.manual_seed(1)
        return add_lora(toy_model(), 2)

    one = train(toy_rows(6), same(), tmp_path / "a", **LORA)
    assert settings(one.model)["r"] == 2
    two = train(toy_rows(6), same(), tmp_path / "b", **FAST)
    assert "merged" in two.began
    assert (two.model / "model.safetensors").is_file()


def change(adapter: Path, **fields: Any) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps(settings(adapter) | fields))


@pytest.mark.parametrize(
    ("fields", "how", "message"),
    [
        ({}, {"lora_rank": 4}, r"lora_rank=4: the adapter .* has rank 2"),
        ({"base_model_name_or_path": None}, {}, "does not name the model"),
        ({"base_model_name_or_path": ""}, {"lora": False}, "does not name the model"),
        ({"base_model_name_or_path": "absent/x"}, {}, "trained on absent/x, which cannot be"),
        ({"use_dora": True}, {"earlier_adapter": "stack"}, "use_dora=True cannot be stacked"),
        ({"bias": "all"}, {"earlier_adapter": "stack"}, "bias='all' cannot be stacked"),
        ({"r": 3}, {}, "does not fit its base"),
        ({}, {"earlier_adapter": "add"}, "earlier_adapter='add'"),
    ],
)
def test_adapters_that_cannot_be_trained_on_are_named(
    adapter: Path, tmp_path: Path, fields: dict[str, Any], how: dict[str, Any], message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    one = Path(shutil.copytree(adapter, tmp_path / "one"))
    change(one, **fields)
    with pytest.raises(UsageError, match=message):
        train(toy_rows(4), one, tmp_path / "two", **{**LORA, **how})


def test_an_adapter_on_an_adapter_and_a_broken_file(adapter: Path, tmp_path: Path) -> None:
    one = Path(shutil.copytree(adapter, tmp_path / "one"))
    change(one, base_model_name_or_path=str(one))
    with pytest.raises(UsageError, match="is an adapter itself"):
        train(toy_rows(4), one, tmp_path / "two", **LORA)
    (one / "adapter_config.json").write_text("[")
    with pytest.raises(UsageError, match=r"adapter_config.json: cannot be read"):
        train(toy_rows(4), one, tmp_path / "two", **LORA)


def test_two_trainings_in_one_folder(tmp_path: Path) -> None:
    seen = []

    def second(line: Any, steps: int) -> None:
        for fresh in (False, True):
            with pytest.raises(UsageError, match=r"process \d+ is training in this folder"):
                train(toy_rows(6), toy_model(), tmp_path, fresh=fresh, **FAST)
        seen.append(line["step"])
        if len(seen) == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(toy_rows(6), toy_model(), tmp_path, progress=second, **FAST)
    done = train(toy_rows(6), toy_model(), tmp_path, progress=second, **FAST)
    assert done.steps == 2
    assert seen == [1, 1, 2]
    assert train(toy_rows(6), toy_model(), tmp_path, **FAST).steps == 2


def test_the_second_process_is_refused(tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("77\n")
        lock.flush()
        with pytest.raises(UsageError, match="process 77 is training in this folder"):
            train(toy_rows(6), toy_model(), tmp_path, **FAST)
    assert train(toy_rows(6), toy_model(), tmp_path, **FAST).steps == 2


def test_gemma2_is_trained_with_eager_attention(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "Gemma2")
    result = train(toy_rows(4), base, tmp_path / "out", **FAST)
    assert "| attention | eager |" in (result.model / "README.md").read_text()
    from transformers import AutoModelForCausalLM

    for model in (base, AutoModelForCausalLM.from_pretrained(base)):
        with pytest.raises(UsageError, match=r"attention='sdpa'.*--attention eager"):
            train(toy_rows(4), model, tmp_path / "sdpa", attention="sdpa", **FAST)
    adapter = train(toy_rows(4), base, tmp_path / "lora", **LORA).model
    assert train(toy_rows(4), adapter, tmp_path / "two", packing="tree", **LORA).steps == 1


def test_the_context_of_a_composite_model_is_checked(tmp_path: Path) -> None:
    from transformers import Gemma3Config

    from leafe_gym.distill.data.row_types import Encoded

    text = {**SIZES, "head_dim": 8, "max_position_embeddings": 32}
    vision = {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    config.save_pretrained(tmp_path / "config")
    row = Encoded(ids=tuple([5] * 33), target_start=3, kind="rehearsal", task="a")
    with pytest.raises(UsageError, match="33 tokens and the model's context is 32"):
        train([row], tmp_path / "config", tmp_path / "out", **FAST)
