"""What a rollout is worth: a Python function of yours, a reward model, or both, weighted.

    def score(prompt: list[Message], completion: str, row: dict) -> float: ...

named as `module:function` or `file.py:function`; `row` holds the prompt's further fields (its `meta`). The module is
looked up in the folder of the call, too. The function is called once for each completion, in order, in this process.

A safety note: it is code that you name, and it runs with your rights. Left out: a time limit.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ziggurat.errors import ConfigError, ModelFolderError, UsageError, did_you_mean
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import is_scalar
from ziggurat.places import find_run, model_folder
from ziggurat.records import Message, Prompt
from ziggurat.stages.doctor import DoctorLimits
from ziggurat.stages.method import must_share_tokenizer
from ziggurat.stages.ppo_prepare import refuse_weak
from ziggurat.stages.report_card import score_rows
from ziggurat.tokenizer.bpe import Tokenizer

Function = Callable[[list[Message], str, dict[str, Any]], float]
SHOWN = 80  # characters of a prompt or completion in a message


@dataclass(frozen=True)
class RewardFunction:
    """A function by its name; every fault of it is one sentence."""

    name: str
    call: Function
    sha256: str
    """Of its file; "" where there is none."""

    @classmethod
    def load(cls, name: str) -> RewardFunction:
        """Import it. Raises ConfigError where that fails."""
        found = load_function(name, "reward_function")
        file = getattr(sys.modules.get(found.__module__), "__file__", None) or _file_of(found)
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
        return cls(name, found, digest)

    def __call__(self, prompt: Prompt, completion: str) -> float:
        """One score. Raises UsageError, with prompt and completion, where the function raises or gives no number."""
        try:
            value = self.call(list(prompt.prompt), completion, dict(prompt.meta or {}))
            score = float(value)
        except Exception as error:  # a person's code may raise anything
            raise self._fault(f"raised {type(error).__name__} ({error})", prompt, completion) from error
        if not math.isfinite(score):
            raise self._fault(f"returned {score}", prompt, completion)
        return score

    def _fault(self, what: str, prompt: Prompt, completion: str) -> UsageError:
        asked, said = prompt.prompt[-1].content, completion
        return UsageError(
            f"The reward function {self.name} {what} for the prompt {asked[:SHOWN]!r} and the completion "
            f"{said[:SHOWN]!r}; make it return a finite number, then resume."
        )


def load_function(name: str, setting: str) -> Callable[..., Any]:
    """The function that a setting names as `module:function` or `file.py:function`. Raises ConfigError."""
    place, colon, attribute = name.partition(":")
    if not (colon and place and attribute):
        raise ConfigError(
            f'{setting} is "{name}"; write it as module:function, such as rules:score, or file.py:function.'
        )
    module = _import(place, f'{setting} "{name}"')
    found = getattr(module, attribute, None)
    if not callable(found):
        hint = did_you_mean(attribute, vars(module))
        raise ConfigError(f'{setting} "{name}": {place} has no function "{attribute}".{hint}')
    function: Callable[..., Any] = found
    return function


def _file_of(function: Callable[..., Any]) -> str | None:
    """The file that a function was read from."""
    code = getattr(function, "__code__", None)
    file = getattr(code, "co_filename", None)
    return file if file and Path(file).is_file() else None


def _import(place: str, what: str) -> Any:
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        if place.endswith(".py"):
            path = Path(place).expanduser()
            if not path.is_file():
                raise ConfigError(f"{what}: there is no file {path}.")
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
        return importlib.import_module(place)
    except ConfigError:
        raise
    except Exception as error:  # a person's code may raise anything
        raise ConfigError(f"{what}: {place} cannot be imported ({type(error).__name__}: {error}).") from error
    finally:
        if added:
            sys.path.remove(here)


def reward_folder_of(
    tokenizer: Tokenizer,
    policy: Path,
    reward_model: str | Path | None,
    *,
    allow_weak: bool,
    limits: DoctorLimits | None = None,
) -> Path | None:
    """The folder of a reward model that fits the policy, which has this tokenizer; None where none is given.

    Raises ModelFolderError for a language model or another tokenizer, RunError for one that failed its report card.
    """
    if reward_model is None:
        return None
    folder = model_folder(reward_model)
    if not is_scalar(folder):
        raise ModelFolderError(f"{folder} is a language model, not a reward model; name a run of stage 3.")
    must_share_tokenizer(tokenizer, policy, folder, "policy and reward model")
    if not allow_weak:
        refuse_weak(find_run(str(reward_model)), limits or DoctorLimits())
    return folder


@dataclass(frozen=True)
class Scorer:
    """A function, a reward model, or both: `function_weight · f + model_weight · r`."""

    function: RewardFunction | None
    model: RewardModel | None
    function_weight: float
    model_weight: float
    pad_id: int

    def score(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[str],
        rows: Sequence[Sequence[int]],
        ended: Sequence[bool],
        *,
        unended: float,
    ) -> tuple[list[float], Mapping[str, list[float]]]:
        """(scores, the parts by name before their weights). `rows`: ids of prompt and completion. `unended`: in place
        of the reward model's score of a completion that never ended."""
        total = [0.0] * len(rows)
        parts: dict[str, list[float]] = {}
        if self.function is not None:
            parts["function"] = [self.function(p, text) for p, text in zip(prompts, completions, strict=True)]
            total = [a + self.function_weight * b for a, b in zip(total, parts["function"], strict=True)]
        if self.model is not None:
            read = score_rows(self.model, rows, self.pad_id)
            parts["model"] = [r if whole else unended for r, whole in zip(read, ended, strict=True)]
            total = [a + self.model_weight * b for a, b in zip(total, parts["model"], strict=True)]
        return total, parts
