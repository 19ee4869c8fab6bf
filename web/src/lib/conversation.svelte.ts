// The open chat: its active path, the answers that are being written, and everything one can do to it.

import { t } from "../words/words.svelte";
import { get, patch, post, Problem, put, query } from "./api";
import { Announcer } from "./announce";
import { app } from "./app.svelte";
import { drafts } from "./drafts";
import { follow } from "./events";
import { library } from "./library.svelte";
import { route } from "./route.svelte";
import { asImport, asSent, passing, streamOnce } from "./temporary";
import type { Chat, Earlier, GenerationEvent, Judgement, Message, Opened, Settings } from "./types";

/** An answer that is being written. */
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

export interface Pair {
  answers: [string, string];
  chosen: string | null;
}

interface Begun {
  user?: Message;
  answer: Message;
  generation_id: string;
}

const EARLIER = 20;
/** How often a message is looked for whose events cannot be had, and how long between two looks. */
const LOOKS = 30;
const LOOK_MS = 2000;
/** At temperature 0 the same question has one answer: whoever asks for another one is given some variety. */
const AGAIN_TEMPERATURE = 0.8;

function unfinished(message: Message): boolean {
  return message.state === "running" || message.state === "pending";
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
  private get asked(): { model?: string } {
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

  async open(id: string): Promise<void> {
    if (this.id === id) return;
    this.clear();
    this.draft = drafts.of(id);
    await this.reload(id);
  }

  async reload(id = this.id): Promise<void> {
    if (!id) return;
    this.loading = true;
    try {
      const opened = await get<Opened>(`/api/chats/${id}`);
      if (route.parts[1] !== id) return;
      this.trouble = null;
      this.chat = opened.chat;
      this.messages = opened.messages;
      this.hasEarlier = opened.has_earlier;
      if (await this.restorePair(opened)) return;
      const running = opened.messages.findLast((one) => one.role === "assistant" && unfinished(one));
      if (opened.generation_id && running) this.join(running, opened.generation_id);
    } catch (problem) {
      if (problem instanceof Problem) this.trouble = problem;
      else throw problem;
    } finally {
      this.loading = false;
    }
  }

  /** Two answers that wait for a pick, finished or still being written, are shown side by side again after a reload. */
  private async restorePair(opened: Opened): Promise<boolean> {
    const last = opened.messages.at(-1);
    if (!last?.pair_id || last.model || last.siblings.length < 2) return false;
    const at = last.siblings.indexOf(last.id);
    const other = last.siblings[at - 1] ?? last.siblings[at + 1];
    if (!other) return false;
    const beside = await this.opened(other);
    if (this.id !== opened.chat.id) return true; // Another chat is shown by now.
    const shown = beside.messages.find((one) => one.id === other);
    if (!shown || shown.pair_id !== last.pair_id || shown.model) return false;
    const both = shown.id < last.id ? [shown, last] : [last, shown];
    this.messages = [...this.messages.slice(0, -1), ...both];
    this.pair = { answers: [both[0]!.id, both[1]!.id], chosen: null };
    // Each opening names the generation of the branch that it shows, if that is running.
    if (opened.generation_id && unfinished(last)) this.join(last, opened.generation_id);
    if (beside.generation_id && unfinished(shown)) this.join(shown, beside.generation_id);
    return true;
  }

  async earlier(): Promise<void> {
    const first = this.messages[0];
    if (!first || !this.hasEarlier || !this.id) return;
    const id = this.id;
    const page = await get<Earlier>(`/api/chats/${id}/messages` + query({ before: first.id, limit: EARLIER }));
    if (this.id !== id || this.messages[0]?.id !== first.id) return; // Another chat or branch is shown by now.
    this.hasEarlier = page.has_earlier;
    this.messages = [...page.messages, ...this.messages];
  }

  write(text: string): void {
    this.draft = text;
    if (!this.temporary) drafts.keep(this.id, text);
  }

  /** Sends a turn. The text is given back to the composer if the server did not take it. */
  async ask(text: string, twice = false, models?: [string, string]): Promise<void> {
    text = text.trim();
    if (!text || this.busy) return;
    if (this.temporary) return this.askOnce(text);
    const clientId = crypto.randomUUID?.() ?? String(Math.random());
    this.sending = text;
    this.pair = null;
    this.trouble = null;
    this.write("");
    try {
      const chat = this.chat ?? (await this.create());
      if (twice) await this.askTwice(chat, text, models);
      else {
        const begun = await post<Begun>(`/api/chats/${chat.id}/turns`, { text, parent_id: this.leaf, client_id: clientId, ...this.asked });
        this.messages = [...this.messages, ...(begun.user ? [begun.user] : []), begun.answer];
        this.join(begun.answer, begun.generation_id);
      }
    } catch (problem) {
      this.write(text);
      if (problem instanceof Problem) this.trouble = problem;
      else throw problem;
    } finally {
      this.sending = null;
    }
  }

  private async create(): Promise<Chat> {
    const wish = { model: this.model?.name ?? null, ...$state.snapshot(this.wish) };
    const settings = { ...$state.snapshot(app.looks.settings), ...wish.settings };
    const chat = await post<Chat>("/api/chats", { ...wish, settings });
    this.chat = chat;
    this.wish = {};
    drafts.keep(null, "");
    library.put(chat);
    route.go(`/c/${chat.id}`, true);
    return chat;
  }

  private async askTwice(chat: Chat, text: string, models?: [string, string]): Promise<void> {
    // Without two names the server takes the chat's model and draws the other: the chat must name the one that is shown.
    if (!models && this.model && chat.model !== this.model.name) await this.keepModel(this.model.name);
    const begun = await post<{ user: Message; answers: [Message, Message]; generation_ids: [string, string] }>(
      `/api/chats/${chat.id}/pair`,
      { text, parent_id: this.leaf, ...(models ? { models } : {}) },
    );
    this.messages = [...this.messages, begun.user, ...begun.answers];
    this.pair = { answers: [begun.answers[0].id, begun.answers[1].id], chosen: null };
    begun.answers.forEach((answer, i) => this.join(answer, begun.generation_ids[i]!));
  }

  private async keepModel(model: string): Promise<void> {
    this.chat = await patch<Chat>(`/api/chats/${this.id}`, { model });
    library.put(this.chat);
  }

  private join(message: Message, generation: string): void {
    const one = new Live(message.id, generation);
    this.live[message.id] = one;
    void this.watch(this.live[message.id]!);
  }

  private async watch(one: Live): Promise<void> {
    const announcer = new Announcer((text) => app.say(text), app.looks.announce);
    announcer.begin(t("say.started"));
    try {
      await follow<GenerationEvent>(`/api/chats/${this.id}/generations/${one.generation}/events`, {
        signal: one.end.signal,
        begin: (after) => {
          if (after === null) one.replace("");
        },
        broken: (now) => (one.broken = now),
        ended: () => this.settleStored(one),
        take: (event) => this.take(one, event, announcer),
      });
    } catch (problem) {
      await this.recover(one, problem);
    }
  }

  /** The events cannot be had: the message is taken from the server, which may still be writing it elsewhere. */
  private async recover(one: Live, problem: unknown): Promise<void> {
    for (let tries = 0; tries < LOOKS && !one.end.signal.aborted; tries++) {
      try {
        if (await this.settleStored(one)) return;
        one.broken = true;
      } catch (worse) {
        if (worse instanceof Problem && !worse.unreachable && worse.status < 500) {
          problem = worse;
          break;
        }
      }
      await new Promise((done) => setTimeout(done, LOOK_MS));
    }
    if (one.end.signal.aborted) return;
    one.flush();
    const known = this.find(one.message)!;
    this.settle({ ...known, content: one.text.length > known.content.length ? one.text : known.content, state: "interrupted" });
    if (problem instanceof Problem) this.trouble = problem;
    else console.error(problem);
  }

  /** Shows the message as the server has it; false while it is still being written there. */
  private async settleStored(one: Live): Promise<boolean> {
    const opened = await this.opened(one.message);
    if (one.end.signal.aborted) return true;
    const stored = opened.messages.find((message) => message.id === one.message);
    if (!stored) throw new Problem(404, "not_found", "");
    if (unfinished(stored)) return false;
    if (!one.stopped) this.settle(stored);
    this.rename(opened.chat);
    return true;
  }

  /** The chat with this message on its path: another branch is opened for a moment, and the shown one again. */
  private async opened(message: string): Promise<Opened> {
    const path = `/api/chats/${this.id}`;
    const opened = await get<Opened>(path);
    if (opened.messages.some((one) => one.id === message)) return opened;
    await patch(path, { active_leaf_id: message });
    try {
      return { ...(await get<Opened>(path)), chat: opened.chat };
    } finally {
      await patch(path, { active_leaf_id: opened.chat.active_leaf_id });
    }
  }

  private take(one: Live, event: GenerationEvent, announcer: Announcer): boolean {
    if (event.type === "text") {
      one.held = false;
      one.add(event.text);
      announcer.add(event.text);
    } else if (event.type === "reasoning") one.reasoning += event.text;
    else if (event.type === "held") {
      // Nothing of a held answer is shown or kept for its reader until a person has decided.
      one.replace("");
      one.held = true;
      if (event.text) this.notices = { ...this.notices, [one.message]: event.text };
    }
    else if (event.type === "replaced") one.replace(event.text);
    else {
      one.flush();
      const message = event.message ?? { ...this.find(one.message)!, content: one.text, state: "failed" as const };
      if (!one.stopped) {
        if (event.type === "error") this.trouble = new Problem(500, event.error.code ?? null, event.error.message);
        this.settle(message);
        announcer.end(message.content);
      }
      if (event.type === "done" && event.chat) this.rename(event.chat);
      return true;
    }
    return false;
  }

  private rename(chat: { title?: string; active_leaf_id?: string | null }): void {
    if (!this.chat) return;
    this.chat = { ...this.chat, ...chat, updated_at: new Date().toISOString() };
    library.put(this.chat);
  }

  private settle(message: Message): void {
    delete this.live[message.id];
    this.replaceMessage(message);
  }

  private find(id: string): Message | undefined {
    return this.messages.find((one) => one.id === id);
  }

  replaceMessage(message: Message): void {
    this.messages = this.messages.map((one) => (one.id === message.id ? { ...one, ...message } : one));
  }

  /** One turn of a temporary chat: the server streams an answer to the messages and keeps nothing. */
  private async askOnce(text: string, change: { model?: string; settings?: Settings } = {}): Promise<void> {
    const user = passing("user", text, this.leaf);
    const answer = { ...passing("assistant", "", user.id), model: change.model ?? this.model?.name ?? null, state: "running" as const };
    const before = this.messages;
    this.messages = [...before, user, answer];
    this.write("");
    this.trouble = null;
    const one = (this.live[answer.id] = new Live(answer.id, ""));
    const announcer = new Announcer((words) => app.say(words), app.looks.announce);
    announcer.begin(t("say.started"));
    const settings = { ...$state.snapshot(app.looks.settings), ...$state.snapshot(this.wish.settings), ...change.settings };
    try {
      const done = await streamOnce({
        model: answer.model ?? "",
        messages: asSent([...before, user], this.wish.system_prompt),
        settings,
        signal: one.end.signal,
        text: (piece) => (one.add(piece), announcer.add(piece)),
      });
      one.flush();
      this.settle({ ...answer, content: one.text, state: "complete", ...done });
      announcer.end(one.text);
    } catch (problem) {
      one.flush();
      if (one.stopped) return;
      this.settle({ ...answer, content: one.text, state: one.text ? "interrupted" : "failed" });
      if (!one.text) {
        this.messages = before;
        this.write(text);
      }
      if (problem instanceof Problem) this.trouble = problem;
      else throw problem;
    }
  }

  /** Makes a stored chat of this temporary one. */
  async keepTemporary(): Promise<void> {
    const first = this.messages.find((one) => one.role === "user")?.content ?? "";
    try {
      await post("/api/import", asImport(first.slice(0, 60), this.messages, this.model?.name ?? null));
      await library.start();
      const id = library.newest?.id;
      app.tell(t("temporary.kept"));
      if (id) route.go(`/c/${id}`, true);
    } catch (problem) {
      app.fail(problem);
    }
  }

  /** Freezes what is shown at once; the server keeps exactly that. */
  async stop(): Promise<void> {
    await Promise.all(
      Object.values(this.live).map(async (one) => {
        one.freeze();
        const seen = one.text;
        if (this.temporary) {
          this.settle({ ...this.find(one.message)!, content: seen, state: "stopped" });
          one.end.abort();
          return;
        }
        try {
          const kept = await post<{ message: Message }>(`/api/chats/${this.id}/generations/${one.generation}/stop`, {
            seen_chars: [...seen].length,
          });
          this.settle(kept.message);
        } catch (problem) {
          app.fail(problem);
          this.settle({ ...this.find(one.message)!, content: seen, state: "stopped" });
        }
        one.end.abort();
        app.say(t("say.stopped"));
      }),
    );
  }

  async regenerate(message: Message, change: { model?: string; settings?: Settings } = {}): Promise<void> {
    if (this.temporary) {
      const question = this.find(message.parent_id ?? "");
      this.messages = this.messages.slice(0, this.messages.findIndex((one) => one.id === question?.id));
      return question && this.askOnce(question.content, change);
    }
    const settings = change.settings ?? (this.temperature === 0 ? { temperature: AGAIN_TEMPERATURE } : undefined);
    const body = { ...this.asked, ...change, ...(settings ? { settings } : {}) };
    await this.branch(message, () => post<Begun>(`/api/chats/${this.id}/messages/${message.id}/regenerate`, body));
  }

  async editUser(message: Message, text: string, run = true): Promise<void> {
    if (this.temporary) {
      this.messages = this.messages.slice(0, this.messages.findIndex((one) => one.id === message.id));
      return this.askOnce(text);
    }
    await this.branch(message, () => post<Begun>(`/api/chats/${this.id}/messages/${message.id}/edit`, { text, run, ...(run ? this.asked : {}) }));
  }

  async editAnswer(message: Message, text: string): Promise<void> {
    await this.act(() => post(`/api/chats/${this.id}/messages/${message.id}/edit`, { text, run: false }));
  }

  async carryOn(message: Message): Promise<void> {
    await this.act(async () => {
      const begun = await post<Begun>(`/api/chats/${this.id}/messages/${message.id}/continue`);
      this.replaceMessage({ ...message, ...begun.answer });
      this.join(this.find(message.id) ?? begun.answer, begun.generation_id);
    }, false);
  }

  private async branch(message: Message, begin: () => Promise<Begun>): Promise<void> {
    if (this.busy) return;
    try {
      const begun = await begin();
      const at = this.messages.findIndex((one) => one.id === message.id);
      this.messages = [...this.messages.slice(0, at), ...(begun.user ? [begun.user] : []), ...(begun.answer ? [begun.answer] : [])];
      this.pair = null;
      if (begun.answer && begun.generation_id) this.join(begun.answer, begun.generation_id);
      else await this.reload();
    } catch (problem) {
      app.fail(problem);
    }
  }

  private async act(what: () => Promise<unknown>, reload = true): Promise<void> {
    try {
      await what();
      if (reload) await this.reload();
    } catch (problem) {
      app.fail(problem);
    }
  }

  /** Shows another sibling: the newest leaf under it becomes the active one, as the server chooses. */
  async show(id: string): Promise<void> {
    if (this.busy) return;
    await this.change({ active_leaf_id: id });
    await this.reload();
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

  async judge(message: Message, judgement: Judgement): Promise<void> {
    const before = message.judgement;
    this.replaceMessage({ ...message, judgement: judgement.value ? judgement : null });
    try {
      await put(`/api/chats/${this.id}/messages/${message.id}/judgement`, judgement);
    } catch (problem) {
      this.replaceMessage({ ...message, judgement: before });
      app.fail(problem);
    }
  }

  async pick(winner: string | "tie" | "both_bad"): Promise<void> {
    const pair = this.pair;
    if (!pair) return;
    await this.act(async () => {
      const { messages } = await post<{ messages: Message[] }>(`/api/chats/${this.id}/picks`, { shown: pair.answers, winner });
      for (const message of messages) this.replaceMessage(message);
      this.pair = { ...pair, chosen: winner };
    }, false);
  }

  /** The message of this id, loaded if it is not among the newest: on another branch, that branch is shown. */
  async reach(id: string): Promise<boolean> {
    while (!this.find(id) && this.hasEarlier) await this.earlier();
    if (!this.find(id)) {
      await this.change({ active_leaf_id: id });
      await this.reload();
      while (!this.find(id) && this.hasEarlier) await this.earlier();
    }
    return this.find(id) !== undefined;
  }

  async fork(message: Message): Promise<void> {
    await this.act(async () => {
      const chat = await post<Chat>(`/api/chats/${this.id}/fork`, { message_id: message.id });
      library.put(chat);
      route.go(`/c/${chat.id}`);
      app.tell(t("toast.forked"));
    }, false);
  }

  /** After a pick: the chosen answer alone stays in the path. */
  async closePair(): Promise<void> {
    const pair = this.pair;
    if (!pair) return;
    const kept = pair.chosen && pair.answers.includes(pair.chosen) ? pair.chosen : pair.answers[0];
    await this.change({ active_leaf_id: kept });
    await this.reload();
    this.pair = null;
  }
}

export const conversation = new Conversation();
