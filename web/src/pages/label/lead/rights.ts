// Which roles lead projects: the server decides, the page only hides what would be refused.

import { app } from "../../../lib/app.svelte";

export const mayLead = (): boolean => ["owner", "admin", "review_lead"].includes(app.person?.role ?? "");
