// Invisible characters, shown as small marks: they can hide instructions, or turn the order of a line around.
//
//   "pay 10\u202e000"  ->  pay 10[202E]000        the mark holds the character, so that a copy is the text as it was
//
// Left alone is what ordinary writing needs: one joiner between emoji or beside letters of a script that is written with
// joiners, one zero-width space in a script without spaces, one variation selector after a Chinese character, and the tags of
// the three flags that are made of them.

import { t } from "../words/words.svelte";

const HIDDEN = "\\u061c\\u180e\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\ufeff\\u{e0000}-\\u{e0fff}";
const FLAG = "\\u{1f3f4}\\u{e0067}\\u{e0062}(?:\\u{e0065}\\u{e006e}\\u{e0067}|\\u{e0073}\\u{e0063}\\u{e0074}|\\u{e0077}\\u{e006c}\\u{e0073})\\u{e007f}";
const ANY = new RegExp(`[${HIDDEN}]`, "u");
const FLAG_OR_RUN = new RegExp(`${FLAG}|([${HIDDEN}]+)`, "gu");
const BEFORE_JOINER = /[\p{Extended_Pictographic}\u{1f3fb}-\u{1f3ff}\ufe0f]/u;
const PICTURE = /\p{Extended_Pictographic}/u;
const JOINED = new RegExp(
  `[${["Arab", "Syrc", "Mong", "Nkoo", "Deva", "Beng", "Guru", "Gujr", "Orya", "Taml", "Telu", "Knda", "Mlym", "Sinh", "Khmr", "Mymr", "Tibt"]
    .map((script) => `\\p{scx=${script}}`)
    .join("")}]`,
  "u",
);
const WITHOUT_SPACES = /[\p{scx=Thai}\p{scx=Laoo}\p{scx=Khmr}\p{scx=Mymr}\p{scx=Tibt}]/u;
const HAN = /\p{Script=Han}/u;
const CODES_SHOWN = 12;

/** Whether one such character is ordinary writing where it stands. */
function ordinary(one: string, before: string, after: string): boolean {
  if (one === "\u200d" && BEFORE_JOINER.test(before) && PICTURE.test(after)) return true;
  if (one === "\u200c" || one === "\u200d") return JOINED.test(before) || JOINED.test(after);
  if (one === "\u200b") return WITHOUT_SPACES.test(before) && WITHOUT_SPACES.test(after);
  const code = one.codePointAt(0)!;
  return code >= 0xe0100 && code <= 0xe01ef && HAN.test(before);
}

/** The pieces of a text in turn: each is text as it is, or a run of characters to be marked. */
export function pieces(text: string): { text: string; hidden: boolean }[] {
  const found: { text: string; hidden: boolean }[] = [];
  let from = 0;
  for (const match of text.matchAll(FLAG_OR_RUN)) {
    const run = match[1];
    if (run === undefined) continue;
    const end = match.index + run.length;
    const before = [...text.slice(Math.max(0, match.index - 2), match.index)].at(-1) ?? "";
    const after = [...text.slice(end, end + 2)][0] ?? "";
    if ([...run].length === 1 && ordinary(run, before, after)) continue;
    if (match.index > from) found.push({ text: text.slice(from, match.index), hidden: false });
    found.push({ text: run, hidden: true });
    from = end;
  }
  if (from < text.length) found.push({ text: text.slice(from), hidden: false });
  return found;
}

const codeOf = (one: string) => one.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0");

function describe(run: string): string {
  const all = [...run];
  const codes = all.slice(0, CODES_SHOWN).map((one) => `U+${codeOf(one)}`).join(" ") + (all.length > CODES_SHOWN ? " …" : "");
  const spelt = all
    .map((one) => one.codePointAt(0)! - 0xe0000)
    .filter((code) => code >= 0x20 && code < 0x7f)
    .map((code) => String.fromCharCode(code))
    .join("");
  return t("unseen.what", { n: all.length, codes }) + (spelt ? " " + t("unseen.spelt", { text: spelt }) : "");
}

function markOf(run: string): HTMLElement {
  const mark = document.createElement("span");
  const all = [...run];
  mark.className = "unseen";
  mark.dir = "ltr";
  mark.title = describe(run);
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", mark.title);
  mark.dataset["code"] = codeOf(all[0]!) + (all.length > 1 ? `+${all.length - 1}` : "");
  mark.textContent = run;
  return mark;
}

/** Marks what is hidden in the text below `root`; formulas are left to KaTeX. */
export function markUnseen(root: HTMLElement): void {
  if (!ANY.test(root.textContent ?? "")) return;
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const texts: Text[] = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) texts.push(node as Text);
  for (const node of texts) {
    if (!ANY.test(node.data) || node.parentElement?.closest(".unseen, .tex")) continue;
    const made = pieces(node.data);
    if (made.some((one) => one.hidden)) node.replaceWith(...made.map((one) => (one.hidden ? markOf(one.text) : one.text)));
  }
}

/** `use:plain={text}`: the text as it is, never as HTML. */
export function plain(element: HTMLElement, text: string) {
  const set = (now: string) => {
    element.textContent = now;
    markUnseen(element);
  };
  set(text);
  return { update: set };
}
