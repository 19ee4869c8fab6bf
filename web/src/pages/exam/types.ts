// What `/api/exam` answers, and how its figures are shown.

import { titleOf } from "../../lib/models";
import { t, words } from "../../words/words.svelte";

export type Titles = Record<string, string>;
export interface Figure { score: number | null; low: number | null; high: number | null; n: number; chance: number | null; majority: number | null; metrics: Record<string, number | null>; percentile: number | null }
export interface Column { task: string; title: Titles; ability: string; better: string; unit: string; models: number }
export interface Entry {
  model: string; sha256: string; figures: Record<string, Figure>;
  mean: number | null; grade: number | null; win_rate: number | null; rating: number | null; rating_low: number | null; rating_high: number | null;
  parameters: number | null; licence: string | null; tokens_each: number | null; seconds_each: number | null;
}
export interface Reference { name: string; title: Titles; source: string; note: Titles; columns: string[]; rows: Record<string, string | number | null>[] }
export interface Board { columns: Column[]; models: Entry[]; references: Record<string, Reference> }

/** A cell of the board: what it is sorted by, what it shows, and a second line. */
export interface Cell { value: number | string | null; text: string; more?: string }
export interface Row { key: string; title: string; reference: boolean; cells: Record<string, Cell> }

export const said = (titles: Titles): string => titles[words.language] ?? titles["en"] ?? "";
export const decimal = (value: number, digits: number): string => value.toLocaleString(words.locale, { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** "45 sec", "12.5 min", "3 hr", in the page's language. */
export function duration(seconds: number): string {
  const [value, unit] = seconds < 90 ? [seconds, "second"] : seconds < 5400 ? [seconds / 60, "minute"] : [seconds / 3600, "hour"];
  return new Intl.NumberFormat(words.locale, { style: "unit", unit: unit as string, maximumFractionDigits: (value as number) < 10 ? 1 : 0 }).format(value as number);
}

const blank = (): Cell => ({ value: null, text: t("exam.blank") });
const plain = (value: number | null | undefined, digits: number, more?: string): Cell => (value === null || value === undefined ? blank() : { value, text: decimal(value, digits), ...(more ? { more } : {}) });
const word = (value: string | null | undefined): Cell => (value ? { value, text: value } : blank());
/** In percent, or in the task's own unit. */
const share = (one: Figure | undefined, unit = "share", percentiles = false): Cell => {
  if (!one || one.score === null) return blank();
  const [scale, digits] = unit === "share" ? [100, 1] : [1, 3];
  const above = one.percentile === null ? undefined : t("exam.above", { share: decimal(100 * one.percentile, 0) });
  const more = percentiles ? above : one.low === null || one.high === null ? undefined : `${decimal(scale * one.low, digits)} – ${decimal(scale * one.high, digits)}`;
  return plain(scale * one.score, digits, more);
};

/** Published columns that a task of ours measures, by the beginning of the task's name. */
const OURS: Record<string, RegExp> = { mmlu: /^mmlu/, average: /^c-?eval/ };

export function rowOf(one: Entry, columns: Column[], published: string[], percentiles: boolean): Row {
  const cells: Record<string, Cell> = {
    mean: plain(one.mean === null ? null : 100 * one.mean, 1),
    grade: plain(one.grade, 2),
    win_rate: plain(one.win_rate === null ? null : 100 * one.win_rate, 1),
    rating: plain(one.rating, 0, one.rating_low === null || one.rating_high === null ? undefined : `${decimal(one.rating_low, 0)} – ${decimal(one.rating_high, 0)}`),
    parameters: one.parameters === null ? blank() : { value: one.parameters, text: new Intl.NumberFormat(words.locale, { notation: "compact", maximumFractionDigits: 1 }).format(one.parameters) },
    tokens_each: plain(one.tokens_each, 0),
    seconds_each: plain(one.seconds_each, 1),
    licence: word(one.licence),
  };
  for (const column of columns) cells["task:" + column.task] = share(one.figures[column.task], column.unit, percentiles);
  for (const ability of new Set(columns.map((column) => column.ability))) {
    const scores = columns.filter((column) => column.ability === ability && column.better === "higher" && column.unit === "share").map((column) => one.figures[column.task]?.score).filter((score) => typeof score === "number");
    cells["ability:" + ability] = scores.length ? plain((100 * scores.reduce((sum, score) => sum + score, 0)) / scores.length, 1, t("exam.tasks", { n: scores.length })) : blank();
  }
  for (const name of published) {
    const pattern = OURS[name];
    const task = pattern && columns.find((column) => pattern.test(column.task));
    cells["published:" + name] = task ? share(one.figures[task.task]) : blank();
  }
  return { key: `${one.model} ${one.sha256}`, title: titleOf(one.model), reference: false, cells };
}

const SHARED: Record<string, string> = { elo: "rating", mt_bench: "grade", win_rate: "win_rate" };

export function publishedRow(one: Record<string, string | number | null>, from: Reference, shown: string[]): Row {
  const cells: Record<string, Cell> = {};
  for (const key of shown) cells[key] = blank();
  for (const name of from.columns) {
    const value = one[name];
    cells[SHARED[name] ?? "published:" + name] = typeof value === "number" ? { value, text: value.toLocaleString(words.locale) } : blank();
  }
  cells["licence"] = word(typeof one["licence"] === "string" ? one["licence"] : null);
  return { key: `${from.name} ${String(one["model"])}`, title: String(one["model"]), reference: true, cells };
}

/** The columns that a published table adds to ours. */
export const added = (from: Reference): string[] => from.columns.filter((name) => !(name in SHARED));

/** Numbers from high to low, texts from a to z, unknown ones last in both directions. */
export function sorted(rows: Row[], key: string, up: boolean): Row[] {
  const way = up ? -1 : 1;
  return [...rows].sort((one, other) => {
    if (key === "model") return -way * one.title.localeCompare(other.title, words.locale);
    const [a, b] = [one.cells[key]?.value ?? null, other.cells[key]?.value ?? null];
    if (a === null || b === null) return a === b ? one.title.localeCompare(other.title, words.locale) : a === null ? 1 : -1;
    if (typeof a === "number" && typeof b === "number") return way * (b - a) || one.title.localeCompare(other.title, words.locale);
    return way * String(a).localeCompare(String(b), words.locale);
  });
}
