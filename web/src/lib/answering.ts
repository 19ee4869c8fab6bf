// The stream of one answer: joined, followed over broken connections, settled as the server has it, and stopped.

import { t } from "../words/words.svelte";
import { Announcer } from "./announce";
import { get, patch, post, Problem } from "./api";
import { app } from "./app.svelte";
import { conversation as talk } from "./conversation.svelte";
import { follow } from "./events";
import { Live, unfinished } from "./live.svelte";
import type { GenerationEvent, Message, Opened } from "./types";

/** How often a message is looked for whose events cannot be had, and how long between two looks. */
const LOOKS = 30;
const LOOK_MS = 2000;

export function join(message: Message, generation: string): void {
  const one = new Live(message.id, generation);
  talk.live[message.id] = one;
  void watch(talk.live[message.id]!);
}

async function watch(one: Live): Promise<void> {
  const announcer = new Announcer((text) => app.say(text), app.looks.announce);
  announcer.begin(t("say.started"));
  try {
    await follow<GenerationEvent>(`/api/chats/${talk.id}/generations/${one.generation}/events`, {
      signal: one.end.signal,
      begin: (after) => {
        if (after === null) one.replace("");
      },
      broken: (now) => (one.broken = now),
      ended: () => settleStored(one),
      take: (event) => take(one, event, announcer),
    });
  } catch (problem) {
    await recover(one, problem);
  }
}

/** The events cannot be had: the message is taken from the server, which may still be writing it elsewhere. */
async function recover(one: Live, problem: unknown): Promise<void> {
  for (let tries = 0; tries < LOOKS && !one.end.signal.aborted; tries++) {
    try {
      if (await settleStored(one)) return;
      one.broken = true;
    } catch (worse) {
      if (worse instanceof Problem && !worse.unreachable && worse.status < 500) {
        problem = worse;
        break;
      }
    }
    await new Promise((done) => setTimeout(done, LOOK_MS));
  }
  if (one.end.signal.aborted) return;
  one.flush();
  const known = talk.find(one.message)!;
  talk.settle({ ...known, content: one.text.length > known.content.length ? one.text : known.content, state: "interrupted" });
  if (problem instanceof Problem) talk.trouble = problem;
  else console.error(problem);
}

/** Shows the message as the server has it; false while it is still being written there. */
async function settleStored(one: Live): Promise<boolean> {
  const opened = await openedAt(one.message);
  if (one.end.signal.aborted) return true;
  const stored = opened.messages.find((message) => message.id === one.message);
  if (!stored) throw new Problem(404, "not_found", "");
  if (unfinished(stored)) return false;
  if (!one.stopped) talk.settle(stored);
  talk.rename(opened.chat);
  return true;
}

/** The chat with this message on its path: another branch is opened for a moment, and the shown one again. */
export async function openedAt(message: string): Promise<Opened> {
  const path = `/api/chats/${talk.id}`;
  const opened = await get<Opened>(path);
  if (opened.messages.some((one) => one.id === message)) return opened;
  await patch(path, { active_leaf_id: message });
  try {
    return { ...(await get<Opened>(path)), chat: opened.chat };
  } finally {
    await patch(path, { active_leaf_id: opened.chat.active_leaf_id });
  }
}

function take(one: Live, event: GenerationEvent, announcer: Announcer): boolean {
  if (event.type === "text") {
    one.held = false;
    one.add(event.text);
    announcer.add(event.text);
  } else if (event.type === "reasoning") one.reasoning += event.text;
  else if (event.type === "held") {
    // Nothing of a held answer is shown or kept for its reader until a person has decided.
    one.replace("");
    one.held = true;
    if (event.text) talk.notices = { ...talk.notices, [one.message]: event.text };
  } else if (event.type === "replaced") one.replace(event.text);
  else {
    one.flush();
    const message = event.message ?? { ...talk.find(one.message)!, content: one.text, state: "failed" as const };
    if (!one.stopped) {
      if (event.type === "error") talk.trouble = new Problem(500, event.error.code ?? null, event.error.message);
      talk.settle(message);
      announcer.end(message.content);
    }
    if (event.type === "done" && event.chat) talk.rename(event.chat);
    return true;
  }
  return false;
}

/** Freezes what is shown at once; the server keeps exactly that. */
export async function stop(): Promise<void> {
  await Promise.all(
    Object.values(talk.live).map(async (one) => {
      one.freeze();
      const seen = one.text;
      if (talk.temporary) {
        talk.settle({ ...talk.find(one.message)!, content: seen, state: "stopped" });
        one.end.abort();
        return;
      }
      try {
        const kept = await post<{ message: Message }>(`/api/chats/${talk.id}/generations/${one.generation}/stop`, {
          seen_chars: [...seen].length,
        });
        talk.settle(kept.message);
      } catch (problem) {
        app.fail(problem);
        talk.settle({ ...talk.find(one.message)!, content: seen, state: "stopped" });
      }
      one.end.abort();
      app.say(t("say.stopped"));
    }),
  );
}
