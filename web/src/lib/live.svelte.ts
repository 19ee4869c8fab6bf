// One answer that is being written, as the page shows it.

import type { Message } from "./types";

export class Live {
  text = $state("");
  reasoning = $state("");
  held = $state(false);
  broken = $state(false);
  stopped = $state(false);
  readonly end = new AbortController();
  private pending = "";
  private frame = 0;

  constructor(
    readonly message: string,
    readonly generation: string,
  ) {}

  /** Text is put on the page once a frame, however fast it comes. */
  add(text: string): void {
    if (this.stopped) return;
    this.pending += text;
    this.frame ||= requestAnimationFrame(() => this.flush());
  }

  replace(text: string): void {
    this.pending = "";
    this.text = text;
  }

  flush(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (this.pending) this.text += this.pending;
    this.pending = "";
  }

  /** Freezes at once: what has not been shown is not kept. */
  freeze(): void {
    this.stopped = true;
    this.pending = "";
    cancelAnimationFrame(this.frame);
  }
}

export function unfinished(message: Message): boolean {
  return message.state === "running" || message.state === "pending";
}

/** What the server says of an answer that it has begun. */
export interface Begun {
  user?: Message;
  answer: Message;
  generation_id: string;
}
