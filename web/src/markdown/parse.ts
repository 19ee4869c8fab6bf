// Untrusted Markdown to safe HTML, in blocks: parse with raw HTML off, render, and sanitise last.

import DOMPurify from "dompurify";
import MarkdownIt from "markdown-it";
import footnote from "markdown-it-footnote";

import { math } from "./math";

type Token = ReturnType<InstanceType<typeof MarkdownIt>["parse"]>[number];

const md = new MarkdownIt({ html: false, linkify: true, breaks: false, typographer: false });
md.validateLink = (url) => /^(?:https?:|mailto:)/i.test(url.trim());
md.linkify.set({ fuzzyLink: false, fuzzyIP: false });
md.use(footnote).use(math);
md.core.ruler.after("inline", "tasks", (state) => markTasks(state.tokens));
md.core.ruler.push("direction", (state) => {
  for (const token of state.tokens) if (token.level === 0 && token.nesting === 1) token.attrSet("dir", "auto");
});

// No image is fetched: what stands there is a note of where it would come from, which the page turns into a button.
md.renderer.rules["image"] = (tokens, i) => {
  const token = tokens[i]!;
  const { escapeHtml } = md.utils;
  return `<span class="remote-image" data-src="${escapeHtml(String(token.attrGet("src") ?? ""))}">${escapeHtml(token.content)}</span>`;
};
md.renderer.rules["link_open"] = (tokens, i, options, _env, self) => {
  tokens[i]!.attrSet("rel", "noopener noreferrer nofollow");
  tokens[i]!.attrSet("target", "_blank");
  return self.renderToken(tokens, i, options);
};
const code = (content: string, lang: string) =>
  `<pre class="code"${lang ? ` data-lang="${md.utils.escapeHtml(lang)}"` : ""}><code>${md.utils.escapeHtml(content)}</code></pre>\n`;
md.renderer.rules["fence"] = (tokens, i) => code(tokens[i]!.content, tokens[i]!.info.trim().split(/\s+/)[0] ?? "");
md.renderer.rules["code_block"] = (tokens, i) => code(tokens[i]!.content, "");
md.renderer.rules["table_open"] = () => '<div class="table"><table dir="auto">';
md.renderer.rules["table_close"] = () => "</table></div>";

for (const name of ["th_open", "td_open"]) {
  md.renderer.rules[name] = (tokens, i, options, _env, self) => {
    const side = /text-align:(\w+)/.exec(String(tokens[i]!.attrGet("style") ?? ""))?.[1]; // A class instead: no style passes.
    tokens[i]!.attrs = side ? [["class", side]] : null;
    return self.renderToken(tokens, i, options);
  };
}

function markTasks(tokens: Token[]): void {
  for (let i = 2; i < tokens.length; i++) {
    const text = tokens[i]!;
    if (text.type !== "inline" || tokens[i - 2]?.type !== "list_item_open") continue;
    const found = /^\[([ xX])\]\s/.exec(text.content);
    const first = text.children?.[0];
    if (!found || first?.type !== "text") continue;
    first.content = (found[1] === " " ? "☐ " : "☑ ") + first.content.slice(found[0].length);
    tokens[i - 2]!.attrJoin("class", "task");
  }
}

const TAGS = [
  "a", "blockquote", "br", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
  "s", "section", "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
];
const ATTRIBUTES = ["href", "rel", "target", "class", "id", "dir", "start", "data-tex", "data-src", "data-lang", "align", "data-align"];

const purify = DOMPurify(window);
purify.addHook("uponSanitizeAttribute", (_node, data) => {
  if (data.attrName === "id") data.keepAttr = /^m\d+-(?:fn|fnref)[\w:-]*$/.test(data.attrValue);
});
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  const href = node.getAttribute("href") ?? "";
  if (href.startsWith("#")) {
    node.removeAttribute("target");
    return;
  }
  node.setAttribute("rel", "noopener noreferrer nofollow");
  node.setAttribute("target", "_blank");
});

function safe(html: string): string {
  return purify.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ADD_URI_SAFE_ATTR: ["data-tex", "data-src", "data-lang", "dir", "rel", "target", "start", "align"],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#m\d+-)/i,
  });
}

const CACHE_SIZE = 4000;
const cache = new Map<string, string>();

function cached(html: string): string {
  const before = cache.get(html);
  if (before !== undefined) return before;
  const clean = safe(html);
  if (cache.size >= CACHE_SIZE) cache.delete(cache.keys().next().value!);
  cache.set(html, clean);
  return clean;
}

interface Cut {
  tokens: Token[];
  line: number;
}

function blocksOf(tokens: Token[]): Cut[] {
  const blocks: Cut[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const start = i;
    let depth = 0;
    do depth += tokens[i]!.nesting;
    while (depth > 0 && ++i < tokens.length);
    blocks.push({ tokens: tokens.slice(start, i + 1), line: tokens[start]!.map?.[0] ?? -1 });
  }
  return blocks;
}

interface Env {
  docId: string;
  [more: string]: unknown;
}

// Footnotes: numbers and ids that carry the document's own, so that two answers never share one.
const noteOf = (token: Token | undefined, env: unknown, kind: "fn" | "fnref") => ({
  n: Number((token?.meta as { id?: number } | null)?.id ?? 0) + 1,
  id: `m${(env as Env).docId}-${kind}`,
});
md.renderer.rules["footnote_ref"] = (tokens, i, _options, env) => {
  const { n, id } = noteOf(tokens[i], env, "fn");
  return `<sup><a href="#${id}${n}" id="${id}ref${n}">${n}</a></sup>`;
};
md.renderer.rules["footnote_open"] = (tokens, i, _options, env) => {
  const { n, id } = noteOf(tokens[i], env, "fn");
  return `<li id="${id}${n}">`;
};
md.renderer.rules["footnote_anchor"] = (tokens, i, _options, env) => {
  const { n, id } = noteOf(tokens[i], env, "fnref");
  return ` <a href="#${id}${n}">↩</a>`;
};
md.renderer.rules["footnote_close"] = () => "</li>";
md.renderer.rules["footnote_block_open"] = () => '<section class="footnotes"><ol>';
md.renderer.rules["footnote_block_close"] = () => "</ol></section>";

function htmlOf(block: Cut, env: Env): string {
  return cached(md.renderer.render(block.tokens, md.options, env as never));
}

let documents = 0;

/** The blocks of one text that grows: what stands before the last block is rendered once. */
export class Growing {
  private env: Env = { docId: String(++documents) };
  private done: string[] = [];
  private from = 0;
  private text = "";

  /** The safe HTML of each block of `text`; `whole` if nothing more will come. */
  blocks(text: string, whole: boolean): string[] {
    if (whole || !text.startsWith(this.text)) this.begin();
    this.text = text;
    const rest = text.slice(this.from);
    const cuts = blocksOf(md.parse(rest, this.env as never));
    if (whole) return (this.done = cuts.map((cut) => htmlOf(cut, this.env)));
    const last = cuts.at(-1);
    if (cuts.length > 1 && last && last.line > 0) {
      for (const cut of cuts.slice(0, -1)) this.done.push(htmlOf(cut, this.env));
      this.from += offsetOfLine(rest, last.line);
      return [...this.done, htmlOf(last, this.env)];
    }
    return [...this.done, ...cuts.map((cut) => htmlOf(cut, this.env))];
  }

  private begin(): void {
    this.env = { docId: this.env.docId };
    this.done = [];
    this.from = 0;
  }
}

function offsetOfLine(text: string, line: number): number {
  let at = 0;
  for (let n = 0; n < line; n++) at = text.indexOf("\n", at) + 1;
  return at;
}
