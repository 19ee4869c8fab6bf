// The objects of the API, as docs/product.md describes them.

/** The server takes no shorter password. */
export const PASSWORD_CHARS = 12;

export type Role = "owner" | "admin" | "developer" | "labeller" | "adjudicator" | "reviewer" | "review_lead" | "member" | "guest" | "service";

export interface Person {
  id: string;
  email: string | null;
  name: string;
  role: Role;
  locale: string | null;
  status: string;
  created_at: string;
}

export interface Me {
  person: Person | null;
  mode: "local" | "accounts";
  workspace: { id?: string; name?: string } | string | null;
  needs_setup: boolean;
  registration: "open" | "invitation" | "closed";
  csrf: string | null;
  preferences: Record<string, unknown>;
  consents: Record<string, boolean>;
  version: string;
}

export interface Settings {
  temperature?: number | null;
  top_p?: number | null;
  max_tokens?: number | null;
  seed?: number | null;
  stop?: string[] | null;
}

export interface Chat {
  id: string;
  title: string;
  model: string | null;
  folder_id: string | null;
  persona_id: string | null;
  system_prompt: string | null;
  settings: Settings | null;
  data_use: boolean;
  pinned: boolean;
  archived: boolean;
  deleted_at: string | null;
  active_leaf_id: string | null;
  created_at: string;
  updated_at: string;
}

export interface Usage {
  prompt_tokens?: number;
  completion_tokens?: number;
  tokens_per_s?: number | null;
  ttft_ms?: number | null;
  context?: number | null;
  dropped_messages?: number;
}

export interface ToolCall {
  id?: string;
  name?: string;
  arguments?: unknown;
  result?: unknown;
  function?: { name: string; arguments: string };
}

export interface Judgement {
  value: 1 | -1 | 0;
  reasons: string[];
  comment: string | null;
}

export type MessageState = "pending" | "running" | "complete" | "stopped" | "interrupted" | "failed" | "held";

export interface Message {
  id: string;
  chat_id: string;
  parent_id: string | null;
  role: "user" | "assistant" | "system" | "tool";
  content: string;
  reasoning: string | null;
  tool_calls: ToolCall[] | null;
  model: string | null;
  state: MessageState;
  finish_reason: string | null;
  usage: Usage | null;
  settings: Settings | null;
  seed: number | null;
  siblings: string[];
  position: number;
  judgement: Judgement | null;
  guard: { layer?: string; action?: string; rule?: string | null } | null;
  lang: string | null;
  edited: boolean;
  pair_id?: string | null;
  created_at: string;
}

export interface Folder {
  id: string;
  parent_id: string | null;
  name: string;
  position: number;
}

export interface Persona {
  id: string;
  name: string;
  system_prompt: string;
  model: string | null;
  settings: Settings | null;
  version: number;
  shared: boolean;
  mine?: boolean;
  created_at: string;
}

export interface Share {
  id: string;
  chat_id: string;
  title: string;
  /** Known when it is made: the server keeps only a hash of it. */
  url: string | null;
  created_at: string;
  expires_at: string | null;
  revoked_at: string | null;
  views: number;
}

export interface Model {
  name: string;
  stage: string | null;
  parameters: number | null;
  context: number | null;
  is_base: boolean;
  description: string | null;
  licence: string | null;
  languages?: string[];
  run: string | null;
  upstream: string | null;
}

export interface Example {
  text: string;
  kind?: string;
  lang?: string;
}

export interface Offer {
  models: Model[];
  examples: Example[];
  defaults: Settings;
  limits: { max_tokens: number; max_messages: number; max_message_chars: number };
  /** Not where an expert checks the answers. */
  temporary?: boolean;
}

export interface Page<T> {
  data: T[];
  next: string | null;
}

/** A piece of a chat's path, oldest first. */
export interface Earlier {
  messages: Message[];
  has_earlier: boolean;
}

export interface Opened extends Earlier {
  chat: Chat;
  generation_id: string | null;
}

export interface Hit {
  chat_id: string;
  title: string;
  message_id: string | null;
  snippet: string;
  marks: [number, number][];
  created_at: string;
}

export interface Leaf {
  id: string;
  parent_id: string | null;
  role: string;
  preview: string;
  state: MessageState;
}

export interface Why {
  prompt: string;
  tokens: { text: string; logprob: number; top: { text: string; logprob: number }[] }[];
  curl: string;
  seed: number | null;
  /** Approved answers that stood before the question. */
  examples?: { judgement_id: string; question: string; answer: string; score: number }[];
  examples_withdrawn?: number;
}

export type GenerationEvent =
  | { type: "text"; text: string }
  | { type: "reasoning"; text: string }
  | { type: "held"; text?: string }
  | { type: "replaced"; text: string }
  | { type: "done"; message: Message; chat?: { title?: string; active_leaf_id?: string } }
  | { type: "error"; error: ErrorBody; message?: Message };

export interface ErrorBody {
  message: string;
  type?: string;
  param?: string | null;
  code?: string | null;
}

export interface Stage {
  name: string;
  state: string;
  step: number | null;
  steps: number | null;
  elapsed_s: number | null;
  left_s: number | null;
  run: string | null;
  chat_model: string | null;
  /** The sentence with which it failed. */
  error?: string | null;
}

export interface Climb {
  name: string;
  world: string;
  state: string;
  stages: Stage[];
  left_s: number | null;
  report: string | null;
  /** False for runs that are no climb: those of the flywheel and of fine-tuning jobs. */
  card?: boolean;
}

export interface RunDetail {
  stage: Stage;
  state: string;
  series: Record<string, [number, number][]>;
  bands: Record<string, [number, number]>;
  samples: { step: number; text: string }[];
  doctor: { step: number; text: string }[];
  settings: Record<string, unknown> | null;
}
