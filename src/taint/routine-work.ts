// A call of a system routine, as its rule (routines.ts) works on it.

import type { Processor } from '../cpu/processor.ts';
import type { Routine } from '../cpu/system/routine.ts';
import { State } from '../memory/state.ts';
import type { SystemResult } from '../x86/emitter.ts';
import { PRIVATE_BYTE, SHARED } from '../x86/label-table.ts';
import type { Noted, Work } from './work.ts';
import type { Tracker } from './tracker.ts';

export class RoutineWork implements Work {
  readonly p: Processor;
  readonly record: number;
  readonly low: number;
  readonly high: number;
  readonly operand: number;
  readonly #tracker: Tracker;
  readonly #call: Routine;

  constructor(tracker: Tracker, p: Processor, record: number, low: number, high: number, call: Routine) {
    this.#tracker = tracker;
    this.p = p;
    this.record = record;
    this.low = low;
    this.high = high;
    this.#call = call;
    const mask = p.u32(State.OPERAND_LABEL) & 0xffff;
    this.operand = (mask === 0 ? 0 : PRIVATE_BYTE) | (p.high32(State.OPERAND_LABEL) & SHARED);
    tracker.beginNotes();
  }

  call(): SystemResult {
    this.#tracker.beginNotes();
    return this.#call(this.p, this.record, this.low, this.high);
  }

  get loads(): readonly Noted[] {
    return this.#tracker.loads;
  }

  get stores(): readonly Noted[] {
    return this.#tracker.stores;
  }

  read(at: number, length: number): number {
    return this.#tracker.read(this.record, this.p.state + at, length);
  }

  write(at: number, length: number, label: number): void {
    this.#tracker.write(this.record, this.p.state + at, length, label);
  }

  readMemory(address: number, length: number): number {
    return this.#tracker.read(this.record, address, length);
  }

  writeMemory(address: number, length: number, label: number): void {
    this.#tracker.writeStored(this.record, address, length, label);
  }

  copy(from: number, to: number, length: number): void {
    this.#tracker.copy(from, to, length);
  }

  join(...labels: readonly number[]): number {
    return labels.reduce((a, b) => this.#tracker.join(a, b), 0);
  }

  hypervisor(what: string): number {
    return this.#tracker.fresh(this.record, what);
  }

  branching(label: number): () => void {
    return this.#tracker.branching(this.record, label & SHARED);
  }

  leak(text: string): void {
    this.#tracker.leaked(this.record, text);
  }

  handOver(): void {
    this.#tracker.handOver(this.p);
  }

  ghcbMsr(): number {
    return this.#tracker.ghcbMsr(this.record, this.p.state);
  }

  wroteGhcbMsr(): void {
    this.#tracker.wroteGhcbMsr(this.p.state, this.p.u64(State.GHCB));
  }

  paged(): void {
    this.#tracker.paged(this.p, this.record);
  }
}
