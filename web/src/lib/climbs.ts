// How far a climb is.

import type { Climb, Stage } from "./types";

/** The climb that a card shows: the first that is one. */
export function shownOf(climbs: Climb[]): Climb | null {
  return climbs.find((one) => one.card !== false) ?? null;
}

export function partOf(stage: Stage): number {
  if (stage.state === "done") return 1;
  return stage.steps ? Math.min(1, (stage.step ?? 0) / stage.steps) : 0;
}

/** How many steps of the ziggurat are lit: the stages that are done or being climbed, one mark for each kind. */
export function litOf(climb: Climb): number {
  const order = ["pretrain", "sft", "reward", "ppo"];
  let lit = 0;
  for (const stage of climb.stages) if (stage.state === "done" || stage.state === "running") lit = Math.max(lit, order.indexOf(kindOf(stage)) + 1);
  return lit;
}

export function kindOf(stage: Stage): string {
  return stage.name.replace(/-\d+$/, "");
}
