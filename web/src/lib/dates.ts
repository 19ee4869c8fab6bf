// Dates in the page's language, and the groups of the list of chats.

import { t, words } from "../words/words.svelte";

const DAY_MS = 86_400_000;

export function dayGroup(iso: string, now = new Date()): string {
  const today = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  const then = new Date(iso).getTime();
  if (then >= today) return t("date.today");
  if (then >= today - DAY_MS) return t("date.yesterday");
  if (then >= today - 7 * DAY_MS) return t("date.week");
  if (then >= today - 30 * DAY_MS) return t("date.month");
  return new Intl.DateTimeFormat(words.locale, { year: "numeric", month: "long" }).format(then);
}

export function when(iso: string | null | undefined): string {
  if (!iso) return "";
  return new Intl.DateTimeFormat(words.locale, { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));
}

/** "45 s", "3 min", "1 h 20 min". */
export function span(seconds: number): string {
  if (seconds < 90) return t("time.seconds", { n: Math.max(0, Math.round(seconds)) });
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return t("time.minutes", { n: minutes });
  return t("time.hours", { h: Math.floor(minutes / 60), m: minutes % 60 });
}
