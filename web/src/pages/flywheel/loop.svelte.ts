// The loop as the server sees it, looked at again while something runs.

import { get } from "../../lib/api";
import { app } from "../../lib/app.svelte";
import { t, words } from "../../words/words.svelte";
import { GOING, type Interval, type Loop } from "./types";

const LOOK_MS = 2500;

export class LoopWatch {
  loop = $state.raw<Loop | null>(null);
  busy = $state(false);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private ended = false;

  async load(): Promise<void> {
    clearTimeout(this.timer);
    try {
      this.loop = await get<Loop>("/api/flywheel");
    } catch (problem) {
      if (!this.loop) app.fail(problem);
    }
    if (!this.ended && this.runs) this.timer = setTimeout(() => (document.hidden ? (this.timer = setTimeout(() => void this.load(), LOOK_MS)) : void this.load()), LOOK_MS);
  }

  get runs(): boolean {
    return [...(this.loop?.turns ?? []), ...(this.loop?.gates ?? [])].some((one) => GOING.includes(one.state));
  }

  /** Do something, then look again; true if it worked. */
  async after(what: () => Promise<unknown>): Promise<boolean> {
    this.busy = true;
    const worked = await app.trying(what);
    this.busy = false;
    await this.load();
    return worked;
  }

  stop(): void {
    this.ended = true;
    clearTimeout(this.timer);
  }
}

export function share(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : new Intl.NumberFormat(words.locale, { style: "percent", maximumFractionDigits: 1 }).format(value);
}

export function interval(one: Interval, scale: "share" | "number" = "share"): string {
  if (!one.n || one.value === null) return t("flywheel.noData");
  const show = (value: number | null) => (scale === "share" ? share(value) : (value ?? 0).toFixed(1));
  return t("flywheel.between", { low: show(one.low), high: show(one.high), n: one.n });
}

export function figure(value: number | null, unit: string): string {
  if (value === null) return "–";
  if (unit === "share") return share(value);
  if (unit === "difference") return `${value >= 0 ? "+" : ""}${(100 * value).toFixed(1)} %`;
  return value.toFixed(unit === "count" ? 0 : 2);
}

export const MARK: Record<string, string> = { passed: "✓", refused: "✕", undecided: "?", not_measured: "–" };
