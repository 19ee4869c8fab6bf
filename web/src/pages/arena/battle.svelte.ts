// One battle of the page: asked, written on both sides, voted on.

import { Problem, post, send } from "../../lib/api";
import { eventsOf } from "../../lib/events";
import type { ErrorBody } from "../../lib/types";

export type Winner = "a" | "b" | "tie" | "both_bad";

export interface BattleView {
  id: string;
  state: "writing" | "ready" | "voted" | "failed";
  prompt: { role: string; content: string }[];
  a: { text: string; finish_reason: string } | null;
  b: { text: string; finish_reason: string } | null;
  winner: Winner | null;
  leaked: boolean | null;
  models: { a: string; b: string } | null;
  created_at: string;
}

type Sent = { battle?: BattleView; side?: "a" | "b"; text?: string; error?: ErrorBody };

class Fight {
  question = $state("");
  view = $state.raw<BattleView | null>(null);
  texts = $state({ a: "", b: "" });
  running = $state(false);
  trouble = $state<string | null>(null);
  private readyAt = 0;
  private end = new AbortController();

  get ready(): boolean {
    return this.view?.state === "ready";
  }

  get voted(): boolean {
    return this.view?.state === "voted";
  }

  async begin(text: string, among: string[] | null): Promise<void> {
    this.end = new AbortController();
    Object.assign(this, { question: text, view: null, texts: { a: "", b: "" }, running: true, trouble: null });
    try {
      const response = await send("/api/arena/battles", {
        method: "POST",
        body: JSON.stringify(among ? { text, among } : { text }),
        headers: { "content-type": "application/json" },
        signal: this.end.signal,
      });
      for await (const { data } of eventsOf(response)) this.take(JSON.parse(data) as Sent);
      if (!this.ready && !this.trouble) throw new Problem(0, "unreachable", "");
    } catch (problem) {
      if (!this.end.signal.aborted) this.trouble = problem instanceof Problem ? problem.words : String(problem);
    } finally {
      this.running = false;
    }
  }

  private take(sent: Sent): void {
    if (sent.error) this.trouble = new Problem(503, sent.error.code ?? null, sent.error.message).words;
    if (sent.side && sent.text) this.texts[sent.side] += sent.text;
    if (!sent.battle) return;
    this.view = sent.battle;
    if (sent.battle.state !== "ready") return;
    this.texts = { a: sent.battle.a?.text ?? "", b: sent.battle.b?.text ?? "" };
    this.readyAt = performance.now();
  }

  async vote(winner: Winner): Promise<void> {
    if (!this.view || !this.ready) return;
    const seconds = Math.round((performance.now() - this.readyAt) / 100) / 10;
    try {
      this.view = await post<BattleView>(`/api/arena/battles/${this.view.id}/vote`, { winner, seconds });
      this.trouble = null;
    } catch (problem) {
      this.trouble = problem instanceof Problem ? problem.words : String(problem);
    }
  }

  clear(): void {
    this.end.abort();
    Object.assign(this, { question: "", view: null, texts: { a: "", b: "" }, running: false, trouble: null });
  }
}

export const fight = new Fight();
