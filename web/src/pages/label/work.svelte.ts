// A labeller's work in one project: the item on the screen, the next one fetched ahead, drafts, leases, time and rest.

import { get, post, put, Problem } from "../../lib/api";
import { app } from "../../lib/app.svelte";
import { t } from "../../words/words.svelte";
import type { Habits, Mine, Next, Submitted, Task, Value } from "./types";
import { complete } from "./values";

const DRAFT_MS = 5000;
const BEAT_MS = 60_000;
/** Without a key or a touch for so long, nobody works: the time does not count, and a pause of it is a rest. */
const IDLE_MS = 120_000;
const REST_MS = 300_000;

interface Unsent {
  task: Task;
  value: Value;
  seconds: number;
  problem: Problem;
}

export class Work {
  task = $state.raw<Task | null>(null);
  value = $state.raw<Value | null>(null);
  reason = $state<string | null>(null);
  guideline = $state(0);
  state = $state("qualified");
  project = $state.raw<Mine | null>(null);
  habits = $state.raw<Habits>({ langs: [], opt_out: [], blur: true, break_minutes: 50 });
  loading = $state(true);
  sending = $state(false);
  saved = $state<string | null>(null);
  revealed = $state(false);
  suggestion = $state.raw<{ value: Value; agent: string; score: number | null } | null>(null);
  training = $state.raw<Submitted["training"]>(null);
  unsent = $state.raw<Unsent | null>(null);
  restDue = $state(false);
  /** Answers of this visit. */
  done = $state(0);

  private ahead: Task | null = null;
  private fetching: Promise<void> | null = null;
  private dirty = false;
  private prefilled = false;
  private worked = 0;
  private sinceRest = 0;
  private lastAct = performance.now();
  private lastTick = performance.now();
  private timers: number[] = [];
  private ended = false;

  constructor(readonly id: string) {}

  get ready(): boolean {
    return this.task !== null && complete(this.task, this.value);
  }

  get blurred(): boolean {
    return Boolean(this.task?.sensitive.length && this.habits.blur && !this.revealed);
  }

  async start(): Promise<void> {
    this.timers = [window.setInterval(() => this.tick(), 1000), window.setInterval(() => void this.saveDraft(), DRAFT_MS), window.setInterval(() => void this.beat(), BEAT_MS)];
    await Promise.all([this.look(), this.next()]);
  }

  end(): void {
    this.ended = true;
    this.timers.forEach((timer) => clearInterval(timer));
    const held = [this.task, this.ahead].filter((one) => one && !one.answered).map((one) => one!.item_id);
    void this.saveDraft().then(() => (held.length ? post("/api/label/release", { items: held }).catch(() => {}) : undefined));
  }

  /** How far the project and I are. */
  async look(): Promise<void> {
    const found = await get<{ projects: Mine[]; habits: Habits }>("/api/label/mine");
    this.project = found.projects.find((one) => one.id === this.id) ?? null;
    this.habits = found.habits;
  }

  acted(): void {
    this.lastAct = performance.now();
  }

  private tick(): void {
    const now = performance.now();
    const idle = now - this.lastAct;
    if (!document.hidden && idle < IDLE_MS && this.task) {
      this.worked += now - this.lastTick;
      this.sinceRest += now - this.lastTick;
    }
    if (idle > REST_MS) this.rested();
    const minutes = this.habits.break_minutes;
    if (minutes && this.sinceRest > minutes * 60_000) this.restDue = true;
    this.lastTick = now;
  }

  rested(): void {
    this.sinceRest = 0;
    this.restDue = false;
  }

  /** The next item of the server: what waits ahead is shown at once. */
  async next(): Promise<void> {
    this.loading = this.task === null;
    await app.trying(async () => {
      const found = await this.ask([]);
      if (this.ended) return;
      this.state = found.state;
      this.guideline = found.guideline;
      this.show(found.task, found.reason);
    });
    this.loading = false;
    this.fetchAhead();
  }

  private ask(holding: string[]): Promise<Next> {
    return post<Next>(`/api/label/projects/${this.id}/next`, { holding });
  }

  private show(task: Task | null, reason: string | null): void {
    if (task && this.ahead?.item_id === task.item_id) this.ahead = null;
    this.task = task;
    this.reason = task ? null : reason;
    this.value = task?.value ?? null;
    this.saved = null;
    this.revealed = false;
    this.suggestion = null;
    this.dirty = this.prefilled = false;
    this.worked = 0;
    this.lastTick = performance.now();
  }

  /** While the labeller reads, the next item comes, so that it is there at once. */
  private fetchAhead(): void {
    const now = this.task;
    if (!now || this.ahead || this.fetching || now.training || this.ended) return;
    this.fetching = this.ask([now.item_id])
      .then((found) => {
        if (found.task && found.task.item_id !== this.task?.item_id) this.ahead = found.task;
      })
      .catch(() => {})
      .finally(() => (this.fetching = null));
  }

  change(value: Value | null, prefilled = false): void {
    this.value = value;
    this.dirty = true;
    this.prefilled ||= prefilled;
    this.acted();
  }

  async saveDraft(): Promise<void> {
    const { task, value } = this;
    if (!task || !this.dirty) return;
    this.dirty = false;
    try {
      const found = await put<{ saved_at: string }>(`/api/label/items/${task.item_id}/draft`, { value, prefilled: this.prefilled });
      if (this.task === task) this.saved = found.saved_at;
    } catch (problem) {
      if (this.task === task) this.dirty = true;
      if (!(problem instanceof Problem)) throw problem;
    }
  }

  private async beat(): Promise<void> {
    const held = [this.task, this.ahead].filter((one) => one !== null);
    if (!held.length || document.hidden || performance.now() - this.lastAct > 2 * REST_MS) return;
    await post("/api/label/heartbeat", { items: held.map((one) => one.item_id) }).catch(() => {});
  }

  /** Sends the answer; the item that waits is shown without waiting for the server's word. */
  async submit(): Promise<void> {
    const { task, value } = this;
    if (!task || !value || !this.ready || this.sending) return;
    const seconds = Math.round(this.worked / 100) / 10;
    this.dirty = false;
    if (task.training || task.answered) return this.submitAndWait(task, value, seconds);
    const sent = this.send(task, value, seconds);
    if (this.ahead) {
      const following = this.ahead;
      this.ahead = null;
      this.show(following, null);
      await sent;
      this.fetchAhead();
    } else {
      this.sending = true;
      await Promise.all([sent, this.fetching]);
      this.sending = false;
      const following = this.ahead;
      this.ahead = null;
      if (following) this.show(following, null), this.fetchAhead();
      else await this.next();
    }
  }

  private async send(task: Task, value: Value, seconds: number): Promise<Submitted | null> {
    try {
      const found = await post<Submitted>(`/api/label/items/${task.item_id}/answer`, { value, seconds, version: task.version });
      this.done += 1;
      this.state = found.state;
      if (this.unsent?.task === task) this.unsent = null;
      if (!found.counts) app.tell(t("label.extra"));
      if (this.project) this.project = { ...this.project, mine: this.project.mine + 1, open: Math.max(0, this.project.open - 1) };
      return found;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.unsent = { task, value, seconds, problem };
      return null;
    }
  }

  private async submitAndWait(task: Task, value: Value, seconds: number): Promise<void> {
    this.sending = true;
    const found = await this.send(task, value, seconds);
    this.sending = false;
    if (found?.training) this.training = found.training;
    else if (found) await this.next();
  }

  /** After the explanation of a training item. */
  async goOn(): Promise<void> {
    this.training = null;
    await this.next();
  }

  /** Sends what could not be sent, or goes back to it. */
  async again(): Promise<void> {
    const waiting = this.unsent;
    if (waiting) await this.send(waiting.task, waiting.value, waiting.seconds);
  }

  backToUnsent(): void {
    const waiting = this.unsent;
    if (!waiting) return;
    this.unsent = null;
    if (this.task && !this.ahead) this.ahead = this.task;
    this.show(waiting.task, null);
    this.value = waiting.value;
    this.dirty = true;
  }

  async skip(reason: string, comment: string): Promise<void> {
    const task = this.task;
    if (!task) return;
    this.dirty = false;
    const worked = await app.trying(() => post(`/api/label/items/${task.item_id}/skip`, { reason, comment: comment.trim() || null }));
    if (!worked) return;
    const following = this.ahead;
    this.ahead = null;
    if (following) this.show(following, null), this.fetchAhead();
    else this.show(null, null), await this.next();
  }

  /** What a model suggests, after the first choice. */
  async suggest(): Promise<void> {
    const { task, value } = this;
    if (!task?.has_suggestion || !this.ready || this.suggestion) return;
    await app.trying(async () => {
      this.suggestion = await post(`/api/label/items/${task.item_id}/suggestion`, { first_choice: value });
    });
  }

  /** An answer of mine, to change it. */
  async open(itemId: string): Promise<void> {
    await app.trying(async () => {
      const { task } = await get<{ task: Task }>(`/api/label/items/${itemId}/task`);
      if (this.task && !this.ahead && !this.task.answered) this.ahead = this.task;
      this.show(task, null);
    });
  }
}
