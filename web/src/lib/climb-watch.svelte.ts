// Watches a climb: what the server says has changed is read again, at most once a second.

import { get, send } from "./api";
import { app } from "./app.svelte";
import { eventsOf } from "./events";
import type { RunDetail } from "./types";

const LEAST_MS = 1000;
const AGAIN_MS = 4000;

export class ClimbWatch {
  detail = $state.raw<RunDetail | null>(null);
  run = $state<string | null>(null);
  lost = $state(false);
  private end = new AbortController();
  private asked = 0;
  private due = 0;

  constructor() {
    void this.follow();
  }

  async choose(run: string | null): Promise<void> {
    if (run === this.run) return;
    this.run = run;
    this.detail = null;
    await this.readRun();
  }

  stop(): void {
    this.end.abort();
    clearTimeout(this.due);
  }

  private async follow(): Promise<void> {
    while (!this.end.signal.aborted) {
      try {
        const response = await send("/api/runs/events", { signal: this.end.signal, headers: { accept: "text/event-stream" } });
        this.lost = false;
        for await (const { data } of eventsOf(response)) {
          const event = JSON.parse(data) as { type: string; run?: string };
          if (event.type === "changed") this.soon();
        }
      } catch {
        if (this.end.signal.aborted) return;
        this.lost = true; // The server is away: the climb goes on without this page, so it is looked for again.
      }
      await new Promise((done) => setTimeout(done, AGAIN_MS));
      if (!this.end.signal.aborted) await this.read();
    }
  }

  private soon(): void {
    if (this.due) return;
    this.due = window.setTimeout(() => {
      this.due = 0;
      void this.read();
    }, Math.max(0, this.asked + LEAST_MS - Date.now()));
  }

  private async read(): Promise<void> {
    this.asked = Date.now();
    await Promise.all([app.loadClimbs(), this.readRun()]);
  }

  private async readRun(): Promise<void> {
    const run = this.run;
    if (!run) return;
    try {
      const detail = await get<RunDetail>(`/api/runs/${run}`);
      if (run === this.run) this.detail = detail;
    } catch {
      if (run === this.run && !this.detail) this.detail = null;
    }
  }
}
