// What the menu of a chat offers, in the list and above the chat itself.

import { download } from "../lib/api";
import { app } from "../lib/app.svelte";
import { library } from "../lib/library.svelte";
import type { Chat } from "../lib/types";
import { t } from "../words/words.svelte";
import type { Item } from "./Menu.svelte";

export function chatItems(chat: Chat, rename: () => void): Item[] {
  return [
    { label: t("action.rename"), icon: "edit", act: rename },
    { label: t(chat.pinned ? "chat.unpin" : "chat.pin"), icon: "pin", act: () => void library.change(chat, { pinned: !chat.pinned }) },
    { label: t("chat.move"), icon: "folder", act: () => (app.dialog = `move:${chat.id}`) },
    { label: t("share.label"), icon: "share", act: () => (app.dialog = `share:${chat.id}`) },
    { label: t("export.label"), icon: "download", act: () => (app.dialog = `export:${chat.id}`) },
    { label: t("chat.archive"), icon: "archive", line: true, act: () => void library.archive(chat) },
    { label: t("action.delete"), icon: "trash", danger: true, act: () => void library.trash(chat) },
  ];
}

const ENDINGS = { markdown: "md", json: "json", jsonl: "jsonl", text: "txt" } as const;
export type Format = keyof typeof ENDINGS;
export const FORMATS = Object.keys(ENDINGS) as Format[];

export async function exportChat(chat: Chat, format: Format): Promise<void> {
  const name = (chat.title || "chat").replace(/[\s\\/:*?"<>|\u0000-\u001f]+/g, " ").trim().slice(0, 80);
  try {
    await download(`/api/chats/${chat.id}/export?format=${format}`, `${name}.${ENDINGS[format]}`);
  } catch (problem) {
    app.fail(problem);
  }
}
