// What the whole page knows: who is here, which models are offered, how it should look, and what it tells at the bottom.

import { t, words, type Language } from "../words/words.svelte";
import { get, patch, Problem, useCsrf } from "./api";
import { keep, kept } from "./storage";
import type { Climb, Me, Model, Offer, Settings } from "./types";

export type Theme = "system" | "light" | "dark";
export type Announce = "sentences" | "end" | "off";

export interface Looks {
  theme: Theme;
  size: "small" | "normal" | "large";
  compact: boolean;
  enterSends: boolean;
  announce: Announce;
  stream: boolean;
  sidebar: boolean;
  model: string | null;
  settings: Settings;
  disclosed: boolean;
  shortcuts: Record<string, string>;
}

const FIRST: Looks = {
  theme: "system", size: "normal", compact: false, enterSends: true, announce: "sentences", stream: true, sidebar: true,
  model: null, settings: {}, disclosed: false, shortcuts: {},
};

const MODELS_AGAIN_MS = 10_000;

interface Toast {
  text: string;
  action?: { label: string; act: () => void };
}

/** Which stages can be talked to: when that changes, the list of models has changed too. */
const LEADS = ["owner", "admin"];
const PLACES: Record<string, string[]> = {
  label: [...LEADS, "labeller", "adjudicator", "reviewer", "review_lead"],
  review: [...LEADS, "reviewer", "review_lead"],
  flywheel: [...LEADS, "developer"],
  arena: [...LEADS, "developer", "labeller", "adjudicator", "reviewer", "review_lead", "member"],
  exam: [...LEADS, "developer", "labeller", "adjudicator", "reviewer", "review_lead", "member"],
};

function talking(climbs: Climb[]): string {
  return climbs.flatMap((climb) => climb.stages.map((stage) => stage.chat_model ?? "")).join(" ");
}

class App {
  me = $state.raw<Me | null>(null);
  offer = $state.raw<Offer | null>(null);
  climbs = $state.raw<Climb[]>([]);
  /** Somebody chats, so the climb has given cores away. */
  yielding = $state(false);
  looks = $state<Looks>({ ...FIRST, ...kept<Partial<Looks>>("looks", {}) });
  trouble = $state.raw<Problem | null>(null);
  toast = $state.raw<Toast | null>(null);
  spoken = $state("");
  dialog = $state<string | null>(null);
  drawer = $state(false);
  keyAsked = $state(false);
  private toastTimer = 0;
  private modelsAt = 0;

  get person() {
    return this.me?.person ?? null;
  }

  get accounts(): boolean {
    return this.me?.mode === "accounts";
  }

  get admin(): boolean {
    return ["owner", "admin"].includes(this.person?.role ?? "");
  }

  /** The rooms beside the chat that this person's role opens. */
  get places(): string[] {
    const role = this.person?.role ?? "";
    return Object.entries(PLACES).filter(([, roles]) => roles.includes(role)).map(([place]) => place);
  }

  /** May let a climb go on. */
  get climber(): boolean {
    return ["owner", "admin", "developer"].includes(this.person?.role ?? "");
  }

  get models(): Model[] {
    return this.offer?.models ?? [];
  }

  /** The model of this name; the person's default or the first one if it is not offered. */
  model(name: string | null | undefined): Model | null {
    const named = (wanted: string | null | undefined) => this.models.find((one) => one.name === wanted);
    return named(name) ?? named(this.looks.model) ?? this.models[0] ?? null;
  }

  async start(): Promise<void> {
    this.trouble = null;
    try {
      const models = get<Offer>("/api/models").catch((problem: unknown) => problem);
      this.take(await get<Me>("/api/me"));
      if (!this.person) return;
      const offer = await models;
      if (offer instanceof Error) throw offer;
      this.offer = offer as Offer;
    } catch (problem) {
      if (problem instanceof Problem) this.trouble = problem;
      else throw problem;
    }
  }

  take(me: Me): void {
    this.me = me;
    useCsrf(me.csrf);
    const looks = me.preferences?.["looks"];
    if (looks && typeof looks === "object") Object.assign(this.looks, looks);
  }

  /** A stage may be talked to a moment before its model is offered: the list is then read again, now and then. */
  private modelsAreDue(): boolean {
    const missing = this.climbs.some((climb) => climb.stages.some((stage) => stage.chat_model && !this.models.some((one) => one.name === stage.chat_model)));
    return missing && Date.now() - this.modelsAt > MODELS_AGAIN_MS;
  }

  async loadModels(): Promise<void> {
    this.modelsAt = Date.now();
    this.offer = await get<Offer>("/api/models");
  }

  async loadClimbs(): Promise<void> {
    try {
      const { climbs, yielding } = await get<{ climbs: Climb[]; yielding?: boolean }>("/api/runs");
      const before = talking(this.climbs);
      this.climbs = climbs ?? [];
      this.yielding = Boolean(yielding);
      if (this.offer && (talking(this.climbs) !== before || this.modelsAreDue())) await this.loadModels();
    } catch {
      // The card stays as it is; chatting does not depend on it.
    }
  }

  /** Changes how the page looks, here and for this person everywhere. */
  set<K extends keyof Looks>(name: K, value: Looks[K]): void {
    this.looks[name] = value;
    keep("looks", $state.snapshot(this.looks));
    if (this.person) {
      const preferences = { ...this.me?.preferences, looks: $state.snapshot(this.looks) };
      patch("/api/me", { preferences }).catch(() => {});
    }
  }

  async speak(language: Language): Promise<void> {
    await words.use(language);
    if (this.person) patch("/api/me", { locale: language === "zh" ? "zh-CN" : "en" }).catch(() => {});
  }

  tell(text: string, action?: Toast["action"]): void {
    this.toast = action ? { text, action } : { text };
    clearTimeout(this.toastTimer);
    this.toastTimer = window.setTimeout(() => (this.toast = null), action ? 9000 : 3500);
  }

  fail(problem: unknown): void {
    this.tell(problem instanceof Problem ? problem.words : t("error.page"));
    if (!(problem instanceof Problem)) console.error(problem);
  }

  /** Does it, and tells what went wrong; true if it worked. */
  async trying(what: () => Promise<unknown>): Promise<boolean> {
    try {
      await what();
      return true;
    } catch (problem) {
      this.fail(problem);
      return false;
    }
  }

  /** Says it to a screen reader, politely. */
  say(text: string): void {
    this.spoken = text;
  }
}

export const app = new App();
