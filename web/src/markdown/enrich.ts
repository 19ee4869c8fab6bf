// What a finished block of Markdown is given after it stands in the page: code tools, formulas, images on request.

import DOMPurify from "dompurify";

import { save } from "../lib/api";
import { t } from "../words/words.svelte";
import { drawTex } from "./tex";
import { markUnseen } from "./unseen";

const purify = DOMPurify(window);
const ENDINGS: Record<string, string> = {
  python: "py", py: "py", javascript: "js", js: "js", typescript: "ts", ts: "ts", bash: "sh", sh: "sh", shell: "sh", rust: "rs",
  html: "html", css: "css", json: "json", yaml: "yaml", yml: "yaml", sql: "sql", c: "c", cpp: "cpp", java: "java", go: "go",
  markdown: "md", ruby: "rb", kotlin: "kt", swift: "swift", php: "php", csharp: "cs", r: "R", diff: "diff", xml: "xml",
};

/** Dresses the code, formulas and images inside `root`. An open block is only given its formulas' text. */
export function enrich(root: HTMLElement, whole: boolean): void {
  for (const block of root.querySelectorAll<HTMLElement>("pre.code:not([data-dressed])")) dress(block);
  if (whole) for (const block of root.querySelectorAll<HTMLElement>("pre.code:not([data-painted])")) paintLater(block);
  for (const image of root.querySelectorAll<HTMLElement>(".remote-image:not([data-asked])")) askForImage(image);
  markUnseen(root);
  if (whole) for (const tex of root.querySelectorAll<HTMLElement>(".tex:not([data-drawn])")) void drawTex(tex);
}

function button(label: string, act: () => void): HTMLButtonElement {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.addEventListener("click", act);
  return made;
}

function dress(block: HTMLElement): void {
  block.dataset["dressed"] = "yes";
  const code = block.querySelector("code");
  if (!code) return;
  const lang = (block.dataset["lang"] ?? "").toLowerCase();
  const text = () => code.textContent ?? "";
  const bar = document.createElement("div");
  bar.className = "code-bar";
  const name = document.createElement("span");
  name.textContent = block.dataset["lang"] ?? t("code.text");
  const copy = button(t("action.copy"), () => {
    void navigator.clipboard.writeText(text()).then(() => {
      copy.textContent = t("action.copied");
      setTimeout(() => (copy.textContent = t("action.copy")), 1500);
    });
  });
  copy.dataset["act"] = "copy-code";
  const wrap = button(t("code.wrap"), () => {
    const on = block.classList.toggle("wrapped");
    wrap.setAttribute("aria-pressed", String(on));
  });
  wrap.setAttribute("aria-pressed", "false");
  const numbers = button(t("code.numbers"), () => {
    const on = holder.classList.toggle("numbered");
    numbers.setAttribute("aria-pressed", String(on));
    gutter.textContent = on ? text().trimEnd().split("\n").map((_, i) => i + 1).join("\n") : "";
  });
  numbers.setAttribute("aria-pressed", "false");
  const gutter = document.createElement("span");
  gutter.className = "gutter";
  gutter.setAttribute("aria-hidden", "true");
  const fetchIt = button(t("code.download"), () => save(new Blob([text()], { type: "text/plain" }), `code.${ENDINGS[lang] ?? "txt"}`));
  bar.append(name, numbers, wrap, fetchIt, copy);
  const holder = document.createElement("div");
  holder.className = "code-block";
  block.replaceWith(holder);
  holder.append(bar, block);
  block.prepend(gutter);
  block.tabIndex = 0;
  block.setAttribute("role", "region");
  block.setAttribute("aria-label", t("code.region", { lang: lang || t("code.text") }));
}

function paintLater(block: HTMLElement): void {
  block.dataset["painted"] = "yes";
  const code = block.querySelector("code");
  if (code) whenIdle(() => void paint(code, (block.dataset["lang"] ?? "").toLowerCase()));
}

async function paint(code: HTMLElement, lang: string): Promise<void> {
  const { highlight } = await import("./highlight");
  const html = highlight(code.textContent ?? "", lang);
  if (html === null) return;
  code.innerHTML = purify.sanitize(html, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"] });
  markUnseen(code);
}

function whenIdle(act: () => void): void {
  if ("requestIdleCallback" in window) requestIdleCallback(act, { timeout: 1500 });
  else setTimeout(act, 60);
}

/** What is copied of formulas is their TeX. */
export function copyAsTex(event: ClipboardEvent): void {
  const selection = getSelection();
  if (!selection?.rangeCount || !event.clipboardData) return;
  const range = selection.getRangeAt(0);
  const piece = range.cloneContents();
  const formulas = piece.querySelectorAll<HTMLElement>(".tex");
  const around = range.commonAncestorContainer.parentElement?.closest<HTMLElement>(".tex");
  if (!formulas.length && !around) return;
  const written = (one: HTMLElement) => (one.classList.contains("display") ? `$$${one.dataset["tex"]}$$` : `$${one.dataset["tex"]}$`);
  for (const one of formulas) one.replaceWith(written(one));
  const holder = document.createElement("div");
  holder.append(piece);
  document.body.append(holder); // innerText needs it to stand in the page to know its lines.
  event.clipboardData.setData("text/plain", around ? written(around) : holder.innerText);
  holder.remove();
  event.preventDefault();
}

function askForImage(place: HTMLElement): void {
  place.dataset["asked"] = "yes";
  const source = place.dataset["src"] ?? "";
  let host: string;
  try {
    const url = new URL(source);
    if (url.protocol !== "https:" && url.protocol !== "http:") return;
    host = url.host;
  } catch {
    return;
  }
  const alt = place.textContent ?? "";
  const label = document.createElement("span");
  label.textContent = alt ? `${alt} ` : "";
  const open = document.createElement("a");
  open.href = source;
  open.target = "_blank";
  open.rel = "noopener noreferrer nofollow";
  open.textContent = t("image.open", { host });
  place.replaceChildren(label, open);
}
