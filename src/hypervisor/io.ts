// Port I/O exits of plain and SEV guests (APM vol. 2, 15.10). String instructions come one element to an exit: EXITINFO1 is the
// IOIO word, EXITINFO2 the guest physical address of the element, nRIP the instruction behind. The element is read and written
// under the host's mapping, so a private buffer of an SEV guest yields ciphertext.

import { Ioio } from '../arch/ghcb.ts';
import { Rflags } from '../arch/registers.ts';
import { VmcbControl } from '../arch/vmcb.ts';
import { BytesPort } from '../util/struct.ts';
import { decodeIoio, type PortAccess } from './ghcb/ioio.ts';
import type { Outcome } from './outcome.ts';
import type { Vcpu } from './vcpu.ts';

const { exitInfo1 } = VmcbControl.layout;
const RAX = 0;
const RCX = 1;
const RSI = 6;
const RDI = 7;

export function handleIoio(vcpu: Vcpu): Outcome | null {
  const word = vcpu.port.u32(exitInfo1.offset);
  const access = vcpu.port.u32(exitInfo1.offset + 4) === 0 ? decodeIoio(word) : null;
  if (access === null) return { kind: 'stopped', reason: `the exit IOIO has EXITINFO1 0x${vcpu.vmcb.exitInfo1.toString(16)}` };
  if (access.string) return stringElement(vcpu, access, word);
  const { port, size, input } = access;
  const bits = size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
  if (!input) vcpu.portOut(port, size, (vcpu.gpr32(RAX) & bits) >>> 0);
  else if (size === 4) vcpu.setGpr32(RAX, vcpu.portIn(port, size));
  else vcpu.setLow32(RAX, ((vcpu.gpr32(RAX) & ~bits) | vcpu.portIn(port, size)) >>> 0);
  vcpu.skip();
  return null;
}

const mask = (bytes: number): bigint => (1n << BigInt(8 * bytes)) - 1n;

function stringElement(vcpu: Vcpu, { port, size, input, repeat }: PortAccess, word: number): Outcome | null {
  const addressBytes = word & Ioio.ADDRESS_64 ? 8 : word & Ioio.ADDRESS_32 ? 4 : 2;
  const count = vcpu.gpr(RCX) & mask(addressBytes);
  if (repeat && count === 0n) {
    vcpu.skip();
    return null;
  }
  const gpa = vcpu.vmcb.exitInfo2;
  const bytes = new Uint8Array(size);
  const view = new BytesPort(bytes);
  if (input) {
    const value = vcpu.portIn(port, size);
    if (size === 1) view.setU8(0, value);
    else if (size === 2) view.setU16(0, value);
    else view.setU32(0, value);
    if (!vcpu.writeMemory(gpa, bytes)) vcpu.mmioWrite(gpa, bytes);
  } else {
    if (!vcpu.readMemory(gpa, bytes)) vcpu.mmioRead(gpa, bytes);
    vcpu.portOut(port, size, size === 1 ? view.u8(0) : size === 2 ? view.u16(0) : view.u32(0));
  }
  const step = vcpu.save.rflags & BigInt(Rflags.DF) ? -BigInt(size) : BigInt(size);
  add(vcpu, input ? RDI : RSI, step, addressBytes);
  if (repeat) add(vcpu, RCX, -1n, addressBytes);
  if (repeat && count !== 1n) vcpu.vm.emulated++;
  else vcpu.skip();
  return null;
}

/** Adds to a register in its address size: 32 bits clear the upper half, 16 bits leave the rest (APM vol. 1, 3.1.2). */
function add(vcpu: Vcpu, register: number, step: bigint, addressBytes: number): void {
  const value = vcpu.gpr(register);
  const sum = (value + step) & mask(addressBytes);
  vcpu.setGpr(register, addressBytes === 2 ? (value & ~mask(2)) | sum : sum);
}
