// Replays vector files on the processor under us: on the model that recorded them every case must come out the same. Checks the
// reader, the format, the recorder and the reproducibility of the recordings at once.

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { background, baseSlots } from '../../test/vectors/base-state.ts';
import { type Case, COMPLETED, type Patch, type Section, Slot, sections } from '../../test/vectors/format.ts';
import { untoldBytes, untoldErrorBits } from '../../test/vectors/recording.ts';
import type { Native, Outcome, Start } from './native.ts';

const PAGE_FAULT = 14;
const BACKGROUND = background();

const startOf = (section: Section, c: Case): Start => ({
  bytes: c.bytes,
  bits: section.bits,
  slots: new Map([...baseSlots(section.bits), ...c.slotsIn]),
  memory: c.memoryIn,
});

/** Null if the processor did as the vector says, else what differs first. */
function difference(start: Start, c: Case, outcome: Outcome): string | null {
  if (outcome.status !== c.status) return `status ${outcome.status} instead of ${c.status}`;
  const completed = c.status === COMPLETED;
  const chance = c.status === PAGE_FAULT ? untoldErrorBits(outcome.cr2) : 0;
  if (!completed && (((outcome.errorCode & 0xffff) ^ c.auxiliary) & ~chance) !== 0)
    return `error code ${outcome.errorCode.toString(16)} instead of ${c.auxiliary.toString(16)}`;
  const rip = (start.slots.get(Slot.RIP) ?? 0n) + BigInt(completed ? c.bytes.length : 0);
  const expected = new Map([...start.slots, [Slot.RIP, rip] as const, ...c.slotsOut]);
  const found = new Map([...outcome.slots, [Slot.CR2, outcome.cr2] as const]);
  if (c.status !== PAGE_FAULT) expected.delete(Slot.CR2);
  const tags = expected.get(Slot.FTW) ?? 0n;
  for (const [slot, wanted] of expected) {
    const value = found.get(slot) ?? 0n;
    const mask = slot === Slot.RFLAGS && completed ? ~BigInt(c.auxiliary) : -1n;
    // What a register holds whose tag says empty is not compared.
    const empty = slot >= Slot.X87 && ((tags >> BigInt(slot - Slot.X87)) & 1n) === 0n;
    if (!empty && ((value ^ wanted) & mask) !== 0n) return `slot ${slot}: ${value.toString(16)} instead of ${wanted.toString(16)}`;
  }
  return memoryDifference(c, outcome);
}

function memoryDifference(c: Case, outcome: Outcome): string | null {
  const wanted = BACKGROUND.slice();
  const found = BACKGROUND.slice();
  const apply = (to: Uint8Array, patches: readonly Patch[]): void => patches.forEach(({ offset, bytes }) => to.set(bytes, offset));
  apply(wanted, [...c.memoryIn, ...c.memoryOut]);
  apply(found, [...c.memoryIn, ...outcome.memory]);
  if (Buffer.compare(wanted, found) === 0) return null;
  const untold = untoldBytes(c);
  const at = found.findIndex((byte, n) => byte !== wanted[n] && !untold.has(n));
  return at < 0 ? null : `memory at ${at.toString(16)}: ${found[at]?.toString(16)} instead of ${wanted[at]?.toString(16)}`;
}

/** True: every case of every file came out as recorded. */
export function verify(native: Native, files: readonly string[]): boolean {
  let passed = 0;
  let failed = 0;
  for (const file of files) {
    const before = failed;
    for (const section of sections(readFileSync(file))) {
      const starts = section.cases.map((c) => startOf(section, c));
      const outcomes = native.run(starts);
      for (const [n, c] of section.cases.entries()) {
        const differs = difference(starts[n]!, c, outcomes[n]!);
        if (differs === null) passed++;
        else {
          failed++;
          console.log(`  ${section.name} ${Buffer.from(c.bytes).toString('hex')}: ${differs}`);
        }
      }
    }
    console.log(`${basename(file)}: ${failed - before === 0 ? 'as recorded' : `${failed - before} differ`}`);
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0;
}
