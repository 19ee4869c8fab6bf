"""Task files of lm-evaluation-harness give here what they give there: both run side by side on a tiny random model."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
import yaml
from tests.model.worlds import reinitialise
from tests.needs import needs
from tests.tokenizer.styles import STYLES, make

from ziggurat.errors import UsageError
from ziggurat.exam.candidates import open_candidate
from ziggurat.exam.candidates.local import Local
from ziggurat.exam.card import Ways
from ziggurat.exam.harness.opening import open_yaml
from ziggurat.exam.item import Found, Item
from ziggurat.exam.likelihood import encode_pairs
from ziggurat.exam.run import sit
from ziggurat.exam.switches import Switches

CLOSE = 1e-4  # nats a token
CONTEXT = 320  # the longest prompts below lose their first tokens

LETTERS = ("A", "B", "C", "D")
MMLU = [
    {"question": f" Which number is {i}? ", "choices": [str(i + k) for k in range(4)], "answer": 0}
    for i in range(4)
]
CEVAL = [
    {"id": i, "question": f"{i}加一是？", "A": f"{i}", "B": f"{i + 1}", "C": "三", "D": "零", "answer": "B"}
    for i in range(4)
]
GSM8K = [
    {"question": f"Tom has {i} apples and buys {i}. How many?", "answer": f"{i}+{i}={2 * i}\n#### {2 * i}"}
    for i in range(1, 6)
]
ARC = [
    {
        "question": f"What is {word}?",
        "choices": {"text": ["an animal, often", "red", f"{word} itself"], "label": ["1", "2", "3"]},
        "answerKey": "3",
    }
    for word in ("a cat", "the sun", "water", "a king")
]
HELLASWAG = [
    {
        "activity_label": "Cooking",
        "ctx_a": "A man [header] cuts an onion.",
        "ctx_b": "he",
        "endings": ["cries  a lot.", "[step] flies away.", "eats the pan.", "sleeps."],
        "label": str(i),
    }
    for i in range(3)
]
TEXTS = [{"text": text} for text in ("the cat sat on the mat", "  a b  c", "I see the sea " * 60)]
ASKED = {
    "mmlu": ("mmlu/default/mmlu_anatomy.yaml", {"test": MMLU, "dev": MMLU[:3]}, {"num_fewshot": 2}),
    "ceval": ("ceval/ceval-valid_accountant.yaml", {"val": CEVAL, "dev": CEVAL[1:3]}, {"num_fewshot": 1}),
    "gsm8k": ("gsm8k/gsm8k.yaml", {"test": GSM8K[:3], "train": GSM8K}, {"num_fewshot": 2}),
    "gsm8k_cot": ("gsm8k/gsm8k-cot.yaml", {"test": GSM8K[:2]}, {"num_fewshot": 3}),
    "arc": ("arc/arc_challenge.yaml", {"test": ARC, "train": ARC, "validation": ARC}, {"num_fewshot": 2}),
    "hellaswag": ("hellaswag/hellaswag.yaml", {"train": HELLASWAG, "validation": HELLASWAG}, {}),
    "lambada": ("lambada/lambada_openai.yaml", {"test": TEXTS}, {}),
}
TOKENS_WRITTEN = 12
OWN: dict[str, dict[str, Any]] = {
    "rolling": {
        "output_type": "loglikelihood_rolling",
        "test_split": "test",
        "doc_to_text": "",
        "doc_to_target": "text",
        "metric_list": [{"metric": m} for m in ("word_perplexity", "byte_perplexity", "bits_per_byte")],
    },
    "mutual": {
        "output_type": "multiple_choice",
        "test_split": "test",
        "description": "Say what it is.\n",
        "doc_to_text": "question",
        "doc_to_choice": "{{choices.text}}",
        "doc_to_target": "{{choices.text[2]}}",
        "metric_list": [{"metric": "acc_mutual_info"}, {"metric": "acc"}],
        "num_fewshot": 1,
        "fewshot_split": "test",
    },
}


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def write_tasks(folder: Path, shipped: Path) -> None:
    """A file for each task as a user writes it: it includes the harness's own and names local data."""
    for name, (included, splits, settings) in ASKED.items():
        files = {split: write(folder, f"{name}-{split}", rows) for split, rows in splits.items()}
        local: dict[str, Any] = {"include": str(shipped / included), "task": f"own_{name}", "tag": "own_all"}
        local |= {
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": files},
        } | settings
        if name.startswith("gsm8k"):
            local["generation_kwargs"] = {"until": ["Question:", "\n\n"], "max_gen_toks": TOKENS_WRITTEN}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(local))
    for name, settings in OWN.items():
        rows = TEXTS if name == "rolling" else ARC
        files = {"test": write(folder, f"{name}-test", rows)}
        local = {
            "task": f"own_{name}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files},
        } | settings
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(local))
    group = {
        "group": "own_group",
        "task": ["own_mmlu", {"group": "inner", "task": ["own_ceval"], "aggregate_metric_list": []}],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": False}],
    }
    (folder / "group.yaml").write_text(yaml.safe_dump(group))


def make_model(folder: Path, style: str) -> Path:
    make(folder, STYLES[style])
    vocabulary = len(transformers.AutoTokenizer.from_pretrained(folder))
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    reinitialise(model)
    model.save_pretrained(folder)
    return folder


SHORT = ("lambada", "rolling", "mutual")
"""What depends on the token before a text: bos with llama2, eos with chatml."""
BY_STYLE = {"llama2": (*ASKED, *OWN), "chatml": SHORT}
EACH = [
    pytest.param(style, name, id=f"{style}-{name}") for style, names in BY_STYLE.items() for name in names
]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """By the style of the tokenizer: what the harness finds, in one run, and our candidate of the same folder."""
    return functools.cache(lambda style: make_world(style, tmp_path_factory.mktemp("harness")))


def make_world(style: str, base: Path) -> Any:
    lm_eval = needs("lm_eval")
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    tasks = base / "tasks"
    tasks.mkdir()
    write_tasks(tasks, Path(lm_eval.__file__).parent / "tasks")
    folder = make_model(base / "model", style)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, device="cpu")
    names = [f"own_{name}" for name in BY_STYLE[style] if name not in ("mmlu", "ceval")]  # of the group
    groups = ["own_group"] if style == "llama2" else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(base / "cache"))
        import datasets

        patch.setattr(datasets.config, "HF_DATASETS_CACHE", base / "cache")
        results = lm_eval.simple_evaluate(
            model=theirs,
            tasks=[*names, *groups],
            task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
            bootstrap_iters=0,
            verbosity="ERROR",
        )
    ours = open_candidate(str(folder))
    assert isinstance(ours, Local)
    ours.chat.model.float()
    ours.chat.model.compute_dtype = torch.float32
    return SimpleNamespace(results=results, theirs=theirs, ours=ours, tasks=tasks)


def sat(world: Any, name: str) -> tuple[list[Item], list[Found], dict[str, float]]:
    (task,) = open_yaml(world.tasks / f"{name}.yaml", trust_code=True)
    assert task.items is not None
    assert task.sit is not None
    assert task.summary is not None
    items = task.items(task, Switches())
    found = task.sit(world.ours, task, items, Switches())
    return items, found, dict(task.summary(found))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("style", "name"), EACH)
def test_same_requests_same_numbers(worlds: Callable[[str], Any], style: str, name: str) -> None:
    world = worlds(style)
    items, found, figures = sat(world, name)
    samples = sorted(world.results["samples"][f"own_{name}"], key=lambda sample: sample["doc_id"])
    prompts = {}
    for sample in samples:
        prompts[sample["doc_id"]] = sample
    assert len(items) == len(prompts)
    for item, one, sample in zip(items, found, prompts.values(), strict=True):
        requests = sample["arguments"]
        responses = [response for (response,) in sample["resps"]]
        if name == "rolling":
            assert requests[0][0] == item.raw
            assert abs(-one.mark.detail["nats"] - responses[0]) <= CLOSE * len(item.raw)
        elif name.startswith("gsm8k"):
            assert requests[0][0] == item.raw
            assert list(one.answers) == responses
        else:
            asked = [(context, continuation) for context, continuation in requests][: len(item.choices)]
            assert asked == [(item.raw, choice) for choice in item.choices]
            pairs = encode_pairs(world.ours.chat, [(item.raw, item.choices)])
            assert [(list(a), list(b)) for a, b in pairs] == [
                their_ids(world.theirs, *each) for each in asked
            ]
            nats = one.mark.detail.get("scores") or [one.mark.detail["nats"]]
            tokens = [len(continuation) for _, continuation in pairs]
            for ours, (theirs, _), count in zip(nats, responses, tokens, strict=False):
                assert abs(ours - float(theirs)) <= CLOSE * count
    expected = {
        key: value
        for key, value in world.results["results"][f"own_{name}"].items()
        if "," in key and "stderr" not in key
    }
    assert figures == pytest.approx(expected, rel=1e-3)


def their_ids(theirs: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    return tuple(list(part) for part in theirs._encode_pair(context, continuation))  # type: ignore[return-value]


@pytest.mark.filterwarnings("ignore")
def test_a_group_joins_its_tasks_as_the_harness_does(worlds: Callable[[str], Any]) -> None:
    world = worlds("llama2")
    _, found, figures = sat(world, "group")
    assert {one.stratum for one in found} == {"own_mmlu", "own_ceval"}
    assert figures["acc,none"] == pytest.approx(world.results["results"]["own_group"]["acc,none"])


def test_code_is_imported_only_when_it_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_text("raise SystemExit('imported')\n")
    rows = write(tmp_path, "rows", ARC)
    text = f"task: t\ndataset_path: json\ndataset_kwargs: {{data_files: {rows}}}\ntest_split: train\n"
    path = tmp_path / "t.yaml"
    path.write_text(text + "output_type: multiple_choice\nprocess_docs: !function utils.change\n")
    with pytest.raises(UsageError, match=r"!function utils.change.*--trust-code"):
        open_yaml(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("doc_to_image: image", "shows images"),
        ("num_fewshots: 3", 'unknown setting num_fewshots. Did you mean "num_fewshot"'),
        ("metric_list: [{metric: bleu}]", "metric bleu"),
        ("filter_list: [{name: f, filter: [{function: arg_max}]}]", "filter arg_max"),
        ("dataset_path: cais/mmlu", "nothing is downloaded"),
        ("output_type: multiple_choices", "output_type multiple_choices"),
        ("include: gone.yaml", "gone.yaml cannot be read"),
    ],
)
def test_what_is_not_read_is_one_sentence(line: str, message: str, tmp_path: Path) -> None:
    settings = {
        "task": "t",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": write(tmp_path, "rows", TEXTS)},
        "test_split": "train",
        "doc_to_text": "text",
        "doc_to_target": "text",
    }
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(settings | yaml.safe_load(line)))
    with pytest.raises(UsageError) as caught:
        open_yaml(tmp_path / "t.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("own", "asked", "shown"), [(2, None, 2), (2, 1, 1), (0, 1, 0)])
def test_a_file_says_how_many_examples(
    own: int, asked: int | None, shown: int, tmp_path: Path, scripted: Any, ziggurat_home: Path
) -> None:
    """As in the harness: `--shots` counts, unless the file says 0."""
    settings = {
        "task": "t",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": write(tmp_path, "rows", GSM8K)},
        "test_split": "train",
        "doc_to_text": "question",
        "doc_to_target": "answer",
        "num_fewshot": own,
    }
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(settings))
    (task,) = open_yaml(tmp_path / "t.yaml")
    candidate = scripted(lambda text: "1")
    ways = Ways(shots=() if asked is None else (asked,), think=True, generate=True, samples=3).of(task)
    assert len(ways) == 1
    result = sit(candidate, task, ways[0])
    assert [text.count("How many?") for text in candidate.asked] == [shown + 1] * 5
    done = result.settings["switches"]
    assert (done["think"], done["generate"], done["samples"], done["temperature"]) == (
        False,
        False,
        None,
        None,
    )
    assert task.file.shots.count == own
    assert len(Ways(shots=(0, 1, 4)).of(task)) == (1 if own == 0 else 3)


def test_a_task_belongs_to_its_examples_and_its_code(tmp_path: Path) -> None:
    """Another worked example, or another body of a function, is another task."""
    (tmp_path / "utils.py").write_text("def change(docs):\n    return docs\n")
    write(tmp_path, "rows", GSM8K)

    def known(examples: list[dict[str, Any]]) -> str:
        files = f"{{test: {tmp_path}/rows.jsonl, train: {write(tmp_path, 'shown', examples)}}}"
        text = f"task: t\ndataset_path: json\ndataset_kwargs: {{data_files: {files}}}\ntest_split: test\n"
        text += "fewshot_split: train\ndoc_to_text: question\ndoc_to_target: answer\n"
        (tmp_path / "t.yaml").write_text(text + "process_docs: !function utils.change\n")
        return open_yaml(tmp_path / "t.yaml", trust_code=True)[0].sha256

    first = known(GSM8K[:1])
    assert known(GSM8K[:1]) == first
    assert known(GSM8K[1:2]) != first
    (tmp_path / "utils.py").write_text("def change(docs):\n    return docs[:]\n")
    assert known(GSM8K[:1]) != first
