// What the page says of a model: its title, what it is in words, its size and context.

import { has, t, words } from "../words/words.svelte";
import type { Model } from "./types";

export type StageName = "pretrain" | "sft" | "reward" | "ppo" | "other";

export function stageOf(model: Model | null | undefined): StageName {
  const stage = model?.stage ?? "";
  return stage === "pretrain" || stage === "sft" || stage === "reward" || stage === "ppo" ? stage : "other";
}

/** "town/ppo-2" is a name for machines; the page says "Town · PPO 2". Other models keep their own name. */
export function titleOf(model: Model | string | null | undefined): string {
  const name = typeof model === "string" ? model : model?.name;
  if (!name) return t("model.none");
  const found = /^([\w-]+)\/(pretrain|sft|reward|ppo|dpo|kto|grpo)-?(\d*)$/.exec(name);
  if (!found) return name;
  const [, world = "", stage = "", round = ""] = found;
  const short = has(`stage.short.${stage}`) ? t("stage.short." + stage) : stage.toUpperCase();
  const title = `${world[0]!.toUpperCase()}${world.slice(1)} · ${short}`;
  return round && round !== "1" ? `${title} ${round}` : title;
}

/** One line: what it is, how large, how much it can keep in view. */
export function lineOf(model: Model): string {
  const parts = [whatOf(model)];
  if (model.parameters) parts.push(t("model.parameters", { n: compact(model.parameters) }));
  if (model.context) parts.push(t("model.context", { n: model.context }));
  return parts.join(" · ");
}

export function whatOf(model: Model): string {
  if (model.upstream) return t("model.upstream", { name: model.upstream });
  const stage = stageOf(model);
  if (stage !== "other") return t("stage.what." + stage);
  return t(model.is_base ? "stage.what.pretrain" : "stage.what.other");
}

export function compact(n: number): string {
  return new Intl.NumberFormat(words.locale, { notation: "compact", maximumSignificantDigits: 3 }).format(n);
}
