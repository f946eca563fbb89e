// Accesses of the guest's program to GHCB pages and the AP jump table, one by one.

import { PageAccess } from '../mmu/page-observer.ts';
import type { Facts, Report } from './facts.ts';
import { BITMAP, quadOf, SAVE_QUADS, layout } from './page-image.ts';
import { rowOf } from './protocol.ts';
import { hex, names } from './request-rules.ts';
import { type GhcbState, type Level, newUse, type SanitizerState, type Use } from './state.ts';
import { judgeWindow } from './window-rules.ts';

export type Access = {
  readonly state: number;
  readonly page: number;
  readonly key: number;
  readonly offset: number;
  readonly size: number;
  readonly kind: PageAccess;
};

/** A level that uses more pages than any handler does: the first of them are forgotten. */
const MOST_USES = 8;

export function usedBy(level: Level, ghcb: GhcbState): Use {
  let use = level.uses.get(ghcb.gpa);
  if (use === undefined) {
    if (level.uses.size >= MOST_USES) level.uses.delete(level.uses.keys().next().value!);
    use = newUse();
    level.uses.set(ghcb.gpa, use);
  }
  return use;
}

export function noteAccess(facts: Facts, level: Level, ghcb: GhcbState, access: Access, report: Report): void {
  const rip = facts.accessor(access.state);
  if (access.kind !== PageAccess.WRITE) noteRead(facts, level.uses.get(ghcb.gpa), access, rip, report);
  if (access.kind !== PageAccess.READ) noteWrite(facts, level, ghcb, access, rip, report);
}

function noteRead(facts: Facts, use: Use | undefined, { state, offset, size, kind }: Access, rip: bigint, report: Report): void {
  if (use === undefined) return;
  const first = quadOf(offset);
  const last = quadOf(offset + size - 1);
  if (kind === PageAccess.READ && use.clobbered.size > 0) {
    const seen = [...use.clobbered].filter((quad) => quad >= first && quad <= last);
    if (seen.length > 0)
      report('nested-use', rip, use.window?.request.name ?? '', `read after a nested use had changed it: ${names(seen)}`);
    for (const quad of seen) use.clobbered.delete(quad);
  }
  const { window } = use;
  if (window === null || first >= SAVE_QUADS) return;
  if (!window.over)
    for (let quad = first; quad <= last; quad++) {
      if (window.readers.has(quad)) continue;
      window.readers.set(quad, rip);
      if (!isOfAnswer(window.request, quad)) continue;
      if (window.interrupted)
        report('interrupts-enabled', rip, window.request.name, 'the answer was read after an interrupt had been taken');
      else if (facts.interruptible(state)) report('interrupts-enabled', rip, window.request.name, 'the answer is read with RFLAGS.IF set');
    }
  window.read.fill(1, offset, Math.min(offset + size, BITMAP.end));
}

const infos: ReadonlySet<number> = new Set([quadOf(layout.swExitInfo1.offset), quadOf(layout.swExitInfo2.offset)]);
const isOfAnswer = (request: { readonly row: number }, quad: number): boolean =>
  infos.has(quad) || (rowOf(request)?.returns.some((field) => quadOf(layout[field].offset) === quad) ?? false);

function noteWrite(facts: Facts, level: Level, ghcb: GhcbState, { offset, size, kind, key }: Access, rip: bigint, report: Report): void {
  const use = usedBy(level, ghcb);
  ghcb.lastKey = key;
  const first = quadOf(offset);
  const last = quadOf(offset + size - 1);
  const toBitmap = last >= quadOf(BITMAP.start) && first < SAVE_QUADS;
  // Between stores to it the bitmap stays as it is.
  if (toBitmap || ghcb.written.size === 0 || use.clobbered.size > 0) noteBitmap(ghcb, use, facts.bitmap(ghcb.page));
  const { window } = use;
  if (window !== null && !window.over && toBitmap && kind === PageAccess.WRITE) judgeWindow(level, window, { why: 'clear' }, report);
  for (let quad = first; quad <= last; quad++) {
    use.writers.set(quad, rip);
    if (quad < SAVE_QUADS) ghcb.written.add(quad);
    if (kind === PageAccess.WRITE) use.clobbered.delete(quad);
  }
}

/** Before a store: which bits are clear now? An empty bitmap begins a request anew. */
function noteBitmap(ghcb: GhcbState, use: Use, bitmap: Uint8Array): void {
  let empty = true;
  for (let n = 0; n < bitmap.length; n++) {
    const bits = bitmap[n]!;
    ghcb.seenClear[n]! |= ~bits;
    if (bits !== 0) empty = false;
  }
  if (!empty) return;
  use.interrupted = false;
  for (let quad = quadOf(BITMAP.start); quad < SAVE_QUADS; quad++) use.clobbered.delete(quad);
}

/** The AP jump table where the hypervisor said that it is: accessed as shared memory, or from the middle of a page. */
export function noteJumpTable(facts: Facts, known: SanitizerState, { state, key, offset, size }: Access, report: Report): void {
  const table = known.jumpTable;
  if (table === null) return;
  const rip = facts.accessor(state);
  const name = 'AP jump table, get';
  if (key !== facts.guestKey)
    report('ap-start-unchecked', rip, name, 'the jump table is accessed as shared memory, where the hypervisor can write');
  else if (table.offset !== 0 && offset < table.offset + 4 && offset + size > table.offset)
    report('ap-start-unchecked', rip, name, `the address that the hypervisor gave, offset ${hex(table.offset)} of a page, is used`);
}
