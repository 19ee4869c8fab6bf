"""TRL's half of `against_trl.py`; run by a Python that has TRL, in a folder that the other half prepared.

model/          the model as a Hugging Face folder       adapter.safetensors   the numbers that the adapter begins with
task.json       what to do                               result.json           written here: losses and seconds of steps
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    found = {"dpo": preference, "kto": preference, "grpo": grpo}[task["part"]](folder, task)
    (folder / "result.json").write_text(json.dumps(found), encoding="utf-8")


def watched(trainer: Any, task: dict[str, Any]) -> list[float]:
    """Marks of time: at the begin of training and after each step."""
    from transformers import TrainerCallback

    marks: list[float] = []
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[task["clock"]]

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            marks.append(clock())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(clock())

    trainer.add_callback(Watch())
    return marks


def of_all(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Settings of transformers' trainer that both halves have."""
    return {
        "output_dir": str(folder / "trl"),
        "max_steps": task["steps"],
        "per_device_train_batch_size": task["batch"],
        "learning_rate": task["lr"],
        "lr_scheduler_type": "constant",
        "adam_beta2": 0.95,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": task["bf16"],
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "seed": 0,
    }


def load(folder: Path, dtype: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=getattr(torch, dtype))
    return model, AutoTokenizer.from_pretrained(folder / "model")


def preference(folder: Path, task: dict[str, Any]) -> dict[str, Any]:
    """DPO or KTO of an adapter on the very ids, in the very order, from the very numbers of the other half."""
    from datasets import Dataset
    from peft import LoraConfig, set_peft_model_state_dict
    from safetensors.torch import load_file
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    model, tokenizer = load(folder, task["dtype"])
    lora = LoraConfig(
        r=task["rank"], lora_alpha=task["alpha"], target_modules=task["targets"], task_type="CAUSAL_LM"
    )
    common = of_all(task, folder) | {
        "beta": task["beta"],
        "max_length": None,
        "train_sampling_strategy": "sequential",
    }
    example: dict[str, Any] = {"prompt": "a", "chosen": "b", "rejected": "c"}
    if task["part"] == "dpo":
        kind, args = DPOTrainer, DPOConfig(**common)
    else:
        example = {"prompt": "a", "completion": "b", "label": True}
        weights = {name: task[name] for name in ("desirable_weight", "undesirable_weight")}
        kind, args = KTOTrainer, KTOConfig(**common, **weights)
    stand_in = Dataset.from_list([example] * task["batch"])  # replaced by the ids below
    trainer = kind(
        model=model, args=args, train_dataset=stand_in, processing_class=tokenizer, peft_config=lora
    )
    trainer.train_dataset = Dataset.from_list(task["rows"])
    left = set_peft_model_state_dict(trainer.model, load_file(folder / "adapter.safetensors"))
    assert not left.unexpected_keys, left
    marks = watched(trainer, task)
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return {"losses": losses, "step_s": [b - a for a, b in itertools.pairwise(marks)]}


def grpo(folder: Path, task: dict[str, Any]) -> dict[str, Any]:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer = load(folder, task["dtype"])
    args = GRPOConfig(
        **of_all(task, folder),
        num_generations=task["group"],
        max_completion_length=task["words"],
        beta=task["beta"],
        temperature=1.0,
        shuffle_dataset=False,
    )

    def letters(completions: list[str], **_: Any) -> list[float]:
        return [sum(letter == "e" for letter in text) / max(1, len(text)) for text in completions]

    data = Dataset.from_list([{"prompt": text} for text in task["prompts"]])
    trainer = GRPOTrainer(
        model=model, args=args, train_dataset=data, processing_class=tokenizer, reward_funcs=letters
    )
    marks = watched(trainer, task)
    trainer.train()
    length = [row["completions/mean_length"] for row in trainer.state.log_history if "loss" in row]
    return {"step_s": [b - a for a, b in itertools.pairwise(marks)], "words": length}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
