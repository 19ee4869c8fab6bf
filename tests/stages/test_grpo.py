"""GRPO and its relatives: numbers worked by hand, rewards from functions and models, and the taste for b learned."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import alphabet
import pytest
import torch

from ziggurat.corpus.load import load_prompts
from ziggurat.dialogue.chat import Chat
from ziggurat.errors import ConfigError, ModelFolderError, UsageError
from ziggurat.records import Prompt
from ziggurat.runs import Run
from ziggurat.stages.grpo import GRPO, grpo, grpo_config, prepare
from ziggurat.stages.grpo_losses import (
    clipped_objective,
    equal_groups,
    group_advantages,
    k3,
    length_penalty,
    token_weights,
)
from ziggurat.stages.grpo_update import gradient
from ziggurat.stages.scorer import RewardFunction

LIKES = f"{Path(__file__).parent / 'alphabet.py'}:reward"
SMALL: dict[str, Any] = {
    "train": {"steps": 12, "threads": 1, "dtype": "fp32", "eval_every_steps": 4, "checkpoint_every_steps": 4},
    "prompts_per_step": 8,
    "group": 8,
    "max_new_tokens": 6,
    "stop_when_fatal": False,
    "policy": {"lr_adam": 3e-3},
    "reward_function": LIKES,
}


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_advantages_are_the_hand_worked_numbers() -> None:
    """Scores 1 0 0 0: deviation sqrt(3)/4; a group of equal scores has none, whatever it is divided by."""
    scores = torch.tensor([1.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0])
    mean = group_advantages(scores, 4, baseline="mean", scale="none")
    assert mean.tolist() == pytest.approx([0.75, -0.25, -0.25, -0.25, 0, 0, 0, 0])
    others = group_advantages(scores, 4, baseline="leave_one_out", scale="none")
    assert others.tolist() == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3, 0, 0, 0, 0])
    grouped = group_advantages(scores, 4, baseline="mean", scale="group")
    assert grouped.tolist() == pytest.approx([3**0.5, *[-(3**-0.5)] * 3, 0, 0, 0, 0])
    step = group_advantages(scores, 4, baseline="mean", scale="step")
    deviation = (0.75**2 + 3 * 0.25**2) ** 0.5 / 8**0.5
    assert step[0].item() == pytest.approx(0.75 / deviation)
    assert equal_groups(scores, 4).tolist() == [False, True]


def test_what_weighs_the_same_in_the_loss() -> None:
    lengths, row = torch.tensor([1, 3]), torch.tensor([0, 1, 1, 1])
    assert token_weights(lengths, row, "completion", 4).tolist() == pytest.approx(
        [1 / 2, 1 / 6, 1 / 6, 1 / 6]
    )
    assert token_weights(lengths, row, "tokens", 4).tolist() == pytest.approx([1 / 4] * 4)
    assert token_weights(lengths, row, "constant", 4).tolist() == pytest.approx([1 / 8] * 4)


def test_the_clip_may_be_higher_than_low() -> None:
    ratio = torch.log(torch.tensor([1.5, 0.5, 1.25, 0.5]))
    loss, clipped = clipped_objective(ratio, torch.zeros(4), torch.tensor([1.0, -1.0, 1.0, 1.0]), 0.2, 0.3)
    assert loss.tolist() == pytest.approx([-1.3, 0.8, -1.25, -0.5])
    assert clipped.tolist() == [True, True, False, False]


def test_k3_and_the_length_penalty_are_the_hand_worked_numbers() -> None:
    assert k3(torch.tensor(0.0), torch.tensor(math.log(2))).item() == pytest.approx(1 - math.log(2))
    taken = length_penalty(torch.tensor([6, 8, 10]), 10, 4, 1.0)
    assert taken.tolist() == pytest.approx([0.0, 0.5, 1.0])


# --- the method ------------------------------------------------------------------------------------------------------


def taste(policy: Chat) -> float:
    answers = policy.complete_many([one.prompt for one in alphabet.prompts()])
    return statistics.fmean(alphabet.likes(text) for text in answers)


def run_grpo(sft: Path, out: Path, settings: dict[str, Any] | None = None, **more: Any) -> Run:
    config = grpo_config(sft, ("test", SMALL), ("--set", settings or {}))
    return Run.open(grpo(config, sft, alphabet.prompts(), out, **more))


def test_an_adapted_policy_shares_its_frozen_base_with_the_reference(
    letters_sft: Path, tmp_path: Path
) -> None:
    settings = {"trainable": "lora", "lora": {"rank": 4}, "policy": {"lr_adam": 5e-4}, "train": {"steps": 30}}
    config = grpo_config(letters_sft, ("test", SMALL), ("--set", settings))
    nets = GRPO(prepare(config, letters_sft, alphabet.prompts())).nets
    assert nets.policy.adapter is not None
    assert nets.policy.adapter.base is nets.reference
    run = run_grpo(letters_sft, tmp_path / "grpo-1", settings)
    rows = run.read_metrics()
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert rows[0]["first_ratio_gap"] == 0.0
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.1
    assert [p.name for p in run.model_path.glob("*.safetensors")] == ["adapter_model.safetensors"]


@pytest.mark.parametrize("variant", ["grpo", "rloo", "dr_grpo", "dapo"])
def test_every_variant_learns_to_emit_b(letters_sft: Path, tmp_path: Path, variant: str) -> None:
    run = run_grpo(letters_sft, tmp_path / "grpo-1", {"variant": variant}, gold=taste)
    rows = run.read_metrics()
    assert [row["step"] for row in rows] == list(range(13))
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert rows[0]["first_ratio_gap"] == 0.0
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.2
    assert rows[0]["reward_function"] == pytest.approx(rows[0]["reward"], abs=0.2)
    numbers = (run.report or {})["numbers"]
    assert numbers["gold_chosen"] > max(0.5, numbers["gold_before"])
    assert run.manifest["reward_function"]["name"] == LIKES


def test_a_reward_model_and_a_function_are_weighted(
    letters_sft: Path, letters_reward: Path, tmp_path: Path
) -> None:
    settings = {"function_weight": 2.0, "model_weight": 0.5, "train": {"steps": 1}}
    run = run_grpo(letters_sft, tmp_path / "grpo-1", settings, reward_model=letters_reward)
    row = run.read_metrics()[0]
    assert row["reward"] == pytest.approx(2 * row["reward_function"] + 0.5 * row["reward_model"], abs=1e-4)
    assert run.manifest["reward_model"]["path"].endswith("reward-1/model")


def test_the_gradient_is_that_of_the_formula(letters_sft: Path) -> None:
    """On policy the ratio is 1, so the loss is -sum of weight · A, and its gradient that of -weight · A · log p."""
    config = grpo_config(letters_sft, ("test", SMALL), ("--set", {"minibatches": 1, "beta": 0.0}))
    learner = GRPO(prepare(config, letters_sft, alphabet.prompts()))
    learner.measure(0)
    learner.optimizer.zero_grad()
    (group,) = learner.minibatches
    found = gradient(
        learner.nets, group, learner.tables.trunks[0], learner.tables, learner.advantages, learner.config
    )
    weight = learner.nets.policy.blocks[0].mlp.up.weight
    assert weight.grad is not None
    got = weight.grad.clone()
    learner.optimizer.zero_grad()
    by_hand, total = 0.0, torch.tensor(0.0)
    lengths, R = learner.tables.mask.sum(dim=1), len(learner.advantages)
    for micro in group:
        logits = learner.nets.policy(micro.ids, **micro.where)[micro.state_row, micro.state_column]
        logp = logits.log_softmax(-1).gather(1, micro.actions[:, None])[:, 0]
        each = learner.advantages[micro.table_row] / (R * lengths[micro.table_row])
        total = total - (each * logp).sum()
        by_hand -= float(each.sum())
    total.backward()
    assert found["policy_loss"] == pytest.approx(by_hand, abs=1e-6)
    torch.testing.assert_close(got, weight.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("kl_in", "worth"), [("loss", 0.9 - 0.04 * 0.2), ("reward", 0.9 - 0.04 * 20.0)])
def test_checkpoints_are_compared_in_the_unit_in_which_beta_weighs_kl(
    letters_sft: Path, kl_in: str, worth: float
) -> None:
    """20 nats of an answer of 100 tokens are 0.2 a token. Of long answers the best checkpoint was always the start."""
    config = grpo_config(letters_sft, ("test", SMALL), ("--set", {"kl_in": kl_in}))
    learner = GRPO(prepare(config, letters_sft, alphabet.prompts()))
    assert learner.worth({"step": 0, "reward": 0.9, "kl": 20.0, "length": 100.0})[0] == pytest.approx(worth)


def test_groups_that_score_alike_are_replaced(letters_sft: Path, tmp_path: Path) -> None:
    """Half of the prompts have a constant reward; with `resample` fewer groups of the step teach nothing."""
    (tmp_path / "rules.py").write_text(
        "def score(prompt, completion, row):\n"
        "    return 1.0 if prompt[-1].content < 'y' else completion.count('b')\n"
    )
    shares = []
    for resample in (0, 8):
        config = grpo_config(
            letters_sft,
            ("test", SMALL),
            ("--set", {"reward_function": f"{tmp_path / 'rules.py'}:score", "resample": resample}),
        )
        _, scores, row = GRPO(prepare(config, letters_sft, alphabet.prompts())).groups(0)
        shares.append(float(equal_groups(scores, 8).float().mean()))
        assert row["share_equal_groups"] > 0
    assert shares[1] < shares[0]


# --- rewards ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["wanted", "answer"])
def test_the_rows_further_fields_reach_the_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """Also those of a file of questions with answers, which gives prompts."""
    (tmp_path / f"own_{field}.py").write_text(
        "def score(prompt, completion, row):\n"
        f"    return float(row['{field}'] == completion and prompt[-1].role == 'user')\n"
    )
    row = {"prompt": [{"role": "user", "content": "2+2?"}], field: "4"}
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    monkeypatch.chdir(tmp_path)
    function = RewardFunction.load(f"own_{field}:score")
    (prompt,) = load_prompts(tmp_path / "p.jsonl").records
    assert [function(prompt, "4"), function(prompt, "5")] == [1.0, 0.0]
    assert len(function.sha256) == 64


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("1 / 0", "raised ZeroDivisionError (division by zero)"),
        ("return float('nan')", "returned nan"),
        ("return 'good'", "raised ValueError"),
        ("return None", "raised TypeError"),
    ],
)
def test_a_function_that_fails_names_the_prompt_and_the_completion(
    tmp_path: Path, body: str, what: str
) -> None:
    (tmp_path / "bad.py").write_text(f"def score(prompt, completion, row):\n    {body}\n")
    function = RewardFunction.load(f"{tmp_path / 'bad.py'}:score")
    with pytest.raises(UsageError) as caught:
        function(Prompt(prompt=alphabet.user("Who is it?")), "The baker.")
    assert what in str(caught.value)
    assert "for the prompt 'Who is it?' and the completion 'The baker.'" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("rules", "write it as module:function"),
        ("no_such_module:score", "no_such_module cannot be imported (ModuleNotFoundError"),
        ("nowhere.py:score", "there is no file nowhere.py"),
        ("math:sqqrt", 'math has no function "sqqrt". Did you mean "sqrt"?'),
    ],
)
def test_a_function_that_is_not_there_is_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RewardFunction.load(name)
    assert sentence in str(caught.value)


def test_a_reward_is_needed_and_a_language_model_is_none(letters_sft: Path) -> None:
    config = grpo_config(letters_sft, ("test", {**SMALL, "reward_function": ""}))
    with pytest.raises(UsageError, match="grpo needs a reward: --set reward_function=module:function"):
        prepare(config, letters_sft, alphabet.prompts())
    with pytest.raises(ModelFolderError, match="is a language model, not a reward model"):
        prepare(config, letters_sft, alphabet.prompts(), reward_model=letters_sft)
