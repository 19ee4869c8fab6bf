"""Templates of known families, with tokenizers that have merges: prompts, masks, stops, reasoning, begin tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.needs import needs
from tests.tokenizer.styles import STYLES, make

from ziggurat.errors import DataError, UsageError
from ziggurat.records import Demonstration, Message
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.rendering import render_all
from ziggurat.tokenizer.template import ChatTemplate, Rendered

WORDS = st.sampled_from(
    [
        "Yes",
        " Yes",
        "Two",
        " it is.",
        "\n",
        "\n\n",
        " ",
        "多远",
        "<think>",
        "</s>",
        "<|im_end|>",
        "é",
        "[/INST]",
        "x",
    ]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=6).map("".join).filter(str.strip)


@pytest.fixture(scope="module", name="folders")
def _folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp("style"), style) for name, style in STYLES.items()}


@pytest.fixture(scope="module", name="templates")
def _templates(folders: dict[str, Path]) -> dict[str, ChatTemplate]:
    return {name: ChatTemplate(Tokenizer.load(folder)) for name, folder in folders.items()}


def said(*texts: str) -> list[Message]:
    """Turns of the user and the assistant in turn."""
    return [
        Message(role="assistant" if number % 2 else "user", content=text) for number, text in enumerate(texts)
    ]


def trained(template: ChatTemplate, rendered: Rendered) -> str:
    ids = [id for id, mask in zip(rendered.ids, rendered.mask, strict=True) if mask]
    return template.tokenizer.decode(ids, skip_special=False)


def theirs(folder: Path, messages: list[Message], **options: Any) -> list[int]:
    tokenizer = needs("transformers").AutoTokenizer.from_pretrained(folder)
    rows = [message.to_json() for message in messages]
    ids: list[int] = tokenizer.apply_chat_template(rows, return_dict=False, **options)
    return ids


@pytest.mark.parametrize("name", STYLES)
@settings(max_examples=25, deadline=None)
@given(texts=st.lists(TEXTS, min_size=4, max_size=4))
def test_a_prompt_is_the_beginning_of_what_is_trained(
    name: str, texts: list[str], templates: dict[str, ChatTemplate]
) -> None:
    """Row 20: for every template and every text, and the answer with its end is trained from its first character on."""
    template, messages = templates[name], said(*texts)
    prompt = template.render(messages[:-1], add_generation_prompt=True).ids
    whole = template.render(messages)
    assert whole.ids[: len(prompt)] == prompt
    assert whole.starts[-1] == len(prompt)
    assert all(whole.mask[len(prompt) : len(prompt) + 1])
    last = [id for id, mask in zip(whole.ids[len(prompt) :], whole.mask[len(prompt) :], strict=True) if mask]
    answer = texts[-1].split("</think>")[-1].strip()
    assert answer in template.tokenizer.decode(last, skip_special=False)
    assert last[-1] in template.stop_ids


@pytest.mark.parametrize("name", ["plain", "llama2", "llama2 prepend", "mistral first", "mistral always"])
def test_the_first_token_of_an_answer_is_trained(name: str, templates: dict[str, ChatTemplate]) -> None:
    """Row 20: " Two" is one token that begins in the template's space; with another space it was left untrained."""
    template = templates[name]
    rendered = template.render(said("Is it so?", "Two"))
    first = rendered.mask.index(True)
    assert b"Two".startswith(template.tokenizer.token_bytes(rendered.ids[first]).strip() or b"-")
    assert trained(template, rendered).strip().startswith("Two")


@pytest.mark.parametrize("name", [name for name in STYLES if STYLES[name].template])
def test_ids_are_those_of_transformers(
    name: str, templates: dict[str, ChatTemplate], folders: dict[str, Path]
) -> None:
    """Rows 18c, 20 and 21: also with `{% generation %}`, and whatever way the vocabulary writes spaces."""
    messages = said("Is it so?", "Yes, it is.\nTwo", " How far? ", "Two miles.", "多远？")
    for given_messages, generate in ((messages, True), (messages[:4], False), (messages[:2], False)):
        expected = theirs(folders[name], given_messages, add_generation_prompt=generate)
        assert templates[name].render(given_messages, add_generation_prompt=generate).ids == expected


@pytest.mark.parametrize("name", ["qwen3", "r1"])
@pytest.mark.parametrize("form", ["field", "tags"])
def test_reasoning_is_rendered_as_transformers_renders_it(
    name: str, form: str, templates: dict[str, ChatTemplate], folders: dict[str, Path]
) -> None:
    """Row 21: blocks are not doubled, and both templates cut the think blocks of earlier turns."""
    thinking = [
        Message(role="assistant", content="Yes.", reasoning="Is it?\nIt is.")
        if form == "field"
        else Message(role="assistant", content="<think>\nIs it?\nIt is.\n</think>\n\nYes.")
    ]
    messages = [*said("So?"), *thinking, *said("Sure?"), *thinking]
    for given_messages, generate in ((messages, False), (messages[:3], True), (messages[:2], False)):
        expected = theirs(folders[name], given_messages, add_generation_prompt=generate)
        assert templates[name].render(given_messages, add_generation_prompt=generate).ids == expected


def test_a_switch_decides_whether_reasoning_is_trained(folders: dict[str, Path]) -> None:
    """Row 21."""
    tokenizer = Tokenizer.load(folders["qwen3"])
    messages = [*said("So?"), Message(role="assistant", content="Yes.", reasoning="It is.")]
    found = {
        switch: trained(template, template.render(messages))
        for switch in ("trained", "shown", "hidden")
        for template in [ChatTemplate(tokenizer, reasoning=switch)]
    }
    assert found["trained"] == "<think>\nIt is.\n</think>\n\nYes.<|im_end|>"
    assert found["shown"] == found["hidden"] == "Yes.<|im_end|>"
    shown = ChatTemplate(tokenizer, reasoning="shown").render(messages).ids
    hidden = ChatTemplate(tokenizer, reasoning="hidden").render(messages).ids
    assert "It is." in tokenizer.decode(shown)
    assert "It is." not in tokenizer.decode(hidden)


def test_a_template_without_reasoning_gets_it_in_the_text(folders: dict[str, Path]) -> None:
    """Row 21: nothing is dropped."""
    tokenizer = Tokenizer.load(folders["chatml"])
    messages = [*said("So?"), Message(role="assistant", content="Yes.", reasoning="It is.")]
    template = ChatTemplate(tokenizer)
    assert trained(template, template.render(messages)) == "<think>\nIt is.\n</think>\n\nYes.<|im_end|>"
    shown = ChatTemplate(tokenizer, reasoning="shown")
    assert trained(shown, shown.render(messages)).strip() == "Yes.<|im_end|>"


@pytest.mark.parametrize("thinking", [True, False])
def test_template_kwargs_reach_the_template(
    thinking: bool, templates: dict[str, ChatTemplate], folders: dict[str, Path]
) -> None:
    """Row 18c."""
    expected = theirs(folders["qwen3"], said("So?"), add_generation_prompt=True, enable_thinking=thinking)
    given_kwargs = {"enable_thinking": thinking}
    prompt = (
        templates["qwen3"].render(said("So?"), add_generation_prompt=True, template_kwargs=given_kwargs).ids
    )
    assert prompt == expected
    assert (
        ChatTemplate(templates["qwen3"].tokenizer, template_kwargs=given_kwargs)
        .render(said("So?"), add_generation_prompt=True)
        .ids
        == expected
    )
    whole = templates["qwen3"].render(said("So?", "Yes"), template_kwargs=given_kwargs)
    assert whole.ids[: len(prompt)] == prompt


def test_template_kwargs_forge_nothing(templates: dict[str, ChatTemplate]) -> None:
    """A variable cannot become a special token, nor take the place of the messages."""
    template = ChatTemplate(
        templates["chatml"].tokenizer,
        "{{ note }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
    )
    ids = template.render(said("x"), template_kwargs={"note": "a<|im_end|>"}).ids
    assert ids.count(template.tokenizer.id_of("<|im_end|>") or -1) == 1
    with pytest.raises(UsageError, match="'messages'"):
        template.render(said("x"), template_kwargs={"messages": []})


def test_only_ends_stop(templates: dict[str, ChatTemplate]) -> None:
    """Row 21: <think> follows the generation prompt in Qwen 3's template and ends nothing."""
    names = {
        name: sorted(map(template.tokenizer.piece, template.stop_ids)) for name, template in templates.items()
    }
    assert names["qwen3"] == names["qwen2.5"] == names["chatml"] == ["<|endoftext|>", "<|im_end|>"]
    assert names["r1"] == names["llama2"] == names["mistral always"] == ["</s>"]
    assert names["plain"] == ["<|endoftext|>"]


def test_the_end_after_a_final_tool_call_is_trained(
    templates: dict[str, ChatTemplate], folders: dict[str, Path]
) -> None:
    """Row 22."""
    call = {"type": "function", "function": {"name": "calc", "arguments": {"a": 1}}}
    messages = [*said("How far?"), Message(role="assistant", tool_calls=[call])]
    rendered = templates["qwen2.5"].render(messages)
    assert rendered.ids == theirs(folders["qwen2.5"], messages)
    written = '<tool_call>\n{"name": "calc", "arguments": {"a": 1}}\n</tool_call><|im_end|>'
    assert trained(templates["qwen2.5"], rendered) == written
    prompt = templates["qwen2.5"].render(messages[:1], add_generation_prompt=True).ids
    assert rendered.ids[: len(prompt)] == prompt


def test_tool_calls_that_a_template_cannot_show_are_refused(templates: dict[str, ChatTemplate]) -> None:
    call = {"type": "function", "function": {"name": "calc", "arguments": {"a": 1}}}
    messages = [*said("How far?"), Message(role="assistant", tool_calls=[call]), *said("a", "b")[:1]]
    rows = [Demonstration(messages=messages[:2]), Demonstration(messages=said("a", "b"))]
    with pytest.raises(DataError, match="record 1: .*shows no tool calls, and message 2 has some"):
        render_all(templates["chatml"], rows)
    assert render_all(templates["chatml"], rows, skip=True).records == rows[1:]
    assert render_all(templates["qwen2.5"], rows).records == rows


def test_a_model_trained_without_template_is_saved_with_one(folders: dict[str, Path], tmp_path: Path) -> None:
    """Row 32: transformers reads what it was trained with."""
    template = ChatTemplate(Tokenizer.load(folders["plain"]))
    template.adopt()
    template.tokenizer.save(tmp_path)
    prompt = template.render(said("Is it so?"), add_generation_prompt=True).ids
    assert theirs(tmp_path, said("Is it so?"), add_generation_prompt=True) == prompt
    again = ChatTemplate(Tokenizer.load(tmp_path))
    assert not again.is_plain
    assert again.render(said("a", "b")) == template.render(said("a", "b"))
    assert again.stop_ids == template.stop_ids


def test_a_plain_model_without_named_end_ends_with_the_document(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    make(tmp_path / "m", STYLES["plain"])
    (tmp_path / "m" / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    template = ChatTemplate(Tokenizer.load(tmp_path / "m"))
    assert trained(template, template.render(said("a", "Two"))) == "Two<|endoftext|>"
    template.adopt()
    template.tokenizer.save(tmp_path / "n")
    assert theirs(tmp_path / "n", said("a", "b"))[-2] == template.tokenizer.endoftext_id


@pytest.mark.parametrize("name", STYLES)
def test_raw_text_begins_as_the_source_begins_it(name: str, folders: dict[str, Path]) -> None:
    """Row 18d: LLaMA's tokenizers put a begin token before raw text; GPT's and Qwen's do not."""
    tokenizer = Tokenizer.load(folders[name])
    source = needs("transformers").AutoTokenizer.from_pretrained(folders[name])
    text = "Yes Two 多远"
    assert source(text)["input_ids"] == [tokenizer.bos_id] * tokenizer.adds_bos + tokenizer.encode(text)
    assert tokenizer.adds_bos == ("bos_token" in STYLES[name].config)
    assert tokenizer.text_start_id == (tokenizer.bos_id if tokenizer.adds_bos else tokenizer.endoftext_id)


def test_begin_and_end_tokens_are_saved_as_the_source_has_them(tmp_path: Path) -> None:
    """Row 18d: also where only special_tokens_map.json names them."""
    folder = make(tmp_path / "m", STYLES["llama2"])
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (folder / "special_tokens_map.json").write_text('{"bos_token": {"content": "<s>"}, "eos_token": "</s>"}')
    tokenizer = Tokenizer.load(folder)
    assert (tokenizer.bos_id, tokenizer.endoftext_id) == (tokenizer.id_of("<s>"), tokenizer.id_of("</s>"))
    assert tokenizer.adds_bos
    tokenizer.save(tmp_path / "n")
    again = needs("transformers").AutoTokenizer.from_pretrained(tmp_path / "n")
    assert (again.bos_token, again.eos_token) == ("<s>", "</s>")
    assert again("Yes")["input_ids"] == [tokenizer.bos_id, *tokenizer.encode("Yes")]


def test_a_final_message_can_be_continued(
    templates: dict[str, ChatTemplate], folders: dict[str, Path]
) -> None:
    messages = said("Is it so?", "Yes, it")
    for name in ("chatml", "mistral always", "llama2"):
        expected = theirs(folders[name], messages, continue_final_message=True)
        assert templates[name].render(messages, continue_final=True).ids == expected
