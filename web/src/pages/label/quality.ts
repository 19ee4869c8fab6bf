// What the server sends about agreement, conflicts and reviews, and how a measure reads.

import { t } from "../../words/words.svelte";
import type { LabelQuestion, Questions, Said, Task, TaskType, Value } from "./types";

export interface Measure {
  name: string;
  value: number | null;
  low: number | null;
  high: number | null;
  items: number;
  too_few: boolean;
}

export interface LabelMeasures {
  key: string;
  scale: string;
  prevalence?: Record<string, number>;
  cant_tell?: number;
  measures: Measure[];
}

export interface Person {
  id: string;
  name: string;
}

export interface Group {
  items: number;
  measures: Measure[];
  labels?: LabelMeasures[];
  people?: Person[];
  person?: Person | null;
  agent?: string;
  guideline?: number | null;
  lang?: string | null;
}

export interface Report {
  task: TaskType;
  enough: number;
  items: Record<string, number>;
  answers: number;
  people: number;
  overlapping: number;
  overall: Measure[];
  labels: LabelMeasures[];
  pairs: Group[];
  guidelines: Group[];
  langs: Group[];
  gold: Group[];
  consensus: Group[];
  judges: Group[];
}

export interface Side {
  answer_id: string;
  side: string;
  value: Value;
  guideline: number | null;
  person?: Person;
}

export interface Case {
  item_id: string;
  project_id: string;
  task: TaskType;
  questions: Questions;
  status: string;
  disagreement: number | null;
  lang: string | null;
  messages: Said[];
  brief: string | null;
  completions: { id: string; content: string; model?: string }[];
  answers: Side[];
  consensus: { value: Value | null; votes: Record<string, unknown>; voters: number };
  comments: { id: string; text: string; name?: string }[];
  decision: { final: Value; reason: string; person: Person; at: string } | null;
  mine: boolean;
}

const SHARES = new Set(["pair_agreement", "pair_agreement_untied", "raw_agreement", "span_overlap", "edit_distance"]);

/** A figure as it is printed: shares in percent, coefficients with two decimals. */
export function figure(name: string, value: number | null): string {
  if (value === null) return "–";
  return SHARES.has(name) ? `${(100 * value).toFixed(1)}%` : value.toFixed(2);
}

export function bounds(one: Measure): string {
  return one.value === null || one.low === null ? "" : `${figure(one.name, one.low)} – ${figure(one.name, one.high)}`;
}

export const nameOf = (one: Person | null | undefined): string => one?.name || one?.id.slice(-6) || "";

/** A task as the parts of the labelling screen take it, made of what a lead sees. */
export function taskOf(one: { item_id: string; project_id?: string; task: TaskType; questions: Questions; messages: Said[]; brief: string | null; completions: { id: string; content: string }[]; lang: string | null }): Task {
  const ids = one.completions.map((c) => c.id);
  return { item_id: one.item_id, project_id: one.project_id ?? "", task: one.task, training: false, messages: one.messages, completions: one.completions, shown: ids, order: ids, brief: one.brief, draft_text: null, lang: one.lang, sensitive: [], has_suggestion: false, questions: one.questions, version: 0, value: null, answered: false, expires_at: null };
}

/** The share of a label's values, largest first: "yes: 80%, no: 20%". */
export function prevalence(label: LabelMeasures, question: LabelQuestion | undefined): string {
  const word = (value: string) => (value === "true" ? t("label.yes") : value === "false" ? t("label.no") : (question?.options.find((o) => o.key === value)?.key ?? value));
  return Object.entries(label.prevalence ?? {})
    .sort((a, b) => b[1] - a[1])
    .map(([value, share]) => `${word(value)}: ${Math.round(100 * share)}%`)
    .join(", ");
}
