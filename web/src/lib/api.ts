// One way to the server: JSON in and out, the page's language and the CSRF token or the key with it, and every failure as a Problem.

import { has, t, words } from "../words/words.svelte";
import type { ErrorBody } from "./types";

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string | null,
    message: string,
    readonly param: string | null = null,
  ) {
    super(message);
  }

  /** The server could not be reached: nothing was lost, and trying again is sensible. */
  get unreachable(): boolean {
    return this.status === 0;
  }

  /** The sentence for the page, in its language: by the code, else by the status with the server's own sentence after it. */
  get words(): string {
    const { code, status, message } = this;
    if (this.unreachable) return t("error.unreachable");
    if (code && has(`error.${code}`)) return t("error." + code, { message });
    if (message && words.language === "en") return message;
    const sentence = has(`error.http.${status}`) ? t(`error.http.${status}`) : t("error.status", { status: String(status) });
    return message ? t("error.said", { sentence, message }) : sentence;
  }
}

const KEY = "ziggurat.key";
let csrf: string | null = null;
let onRefused: (path: string) => void = () => {};

export function useCsrf(token: string | null): void {
  csrf = token;
}

/** What happens if the server answers 401: the log-in page, or the question for a key. */
export function whenRefused(act: (path: string) => void): void {
  onRefused = act;
}

export function key(): string {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export function useKey(given: string): void {
  try {
    if (given) sessionStorage.setItem(KEY, given);
    else sessionStorage.removeItem(KEY);
  } catch {
    /* Storage is forbidden: the key is asked for again after a reload. */
  }
}

function headers(extra: Record<string, string> = {}): Record<string, string> {
  const sent: Record<string, string> = { "accept-language": words.locale, ...extra };
  if (csrf) sent["x-csrf-token"] = csrf;
  const mine = key();
  if (mine) sent["authorization"] = `Bearer ${mine}`;
  return sent;
}

/** The response of a request that succeeded; a Problem otherwise. */
export async function send(path: string, init: RequestInit & { headers?: Record<string, string> } = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers: headers(init.headers), credentials: "same-origin" });
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    throw new Problem(0, "unreachable", "");
  }
  if (response.ok) return response;
  const problem = await problemOf(response);
  if (response.status === 401 && !path.startsWith("/api/login")) onRefused(path);
  throw problem;
}

async function problemOf(response: Response): Promise<Problem> {
  let body: ErrorBody | undefined;
  try {
    body = ((await response.json()) as { error?: ErrorBody }).error;
  } catch {
    /* Not JSON: the status alone says what happened. */
  }
  return new Problem(response.status, body?.code ?? null, body?.message ?? "", body?.param ?? null);
}

async function json<T>(response: Response): Promise<T> {
  return response.status === 204 ? (undefined as T) : ((await response.json()) as T);
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return json<T>(await send(path, signal ? { signal } : {}));
}

async function withBody<T>(method: string, path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const init = { method, body: JSON.stringify(body ?? {}), headers: { "content-type": "application/json" } };
  return json<T>(await send(path, signal ? { ...init, signal } : init));
}

export const post = <T>(path: string, body: unknown = {}, signal?: AbortSignal) => withBody<T>("POST", path, body, signal);
export const put = <T>(path: string, body: unknown = {}) => withBody<T>("PUT", path, body);
export const patch = <T>(path: string, body: unknown = {}) => withBody<T>("PATCH", path, body);
export const remove = <T>(path: string, body: unknown = {}) => withBody<T>("DELETE", path, body);

/** Lets the browser save what the server sends at this path. */
export async function download(path: string, name: string): Promise<void> {
  const blob = await (await send(path)).blob();
  save(blob, name);
}

export function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** "?a=1&b=2" of the values that are there. */
export function query(values: Record<string, string | number | boolean | null | undefined>): string {
  const kept = Object.entries(values).filter(([, v]) => v !== null && v !== undefined && v !== "");
  return kept.length ? "?" + new URLSearchParams(kept.map(([k, v]) => [k, String(v)])).toString() : "";
}
