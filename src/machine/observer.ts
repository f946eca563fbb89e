// Those who look at a machine while it runs, handed to its parts as one. What they do changes nothing that a guest can see.

import type { Source } from '../cpu/delivery/event.ts';
import type { ProcessorObserver } from '../cpu/observer.ts';
import type { PageAccess, PageObserver } from '../mmu/page-observer.ts';
import type { SwitchObserver } from '../svm/observer.ts';

export type MachineObserver = ProcessorObserver & PageObserver & SwitchObserver;

/** Several take their turns in the order in which they came. */
export class Observers implements MachineObserver {
  readonly #all: MachineObserver[] = [];

  get size(): number {
    return this.#all.length;
  }

  add(observer: MachineObserver): void {
    if (!this.#all.includes(observer)) this.#all.push(observer);
  }

  remove(observer: MachineObserver): void {
    const at = this.#all.indexOf(observer);
    if (at >= 0) this.#all.splice(at, 1);
  }

  delivering(state: number, vector: number, source: Source, errorCode: number): void {
    for (const observer of this.#all) observer.delivering(state, vector, source, errorCode);
  }

  delivered(state: number): void {
    for (const observer of this.#all) observer.delivered(state);
  }

  returned(state: number): void {
    for (const observer of this.#all) observer.returned(state);
  }

  ghcbWritten(state: number): void {
    for (const observer of this.#all) observer.ghcbWritten(state);
  }

  observes(page: number): boolean {
    for (const observer of this.#all) if (observer.observes(page)) return true;
    return false;
  }

  accessed(state: number, page: number, key: number, offset: number, size: number, kind: PageAccess): void {
    for (const observer of this.#all) if (observer.observes(page)) observer.accessed(state, page, key, offset, size, kind);
  }

  vc(state: number, code: number): void {
    for (const observer of this.#all) observer.vc(state, code);
  }

  entered(vmsa: number, state: number, event: number, code: number): void {
    for (const observer of this.#all) observer.entered(vmsa, state, event, code);
  }

  left(state: number, code: number): void {
    for (const observer of this.#all) observer.left(state, code);
  }
}
