// What /api/flywheel answers.

export interface Interval { value: number | null; low: number | null; high: number | null; n: number }
export interface Version { id: string; ref: string; sha256: string; created_at: string; records: Record<string, number> | number; people: number; newest: boolean }
export interface Job { state: string; progress: { phase?: number; phases?: number; stage?: string; run?: string | null; step?: number; steps?: number | null; criteria?: number; of?: number }; last_error: string | null }
export interface Turn {
  id: string; name: string; state: string; dataset: string; base: string; candidate: string | null; error: string | null; created_at: string; job: Job | null;
  recipe: { method: string; rule: string; trainable: string; budget_s: number | null; seed: number };
}
export interface GateShort { id: string; turn_id: string | null; against: string | null; state: string; verdict: string | null; sentence: string | null; error: string | null; signature: Signature | null; created_at: string; criteria: { name: string; verdict: string }[] }
export interface Signature { person_id: string | null; signed_as: string; decision: string; note: string; at: string; name?: string | null }
export interface Criterion { name: string; figure: number | null; low: number | null; high: number | null; bar: number | null; unit: string; n: number | null; verdict: string; sentence: string; detail: Record<string, unknown> }
export interface Sample { prompt: { role: string; content: string }[]; candidate: string; serving: string | null }
export interface Gate extends Omit<GateShort, "criteria"> { criteria: Criterion[]; samples: Sample[]; turn: string | null; against_name: string | null; release: string | null; candidate: string; weights: string }
export interface Release { id: string; name: string; parent: string | null; turn_id: string | null; gate_id: string | null; weights: string; datasets: { id: string | null; name: string; sha256: string | null }[]; code: string; seed: number | null; scores: Record<string, { figure: number | null; verdict: string }>; signer: string | null; note: string; created_at: string; lineage?: Release[] }
export interface Channel { name: string; release: string | null; canary: string | null; canary_share: number; previous: string | null; updated_at: string }
export interface OnlineTest { id: string; name: string; control: string; treatment: string; share: number; horizon: number; state: string; winner: string | null; sentence: string | null; result: { judged: number } | null }
export interface ByRelease { release: string; answers: number; satisfaction: Interval; not_understood: Interval; approved_unchanged: Interval }
export interface Loop {
  feedback: { kinds: Record<string, number>; total: number };
  datasets: { versions: Version[]; waiting: { judgements: number; usable: number; left_out: Record<string, number> } | null };
  turns: Turn[]; gates: GateShort[]; releases: Release[]; channels: Channel[]; tests: OnlineTest[];
  history: { action: string; from: string | null; to: string | null; share: number | null; note: string; at: string }[];
  measures: { days: number; satisfaction: Interval; not_understood: Interval; approved_unchanged: Interval; retention: Interval; new_people: number; by_release: ByRelease[] };
  may: { train: boolean; sign: boolean; promote: boolean };
}

export const GOING = ["queued", "running"];
