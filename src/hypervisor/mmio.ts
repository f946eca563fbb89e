// MMIO of plain and SEV guests: a nested page fault outside of RAM (APM vol. 2, 15.25.6). The VMCB has the instruction's bytes
// (decode assists); the instruction is executed in the guest's stead, its operand at the faulting address being the device's.
// SEV-ES guests do this themselves, through the GHCB.

import { vectorName } from '../arch/exception.ts';
import { EventInj } from '../arch/ghcb.ts';
import { Efer, SegmentAttribute } from '../arch/registers.ts';
import { INSTRUCTION_BYTES, NestedPageFault } from '../arch/vmcb.ts';
import { spa } from '../util/address.ts';
import { translateLinear } from './guest-walk.ts';
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
  const { exitInfo1, exitInfo2: gpa, exitIntInfo } = vcpu.vmcb;
  const stopped = (what: string): Outcome => ({ kind: 'stopped', reason: `${what} at ${vcpu.vm.describe(gpa)}` });
  if ((exitInfo1 & BigInt(NestedPageFault.ID)) !== 0n) return stopped('the guest executes');
  if ((exitInfo1 & (1n << BigInt(NestedPageFault.TABLE_BIT))) !== 0n) return stopped('the guest has a page table');
  // The access is the processor's own, for the frame of an event or a table that the event needs: no instruction stands for it, and to
  // deliver the event anew would only come back here.
  if ((exitIntInfo & BigInt(EventInj.VALID)) !== 0n) return stopped(`the delivery of ${eventName(exitIntInfo)} accesses memory`);
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
  vcpu.vm.host.vmsave(vcpu.vmcbPhysical); // the bases of FS and GS are in the processor
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

/**
 * By the guest's tables if they can be read. If not, the operand whose offset in its page is that of the fault lies there, and any other
 * is out of reach.
 */
function operandsOf(vcpu: Vcpu, gpa: bigint): OperandMemory {
  let faulting: bigint | null = null;
  const locate = (linear: bigint): bigint | null => {
    const found = translate(vcpu, linear);
    if (found !== null) return found;
    if ((linear & OFFSET) !== (gpa & OFFSET) || (faulting !== null && faulting !== linear)) return null;
    faulting = linear;
    return gpa;
  };
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

/** null: not mapped, or in tables that a host cannot read. */
function translate(vcpu: Vcpu, linear: bigint): bigint | null {
  if (vcpu.vm.config.technology !== 'none') return null;
  return translateLinear(vcpu.save, linear, (gpa, size) => {
    const bytes = operand.subarray(0, size);
    operand.fill(0);
    return vcpu.readMemory(gpa, bytes) ? operandView.getBigUint64(0, true) : null;
  });
}

/** The event of EXITINTINFO, for people. */
function eventName(event: bigint): string {
  const vector = Number(event & 0xffn);
  const type = Number(event & 0x700n);
  if (type === EventInj.TYPE_SOFTWARE) return `INT ${vector}`;
  return type === EventInj.TYPE_EXCEPTION || type === EventInj.TYPE_NMI ? vectorName(vector) : `interrupt ${vector}`;
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
