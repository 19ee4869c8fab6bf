// The page's words: two catalogues of the same keys, loaded by language, with {name} and {n, plural, one {...} other {...}}.

export type Language = "en" | "zh";
type Catalogue = Record<string, string>;
type Values = Record<string, string | number>;

const LOADERS: Record<Language, () => Promise<{ default: Catalogue }>> = {
  en: () => import("./en.json"),
  zh: () => import("./zh.json"),
};
const KEPT = "ziggurat.language";

/** Words of a whole page, loaded with it: words/en/label.json and so on. */
export type Area = "label" | "review" | "flywheel" | "arena" | "exam";
const AREAS = import.meta.glob<{ default: Catalogue }>("./{en,zh}/*.json");

class Words {
  /** Known from the first request on; its catalogue is loaded after that. */
  language = $state<Language>(firstLanguage());
  catalogue = $state.raw<Catalogue>({});
  private areas = new Set<Area>();

  get locale(): string {
    return this.language === "zh" ? "zh-CN" : "en";
  }

  async use(language: Language): Promise<void> {
    const parts = await Promise.all([LOADERS[language](), ...[...this.areas].map((area) => AREAS[`./${language}/${area}.json`]!())]);
    this.language = language;
    this.catalogue = Object.assign({}, ...parts.map((part) => part.default)) as Catalogue;
    document.documentElement.lang = this.locale;
    remember(language);
  }

  /** A page together with its words. */
  async with<Page>(area: Area, page: Promise<Page>): Promise<Page> {
    if (!this.areas.has(area)) {
      const more = (await AREAS[`./${this.language}/${area}.json`]!()).default;
      this.areas.add(area);
      this.catalogue = { ...this.catalogue, ...more };
    }
    return page;
  }
}

export const words = new Words();

export function firstLanguage(): Language {
  const kept = recall();
  if (kept === "en" || kept === "zh") return kept;
  return (navigator.languages ?? [navigator.language]).some((one, i) => i === 0 && one.toLowerCase().startsWith("zh")) ? "zh" : "en";
}

/** The text of a key in the page's language; the key itself if the catalogue lacks it. */
export function t(key: string, values: Values = {}): string {
  const text = words.catalogue[key];
  return text === undefined ? key : fill(text, values, words.locale);
}

/** True if the catalogue has this key: error codes and stages may come from newer servers. */
export function has(key: string): boolean {
  return key in words.catalogue;
}

export function fill(text: string, values: Values, locale: string): string {
  let out = "";
  for (let i = 0; i < text.length; ) {
    if (text[i] !== "{") {
      out += text[i++];
      continue;
    }
    const end = closing(text, i);
    out += argument(text.slice(i + 1, end), values, locale);
    i = end + 1;
  }
  return out;
}

function closing(text: string, open: number): number {
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if (text[i] === "{") depth++;
    else if (text[i] === "}" && --depth === 0) return i;
  }
  return text.length;
}

function argument(inside: string, values: Values, locale: string): string {
  const [name = "", kind, rest] = split(inside);
  const value = values[name];
  if (kind === "plural" && rest !== undefined) {
    const choices = new Map([...rest.matchAll(/(\S+)\s*\{((?:[^{}]|\{[^{}]*\})*)\}/g)].map((m) => [m[1], m[2] ?? ""]));
    const form = choices.get(`=${value}`) ?? choices.get(new Intl.PluralRules(locale).select(Number(value))) ?? choices.get("other") ?? "";
    return fill(form.replaceAll("#", number(Number(value), locale)), values, locale);
  }
  if (value === undefined) return `{${inside}}`;
  return typeof value === "number" ? number(value, locale) : value;
}

function split(inside: string): (string | undefined)[] {
  const first = inside.indexOf(",");
  if (first < 0) return [inside.trim()];
  const second = inside.indexOf(",", first + 1);
  return [inside.slice(0, first).trim(), inside.slice(first + 1, second).trim(), inside.slice(second + 1).trim()];
}

function number(value: number, locale: string): string {
  return new Intl.NumberFormat(locale).format(value);
}

function remember(language: Language): void {
  try {
    localStorage.setItem(KEPT, language);
  } catch {
    /* Storage is forbidden: the language is asked of the browser again. */
  }
}

function recall(): string | null {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}
