// Temporary chats: one streamed answer to the messages in the request; the server stores nothing.

import { Problem, send } from "./api";
import { eventsOf } from "./events";
import type { ErrorBody, Message, Settings } from "./types";

let made = 0;

export function passing(role: "user" | "assistant", content: string, parent: string | null): Message {
  const id = `temporary_${++made}`;
  return {
    id, chat_id: "", parent_id: parent, role, content, reasoning: null, tool_calls: null, model: null, state: "complete",
    finish_reason: null, usage: null, settings: null, seed: null, siblings: [id], position: made, judgement: null, guard: null,
    lang: null, edited: false, created_at: new Date().toISOString(),
  };
}

interface Sent {
  role: string;
  content: string;
}

export function asSent(messages: Message[], system?: string | null): Sent[] {
  const said = messages.filter((one) => one.content).map(({ role, content }) => ({ role, content }));
  return system ? [{ role: "system", content: system }, ...said] : said;
}

interface Once {
  model: string;
  messages: Sent[];
  settings: Settings;
  signal: AbortSignal;
  text: (piece: string) => void;
}

interface Done {
  finish_reason: string | null;
  usage?: { prompt_tokens: number; completion_tokens: number };
  seed: number | null;
  dropped_messages?: number;
  tokens_per_s?: number;
  first_token_s?: number;
}

export async function streamOnce(ask: Once): Promise<Partial<Message>> {
  const { temperature, top_p, max_tokens, seed } = ask.settings;
  const asked = { model: ask.model, messages: ask.messages, temperature, top_p, max_tokens, seed };
  const body = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== null && value !== undefined));
  const response = await send("/api/chat", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: ask.signal,
  });
  for await (const { data } of eventsOf(response)) {
    const event = JSON.parse(data) as { text?: string; done?: Done; error?: ErrorBody };
    if (event.text) ask.text(event.text);
    if (event.error) throw new Problem(500, event.error.code ?? null, event.error.message);
    if (event.done) return summary(event.done);
  }
  throw new Problem(500, "cut", "");
}

function summary(done: Done): Partial<Message> {
  return {
    finish_reason: done.finish_reason,
    seed: done.seed,
    usage: { ...done.usage, tokens_per_s: done.tokens_per_s ?? null, dropped_messages: done.dropped_messages ?? 0 },
  };
}

/** The form of our own export, so that a temporary chat can be kept after all. */
export function asImport(title: string, messages: Message[], model: string | null): unknown {
  const kept = messages.filter((one) => one.content);
  return {
    kind: "ziggurat.chat",
    format_version: 1,
    title,
    model,
    created_at: kept[0]?.created_at,
    active_leaf: kept.at(-1)?.id ?? null,
    messages: kept.map(({ id, parent_id, role, content, model: by, finish_reason, created_at }) => ({
      id, parent: parent_id, role, content, state: "complete", created_at,
      ...(by ? { model: by } : {}),
      ...(finish_reason ? { finish_reason } : {}),
    })),
  };
}
