// A question is sent: into a chat that is kept, to two models at once, or into a temporary chat of which nothing is kept.

import { t } from "../words/words.svelte";
import { Announcer } from "./announce";
import { join } from "./answering";
import { patch, post, Problem } from "./api";
import { app } from "./app.svelte";
import { conversation as talk } from "./conversation.svelte";
import { drafts } from "./drafts";
import { library } from "./library.svelte";
import { Live, type Begun } from "./live.svelte";
import { route } from "./route.svelte";
import { asImport, asSent, passing, streamOnce } from "./temporary";
import type { Chat, Message, Settings } from "./types";

/** Sends a turn. The text is given back to the composer if the server did not take it. */
export async function ask(text: string, twice = false, models?: [string, string]): Promise<void> {
  text = text.trim();
  if (!text || talk.busy) return;
  if (talk.temporary) return askOnce(text);
  const clientId = crypto.randomUUID?.() ?? String(Math.random());
  talk.sending = text;
  talk.pair = null;
  talk.trouble = null;
  talk.write("");
  try {
    const chat = talk.chat ?? (await create());
    if (twice) await askTwice(chat, text, models);
    else {
      const begun = await post<Begun>(`/api/chats/${chat.id}/turns`, { text, parent_id: talk.leaf, client_id: clientId, ...talk.asked });
      talk.messages = [...talk.messages, ...(begun.user ? [begun.user] : []), begun.answer];
      join(begun.answer, begun.generation_id);
    }
  } catch (problem) {
    talk.write(text);
    if (problem instanceof Problem) talk.trouble = problem;
    else throw problem;
  } finally {
    talk.sending = null;
  }
}

async function create(): Promise<Chat> {
  const wish = { model: talk.model?.name ?? null, ...$state.snapshot(talk.wish) };
  const settings = { ...$state.snapshot(app.looks.settings), ...wish.settings };
  const chat = await post<Chat>("/api/chats", { ...wish, settings });
  talk.chat = chat;
  talk.wish = {};
  drafts.keep(null, "");
  library.put(chat);
  route.go(`/c/${chat.id}`, true);
  return chat;
}

async function askTwice(chat: Chat, text: string, models?: [string, string]): Promise<void> {
  // Without two names the server takes the chat's model and draws the other: the chat must name the one that is shown.
  if (!models && talk.model && chat.model !== talk.model.name) await keepModel(talk.model.name);
  const begun = await post<{ user: Message; answers: [Message, Message]; generation_ids: [string, string] }>(
    `/api/chats/${chat.id}/pair`,
    { text, parent_id: talk.leaf, ...(models ? { models } : {}) },
  );
  talk.messages = [...talk.messages, begun.user, ...begun.answers];
  talk.pair = { answers: [begun.answers[0].id, begun.answers[1].id], chosen: null };
  begun.answers.forEach((answer, i) => join(answer, begun.generation_ids[i]!));
}

async function keepModel(model: string): Promise<void> {
  talk.chat = await patch<Chat>(`/api/chats/${talk.id}`, { model });
  library.put(talk.chat);
}

/** One turn of a temporary chat: the server streams an answer to the messages and keeps nothing. */
export async function askOnce(text: string, change: { model?: string; settings?: Settings } = {}): Promise<void> {
  const user = passing("user", text, talk.leaf);
  const answer = { ...passing("assistant", "", user.id), model: change.model ?? talk.model?.name ?? null, state: "running" as const };
  const before = talk.messages;
  talk.messages = [...before, user, answer];
  talk.write("");
  talk.trouble = null;
  const one = (talk.live[answer.id] = new Live(answer.id, ""));
  const announcer = new Announcer((words) => app.say(words), app.looks.announce);
  announcer.begin(t("say.started"));
  const settings = { ...$state.snapshot(app.looks.settings), ...$state.snapshot(talk.wish.settings), ...change.settings };
  try {
    const done = await streamOnce({
      model: answer.model ?? "",
      messages: asSent([...before, user], talk.wish.system_prompt),
      settings,
      signal: one.end.signal,
      text: (piece) => (one.add(piece), announcer.add(piece)),
    });
    one.flush();
    talk.settle({ ...answer, content: one.text, state: "complete", ...done });
    announcer.end(one.text);
  } catch (problem) {
    one.flush();
    if (one.stopped) return;
    talk.settle({ ...answer, content: one.text, state: one.text ? "interrupted" : "failed" });
    if (!one.text) {
      talk.messages = before;
      talk.write(text);
    }
    if (problem instanceof Problem) talk.trouble = problem;
    else throw problem;
  }
}

/** Makes a stored chat of this temporary one. */
export async function keepTemporary(): Promise<void> {
  const first = talk.messages.find((one) => one.role === "user")?.content ?? "";
  try {
    await post("/api/import", asImport(first.slice(0, 60), talk.messages, talk.model?.name ?? null));
    await library.start();
    const id = library.newest?.id;
    app.tell(t("temporary.kept"));
    if (id) route.go(`/c/${id}`, true);
  } catch (problem) {
    app.fail(problem);
  }
}
