// Small programs in each mode of operation (APM vol. 2, 1.2): what ends them, and what they leave. Legacy modes run without paging,
// long mode with an identity map. Code, data and stack have segments of their own in the 16-bit modes and are flat in the others.

import { Vector } from '../../src/arch/exception.ts';
import { Cr0, Cr4, Rflags, SegmentAttribute as A } from '../../src/arch/registers.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { Segment, SegmentPart, segmentAt, State } from '../../src/memory/state.ts';
import { Bench, Flat, Permission } from '../instructions/bench.ts';
import { registerNames, type RegisterName } from '../instructions/case.ts';

/** Linear addresses, which are physical ones. */
export const At = { CODE: 0x1_0000, DATA: 0x2_0000, STACK: 0x3_0000, GDT: 0x4_0000, LDT: 0x4_1000, TSS: 0x4_2000, END: 0x5_0000 } as const;

export type ModeName = 'real' | 'virtual8086' | 'protected16' | 'protected32' | 'compatibility' | 'long';

/** A segment register: what is not named is as usual in the mode. */
export type SegmentSetup = {
  readonly selector?: number;
  readonly attributes?: number;
  readonly limit?: number;
  readonly base?: number;
};
export type Setup = {
  readonly cpl?: 0 | 3;
  readonly registers?: { readonly [name in RegisterName]?: number | bigint };
  readonly flags?: number;
  readonly segments?: { readonly [name in keyof typeof Segment]?: SegmentSetup };
  /** Bytes in hex by linear address; they overwrite the source's. */
  readonly memory?: Readonly<Record<number, string>>;
  /** Descriptors by selector: bit 2 of it says LDT. Those of 16 bytes are two neighbours. */
  readonly tables?: Readonly<Record<number, bigint>>;
  readonly cr4?: number;
  /** Where the code lies in its segment. */
  readonly origin?: number;
  readonly steps?: number;
};

/** A descriptor as it stands in memory; the limit in its own unit. */
export const descriptor = (attributes: number, base: number, limit: number): bigint =>
  (BigInt(base >>> 24) << 56n) |
  (BigInt((attributes >> 8) & 0xf) << 52n) |
  (BigInt(limit >>> 16) << 48n) |
  (BigInt(attributes & 0xff) << 40n) |
  (BigInt(base & 0xff_ffff) << 16n) |
  BigInt(limit & 0xffff);

const bits = (mode: ModeName): 16 | 32 | 64 => (mode === 'long' ? 64 : mode === 'protected32' || mode === 'compatibility' ? 32 : 16);
const vectorNames = Object.entries(Vector);

export class ModeBench {
  readonly #bench = new Bench();

  constructor() {
    for (let at = 0; at < At.END; at += 0x1000) this.#bench.map(at, at, Permission.WRITE | Permission.USER);
  }

  /** Runs until RIP is behind the source, or something else ends it: 'done', '#GP(0)', 'exit 7Bh', 'elsewhere'. */
  run(mode: ModeName, source: string, setup: Setup = {}): string {
    const b = this.#bench;
    const origin = setup.origin ?? (bits(mode) === 16 ? 0 : At.CODE);
    const { bytes } = assemble(source, { bits: bits(mode), origin: BigInt(origin) });
    this.#prepare(mode, setup);
    b.write(bits(mode) === 16 ? At.CODE + origin : origin, bytes);
    for (const [address, text] of Object.entries(setup.memory ?? {}))
      b.write(
        Number(address),
        Uint8Array.from(text.split(' '), (byte) => Number.parseInt(byte, 16)),
      );
    b.setU64(State.RIP, BigInt(origin));
    b.settle();
    for (let n = 0; n < (setup.steps ?? 64); n++) {
      const ending = b.run(1);
      if (ending.kind === 'exception') {
        const name = vectorNames.find(([, number]) => number === ending.vector)?.[0] ?? `${ending.vector}`;
        return /^(DF|TS|NP|SS|GP|PF|AC)$/.test(name) ? `#${name}(${ending.errorCode.toString(16)})` : `#${name}`;
      }
      if (ending.kind === 'exit') return `exit ${ending.code.toString(16)}h`;
      if (b.rip === BigInt(origin + bytes.length)) return 'done';
    }
    return 'elsewhere';
  }

  get rip(): number {
    return Number(this.#bench.rip);
  }

  get rflags(): number {
    return this.#bench.rflags;
  }

  register(name: RegisterName): bigint {
    return this.#bench.gpr(registerNames.indexOf(name));
  }

  bytes(address: number, count: number): string {
    return [...this.#bench.read(address, count)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  }

  get shadow(): number {
    return this.#bench.u32(State.SHADOW);
  }

  segment(segment: Segment): Required<SegmentSetup> {
    const { view } = this.#bench.memory;
    const at = this.#bench.state + segmentAt(segment);
    return {
      selector: view.getUint16(at + SegmentPart.SELECTOR, true),
      attributes: view.getUint16(at + SegmentPart.ATTRIBUTES, true),
      limit: view.getUint32(at + SegmentPart.LIMIT, true),
      base: Number(view.getBigUint64(at + SegmentPart.BASE, true)),
    };
  }

  #prepare(mode: ModeName, setup: Setup): void {
    const b = this.#bench;
    b.reset();
    const long = mode === 'long' || mode === 'compatibility';
    const cpl = mode === 'virtual8086' ? 3 : (setup.cpl ?? 0);
    if (!long) {
      b.setU64(State.CR0, BigInt((mode === 'real' ? 0 : Cr0.PE) | Cr0.ET | Cr0.NE));
      b.setU64(State.EFER, 0n);
    }
    b.setU64(State.CR4, BigInt((long ? Cr4.PAE : 0) | (setup.cr4 ?? 0)));
    b.setU32(State.CPL, cpl);
    b.rflags = (setup.flags ?? 0) | (mode === 'virtual8086' ? Rflags.VM : 0) | Rflags.ALWAYS_1;
    const attributes = { CS: this.#attributes(mode, cpl, true), data: this.#attributes(mode, cpl, false) };
    const flat = bits(mode) !== 16;
    for (const name of ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'] as const) {
      const place = name === 'CS' ? At.CODE : name === 'SS' ? At.STACK : At.DATA;
      const selector = mode === 'real' || mode === 'virtual8086' ? place >> 4 : (name === 'CS' ? 0x08 : 0x10) | cpl;
      const usual = {
        selector,
        attributes: name === 'CS' ? attributes.CS : attributes.data,
        limit: flat ? 0xffff_ffff : 0xffff,
        base: flat ? 0 : place,
      };
      this.#set(Segment[name], { ...usual, ...setup.segments?.[name] });
    }
    this.#set(Segment.GDTR, { selector: 0, attributes: 0, limit: 0x7f, base: At.GDT, ...setup.segments?.GDTR });
    this.#set(Segment.IDTR, { selector: 0, attributes: 0, limit: 0, base: 0, ...setup.segments?.IDTR });
    this.#set(Segment.LDTR, { selector: 0x58, attributes: A.P | 2, limit: 0x7f, base: At.LDT, ...setup.segments?.LDTR });
    this.#set(Segment.TR, { selector: 0x60, attributes: Flat.task, limit: 0x67, base: At.TSS, ...setup.segments?.TR });
    for (let at: number = At.CODE; at < At.END; at += 0x1000) b.write(at, new Uint8Array(0x1000));
    for (const [n, name] of registerNames.entries())
      b.setGpr(n, BigInt(setup.registers?.[name] ?? (name === 'rsp' ? (flat ? At.STACK + 0x1000 : 0x1000) : 0)));
    for (const [selector, raw] of Object.entries(setup.tables ?? {})) {
      const entry = new Uint8Array(8);
      new DataView(entry.buffer).setBigUint64(0, raw, true);
      b.write((Number(selector) & 4 ? At.LDT : At.GDT) + (Number(selector) & 0xfff8), entry);
    }
  }

  #attributes(mode: ModeName, cpl: number, code: boolean): number {
    if (mode === 'virtual8086') return 0xf3;
    if (mode === 'real') return code ? 0x9b : 0x93;
    if (mode === 'protected16') return code ? Flat.code16(cpl) : Flat.data16(cpl);
    if (!code) return Flat.data32(cpl);
    return mode === 'long' ? Flat.code64(cpl) : Flat.code32(cpl);
  }

  #set(segment: Segment, { selector, attributes, limit, base }: Required<SegmentSetup>): void {
    this.#bench.setSegment(segment, selector, attributes, limit, base);
  }
}
