// Another answer, an edited question, an answer that goes on: each is a sibling, and what stood before stays.

import { t } from "../words/words.svelte";
import { join } from "./answering";
import { post } from "./api";
import { app } from "./app.svelte";
import { askOnce } from "./asking.svelte";
import { conversation as talk } from "./conversation.svelte";
import { library } from "./library.svelte";
import type { Begun } from "./live.svelte";
import { reload } from "./opening";
import { route } from "./route.svelte";
import type { Chat, Message, Settings } from "./types";

/** At temperature 0 the same question has one answer: whoever asks for another one is given some variety. */
const AGAIN_TEMPERATURE = 0.8;

export async function regenerate(message: Message, change: { model?: string; settings?: Settings } = {}): Promise<void> {
  if (talk.temporary) {
    const question = talk.find(message.parent_id ?? "");
    talk.messages = talk.messages.slice(0, talk.messages.findIndex((one) => one.id === question?.id));
    return question && askOnce(question.content, change);
  }
  const settings = change.settings ?? (talk.temperature === 0 ? { temperature: AGAIN_TEMPERATURE } : undefined);
  const body = { ...talk.asked, ...change, ...(settings ? { settings } : {}) };
  await branch(message, () => post<Begun>(`/api/chats/${talk.id}/messages/${message.id}/regenerate`, body));
}

export async function editUser(message: Message, text: string, run = true): Promise<void> {
  if (talk.temporary) {
    talk.messages = talk.messages.slice(0, talk.messages.findIndex((one) => one.id === message.id));
    return askOnce(text);
  }
  await branch(message, () => post<Begun>(`/api/chats/${talk.id}/messages/${message.id}/edit`, { text, run, ...(run ? talk.asked : {}) }));
}

export async function editAnswer(message: Message, text: string): Promise<void> {
  await post(`/api/chats/${talk.id}/messages/${message.id}/edit`, { text, run: false });
  await reload();
}

/** Goes on with an answer that reached its longest length. */
export async function carryOn(message: Message): Promise<void> {
  await app.trying(async () => {
    const begun = await post<Begun>(`/api/chats/${talk.id}/messages/${message.id}/continue`);
    talk.replaceMessage({ ...message, ...begun.answer });
    join(talk.find(message.id) ?? begun.answer, begun.generation_id);
  });
}

/** What is begun stands in the place of `message` and of all below it. */
async function branch(message: Message, begin: () => Promise<Begun>): Promise<void> {
  if (talk.busy) return;
  try {
    const begun = await begin();
    const at = talk.messages.findIndex((one) => one.id === message.id);
    talk.messages = [...talk.messages.slice(0, at), ...(begun.user ? [begun.user] : []), ...(begun.answer ? [begun.answer] : [])];
    talk.pair = null;
    if (begun.answer && begun.generation_id) join(begun.answer, begun.generation_id);
    else await reload();
  } catch (problem) {
    app.fail(problem);
  }
}

/** A new chat that holds the path up to this message. */
export async function fork(message: Message): Promise<void> {
  await app.trying(async () => {
    const chat = await post<Chat>(`/api/chats/${talk.id}/fork`, { message_id: message.id });
    library.put(chat);
    route.go(`/c/${chat.id}`);
    app.tell(t("toast.forked"));
  });
}
