"""Stages on rows and models that cannot be used, long answers, little memory. Numbers: rows of issue 23, section 4."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import alphabet
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.training.tiny import RandomRows, new_run, next_token_loss, tiny_model

from ziggurat.cli.main import run as ziggurat
from ziggurat.errors import ConfigError, DataError
from ziggurat.model.config import ExpertsConfig, ModelConfig
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_model, load_scalar
from ziggurat.model.transformer import Transformer, set_compute_dtype
from ziggurat.records import Comparison, Demonstration, Message, Prompt, write_records
from ziggurat.runs import Run
from ziggurat.stages import losses, ppo_config, ppo_prepare, setup
from ziggurat.stages.comparison_batches import collate, render_comparisons, split_batch
from ziggurat.stages.losses import TokenBatch, split_rows
from ziggurat.stages.reward import ranking_loss, reward_config
from ziggurat.stages.rollouts import roll_out
from ziggurat.stages.sft import sft, sft_config
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training import TrainConfig, cost, train
from ziggurat.training.precision import Machine

TEMPLATE = ChatTemplate(alphabet.tokenizer())
CONTEXT = 32
LONG = "x" * 60
SFT: dict[str, Any] = {
    "batch_tokens": 128,
    "text_share": 0.0,
    "train": {"steps": 2, "dtype": "fp32", "threads": 1, "lr_adam": 1e-3, "optimizer": "adamw"},
}


def talk(question: str, answer: str = "ab") -> Demonstration:
    return Demonstration(messages=[*alphabet.user(question), Message(role="assistant", content=answer)])


def pair(question: str, answer: str = "ab") -> Comparison:
    return Comparison(
        id=question[:9], prompt=alphabet.user(question), completions=[answer, "c"], ranks=[1, 2]
    )


def write(path: Path, records: list[Any]) -> str:
    write_records(path, records)
    return str(path)


def sets(**values: Any) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]


# --- rows that cannot be used ----------------------------------------------------------------------------------------


def test_a_held_out_row_longer_than_the_context_is_left_out_before_step_1(
    letters_sft: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 28: every step was taken, then the run was refused."""
    held = write(tmp_path / "held.jsonl", [talk("x1?"), talk(LONG)])
    data = write(tmp_path / "data.jsonl", alphabet.demonstrations(20))
    command = ["sft", "--base", str(letters_sft), "--data", data, "--held-out", held]
    assert ziggurat([*command, "--dry-run", *sets(train__steps=2)]) == 0
    told = capsys.readouterr()
    assert (
        f"held-out demonstrations: 1 of 2 records left out: longer than 33 tokens (1); the first: {held} line 2"
        in (told.err)
    )
    write_records(Path(held), [talk(LONG)])
    assert ziggurat([*command, "--out", str(tmp_path / "t" / "sft-1"), *sets(train__steps=2)]) == 2
    assert "none of the 1 held-out demonstrations can be used" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()


def test_a_fault_in_the_last_evaluation_keeps_the_trained_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 28: no model was kept. --resume repeats the evaluation alone."""
    calls: list[int] = []

    def evaluate(model: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 1:
            raise DataError("the evaluation cannot read its data")
        return {"val_loss": 1.0}

    config = TrainConfig(steps=3, optimizer="adamw", dtype="fp32", threads=1)
    with new_run(tmp_path / "run") as run, pytest.raises(DataError):
        train(run, tiny_model(), RandomRows(), next_token_loss, config, evaluate=evaluate)
    assert [path.name for path in run.checkpoints()] == ["step-000003"]
    assert "The trained models are in" in capsys.readouterr().err
    with new_run(tmp_path / "run", resume=True) as run:
        result = train(
            run, tiny_model(), RandomRows(), next_token_loss, config, evaluate=evaluate, resume=True
        )
    assert result.steps == 3
    assert result.evaluation == {"val_loss": 1.0}
    assert [row["step"] for row in run.read_metrics()] == [0, 1, 2, 3]


def test_each_prompt_of_a_rollout_has_its_own_room(letters_sft: Path) -> None:
    """Row 29: one prompt of context - 1 tokens cut every completion of the step to one token."""
    model = load_model(letters_sft)
    short = [
        TEMPLATE.render(alphabet.user(q), add_generation_prompt=True).ids for q in alphabet.QUESTIONS[:15]
    ]
    full = [3] * (CONTEXT - 1)
    never: frozenset[int] = frozenset()
    made = roll_out(model, [*short, full], max_new_tokens=8, temperature=1.0, stop_ids=never, seed=1)
    assert [len(one.completion) for one in made] == [8] * 15 + [1]
    alone = roll_out(model, short, max_new_tokens=8, temperature=1.0, stop_ids=never, seed=1)
    assert [one.completion for one in alone] == [one.completion for one in made[:15]]


def test_an_over_long_row_is_left_out_counted_and_named_in_every_stage(
    letters_sft: Path, letters_reward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 30: one such row refused the whole run, and the number was of another list."""
    prompts = write(tmp_path / "p.jsonl", [Prompt(prompt=alphabet.user(q)) for q in ("x1?", LONG, "y2?")])
    pairs = write(tmp_path / "c.jsonl", [pair("x1?"), pair("x2?", "a" * 60), pair(LONG), pair("y2?")])
    sft_, reward_ = str(letters_sft), str(letters_reward)
    out = str(tmp_path / "out.jsonl")
    commands = {
        (prompts, 3): [
            ["sample", sft_, "--data", prompts, "--k", "2", "--max-tokens", "4", "--out", out],
            ["ppo", "--policy", sft_, "--reward", reward_, "--data", prompts, "--dry-run"],
            ["align", "--sft", sft_, "--data", prompts, "--comparisons", pairs, "--dry-run"],
            ["generate", sft_, "--file", prompts, "--max-tokens", "4", "--json"],
        ],
        (pairs, 4): [["reward", "--sft", sft_, "--data", pairs, "--held-out", pairs, "--dry-run"]],
    }
    for (file, count), given in commands.items():
        for command in given:
            assert ziggurat(command) == 0, command
            told = capsys.readouterr()
            assert f"of {count} records left out: longer than" in told.err, command
            assert f"{file} line 2: has " in told.err, command
            if command[0] == "generate":
                assert len(told.out.splitlines()) == 2
    assert len(Path(out).read_text().splitlines()) <= 2


def test_a_row_that_the_template_refuses_is_named_in_every_stage(
    letters_sft: Path, letters_reward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 33: with --skip-bad-rows it is left out, and the setting is kept for --resume."""
    folders = []
    for source in (letters_sft, letters_reward / "model"):
        folder = tmp_path / source.parent.name / source.name
        folder.mkdir(parents=True)
        for file in source.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        template = (folder / "chat_template.jinja").read_text()
        strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        (folder / "chat_template.jinja").write_text(strict + template)
        folders.append(str(folder))
    system = Message(role="system", content="abc")
    prompts = write(
        tmp_path / "p.jsonl",
        [Prompt(prompt=alphabet.user("x1?")), Prompt(prompt=[system, *alphabet.user("y1?")])],
    )
    refused = pair("y3?").model_copy(update={"prompt": [system, *alphabet.user("y3?")]})
    pairs = write(tmp_path / "c.jsonl", [pair("x1?"), refused, pair("z1?")])
    sft_, reward_ = folders
    for command, given in (
        (["sample", sft_, "--data", prompts, "--k", "2", "--out", str(tmp_path / "o")], prompts),
        (["ppo", "--policy", sft_, "--reward", reward_, "--data", prompts, "--dry-run"], prompts),
        (["align", "--sft", sft_, "--data", prompts, "--dry-run"], prompts),
        (["generate", sft_, "--file", prompts, "--max-tokens", "4"], prompts),
        (["reward", "--sft", sft_, "--data", pairs, "--dry-run"], pairs),
    ):
        assert ziggurat(command) == 2, command
        told = capsys.readouterr().err
        assert f"{given} line 2: the chat template refuses a conversation of system, user" in told, command
        assert "--skip-bad-rows" in told
        assert ziggurat([*command, "--skip-bad-rows"]) == 0, command
        told = capsys.readouterr().err
        assert "left out: refused by the chat template (1)" in told, command


def test_tools_of_comparisons_reach_the_prompts_that_set_the_unit_of_rewards(letters_sft: Path) -> None:
    """Row 27, in the calibration of stage 3: prompts were rendered without their tools."""
    from ziggurat.stages.reward import prepare

    seen: list[Any] = []

    class Spy(ChatTemplate):
        def try_many(self, conversations: Any, **more: Any) -> Any:
            seen.extend(tools for _, tools in conversations if more.get("add_generation_prompt"))
            without = [
                (messages, None) for messages, _ in conversations
            ]  # the letters have no characters for tools
            return super().try_many(without, **more)

    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    given = [one.model_copy(update={"tools": tools}) for one in alphabet.comparisons(4)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ziggurat.stages.start.ChatTemplate", Spy)
        prepare(reward_config(letters_sft), letters_sft, given)
    assert seen
    assert all(one == tools for one in seen)


# --- model folders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [("bin", "pytorch_model.bin"), ("fp8", "F8_E4M3"), ("nan", "not finite")],
)
def test_a_dry_run_refuses_a_folder_that_cannot_be_loaded(
    fault: str,
    sentence: str,
    letters_sft: Path,
    letters_reward: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Row 38: such a folder passed, as the base of each stage and as each of PPO's networks."""

    def broken(source: Path) -> str:
        folder = tmp_path / f"{source.parent.name}-{source.name}"
        folder.mkdir()
        for file in source.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        weights = folder / "model.safetensors"
        tensors = load_file(weights)
        name = next(key for key in sorted(tensors) if "mlp" in key)
        if fault == "bin":
            weights.rename(folder / "pytorch_model.bin")
            return str(folder)
        if fault == "fp8":
            tensors[name] = tensors[name].to(torch.float8_e4m3fn)
        else:
            tensors[name].view(-1)[3] = float("nan")
        save_file(tensors, weights, metadata={"format": "pt"})
        return str(folder)

    good, scorer = str(letters_sft), str(letters_reward)
    bad, bad_scorer = broken(letters_sft), broken(letters_reward / "model")
    talks = write(tmp_path / "d.jsonl", alphabet.demonstrations(4))
    pairs = write(tmp_path / "c.jsonl", alphabet.comparisons(4))
    prompts = write(tmp_path / "p.jsonl", alphabet.prompts())
    text = write(tmp_path / "t.jsonl", alphabet.documents())
    ppo = ["ppo", "--data", prompts]
    for command in (
        ["pretrain", "--base", bad, "--data", text, *sets(context=16)],
        ["sft", "--base", bad, "--data", talks],
        ["reward", "--sft", bad, "--data", pairs],
        ["align", "--sft", bad, "--data", prompts],
        [*ppo, "--policy", bad, "--reward", scorer],
        [*ppo, "--policy", good, "--reward", bad_scorer],
        [*ppo, "--policy", good, "--reward", scorer, "--reference", bad],
    ):
        assert ziggurat([*command, "--dry-run"]) == 2, command
        told = capsys.readouterr().err
        assert sentence in told, command
        assert told.count("Error: ") == 1


# --- memory and time -------------------------------------------------------------------------------------------------


def gradient(model: torch.nn.Module, pieces: list[Any], loss: Any) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    total = 0.0
    for piece in pieces:
        part, _ = loss(model, piece)
        part.backward()
        total += float(part.detach())
    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return total, torch.cat(grads)


def test_a_microbatch_holds_no_more_tokens_than_the_budget_and_changes_nothing(letters_sft: Path) -> None:
    """Row 39a: 32 rows were padded to the longest and computed at once."""
    _, ranked = render_comparisons(
        [pair("x1?", "abcdabcdabcdabcd"), *alphabet.comparisons(9)], TEMPLATE, CONTEXT
    )
    model = RewardModel(load_model(letters_sft))
    torch.nn.init.normal_(model.head.weight)
    whole = collate(ranked, 1, torch.device("cpu"))
    pieces = split_batch(whole, 1, 60)
    sizes = [piece.ids.numel() for piece in pieces]
    assert all(size <= 60 for piece, size in zip(pieces, sizes, strict=True) if len(piece.ranks) > 1)
    assert [ranks for piece in pieces for ranks in piece.ranks] == whole.ranks
    assert sum(sizes) < whole.ids.numel() / 2, "pieces are padded to their own longest row"
    expected, got = gradient(model, [whole], ranking_loss), gradient(model, pieces, ranking_loss)
    assert got[0] == pytest.approx(expected[0], rel=1e-5)
    assert torch.allclose(got[1], expected[1], atol=1e-5)

    text = TokenBatch(torch.randint(3, 20, (7, 10)), torch.randint(3, 20, (7, 10)))
    assert [piece.inputs.shape for piece in split_rows(text, 1, 25)] == [(2, 10)] * 3 + [(1, 10)]
    assert [piece.inputs.shape for piece in split_rows(text, 1, 5)] == [(1, 10)] * 7
    assert split_rows(text, 1, 70) == [text]
    expected = gradient(model.body, [text], losses.batch_loss)
    got = gradient(model.body, split_rows(text, 1, 25), losses.batch_loss)
    assert torch.allclose(got[1], expected[1], atol=1e-4)


SHAPES = {
    "llama": ModelConfig(
        layers=2,
        d_model=96,
        heads=6,
        kv_heads=2,
        d_head=16,
        d_ff=256,
        vocab_size=64,
        context=128,
        qk_norm=False,
    ),
    "qwen3": ModelConfig(
        layers=2, d_model=64, heads=4, kv_heads=4, d_head=16, d_ff=192, vocab_size=64, context=128
    ),
    "experts": ModelConfig(
        layers=2,
        d_model=64,
        heads=4,
        kv_heads=4,
        d_head=16,
        d_ff=192,
        vocab_size=64,
        context=128,
        experts=ExpertsConfig(count=6, active=2, d_ff=96, dense_layers=(0,)),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_estimate_of_activations_is_what_the_blocks_keep(shape: str) -> None:
    """Row 39a: storages that autograd keeps for the backward pass, parameters left out, against the formula."""
    config = SHAPES[shape]
    model = load_accelerated(config)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def kept(rows: int) -> int:
        seen: dict[int, int] = {}
        tensors: list[torch.Tensor] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                seen[storage.data_ptr()] = storage.nbytes()
                tensors.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.hidden(torch.zeros(rows, 64, dtype=torch.long))
        return sum(seen.values())

    measured = (kept(8) - kept(4)) / (4 * 64)
    assert config.layers * cost.kept_elements(config) * 4 == pytest.approx(measured, rel=0.12)


def load_accelerated(config: ModelConfig) -> Transformer:
    from ziggurat.model.cpu import accelerate

    model = Transformer(config)
    model.init_weights(0, quiet=True)
    set_compute_dtype(accelerate(model), torch.float32)
    return model


MODEL135M = ModelConfig(
    layers=30,
    d_model=576,
    heads=9,
    kv_heads=3,
    d_head=64,
    d_ff=1536,
    vocab_size=49_152,
    context=2048,
    qk_norm=False,
)


def test_a_microbatch_of_a_135m_model_fits_in_8_gib() -> None:
    """Row 39a: 32 rows of 1,266 tokens took 23 GiB."""
    tokens = cost.microbatch_tokens(MODEL135M)
    assert 1024 <= tokens <= 4096
    config = TrainConfig(optimizer="adamw", dtype="fp32")
    now = cost.Cost(cost.trained_memory(MODEL135M, config, max(tokens, 2 * 1266), logits=0, dtype="fp32"))
    before = cost.Cost(cost.trained_memory(MODEL135M, config, 32 * 1266, logits=0, dtype="fp32"))
    assert now.bytes < 7 * 2**30
    assert before.bytes > 20 * 2**30


def test_a_run_that_does_not_fit_in_memory_is_refused_before_it_begins(
    letters_sft: Path,
    letters_reward: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row 39a: the system killed the process without a word."""
    talks = write(tmp_path / "d.jsonl", alphabet.demonstrations(4))
    pairs = write(tmp_path / "c.jsonl", alphabet.comparisons(4))
    prompts = write(tmp_path / "p.jsonl", alphabet.prompts())
    text = write(tmp_path / "t.jsonl", alphabet.documents())
    base, scorer, out = str(letters_sft), str(letters_reward), str(tmp_path / "t" / "run-1")
    commands = [
        ["pretrain", "--data", text, *sets(model="tiny", tokenizer="characters", context=16)],
        ["sft", "--base", base, "--data", talks],
        ["reward", "--sft", base, "--data", pairs],
        ["ppo", "--policy", base, "--reward", scorer, "--data", prompts],
        ["align", "--sft", base, "--data", prompts],
    ]
    speed = Machine(50.0, 80.0, 10.0, 2)
    monkeypatch.setattr("ziggurat.training.precision.measure_machine", lambda **_: speed)
    for command in commands:
        assert ziggurat([*command, "--dry-run"]) == 0, command
        told = capsys.readouterr().out
        assert "time of a step" in told, command
        assert "GiB are available" in " ".join(told.split()), command
    monkeypatch.setattr(cost, "free_memory_bytes", lambda _: 1000)
    for command in commands:
        assert ziggurat([*command, "--out", out]) == 2, command
        told = capsys.readouterr().err
        assert re.search(rf"{command[0]} needs about \d\.\d GiB of memory", " ".join(told.split())), told
        assert "train.allow_low_memory=true" in told
        assert not Path(out).exists()
    assert ziggurat([*commands[1], "--out", out, *sets(train__allow_low_memory=True, train__steps=1)]) == 0


def test_the_time_of_a_step_follows_from_its_flops_and_the_measured_speed() -> None:
    """1e9 FLOPs at 10 GFLOP/s and 35 % of it: 0.286 s; 5 GB at 10 GB/s: 0.5 s."""
    machine = Machine(gflops_fp32=10.0, gflops_bf16=10.0, gb_per_s=10.0, threads=2)
    assert cost.Cost({}, 1e9, 5e9, steps=3).step_s(machine) == pytest.approx(0.1 / 0.35 + 0.5)


def test_a_foreign_models_new_head_learns_at_its_own_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 39a: at the body's 2e-5 the loss stayed 0.693. AdamW moves each weight by about its rate in each step."""
    folder = alphabet.make_policy(tmp_path / "foreign", steps=20)
    data = write(tmp_path / "c.jsonl", alphabet.comparisons(400))
    out = tmp_path / "t" / "reward-1"
    command = ["reward", "--sft", str(folder), "--data", data, "--out", str(out)]
    assert ziggurat([*command, *sets(train__threads=1, train__dtype="fp32", train__steps=40)]) == 0
    told = capsys.readouterr().err
    assert re.search(r"train.lr_head +0.001 +inherited", told)
    assert "AdamW lr 2e-05 and 0.001 for" in told
    model, before = load_scalar(out / "model"), load_model(folder)
    moved = max(
        float((a - b).detach().abs().max())
        for a, b in zip(model.body.parameters(), before.parameters(), strict=True)
    )
    assert 0 < moved <= 40 * 2e-5 * 1.5
    assert 0.01 < float(model.head.weight.detach().abs().max()) <= 40 * 1e-3 * 1.5


# --- long answers and large models -----------------------------------------------------------------------------------


def test_the_longest_completion_is_computed_from_measured_answers(
    letters_sft: Path, letters_reward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 39b: answers were cut at 64 tokens. Ours have 5 at most (4 letters and the end): 1.25 × 5 up to 16."""
    prompts = write(tmp_path / "p.jsonl", alphabet.prompts())
    assert Run.open(letters_reward).manifest["answer_tokens"] == 5
    command = ["ppo", "--policy", str(letters_sft), "--data", prompts, "--dry-run"]
    assert ziggurat([*command, "--reward", str(letters_reward)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "longest completion" in told
    assert "95 % of the answers that stage reward learned from are no longer" in told
    resolved = ppo_config.ppo_config(letters_sft)
    ready = ppo_prepare.prepare(resolved, letters_sft, letters_reward, alphabet.prompts())
    assert resolved.config.max_new_tokens == -1
    assert ready.config.max_new_tokens == 16
    assert "max_new_tokens: 16" in ready.resolved.to_yaml()


def test_where_no_lineage_knows_the_length_of_answers_the_model_answers_some_prompts(
    letters_sft: Path, letters_reward: Path
) -> None:
    """Row 39b, two folders from elsewhere: both without a run around them."""
    ready = ppo_prepare.prepare(
        ppo_config.ppo_config(letters_sft), letters_sft, letters_sft_reward(letters_sft), alphabet.prompts()
    )
    assert 1 <= ready.config.max_new_tokens <= CONTEXT // 2
    (line,) = [d for d in ready.derived if d.name == "longest completion"]
    assert "24 sampled answers" in line.why or "30 sampled answers" in line.why


def letters_sft_reward(letters_sft: Path) -> Path:
    """A reward model without a run: the stage-2 model with a new head."""
    from ziggurat.model.hub import save_scalar

    folder = letters_sft.parent / "scorer"
    if not folder.exists():
        save_scalar(RewardModel(load_model(letters_sft)), folder, alphabet.tokenizer())
    return folder


def test_a_large_policy_gets_a_still_critic_body_and_few_trained_blocks(
    letters_sft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 39b: by the number of parameters; the reason is the source of each value, and --set wins."""
    assert ppo_config.ppo_config(letters_sft).config.critic.trainable == "all"
    monkeypatch.setattr(setup, "LARGE_PARAMETERS", 10_000)
    resolved = ppo_config.ppo_config(letters_sft, ("--set", {"rollouts_per_step": 8}))
    config = resolved.config
    assert (config.policy.trainable, config.critic.trainable) == ("last:2", "head")
    assert "parameters, above 10" in resolved.source("critic.trainable")
    assert (config.rollouts_per_step, resolved.source("rollouts_per_step")) == (8, "--set")


# --- spikes ----------------------------------------------------------------------------------------------------------


def test_a_spike_in_sft_goes_back_and_skips_its_batch(
    letters_sft: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A031: one batch whose loss is a thousand times the others', through the stage."""
    plain, seen = losses.batch_loss, list[int]()

    def poisoned(model: Any, batch: TokenBatch) -> Any:
        loss, count = plain(model, batch)
        key = int(batch.inputs.sum())
        seen.append(key)
        return (
            (loss * 1000, count) if key == seen[min(12, len(seen) - 1)] and len(seen) > 12 else (loss, count)
        )

    monkeypatch.setattr("ziggurat.stages.sft.batch_loss", poisoned)
    changes = {**SFT["train"], "steps": 20, "checkpoint_every_steps": 4, "spike_factor": 10.0}
    out = sft(
        sft_config(letters_sft, ("--set", {**SFT, "train": changes, "held_out_share": 0.0})),
        letters_sft,
        alphabet.demonstrations(300),
        tmp_path / "t" / "sft-1",
    )
    told = capsys.readouterr().err
    assert "step 13" in told
    rows = Run.open(out).read_metrics()
    assert [row["step"] for row in rows] == list(range(21))
    assert max(row["loss"] for row in rows) < 100
    state = json.loads((Run.open(out).checkpoints()[-1] / "state.json").read_text())
    assert state["extra"]["learner"]["skipped"] == [12]


def test_ppo_refuses_spike_factor_in_one_sentence(
    letters_sft: Path, letters_reward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A031: PPO's updates are several optimizer steps on rollouts that cannot be drawn again."""
    prompts = write(tmp_path / "p.jsonl", alphabet.prompts())
    command = [
        "ppo",
        "--policy",
        str(letters_sft),
        "--reward",
        str(letters_reward),
        "--data",
        prompts,
        "--dry-run",
    ]
    assert ziggurat([*command, *sets(train__spike_factor=3)]) == 2
    assert (
        "train.spike_factor is not for PPO, which the doctor watches; set it to 0" in capsys.readouterr().err
    )


def test_a_setting_below_one_token_is_refused(letters_sft: Path) -> None:
    with pytest.raises(ConfigError, match="max_new_tokens is 0; give at least 1, or -1"):
        ppo_config.ppo_config(letters_sft, ("--set", {"max_new_tokens": 0}))
