// What the server sends for labelling.

export type TaskType = "ranking" | "pairwise" | "labels" | "spans" | "demonstration" | "prompt" | "rewrite";
export type Texts = Partial<Record<"en" | "zh", string>>;
export type Value = Record<string, unknown>;

export interface Said {
  role: string;
  content: string;
}

export interface Option {
  key: string;
  title: Texts;
}

export interface LabelQuestion extends Option {
  help: Texts;
  scale: "likert" | "binary" | "choice";
  points: number;
  options: Option[];
  required: boolean;
  sensitive: boolean;
}

export interface Questions {
  ties?: boolean;
  points?: number;
  target?: "completion" | "prompt";
  labels?: LabelQuestion[];
  kinds?: string[];
  min_chars?: number;
  max_chars?: number;
  from_draft?: boolean;
}

export interface Task {
  item_id: string;
  project_id: string;
  task: TaskType;
  training: boolean;
  messages: Said[];
  completions: { id: string; content: string }[];
  shown: string[];
  /** Ids in the item's own order, which the strength of a pair is about. */
  order: string[];
  brief: string | null;
  draft_text: string | null;
  lang: string | null;
  sensitive: string[];
  has_suggestion: boolean;
  questions: Questions;
  version: number;
  value: Value | null;
  answered: boolean;
  expires_at: string | null;
}

export interface Next {
  task: Task | null;
  reason: string | null;
  state: string;
  guideline: number;
}

export interface Mine {
  id: string;
  name: string;
  description: string;
  status: string;
  task: TaskType;
  state: string | null;
  langs: string[];
  open: number;
  items: number;
  done: number;
  mine: number;
  assigned: number;
  last_at: string | null;
}

export interface Habits {
  langs: string[];
  opt_out: string[];
  blur: boolean;
  break_minutes: number;
}

export interface Guideline {
  id: string;
  n: number;
  texts: Texts;
  note: string;
  acknowledge: boolean;
  acknowledged: boolean;
  created_at: string;
}

export interface Comment {
  id: string;
  project_id: string;
  item_id: string | null;
  person_id: string;
  name: string;
  text: string;
  question: boolean;
  mentions: string[];
  resolved_at: string | null;
  created_at: string;
}

export interface Submitted {
  answer: { id: string; item_id: string; status: string };
  counts: boolean;
  state: string;
  training: { value: Value | null; explanation: string | null; score: number | null } | null;
}

export interface Project {
  id: string;
  name: string;
  description: string;
  status: string;
  task: TaskType;
  settings: Record<string, unknown>;
  questions: Questions;
  version: number;
  guideline: number;
  created_at: string;
  updated_at: string;
}

export interface Template {
  key: string;
  title: Texts;
  about: Texts;
  task: TaskType;
  questions: Questions;
  source: string;
}

export interface Item {
  id: string;
  kind: string;
  payload: { messages: Said[]; completions: { id: string; content: string; model?: string }[]; brief?: string };
  lang: string | null;
  status: string;
  priority: number;
  min_answers: number;
  answers: number;
  skips: number;
  sensitive: string[];
  tags: string[];
  disagreement: number | null;
  uncertainty: number | null;
  source: { kind: string; model?: string };
  gold: Value | null;
}

/** What the task's part of the screen offers to the screen around it. */
export interface Part {
  /** Takes a key; false leaves it to the screen. */
  key(event: KeyboardEvent): boolean;
}
