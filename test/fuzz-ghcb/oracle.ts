// What a VMGEXIT must come to, from the rules alone: an independent reading of the specification against which every outcome of the
// campaign is held. Where a value depends on devices or MSRs only its form is known.

import { BITMAP, BUFFER, type Event, events, Field, operandSize, PAGE, USAGE, VERSION } from './protocol.ts';

export type Rules = {
  /** Bytes of RAM, from address 0. */
  readonly memory: number;
  /** The hypervisor's highest protocol version. */
  readonly version: 1 | 2;
  readonly cr: boolean;
  readonly cBit: number;
};

/** A range of guest memory. */
export type Area = { readonly at: bigint; readonly length: number };

export type Expected =
  /** Nothing happens. */
  | { readonly kind: 'ignored' }
  /** The MSR then; null: some value with this GHCBInfo and these bits of 31:30, and none of 29:12. */
  | { readonly kind: 'msr'; readonly value: bigint | null; readonly register: bigint }
  | { readonly kind: 'ended'; readonly how: 'terminated' | 'stopped'; readonly set: number; readonly code: number; readonly info: bigint }
  | {
      readonly kind: 'answer';
      readonly info1: bigint;
      readonly info2: bigint;
      /** Or #GP, if the hypervisor has its reasons. */
      readonly mayFault: boolean;
      /** Fields that are returned, and their values as far as they are known. */
      readonly returns: readonly number[];
      readonly values: ReadonlyMap<number, bigint>;
      /** Returned fields have so many bits at most. */
      readonly bits: number;
      /** Guest memory that is read, and written. */
      readonly reads: Area | null;
      readonly writes: Area | null;
      /** Does a device have its hands in it, which may reach for memory itself? */
      readonly device: boolean;
    };
type Answer = Extract<Expected, { kind: 'answer' }>;

const GP = 0x8000_0b0dn;
const MSR_RESET_HOLD = 0x006n;
const byCode = new Map(events.map((event) => [BigInt(event.code), event]));

const malformed = (reason: bigint): Answer => answer({ info1: 2n, info2: reason });
const none: ReadonlyMap<number, bigint> = new Map();
function answer(parts: Partial<Answer>): Answer {
  return {
    kind: 'answer',
    info1: 0n,
    info2: 0n,
    mayFault: false,
    returns: [],
    values: none,
    bits: 64,
    reads: null,
    writes: null,
    device: false,
    ...parts,
  };
}

export class Oracle {
  readonly #rules: Rules;
  #dr7 = 0x400n;
  #jumpTable = 0n;
  readonly #apicIds: readonly number[];

  constructor(rules: Rules, apicIds: readonly number[]) {
    this.#rules = rules;
    this.#apicIds = apicIds;
  }

  /** `page`: what is at the address that the MSR names. */
  expect(msr: bigint, page: Uint8Array): Expected {
    if ((msr & 0xfffn) !== 0n) return this.#request(msr);
    if (msr === 0n || msr + BigInt(PAGE) > BigInt(this.#rules.memory)) return { kind: 'ignored' };
    return this.#event(msr, page);
  }

  #request(msr: bigint): Expected {
    const { version, cBit } = this.#rules;
    const info = msr & 0xfffn;
    const data = msr >> 12n;
    const value = (bits: bigint): Expected => ({ kind: 'msr', value: bits, register: 0n });
    if (info === 0x100n)
      return { kind: 'ended', how: 'terminated', set: Number((msr >> 12n) & 0xfn), code: Number((msr >> 16n) & 0xffn), info: 0n };
    if (info === 0x002n && data === 0n) return value((BigInt(version) << 48n) | (1n << 32n) | (BigInt(cBit) << 24n) | 0x001n);
    if (info === 0x004n && (msr & 0x3fff_f000n) === 0n && msr >> 32n !== 0xdn)
      return { kind: 'msr', value: null, register: (msr >> 30n) & 3n };
    if (version < 2) return { kind: 'ignored' };
    if (info === MSR_RESET_HOLD && data === 0n) return value(0x007n);
    if (info === 0x080n && data === 0n) return value(0x1_0081n);
    if ([0x010n, 0x012n, 0x014n, 0x016n].includes(info)) return { kind: 'ended', how: 'stopped', set: 0, code: 0, info: 0n };
    return { kind: 'ignored' };
  }

  #event(gpa: bigint, page: Uint8Array): Expected {
    const view = new DataView(page.buffer, page.byteOffset, PAGE);
    const valid = (at: number): boolean => ((page[BITMAP + (at >> 6)]! >> ((at >> 3) & 7)) & 1) === 1;
    const field = (at: number): bigint => view.getBigUint64(at, true);
    if (view.getUint32(USAGE, true) !== 0) return malformed(2n);
    if (![Field.CODE, Field.INFO1, Field.INFO2].every(valid)) return malformed(4n);
    const event = byCode.get(field(Field.CODE));
    if (event === undefined || event.since > this.#rules.version || (event.cr === true && !this.#rules.cr)) return malformed(6n);
    const said = view.getUint16(VERSION, true);
    const version = Math.max(1, Math.min(said, this.#rules.version));
    return this.#row(event, { gpa, version, field, valid });
  }

  #row(event: Event, page: Request): Expected {
    const { field, valid } = page;
    const { needs, returns } = event;
    const info1 = field(Field.INFO1);
    const info2 = field(Field.INFO2);
    if (event.code === 0x7b) return this.#port(page, info1, info2);
    if (event.code === 0x7c) {
      if (info1 > 1n) return malformed(5n);
      const write = info1 === 1n;
      if (![Field.RCX, ...(write ? [Field.RAX, Field.RDX] : [])].every(valid)) return malformed(4n);
      return answer({ mayFault: true, returns: write ? [] : [Field.RAX, Field.RDX], bits: 32 });
    }
    if (event.code === 0x8000_0005) {
      if (info1 > 1n) return malformed(5n);
      if (info1 === 0n) this.#jumpTable = info2;
      return answer({ info2: info1 === 1n ? this.#jumpTable : 0n });
    }
    if (!needs.every(valid)) return malformed(4n);
    switch (event.code) {
      case 0x27:
        return answer({ returns, values: new Map([[Field.RAX, this.#dr7]]) });
      case 0x37:
        if (info1 !== 0n) return malformed(5n);
        if (field(Field.RAX) >> 32n !== 0n) return answer({ info1: 1n, info2: GP });
        this.#dr7 = field(Field.RAX);
        return answer({});
      case 0x6f:
        if ((field(Field.RCX) & 0xffff_ffffn) > 3n) return answer({ info1: 1n, info2: GP });
        return answer({
          returns,
          values: new Map([
            [Field.RAX, 0n],
            [Field.RDX, 0n],
          ]),
        });
      case 0x72:
        if ((field(Field.RAX) & 0xffff_ffffn) === 0xdn && !valid(Field.XCR0)) return malformed(4n);
        return answer({ returns, bits: 32 });
      case 0x6e:
      case 0x87:
        return answer({ returns, bits: 32 });
      case 0x8000_0001:
      case 0x8000_0002:
        return this.#mmio(page, event.code === 0x8000_0001, info2);
      case 0x8000_0017:
        return this.#list(info1, field(Field.RAX));
      case 0x8000_fffd:
        return answer({ info2: 0x10n });
      case 0x8000_fffe:
        return { kind: 'ended', how: 'terminated', set: Number(info1 & 0xfn), code: Number((info1 >> 4n) & 0xffn), info: info2 };
      case 0x8000_ffff:
        return { kind: 'ended', how: 'stopped', set: 0, code: 0, info: 0n };
      default:
        return answer({ returns, mayFault: event.cr === true && returns.length === 0, device: event.code === 0x81 });
    }
  }

  #port(page: Request, word: bigint, count: bigint): Expected {
    const size = operandSize(word);
    if (size === 0) return malformed(5n);
    const input = (word & 1n) !== 0n;
    if ((word & 4n) === 0n) {
      if (!input && !page.valid(Field.RAX)) return malformed(4n);
      return answer({ returns: input ? [Field.RAX] : [], bits: 8 * size, device: true });
    }
    if (!page.valid(Field.SCRATCH)) return malformed(4n);
    if (count > 0x7fff_ffffn) return malformed(5n);
    if (count === 0n) return answer({});
    return this.#moves(page, input, Number(count) * size);
  }

  #mmio(page: Request, input: boolean, length: bigint): Expected {
    if (length === 0n || length > (page.version === 2 ? 8n : 0x7fff_ffffn)) return malformed(5n);
    return this.#moves(page, input, Number(length));
  }

  /** Data through SW_SCRATCH. */
  #moves({ gpa, version, field }: Request, input: boolean, length: number): Expected {
    const at = field(Field.SCRATCH);
    const end = at + BigInt(length);
    const inBuffer = at >= gpa + BigInt(BUFFER.start) && end <= gpa + BigInt(BUFFER.end);
    const touchesPage = at < gpa + BigInt(PAGE) && end > gpa;
    const elsewhere = version === 1 && at !== 0n && length <= 0x1_0000 && end <= BigInt(this.#rules.memory) && !touchesPage;
    if (!inBuffer && !elsewhere) return malformed(3n);
    const area = { at, length };
    return answer({ reads: input ? null : area, writes: input ? area : null, device: true });
  }

  #list(at: bigint, pages: bigint): Expected {
    const length = 4 * (1 + this.#apicIds.length);
    const needed = BigInt(Math.ceil(length / PAGE));
    if ((at & 0xfffn) !== 0n) return malformed(5n);
    if (pages < needed) return answer({ returns: [Field.RAX], values: new Map([[Field.RAX, needed]]) });
    if (at + needed * BigInt(PAGE) > BigInt(this.#rules.memory)) return malformed(5n);
    return answer({ returns: [Field.RAX], values: new Map([[Field.RAX, pages]]), writes: { at, length } });
  }
}

type Request = {
  readonly gpa: bigint;
  readonly version: number;
  readonly field: (at: number) => bigint;
  readonly valid: (at: number) => boolean;
};
