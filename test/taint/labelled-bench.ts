// A processor on a bench that follows labels: all of its memory is private, until a test says otherwise.

import { assemble } from '../../src/asm/assemble.ts';
import { gprAt, Gpr, Segment, State } from '../../src/memory/state.ts';
import { type Finding, Findings } from '../../src/sanitizer/finding.ts';
import type { HandOver } from '../../src/taint/hand-over.ts';
import { Tracker } from '../../src/taint/tracker.ts';
import { PRIVATE_BYTE, SHARED } from '../../src/x86/label-table.ts';
import { Bench, type Ending, Flat, Permission } from '../instructions/bench.ts';
import { type RegisterName, registerNames } from '../instructions/case.ts';

export const CODE = 0x1000_0000;
export const DATA = 0x2000_0000;
export const STACK = 0x3000_0000;
const PAGES = 4;
const PHYSICAL = { code: 0x10_0000, data: 0x20_0000, stack: 0x30_0000 } as const;
const FLAT = 0xffff_ffff;

const nobody: HandOver = {
  at: () => null,
  entries: () => [],
  pageOf: () => null,
  describe: (page, offset) => `page ${page} at ${offset.toString(16)}h`,
};

export class LabelledBench {
  readonly bench = new Bench(undefined, undefined, null, true);
  readonly #found = new Findings();
  tracker: Tracker;

  constructor() {
    const { bench } = this;
    for (let n = 0; n < PAGES; n++) {
      bench.map(CODE + 4096 * n, PHYSICAL.code + 4096 * n, 0);
      bench.map(DATA + 4096 * n, PHYSICAL.data + 4096 * n, Permission.WRITE);
    }
    bench.map(STACK - 4096, PHYSICAL.stack - 4096, Permission.WRITE);
    this.tracker = this.#track();
  }

  #track(): Tracker {
    const { processor } = this.bench.cpu;
    return new Tracker({ processor, key: 0, handOver: nobody, retired: () => this.bench.cpu.retired }, this.#found);
  }

  get findings(): readonly Finding[] {
    return this.#found.list;
  }

  /** Puts a program in place; registers are 0, but rbx, which points at the data, and rsp. */
  load(source: string, data: Uint8Array = new Uint8Array(PAGES * 4096)): void {
    const { bench } = this;
    const { bytes } = assemble(`${source}\nhlt`, { origin: BigInt(CODE) });
    bench.write(PHYSICAL.code, new Uint8Array(PAGES * 4096).fill(0xf4));
    bench.write(PHYSICAL.code, bytes);
    bench.write(PHYSICAL.data, data);
    bench.write(PHYSICAL.stack - 4096, new Uint8Array(4096));
    bench.reset();
    bench.setSegment(Segment.CS, 8, Flat.code64(0), FLAT, 0);
    for (const s of [Segment.ES, Segment.SS, Segment.DS, Segment.FS, Segment.GS]) bench.setSegment(s, 16, Flat.data32(0), FLAT, 0);
    for (let n = 0; n < 16; n++) bench.setGpr(n, 0n);
    bench.setGpr(Gpr.RBX, BigInt(DATA));
    bench.setGpr(Gpr.RSP, BigInt(STACK - 64));
    bench.setU64(State.RIP, BigInt(CODE));
    bench.settle();
    this.#found.restore([]);
    this.tracker = this.#track();
    for (let n = 0; n < PAGES; n++) this.tracker.memory.declare((PHYSICAL.data >> 12) + n, 0, 4096, 0);
    this.tracker.memory.declare((PHYSICAL.stack >> 12) - 1, 0, 4096, 0);
  }

  run(budget = 10_000): Ending {
    return this.bench.run(budget);
  }

  /** Labels of bytes of the state block. */
  state(at: number, length: number): Uint16Array {
    return this.tracker.memory.range(this.bench.state + at, length);
  }

  /** Labels of bytes of the data. */
  data(offset: number, length: number): Uint16Array {
    const { frames } = this.bench;
    const frame = frames.view((PHYSICAL.data + offset) >> 12, 0);
    return this.tracker.memory.range(frames.address(frame) + (offset & 4095), length);
  }

  dataBytes(): Uint8Array {
    return this.bench.read(PHYSICAL.data, PAGES * 4096);
  }

  setRegister(name: RegisterName, value: bigint, label = 0): void {
    const n = registerNames.indexOf(name);
    this.bench.setGpr(n, value);
    this.state(gprAt(n), 8).fill(label);
  }

  /** A private page of the data becomes one that the hypervisor can write. */
  share(page: number): void {
    this.tracker.memory.declare((PHYSICAL.data >> 12) + page, 0, 4096, SHARED);
  }

  /** The private bytes of a register, as a mask. */
  mask(name: RegisterName): number {
    return maskOf(this.state(gprAt(registerNames.indexOf(name)), 8));
  }
}

export const maskOf = (labels: Uint16Array): number =>
  labels.reduce((mask, label, k) => mask | ((label & PRIVATE_BYTE) === 0 ? 0 : 1 << k), 0);
