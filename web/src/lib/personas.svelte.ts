// Personas: who a model is to be, reusable and versioned.

import { get, patch, post, remove } from "./api";
import { app } from "./app.svelte";
import type { Page, Persona } from "./types";

class Personas {
  list = $state.raw<Persona[]>([]);

  async load(): Promise<void> {
    try {
      this.list = (await get<Page<Persona>>("/api/personas")).data;
    } catch (problem) {
      app.fail(problem);
    }
  }

  async save(persona: Partial<Persona>): Promise<boolean> {
    try {
      if (persona.id) await patch(`/api/personas/${persona.id}`, persona);
      else await post("/api/personas", persona);
      await this.load();
      return true;
    } catch (problem) {
      app.fail(problem);
      return false;
    }
  }

  async drop(id: string): Promise<void> {
    try {
      await remove(`/api/personas/${id}`);
      await this.load();
    } catch (problem) {
      app.fail(problem);
    }
  }
}

export const personas = new Personas();
