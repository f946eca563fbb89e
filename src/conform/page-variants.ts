// Variants of an answer in a GHCB page (GHCB specification 4 and 4.1; APM vol. 2, 15.20 for events).

import { Vector } from '../arch/exception.ts';
import { ExitCode } from '../arch/exit-code.ts';
import { EventInj, Ghcb, GHCB_BUFFER, GhcbEvent, type GhcbField, GhcbReason, GhcbResponse, Ioio, JumpTable } from '../arch/ghcb.ts';
import { ioioSize } from '../hypervisor/ghcb/ioio.ts';
import type { NaeEvent } from '../hypervisor/ghcb/nae-events.ts';
import { ghcbFields } from '../hypervisor/ghcb/page.ts';
import type { Outcome } from '../hypervisor/outcome.ts';
import { isOfMachine } from '../sanitizer/protocol.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { lowHalf } from '../util/halves.ts';
import { type ConformEvent, EXTENDED_MAXIMUM, leafOf, MEMORY_ENCRYPTION } from './event.ts';
import type { PageBytes } from './page-bytes.ts';
import type { Group, Variant, Window } from './variant.ts';

const HIGH_JUNK = 0x5bad_c0den << 32n;
const LOW = 0xffff_ffffn;
const SEV = 1n << 1n;
const C_BIT = 0x3fn;

type PageEvent = { readonly asked: PageBytes; readonly answered: PageBytes; readonly row: NaeEvent; readonly event: ConformEvent };

/** The event if it came by a page and was answered. */
function paged(event: ConformEvent): PageEvent | null {
  const { request, reply } = event;
  if (request.protocol !== 'page' || request.row === null || reply === null || !('page' in reply)) return null;
  return { asked: request.page, answered: reply.page, row: request.row, event };
}

/** One that the hypervisor did as asked. */
function done(event: ConformEvent): PageEvent | null {
  const found = paged(event);
  return found !== null && lowHalf(found.answered.get('swExitInfo1')) === GhcbResponse.OK ? found : null;
}

const outputs = ({ request }: Window): readonly GhcbField[] =>
  request.row !== null && 'returns' in request.row ? request.row.returns : [];

/** An answer with these two fields alone; nothing is done. What the event would have returned is marked valid and junk: nobody may take it. */
function refuse(window: Window, info1: bigint, info2: bigint): null {
  const page = window.page();
  page.unmarkAll();
  page.set('swExitInfo1', info1);
  page.set('swExitInfo2', info2);
  for (const field of outputs(window)) page.set(field, window.junk(field));
  window.store(page);
  return null;
}

/** The right answer, changed. */
const change =
  (edit: (page: PageBytes, window: Window) => void) =>
  (window: Window): Outcome | null => {
    const outcome = window.answer();
    if (outcome !== null) return outcome;
    const page = window.page();
    edit(page, window);
    window.store(page);
    return null;
  };

const refusal = (group: Group, id: string, title: string, info1: bigint, info2: bigint, more: Partial<Variant> = {}): Variant => ({
  id,
  group,
  title,
  applies: (event) => paged(event) !== null,
  play: (window) => refuse(window, info1, info2),
  refuses: true,
  ...more,
});

/** The answer says that it was done, and nothing is: of an event that gives nothing back no guest can know. In no table. */
export const withheld: Variant = {
  id: 'withheld',
  group: 'right',
  title: 'says that it has done what it has not',
  applies: (event) => {
    const row = done(event)?.row;
    return row !== undefined && isOfMachine(BigInt(row.code)) && row.returns.length === 0 && row.result === undefined;
  },
  play: (window) => refuse(window, 0n, 0n),
};

const changed = (
  group: Group,
  id: string,
  title: string,
  applies: (event: PageEvent) => boolean,
  edit: (page: PageBytes, window: Window) => void,
  more: Partial<Variant> = {},
): Variant => ({
  id,
  group,
  title,
  applies: (event) => {
    const found = done(event);
    return found !== null && applies(found);
  },
  play: change(edit),
  ...more,
});

const always = (): boolean => true;

const VALID = BigInt(EventInj.VALID);
const type = (bits: number, vector: number, errorCode?: number): bigint =>
  VALID | BigInt(bits) | BigInt(vector) | (errorCode === undefined ? 0n : BigInt(EventInj.ERROR_CODE) | (BigInt(errorCode) << 32n));
const exception = (vector: number, errorCode?: number): bigint => type(EventInj.TYPE_EXCEPTION, vector, errorCode);
const GP = exception(Vector.GP, 0);

// --- errors ------------------------------------------------------------------------------------------------------------------------

const malformed = (id: string, reason: number, title: string): Variant =>
  refusal('error', `malformed-${id}`, `answers "malformed input", ${title}`, BigInt(GhcbResponse.MALFORMED), BigInt(reason));

const undefinedCode = (id: string, info1: bigint, info2 = 0n, more: Partial<Variant> = {}): Variant => {
  const event = info2 === 0n ? '' : ', and a #GP in SW_EXITINFO2';
  const title = `answers with SW_EXITINFO1 0x${info1.toString(16)}, which nobody has defined${event}`;
  return refusal('error', `undefined-${id}`, title, info1, info2, more);
};

const errors: readonly Variant[] = [
  malformed('registered', GhcbReason.NOT_REGISTERED, 'reason 1: the GHCB is not registered'),
  malformed('usage', GhcbReason.USAGE, 'reason 2: usage'),
  malformed('scratch', GhcbReason.SCRATCH, 'reason 3: SW_SCRATCH'),
  malformed('missing', GhcbReason.MISSING_INPUT, 'reason 4: a field is not marked valid'),
  malformed('input', GhcbReason.INVALID_INPUT, 'reason 5: a field is invalid'),
  malformed('event', GhcbReason.INVALID_EVENT, 'reason 6: there is no such event'),
  malformed('reserved', 0, 'reason 0, which is none'),
  malformed('own', 0x1_0000, 'reason 10000h, one of its own'),
  undefinedCode('3', 3n),
  undefinedCode('ffffffff', LOW),
  undefinedCode('100', 0x100n),
  undefinedCode('10000', 0x1_0000n),
  // Who compares less than 32 bits takes it for 1, and raises the exception as if it had been asked for.
  undefinedCode('10001', 0x1_0001n, GP, { control: undefinedCode('3', 3n, GP) }),
  refusal('error', 'malformed-high', 'answers "malformed input" with junk in bits 63:32 of SW_EXITINFO1', HIGH_JUNK | 2n, 5n),
];

// --- events to raise ---------------------------------------------------------------------------------------------------------------

const EXCEPTION = BigInt(GhcbResponse.EXCEPTION);

/** Bits 10:8: types 1 and 5 to 7 are reserved. */
const TYPE_RESERVED = 0x700;

const raises = (id: string, title: string, info2: bigint): Variant =>
  refusal('exception', id, `asks for ${title}`, EXCEPTION, info2, { asks: true });
const forbidden = (id: string, title: string, info2: bigint): Variant => refusal('vector', id, `asks for ${title}`, EXCEPTION, info2);

const events: readonly Variant[] = [
  raises('gp', '#GP with error code 0', GP),
  raises('gp-no-code', '#GP without an error code, as KVM does', exception(Vector.GP)),
  {
    ...raises('gp-junk-code', '#GP without an error code, with junk where one would be', exception(Vector.GP)),
    play: (window) => refuse(window, EXCEPTION, exception(Vector.GP) | ((window.junk('swExitInfo2') & LOW) << 32n)),
  },
  raises('ud', '#UD', exception(Vector.UD)),
  forbidden('raise-de', '#DE', exception(Vector.DE)),
  forbidden('raise-df', '#DF', exception(Vector.DF, 0)),
  forbidden('raise-pf', '#PF', exception(Vector.PF, 2)),
  forbidden('raise-vc', '#VC', exception(Vector.VC, ExitCode.CPUID)),
  forbidden('raise-255', 'exception 255, which there is not', exception(255)),
  forbidden('raise-nmi', 'an NMI', type(EventInj.TYPE_NMI, Vector.NMI)),
  forbidden('raise-interrupt', 'an interrupt with the vector of #GP', type(EventInj.TYPE_INTR, Vector.GP)),
  forbidden('raise-software', 'a software interrupt with the vector of #GP', type(EventInj.TYPE_SOFTWARE, Vector.GP)),
  forbidden('raise-int80', 'the software interrupt 80h', type(EventInj.TYPE_SOFTWARE, 0x80)),
  forbidden('raise-invalid', '#GP without the valid bit', GP & ~VALID),
  forbidden('raise-reserved', 'an event of type 7, which there is not, with the vector of #GP', type(TYPE_RESERVED, Vector.GP)),
  forbidden('raise-nothing', 'an exception, and says none', 0n),
];

// --- valid bits --------------------------------------------------------------------------------------------------------------------

const missingOutput = (field: GhcbField): Variant =>
  changed(
    'missing',
    `missing-${field.toLowerCase()}`,
    `does not mark ${field.toUpperCase()} valid, which holds junk`,
    ({ row }) => row.returns.includes(field),
    (page, window) => {
      page.put(field, window.junk(field));
      page.mark(field, false);
    },
  );

const missing: readonly Variant[] = [
  changed('missing', 'missing-info1', 'does not mark SW_EXITINFO1 valid', always, (page) => page.mark('swExitInfo1', false)),
  changed('missing', 'missing-info2', 'does not mark SW_EXITINFO2 valid', always, (page) => page.mark('swExitInfo2', false)),
  missingOutput('rax'),
  missingOutput('rbx'),
  missingOutput('rcx'),
  missingOutput('rdx'),
  changed('missing', 'missing-all', 'marks nothing valid; what it should return holds junk', always, (page, window) => {
    for (const field of outputs(window)) page.put(field, window.junk(field));
    page.unmarkAll();
  }),
];

// --- earlier values ----------------------------------------------------------------------------------------------------------------

/** Does a page look like a right answer to this event? Then nobody could see that it is an old one. */
const looksAnswered = (page: PageBytes, { returns }: NaeEvent): boolean =>
  (['swExitInfo1', 'swExitInfo2', ...returns] as const).every((field) => page.isMarked(field)) &&
  lowHalf(page.get('swExitInfo1')) === GhcbResponse.OK;

const registers = ghcbFields.filter((field) => !field.startsWith('sw'));

const stale: readonly Variant[] = [
  {
    id: 'unanswered',
    group: 'stale',
    title: 'does not answer: the page is as the guest left it',
    applies: (event) => {
      const found = done(event);
      return found !== null && !looksAnswered(found.asked, found.row);
    },
    play: () => null,
  },
  {
    id: 'repeated',
    group: 'stale',
    title: 'repeats the answer before this one, valid bits included',
    applies: (event) => {
      const found = done(event);
      return found !== null && event.previous !== null && !looksAnswered(event.previous, found.row);
    },
    play: change((page, { previous }) => {
      if (previous !== null) page.bytes.set(previous.bytes.subarray(0, GHCB_BUFFER.start));
    }),
  },
  changed(
    'stale',
    'stale-outputs',
    'marks what it returns as not valid, with the values of the answer before this one',
    ({ row, event }) => row.returns.length > 0 && event.previous !== null,
    (page, window) => {
      for (const field of outputs(window)) {
        page.put(field, window.previous?.get(field) ?? 0n);
        page.mark(field, false);
      }
    },
  ),
  changed(
    'stale',
    'request-bits',
    'leaves the valid bits of the request set, with junk in fields that it does not return',
    ({ asked, row }) => registers.some((field) => asked.isMarked(field) && !row.returns.includes(field)),
    (page, window) => {
      const returns = outputs(window);
      const { request } = window;
      for (const field of registers)
        if (request.protocol === 'page' && request.page.isMarked(field) && !returns.includes(field)) page.set(field, window.junk(field));
    },
  ),
  changed(
    'stale',
    'more-fields',
    'marks every register valid, with junk in those that the event does not return',
    always,
    (page, window) => {
      const returns = outputs(window);
      for (const field of registers) if (!returns.includes(field)) page.set(field, window.junk(field));
    },
  ),
];

// --- what is no answer -------------------------------------------------------------------------------------------------------------

const isIoio = (row: NaeEvent): boolean => row.code === ExitCode.IOIO;
const reads = ({ row, asked }: PageEvent): boolean =>
  row.code === GhcbEvent.MMIO_READ ||
  (isIoio(row) && (lowHalf(asked.get('swExitInfo1')) & Ioio.IN) !== 0 && row.needs.includes('swScratch'));

/** Bytes that the event returns in the shared buffer. */
function returnedBytes({ row, asked }: PageEvent): number {
  const count = Number(asked.get('swExitInfo2'));
  return isIoio(row) ? count * ioioSize(lowHalf(asked.get('swExitInfo1'))) : count;
}

/** The part of the shared buffer that is no answer. */
function spareBuffer(window: Window, page: PageBytes): void {
  const { request } = window;
  if (request.protocol !== 'page' || request.row === null) return;
  const asked = { asked: request.page, answered: page, row: request.row } as PageEvent;
  const before = page.bytes.slice();
  page.bytes.fill(0xa5, GHCB_BUFFER.start, GHCB_BUFFER.end);
  if (!reads(asked)) return;
  const start = Number(request.page.get('swScratch') & BigInt(PAGE_SIZE - 1));
  const end = Math.min(start + returnedBytes(asked), PAGE_SIZE);
  page.bytes.set(before.subarray(start, end), start);
}

const others: readonly Variant[] = [
  changed('changed', 'scratch-address', 'changes SW_SCRATCH', always, (page, { junk }) =>
    page.set('swScratch', junk('swScratch') & 0xffff_f000n),
  ),
  changed('changed', 'shared-buffer', 'fills the shared buffer with junk, but for what the event returns there', always, (page, window) =>
    spareBuffer(window, page),
  ),
  changed('changed', 'request-fields', 'overwrites the fields of the request, SW_EXITCODE among them', always, (page, window) => {
    const kept: readonly GhcbField[] = ['swExitInfo1', 'swExitInfo2', 'swScratch', ...outputs(window)];
    for (const field of ghcbFields) if (!kept.includes(field)) page.put(field, window.junk(field));
  }),
  changed('changed', 'usage', 'changes the usage (FFCh) to 1', always, (page) => page.port.setU32(Ghcb.layout.usage.offset, 1)),
  changed('changed', 'version', 'changes the protocol version (FFAh) to FFFFh', always, (page) =>
    page.port.setU16(Ghcb.layout.protocolVersion.offset, 0xffff),
  ),
  changed('changed', 'info1-high', 'sets bits 63:32 of SW_EXITINFO1', always, (page) =>
    page.put('swExitInfo1', page.get('swExitInfo1') | HIGH_JUNK),
  ),
  changed(
    'changed',
    'info2',
    'returns junk in SW_EXITINFO2, which should be 0',
    ({ row }) => row.result === undefined && !row.name.startsWith('hypervisor features'),
    (page, { junk }) => page.put('swExitInfo2', junk('swExitInfo2')),
  ),
];

// --- values that the guest can check -----------------------------------------------------------------------------------------------

const withLeaf =
  (leaf: number) =>
  ({ event }: PageEvent): boolean =>
    leafOf(event.request) === leaf;
const halves: readonly number[] = [ExitCode.CPUID, ExitCode.RDTSC, ExitCode.RDTSCP, ExitCode.RDPMC, ExitCode.MSR];
const getsJumpTable = ({ row, asked }: PageEvent): boolean =>
  row.code === GhcbEvent.AP_JUMP_TABLE && asked.get('swExitInfo1') === BigInt(JumpTable.GET);
const jumpTable = (id: string, title: string, address: (ghcb: bigint) => bigint): Variant =>
  changed('wrong', `jump-table-${id}`, `returns an AP jump table address ${title}`, getsJumpTable, (page, { vcpu }) =>
    page.put('swExitInfo2', address(vcpu.ghcbMsr)),
  );

const wrong: readonly Variant[] = [
  changed('wrong', 'no-sev', 'hides SEV: CPUID 8000001Fh EAX[1] is 0', withLeaf(MEMORY_ENCRYPTION), (page) =>
    page.put('rax', page.get('rax') & ~SEV),
  ),
  changed('wrong', 'no-sev-leaf', 'hides SEV: the last extended leaf is 8000001Eh', withLeaf(EXTENDED_MAXIMUM), (page) =>
    page.put('rax', BigInt(MEMORY_ENCRYPTION - 1)),
  ),
  changed(
    'wrong',
    'c-bit',
    'returns another C-bit in CPUID 8000001Fh',
    withLeaf(MEMORY_ENCRYPTION),
    (page) => page.put('rbx', (page.get('rbx') & ~C_BIT) | ((page.get('rbx') & C_BIT) - 1n)),
    { told: true },
  ),
  changed(
    'wrong',
    'wide',
    'sets bits 63:32 of registers of which the instruction writes 31:0',
    ({ row }) => halves.includes(row.code) && row.returns.length > 0,
    (page, window) => {
      for (const field of outputs(window)) page.put(field, (page.get(field) & LOW) | HIGH_JUNK);
    },
  ),
  changed(
    'wrong',
    'wide',
    'sets bits of RAX beyond the size of the port',
    ({ row }) => isIoio(row) && row.returns.length > 0,
    (page, { request }) => {
      if (request.protocol !== 'page') return;
      const mask = (1n << BigInt(8 * ioioSize(lowHalf(request.page.get('swExitInfo1'))))) - 1n;
      page.put('rax', (page.get('rax') & mask) | (0x5bad_c0de_5bad_c0den & ~mask));
    },
  ),
  jumpTable('unaligned', 'inside a page', () => 0x9008n),
  jumpTable('outside', 'where no memory is', () => 0xf_ffff_f000n),
  jumpTable('ghcb', 'of a shared page', (ghcb) => ghcb),
];

export const pageVariants: readonly Variant[] = [...errors, ...events, ...missing, ...stale, ...others, ...wrong];
