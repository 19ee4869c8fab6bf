// A list that is read from the server, page by page, and read again after a change.

import { get, query } from "./api";
import { app } from "./app.svelte";
import type { Page } from "./types";

export class Listed<T> {
  rows = $state.raw<T[]>([]);
  next = $state<string | null>(null);
  loaded = $state(false);
  /** What the answer holds beside its rows. */
  rest = $state.raw<Record<string, unknown>>({});

  constructor(private readonly path: string) {
    void this.read();
  }

  async read(): Promise<void> {
    await app.trying(async () => {
      const { data, next, ...rest } = await get<Page<T>>(this.path);
      this.rows = data;
      this.next = next ?? null;
      this.rest = rest;
      this.loaded = true;
    });
  }

  async more(): Promise<void> {
    await app.trying(async () => {
      const { data, next } = await get<Page<T>>(this.path + query({ cursor: this.next }));
      this.rows = [...this.rows, ...data];
      this.next = next ?? null;
    });
  }

  /** Does something and reads the list again; true if it worked. */
  async after(what: () => Promise<unknown>): Promise<boolean> {
    const worked = await app.trying(what);
    if (worked) await this.read();
    return worked;
  }
}
