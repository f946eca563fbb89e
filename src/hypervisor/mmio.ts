// MMIO of plain and SEV guests: a nested page fault outside of RAM (APM vol. 2, 15.25.6). The VMCB has the instruction's bytes
// (decode assists); the instruction is executed in the guest's stead, its operand at the faulting address being the device's.
// SEV-ES guests do this themselves, through the GHCB.

import { Vector, vectorName } from '../arch/exception.ts';
import { EventInj } from '../arch/ghcb.ts';
import { Cr4, Efer, Rflags, SegmentAttribute } from '../arch/registers.ts';
import { INSTRUCTION_BYTES, NestedPageFault } from '../arch/vmcb.ts';
import { spa } from '../util/address.ts';
import { type Tables, translateLinear } from './guest-walk.ts';
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
const PAGE_FAULT = BigInt(EventInj.VALID + EventInj.ERROR_CODE + EventInj.TYPE_EXCEPTION + Vector.PF);
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
  const operands = new Operands(vcpu, gpa);
  if (!vcpu.vm.config.emulator.execute(bytes, state, operands)) {
    if (operands.fault !== null) {
      vcpu.save.cr2 = operands.fault.linear;
      vcpu.inject(PAGE_FAULT | (BigInt(operands.fault.errorCode) << 32n));
      return null;
    }
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
class Operands implements OperandMemory {
  /** The page fault that an operand met. */
  fault: { readonly linear: bigint; readonly errorCode: number } | null = null;
  readonly #vcpu: Vcpu;
  readonly #gpa: bigint;
  readonly #tables: Tables;
  #faulting: bigint | null = null;

  constructor(vcpu: Vcpu, gpa: bigint) {
    this.#vcpu = vcpu;
    this.#gpa = gpa;
    this.#tables = {
      read: (at, size) => {
        operand.fill(0);
        return vcpu.readMemory(at, operand.subarray(0, size)) ? operandView.getBigUint64(0, true) : null;
      },
      write: (at, size, entry) => {
        operandView.setBigUint64(0, entry, true);
        vcpu.writeMemory(at, operand.subarray(0, size));
      },
    };
  }

  load(linear: bigint, size: number): bigint | undefined {
    const at = this.#locate(linear, false);
    if (at === null) return undefined;
    const bytes = operand.subarray(0, size);
    operand.fill(0);
    if (!this.#vcpu.readMemory(at, bytes)) this.#vcpu.mmioRead(at, bytes);
    return operandView.getBigUint64(0, true);
  }

  store(linear: bigint, size: number, value: bigint): boolean {
    const at = this.#locate(linear, true);
    if (at === null) return false;
    operandView.setBigUint64(0, BigInt.asUintN(64, value), true);
    const bytes = operand.subarray(0, size);
    if (!this.#vcpu.writeMemory(at, bytes)) this.#vcpu.mmioWrite(at, bytes);
    return true;
  }

  /** null: a page fault, or out of reach. */
  #locate(linear: bigint, write: boolean): bigint | null {
    const { save, vm } = this.#vcpu;
    if (vm.config.technology === 'none') {
      const user = save.cpl === 3;
      const userPages = (save.cr4 & BigInt(Cr4.SMAP)) === 0n || (save.rflags & BigInt(Rflags.AC)) !== 0n;
      const found = translateLinear(save, linear, { write, user, userPages }, this.#tables);
      if (found !== null && 'gpa' in found) return found.gpa;
      if (found !== null) {
        this.fault = { linear, errorCode: found.fault };
        return null;
      }
    }
    if ((linear & OFFSET) !== (this.#gpa & OFFSET) || (this.#faulting !== null && this.#faulting !== linear)) return null;
    this.#faulting = linear;
    return this.#gpa;
  }
}

/** The event of EXITINTINFO, for people. */
function eventName(event: bigint): string {
  const vector = Number(event & 0xffn);
  const type = Number(event & 0x700n);
  if (type === EventInj.TYPE_SOFTWARE) return `INT ${vector}`;
  return type === EventInj.TYPE_EXCEPTION || type === EventInj.TYPE_NMI ? vectorName(vector) : `interrupt ${vector}`;
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
