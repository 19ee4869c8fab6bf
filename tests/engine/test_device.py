"""The engine on a device that is not the CPU: prefill, decoding, sampling, masks, pages, a draft; a reward model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.probe import off_the_probe, on_the_probe

from ziggurat.engine.beam import beam_search
from ziggurat.engine.engine import Engine
from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.model.cpu.quantized import load_to_serve
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.training.device import place

PROMPTS = [[3, 1, 4, 1, 5], [9, 2, 6], [5, 3, 5, 8, 9, 7, 9]]
GREEDY = SamplingParams(temperature=0.0, max_tokens=6)
FREE = SamplingParams(
    temperature=0.8, top_p=0.9, top_k=20, min_p=0.01, seed=3, max_tokens=6, n=2, logprobs=2, prompt_logprobs=1,
    logit_bias=((4, 1.0),), presence_penalty=0.3, frequency_penalty=0.2, repetition_penalty=1.1, min_tokens=2,
    stop_ids=frozenset({1}),
)  # fmt: skip


class Even:
    """Only even tokens."""

    def allowed(self) -> torch.Tensor:
        return torch.arange(61) % 2 == 0

    def accept(self, token: int) -> bool:
        return True


@pytest.mark.parametrize("other", ["probe", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("page_tokens", [0, 4])
@pytest.mark.parametrize("params", [GREEDY, FREE])
def test_it_writes_what_it_writes_on_the_cpu(
    make_model: Callable[..., Transformer],
    monkeypatch: pytest.MonkeyPatch,
    params: SamplingParams,
    page_tokens: int,
    other: str,
) -> None:
    def written(model: Transformer) -> list[tuple[int, int, int]]:
        engine = Engine(model, max_slots=4, page_tokens=page_tokens, parked=1, chunk_flops=1e5)
        for number, prompt in enumerate(PROMPTS):
            engine.submit(prompt, params, path=(number,), logits_mask=Even() if number == 1 else None)
        events = []
        while engine.has_work:
            events += engine.step()
        return [(event.handle, event.choice, event.token) for event in events]

    expected = written(make_model())
    if other == "cuda":
        assert written(place(make_model(), "cuda")) == expected
        return
    with on_the_probe(monkeypatch):
        model = place(make_model())
        assert not off_the_probe([*model.named_parameters(), *model.named_buffers()])
        assert written(model) == expected


def test_beams_drafts_and_windows(
    make_model: Callable[..., Transformer], monkeypatch: pytest.MonkeyPatch
) -> None:
    beam = SamplingParams(temperature=0.0, max_tokens=5, beam=3)
    windowed = {"windowed": (0,), "window": 4}
    expected = [c.ids for c in beam_search(make_model(), PROMPTS[0], beam)]
    greedy = [c.ids for c in generate(make_model(**windowed), PROMPTS, GREEDY)]
    with on_the_probe(monkeypatch):
        assert [c.ids for c in beam_search(place(make_model()), PROMPTS[0], beam)] == expected
        assert [c.ids for c in generate(place(make_model(**windowed)), PROMPTS, GREEDY)] == greedy
        engine = Engine(place(make_model()), max_slots=2, small=place(make_model(seed=1)))
        for prompt in PROMPTS[:2]:
            engine.submit(prompt, GREEDY)
        while engine.has_work:
            engine.step()


def test_int8_and_scores(
    make_model: Callable[..., Transformer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(make_model(), tmp_path)
    ids, ends = torch.tensor([PROMPTS[0]]), torch.tensor([4])
    with on_the_probe(monkeypatch) as device:
        for weights in ("auto", "int8"):
            model = load_to_serve(tmp_path, torch.bfloat16, weights, device=device)
            assert not off_the_probe([*model.named_parameters(), *model.named_buffers()])
            assert len(generate(model, PROMPTS, GREEDY)) == 3
        scorer = place(RewardModel(make_model()))
        assert scorer.score(ids.to(device), ends.to(device)).tolist() == [0.0]
