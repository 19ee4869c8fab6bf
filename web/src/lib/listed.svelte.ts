// A list that is read from the server, page by page, and read again after a change.

import { get, query } from "./api";
import { app } from "./app.svelte";
import type { Page } from "./types";

/** Rows of one answer, where many are read at once: the most that the server gives. */
const MOST = 200;

export class Listed<T> {
  rows = $state.raw<T[]>([]);
  next = $state<string | null>(null);
  loaded = $state(false);
  /** What the answers hold beside their rows. What the first one says stays; a later one fills in what was null. */
  rest = $state.raw<Record<string, unknown>>({});
  private whole = false;

  /** `first`: what the first page alone is asked for. */
  constructor(
    private readonly path: string,
    private readonly first: Parameters<typeof query>[0] = {},
  ) {
    void this.read();
  }

  /** From the beginning, and on to where it was read before. */
  async read(): Promise<void> {
    await app.trying(async () => {
      const { data, next, ...rest } = await get<Page<T>>(this.path + query(this.first));
      [this.rows, this.next] = await this.upTo(this.whole ? Infinity : this.rows.length, data, next ?? null);
      this.rest = rest;
      this.loaded = true;
    });
  }

  async more(): Promise<void> {
    const cursor = this.next;
    await app.trying(async () => {
      const { data, next, ...rest } = await get<Page<T>>(this.path + query({ cursor }));
      if (this.next !== cursor) return; // the button was clicked twice: these rows are there
      this.rows = [...this.rows, ...data];
      this.next = next ?? null;
      this.rest = { ...rest, ...Object.fromEntries(Object.entries(this.rest).filter(([, value]) => value !== null)) };
    });
  }

  /** Reads everything that is left, now and whenever the list is read again; true if it worked. */
  async all(): Promise<boolean> {
    const worked = await app.trying(async () => {
      [this.rows, this.next] = await this.upTo(Infinity, this.rows, this.next);
    });
    if (worked) this.whole = true;
    return worked;
  }

  /** Does something and reads the list again; true if it worked. */
  async after(what: () => Promise<unknown>): Promise<boolean> {
    const worked = await app.trying(what);
    if (worked) await this.read();
    return worked;
  }

  /** The rows with those of the next pages, until there are so many; and the cursor behind them. */
  private async upTo(many: number, rows: T[], next: string | null): Promise<[T[], string | null]> {
    while (next && rows.length < many) {
      const page: Page<T> = await get<Page<T>>(this.path + query({ cursor: next, limit: MOST }));
      rows = [...rows, ...page.data];
      next = page.next ?? null;
    }
    return [rows, next];
  }
}
