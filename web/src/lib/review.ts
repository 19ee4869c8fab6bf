// The objects of expert review, as docs/review.md describes them, and what the page does with them.

import { has, t, words } from "../words/words.svelte";

export interface Who {
  id: string;
  name: string;
}

export interface Row {
  id: string;
  state: string;
  version: number;
  channel: "chat" | "api";
  topic: string;
  risk: number;
  priority: number;
  four_eyes: boolean;
  reopened: boolean;
  routed: string[];
  question: string;
  model: string | null;
  lang: string | null;
  customer: string | null;
  due_at: string;
  late: boolean;
  warned: boolean;
  unclaimed: boolean;
  holder: Who | null;
  holder_until: string | null;
  created_at: string;
}

export interface Version {
  id: string;
  n: number;
  author_kind: "model" | "person" | "template";
  author: Who | null;
  text: string;
  instruction: string | null;
  created_at: string;
}

export interface Said {
  en: string;
  zh: string;
}

export interface Fact {
  start: number;
  end: number;
  kind: string;
}

export interface Card {
  item: Row;
  prompt: { role: string; content: string }[];
  versions: Version[];
  decisions: { id: string; decision: string; by: Who | null; decided_by: string; reasons: string[]; note: string | null; created_at: string }[];
  notes: { id: string; by: Who | null; text: string; mentions: Who[]; created_at: string }[];
  complaints: { text: string; created_at: string }[];
  corrections: { kind: string; note: string; created_at: string }[];
  facts: Fact[];
  signals: Record<string, unknown>;
  origin: { path: string; key: string | null; answered: boolean | null } | null;
  earlier: { item_id: string; question: string; answer: string | null; decision: string; reasons: string[]; similarity: number }[];
  here: Who[];
  reasons: { code: string; label?: Said }[];
  declines: { name: string; text: Said }[];
  guideline: Said | null;
  mine: boolean;
  may_claim: boolean;
  why_not: string | null;
  delivered_version_id: string | null;
}

export interface Counts {
  open: number;
  late: number;
  mine: number;
  mentions: number;
  seconds: number;
  topics: Record<string, number>;
  mark: string;
}

export interface Share {
  value: number | null;
  low: number | null;
  high: number | null;
  hits: number;
  n: number;
}

export interface Figures {
  decided: number;
  by_policy: number;
  unchanged: Share;
  light: Share;
  usable: Share;
  clears: Record<string, "yes" | "no" | "undecided">;
  rejected: Share;
  reasons: Record<string, number>;
  contained: Share;
  escapes: Share;
  in_time: Share;
  rubber_stamps: Share;
  times: Record<string, { p50: number | null; p90: number | null; p99: number | null }>;
  edits: { characters: number; minutes: number; saved_s_each: number | null };
}

export interface Metrics {
  all: Figures;
  groups: (Figures & { key: string; name: string })[];
  queue: { depth: number; oldest_s: number | null; came: number; delivered: number; reviewers: number };
  agreement: Share;
  /** Cohen's; null without second opinions, its value null where all say the same. */
  kappa: { value: number | null; low: number | null; high: number | null; n: number } | null;
  drift: { model: string; usable: number; n: number }[];
}

export interface Policy {
  id: string;
  topic: string;
  name: string;
  words: string[];
  mode: "all" | "sampled" | "auto";
  sample_pct: number;
  double_pct: number;
  risk: number;
  four_eyes: boolean;
  claim_s: number;
  decide_s: number;
  calendar: { zone?: string; hours?: Record<string, [string, string][]>; holidays?: string[] };
  routes: Record<string, unknown> & { words: string[]; probation: string[] };
  texts: { holding: Said; declines: { name: string; text: Said }[]; reasons: { code: string; label: Said }[]; guideline: Said | null };
  autonomy: { threshold: number; min_items: number; window_days: number };
  enabled: boolean;
}

export const said = (text: Said): string => (words.language === "zh" ? text.zh : text.en);

/** The label of a reason: the page's own, or what the topic's policy calls it. */
export function reasonLabel(one: { code: string; label?: Said }): string {
  return one.label ? said(one.label) : has(`review.reason.${one.code}`) ? t(`review.reason.${one.code}`) : one.code;
}

export const risk = (level: number): string => t(`review.risk.${Math.max(0, Math.min(3, level))}`);

/** "12 min", "3 h", "2 d". */
export function span(seconds: number): string {
  const size = Math.abs(seconds);
  if (size < 90) return t("review.span.s", { n: Math.round(size) });
  if (size < 5400) return t("review.span.m", { n: Math.round(size / 60) });
  if (size < 129_600) return t("review.span.h", { n: Math.round(size / 3600) });
  return t("review.span.d", { n: Math.round(size / 86_400) });
}

/** How long until a time, or how long ago it was. */
export function left(due: string, now: number): string {
  const seconds = (Date.parse(due) - now) / 1000;
  return t(seconds >= 0 ? "review.left" : "review.over", { time: span(seconds) });
}

export function percent(share: Share): string {
  if (share.value === null) return "–";
  const n = (value: number | null) => new Intl.NumberFormat(words.locale, { maximumFractionDigits: 0 }).format(100 * (value ?? 0));
  return t("review.share", { value: n(share.value), low: n(share.low), high: n(share.high), count: share.n });
}

export interface Piece {
  kind: "same" | "out" | "in";
  text: string;
}

const PIECES = /[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|\s+|[\p{L}\p{N}]+|./gsu;
const MOST = 3000;

/** What an edit takes out and puts in, by words and Chinese characters. */
export function compared(before: string, after: string): Piece[] {
  const old = before.match(PIECES) ?? [];
  const now = after.match(PIECES) ?? [];
  let begin = 0;
  while (begin < old.length && begin < now.length && old[begin] === now[begin]) begin++;
  let end = 0;
  while (end < old.length - begin && end < now.length - begin && old[old.length - 1 - end] === now[now.length - 1 - end]) end++;
  const a = old.slice(begin, old.length - end);
  const b = now.slice(begin, now.length - end);
  const middle: Piece[] =
    a.length > MOST || b.length > MOST || a.length * b.length > MOST * MOST
      ? [{ kind: "out", text: a.join("") }, { kind: "in", text: b.join("") }]
      : longest(a, b);
  return joined([{ kind: "same", text: old.slice(0, begin).join("") }, ...middle, { kind: "same", text: old.slice(old.length - end).join("") }]);
}

function longest(a: string[], b: string[]): Piece[] {
  const width = b.length + 1;
  const best = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      best[i * width + j] = a[i] === b[j] ? best[(i + 1) * width + j + 1]! + 1 : Math.max(best[(i + 1) * width + j]!, best[i * width + j + 1]!);
  const made: Piece[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) made.push({ kind: "same", text: a[i++]! }), j++;
    else if (best[(i + 1) * width + j]! >= best[i * width + j + 1]!) made.push({ kind: "out", text: a[i++]! });
    else made.push({ kind: "in", text: b[j++]! });
  }
  return [...made, { kind: "out", text: a.slice(i).join("") }, { kind: "in", text: b.slice(j).join("") }];
}

function joined(pieces: Piece[]): Piece[] {
  const made: Piece[] = [];
  for (const one of pieces) {
    const last = made.at(-1);
    if (!one.text) continue;
    if (last?.kind === one.kind) last.text += one.text;
    else made.push({ ...one });
  }
  return made;
}
