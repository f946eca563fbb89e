// Who looks at each access of the guest's program to certain pages. Such a page never gets a TLB entry, so that every access to it takes the slow path;
// all other pages pay nothing.

export interface PageObserver {
  /** Is every access to a page of system physical memory to be told? Asked when a translation is about to be kept: where the answer changes, `Mmu.flush`. */
  observes(page: number): boolean;
  /**
   * An access that can be carried out, before it is; an access across a page border is told for each page that is observed. `modify` tells a store that
   * reads its operand first. The instruction may be told twice if it begins anew.
   */
  accessed(state: number, page: number, key: number, offset: number, size: number, kind: PageAccess): void;
}

export const PageAccess = { READ: 0, WRITE: 1, MODIFY: 2 } as const;
export type PageAccess = (typeof PageAccess)[keyof typeof PageAccess];
