"""The whole ladder on a real model: demonstrations, SFT, rankings, reward model, PPO with and without ptx, judgement.

    ziggurat models get smollm2 && ziggurat models get minilm
    python benchmarks/real/house_style.py --seed 0                       every stage, some 30 minutes on two cores
    python benchmarks/real/house_style.py --seed 0 reward ppo judge      some of them, from the runs that are there
    python benchmarks/real/house_style.py --seed 0 --small               two fifths of the prompts, 16 steps of PPO

A firm wants its assistant to answer in a house style (`house_rules.py`). Demonstrators keep to it half of the time, so
SFT learns it by half; labellers rank pairs of SFT's samples by it, every tenth pair wrongly; PPO learns from the reward
model alone. Runs go to the ladder `house-SEED`. Targets were fixed before the first training:

    reward model     at least LEAST_ACCURACY of held-out pairs in the noise-free order
    PPO against SFT  wins at least LEAST_WINS of the held-out prompts by the rule, greedily, a tie being half a win

Beside them, without a target: the alignment tax (loss on held-out text, exact match on `battery.py`) with ptx and
without, what is refused, aboutness, and distinct-n of 20 samples a prompt. Prints tables, then one line of JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measures
from battery import exact_matches
from house_data import Asked, demonstration, prompts
from house_rules import in_style, is_unsure, points, ranks, refuses

import ziggurat
from ziggurat.console import out, table
from ziggurat.evaluation.diversity import distinct_n
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap
from ziggurat.models.embed import Embedder
from ziggurat.places import ladder_folder
from ziggurat.runs import Run
from ziggurat.settings import flatten, parse_sets

LEAST_ACCURACY, LEAST_WINS = 0.85, 0.65
IN_STYLE, NOISE = 0.5, 0.1
"""Share of the demonstrations in the style; share of the pairs that labellers swap."""


@dataclass(frozen=True)
class Size:
    """Prompts of each use. Those compared were not demonstrated, and PPO learns from all that were not demonstrated."""

    demonstrated: int = 280
    compared: int = 240
    held_out_compared: int = 100
    judged: int | None = None  # of the held-out prompts; None: all
    ppo_steps: int = 40


SMALL = Size(demonstrated=120, compared=100, held_out_compared=50, judged=200, ppo_steps=16)
SAMPLES = 4
"""Answers of SFT to each prompt that is ranked: two disjoint pairs, as far as they differ by the rule."""
OWN_TOKENS, ANSWER_TOKENS = 112, 80
DIVERSE_PROMPTS, DIVERSE_SAMPLES = 6, 20
SETTINGS: dict[str, dict[str, Any]] = {
    "sft": {"trainable": "lora"},
    "reward": {"trainable": "lora"},
    "ppo": {
        "trainable": "lora",
        "lora.last_blocks": 12,  # of 30: the frozen 18 are computed once a step, for policy and reference together
        "max_new_tokens": ANSWER_TOKENS,
        "rollouts_per_step": 24,
        "minibatches": 2,
    },
}
STAGES = ("demonstrate", "sft", "compare", "reward", "ppo", "ppo-ptx", "judge")


class House:
    """The stages in order; each reads what the one before left in the ladder's folder."""

    def __init__(self, options: Any) -> None:
        self.options, self.seed = options, options.seed
        self.size = SMALL if options.small else Size()
        self.folder = ladder_folder(options.ladder or f"house-{options.seed}")
        self.trained, self.held_out = prompts(held_out=False), prompts(held_out=True)
        self.judged = self.held_out
        if self.size.judged is not None:
            self.judged = random.Random("judged").sample(self.held_out, self.size.judged)
        self.further = {stage: parse_sets(options.set).get(stage, {}) for stage in SETTINGS}

    def settings(self, stage: str) -> dict[str, Any]:
        steps = {"train.steps": self.size.ppo_steps} if stage == "ppo" else {}
        return {**SETTINGS[stage], **steps, "train.seed": self.seed, **flatten(self.further[stage])}

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def run(self, name: str) -> Path:
        return self.folder / f"{name}-1"

    def demonstrate(self) -> None:
        """What the model says by itself, trimmed and opened by rule."""
        chosen = self.trained[: self.size.demonstrated]
        own = measures.answer(
            measures.load(self.options.model), [a.prompt for a in chosen], max_tokens=OWN_TOKENS
        )
        chance = random.Random(f"demonstrations {self.seed}")
        rows = []
        for asked, one in zip(chosen, own, strict=True):
            text = demonstration(asked, one.text, chance, in_style=IN_STYLE)
            if text:
                turns = [{"role": "user", "content": asked.prompt}, {"role": "assistant", "content": text}]
                rows.append({"messages": turns, "source": asked.kind})
        measures.write_jsonl(self.path("demonstrations"), rows)

    def sft(self) -> None:
        ziggurat.sft(
            self.path("demonstrations"),
            base=self.options.model,
            settings=self.settings("sft"),
            out=self.run("sft"),
            overwrite=True,
        )

    def compare(self) -> None:
        """Pairs of SFT's samples: to learn from, ranked with noise, and held out, ranked without."""
        to_rank = self.trained[self.size.demonstrated :][: self.size.compared]
        held_out = random.Random("held-out comparisons").sample(self.held_out, self.size.held_out_compared)
        for name, chosen, noise in (("comparisons", to_rank, NOISE), ("held-out-comparisons", held_out, 0.0)):
            sampled = ziggurat.sample(
                self.run("sft"),
                measures.write_prompts(self.path(f"{name}-prompts"), [a.prompt for a in chosen]),
                k=SAMPLES,
                max_tokens=ANSWER_TOKENS,
                seed=self.seed,
                greedy=False,
            )
            rows = [
                row
                for asked, one in zip(chosen, sampled, strict=True)
                for row in pairs(asked, one.completions, noise, self.seed)
            ]
            measures.write_jsonl(self.path(name), rows)

    def reward(self) -> None:
        ziggurat.reward(
            self.path("comparisons"),
            sft=self.run("sft"),
            held_out=self.path("held-out-comparisons"),
            demonstrations=self.path("demonstrations"),
            settings=self.settings("reward"),
            out=self.run("reward"),
            overwrite=True,
        )

    def ppo(self, name: str = "ppo", text: Path | None = None) -> None:
        asked = [a.prompt for a in self.trained[self.size.demonstrated :]]
        ziggurat.ppo(
            measures.write_prompts(self.path("ppo-prompts"), asked),
            policy=self.run("sft"),
            reward_model=self.run("reward"),
            text=text,
            settings=self.settings("ppo"),
            out=self.run(name),
            overwrite=True,
        )

    def ppo_ptx(self) -> None:
        self.ppo("ppo-ptx", self.options.ptx_text)

    def judge(self) -> None:
        names = ["sft", *(name for name in ("ppo", "ppo-ptx") if self.run(name).is_dir())]
        models: dict[str, str | Path] = {
            "start": self.options.model,
            **{name: self.run(name) for name in names},
        }
        embedder = Embedder.load("minilm")
        found = {
            name: judged(model, self.judged, embedder, self.options.text) for name, model in models.items()
        }
        wins = {name: won(found[name]["points"], found["sft"]["points"]) for name in names[1:]}
        card = (Run.open(self.run("reward")).report or {})["card"]["pairs"]
        show(found, wins, card)
        figures = {name: {k: v for k, v in one.items() if k != "points"} for name, one in found.items()}
        wins_json = {name: interval.to_dict() for name, interval in wins.items()}
        print(
            json.dumps(
                {"seed": self.seed, **measures.machine(), "card": card, "wins": wins_json, "models": figures}
            )
        )


def pairs(asked: Asked, completions: Sequence[str], noise: float, seed: int) -> list[dict[str, Any]]:
    """Disjoint pairs of answers that differ by the rule, ranked; of four answers two pairs at most."""
    chance = random.Random(f"labeller {seed} {asked.prompt}")
    left = sorted(dict.fromkeys(completions), key=lambda text: points(asked.kind, text))
    rows = []
    while len(left) > 1 and points(asked.kind, left[0]) < points(asked.kind, left[-1]):
        two = [left.pop(0), left.pop()]
        chance.shuffle(two)
        rows.append(
            {
                "id": f"{asked.kind}-{abs(hash_of(asked.prompt + two[0]))}",
                "prompt": [{"role": "user", "content": asked.prompt}],
                "completions": two,
                "ranks": ranks(asked.kind, two, noise=noise, chance=chance),
                "labeller": "rule",
            }
        )
    return rows


def hash_of(text: str) -> int:
    """The same in every process."""
    return random.Random(text).getrandbits(48)


def judged(model: str | Path, held_out: Sequence[Asked], embedder: Embedder, text: Path) -> dict[str, Any]:
    """What a model's answers to the held-out prompts are worth, and what it lost."""
    chat = measures.load(model)
    asked = [a.prompt for a in held_out]
    greedy = [one.text for one in measures.answer(chat, asked, max_tokens=ANSWER_TOKENS)]
    plain = [i for i, a in enumerate(held_out) if a.kind in ("everyday", "known", "borderline")]
    about = measures.aboutness(
        embedder, [asked[i] for i in plain], [held_out[i].subject for i in plain], [greedy[i] for i in plain]
    )
    answered = [a for a in held_out if a.kind == "everyday"][:DIVERSE_PROMPTS]
    many = measures.answer(
        chat, [a.prompt for a in answered], max_tokens=ANSWER_TOKENS, temperature=1.0, n=DIVERSE_SAMPLES
    )
    return {
        "points": [points(a.kind, t) for a, t in zip(held_out, greedy, strict=True)],
        "in_style": share(held_out, greedy, in_style),
        "refused": share(held_out, greedy, lambda _, t: refuses(t)),
        "unsure": share(held_out, greedy, lambda _, t: is_unsure(t)),
        "about": about.mean,
        "words": sum(len(t.split()) for t in greedy) / len(greedy),
        "text_loss": measures.text_loss(chat, text),
        "battery": sum(found := exact_matches(chat)) / len(found),
        "distinct_1": distinct_n([one.text for one in many], 1),
        "distinct_2": distinct_n([one.text for one in many], 2),
        "examples": [(a.prompt, t) for a, t in zip(held_out[:8], greedy[:8], strict=True)],
    }


def share(
    held_out: Sequence[Asked], texts: Sequence[str], holds: Callable[[Any, str], bool]
) -> dict[str, float]:
    """Of all, and of each kind of prompt: how often `holds(kind, text)`."""
    found: dict[str, list[bool]] = {"all": []}
    for asked, text in zip(held_out, texts, strict=True):
        for name in ("all", asked.kind):
            found.setdefault(name, []).append(holds(asked.kind, text))
    return {name: sum(values) / len(values) for name, values in found.items()}


def won(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """The share of prompts on which ours is worth more, a tie being half."""
    return cluster_bootstrap(
        [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(ours, theirs, strict=True)]
    )


def show(found: dict[str, Any], wins: dict[str, Interval], card: dict[str, Any]) -> None:
    kinds = ("all", "everyday", "known", "invented", "harmful", "borderline")
    for what in ("in_style", "refused", "unsure"):
        rows = [(name, *(f"{one[what][kind]:.1%}" for kind in kinds)) for name, one in found.items()]
        out.print(
            table(f"{what.replace('_', ' ')}, greedy answers to held-out prompts", ("model", *kinds), rows)
        )
    columns = ("text_loss", "battery", "about", "words", "distinct_1", "distinct_2")
    rows = [(name, *(f"{one[column]:.3f}" for column in columns)) for name, one in found.items()]
    out.print(table("what it costs", ("model", *columns), rows))
    accuracy = Interval(card["value"], card["low"], card["high"], card["n"], card["n"]).percent()
    lines = [("reward model, held-out pairs", accuracy, LEAST_ACCURACY, card["value"] >= LEAST_ACCURACY)]
    for name, interval in wins.items():
        lines.append(
            (f"{name} against sft, greedy", interval.percent(), LEAST_WINS, interval.value >= LEAST_WINS)
        )
    verdicts = [(*line[:3], "yes" if line[3] else "no") for line in lines]
    out.print(table("targets", ("what", "value", "bar", "held"), verdicts))


def main() -> None:
    parser = measures.arguments(str(__doc__))
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"default: all of {', '.join(STAGES)}")
    parser.add_argument("--ladder", help="where its runs go; default: house-SEED")
    parser.add_argument("--small", action="store_true", help="for a machine that does not multiply bf16")
    parser.add_argument(
        "--ptx-text", type=Path, default=measures.corpus("c4_demo.jsonl"), help="documents of ptx"
    )
    options = parser.parse_args()
    unknown = set(options.stages) - set(STAGES)
    if unknown:
        parser.error(f"there is no stage {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    house = House(options)
    house.folder.mkdir(parents=True, exist_ok=True)
    for stage in [one for one in STAGES if one in (options.stages or STAGES)]:
        begun = time.perf_counter()
        getattr(house, stage.replace("-", "_"))()
        out.print(f"{stage}: {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
