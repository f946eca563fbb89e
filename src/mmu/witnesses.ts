// Who is told of the program's accesses before they are made: data breakpoints (watchpoints.ts), and an observer of pages (page-observer.ts). Implicit
// accesses of the processor touch no breakpoint and are not observed.

import { AccessFlag } from './access.ts';
import type { PageAccess, PageObserver } from './page-observer.ts';
import { type Watchpoint, Watchpoints } from './watchpoints.ts';

export class Witnesses {
  /** Looks at accesses to certain pages; follow with `Mmu.flush`. */
  observer: PageObserver | null = null;
  readonly #watchpoints = new Watchpoints();
  /** Are there any? */
  #watched = false;

  /** Called with the number of a watchpoint that an access of the program touches. */
  set onTouch(listener: (number: number) => void) {
    this.#watchpoints.onTouch = listener;
  }

  /** The data breakpoints in force: by way of `Mmu.watch`, which ends the translations of their pages. */
  watch(list: readonly Watchpoint[]): void {
    this.#watchpoints.set(list);
    this.#watched = list.length > 0;
  }

  /** Must every access to a page be looked at? Then no TLB entry may let one go by. */
  onPage(lo: number, hi: number, page: number): boolean {
    if (this.observer?.observes(page)) return true;
    return this.#watched && this.#watchpoints.onPage(lo, hi);
  }

  /** An access that can be carried out, for the breakpoints. */
  touch(lo: number, hi: number, size: number, flags: number, write: boolean): void {
    if (this.#watched && (flags & AccessFlag.IMPLICIT) === 0) this.#watchpoints.note(lo, hi, size, write);
  }

  /** An access that can be carried out, to a page that may be observed. */
  tell(state: number, page: number, key: number, lo: number, size: number, flags: number, kind: PageAccess): void {
    const { observer } = this;
    if (observer === null || (flags & AccessFlag.IMPLICIT) !== 0) return;
    if (observer.observes(page)) observer.accessed(state, page, key, lo & 0xfff, size, kind);
  }
}
