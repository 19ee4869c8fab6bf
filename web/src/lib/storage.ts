// What this browser keeps: drafts and looks. Storage may be full or forbidden; the page then goes on without it.

const NAME = "ziggurat.";

export function keep(name: string, value: unknown): void {
  try {
    if (value === null || value === undefined || value === "") localStorage.removeItem(NAME + name);
    else localStorage.setItem(NAME + name, JSON.stringify(value));
  } catch {
    /* As said above. */
  }
}

export function kept<T>(name: string, otherwise: T): T {
  try {
    const text = localStorage.getItem(NAME + name);
    return text === null ? otherwise : (JSON.parse(text) as T);
  } catch {
    return otherwise;
  }
}

/** Removes everything whose name begins so: another person may use this browser next. */
export function forget(prefix: string): void {
  try {
    for (const name of Object.keys(localStorage)) if (name.startsWith(NAME + prefix)) localStorage.removeItem(name);
  } catch {
    /* As said above. */
  }
}
