// What can be done with a message: the menu "More" under an answer, and the menu under a finger that rests on a message.

import { app } from "../lib/app.svelte";
import { fork, regenerate } from "../lib/branching";
import { conversation as talk } from "../lib/conversation.svelte";
import type { Message } from "../lib/types";
import { t } from "../words/words.svelte";
import type { Item } from "./Menu.svelte";

export async function copyMessage(message: Message): Promise<void> {
  await navigator.clipboard.writeText(message.content);
  app.tell(t("action.copied"));
}

/** "More" under an answer. Nothing of a temporary chat is kept that these could speak of. */
export function moreItems(message: Message): Item[] {
  if (talk.temporary) return [];
  return [
    { label: t("why.label"), icon: "why", act: () => (app.dialog = `why:${message.id}`) },
    { label: t("message.origin"), icon: "info", act: () => (app.dialog = `origin:${message.id}`) },
    { label: t("better.label"), icon: "write", act: () => (app.dialog = `better:${message.id}`) },
    { label: t("message.editAnswer"), icon: "edit", act: () => (app.dialog = `edit:${message.id}`) },
    { label: t("message.fork"), icon: "branch", line: true, act: () => void fork(message) },
    { label: t("report.label"), icon: "flag", act: () => (app.dialog = `report:${message.id}`) },
  ];
}

/** Under a finger: a long press no longer selects text, so the menu offers that too. */
const forFingers = (message: Message, copy: string): Item[] => [
  { label: t(copy), icon: "copy", act: () => void copyMessage(message) },
  { label: t("select.label"), icon: "select", act: () => (app.dialog = `select:${message.id}`) },
];

export function answerItems(message: Message): Item[] {
  const again = { label: t("again.label"), icon: "retry", disabled: talk.busy, act: () => void regenerate(message) };
  const more = moreItems(message).map((item, i) => (i ? item : { ...item, line: true }));
  return [...forFingers(message, "action.copyAnswer"), again, ...more];
}

export function questionItems(message: Message, edit: () => void): Item[] {
  return [...forFingers(message, "action.copy"), { label: t("message.edit"), icon: "edit", disabled: talk.busy, act: edit }];
}
