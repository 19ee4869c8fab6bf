// Where the page is: the address's path, and nothing else. Every address is served the same page.

function decoded(piece: string): string {
  try {
    return decodeURIComponent(piece);
  } catch {
    return piece;
  }
}

class Route {
  path = $state(location.pathname);
  search = $state(location.search);

  constructor() {
    window.addEventListener("popstate", () => this.read());
  }

  read(): void {
    this.path = location.pathname;
    this.search = location.search;
  }

  go(path: string, replace = false): void {
    if (path === this.path + this.search) return;
    history[replace ? "replaceState" : "pushState"](null, "", path);
    this.read();
  }

  /** The pieces of the path: /c/chat_1 is ["c", "chat_1"]. A piece with a malformed % stays as it is. */
  get parts(): string[] {
    return this.path.split("/").filter(Boolean).map(decoded);
  }
}

export const route = new Route();

/** For links: moves within the page, and leaves new tabs to the browser. */
export function followLink(event: MouseEvent): void {
  const link = (event.currentTarget as HTMLElement).closest("a");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  route.go(link.getAttribute("href") ?? "/");
}
