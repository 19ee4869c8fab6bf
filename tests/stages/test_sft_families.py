"""Stage 2 on models from elsewhere, whose tokenizers have merges: what is trained, saved and said agree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.needs import needs
from tests.tokenizer.styles import STYLES, make

from ziggurat.cli.main import run
from ziggurat.corpus.pack import cut
from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import DataError
from ziggurat.places import model_folder
from ziggurat.records import Demonstration, Document, Message, Prompt
from ziggurat.stages import pretrain_config as pretrain
from ziggurat.stages.align import align_config
from ziggurat.stages.align import prepare as prepare_align
from ziggurat.stages.ppo_config import PPOConfig, _ptx_rows, ppo_config
from ziggurat.stages.pretrain_config import pretrain_config
from ziggurat.stages.reward_config import reward_config
from ziggurat.stages.sft import prepare as prepare_sft
from ziggurat.stages.sft import sft, sft_config
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate

ANSWERS = {"Is it so?": "Yes", "How far?": "Two miles.", "Hello": "Hello user"}
FAST = {
    "row_tokens": 48,
    "batch_tokens": 192,
    "held_out_share": 0.0,
    "train": {"steps": 60, "lr_adam": 0.01, "threads": 1, "dtype": "fp32", "eval_every_steps": 0},
}


def rows() -> list[Demonstration]:
    return [
        Demonstration(
            messages=[Message(role="user", content=q), Message(role="assistant", content=a)], source=str(n)
        )
        for n in range(4)
        for q, a in ANSWERS.items()
    ]


def base(folder: Path, style: str) -> Path:
    """A tiny LLaMA with random weights, in the style of a family."""
    transformers = needs("transformers")
    make(folder, STYLES[style])
    tokenizer = Tokenizer.load(folder)
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
        eos_token_id=tokenizer.endoftext_id, bos_token_id=tokenizer.bos_id,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("style", ["plain", "plain first", "llama2", "mistral first", "chatml"])
def test_what_was_trained_is_what_is_said(style: str, tmp_path: Path) -> None:
    """Row 20: exact match was 1 and the answer empty, because the first token was not trained. Row 32: the template."""
    folder = base(tmp_path / "base", style)
    path = sft(sft_config(folder, ("--set", FAST)), folder, rows(), tmp_path / "t" / "sft-1")
    model = Chat.load(path)
    asked = [[Message(role="user", content=question)] for question in ANSWERS]
    template = ChatTemplate(Tokenizer.load(model_folder(path)))
    assert not template.is_plain
    prompts = [template.render(messages, add_generation_prompt=True).ids for messages in asked]
    assert [model.prompt_ids(messages) for messages in asked] == prompts
    for bos in template.tokenizer.added_start:  # row 18d
        assert all(ids[0] == bos and ids.count(bos) == 1 for ids in prompts)
    told = model.complete_many(asked, SamplingParams(temperature=0.0, max_tokens=8))
    assert [text.strip() for text in told] == list(ANSWERS.values())
    theirs = needs("transformers").AutoTokenizer.from_pretrained(model_folder(path))
    plain = [[message.to_json() for message in messages] for messages in asked]
    assert [
        theirs.apply_chat_template(one, add_generation_prompt=True, return_dict=False) for one in plain
    ] == prompts


def write(path: Path, *conversations: list[dict[str, object]]) -> Path:
    path.write_text("\n".join(json.dumps({"messages": messages}) for messages in conversations))
    return path


def test_a_row_that_the_template_refuses_is_named_and_can_be_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 33: one system row stopped the run, and no row was named."""
    folder = base(tmp_path / "base", "llama2")
    good: list[dict[str, object]] = [
        {"role": "user", "content": "So?"},
        {"role": "assistant", "content": "Yes"},
    ]
    file = write(tmp_path / "rows.jsonl", good, [{"role": "system", "content": "s"}, *good], good)
    command = ["eval", str(folder), "--demonstrations", str(file), "--json"]
    assert run(command) == 2
    told = capsys.readouterr()
    assert (
        "rows.jsonl line 2: the chat template refuses a conversation of system, user, assistant" in told.err
    )
    assert "--skip-bad-rows" in told.err
    assert not told.out
    assert run([*command, "--skip-bad-rows"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["demonstrations"]["left_out"] == 1
    assert "1 of 3 records left out: refused by the chat template (1); the first: " in told.err
    assert "rows.jsonl line 2" in told.err
    with pytest.raises(DataError, match="demonstration 1: the chat template refuses"):
        sft(
            sft_config(folder, ("--set", FAST)),
            folder,
            [
                Demonstration(
                    messages=[Message(role="system", content="s"), *rows()[0].messages], source="x"
                ),
                *rows(),
            ],
            tmp_path / "t" / "sft-1",
        )


def test_a_row_that_is_too_long_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Row 30, in `eval`."""
    folder = base(tmp_path / "base", "chatml")
    good: list[dict[str, object]] = [
        {"role": "user", "content": "So?"},
        {"role": "assistant", "content": "Yes"},
    ]
    long: list[dict[str, object]] = [good[0], {"role": "assistant", "content": "x " * 200}]
    file = write(tmp_path / "rows.jsonl", good, long)
    assert run(["eval", str(folder), "--demonstrations", str(file), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["demonstrations"]["left_out"] == 1
    assert f"{file} line 2: has " in told.err


def test_answers_that_all_have_weight_0_are_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 39: "none fits a row" was said, whatever the length."""
    folder = base(tmp_path / "base", "chatml")
    untrained: list[dict[str, object]] = [
        {"role": "user", "content": "So?"},
        {"role": "assistant", "content": "Yes", "weight": 0},
    ]
    file = write(tmp_path / "rows.jsonl", untrained, untrained)
    assert run(["eval", str(folder), "--demonstrations", str(file)]) == 2
    assert "every assistant message has weight 0" in capsys.readouterr().err
    assert run(["sft", "--base", str(folder), "--data", str(file), "--out", str(tmp_path / "run")]) == 2
    assert "every assistant message has weight 0" in capsys.readouterr().err


@pytest.mark.parametrize("style", ["llama2", "chatml"])
def test_documents_are_packed_as_the_source_begins_them(style: str, tmp_path: Path) -> None:
    """Row 18d, in stage 1, in the text of stage 2 and in PPO's: each document is what the source's tokenizer makes of
    it, with bos in front for LLaMA's kin, and ended by the token that ends documents."""
    folder = base(tmp_path / "base", style)
    source = needs("transformers").AutoTokenizer.from_pretrained(folder)
    tokenizer = Tokenizer.load(folder)
    documents = [Document(text=f"Yes Two No {'it is. ' * n}") for n in range(12)]
    stream = [id for d in documents for id in (*source(d.text)["input_ids"], tokenizer.endoftext_id)]
    expected = cut(np.asarray(stream, dtype=np.int32), 16).tolist()
    assert (tokenizer.bos_id in stream) == (style == "llama2")
    layer = ("--set", {"context": 16, "held_out_share": 0.0, "train": {"steps": 1, "threads": 1}})
    assert pretrain.prepare(pretrain_config(folder, layer), documents).rows.tolist() == expected
    fast = ("--set", FAST | {"row_tokens": 16})
    ready = prepare_sft(sft_config(folder, fast), folder, rows(), text=documents, held_out_text=[])
    assert ready.batches._text is not None
    assert ready.batches._text.rows.tolist() == expected
    config = PPOConfig(ptx_weight=1.0, ptx_row_tokens=16)
    ptx = _ptx_rows(config, tokenizer, documents, 64)
    assert ptx is not None
    assert ptx.tolist() == expected


def thinking(question: str = "So?") -> Demonstration:
    answer = Message(role="assistant", content="Yes.", reasoning="Is it so? It is.")
    return Demonstration(messages=[Message(role="user", content=question), answer])


@pytest.mark.parametrize("switch", ["trained", "shown", "hidden"])
def test_a_setting_of_each_stage_decides_whether_reasoning_is_trained(switch: str, tmp_path: Path) -> None:
    """Row 21: reasoning is data, and a switch decides."""
    folder = base(tmp_path / "base", "qwen3")
    given = ("--set", FAST | {"reasoning": switch})
    ready = prepare_sft(sft_config(folder, given), folder, [thinking(str(n)) for n in range(8)])
    (one,) = ready.template.render_many([thinking().messages])
    decode = ready.tokenizer.decode
    trained = decode([id for id, flag in zip(one.ids, one.mask, strict=True) if flag], skip_special=False)
    assert ("It is." in decode(one.ids)) == (switch != "hidden")
    assert ("It is." in trained) == (switch == "trained")
    assert trained.endswith("Yes.<|im_end|>")
    assert ready.config.reasoning == switch


def test_the_switch_is_inherited_and_every_reader_of_the_model_follows_it(tmp_path: Path) -> None:
    folder = base(tmp_path / "base", "qwen3")
    settings = {**FAST, "reasoning": "hidden", "train": {**FAST["train"], "steps": 1}}
    path = sft(sft_config(folder, ("--set", settings)), folder, [thinking()] * 8, tmp_path / "t" / "sft-1")
    for resolved in (sft_config(path), reward_config(path), ppo_config(path), align_config(path)):
        assert (resolved.config.reasoning, resolved.source("reasoning")) == ("hidden", "inherited")
    again = sft_config(path, ("--set", {"reasoning": "shown"}))
    assert (again.config.reasoning, again.source("reasoning")) == ("shown", "--set")
    assert sft_config(folder).source("reasoning") == "default"
    asked = [*thinking().messages, Message(role="user", content="Sure?")]
    chat = Chat.load(path)
    assert "It is." not in chat.tokenizer.decode(chat.template.render(asked[:2]).ids)
    assert "It is." in chat.tokenizer.decode(Chat.load(folder).template.render(asked[:2]).ids)


def test_the_switch_of_align_reaches_its_stages(tmp_path: Path) -> None:
    folder = base(tmp_path / "base", "qwen3")
    prompts = [Prompt(prompt=[Message(role="user", content=f"So {n}?")]) for n in range(4)]
    layers = {"reasoning": "hidden", "max_new_tokens": 4, "reward": {"reasoning": "shown"}}
    ready = prepare_align(align_config(folder, ("--set", layers)), folder, prompts)
    found = [ready.config.reasoning, ready.config.reward.reasoning, ready.config.ppo.reasoning]
    assert found == ["hidden", "shown", "hidden"]
