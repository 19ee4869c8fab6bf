"""Random JSON schemas, and what a model with random weights writes under each: how many answers are invalid?

    python benchmarks/forms.py --schemas 10000

Every answer that did not end by its length limit is judged by jsonschema-rs, which had no part in the making. The last
line is JSON. `tests/dialogue/test_grammar.py` does the same for a few.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from typing import Any

import jsonschema_rs
import torch

from ziggurat.dialogue.chat import Chat
from ziggurat.dialogue.forms import Form
from ziggurat.engine.params import SamplingParams
from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.bpe import Tokenizer

TEXT = '你好，运河边的面包师。{"name": "Ana", "tags": ["a", "b"], "n": -12.5, "ok": true, "none": null} ' * 20
NAMES = ("name", "age", "tags", "价格", "a b", "x-1", "format", "enum", "const", "default", "$ref")
WORDS = ("red", "blue", "是", "no\nway", 'quo"te')


def random_schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """One of the subset that docs/api.md and dialogue/grammar.py promise."""
    kinds = ["string", "integer", "number", "boolean", "null", "enum", "const"]
    kinds += ["object", "object", "array", "anyOf"] if depth < 3 else []
    kind = rng.choice(kinds)
    if kind == "object":
        names = rng.sample(NAMES, rng.randint(0, 4))
        return {
            "type": "object",
            "properties": {name: random_schema(rng, depth + 1) for name in names},
            "required": [name for name in names if rng.random() < 0.7],
            "additionalProperties": False,
        }
    if kind == "array":
        low = rng.randint(0, 2)
        items = random_schema(rng, depth + 1)
        return {"type": "array", "items": items, "minItems": low, "maxItems": low + rng.randint(0, 3)}
    if kind == "anyOf":
        return {"anyOf": [random_schema(rng, depth + 1) for _ in range(rng.randint(1, 3))]}
    if kind == "enum":
        return {"enum": rng.sample([*WORDS, 1, -2.5, None, True], rng.randint(1, 4))}
    if kind == "const":
        return {"const": rng.choice([*WORDS, 7, False])}
    if kind == "string":
        chosen = rng.random()
        if chosen < 0.3:
            return {
                "type": "string",
                "pattern": rng.choice(["^[a-z]{2,5}$", "^\\d{3}-\\d{2}$", "^(yes|no)$"]),
            }
        if chosen < 0.5:
            return {"type": "string", "format": rng.choice(["date", "time", "date-time", "uuid", "ipv4"])}
        low = rng.randint(0, 3)
        return {"type": "string", "minLength": low, "maxLength": low + rng.randint(0, 12)}
    if kind == "integer" and rng.random() < 0.6:
        low = rng.randint(-50, 50)
        return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 120)}
    return {"type": kind}


def random_chat(seed: int = 0) -> Chat:
    tokenizer = Tokenizer.train([TEXT], 400)
    sizes = {"layers": 1, "d_model": 32, "heads": 2, "kv_heads": 1, "d_head": 16, "d_ff": 48}
    model = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, context=512, **sizes))
    model.init_weights(seed)
    with torch.no_grad():
        model.norm.weight.mul_(15)
    return Chat(model, tokenizer)


def judge(chat: Chat, schemas: list[dict[str, Any]], max_tokens: int = 300) -> dict[str, Any]:
    """Counts: valid, cut off by the limit, invalid (with the first few of them), refused as not understood."""
    desk, invalid, counts = chat.desk(), [], {"valid": 0, "length": 0, "invalid": 0, "refused": 0}
    waiting, texts = {}, {}
    for number, schema in enumerate(schemas):
        params = SamplingParams(seed=number, max_tokens=max_tokens)
        try:
            waiting[desk.begin(chat.prepare_raw("{", params, form=Form.schema(schema)))] = schema
        except Exception as error:
            counts["refused"] += 1
            invalid.append(["refused", schema, str(error)])
    while len(texts) < len(waiting) or any(finish is None for _, finish in texts.values()):
        for handle, delta in desk.step():
            text, _ = texts.get(handle, ("", None))
            texts[handle] = (text + delta.text, delta.finish)
    for handle, (text, finish) in texts.items():
        if finish == "length":
            counts["length"] += 1
            continue
        try:
            good = jsonschema_rs.is_valid(waiting[handle], json.loads(text), validate_formats=True)
        except ValueError:
            good = False
        counts["valid" if good else "invalid"] += 1
        if not good:
            invalid.append(["invalid", waiting[handle], text])
    return {**counts, "examples": invalid[:5]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--schemas", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, began, chat = random.Random(options.seed), time.perf_counter(), random_chat()
    totals: dict[str, Any] = {"valid": 0, "length": 0, "invalid": 0, "refused": 0, "examples": []}
    for start in range(0, options.schemas, 500):
        found = judge(chat, [random_schema(rng) for _ in range(min(500, options.schemas - start))])
        totals = {key: totals[key] + found[key] for key in totals}
        print(start, {key: value for key, value in totals.items() if key != "examples"}, flush=True)
    print(json.dumps({**totals, "seconds": round(time.perf_counter() - began, 1)}, ensure_ascii=False))


if __name__ == "__main__":
    main()
