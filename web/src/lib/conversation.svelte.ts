// The open chat: its active path, the answers that are being written, and its settings. What is done to it stands beside:
// opening.ts, asking.svelte.ts, answering.ts (one answer's stream), branching.ts, judging.ts.

import { patch, type Problem } from "./api";
import { app } from "./app.svelte";
import { drafts } from "./drafts";
import { library } from "./library.svelte";
import type { Live } from "./live.svelte";
import type { Chat, Message } from "./types";

export interface Pair {
  answers: [string, string];
  chosen: string | null;
}

export class Conversation {
  chat = $state.raw<Chat | null>(null);
  messages = $state.raw<Message[]>([]);
  hasEarlier = $state(false);
  live = $state<Record<string, Live>>({});
  /** What the guard says of a held answer, by message; it comes with the event only. */
  notices = $state.raw<Record<string, string>>({});
  pair = $state.raw<Pair | null>(null);
  trouble = $state.raw<Problem | null>(null);
  sending = $state<string | null>(null);
  loading = $state(false);
  /** Nothing of this chat is stored anywhere: it lives in this object alone. */
  temporary = $state(false);
  /** Set before the first message makes the chat. */
  wish = $state<Partial<Chat>>({});
  draft = $state("");

  get id(): string | null {
    return this.chat?.id ?? null;
  }

  get busy(): boolean {
    return this.sending !== null || Object.keys(this.live).length > 0;
  }

  get model() {
    return app.model(this.chat?.model ?? this.wish.model);
  }

  /** The model that the picker shows, for a request: the chat may still name one that is gone. */
  get asked(): { model?: string } {
    return this.model ? { model: this.model.name } : {};
  }

  get temperature(): number {
    return this.chat?.settings?.temperature ?? app.looks.settings.temperature ?? app.offer?.defaults.temperature ?? 1;
  }

  get leaf(): string | null {
    return this.messages.at(-1)?.id ?? null;
  }

  get said(): string {
    return this.messages.filter((one) => one.role === "user").map((one) => one.content).join("\n");
  }

  clear(): void {
    this.leave();
    this.chat = null;
    this.messages = [];
    this.hasEarlier = false;
    this.pair = null;
    this.notices = {};
    this.trouble = null;
    this.wish = {};
    this.temporary = false;
    this.draft = drafts.of(null);
  }

  beginTemporary(): void {
    this.clear();
    this.temporary = true;
    this.draft = "";
  }

  leave(): void {
    for (const one of Object.values(this.live)) one.end.abort();
    this.live = {};
    this.sending = null;
  }

  write(text: string): void {
    this.draft = text;
    if (!this.temporary) drafts.keep(this.id, text);
  }

  /** What the server says of the chat after an answer: its title, its newest leaf. */
  rename(chat: { title?: string; active_leaf_id?: string | null }): void {
    if (!this.chat) return;
    this.chat = { ...this.chat, ...chat, updated_at: new Date().toISOString() };
    library.put(this.chat);
  }

  /** The answer is not being written any more. */
  settle(message: Message): void {
    delete this.live[message.id];
    this.replaceMessage(message);
  }

  find(id: string): Message | undefined {
    return this.messages.find((one) => one.id === id);
  }

  replaceMessage(message: Message): void {
    this.messages = this.messages.map((one) => (one.id === message.id ? { ...one, ...message } : one));
  }

  async change(change: Partial<Chat>): Promise<void> {
    if (!this.chat || this.temporary) {
      this.wish = { ...this.wish, ...change };
      return;
    }
    try {
      this.chat = await patch<Chat>(`/api/chats/${this.id}`, change);
      library.put(this.chat);
    } catch (problem) {
      app.fail(problem);
    }
  }
}

export const conversation = new Conversation();
