// What a virtual CPU is to its exits: a VMCB in host memory with its intercepts and what is injected, and for plain and SEV guests the registers, which
// are in the save area and in `registers`.

import { DebugCtl, Rflags } from '../arch/registers.ts';
import { EventInj } from '../arch/ghcb.ts';
import { Vector } from '../arch/exception.ts';
import { SaveArea } from '../arch/save-area.ts';
import { InterruptState, SAVE_AREA_OFFSET, VmcbControl } from '../arch/vmcb.ts';
import type { GuestRegisters } from '../svm/host-processor.ts';
import type { Spa } from '../util/address.ts';
import type { Port, View } from '../util/struct.ts';
import { CleanFields } from './clean-bits.ts';
import { clearIntercept, INTERCEPT_VECTORS, type InterceptVectors, setIntercept } from './intercepts.ts';
import { ShiftedPort } from './shifted-port.ts';
import type { Vm } from './vm.ts';

/** DR6: a single-step trap. */
const DR6_BS = 1n << 14n;
const SINGLE_STEP = BigInt(EventInj.VALID + EventInj.TYPE_EXCEPTION + Vector.DB);
const control = VmcbControl.layout;
/** Where the save area's registers are in the VMCB. */
const RAX = SAVE_AREA_OFFSET + SaveArea.layout.rax.offset;
const RSP = SAVE_AREA_OFFSET + SaveArea.layout.rsp.offset;
const RIP = SAVE_AREA_OFFSET + SaveArea.layout.rip.offset;
const RFLAGS = SAVE_AREA_OFFSET + SaveArea.layout.rflags.offset;
const DEBUG_CONTROL = SAVE_AREA_OFFSET + SaveArea.layout.dbgCtl.offset;

export class VcpuState {
  readonly vm: Vm;
  /** Also its APIC ID; 0 is the boot processor. */
  readonly number: number;
  readonly vmcbAddress: Spa;
  /** The same as VMRUN, VMLOAD and VMSAVE take it. */
  readonly vmcbPhysical: Spa;
  readonly port: Port;
  readonly vmcb: View<typeof VmcbControl.layout>;
  /** Plain and SEV guests only. */
  readonly save: View<typeof SaveArea.layout>;
  /** RAX..R15 of a plain or SEV guest as software keeps them; RAX and RSP are in the save area. */
  readonly registers: GuestRegisters = new BigUint64Array(16);
  readonly #halves = new Uint32Array(this.registers.buffer);
  protected readonly vectors: InterceptVectors;
  protected readonly clean: CleanFields;
  /** The intercept that is lifted for one instruction. */
  protected steppingOver: number | null = null;

  constructor(vm: Vm, number: number, vmcbAddress: Spa, vectors: InterceptVectors) {
    this.vm = vm;
    this.number = number;
    this.vmcbAddress = vmcbAddress;
    this.vmcbPhysical = vm.physical(vmcbAddress);
    this.port = vm.host.memory.page(vmcbAddress);
    this.vmcb = VmcbControl(this.port);
    this.save = SaveArea(new ShiftedPort(this.port, SAVE_AREA_OFFSET));
    this.clean = new CleanFields(this.port);
    this.vectors = vectors;
    for (let i = 0; i < INTERCEPT_VECTORS; i++) this.store(i);
  }

  /** A general-purpose register by its encoding number. */
  gpr(n: number): bigint {
    return n === 0 ? this.save.rax : n === 4 ? this.save.rsp : (this.registers[n] ?? 0n);
  }

  setGpr(n: number, value: bigint): void {
    if (n === 0) this.save.rax = value;
    else if (n === 4) this.save.rsp = value;
    else this.registers[n] = value;
  }

  /** The low half of a register, unsigned. */
  gpr32(n: number): number {
    return n === 0 ? this.port.u32(RAX) : n === 4 ? this.port.u32(RSP) : this.#halves[2 * n]!;
  }

  /** A 32-bit result clears the upper half (APM vol. 1, 3.1.2). */
  setGpr32(n: number, value: number): void {
    this.setLow32(n, value);
    if (n === 0) this.port.setU32(RAX + 4, 0);
    else if (n === 4) this.port.setU32(RSP + 4, 0);
    else this.#halves[2 * n + 1] = 0;
  }

  /** Sets the low half of a register; the upper one stays. */
  setLow32(n: number, value: number): void {
    if (n === 0) this.port.setU32(RAX, value);
    else if (n === 4) this.port.setU32(RSP, value);
    else this.#halves[2 * n] = value;
  }

  /** Done with the intercepted instruction: on to the next. */
  skip(): void {
    const { port } = this;
    port.setU32(RIP, port.u32(control.nRip.offset));
    port.setU32(RIP + 4, port.u32(control.nRip.offset + 4));
    this.executed();
  }

  /** An instruction was executed in the guest's stead; RIP is where it goes on. With TF set that is where the guest gets its trap (13.1.4). */
  executed(): void {
    const { port } = this;
    const { offset } = control.interruptState;
    port.setU32(offset, (port.u32(offset) & ~InterruptState.INTERRUPT_SHADOW) >>> 0);
    this.vm.emulated++;
    if (!this.singleSteps) return;
    this.save.dr6 |= DR6_BS;
    this.inject(SINGLE_STEP);
  }

  /** Does an instruction that is no branch end in a trap (13.1.4)? */
  get singleSteps(): boolean {
    const { port } = this;
    return (port.u32(RFLAGS) & Rflags.TF) !== 0 && (port.u32(DEBUG_CONTROL) & DebugCtl.BTF) === 0;
  }

  /** An event for the next VMRUN, in the format of EVENTINJ. */
  inject(eventInj: bigint): void {
    this.vmcb.eventInj = eventInj;
  }

  /** Lets the guest execute the intercepted instruction itself, then arms the intercept again. */
  stepOver(code: number): void {
    this.steppingOver = code;
    clearIntercept(this.vectors, code);
    this.store(code >>> 5);
  }

  /** Sets an intercept, or takes it back unless the person asked for it. */
  intercept(code: number, wanted: boolean): void {
    if (wanted) this.arm(code);
    else if (!this.vm.config.intercepts.codes.includes(code)) {
      clearIntercept(this.vectors, code);
      this.store(code >>> 5);
    }
  }

  protected arm(code: number): void {
    setIntercept(this.vectors, code);
    this.store(code >>> 5);
  }

  protected store(vector: number): void {
    this.port.setU32(4 * vector, this.vectors[vector] ?? 0);
    this.clean.changed();
  }

  /** Would an interrupt reach the guest now? For an SEV-ES guest the VMCB says so (GUEST_INTERRUPT_MASK, 15.35.9). */
  get interruptsEnabled(): boolean {
    if (this.vm.encryptedState) return (this.port.u32(control.interruptState.offset) & InterruptState.GUEST_INTERRUPT_MASK) !== 0;
    return (this.port.u32(RFLAGS) & Rflags.IF) !== 0;
  }
}
