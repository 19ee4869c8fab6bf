// A chat is opened, read again, and moved through: earlier pages, other branches, one message that is looked for.

import { join, openedAt } from "./answering";
import { get, Problem, query } from "./api";
import { conversation as talk } from "./conversation.svelte";
import { drafts } from "./drafts";
import { unfinished } from "./live.svelte";
import { route } from "./route.svelte";
import type { Earlier, Opened } from "./types";

/** Messages of one page further up. */
const EARLIER = 20;

export async function open(id: string): Promise<void> {
  if (talk.id === id) return;
  talk.clear();
  talk.draft = drafts.of(id);
  await reload(id);
}

export async function reload(id = talk.id): Promise<void> {
  if (!id) return;
  talk.loading = true;
  try {
    const opened = await get<Opened>(`/api/chats/${id}`);
    if (route.parts[1] !== id) return;
    talk.trouble = null;
    talk.chat = opened.chat;
    talk.messages = opened.messages;
    talk.hasEarlier = opened.has_earlier;
    if (await restorePair(opened)) return;
    const running = opened.messages.findLast((one) => one.role === "assistant" && unfinished(one));
    if (opened.generation_id && running) join(running, opened.generation_id);
  } catch (problem) {
    if (problem instanceof Problem) talk.trouble = problem;
    else throw problem;
  } finally {
    talk.loading = false;
  }
}

/** Two answers that wait for a pick, finished or still being written, are shown side by side again after a reload. */
async function restorePair(opened: Opened): Promise<boolean> {
  const last = opened.messages.at(-1);
  if (!last?.pair_id || last.model || last.siblings.length < 2) return false;
  const at = last.siblings.indexOf(last.id);
  const other = last.siblings[at - 1] ?? last.siblings[at + 1];
  if (!other) return false;
  const beside = await openedAt(other);
  if (talk.id !== opened.chat.id) return true; // Another chat is shown by now.
  const shown = beside.messages.find((one) => one.id === other);
  if (!shown || shown.pair_id !== last.pair_id || shown.model) return false;
  const both = shown.id < last.id ? [shown, last] : [last, shown];
  talk.messages = [...talk.messages.slice(0, -1), ...both];
  talk.pair = { answers: [both[0]!.id, both[1]!.id], chosen: null };
  // Each opening names the generation of the branch that it shows, if that is running.
  if (opened.generation_id && unfinished(last)) join(last, opened.generation_id);
  if (beside.generation_id && unfinished(shown)) join(shown, beside.generation_id);
  return true;
}

export async function earlier(): Promise<void> {
  const first = talk.messages[0];
  if (!first || !talk.hasEarlier || !talk.id) return;
  const id = talk.id;
  const page = await get<Earlier>(`/api/chats/${id}/messages` + query({ before: first.id, limit: EARLIER }));
  if (talk.id !== id || talk.messages[0]?.id !== first.id) return; // Another chat or branch is shown by now.
  talk.hasEarlier = page.has_earlier;
  talk.messages = [...page.messages, ...talk.messages];
}

/** The message of this id, loaded if it is not among the newest: on another branch, that branch is shown. */
export async function reach(id: string): Promise<boolean> {
  while (!talk.find(id) && talk.hasEarlier) await earlier();
  if (!talk.find(id)) {
    await talk.change({ active_leaf_id: id });
    await reload();
    while (!talk.find(id) && talk.hasEarlier) await earlier();
  }
  return talk.find(id) !== undefined;
}

/** Shows another sibling: the newest leaf under it becomes the active one, as the server chooses. */
export async function show(id: string): Promise<void> {
  if (talk.busy) return;
  await talk.change({ active_leaf_id: id });
  await reload();
}
