// Holds what a VMGEXIT came to against what the oracle says. A batch is one virtual machine and the attempts that it gets one after
// another; a batch comes out the same from its seed and number alone.

import type { Outcome } from '../../src/hypervisor/outcome.ts';
import { Dice } from '../fuzz-states/dice.ts';
import { type Attempt, Attempts } from './attempt.ts';
import { Lab, MEMORY, type Setting, type Touch } from './lab.ts';
import { type Expected, Oracle } from './oracle.ts';
import { BITMAP, BUFFER, Field, PAGE } from './protocol.ts';

/** Attempts of a batch. */
export const BATCH = 5000;

const settings: readonly Setting[] = [
  { ghcbVersion: 2, intercepts: [], cpu: 'milan' },
  { ghcbVersion: 2, intercepts: [], cpu: 'genoa' },
  { ghcbVersion: 2, intercepts: ['cr'], cpu: 'milan' },
  { ghcbVersion: 1, intercepts: [], cpu: 'rome' },
];
export const settingOf = (batch: number): Setting => settings[batch % settings.length]!;

/** Not page 0, which no GHCB can be, but its neighbour, the last, and some between. */
const pages = [PAGE, 0x2000, 0x8_0000, 0x9_f000, 0xf_f000, 0x10_0000, MEMORY - 2 * PAGE, MEMORY - PAGE];

export type Verdict = { readonly faults: readonly string[]; readonly kinds: ReadonlyMap<string, number> };

/** What `attempts` of a batch come to. */
export function judgeBatch(seed: string, batch: number, attempts = BATCH): Verdict {
  const dice = new Dice(seed, `ghcb ${batch}`);
  const setting = settingOf(batch);
  const lab = new Lab(setting, dice);
  try {
    const rules = {
      memory: MEMORY,
      version: setting.ghcbVersion,
      cr: setting.intercepts.includes('cr'),
      cBit: setting.cpu === 'rome' ? 47 : 51,
    };
    const oracle = new Oracle(rules, lab.vcpu.apicIds);
    const source = new Attempts(dice, { memory: MEMORY, pages, safe: null });
    const faults: string[] = [];
    const kinds = new Map<string, number>();
    for (let n = 0; n < attempts; n++) {
      const attempt = source.next();
      const sent = attempt.page;
      let kind = 'thrown';
      try {
        const expected = oracle.expect(attempt.msr, sent);
        const outcome = lab.exit(attempt.msr, sent);
        kind = nameOf(expected, lab, attempt);
        const problem = compare(expected, outcome, attempt, lab);
        if (problem !== null) faults.push(`attempt ${n}: ${problem}; ${describe(attempt)}`);
      } catch (error) {
        faults.push(`attempt ${n}: ${error instanceof Error ? error.stack : String(error)}; ${describe(attempt)}`);
      }
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    }
    return { faults, kinds };
  } finally {
    lab.dispose();
  }
}

/** For the statistics: which outcome it was. */
function nameOf(expected: Expected, lab: Lab, { msr }: Attempt): string {
  if (expected.kind !== 'answer')
    return expected.kind === 'msr' ? 'answered in the MSR' : expected.kind === 'ended' ? expected.how : 'ignored';
  const page = lab.pageAt(msr);
  const info = (at: number): number => new DataView(page.buffer).getUint32(at, true);
  return info(Field.INFO1) === 0 ? 'done' : info(Field.INFO1) === 1 ? '#GP' : `2/${info(Field.INFO2)}`;
}

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/** An attempt in one line. */
export function describe({ msr, page }: Attempt): string {
  if ((msr & 0xfffn) !== 0n) return `MSR ${hex(msr)}`;
  const view = new DataView(page.buffer);
  const valid = Object.entries(Field).filter(([, at]) => isValid(page, at));
  const values = valid.map(([name, at]) => `${name}=${hex(at === Field.CPL ? page[at]! : view.getBigUint64(at, true))}`);
  return `page ${hex(msr)} version ${view.getUint16(0xffa, true)} usage ${view.getUint32(0xffc, true)} ${values.join(' ')}`;
}

const isValid = (page: Uint8Array, at: number): boolean => ((page[BITMAP + (at >> 6)]! >> ((at >> 3) & 7)) & 1) === 1;

/** What is wrong; null: nothing. */
function compare(expected: Expected, outcome: Outcome | null, attempt: Attempt, lab: Lab): string | null {
  const { msr, page } = attempt;
  if (expected.kind === 'ended') return compareEnd(expected, outcome);
  if (outcome !== null) return `the run ended: ${JSON.stringify(outcome, (_, value) => (typeof value === 'bigint' ? hex(value) : value))}`;
  if (expected.kind === 'ignored') return lab.msr === msr ? untouched(lab.touches) : `the MSR became ${hex(lab.msr)}`;
  if (expected.kind === 'msr') return compareMsr(expected, lab);
  if (lab.msr !== msr) return `the MSR became ${hex(lab.msr)}`;
  return comparePage(expected, page, lab.pageAt(msr), BigInt(msr), lab.touches) ?? compareTouches(expected, lab.touches);
}

const untouched = (touches: readonly Touch[]): string | null => (touches.length === 0 ? null : 'memory was touched');

function compareEnd(expected: Extract<Expected, { kind: 'ended' }>, outcome: Outcome | null): string | null {
  if (outcome?.kind !== expected.how) return `the run should have ended (${expected.how})`;
  if (outcome.kind !== 'terminated') return null;
  const { set, code, info } = outcome;
  return set === expected.set && code === expected.code && info === expected.info ? null : `termination ${set}/${code} ${hex(info)}`;
}

function compareMsr({ value, register }: Extract<Expected, { kind: 'msr' }>, lab: Lab): string | null {
  const { msr } = lab;
  const right = value === null ? (msr & 0xffff_ffffn) === ((register << 30n) | 0x005n) : msr === value;
  return right ? untouched(lab.touches) : `the MSR became ${hex(msr)}`;
}

/** What may have become of a page: as it was sent, but for what an answer may change. */
const may = new Uint8Array(PAGE);

type Answered = Extract<Expected, { kind: 'answer' }>;

/** The page as it came back: right answer, right bitmap, and nothing else changed. */
export function comparePage(expected: Answered, sent: Uint8Array, got: Uint8Array, gpa: bigint, touches: readonly Touch[]): string | null {
  const view = new DataView(got.buffer, got.byteOffset, PAGE);
  const info1 = view.getBigUint64(Field.INFO1, true);
  const info2 = view.getBigUint64(Field.INFO2, true);
  const faulted = expected.mayFault && info1 === 1n && info2 === 0x8000_0b0dn;
  if (!faulted && (info1 !== expected.info1 || info2 !== expected.info2))
    return `answer ${hex(info1)}/${hex(info2)} instead of ${hex(expected.info1)}/${hex(expected.info2)}`;
  const returns = faulted ? [] : expected.returns;
  const bitmap = new Uint8Array(16);
  for (const at of [Field.INFO1, Field.INFO2, ...returns]) bitmap[at >> 6] = bitmap[at >> 6]! | (1 << ((at >> 3) & 7));
  for (let n = 0; n < 16; n++) if (got[BITMAP + n] !== bitmap[n]) return `byte ${n} of the bitmap is ${hex(got[BITMAP + n]!)}`;
  for (const at of returns) {
    const value = view.getBigUint64(at, true);
    const known = expected.values.get(at);
    if (known !== undefined ? value !== known : value >> BigInt(expected.bits) !== 0n) return `the field at ${hex(at)} is ${hex(value)}`;
  }
  // A device may have written into the page by itself: then nothing more is known of it.
  const written = expected.writes;
  const strange = touches.some(
    ({ at, length, write }) =>
      write && at < Number(gpa) + PAGE && at + length > Number(gpa) && !(written !== null && at === Number(written.at)),
  );
  if (strange) return expected.device ? null : 'something else wrote into the page';
  const from = written === null ? 0 : Math.max(0, Number(written.at - gpa));
  const to = written === null ? 0 : Math.min(PAGE, Number(written.at - gpa) + written.length);
  may.set(sent);
  const changes = (start: number, end: number): void => may.set(got.subarray(start, end), start);
  changes(BITMAP, BITMAP + 16);
  for (const at of [Field.INFO1, Field.INFO2, ...returns]) changes(at, at + 8);
  if (from < to) changes(from, to);
  if (Buffer.compare(may, got) !== 0) return `byte ${hex(got.findIndex((byte, at) => byte !== may[at]))} of the page changed`;
  return written !== null && from < PAGE && to > 0 && expected.device && (from < BUFFER.start || to > BUFFER.end)
    ? 'data outside the shared buffer of the page'
    : null;
}

/** What was read and written is what the request names, or what a device reached for by itself: always the guest's. */
function compareTouches({ reads, writes, device }: Answered, touches: readonly Touch[]): string | null {
  let [read, written] = [reads === null, writes === null];
  for (const { at, length, write } of touches) {
    if (at < 0 || at + length > MEMORY) return `memory at ${hex(at)} for ${length} bytes, outside the guest`;
    const named = write ? writes : reads;
    if (named !== null && at === Number(named.at) && length === named.length) [read, written] = write ? [read, true] : [true, written];
    else if (!device) return `${write ? 'wrote' : 'read'} ${length} bytes at ${hex(at)}`;
  }
  return read && written ? null : 'the data were not moved';
}
