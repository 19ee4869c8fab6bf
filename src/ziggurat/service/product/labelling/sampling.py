"""Items whose completions a model of this server writes now: each prompt is answered k times, each time with its own
seed, which is kept with the settings and the hashes."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio.to_thread

from ziggurat.product import budgets
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.records import Message
from ziggurat.service.http.limits import DEFAULT_TEMPERATURE
from ziggurat.service.product.answering import Ask, End, drawn_seed
from ziggurat.service.product.house import House
from ziggurat.service.product.labelling.bodies import Sampled
from ziggurat.service.product.writing import check_model, examined, hashes_of, outgoing
from ziggurat.workbench.labelling import items, values
from ziggurat.workbench.labelling.projects import get_project

SAMPLE_TOKENS = 300
TRIES = 3
"""A completion that repeats one of the same prompt is written again, at most so often."""


async def sample(house: House, principal: Principal, project_id: str, body: Sampled) -> dict[str, Any]:
    """The report of `items.add_items`. A prompt that the guard refuses is named in `refused`.

    Raises:
        ApiError: 404 for an unknown model.
        TooMany: today's budget is used up.
    """
    require(principal, "project.write")
    project = await house.run(get_project, principal, project_id)
    low, high = values.kinds_of(project.task)
    k = min(max(body.k, low), high)
    model = await check_model(house, principal, body.model)
    made = await asyncio.gather(
        *(_entry(house, principal, model, prompt, k, body, project.task) for prompt in body.prompts)
    )
    entries = [one for one in made if "refused" not in one]
    source = {"kind": "model", "model": model}
    report = await house.run(items.add_items, principal, project_id, entries, source=source)
    refused = [{"at": at, "message": one["refused"]} for at, one in enumerate(made) if "refused" in one]
    return {**report, "refused": [*refused, *report["refused"]]}


async def _entry(
    house: House, principal: Principal, model: str, prompt: str, k: int, body: Sampled, task: str
) -> dict[str, Any]:
    messages = [Message(role="user", content=prompt)]
    asked = await anyio.to_thread.run_sync(house.guard.before, examined(messages))
    if asked.acts:
        return {"refused": "the guard refuses this prompt."}
    entry: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}], "lang": body.lang}
    if task == "demonstration":
        drafted = await _completion(house, principal, model, messages, body)
        return {**entry, "draft": drafted["content"]} if drafted["content"] else entry
    found: list[dict[str, Any]] = []
    for _ in range(k * TRIES):
        if len(found) == k:
            break
        one = await _completion(house, principal, model, messages, body)
        if one["content"].strip() and all(one["content"].strip() != f["content"].strip() for f in found):
            found.append(one)
    if len(found) < k and len(found) < values.kinds_of(task)[0]:
        return {"refused": f"the model wrote only {len(found)} different answers; raise the temperature."}
    return {**entry, "completions": found}


async def _completion(
    house: House, principal: Principal, model: str, messages: list[Message], body: Sampled
) -> dict[str, Any]:
    given = body.settings.fields()
    temperature = given.get("temperature")
    ask = Ask(
        model=model,
        messages=messages,
        temperature=max(DEFAULT_TEMPERATURE, 0.8) if temperature is None else temperature,
        top_p=given.get("top_p") or 1.0,
        max_tokens=given.get("max_tokens") or SAMPLE_TOKENS,
        seed=drawn_seed(),
        stop=given.get("stop") or (),
        owner=principal.person_id,
        salt=principal.person_id,
    )
    text, end = "", End("stop")
    async for piece in outgoing(house, principal, ask):
        if isinstance(piece, End):
            end = piece
        else:
            text += piece.text
    await house.run(
        budgets.spend,
        principal,
        prompt_tokens=int(end.usage.get("prompt_tokens") or 0),
        completion_tokens=int(end.usage.get("completion_tokens") or 0),
    )
    sampling = {
        "temperature": ask.temperature,
        "top_p": ask.top_p,
        "max_tokens": ask.max_tokens,
        "seed": ask.seed,
    }
    return {"content": text, "model": model, "sampling": sampling, "hashes": hashes_of(house, model)}
