// Why an answer was good or bad. The names are stored with the judgement, so they stay as they are.

export const REASONS = {
  good: ["accurate", "followed", "creative", "friendly", "detailed", "thorough", "other"],
  bad: ["style", "wrong", "not_followed", "refused", "lazy", "unsafe", "other"],
} as const;

export const KINDS = ["spam", "offensive", "feedback"] as const;
