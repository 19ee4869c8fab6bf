// What an answer holds, by task: when it is complete, and how it reads in a sentence.

import { t, words } from "../../words/words.svelte";
import type { LabelQuestion, Task, Texts, Value } from "./types";

export const CANT_TELL = "cant_tell";

/** A text in the page's language, else in the other. */
export function read(texts: Texts | undefined): string {
  return texts?.[words.language] ?? texts?.en ?? texts?.zh ?? "";
}

export function ranksOf(value: Value | null): Record<string, number> {
  return (value?.["ranks"] as Record<string, number> | undefined) ?? {};
}

export function labelsOf(value: Value | null): Record<string, unknown> {
  return (value?.["labels"] as Record<string, unknown> | undefined) ?? {};
}

/** Whether the answer can be sent as it is. */
export function complete(task: Task, value: Value | null): boolean {
  if (!value) return false;
  const { questions } = task;
  switch (task.task) {
    case "ranking":
      return Boolean(value["not_rankable"]) || task.completions.every((one) => ranksOf(value)[one.id]);
    case "pairwise":
      return value["verdict"] != null || Boolean(value["strength"]);
    case "labels": {
      const given = labelsOf(value);
      const asked = (questions.labels ?? []) as LabelQuestion[];
      return Object.keys(given).length > 0 && asked.every((one) => !one.required || given[one.key] !== undefined);
    }
    case "spans":
      return Array.isArray(value["spans"]);
    case "demonstration":
      return long(questions.min_chars, (value["messages"] as { content: string }[] | undefined)?.at(-1)?.content);
    case "rewrite":
      return long(questions.min_chars, value["text"]) && String(value["text"]).trim() !== task.completions[0]?.content.trim();
    case "prompt": {
      const kind = value["prompt_kind"];
      const examples = (value["examples"] as { input: string; output: string }[] | undefined) ?? [];
      if (kind === "few_shot" && (!examples.length || examples.some((one) => !one.input.trim() || !one.output.trim()))) return false;
      if (kind === "user_based" && !String(value["use_case"] ?? "").trim()) return false;
      return Boolean(kind) && long(questions.min_chars, value["text"]);
    }
  }
}

function long(least: number | undefined, text: unknown): boolean {
  return String(text ?? "").trim().length >= (least ?? 1);
}

/** The ranking is the order of the screen: perhaps nothing was changed. */
export function unchanged(task: Task, value: Value | null): boolean {
  const ranks = ranksOf(value);
  return task.task === "ranking" && task.shown.every((one, i) => ranks[one] === i + 1);
}

/** The names of the completions on the screen: A, B, C. */
export const letter = (index: number): string => String.fromCharCode(65 + index);

/** A value in words: a suggestion, or the known value of a training item. */
export function inWords(task: Task, value: Value): string {
  const name = (id: string) => letter(task.shown.indexOf(id));
  if (task.task === "ranking") {
    if (value["not_rankable"] && !Object.keys(ranksOf(value)).length) return t("label.notRankable");
    const ranks = ranksOf(value);
    const rows = [...new Set(Object.values(ranks))].sort((a, b) => a - b);
    return rows.map((rank) => task.shown.filter((one) => ranks[one] === rank).map(name).join(" = ")).join(" > ");
  }
  if (task.task === "pairwise") return choice(Number(value["strength"] ?? 0), value["verdict"] as string | null);
  if (task.task === "labels") {
    const asked = task.questions.labels ?? [];
    return Object.entries(labelsOf(value)).map(([key, said]) => `${read(asked.find((one) => one.key === key)?.title)}: ${spoken(asked.find((one) => one.key === key), said)}`).join("; ");
  }
  if (task.task === "spans") {
    const spans = (value["spans"] as { label: string }[] | undefined) ?? [];
    return t("label.spansMarked", { n: spans.length });
  }
  if (task.task === "demonstration") return (value["messages"] as { content: string }[]).at(-1)?.content ?? "";
  return String(value["text"] ?? "");
}

export function choice(strength: number, verdict: string | null | undefined): string {
  if (verdict) return t("label.pair." + verdict);
  return t(`label.pair.${strength < 0 ? "a" : "b"}${Math.abs(strength)}`);
}

export function spoken(label: LabelQuestion | undefined, said: unknown): string {
  if (said === CANT_TELL) return t("label.cantTell");
  if (typeof said === "boolean") return t(said ? "label.yes" : "label.no");
  const option = label?.options.find((one) => one.key === said);
  return option ? read(option.title) : String(said);
}

/** Chinese characters one each, four others to one: near enough to say how long a text is. */
export function aboutTokens(text: string): number {
  const han = text.match(/\p{Script=Han}/gu)?.length ?? 0;
  return han + Math.ceil((text.length - han) / 4);
}

/** Whether a text is plainly of another language than the item's. */
export function otherLanguage(text: string, lang: string | null): boolean {
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  if (!lang || letters < 20) return false;
  const share = (text.match(/\p{Script=Han}/gu)?.length ?? 0) / letters;
  return lang.startsWith("zh") ? share < 0.2 : lang.startsWith("en") && share > 0.3;
}
