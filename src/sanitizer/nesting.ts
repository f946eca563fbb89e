// What interrupts what: a #VC as it was raised, and what a nested handler does to the pages of those below it.

import { Segment } from '../memory/state.ts';
import { PAGE_SIZE } from '../util/address.ts';
import type { Facts } from './facts.ts';
import { instructionIn, isInstructionOf } from './opcodes.ts';
import { BITMAP, quadOf } from './page-image.ts';
import type { Level, Vc } from './state.ts';

const LONGEST_INSTRUCTION = 15;

export function vcOf(facts: Facts, state: number, code: number, raised: { readonly info1: bigint; readonly info2: bigint } | null): Vc {
  const before = facts.registers(state);
  const linear = facts.linear(state, before.mode, Segment.CS, before.rip);
  const low = Number(linear & 0xffff_ffffn) | 0;
  const high = Number(linear >> 32n) | 0;
  const bytes = facts.bytes(state, low, high, LONGEST_INSTRUCTION, true);
  const instruction = instructionIn(bytes, before.mode);
  return {
    code,
    real: raised !== null,
    before,
    bytes: bytes.slice(0, instruction.length),
    length: instruction.length,
    matches: isInstructionOf(code, instruction),
    low,
    high,
    info1: raised?.info1 ?? 0n,
    info2: raised?.info2 ?? 0n,
    asked: false,
    right: false,
    changed: false,
    last: null,
    answer: null,
    wrongResponse: null,
    stringChecked: false,
  };
}

/** An external interrupt: whoever uses a GHCB had not disabled them. */
export function noteInterrupt(facts: Facts, level: Level): void {
  for (const [gpa, use] of level.uses) {
    if (use.window !== null) use.window.interrupted = true;
    const writesBitmap = use.writers.has(quadOf(BITMAP.start)) || use.writers.has(quadOf(BITMAP.start) + 1);
    const page = writesBitmap ? facts.pageOf(gpa) : null;
    if (page !== null && facts.bitmap(page).some((byte) => byte !== 0)) use.interrupted = true;
  }
}

/** So many pages, of those that the nearest levels use: a hostile guest nests for long, with all the pages that it has. */
const MOST_COPIES = 8;

/** A level begins: pages that those below it are using, as they are. */
export function copyPages(facts: Facts, levels: readonly Level[], level: Level): void {
  for (let n = levels.length - 1; n >= 0; n--)
    for (const [gpa, { window, writers }] of levels[n]!.uses) {
      if (level.copies.size >= MOST_COPIES) return;
      if ((window === null && writers.size === 0) || level.copies.has(gpa)) continue;
      const page = facts.pageOf(gpa);
      if (page !== null) level.copies.set(gpa, facts.image(page));
    }
}

/** What differs from what the levels below left in their pages. */
export function noteClobbered(facts: Facts, below: readonly Level[], { copies }: Level, ended: readonly Level[]): void {
  for (const [gpa, copy] of copies) {
    if (!ended.some(({ uses }) => uses.has(gpa))) continue;
    const page = facts.pageOf(gpa);
    if (page === null) continue;
    const now = facts.image(page);
    const changed = new Set<number>();
    for (let n = 0; n < PAGE_SIZE; n++) if (now[n] !== copy[n]) changed.add(n >>> 3);
    for (const { uses } of below) {
      const use = uses.get(gpa);
      if (use !== undefined) for (const quad of changed) use.clobbered.add(quad);
    }
  }
}
