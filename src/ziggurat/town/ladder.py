"""The four stages of a climb on the town: the files, then every stage, in rounds.

The stages are the same functions that the commands call, on files that this writes into the ladder's folder first:

    runs/town/data/   documents, demonstrations, prompts, comparisons of each round (JSON Lines); tokenizer/
    runs/town/pretrain-1, sft-1, reward-1, ppo-1, reward-2, ppo-2
    runs/town/exam/   every question with each model's answer; report.json and report.html of the whole ladder
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ziggurat.ladder.climb import load_policy, score_held_out
from ziggurat.records import Demonstration, Document, Prompt, write_records
from ziggurat.runs import Run
from ziggurat.stages import ppo as stage4
from ziggurat.stages import pretrain as stage1
from ziggurat.stages import reward as stage3
from ziggurat.stages import sft as stage2
from ziggurat.stages.rollouts import PolicySampler
from ziggurat.town import rounds
from ziggurat.town.climb import Climb
from ziggurat.town.demonstrations import Teacher, write_demonstrations
from ziggurat.town.documents import held_out_documents, write_documents
from ziggurat.town.exam import write_development
from ziggurat.town.examiner import Answers, gold_score
from ziggurat.town.grading import Grader
from ziggurat.town.people import Town
from ziggurat.town.questions import Question
from ziggurat.town.tokens import town_tokenizer

HELD_OUT_DOCUMENTS = 300
PPO_PROMPTS = 12_000


def climb_stages(climb: Climb, *, resume: bool = False) -> None:
    """Stages 1 and 2, then rounds of 3 and 4."""
    demonstrations, documents, held_out = write_files(climb)
    pretrain(climb, documents, held_out, resume)
    sft(climb, demonstrations, documents, held_out, resume)
    for number in range(1, climb.work.rounds + 1):
        ranked = rank(climb, number)
        reward(climb, number, ranked, demonstrations, resume)
        ppo(climb, number, documents, resume)


def write_files(climb: Climb) -> tuple[list[Demonstration], list[Document], list[Document]]:
    """The town's data as files, and as records."""
    with climb.clock("files"):
        documents = list(
            write_documents(climb.town, climb.work.pretrain_steps * climb.recipe["documents_per_step"])
        )
        held_out = list(held_out_documents(climb.town, HELD_OUT_DOCUMENTS))
        demonstrations = list(write_demonstrations(climb.town, climb.recipe["demonstrations"]))
        data = climb.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        write_records(data / "documents.jsonl", documents)
        write_records(data / "held-out.jsonl", held_out)
        write_records(data / "demonstrations.jsonl", demonstrations)
    return demonstrations, documents, held_out


def pretrain(climb: Climb, documents: Sequence[Document], held_out: Sequence[Document], resume: bool) -> None:
    folder = climb.folder / "data" / "tokenizer"
    layer = climb.settings(
        "pretrain", climb.work.pretrain_steps, tokenizer=str(folder), shape=climb.recipe["model"]
    )
    with climb.clock("pretrain"):
        if not (resume and (folder / "tokenizer_config.json").is_file()):  # the file that is written last
            town_tokenizer(climb.town, documents, climb.recipe["vocabulary"]).save(folder)
        resolved = stage1.pretrain_config(None, layer)
        climb.runs["pretrain"] = stage1.pretrain(
            resolved, documents, climb.folder / "pretrain-1", held_out=held_out, resume=resume
        )


def sft(
    climb: Climb,
    demonstrations: Sequence[Demonstration],
    documents: Sequence[Document],
    held_out: Sequence[Document],
    resume: bool,
) -> None:
    with climb.clock("sft"):
        base = climb.runs["pretrain"]
        resolved = stage2.sft_config(base, climb.settings("sft", climb.work.sft_steps))
        climb.runs["sft"] = stage2.sft(
            resolved,
            base,
            demonstrations,
            climb.folder / "sft-1",
            text=documents,
            held_out_text=held_out,
            resume=resume,
        )


def rank(climb: Climb, number: int) -> rounds.Ranked:
    """Completions of the newest policy, ranked by the labellers; written as comparisons."""
    with climb.clock("sample"):
        policy = load_policy(climb.policy)
        ranked = rounds.rank_round(
            climb.town,
            policy.model,
            policy.template,
            round_number=number,
            prompts=climb.work.prompts_to_rank,
            own=climb.work.completions,
            unknown_percent=climb.recipe["unknown_percent"]["ranked"],
            seed=climb.seed,
        )
        write_records(climb.folder / "data" / f"comparisons-{number}.jsonl", ranked.comparisons)
    return ranked


def reward(
    climb: Climb, number: int, ranked: rounds.Ranked, demonstrations: Sequence[Demonstration], resume: bool
) -> None:
    grader = Grader(climb.town)
    climb.learned += ranked.take(held_out=False)
    held = ranked.take(held_out=True)
    with climb.clock("reward"):
        resolved = stage3.reward_config(climb.runs["sft"], climb.settings("reward"))
        run = stage3.reward(
            resolved,
            climb.runs["sft"],
            climb.learned,
            climb.folder / f"reward-{number}",
            held_out=held,
            demonstrations=demonstrations[:512],
            kind_of_pair=rounds.kind_of_pair(ranked, grader),
            labelling_ceiling=rounds.labelling_ceiling(ranked, held, grader),
            resume=resume,
        )
        climb.runs[f"reward-{number}"] = run
        climb.card = (Run.open(run).report or {})["card"]
        climb.true_kinds = rounds.true_accuracy(ranked, held, score_held_out(run, held), grader)


def ppo_questions(climb: Climb, number: int) -> list[Question]:
    """What PPO's prompts of a round ask."""
    teacher = Teacher(climb.town)
    share, stream = climb.recipe["unknown_percent"]["ppo"], f"ppo-{climb.seed}-{number}"
    return [teacher.prompt(i, unknown_percent=share, stream=stream) for i in range(PPO_PROMPTS)]


def ppo(climb: Climb, number: int, documents: Sequence[Document], resume: bool) -> None:
    questions = ppo_questions(climb, number)
    with climb.clock("ppo"):
        resolved = stage4.ppo_config(climb.policy, climb.ppo_settings())
        climb.runs[f"ppo-{number}"] = stage4.ppo(
            resolved,
            climb.policy,
            climb.runs[f"reward-{number}"],
            [Prompt(prompt=list(q.messages)) for q in questions],
            climb.folder / f"ppo-{number}",
            reference=climb.runs["sft"],
            ptx_documents=documents,
            gold=gold_check(climb.town),
            resume=resume,
        )


def gold_check(town: Town) -> Callable[[PolicySampler], float]:
    """The mean points of greedy answers to development questions about residents D."""
    items, grader = write_development(town), Grader(town)

    def gold(sampler: PolicySampler) -> float:
        texts = sampler.complete_many([list(i.question.messages) for i in items])
        grades = [grader.grade(i.question, t) for i, t in zip(items, texts, strict=True)]
        return gold_score(Answers("gold", items, list(texts), grades))

    return gold
