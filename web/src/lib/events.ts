// Server-Sent Events over fetch, so that a key or token can go with the request, with resumption by the last event's id.

import { Problem, send } from "./api";

export interface SentEvent {
  id: string | null;
  data: string;
}

/** Cuts a stream of bytes into events; lines may arrive in any pieces. */
export class EventReader {
  private decoder = new TextDecoder();
  private rest = "";
  private id: string | null = null;
  private data: string[] = [];

  read(bytes: Uint8Array): SentEvent[] {
    this.rest += this.decoder.decode(bytes, { stream: true });
    const lines = this.rest.split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    const events: SentEvent[] = [];
    for (const line of lines) {
      if (line === "") {
        if (this.data.length) events.push({ id: this.id, data: this.data.join("\n") });
        this.data = [];
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "data") this.data.push(value);
      else if (field === "id") this.id = value;
    }
    return events;
  }
}

/** The events of one response; it ends where the response ends. */
export async function* eventsOf(response: Response): AsyncGenerator<SentEvent> {
  const body = response.body?.getReader();
  if (!body) return;
  const reader = new EventReader();
  try {
    for (;;) {
      const { done, value } = await body.read();
      if (done) return;
      yield* reader.read(value);
    }
  } finally {
    body.cancel().catch(() => {});
  }
}

export interface Follow<T> {
  signal: AbortSignal;
  /** True if this event ends the stream. */
  take(event: T): boolean;
  /** A new connection begins: from the start if `after` is null. */
  begin(after: string | null): void;
  /** The response ended without a last event: true if what is followed has ended, so that nothing more will come. */
  ended(): Promise<boolean>;
  /** The connection broke and is tried again; false once it is back. */
  broken(now: boolean): void;
}

const WAITS_MS = [250, 500, 1000, 2000, 4000, 8000];
const MOST_TRIES = 20;

/** Follows a generation to its end, over as many connections as it takes. Throws a Problem if it cannot. */
export async function follow<T>(path: string, how: Follow<T>): Promise<void> {
  let last: string | null = null;
  for (let tries = 0; ; tries++) {
    try {
      how.begin(last);
      const response = await send(last === null ? path : `${path}?after=${encodeURIComponent(last)}`, {
        signal: how.signal,
        headers: { accept: "text/event-stream", ...(last === null ? {} : { "last-event-id": last }) },
      });
      how.broken(false);
      for await (const { id, data } of eventsOf(response)) {
        tries = 0;
        if (id !== null) last = id;
        if (how.take(JSON.parse(data) as T)) return;
      }
      if (how.signal.aborted || (await how.ended())) return;
    } catch (problem) {
      if (how.signal.aborted) return;
      if (problem instanceof Problem && !problem.unreachable && problem.status < 500) throw problem;
      if (tries >= MOST_TRIES) throw problem;
    }
    if (how.signal.aborted) return;
    how.broken(true);
    await wait(WAITS_MS[Math.min(tries, WAITS_MS.length - 1)] ?? 8000, how.signal);
    if (how.signal.aborted) return;
  }
}

function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
    window.addEventListener("online", () => (clearTimeout(timer), done()), { once: true });
  });
}
