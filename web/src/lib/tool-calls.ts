// The tool calls of a message as the page shows them. An upstream or an imported file may have put anything there.

import type { ToolCall } from "./types";

export interface ShownCall {
  name: string;
  text: string;
}

/** Those that can be read; what is no object is skipped. */
export function shownCalls(calls: unknown): ShownCall[] {
  return Array.isArray(calls) ? calls.filter(isCall).map(shown) : [];
}

const isCall = (one: unknown): one is ToolCall => typeof one === "object" && one !== null && !Array.isArray(one);

function shown(call: ToolCall): ShownCall {
  const name: unknown = call.name ?? call.function?.name;
  const asked = formatted(call.arguments ?? call.function?.arguments ?? {});
  return {
    name: typeof name === "string" && name ? name : "?",
    text: call.result === undefined ? asked : `${asked}\n→ ${formatted(call.result)}`,
  };
}

/** Digits of a number that JavaScript may round. */
const LONG_NUMBER = /\d{16}/;

/** OpenAI's arguments are a text that holds JSON. A text that holds none stays as it is, and one whose numbers would change. */
function formatted(value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value, null, 2);
  if (LONG_NUMBER.test(value)) return value;
  try {
    return JSON.stringify(JSON.parse(value), null, 2);
  } catch {
    return value;
  }
}
