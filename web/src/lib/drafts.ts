// What was written and not yet sent: kept in this browser per chat, so that a reload or a dead server loses nothing.

import { keep, kept } from "./storage";

const PREFIX = "draft.";

export const drafts = {
  of(chat: string | null): string {
    return kept<string>(PREFIX + (chat ?? "new"), "");
  },
  keep(chat: string | null, text: string): void {
    keep(PREFIX + (chat ?? "new"), text);
  },
};
