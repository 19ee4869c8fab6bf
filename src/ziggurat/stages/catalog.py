"""The stages that come with Ziggurat, in the order of the ladder. docs/extending.md adds one from outside."""

from __future__ import annotations

from ziggurat.stages.stage import Input, Kind, Model, Shortcut, Stage

HELD_OUT = "A file to evaluate on; without one a share is split off."
TEXT = "Stage-1 text to mix in; default: the text of the base's run."
ZERO = Input(
    "demonstrations",
    "demonstrations",
    option="--demonstrations",
    help="Their mean reward becomes 0.",
    role="demonstrations",
)
REWARD_BESIDE_A_FUNCTION = Model(
    "reward_model",
    ("--reward",),
    "The stage-3 run that scores it; with reward_function, both are weighted.",
    required=False,
    remembered="reward_model",
)


def held_out(kind: Kind) -> Input:
    """Records of this kind to evaluate on."""
    return Input(kind, "held_out", option="--held-out", help=HELD_OUT, role="held_out", none_if_missing=True)


PRETRAIN = Stage(
    name="pretrain",
    title="Stage 1: learn to continue raw text.",
    distributed=True,
    help="""Stage 1: learn to continue raw text: text, Markdown, HTML, code, CSV, JSON Lines, Parquet; files or folders.

    \b
    ziggurat pretrain --data book.txt --out runs/book --dry-run
    ziggurat pretrain --data annals.jsonl --set model=tiny --set train.steps=300
    ziggurat pretrain --data notes/ --base models/Qwen3-0.6B-Base --ladder house
    ziggurat pretrain --resume --out runs/book
    """,
    configure="ziggurat.stages.pretrain:pretrain_config",
    prepare="ziggurat.stages.pretrain:prepare",
    run="ziggurat.stages.pretrain:pretrain",
    models=(
        Model(
            "base",
            ("--base",),
            "Continue from a run or a Hugging Face folder.",
            required=False,
            in_config=True,
        ),
    ),
    inputs=(
        Input("documents", "documents"),
        held_out("documents"),
    ),
)

SFT = Stage(
    name="sft",
    title="Stage 2: learn to answer, from demonstrations.",
    distributed=True,
    help="""Stage 2: learn to answer, from demonstrations (OpenAI messages, Alpaca, ShareGPT, Open-Assistant, CSV ...).

    \b
    ziggurat sft --base town/pretrain --data demonstrations.jsonl
    ziggurat sft --base models/Qwen3-0.6B-Base --data alpaca.json --text notes.txt --set epochs=3
    ziggurat sft --base own/pretrain --data d.jsonl --set text_share=0.3 --dry-run
    ziggurat sft --resume --out runs/own/sft-1
    """,
    configure="ziggurat.stages.sft:sft_config",
    prepare="ziggurat.stages.sft:prepare",
    run="ziggurat.stages.sft:sft",
    models=(Model("base", ("--base",), "The model to start from: a run or a folder."),),
    inputs=(
        Input("demonstrations", "demonstrations"),
        Input(
            "documents",
            "text",
            option="--text",
            help=TEXT,
            role="text",
            used_if="text_share",
            without="some forgetting",
        ),
        held_out("demonstrations"),
    ),
)

REWARD = Stage(
    name="reward",
    title="Stage 3: learn what people prefer, from comparisons.",
    distributed=True,
    help="""Stage 3: learn what people prefer, from comparisons (ours, TRL, HH-RLHF, Open-Assistant trees ...).

    \b
    ziggurat reward --sft town/sft --data comparisons.jsonl
    ziggurat reward --sft own/sft --data hh.jsonl.gz --demonstrations d.jsonl --dry-run
    ziggurat reward --sft own/sft --resume --out runs/own/reward-1
    """,
    configure="ziggurat.stages.reward:reward_config",
    prepare="ziggurat.stages.reward:prepare",
    run="ziggurat.stages.reward:reward",
    models=(Model("sft", ("--sft", "--base"), "The stage-2 model to start from."),),
    inputs=(Input("comparisons", "comparisons"), held_out("comparisons"), ZERO),
    makes="reward model",
)

PPO = Stage(
    name="ppo",
    title="Stage 4: improve the policy against the reward model.",
    distributed=True,
    help="""Stage 4: improve the policy against the reward model, kept near its start and watched by the doctor.

    \b
    ziggurat ppo --policy town/sft --reward town/reward --data prompts.jsonl
    ziggurat ppo --policy own/sft --reward own/reward --data p.jsonl --text notes.txt --set train.steps=40
    ziggurat ppo --policy own/sft --reward own/reward --resume --out runs/own/ppo-1
    """,
    configure="ziggurat.stages.ppo:ppo_config",
    prepare="ziggurat.stages.ppo:prepare",
    run="ziggurat.stages.ppo:ppo",
    models=(
        Model("policy", ("--policy", "--base"), "The model to improve: a stage-2 or stage-4 run."),
        Model("reward_model", ("--reward",), "The stage-3 run that scores it.", remembered="reward_model"),
        Model(
            "reference",
            ("--reference",),
            "Where KL is measured to; default: the policy's start.",
            required=False,
            remembered="reference",
        ),
    ),
    inputs=(
        Input("prompts", "prompts"),
        Input(
            "documents",
            "ptx_documents",
            option="--text",
            help=TEXT,
            role="text",
            used_if="ptx_weight",
            without="an alignment tax",
        ),
    ),
    gold=True,
)

REFERENCE = Model(
    "reference",
    ("--reference",),
    "The model that the policy is held to; default: the policy's start.",
    required=False,
    remembered="reference",
)

DPO = Stage(
    name="dpo",
    title="Learn from comparisons directly, without a reward model.",
    distributed=True,
    help="""Learn from comparisons directly, without a reward model: DPO, IPO, SLiC, SimPO and ORPO as options.

    \b
    ziggurat dpo --base town/sft --data comparisons.jsonl
    ziggurat dpo --base own/sft --data dpo_en_demo.json --set beta=0.3 --seeds 3
    ziggurat dpo --base own/sft --data c.jsonl --set loss=ipo --set length_normalised=true --dry-run
    ziggurat dpo --resume --out runs/own/dpo-1
    """,
    configure="ziggurat.stages.dpo:dpo_config",
    prepare="ziggurat.stages.dpo:prepare",
    run="ziggurat.stages.dpo:dpo",
    models=(Model("base", ("--base", "--policy"), "The model to improve."), REFERENCE),
    inputs=(Input("comparisons", "comparisons"), held_out("comparisons")),
)

KTO = Stage(
    name="kto",
    title="Learn from thumbs up and down, without pairs.",
    help="""Learn from thumbs up and down, without pairs (KTO). A file of comparisons gives its better and worse halves.

    \b
    ziggurat kto --base town/sft --data thumbs.jsonl
    ziggurat kto --base own/sft --data kto_en_demo.json --set undesirable_weight=1 --dry-run
    ziggurat kto --resume --out runs/own/kto-1
    """,
    configure="ziggurat.stages.kto:kto_config",
    prepare="ziggurat.stages.kto:prepare",
    run="ziggurat.stages.kto:kto",
    models=(Model("base", ("--base", "--policy"), "The model to improve."), REFERENCE),
    inputs=(
        Input("ratings", "ratings"),
        held_out("ratings"),
    ),
)

GRPO = Stage(
    name="grpo",
    title="Improve the policy by rules or a reward model, without a critic.",
    help="""Improve the policy by comparing its own completions of a prompt: GRPO, RLOO, Dr. GRPO and DAPO.

    The reward is a Python function (prompt, completion, row) -> float, a reward model, or both.

    \b
    ziggurat grpo --policy own/sft --data prompts.jsonl --set reward_function=rules.py:score
    ziggurat grpo --policy town/sft --reward town/reward --data p.jsonl --set variant=rloo
    ziggurat grpo --policy own/sft --data p.jsonl --reward own/reward --set reward_function=rules:score --dry-run
    ziggurat grpo --resume --out runs/own/grpo-1
    """,
    configure="ziggurat.stages.grpo:grpo_config",
    prepare="ziggurat.stages.grpo:prepare",
    run="ziggurat.stages.grpo:grpo",
    models=(
        Model("policy", ("--policy", "--base"), "The model to improve."),
        REWARD_BESIDE_A_FUNCTION,
        REFERENCE,
    ),
    inputs=(Input("prompts", "prompts"),),
    gold=True,
)

RAFT = Stage(
    name="raft",
    title="Imitate the best of n answers by rules or a reward model.",
    help="""Imitate the best of n: sample n answers a prompt, keep the best by a reward, learn to write them (RAFT).

    \b
    ziggurat raft --policy own/sft --data prompts.jsonl --set reward_function=rules.py:score
    ziggurat raft --policy town/sft --reward town/reward --data p.jsonl --set n=16 --set min_score=0
    ziggurat raft --resume --out runs/own/raft-1
    """,
    configure="ziggurat.stages.raft:raft_config",
    prepare="ziggurat.stages.raft:prepare",
    run="ziggurat.stages.raft:raft",
    models=(
        Model("policy", ("--policy", "--base"), "The model to improve."),
        REWARD_BESIDE_A_FUNCTION,
    ),
    inputs=(Input("prompts", "prompts"),),
)

RLAIF = Stage(
    name="rlaif",
    title="Rank a model's answers by written principles, with a judge model.",
    help="""Rank a model's answers by written principles, with a judge model; writes ranked.jsonl for reward or dpo.

    \b
    ziggurat rlaif --policy own/sft --judge models/large --data p.jsonl --set 'principles=["It is polite."]'
    ziggurat rlaif --policy own/sft --judge own/sft --data p.jsonl --recipe principles.yaml --out runs/own/rlaif-1
    ziggurat dpo --base own/sft --data runs/own/rlaif-1/ranked.jsonl
    """,
    configure="ziggurat.stages.rlaif:rlaif_config",
    prepare="ziggurat.stages.rlaif:prepare",
    run="ziggurat.stages.rlaif:rlaif",
    models=(
        Model("policy", ("--policy", "--base"), "The model whose answers are ranked."),
        Model("judge", ("--judge",), "The model that ranks them.", remembered="judge"),
    ),
    inputs=(Input("prompts", "prompts"),),
    seed="seed",
    makes="records",
)

DISTILL = Stage(
    name="distill",
    title="Teach a small model what a larger one knows.",
    help="""Teach a small model what a larger one knows: its distributions, its answers, or both.

    \b
    ziggurat distill --base small/sft --teacher town/sft --data demonstrations.jsonl
    ziggurat distill --base small/sft --teacher big/sft --data d.jsonl --set sequences=true --set logits_weight=0
    ziggurat distill --resume --out runs/small/distill-1
    """,
    configure="ziggurat.stages.distill:distill_config",
    prepare="ziggurat.stages.distill:prepare",
    run="ziggurat.stages.distill:distill",
    models=(
        Model("base", ("--base", "--student"), "The small model that learns."),
        Model("teacher", ("--teacher",), "The model that it learns from.", remembered="teacher"),
    ),
    inputs=(
        Input("demonstrations", "demonstrations"),
        held_out("demonstrations"),
    ),
)

SELFINSTRUCT = Stage(
    name="selfinstruct",
    title="Let a model write demonstrations itself, from a few seed tasks.",
    help="""Let a model write demonstrations itself, from a few seed tasks (Self-Instruct); writes tasks.jsonl for sft.

    \b
    ziggurat selfinstruct --base own/sft --data seeds.jsonl --set count=500
    ziggurat sft --base own/pretrain --data runs/own/selfinstruct-1/tasks.jsonl
    """,
    configure="ziggurat.stages.selfinstruct:selfinstruct_config",
    prepare="ziggurat.stages.selfinstruct:prepare",
    run="ziggurat.stages.selfinstruct:selfinstruct",
    models=(Model("base", ("--base",), "The model that writes."),),
    inputs=(Input("demonstrations", "demonstrations"),),
    seed="seed",
    makes="records",
)

PROMPTSEARCH = Stage(
    name="promptsearch",
    title="Search a text around the question with which a frozen model answers better.",
    help="""Search a text around the question with which a frozen model answers better; no weight changes.

    \b
    ziggurat promptsearch --base smollm2 --data demonstrations.jsonl
    ziggurat promptsearch --base smollm2 --data d.jsonl --set 'templates=["{question} Be brief."]' --set rounds=12
    """,
    configure="ziggurat.stages.promptsearch:promptsearch_config",
    prepare="ziggurat.stages.promptsearch:prepare",
    run="ziggurat.stages.promptsearch:promptsearch",
    models=(Model("base", ("--base",), "The model that answers; it stays as it is."),),
    inputs=(Input("demonstrations", "demonstrations"),),
    seed="seed",
    makes="records",
)

ALIGN = Stage(
    name="align",
    title="Sample, rank and learn in rounds.",
    help="""Sample, have people (or a judge model) rank, train the reward model, run PPO or another method; and again.

    Each round writes round-<n>/to_rank.jsonl and stops; rank it, put the result beside it as ranked.jsonl, resume.

    \b
    ziggurat align --sft own/sft --data prompts.jsonl --rounds 2 --out runs/own/align-1
    ziggurat align --sft own/sft --resume --out runs/own/align-1
    ziggurat align --sft own/sft --data p.jsonl --comparisons hh.jsonl.gz --set ppo.train.steps=40 --dry-run
    ziggurat align --sft own/sft --data p.jsonl --rounds 2 --set method=dpo
    ziggurat align --sft own/sft --data p.jsonl --set judge=large/sft --set 'principles=["It is polite."]'
    """,
    configure="ziggurat.stages.align:align_config",
    prepare="ziggurat.stages.align:prepare",
    run="ziggurat.stages.align:align",
    models=(Model("sft", ("--sft", "--base"), "The stage-2 model that the rounds start from."),),
    inputs=(
        Input("prompts", "prompts"),
        Input(
            "comparisons",
            "comparisons",
            option="--comparisons",
            help="Rankings that are there already.",
            role="comparisons",
        ),
        held_out("comparisons"),
        ZERO,
        Input(
            "documents",
            "ptx_documents",
            option="--text",
            help=TEXT,
            role="text",
            used_if="ppo.ptx_weight",
            without="an alignment tax",
        ),
    ),
    shortcuts=(Shortcut("rounds", "How often it is repeated."),),
    gold=True,
    seed="seed",
    makes="runs",
)

BUILT_IN = (
    PRETRAIN,
    SFT,
    REWARD,
    PPO,
    DPO,
    KTO,
    GRPO,
    RAFT,
    RLAIF,
    DISTILL,
    SELFINSTRUCT,
    PROMPTSEARCH,
    ALIGN,
)

OTHER_COMMANDS = frozenset(
    (
        *(
            "advise",
            "bench",
            "chat",
            "data",
            "env",
            "eval",
            "exam",
            "flywheel",
            "generate",
            "help",
            "judge",
            "key",
            "ladder",
            "leaderboard",
            "models",
            "moderation",
            "plan",
            "poet",
            "runs",
        ),
        *("sample", "scaling", "serve", "store", "tax", "tokenizer", "town"),
    )
)
"""The commands of `ziggurat` that are no stages: a stage of another package cannot have one of these names."""
