"""The body of `POST /v1/responses`: what is read, within its bounds, and what is refused by name.

Not read, because it changes nothing here: `reasoning`, `max_tool_calls`, `service_tier`, `user`, `safety_identifier`,
`prompt_cache_key`, `text.verbosity`, values of `include` other than the log-probabilities, and unknown fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, Tag, model_validator

from ziggurat.dialogue.forms import Form
from ziggurat.service.http.body import one_of
from ziggurat.service.openai.bodies import MaxTokens, ModelName, refuse_fields
from ziggurat.service.openai.responses.items import Input
from ziggurat.service.openai.sampling import SamplingBody, ToolName, as_schema
from ziggurat.service.openai.tools import Mode, ToolChoice

NOT_BUILT = ("conversation", "prompt", "moderation")
"""Refused with 400 unless empty, because an answer without them would be wrong."""

ELSEWHERE = ("prompt_logprobs", "truncate_prompt_tokens", "return_token_ids")
"""Those of vLLM's extras that only chat completions answer."""

LOGPROBS = "message.output_text.logprobs"

MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class FunctionTool(BaseModel):
    """A function; the tools that OpenAI runs itself (search, code, images) are not here."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunction(BaseModel):
    type: Literal["function"]
    name: ToolName


class AllowedTools(BaseModel):
    """Only these of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"] = "auto"
    tools: Annotated[list[NamedFunction], Field(min_length=1, max_length=128)]


Choosing = Annotated[
    Annotated[Mode, Tag("<text>")]
    | Annotated[NamedFunction, Tag("<function>")]
    | Annotated[AllowedTools, Tag("<allowed_tools>")],
    one_of("none, auto, required, or an object of type function or allowed_tools", by="type"),
]


class TextFormat(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["text", "json_object", "json_schema"]
    name: ToolName | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None
    description: str | None = None

    @model_validator(mode="after")
    def _schema_given(self) -> TextFormat:
        if self.type == "json_schema" and (self.schema_ is None or self.name is None):
            raise ValueError("a format of type json_schema needs name and schema")
        if self.type == "text" and self.schema_ is not None:
            raise ValueError("a format of type text does not read schema; use type json_schema")
        return self


class TextOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    format: TextFormat | None = None


class InputBody(BaseModel):
    """What decides which tokens a model is given: all of `POST /v1/responses/input_tokens`."""

    model_config = ConfigDict(extra="allow")

    model: ModelName
    input: Input = []
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: Choosing | None = None
    text: TextOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    parallel_tool_calls: bool | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> InputBody:
        refuse_fields(self, NOT_BUILT)
        self.choice.check(self.functions)
        return self

    @property
    def functions(self) -> list[dict[str, Any]]:
        """As chat completions spells them."""
        return [tool.model_dump(exclude={"type"}) for tool in self.tools or ()]

    @property
    def choice(self) -> ToolChoice:
        said = self.tool_choice
        if isinstance(said, NamedFunction):
            return ToolChoice("required", (said.name,))
        if isinstance(said, AllowedTools):
            return ToolChoice(said.mode, tuple(tool.name for tool in said.tools), hides=True)
        return ToolChoice(said or "auto")

    def form(self) -> Form | None:
        """What the answer must look like; None: anything."""
        parallel = self.parallel_tool_calls is not False
        return self.choice.form(self.functions, self._form_of_text(), parallel=parallel)

    def _form_of_text(self) -> Form | None:
        wanted = self.text.format if self.text else None
        if wanted is None or wanted.type == "text":
            return None
        return as_schema(wanted.schema_ if wanted.schema_ is not None else {"type": "object"})


class ResponseBody(InputBody, SamplingBody):
    """The whole body; the fields of sampling are those of chat completions, vLLM's extras included."""

    max_output_tokens: MaxTokens | None = None
    n: Literal[1] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: list[str] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    store: bool | None = None
    stream: bool | None = None
    background: bool | None = None

    @model_validator(mode="after")
    def _can_be_done(self) -> ResponseBody:
        if self.response_format is not None:
            raise ValueError("response_format is called text.format here; move it there")
        if self.structured_outputs is not None and InputBody._form_of_text(self) is not None:
            raise ValueError(
                "text.format and structured_outputs both ask for a form of the answer; leave one of them out"
            )
        for name in ELSEWHERE:
            if getattr(self, name):
                raise ValueError(f"{name} is answered by /v1/chat/completions and not here; leave it out")
        if self.background and not self.store:
            raise ValueError(
                "background is true and store is not; set store: true, or the answer cannot be read"
            )
        if self.background and self.stream:
            raise ValueError(
                "a background response cannot be streamed; ask for it with GET until it is completed"
            )
        return self

    @property
    def logprobs(self) -> bool:
        return bool(self.top_logprobs) or LOGPROBS in (self.include or ())

    def _form_of_text(self) -> Form | None:
        return InputBody._form_of_text(self) or SamplingBody.form(self)
