// MMIO of plain and SEV guests: a nested page fault outside of RAM (APM vol. 2, 15.25.6). The VMCB has the instruction's bytes
// (decode assists); the instruction is executed in the guest's stead, its operand at the faulting address being the device's.
// SEV-ES guests do this themselves, through the GHCB.

import { Cr0, Efer, SegmentAttribute } from '../arch/registers.ts';
import { INSTRUCTION_BYTES, NestedPageFault } from '../arch/vmcb.ts';
import { spa } from '../util/address.ts';
import type { Outcome } from './outcome.ts';
import type { Vcpu } from './vcpu.ts';

/** The registers that the instruction starts with, and those that it leaves. */
export type EmulatedState = {
  /** RAX RCX RDX RBX RSP RBP RSI RDI R8..R15. */
  readonly registers: BigUint64Array;
  rip: bigint;
  rflags: number;
  readonly mode: 16 | 32 | 64;
  /** Bases of ES CS SS DS FS GS. */
  readonly segmentBases: readonly bigint[];
};

/** Where the memory operands of the instruction are, by linear address; undefined and false: out of reach. */
export interface OperandMemory {
  load(address: bigint, size: number): bigint | undefined;
  store(address: bigint, size: number, value: bigint): boolean;
}

/** Executes one instruction apart from any machine (an interpreter of its own). False: it cannot, and `state` is as before. */
export interface Emulator {
  execute(bytes: Uint8Array, state: EmulatedState, operands: OperandMemory): boolean;
}

const OFFSET = 0xfffn;
const RAX = 0;
const RSP = 4;

/** Bytes of the instruction at hand. */
const instruction = new Uint8Array(INSTRUCTION_BYTES.most);

export function handleNestedPageFault(vcpu: Vcpu): Outcome | null {
  const { exitInfo1, exitInfo2: gpa } = vcpu.vmcb;
  const stopped = (what: string): Outcome => ({ kind: 'stopped', reason: `${what} at ${vcpu.vm.describe(gpa)}` });
  if ((exitInfo1 & BigInt(NestedPageFault.ID)) !== 0n) return stopped('the guest executes');
  if ((exitInfo1 & (1n << BigInt(NestedPageFault.TABLE_BIT))) !== 0n) return stopped('the guest has a page table');
  vcpu.vm.host.memory.read(spa(vcpu.vmcbAddress + INSTRUCTION_BYTES.offset), instruction);
  const bytes = instruction.subarray(0, vcpu.vmcb.instructionBytesFetched);
  const state = registersOf(vcpu);
  if (!vcpu.vm.config.emulator.execute(bytes, state, operandsOf(vcpu, gpa))) {
    return stopped(`an instruction that cannot be emulated (${hex(bytes)}) accesses memory`);
  }
  vcpu.registers.set(state.registers);
  vcpu.save.rax = state.registers[RAX] ?? 0n;
  vcpu.save.rsp = state.registers[RSP] ?? 0n;
  vcpu.save.rip = state.rip;
  vcpu.save.rflags = (vcpu.save.rflags & ~0xffff_ffffn) | BigInt(state.rflags >>> 0);
  vcpu.executed();
  return null;
}

function registersOf(vcpu: Vcpu): EmulatedState {
  vcpu.vm.host.vmsave(vcpu.vmcbAddress); // the bases of FS and GS are in the processor
  const { save } = vcpu;
  const registers = BigUint64Array.from(vcpu.registers);
  registers[RAX] = save.rax;
  registers[RSP] = save.rsp;
  const long = (save.efer & BigInt(Efer.LMA)) !== 0n;
  const mode = long && (save.csAttributes & SegmentAttribute.L) !== 0 ? 64 : (save.csAttributes & SegmentAttribute.DB) !== 0 ? 32 : 16;
  const segmentBases = [save.esBase, save.csBase, save.ssBase, save.dsBase, save.fsBase, save.gsBase];
  return { registers, rip: save.rip, rflags: Number(save.rflags & 0xffff_ffffn), mode, segmentBases };
}

/** Operands have at most 8 bytes: what is wider comes in pieces. */
const operand = new Uint8Array(8);
const operandView = new DataView(operand.buffer);

/** The operand whose offset in its page is that of the fault lies there; any other is in RAM, if the guest's tables can be read. */
function operandsOf(vcpu: Vcpu, gpa: bigint): OperandMemory {
  const locate = (linear: bigint): bigint | null => ((linear & OFFSET) === (gpa & OFFSET) ? gpa : translate(vcpu, linear));
  return {
    load(linear, size) {
      const at = locate(linear);
      if (at === null) return undefined;
      const bytes = operand.subarray(0, size);
      operand.fill(0);
      if (!vcpu.readMemory(at, bytes)) vcpu.mmioRead(at, bytes);
      return operandView.getBigUint64(0, true);
    },
    store(linear, size, value) {
      const at = locate(linear);
      if (at === null) return false;
      operandView.setBigUint64(0, BigInt.asUintN(64, value), true);
      const bytes = operand.subarray(0, size);
      if (!vcpu.writeMemory(at, bytes)) vcpu.mmioWrite(at, bytes);
      return true;
    },
  };
}

/** Walks the tables of a plain guest in long mode; null: not mapped, or not to be read by a host. */
function translate(vcpu: Vcpu, linear: bigint): bigint | null {
  const { save, vm } = vcpu;
  if (vm.config.technology !== 'none') return null;
  if ((save.cr0 & BigInt(Cr0.PG)) === 0n) return linear;
  if ((save.efer & BigInt(Efer.LMA)) === 0n) return null;
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  let table = save.cr3 & ADDRESS;
  for (let level = 4; ; level--) {
    const shift = BigInt(12 + 9 * (level - 1));
    if (!vcpu.readMemory(table + 8n * ((linear >> shift) & 0x1ffn), bytes)) return null;
    const entry = view.getBigUint64(0, true);
    if ((entry & PRESENT) === 0n) return null;
    if (level === 1 || (level < 4 && (entry & LARGE) !== 0n)) {
      const inside = (1n << shift) - 1n;
      return (entry & ADDRESS & ~inside) | (linear & inside);
    }
    table = entry & ADDRESS;
  }
}

const ADDRESS = 0x000f_ffff_ffff_f000n;
const PRESENT = 1n;
const LARGE = 1n << 7n;

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
