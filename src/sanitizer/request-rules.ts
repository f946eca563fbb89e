// A request as it stands in the GHCB page when the guest executes VMGEXIT.

import { ExitCode, exitName } from '../arch/exit-code.ts';
import { GHCB_BUFFER, GHCB_VERSIONS, type GhcbField } from '../arch/ghcb.ts';
import { Rflags } from '../arch/registers.ts';
import { Gpr, Segment } from '../memory/state.ts';
import { PAGE_SIZE } from '../util/address.ts';
import type { PortAccess } from '../hypervisor/ghcb/ioio.ts';
import type { Facts, Report } from './facts.ts';
import {
  BITMAP,
  fieldAt,
  isQuadValid,
  isValid,
  layout,
  type PageImage,
  quadOf,
  SAVE_QUADS,
  spelled,
  u64At,
  usageOf,
  valueOf,
  versionOf,
} from './page-image.ts';
import { concerns, every, isMmio, needsOf, portAccess, type Request, rowOf, scratchOf } from './protocol.ts';
import type { GhcbState, Level, SanitizerState, Use, Vc } from './state.ts';

export type AtVmgexit = {
  readonly facts: Facts;
  readonly state: number;
  readonly rip: bigint;
  readonly level: Level;
  readonly use: Use;
  readonly ghcb: GhcbState;
  readonly image: PageImage;
  readonly request: Request;
  readonly known: SanitizerState;
  readonly report: Report;
};

export function judgeRequest(at: AtVmgexit): void {
  const { facts, state, rip, use, ghcb, request, report } = at;
  const { name } = request;
  if (isPrivate(at)) {
    report('ghcb-private', rip, '', `the GHCB at ${hex(ghcb.gpa)} was written through a private mapping: the hypervisor sees ciphertext`);
    return;
  }
  if (facts.interruptible(state)) report('interrupts-enabled', rip, name, 'VMGEXIT with RFLAGS.IF set');
  else if (use.interrupted) report('interrupts-enabled', rip, name, 'an interrupt was taken while the request was written');
  judgeUsage(at);
  judgeVersion(at);
  judgeBitmap(at);
  judgeScratch(at);
  judgeClobbered(at);
  const { vc } = at.level;
  if (vc === null) return;
  judgeExposure(at, vc);
  judgeInstruction(at, vc);
}

const isPrivate = ({ facts, ghcb }: AtVmgexit): boolean =>
  ghcb.lastKey >= 0 ? ghcb.lastKey === facts.guestKey : facts.coherent && facts.writtenPrivately(ghcb.page);

/** What the hypervisor itself has put there it may find again: who sends without filling in these fields anew believes nothing of it. */
function judgeUsage({ image, ghcb: { imposed }, request, rip, report }: AtVmgexit): void {
  const usage = usageOf(image);
  if (usage === 0 || (imposed !== null && usageOf(imposed) === usage)) return;
  report('ghcb-usage', rip, request.name, `the usage field is ${hex(usage)}`);
}

/** Versions that the specification has. Who says more has believed a hypervisor that claims to speak them. */
const NEWEST = GHCB_VERSIONS.most;

function judgeVersion({ image, ghcb: { imposed }, known: { versions }, request, rip, report }: AtVmgexit): void {
  const version = versionOf(image);
  if (version === 0 || (imposed !== null && versionOf(imposed) === version)) return;
  if (version > NEWEST)
    report('ghcb-version', rip, request.name, `the page says version ${version}, and there are versions 1 to ${NEWEST}`);
  if (version > NEWEST || versions === null || (version >= versions.least && version <= versions.most)) return;
  report(
    'ghcb-version',
    rip,
    request.name,
    `the page says version ${version}, the hypervisor speaks ${versions.least} to ${versions.most}`,
  );
}

/** Inputs without their bits; and bits that nobody has set for this request. */
function judgeBitmap({ image, ghcb, request, rip, report }: AtVmgexit): void {
  const row = rowOf(request);
  const needs = row === undefined ? every : [...every, ...needsOf(row, image)];
  const missing = needs.filter((field) => !isValid(image, field));
  if (missing.length > 0) report('request-incomplete', rip, request.name, `not marked valid: ${list(missing)}`);
  const { answer } = ghcb;
  if (answer === null) return;
  const stale: string[] = [];
  for (let quad = 0; quad < SAVE_QUADS - 2; quad++) {
    const seenClear = (ghcb.seenClear[quad >>> 3]! >>> (quad & 7)) & 1;
    if (!isQuadValid(image, quad) || !isQuadValid(answer, quad) || seenClear === 1 || ghcb.written.has(quad)) continue;
    const field = fieldAt(quad);
    stale.push(field === undefined ? `bit ${quad}` : spelled(field));
  }
  if (stale.length > 0) report('stale-bitmap', rip, request.name, `still valid from the answer before: ${stale.join(', ')}`);
}

/** Version 2 allows the shared buffer of the page, version 1 shared memory anywhere but in the rest of it. */
function judgeScratch({ facts, image, ghcb, request, rip, report }: AtVmgexit): void {
  const area = scratchOf(request, image);
  if (area === null || area.bytes === 0n || !isValid(image, 'swScratch')) return;
  const { start, bytes } = area;
  const end = start + bytes;
  const page = BigInt(ghcb.gpa);
  if (start >= page + BigInt(GHCB_BUFFER.start) && end <= page + BigInt(GHCB_BUFFER.end)) return;
  const where = `${bytes} bytes at ${hex(start)}`;
  if (versionOf(image) >= 2) report('scratch-bounds', rip, request.name, `${where} are not in the shared buffer of the GHCB`);
  else if (start < page + BigInt(PAGE_SIZE) && end > page)
    report('scratch-bounds', rip, request.name, `${where} reach into fields of the GHCB`);
  else if (start === 0n || !facts.isRam(start, bytes)) report('scratch-bounds', rip, request.name, `${where} are not memory`);
  else if (!area.toGuest && isStoredPrivately(facts, start)) report('scratch-bounds', rip, request.name, `${where} are private memory`);
}

/** What is to be sent was written just now: if with the guest's key, then through a private mapping. */
function isStoredPrivately(facts: Facts, gpa: bigint): boolean {
  const page = facts.coherent ? facts.pageOf(Number(gpa)) : null;
  return page !== null && facts.writtenPrivately(page);
}

/** What a nested level has changed is sent: the bitmap, a field that is marked valid, or bytes of the scratch area. */
function judgeClobbered({ use, image, request, rip, report }: AtVmgexit): void {
  if (use.clobbered.size === 0) return;
  const area = scratchOf(request, image);
  const sent = [...use.clobbered].filter((quad) => {
    if (quad >= quadOf(BITMAP.start))
      return quad < SAVE_QUADS || (area !== null && !area.toGuest && quad >= quadOf(GHCB_BUFFER.start) && withinArea(quad, area));
    return isQuadValid(image, quad);
  });
  if (sent.length > 0) report('nested-use', rip, request.name, `changed by a nested use before it was sent: ${names(sent)}`);
  use.clobbered.clear();
}

function withinArea(quad: number, { start, bytes }: { readonly start: bigint; readonly bytes: bigint }): boolean {
  const offset = Number(start & 0xfffn);
  return 8 * quad + 8 > offset && 8 * quad < offset + Number(bytes);
}

export function names(quads: readonly number[]): string {
  const found = quads.map((quad) => {
    const field = fieldAt(quad);
    if (field !== undefined) return spelled(field);
    if (quad >= quadOf(BITMAP.start) && quad < SAVE_QUADS) return 'the valid bitmap';
    return quad >= quadOf(GHCB_BUFFER.start) ? 'the shared buffer' : `offset ${hex(8 * quad)}`;
  });
  return [...new Set(found)].join(', ');
}

/** Slots of the page by number of the register. */
const slots: readonly (readonly [register: number, offset: number, name: string])[] = [
  [Gpr.RAX, layout.rax.offset, 'RAX'],
  [Gpr.RCX, layout.rcx.offset, 'RCX'],
  [Gpr.RDX, layout.rdx.offset, 'RDX'],
  [Gpr.RBX, layout.rbx.offset, 'RBX'],
  [Gpr.RBP, layout.rbp.offset, 'RBP'],
  [Gpr.RSI, layout.rsi.offset, 'RSI'],
  [Gpr.RDI, layout.rdi.offset, 'RDI'],
  [Gpr.RSP, 0x1d8, 'RSP'],
  ...Array.from({ length: 8 }, (_, n) => [8 + n, layout.r8.offset + 8 * n, `R${8 + n}`] as const),
];

/** A register of the interrupted program stands in the page, written for this request, and the event is not about it. */
function judgeExposure({ use, image, request, report }: AtVmgexit, vc: Vc): void {
  const row = rowOf(request);
  if (row === undefined) return;
  const concerned = concerns(row);
  if (concerned === 'any') return;
  const offsets = new Set(concerned.map((field) => layout[field].offset));
  for (const [register, offset, name] of slots) {
    const writer = use.writers.get(quadOf(offset));
    const value = vc.before.gpr[register]!;
    if (writer === undefined || value === 0n || u64At(image, offset) !== value) continue;
    if (!offsets.has(offset))
      report('exposed-register', writer, request.name, `${name} is in the page, and ${request.name} does not need it`);
    else if (register === Gpr.RAX && tooWide(portAccess(request), value))
      report('exposed-register', writer, request.name, `all of RAX is in the page for an OUT of ${8 * portAccess(request)!.size} bits`);
  }
}

const tooWide = (port: PortAccess | null, value: bigint): boolean =>
  port !== null && !port.input && !port.string && value >> BigInt(8 * port.size) !== 0n;

/** The request is held against the instruction that gave the #VC. */
function judgeInstruction(at: AtVmgexit, vc: Vc): void {
  const { facts, state, rip, image, request, report } = at;
  const mmio = isMmio(request);
  const asked = vc.code === ExitCode.NPF ? mmio : request.code === BigInt(vc.code);
  if (!asked) return;
  const now = facts.bytes(state, vc.low, vc.high, vc.length, true);
  if (now.length === vc.length && now.some((byte, n) => byte !== vc.bytes[n])) vc.changed = true;
  vc.asked = true;
  vc.last = request;
  vc.answer = null;
  if (!vc.real) {
    const ofMemory = mmio && facts.isRam(request.info1, 1n);
    if (!vc.matches || ofMemory)
      report(
        'opcode-mismatch',
        rip,
        request.name,
        `an injected #VC with error code ${exitName(vc.code)} was believed at ${hex(vc.before.rip)}, where the instruction is another`,
      );
    return;
  }
  if (isThatOf(vc, request, image)) vc.right = true;
  if (vc.before.cpl === 3) judgeUser(at, vc, mmio);
  const port = portAccess(request);
  if (port?.string && !port.input && !vc.stringChecked) judgeSource(at, vc, port);
}

function isThatOf({ code, before, info1, info2 }: Vc, request: Request, image: PageImage): boolean {
  const same = (field: GhcbField, register: number): boolean => (valueOf(image, field) & LOW) === (before.gpr[register]! & LOW);
  switch (code) {
    case ExitCode.IOIO:
      return (request.info1 & IOIO_COMPARED) === (info1 & IOIO_COMPARED);
    case ExitCode.MSR:
      return same('rcx', Gpr.RCX) && request.info1 === info1 && (info1 === 0n || (same('rax', Gpr.RAX) && same('rdx', Gpr.RDX)));
    case ExitCode.CPUID:
      return same('rax', Gpr.RAX) && same('rcx', Gpr.RCX);
    case ExitCode.RDPMC:
      return same('rcx', Gpr.RCX);
    case ExitCode.MONITOR: // RAX is an address of the program's, and the request wants another kind
      return same('rcx', Gpr.RCX) && same('rdx', Gpr.RDX);
    case ExitCode.MWAIT:
      return same('rax', Gpr.RAX) && same('rcx', Gpr.RCX);
    case ExitCode.NPF:
      return request.info1 >> 12n === info2 >> 12n;
    default:
      return true;
  }
}
const LOW = 0xffff_ffffn;
/** Port, operand size, string, direction. How segment and address size are said, guests differ in. */
const IOIO_COMPARED = 0xffff_0075n;

function judgeUser({ facts, state, rip, image, request, report }: AtVmgexit, vc: Vc, mmio: boolean): void {
  if (mmio) {
    report('user-access', rip, request.name, `MMIO at ${hex(request.info1)} is done for user mode`);
    return;
  }
  const port = portAccess(request);
  if (port === null) return;
  const { before } = vc;
  if (!facts.mayAccessPort(state, before.rflags, before.cpl, port.port, port.size))
    report('user-access', rip, request.name, `port ${hex(port.port)} is accessed for user mode, which may not`);
  if (!port.string || scratchOf(request, image)?.bytes === 0n) return;
  const pointer = port.input
    ? facts.linear(state, before.mode, Segment.ES, before.gpr[Gpr.RDI]!)
    : facts.linear(state, before.mode, Segment.DS, before.gpr[Gpr.RSI]!);
  if (facts.look(state, pointer) !== null && facts.look(state, pointer, true, port.input) === null)
    report('user-access', rip, request.name, `${port.input ? 'INS' : 'OUTS'} of user mode accesses ${hex(pointer)}, which is the kernel’s`);
}

/** What is sent begins at DS:RSI, or in the segment that the instruction names, and goes on as RFLAGS.DF says. */
function judgeSource({ facts, state, rip, ghcb, image, request, report }: AtVmgexit, vc: Vc, port: PortAccess): void {
  vc.stringChecked = true;
  const area = scratchOf(request, image);
  const { before } = vc;
  if (area === null || request.info2 === 0n || area.start >> 12n !== BigInt(ghcb.gpa) >> 12n || vc.changed) return;
  const segment = Number((vc.info1 >> 10n) & 7n) as Segment;
  const width = (vc.info1 & 0x200n) !== 0n ? 64 : (vc.info1 & 0x100n) !== 0n ? 32 : 16;
  const linear = facts.linear(state, before.mode, segment, BigInt.asUintN(width, before.gpr[Gpr.RSI]!));
  const offset = Number(area.start & 0xfffn);
  const elements = Math.min(Number(request.info2), Math.floor((PAGE_SIZE - offset) / port.size));
  const down = (before.rflags & Rflags.DF) !== 0;
  const first = down ? BigInt.asUintN(64, linear - BigInt((elements - 1) * port.size)) : linear;
  const length = elements * port.size;
  const expected = facts.bytes(state, Number(first & LOW) | 0, Number(first >> 32n) | 0, length);
  if (expected.length < length) return;
  for (let n = 0; n < elements; n++) {
    const from = port.size * (down ? elements - 1 - n : n);
    for (let k = 0; k < port.size; k++) {
      if (expected[from + k] === image[offset + n * port.size + k]) continue;
      report(
        'string-source',
        rip,
        request.name,
        `element ${n} of those sent is not that of the string at ${hex(linear)}, which goes ${down ? 'down' : 'up'}`,
      );
      return;
    }
  }
}

const list = (fields: readonly GhcbField[]): string => fields.map(spelled).join(', ');
export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
