// What a person thinks of an answer: a thumb with reasons, a better answer, a report, the better of two.

import { post, put } from "./api";
import { app } from "./app.svelte";
import { conversation as talk } from "./conversation.svelte";
import { reload } from "./opening";
import type { Judgement, Message } from "./types";

/** A thumb, shown at once and taken back if the server refuses it; value 0 withdraws it. */
export async function judge(message: Message, judgement: Judgement): Promise<void> {
  const before = message.judgement;
  talk.replaceMessage({ ...message, judgement: judgement.value ? judgement : null });
  try {
    await put(`/api/chats/${talk.id}/messages/${message.id}/judgement`, judgement);
  } catch (problem) {
    talk.replaceMessage({ ...message, judgement: before });
    app.fail(problem);
  }
}

/** A better answer than this one, in the person's words. */
export async function rewrite(message: Message, text: string): Promise<void> {
  await post(`/api/chats/${talk.id}/messages/${message.id}/rewrite`, { text });
}

export async function report(message: Message, kind: string, reason: string): Promise<void> {
  await post(`/api/chats/${talk.id}/messages/${message.id}/report`, { kind, reason });
}

/** The better of the two answers that are shown; their models are named from then on. */
export async function pick(winner: string | "tie" | "both_bad"): Promise<void> {
  const pair = talk.pair;
  if (!pair) return;
  await app.trying(async () => {
    const { messages } = await post<{ messages: Message[] }>(`/api/chats/${talk.id}/picks`, { shown: pair.answers, winner });
    for (const message of messages) talk.replaceMessage(message);
    talk.pair = { ...pair, chosen: winner };
  });
}

/** After a pick: the chosen answer alone stays in the path. */
export async function closePair(): Promise<void> {
  const pair = talk.pair;
  if (!pair) return;
  const kept = pair.chosen && pair.answers.includes(pair.chosen) ? pair.chosen : pair.answers[0];
  await talk.change({ active_leaf_id: kept });
  await reload();
  talk.pair = null;
}
