// A GHCB vCPU over plain bytes: what the protocol does, without a processor. The guest's side of the page is written here by
// offsets of the specification, not through the accessors under test.

import type { GhcbField, GhcbVersion } from '../../src/arch/ghcb.ts';
import { GhcbPage } from '../../src/hypervisor/ghcb/page.ts';
import type { GhcbVcpu } from '../../src/hypervisor/ghcb/vmgexit.ts';
import type { Outcome } from '../../src/hypervisor/outcome.ts';
import type { HostMemory } from '../../src/svm/host-processor.ts';
import { gpa, type Gpa, spa } from '../../src/util/address.ts';
import { BytesPort } from '../../src/util/struct.ts';
import type { TraceNote } from '../../src/util/trace.ts';
import { fieldOf, type Fields, mark, validFields, writeRequest } from './ghcb/page-bytes.ts';

export const GHCB_GPA = 0x5000;
/** Guest RAM lies here in the host's memory. */
export const RAM_AT = 0x1_0000;

/** A page whose reads are written down. */
class SeenPort extends BytesPort {
  readonly #at: number;
  readonly #reads: [address: number, length: number][];

  constructor(bytes: Uint8Array, at: number, reads: [address: number, length: number][]) {
    super(bytes);
    this.#at = at;
    this.#reads = reads;
  }
  override u8(offset: number): number {
    this.#reads.push([this.#at + offset, 1]);
    return super.u8(offset);
  }
  override u16(offset: number): number {
    this.#reads.push([this.#at + offset, 2]);
    return super.u16(offset);
  }
  override u32(offset: number): number {
    this.#reads.push([this.#at + offset, 4]);
    return super.u32(offset);
  }
  override u64(offset: number): bigint {
    this.#reads.push([this.#at + offset, 8]);
    return super.u64(offset);
  }
}

export class FakeVcpu implements GhcbVcpu {
  readonly bytes = new Uint8Array(0x4_0000);
  readonly memorySize = 0x2_0000;
  readonly cBit = 51;
  ghcbVersion: GhcbVersion = 2;
  apicIds: readonly number[] = [0];
  jumpTable = 0n;
  readonly reads: [address: number, length: number][] = [];
  readonly memory: HostMemory;
  readonly ghcb: GhcbPage;
  readonly log: string[] = [];
  readonly notes: TraceNote[] = [];
  readonly tracing = true;
  controlRegisters = false;
  debugControl = 0x400n;
  ended: Outcome | null = null;
  ghcbMsr = BigInt(GHCB_GPA);
  named = 0;

  constructor() {
    const { bytes } = this;
    this.memory = {
      size: bytes.length,
      read: (address: number, into: Uint8Array) => {
        this.reads.push([address, into.length]);
        into.set(bytes.subarray(address, address + into.length));
      },
      write: (address: number, from: Uint8Array) => bytes.set(from, address),
      zero: (address: number, length: number) => void bytes.fill(0, address, address + length),
      flush: () => {},
      page: (address: number) => new SeenPort(bytes.subarray(address, address + 4096), address, this.reads),
    } as HostMemory;
    this.ghcb = new GhcbPage(this.memory);
  }

  get ghcbMsrLow(): number {
    return Number(this.ghcbMsr & 0xffff_ffffn);
  }
  get ghcbMsrHigh(): number {
    return Number(this.ghcbMsr >> 32n);
  }

  get page(): Uint8Array {
    return this.bytes.subarray(RAM_AT + GHCB_GPA, RAM_AT + GHCB_GPA + 4096);
  }

  /** Fills the page as a guest does: bitmap cleared, each field with its bit. */
  fill(fields: Fields, version = 2, usage = 0): void {
    writeRequest(this.page, { fields, version, usage });
  }

  mark(quadword: number): void {
    mark(this.page, quadword);
  }

  field(name: GhcbField): bigint {
    return fieldOf(this.page, name);
  }

  /** Names of the fields whose bits are set in the page. */
  valid(): string[] {
    return validFields(this.page);
  }

  cpuid(leaf: number, subleaf: number, xcr0: bigint, xss: bigint) {
    this.log.push(`cpuid ${leaf.toString(16)} ${subleaf} ${xcr0} ${xss}`);
    return [leaf, 0xb, 0xc, 0xdddd_dddd] as const;
  }
  readMsr(index: number): bigint | null {
    return index === 0x10 ? 0x1111_2222_3333_4444n : null;
  }
  writeMsr(index: number, value: bigint): boolean {
    this.log.push(`wrmsr ${index.toString(16)} ${value.toString(16)}`);
    return index === 0x10;
  }
  tsc(): bigint {
    return 0x5_0000_0006n;
  }
  tscAux(): bigint {
    return 7n;
  }
  portIn(port: number, size: number): number {
    this.log.push(`in ${port.toString(16)} ${size}`);
    return 0x8765_4321 >>> (32 - 8 * size);
  }
  portOut(port: number, size: number, value: number): void {
    this.log.push(`out ${port.toString(16)} ${size} ${value.toString(16)}`);
  }
  mmioRead(address: bigint, into: Uint8Array): void {
    this.log.push(`mmio read ${address.toString(16)} ${into.length}`);
    into.fill(0xff);
  }
  mmioWrite(address: bigint, from: Uint8Array): void {
    this.log.push(`mmio write ${address.toString(16)} ${[...from]}`);
  }
  readMemory(address: bigint, into: Uint8Array): boolean {
    this.memory.read(spa(RAM_AT + Number(address)), into);
    return true;
  }
  writeMemory(address: bigint, from: Uint8Array): boolean {
    this.memory.write(spa(RAM_AT + Number(address)), from);
    return true;
  }
  isRam(address: bigint, length: number): boolean {
    return address + BigInt(length) <= BigInt(this.memorySize);
  }
  apResetHold(by: 'ghcb' | 'msr'): void {
    this.log.push(`AP reset hold by ${by}`);
  }
  yield(): void {
    this.log.push('yield');
  }
  wbinvd(): void {
    this.log.push('wbinvd');
  }
  nmiComplete(): void {
    this.log.push('NMI complete');
  }
  hypercall(number: bigint, cpl: number): bigint {
    return number + BigInt(cpl);
  }
  readControlRegister(n: number): bigint {
    return 0x80n + BigInt(n);
  }
  allowControlRegister(n: number, value: bigint): boolean {
    this.log.push(`cr${n} ${value.toString(16)}`);
    return value !== 0xbadn;
  }
  locate(page: Gpa) {
    return page < this.memorySize ? spa(RAM_AT + gpa(page)) : null;
  }
  namedGhcb(): void {
    this.named++;
  }
  warn(text: string): void {
    this.log.push(`warning: ${text}`);
  }
  note(note: TraceNote): void {
    this.notes.push(note);
  }
}
