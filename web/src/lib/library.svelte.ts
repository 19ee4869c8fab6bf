// The list of chats and folders, as the sidebar shows them.

import { t } from "../words/words.svelte";
import { get, patch, post, query, remove } from "./api";
import { app } from "./app.svelte";
import { route } from "./route.svelte";
import type { Chat, Folder, Page } from "./types";

const MANY = 40;

class Library {
  chats = $state<Chat[]>([]);
  folders = $state<Folder[]>([]);
  open = $state<Record<string, boolean>>({});
  loaded = $state(false);
  private next: string | null = null;
  private loading = false;

  async start(): Promise<void> {
    this.chats = [];
    this.next = null;
    this.loaded = false;
    await Promise.all([this.more(), this.loadFolders()]);
  }

  get whole(): boolean {
    return this.loaded && this.next === null;
  }

  /** The next page of the list; whether it came. */
  async more(): Promise<boolean> {
    if (this.loading || this.whole) return false;
    this.loading = true;
    try {
      const page = await get<Page<Chat>>("/api/chats" + query({ limit: MANY, cursor: this.next }));
      const known = new Set(this.chats.map((chat) => chat.id));
      this.chats.push(...page.data.filter((chat) => !known.has(chat.id)));
      this.next = page.next;
      this.loaded = true;
      return true;
    } catch (problem) {
      if (!this.loaded) app.fail(problem);
      return false;
    } finally {
      this.loading = false;
    }
  }

  async loadFolders(): Promise<void> {
    const answer = await get<Page<Folder>>("/api/folders").catch(() => null);
    if (answer) this.folders = answer.data;
  }

  async loadFolder(id: string): Promise<void> {
    const page = await get<Page<Chat>>("/api/chats" + query({ folder: id, limit: 200 }));
    for (const chat of page.data) this.put(chat);
  }

  put(chat: Chat): void {
    const at = this.chats.findIndex((one) => one.id === chat.id);
    if (at >= 0) Object.assign(this.chats[at]!, chat);
    else this.chats.push(chat);
  }

  drop(id: string): void {
    this.chats = this.chats.filter((chat) => chat.id !== id);
  }

  /** What the list shows: pinned first, then the newest. */
  get shown(): Chat[] {
    return this.chats
      .filter((chat) => !chat.archived && !chat.deleted_at)
      .sort((a, b) => Number(b.pinned) - Number(a.pinned) || (a.updated_at < b.updated_at ? 1 : -1));
  }

  get newest(): Chat | undefined {
    return this.shown.reduce<Chat | undefined>((best, one) => (best && best.id > one.id ? best : one), undefined);
  }

  async change(chat: Chat, change: Partial<Chat>): Promise<Chat | null> {
    try {
      const now = await patch<Chat>(`/api/chats/${chat.id}`, change);
      this.put(now);
      return now;
    } catch (problem) {
      app.fail(problem);
      return null;
    }
  }

  async archive(chat: Chat): Promise<void> {
    if (!(await this.change(chat, { archived: true }))) return;
    if (route.parts[1] === chat.id) route.go("/");
    app.tell(t("toast.archived"), { label: t("action.undo"), act: () => void this.change(chat, { archived: false }) });
  }

  async trash(chat: Chat): Promise<void> {
    try {
      await remove(`/api/chats/${chat.id}`);
    } catch (problem) {
      app.fail(problem);
      return;
    }
    this.drop(chat.id);
    if (route.parts[1] === chat.id) route.go("/");
    app.tell(t("toast.trashed"), { label: t("action.undo"), act: () => void this.restore(chat.id) });
  }

  async restore(id: string): Promise<void> {
    try {
      const chat = await post<Chat | undefined>(`/api/chats/${id}/restore`);
      if (chat?.id) this.put(chat);
      else await this.start();
    } catch (problem) {
      app.fail(problem);
    }
  }

  async addFolder(name: string, parent: string | null = null): Promise<Folder | null> {
    try {
      const folder = await post<Folder>("/api/folders", { name, parent_id: parent });
      this.folders.push(folder);
      this.open[folder.id] = true;
      return folder;
    } catch (problem) {
      app.fail(problem);
      return null;
    }
  }

  async renameFolder(folder: Folder, name: string): Promise<void> {
    try {
      Object.assign(folder, await patch<Folder>(`/api/folders/${folder.id}`, { name }));
    } catch (problem) {
      app.fail(problem);
    }
  }

  async removeFolder(folder: Folder): Promise<void> {
    try {
      await remove(`/api/folders/${folder.id}`);
      this.folders = this.folders.filter((one) => one.id !== folder.id && one.parent_id !== folder.id);
      for (const chat of this.chats) if (chat.folder_id === folder.id) chat.folder_id = null;
      await this.loadFolders();
    } catch (problem) {
      app.fail(problem);
    }
  }
}

export const library = new Library();
