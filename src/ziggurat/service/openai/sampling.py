"""What OpenAI's generation endpoints ask of the sampler and of the answer's form, with vLLM's extras, within bounds.

Accepted and not read, because they change nothing here: `user`, `safety_identifier`, `prompt_cache_key`,
`service_tier`, `reasoning_effort`, `verbosity`, `modalities`, `prediction`, and unknown fields. `store` and
`metadata.episode_id` change no answer: `product/programs/recording.py` reads them.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, Tag, model_validator

from ziggurat.dialogue.forms import Form
from ziggurat.engine.params import LARGEST, SamplingParams
from ziggurat.service.http.body import one_of
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.problems import ApiError
from ziggurat.service.openai.bodies import MaxTokens, ModelName, Seed, Temperature, to_params
from ziggurat.service.openai.streams import Tally

MAX_STOPS = 32
"""OpenAI takes 4; evaluation harnesses send more."""
MAX_N = 128

ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
StopString = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Stop = Annotated[
    Annotated[StopString, Tag("<text>")]
    | Annotated[list[StopString], Field(max_length=MAX_STOPS), Tag("<list of texts>")],
    one_of("a text or a list of texts"),
]
Schema = Annotated[
    Annotated[dict[str, Any], Tag("<object>")] | Annotated[str, Tag("<text>")],
    one_of("a JSON schema, as an object or as a text"),
]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
TokenId = Annotated[int, Field(ge=0, lt=LARGEST)]


class StreamOptions(BaseModel):
    include_usage: bool = False
    continuous_usage_stats: bool = False

    def usage(self, tally: Tally, prompt_tokens: int) -> dict[str, Any]:
        """The usage field of a piece of the answer: none, null (it comes last), or the counts so far."""
        if self.continuous_usage_stats:
            return {"usage": tally.so_far(prompt_tokens)}
        return {"usage": None} if self.include_usage else {}


class StructuredOutputs(BaseModel):
    """vLLM's: one of these describes what the answer must look like."""

    model_config = ConfigDict(extra="forbid")

    json_: Annotated[Schema | None, Field(alias="json")] = None
    json_object: bool | None = None
    regex: Annotated[str, Field(min_length=1)] | None = None
    choice: (
        Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=1000)] | None
    ) = None
    grammar: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> StructuredOutputs:
        given = [self.json_ is not None, bool(self.json_object), self.regex is not None]
        if sum([*given, self.choice is not None, self.grammar is not None]) != 1:
            raise ValueError("give exactly one of json, json_object, regex, choice and grammar")
        return self

    def form(self) -> Form:
        if self.regex is not None:
            return Form("regex", self.regex)
        if self.choice is not None:
            return Form.choice(self.choice)
        if self.grammar is not None:
            return Form("grammar", self.grammar)
        return as_schema({"type": "object"} if self.json_ is None else self.json_)


def as_schema(schema: dict[str, Any] | str) -> Form:
    """A JSON schema, written out or as an object."""
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, f"Invalid schema for response_format: it is not JSON ({error}).") from None
    if not isinstance(schema, dict):
        raise ApiError(400, "Invalid schema for response_format: it must be an object.")
    return Form.schema(schema)


class JsonSchema(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: ToolName
    schema_: Annotated[dict[str, Any], Field(alias="schema", default_factory=dict)]
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """OpenAI's; `schema` beside `json_object` as other servers have it."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None

    @model_validator(mode="after")
    def _schema_fits_type(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("response_format of type json_schema needs json_schema")
        if self.json_schema is not None and self.type != "json_schema":
            raise ValueError(
                f"response_format of type {self.type} does not read json_schema; use type json_schema"
            )
        if self.schema_ is not None and self.type != "json_object":
            raise ValueError(
                f"response_format of type {self.type} does not read schema; use type json_object"
            )
        return self

    def form(self) -> Form | None:
        if self.type == "text":
            return None
        if self.json_schema is not None:
            return as_schema(self.json_schema.schema_)
        return as_schema({"type": "object"} if self.schema_ is None else self.schema_)


GUIDED = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "guided_json_object": "json_object",
}
"""vLLM's older names, and the fields of `structured_outputs` that they are now."""


class SamplingBody(BaseModel):
    """The fields that `POST /v1/chat/completions` and `POST /v1/completions` share."""

    model_config = ConfigDict(extra="allow")

    model: ModelName
    temperature: Temperature | None = None
    top_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[TokenId, Bias], Field(max_length=1024)] | None = None
    seed: Seed | None = None
    n: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # vLLM's
    top_k: Annotated[int, Field(ge=-1, lt=LARGEST)] | None = None
    min_p: Share | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10, allow_inf_nan=False)] | None = None
    min_tokens: Annotated[int, Field(ge=0, lt=LARGEST)] | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=MAX_STOPS)] | None = None
    return_token_ids: bool | None = None
    prompt_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None
    structured_outputs: StructuredOutputs | None = None
    response_format: ResponseFormat | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_form(cls, body: object) -> object:
        """What `guided_*` asks for as `structured_outputs`; ValueError if two fields ask for a form."""
        if not isinstance(body, dict):
            return body
        asked = [name for name in ("structured_outputs", *GUIDED) if body.get(name) not in (None, False)]
        wanted = body.get("response_format")
        if wanted is not None and not (isinstance(wanted, dict) and wanted.get("type") == "text"):
            asked.append("response_format")
        if len(asked) > 1:
            raise ValueError(
                f"{asked[0]} and {asked[1]} both ask for a form of the answer; leave one of them out"
            )
        if body.get("guided_whitespace_pattern") is not None:
            raise ValueError(
                "guided_whitespace_pattern is not supported: JSON has one form here; leave it out"
            )
        if asked and asked[0] in GUIDED:
            return {**body, "structured_outputs": {GUIDED[asked[0]]: body[asked[0]]}}
        return body

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> SamplingBody:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        if self.stream and self.prompt_logprobs is not None:
            raise ValueError("prompt_logprobs cannot be streamed; leave one of them out")
        if self.truncate_prompt_tokens == 0:
            raise ValueError("truncate_prompt_tokens is 0, which leaves no prompt; -1 keeps as much as fits")
        return self

    def form(self) -> Form | None:
        """What the answer must look like; None: anything."""
        if self.response_format is not None and (wanted := self.response_format.form()) is not None:
            return wanted
        return self.structured_outputs.form() if self.structured_outputs else None

    def usage_of_piece(self, tally: Tally, prompt_tokens: int) -> dict[str, Any]:
        return self.stream_options.usage(tally, prompt_tokens) if self.stream_options else {}

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    def params(
        self,
        limits: Limits,
        *,
        max_tokens: MaxTokens | None,
        logprobs: int = 0,
        prompt_logprobs: int | None = None,
        n: int | None = None,
        prompts: int = 1,
        cache_salt: str = "",
    ) -> SamplingParams:
        """The engine's parameters; 400 if one request asks for more answers than `limits.max_sequences`."""
        each = n or self.n or 1
        if prompts * each > limits.max_sequences:
            message = (
                f"{prompts} prompts with {each} answers each make {prompts * each}; "
                f"one request may ask for {limits.max_sequences} answers, so send several."
            )
            raise ApiError(400, message, param="prompt" if prompts > 1 else "n")
        return to_params(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            max_tokens=max_tokens,
            seed=self.seed,
            limits=limits,
            top_k=max(self.top_k or 0, 0),
            min_p=self.min_p or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            logit_bias=tuple((self.logit_bias or {}).items()),
            min_tokens=self.min_tokens or 0,
            stop_ids=frozenset(self.stop_token_ids or ()),
            n=each,
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
            cache_salt=cache_salt,
        )
