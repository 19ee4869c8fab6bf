"""What a climb's models know of their own ignorance, read at the word where the value of a fact would stand.

    ziggurat ladder --budget 9m --no-serve
    python benchmarks/town_confidence.py --climb town --town 1
    python benchmarks/town_confidence.py --climb town --town 1 --splits C   (where its exam is spent)

There the word that admits ignorance competes with the values (docs/town.md). For each model, language and split:

    entropy, margin   AUROC with which facts that no text tells are told from facts that are, by the entropy of the word
                      and by the pass's logit less the best value's (what greedy decoding goes by)
    caught            share of untold facts that are passed where the margin is moved so that 2.5 % of the told ones are
    sure              mean probability of the likeliest value, untold and told
    passes            share where a pass is the likeliest, untold and told
    prefers           share where the reward model prefers a pass to the answer with that value, untold and told
    sight             AUROC of how much it prefers the pass
    ends              probability that the turn ends where a pass is said, untold: low where a model goes on and on

The entropy says what could be known, the margin what is acted on, and the reward model what PPO will be asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ziggurat.dialogue.chat import Chat
from ziggurat.evaluation.statistics import auroc
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_scalar
from ziggurat.places import ladder_folder
from ziggurat.records import Message
from ziggurat.stages.report_card import score_rows
from ziggurat.town.chance import Chance
from ziggurat.town.people import Fact, Split, Town, build_town
from ziggurat.town.phrases import LANGUAGES, Language
from ziggurat.town.questions import ask_fact, upper_first

LOST = 0.025
WORDINGS = 3


@dataclass(frozen=True)
class Slot:
    """The word where a fact's value would stand."""

    fact: Fact
    entropy: float
    margin: float
    sure: float
    ends: float
    preference: float | None
    """The reward model's score of the pass less that of the answer with the likeliest value."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--climb", default="town")
    parser.add_argument("--town", type=int, default=1)
    parser.add_argument("--splits", nargs="+", default=["B", "D"], choices=["A", "B", "C", "D"])
    options = parser.parse_args()
    folder, town = ladder_folder(options.climb), build_town(options.town)
    reward = load_scalar(folder / "reward-1" / "model") if (folder / "reward-1").exists() else None
    print("model  split     entropy margin caught   sure          passes        prefers         sight   ends")
    for run in ("sft-1", "ppo-1"):
        if (folder / run).exists():
            for split in options.splits:
                for language in LANGUAGES:
                    slots = read_slots(Chat.load(folder / run), reward, town, split, language)
                    print(f"{run:6} {split} {language}   {describe(slots)}")


def read_slots(
    policy: Chat, reward: RewardModel | None, town: Town, split: Split, language: Language
) -> list[Slot]:
    """One for each fact and wording, where a fact's value has a place of its own."""
    chance = Chance(0, language)
    slots = [
        read_slot(policy, reward, fact, chance, language)
        for fact in town.facts(split)
        for _ in range(WORDINGS)
    ]
    return [slot for slot in slots if slot is not None]


@torch.no_grad()
def read_slot(
    policy: Chat, reward: RewardModel | None, fact: Fact, chance: Chance, language: Language
) -> Slot | None:
    speech = fact.kind.speech[language]
    asked = ask_fact(chance, fact, language).messages
    said = [fact.say(speech.admission, language)]
    said += [fact.say(speech.answer, language, value) for value in fact.kind.values[language]]
    rendered = policy.template.render_many(
        [[*asked, Message(role="assistant", content=upper_first(text))] for text in said]
    )
    rows = [r.ids for r in rendered]
    end = max(i for i, trained in enumerate(rendered[0].mask) if trained)  # where the pass ends its turn
    at = max(shared_start([rows[0], row]) for row in rows[1:])
    own = rows[1 + fact.kind.values[language].index(fact.resident.value(fact.attribute, language))]
    if own[:at] != rows[0][:at]:  # one token holds the end of what leads to the value and its beginning
        return None
    rows = [row for row in rows if row[:at] == rows[0][:at]]
    hidden = policy.model.hidden(torch.tensor([rows[0][:end]]))[0]  # (end, d)
    logp, after = policy.model.logits(hidden[[at - 1, end - 1]]).float().log_softmax(-1)  # (V,) each
    values: Tensor = logp[[row[at] for row in rows[1:]]]
    preference = None
    if reward is not None:
        of_pass, of_value = score_rows(reward, [rows[0], rows[1 + int(values.argmax())]], 0)
        preference = of_pass - of_value
    return Slot(
        fact,
        entropy=float(-(logp.exp() * logp).sum()),
        margin=float(logp[rows[0][at]] - values.max()),
        sure=float(values.max().exp()),
        ends=float(after[rows[0][end]].exp()),
        preference=preference,
    )


def shared_start(rows: Sequence[Sequence[int]]) -> int:
    """How many ids all rows begin with."""
    at = 0
    while len({row[at] for row in rows}) == 1:
        at += 1
    return at


def describe(slots: Sequence[Slot]) -> str:
    told = [s for s in slots if s.fact.known]
    untold = [s for s in slots if not s.fact.known]
    untold_flags = [not s.fact.known for s in slots]
    entropy, margin = (
        auroc(np.array([getattr(s, name) for s in slots]), np.array(untold_flags))
        for name in ("entropy", "margin")
    )
    bar = float(torch.quantile(torch.tensor([s.margin for s in told]), 1 - LOST))
    columns = [f"{entropy:.3f}   {margin:.3f}  {share([s.margin > bar for s in untold]):.2f}  "]
    columns += [f"{share([s.sure for s in group]):.2f}" for group in (untold, told)]
    columns += ["  "] + [f"{share([s.margin > 0 for s in group]):.3f}" for group in (untold, told)]
    if slots[0].preference is not None:
        columns += ["  "] + [
            f"{share([(s.preference or 0.0) > 0 for s in group]):.3f}" for group in (untold, told)
        ]
        sight = auroc(np.array([s.preference for s in slots]), np.array(untold_flags))
        columns.append(f"  {sight:.3f}")
    columns.append(f"  {share([s.ends for s in untold]):.3f}")
    return " ".join(columns)


def share(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
