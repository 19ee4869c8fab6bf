// A link of an answer to a host that the person did not name: its address is shown first.

class Leaving {
  href = $state<string | null>(null);
}

export const leaving = new Leaving();

export function askBeforeLeaving(href: string): void {
  leaving.href = href;
}
