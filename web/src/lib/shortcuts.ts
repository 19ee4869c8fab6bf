// The keyboard: every shortcut of the page, listed once. Each may be given another key in the settings.

import { stop } from "./answering";
import { app } from "./app.svelte";
import { conversation } from "./conversation.svelte";
import { library } from "./library.svelte";
import { route } from "./route.svelte";

export interface Shortcut {
  name: string;
  keys: string;
  act: () => void;
}

const focusInput = () => document.getElementById("question")?.focus();
const press = (selector: string) => ([...document.querySelectorAll<HTMLElement>(selector)].at(-1)?.click(), undefined);

/** Mod is Ctrl, or Cmd on a Mac. */
export const SHORTCUTS: Shortcut[] = [
  { name: "new", keys: "Mod+Shift+o", act: () => newChat() },
  { name: "temporary", keys: "Mod+Shift+'", act: () => newChat(true) },
  { name: "search", keys: "Mod+k", act: () => (app.dialog = "search") },
  { name: "settings", keys: "Mod+.", act: () => (app.dialog = "settings") },
  { name: "shortcuts", keys: "Mod+/", act: () => (app.dialog = "shortcuts") },
  { name: "sidebar", keys: "Mod+Shift+s", act: () => toggleSidebar() },
  { name: "model", keys: "Mod+Shift+m", act: () => document.getElementById("model-button")?.click() },
  { name: "focus", keys: "Shift+Escape", act: focusInput },
  { name: "copy", keys: "Mod+Shift+c", act: () => press("[data-act=copy-answer]") },
  { name: "copyCode", keys: "Mod+Shift+;", act: () => press("[data-act=copy-code]") },
  { name: "regenerate", keys: "Mod+Shift+e", act: () => press("[data-act=regenerate]") },
  { name: "delete", keys: "Mod+Shift+Backspace", act: () => conversation.chat && void library.trash(conversation.chat) },
];

export function newChat(temporary = false): void {
  app.drawer = false;
  conversation.clear();
  route.go(temporary ? "/temporary" : "/");
  queueMicrotask(focusInput);
}

export function toggleSidebar(): void {
  if (matchMedia("(max-width: 800px)").matches) app.drawer = !app.drawer;
  else app.set("sidebar", !app.looks.sidebar);
}

export function keysOf(shortcut: Shortcut): string {
  return app.looks.shortcuts[shortcut.name] ?? shortcut.keys;
}

/** The keys of an event, written as in the list: "Mod+Shift+o". */
export function keysPressed(event: KeyboardEvent): string {
  const key = SHIFTED[event.code] ?? (event.key.length === 1 ? event.key.toLowerCase() : event.key);
  return [(event.ctrlKey || event.metaKey) && "Mod", event.altKey && "Alt", event.shiftKey && "Shift", key].filter(Boolean).join("+");
}
const SHIFTED: Record<string, string> = { Semicolon: ";", Quote: "'", Slash: "/", Period: "." };

export function listen(): void {
  window.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape" && !event.shiftKey && !document.querySelector("dialog[open], [popover]:popover-open")) {
      if (app.drawer) app.drawer = false;
      else if (Object.keys(conversation.live).length) void stop();
      return;
    }
    if (!event.ctrlKey && !event.metaKey && !(event.shiftKey && event.key === "Escape")) return;
    const pressed = keysPressed(event);
    const found = SHORTCUTS.find((one) => keysOf(one) === pressed);
    if (!found) return;
    event.preventDefault();
    found.act();
  });
}

/** As this machine's keyboard shows it: ⌘⇧O or Ctrl+Shift+O. */
export function shownKeys(keys: string): string {
  const mac = /Mac|iPhone|iPad/.test(navigator.platform);
  const names: Record<string, string> = mac ? { Mod: "⌘", Shift: "⇧", Alt: "⌥", Escape: "esc", Backspace: "⌫" } : { Mod: "Ctrl", Escape: "Esc" };
  return keys.split("+").map((one) => names[one] ?? (one.length === 1 ? one.toUpperCase() : one)).join(mac ? "" : "+");
}
