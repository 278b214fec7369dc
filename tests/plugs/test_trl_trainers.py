"""TRL's own trainers on our rows and environments: tokens of prompts, loss positions, updates."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import pytest
from row_toys import needs
from template_tokenizers import NAMES, family, tokenizer_for

import leafe_gym as lg
from leafe_gym import distill
from leafe_gym.errors import UsageError
from leafe_gym.plugs.trl import TeacherRows, environment_factory, self_distillation, task_rows
from leafe_gym.policies.transformers import TransformersPolicy

pytestmark = [needs("trl", "datasets", "torch"), pytest.mark.filterwarnings("default")]
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

ROWS = 40
LEVEL = {"size": 6, "boxes": 1, "max_steps": 20}
DIFFERENT = {
    "gemma": "refuses",  # no system message, which our policy moves into the user's turn
    "llava_next": "refuses",  # no plain text
    "idefics3": "drops",  # plain text
    "smolvlm": "drops",
    "gptoss": "dates",  # by a clock that no argument sets
}
"""Templates with which TRL has no prompt of ours, and what they do; not gemma3 and gemma4."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> distill.Rows:
    tasks = lg.tasks("leafe/Sokoban-v0", split="train", size=6, boxes=1, max_steps=8)[:16]
    folder = tmp_path_factory.mktemp("trl") / "run"
    agent = lg.ReflectiveTreeAgent(lg.policy("scripted"))
    lg.explore(agent, tasks, budget=lg.Budget(interactions=200), out=folder).close()
    config = distill.RowConfig(keep="all", teacher=True, per_task=None, rehearsal=0.2)
    return distill.rows(folder, config)


@pytest.fixture(scope="module")
def taught(rows: distill.Rows) -> TeacherRows:
    return self_distillation(rows)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """That of a real chat model where there is one, else bytes with a shipped template."""
    from transformers import AutoTokenizer

    real = os.environ.get("LEAFE_MODEL", "")
    made = AutoTokenizer.from_pretrained(real) if real else tokenizer_for("qwen2_5")
    made.pad_token = made.pad_token or made.eos_token
    return made


@pytest.fixture
def model(tokenizer: Any, tmp_path: Path) -> str:
    """A small random model in a folder."""
    import torch
    from transformers import Qwen2ForCausalLM

    torch.manual_seed(0)
    made = Qwen2ForCausalLM(small(len(tokenizer)))
    made.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def small(vocabulary: int) -> Any:
    from transformers import Qwen2Config

    return Qwen2Config(
        vocab_size=vocabulary, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=8192,
    )  # fmt: skip


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "trl"), "use_cpu": True, "bf16": False, "report_to": [],
        "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1, "learning_rate": 1e-2,
        "per_device_train_batch_size": 4, "max_steps": 1, **more,
    }  # fmt: skip


def policy_prompt(tokenizer: Any, messages: Any, **arguments: Any) -> list[int]:
    """What our policy asks a model."""
    network: Any = SimpleNamespace(
        config=None, generation_config=None, eval=lambda: network, parameters=list
    )
    policy = TransformersPolicy(network, tokenizer, chat_template_kwargs=arguments)
    ids, length = policy.tokenize(messages, "")
    return list(ids[:length])


# --- The teacher's prompt ------------------------------------------------------------------------


def their_prompts(tokenizer: Any, taught: TeacherRows, number: int) -> list[list[int]]:
    """Prompts of SDFT's teacher, and of SDPO's, by their own code."""
    from trl.experimental.sdft.sdft_trainer import (
        DemonstrationTeacherContextBuilder,
        SDFTTrainer,
    )

    args = SimpleNamespace(**taught.sdft)
    trainer: Any = SimpleNamespace(
        args=args,
        processing_class=tokenizer,
        chat_template_kwargs=args.chat_template_kwargs,
        max_prompt_length=args.max_prompt_length,
    )
    lines = taught.data.select(range(number))
    built = DemonstrationTeacherContextBuilder(trainer).select_generation_prompts(
        lines["prompt"][:], lines["privileged_context"][:]
    )
    found: list[list[int]] = SDFTTrainer._tokenize_prompts(trainer, built)
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("_training")])
def test_their_teacher_s_prompt_is_the_acting_prompt_with_the_experience(
    rows: distill.Rows, taught: TeacherRows, counts: Callable[[int, int], int], name: str
) -> None:
    tokenizer = tokenizer_for(name)
    number = counts(1, ROWS)
    acted = [row for row in rows if row.teacher][:number]
    does = None if name.startswith(("gemma3", "gemma4")) else family(name, DIFFERENT)
    if does == "refuses":
        with pytest.raises(Exception, match=r"System role|str object") as refusal:
            their_prompts(tokenizer, taught, 1)
        assert refusal.type.__module__.startswith("jinja2")
        return
    theirs = their_prompts(tokenizer, taught, number)
    told = [text in tokenizer.decode(ids) for text, ids in zip(
        taught.data["privileged_context"][:number], theirs, strict=True
    )]  # fmt: skip
    assert told == [does != "drops"] * number
    if does == "drops":  # our policy refuses what it could not be asked with
        with pytest.raises(UsageError, match="does not write what a user says"):
            policy_prompt(tokenizer, acted[0].teacher)
        return
    ours = [policy_prompt(tokenizer, row.teacher) for row in acted]
    assert (theirs == ours) is (does != "dates")


# --- Their trainers ------------------------------------------------------------------------------


def test_sft_has_its_loss_on_the_targets(
    rows: distill.Rows, tokenizer: Any, model: str, tmp_path: Path
) -> None:
    from trl import SFTConfig, SFTTrainer

    args = SFTConfig(
        **settings(tmp_path), completion_only_loss=True, max_length=None,
        activation_checkpointing=False,
    )  # fmt: skip
    data = rows.to_trl().select(range(ROWS))
    trainer = SFTTrainer(model=model, args=args, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    encoded = [distill.encode(row, tokenizer) for row in rows][:ROWS]
    batch = trainer.data_collator([trainer.train_dataset[at] for at in range(ROWS)])
    for ids, labels, ours in zip(batch["input_ids"], batch["labels"], encoded, strict=True):
        assert ours is not None
        wanted = [-100] * ours.target_start + list(ours.ids[ours.target_start :])
        assert ids[: len(ours.ids)].tolist() == list(ours.ids)
        assert labels.tolist() == wanted + [-100] * (len(labels) - len(wanted))


def test_dpo_has_its_loss_on_both_replies(
    rows: distill.Rows, tokenizer: Any, model: str, tmp_path: Path
) -> None:
    from dataclasses import replace

    from trl import DPOConfig, DPOTrainer

    data = rows.to_preference(every_branch=True).select(range(ROWS))
    args = DPOConfig(**settings(tmp_path), max_length=None, activation_checkpointing=False)
    trainer = DPOTrainer(model=model, args=args, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    pairs = [row for row in rows if row.rejected not in (None, row.target)][:ROWS]
    batch = trainer.data_collator([trainer.train_dataset[at] for at in range(ROWS)])
    both = [*pairs, *(replace(row, target=row.rejected or "") for row in pairs)]
    for ids, mask, row in zip(batch["input_ids"], batch["completion_mask"], both, strict=True):
        ours = distill.encode(row, tokenizer)
        assert ours is not None
        assert ids[: len(ours.ids)].tolist() == list(ours.ids)
        learned = [at for at, on in enumerate(mask.tolist()) if on]
        assert learned == list(range(ours.target_start, len(ours.ids)))


def without_padding(ids: Any, mask: Any) -> list[int]:
    return [int(token) for token, on in zip(ids, mask, strict=True) if on]


@pytest.mark.parametrize("kind", ["sdft", "sdpo"])
def test_self_distillation_reads_both_prompts_and_moves_the_student(
    rows: distill.Rows, taught: TeacherRows, tokenizer: Any, model: str, tmp_path: Path,
    counts: Callable[[int, int], int], kind: str,
) -> None:  # fmt: skip
    import torch
    from trl.experimental import sdft, sdpo

    base: Any = sdft.SDFTTrainer if kind == "sdft" else sdpo.SDPOTrainer
    make: Any = sdft.SDFTConfig if kind == "sdft" else sdpo.SDPOConfig
    seen: list[dict[str, Any]] = []

    class Recording(base):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
            seen.append(dict(inputs))
            return super().compute_loss(model, inputs, *rest, **more)

    number = counts(8, ROWS) if kind == "sdft" else 8
    own: dict[str, Any] = taught.sdft if kind == "sdft" else taught.sdpo
    args = make(
        **settings(
            tmp_path, per_device_train_batch_size=8, max_steps=number * 2 // 8, num_generations=2,
            shuffle_dataset=False, max_completion_length=4, activation_checkpointing=False,
        ),
        **own,
    )  # fmt: skip
    reward: dict[str, Any] = {"reward_funcs": lambda completions, **_: [0.0] * len(completions)}
    trainer = Recording(
        model=model, args=args, train_dataset=taught.data.select(range(number)),
        processing_class=tokenizer, **({} if kind == "sdft" else reward),
    )  # fmt: skip
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    trainer.train()
    assert any(
        not torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True)
    )
    wanted = [row for row in rows if row.teacher][:number]
    found = [one for batch in seen for one in unbatched(batch)]
    assert len(found) == 2 * number
    for at, one in enumerate(found):
        row = wanted[at // 2]
        reply = without_padding(one["completion_ids"], one["completion_mask"])
        assert without_padding(one["prompt_ids"], one["prompt_mask"]) == policy_prompt(
            tokenizer, row.prompt
        )
        teacher = without_padding(one["teacher_input_ids"], one["teacher_attention_mask"])
        assert teacher == policy_prompt(tokenizer, row.teacher) + reply


def unbatched(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = [
        "prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "teacher_input_ids",
        "teacher_attention_mask",
    ]  # fmt: skip
    for at in range(len(batch["prompt_ids"])):
        yield {name: batch[name][at] for name in names}


# --- GRPO ----------------------------------------------------------------------------------------


def test_grpo_plays_an_environment_by_its_tool(tmp_path: Path) -> None:
    import torch
    from transformers import Qwen2ForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    task = lg.tasks("leafe/Sokoban-v0", split="train", **LEVEL)[0]
    env: Any = gym.make(task.env_id, **task.kwargs)
    env.reset(seed=task.seed)
    way = env.unwrapped.solve()
    tokenizer = tokenizer_for("qwen3")
    tokenizer.pad_token = tokenizer.eos_token
    asked: list[list[int]] = []

    class Scripted(Qwen2ForCausalLM):
        """Samples what solves the level in the first rollout of a group; the loss is real."""

        def generate(self, input_ids: Any, **_: Any) -> Any:
            asked.extend(input_ids.tolist())
            texts = [tokenizer.decode(ids) for ids in input_ids]
            turns = [text.count("<tool_response>") for text in texts]
            replies = []
            for number, done in enumerate(turns):
                mine = way if number == 0 else ["up"]
                text = "Done."
                if done < len(mine):
                    text = (
                        '<tool_call>\n{"name": "act", "arguments": {"action": "'
                        f'{mine[done]}"'
                        "}}\n</tool_call>"
                    )
                replies.append(tokenizer.encode(text + "<|im_end|>", add_special_tokens=False))
            longest = max(map(len, replies))
            padded = [ids + [tokenizer.pad_token_id] * (longest - len(ids)) for ids in replies]
            return torch.cat([input_ids, torch.tensor(padded)], dim=1)

    torch.manual_seed(0)
    model = Scripted(small(len(tokenizer)))
    args = GRPOConfig(
        **settings(tmp_path, per_device_train_batch_size=2, num_generations=2),
        max_completion_length=4096, activation_checkpointing=False,
    )  # fmt: skip
    before = [weight.detach().clone() for weight in model.parameters()]
    trainer = GRPOTrainer(
        model=model, args=args, train_dataset=task_rows([task]), processing_class=tokenizer,
        environment_factory=environment_factory("leafe/Sokoban-v0", **LEVEL),
    )  # fmt: skip
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["rewards/LeafeEnvironment/mean"] == 0.5
    assert log["tools/call_frequency"] == (len(way) + 1) / 2
    assert log["tools/failure_frequency"] == 0
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    last = tokenizer.decode(max(asked, key=len))
    assert "The episode is over." in last
    assert last.count("<tool_response>") == len(way)
